# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of flags that change memory, held to what both releases list."""

from __future__ import annotations

import re

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine import arguments as engine_arguments
from ansible_collections.herd.inference.plugins.module_utils.core.engine.flags import memory_flags
from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from tests.unit.core.engine.flags.flag_lines import HELP

_NAME = r"--?[A-Za-z0-9][A-Za-z0-9_.-]*"
# Flags of both releases that change no memory of the engine's buffers, by their last name.
HARMLESS = """
--usage --version --license --cache-list --completion-bash --verbose-prompt --threads --threads-batch --cpu-mask
--cpu-range --cpu-strict --prio --poll --cpu-mask-batch --cpu-range-batch --cpu-strict-batch --prio-batch
--poll-batch --n-predict --keep --no-perf --no-escape --rope-scaling --rope-scale --rope-freq-base --rope-freq-scale
--yarn-orig-ctx --yarn-ext-factor --yarn-attn-factor --yarn-beta-slow --yarn-beta-fast --defrag-thold --numa
--list-devices --check-tensors --hf-token --log-disable --log-file --no-log-jsonl --log-colors --log-verbose
--offline --log-verbosity --no-log-prefix --log-prefix --no-log-timestamps --log-timestamps --samplers --seed
--sampling-seq --ignore-eos --temperature --temp --top-k --top-p --min-p --top-n-sigma --top-nsigma
--xtc-probability --xtc-threshold --typical-p --typical --repeat-last-n --repeat-penalty --presence-penalty
--frequency-penalty --dry-multiplier --dry-base --dry-allowed-length --dry-penalty-last-n --dry-sequence-breaker
--adaptive-target --adaptive-decay --dynatemp-range --dynatemp-exp --mirostat --mirostat-lr --mirostat-ent
--logit-bias --grammar --grammar-file --json-schema --json-schema-file --threads-draft --threads-batch-draft
--cpu-mask-draft --cpu-range-draft --cpu-strict-draft --prio-draft --poll-draft --cpu-mask-batch-draft
--cpu-strict-batch-draft --prio-batch-draft --poll-batch-draft --spec-draft-n-min --draft-n-min --spec-synth-len
--spec-synth-rates --draft-p-split --draft-p-min --spec-ngram-simple-min-hits --spec-ngram-map-k-min-hits
--spec-ngram-map-k4v-min-hits --spec-ngram-size-n --spec-ngram-size-m --spec-ngram-min-hits --spec-replace
--tts-use-guide-tokens --reverse-prompt --special --no-warmup --spm-infill --no-cont-batching --video-fps
--video-timestamp-interval --video-ffmpeg-dir --alias --tags --embd-normalize --host --port --reuse-port --path
--cors-origins --cors-methods --cors-headers --no-cors-credentials --api-prefix --webui-config --webui-config-file
--no-webui-mcp-proxy --tools --tools-runtime --mcp-servers-config --mcp-servers-json --no-agent --no-webui --api-key
--api-key-file --ssl-key-file --ssl-cert-file --chat-template-kwargs --timeout --sse-ping-interval --threads-http
--no-cache-prompt --metrics --props --no-slots --slot-save-path --media-path --no-jinja --reasoning-format
--reasoning --reasoning-effort --reasoning-budget --reasoning-budget-message --no-reasoning-preserve --chat-template
--chat-template-file --no-skip-chat-parsing --no-prefill-assistant --slot-prompt-similarity
--lora-init-without-apply --sleep-idle-seconds --log-prompts-dir
"""


def listed(release: str) -> list[tuple[list[str], list[str]]]:
    """List the flags of a release by its help: all names of each, and its variables."""
    found: list[tuple[list[str], list[str]]] = []
    for line in (HELP / f"{release}-llama-server.txt").read_text(encoding="utf-8").splitlines():
        if names := re.match(rf" {{0,4}}{_NAME}(?:,\s*{_NAME})*", line):
            found.append((re.findall(_NAME, names[0]), []))
        elif found:
            found[-1][1].extend(re.findall(r"\(env: (LLAMA_ARG_\w+)\)", line))
    return found


@pytest.mark.parametrize("release", ["b7836", "0c1e57098"])
def test_every_flag_of_release_is_in_table_or_harmless(release: str) -> None:
    for names, variables in listed(release):
        rows = {memory_flags.flag_named(name) for name in names}
        assert len(rows) == 1, names
        (row,) = rows
        assert (row is None) == (names[-1] in HARMLESS.split()), names
        assert row is None or set(variables) <= set(row.variables.split()), names


def test_no_flag_is_in_two_rows() -> None:
    names = [name for flag in memory_flags.FLAGS for name in flag.names.split()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("flag", memory_flags.FLAGS, ids=lambda flag: flag.names.split()[-1])
def test_extra_argument_that_changes_memory_is_rejected(flag: memory_flags.MemoryFlag) -> None:
    for name in flag.names.split():
        for words in ([name, "1"], [name], [f"{name}=1"], ["--metrics", name.replace("-", "_").replace("__", "--", 1)]):
            if not name.startswith("--") and "_" in words[-1]:
                continue
            with pytest.raises(InvalidInputError, match=re.escape(flag.effect)) as caught:
                engine_arguments.merged({"extra_arguments": words})
            assert name in str(caught.value)
            assert (flag.setting or "remove it") in str(caught.value)


def test_other_extra_arguments_are_kept() -> None:
    words = ["--rope-scale", "2", "--no-warmup", "--seed", "7"]
    assert engine_arguments.merged({"extra_arguments": words})["extra_arguments"] == words


@pytest.mark.parametrize(
    "name", ["LLAMA_ARG_SWA_FULL", "LLAMA_ARG_NO_KV_OFFLOAD", "LLAMA_ARG_NO_HOST", "GGML_CUDA_ENABLE_UNIFIED_MEMORY"]
)
def test_variable_that_changes_memory_is_rejected(name: str) -> None:
    with pytest.raises(InvalidInputError, match=name):
        memory_flags.require_planned_variables({"TZ": "UTC", name: "1"})
    memory_flags.require_planned_variables({"TZ": "UTC", "LLAMA_ARG_THREADS": "4"})


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"unified_cache": "yes"}, "unified_cache to be true or false"),
        ({"projector": "/m.gguf"}, "projector with file, mib, compute_mib"),
        ({"projector": {"file": "m.gguf", "mib": 1, "compute_mib": 1}}, "an absolute path"),
        ({"adapters": [{"file": "/a,b", "mib": 1}]}, "an absolute path without commas"),
        ({"adapters": [{"file": "/a", "mib": 0}]}, "mib of an adapter to be a whole number from 1"),
        ({"adapters": {"file": "/a", "mib": 1}}, "adapters to be a list"),
    ],
)
def test_further_files_are_checked(settings: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(says)):
        engine_arguments.merged(settings)
