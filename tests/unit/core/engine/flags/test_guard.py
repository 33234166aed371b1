# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Traps of the engine, each with a command line that walks into it and one that does not."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from ansible_collections.herd.inference.plugins.module_utils.core.engine.arguments import LOAD_MODES, worker_arguments
from ansible_collections.herd.inference.plugins.module_utils.core.engine.command_line import CommandLine
from ansible_collections.herd.inference.plugins.module_utils.core.engine.flags import guard as flag_guard
from ansible_collections.herd.inference.plugins.module_utils.core.engine.flags.attention_kernels import AttentionShape
from ansible_collections.herd.inference.plugins.module_utils.core.engine.flags.rules import RULES
from ansible_collections.herd.inference.plugins.module_utils.core.engine.flags.subject import (
    EngineBuild,
    Finding,
    Subject,
    engine_of,
)
from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.release import catalogue as release_catalogue
from tests.unit.core.engine.flags.flag_lines import NEW, NEW_WORKER, OLD, OLD_WORKER, derived
from tests.unit.core.release.test_catalogue import real

PORT = ["--port", "8000"]
SLOT = ["--parallel", "1", "--fit", "off"]
RPC = [*PORT, *SLOT, "--rpc", "a:1,b:1", "--device", "RPC0,RPC1", "--cache-ram", "0"]
ALONE = [*PORT, *SLOT]
TLS = ["--ssl-cert-file", "c", "--ssl-key-file", "k"]
V100 = ("7.0",)
WORKER = ["-H", "10.100.0.32", "-p", "50052"]
DRAFT = ["--spec-type", "draft-simple", "-md", "/d", "-devd", "none"]
NEXT = ["--spec-type", "draft-mtp"]
Q8 = ["-ctk", "q8_0", "-ctv", "q8_0"]
SAVED = ["--slot-save-path", "/s"]


def release(name: str) -> dict[str, Any]:
    return release_catalogue.select(real(), name)


def engine(name: str = "0c1e57098", cuda: bool = True, architectures: tuple[str, ...] = ("70",)) -> EngineBuild:
    entry = release(name)
    flags = NEW if name == "0c1e57098" else OLD
    return EngineBuild(flags, cuda, architectures if cuda else (), entry["dialect"], tuple(entry["defects"]))


def look(words: list[str], program: str = "head", of: EngineBuild | None = None, **known: Any) -> list[Finding]:
    flags = of or (EngineBuild(NEW_WORKER) if program == "worker" else engine())
    return flag_guard.inspect(Subject(program, CommandLine(words, program == "worker"), flags, **known))


def ids(found: list[Finding]) -> list[str]:
    return [finding.rule for finding in found]


@pytest.mark.parametrize("name", ["0c1e57098", "b7836"])
@pytest.mark.parametrize("mode", list(LOAD_MODES))
def test_derived_arguments_pass_guard_in_both_releases(name: str, mode: str) -> None:
    of = engine(name)
    words = derived(of.accepted, load_mode=mode, slots=4, context=8192)
    assert look(words, of=of, context=8192, capabilities=("7.0",), environment={}) == []


@pytest.mark.parametrize("flags", [NEW_WORKER, OLD_WORKER], ids=["new", "old"])
def test_derived_worker_arguments_pass_guard(flags: frozenset[str]) -> None:
    words = worker_arguments("10.100.0.32", 50052, 4, True)
    assert words == ["-H", "10.100.0.32", "-p", "50052", "-t", "4", "-c"]
    assert look(words, "worker", EngineBuild(flags), environment={"LLAMA_CACHE": "/var/cache/herd/rpc"}) == []


# Rule, program, words that walk into it, what else is known, words that do not.
TRAPS: list[tuple[str, str, list[str], dict[str, Any], list[str]]] = [
    ("unknown-flag", "head", [*RPC, "--flash-atn", "on"], {}, [*RPC, "--flash-attn", "on"]),
    ("unknown-flag", "worker", [*WORKER, "--mem", "1"], {}, WORKER),
    ("flag-of-another-release", "head", [*RPC, "--mlock"], {}, [*RPC, "--load-mode", "mlock"]),
    ("flag-of-another-release", "head", [*RPC, "--no_mmap"], {}, [*RPC, "--load_mode", "none"]),
    ("removed-flag", "head", [*RPC, "--draft-max", "4"], {}, [*RPC, "--spec-draft-n-max", "4"]),
    ("unsplit-argument", "head", [*RPC, "--numa=isolate"], {}, [*RPC, "--numa", "isolate"]),
    ("unsplit-argument", "head", [*RPC, "--numa isolate"], {}, RPC),
    ("unsplit-argument", "bench", ["-ts=1/1"], {}, ["-ts", "1/1"]),
    ("stray-word", "head", [*RPC, "--metrics", "yes"], {}, [*RPC, "--metrics"]),
    ("stray-word", "head", [*RPC, "--numa", "isolate", "please"], {}, RPC),
    ("bare-flash-attention", "head", [*RPC, "--flash-attn"], {}, [*RPC, "--flash-attn", "on"]),
    ("bare-flash-attention", "head", [*RPC, "-fa", "--metrics"], {}, [*RPC, "-fa", "auto", "--metrics"]),
    ("missing-value", "head", [*RPC, "--threads"], {}, [*RPC, "--threads", "4"]),
    ("missing-value", "worker", ["-H", "10.0.0.1", "-p"], {}, WORKER),
    ("value-out-of-range", "head", [*RPC, "--ctx-size", "-1"], {}, [*RPC, "--ctx-size", "0"]),
    ("value-out-of-range", "head", [*RPC, "-b", "0"], {}, [*RPC, "-b", "512"]),
    ("value-out-of-range", "head", [*RPC, "--ctx-size", "4k"], {}, RPC),
    ("value-out-of-range", "head", [*RPC, "-ctk", "q9_0"], {"of": engine(cuda=False)}, RPC),
    ("value-out-of-range", "head", [*RPC, "--flash-attn", "yes"], {}, RPC),
    ("value-out-of-range", "head", [*RPC, "--tensor-split", "0,0"], {}, [*RPC, "--tensor-split", "1,0"]),
    ("value-out-of-range", "head", [*RPC, "--tensor-split", "1,x"], {}, [*RPC, "--tensor-split", "1,2.5"]),
    ("value-out-of-range", "worker", ["-H", "10.0.0.1", "-p", "70000"], {}, WORKER),
    ("value-out-of-range", "worker", [*WORKER, "-t", "0"], {}, [*WORKER, "-t", "1"]),
    ("repeated-flag", "head", [*RPC, "--ctx-size", "512", "-c", "256"], {}, [*RPC, "-c", "256"]),
    ("plan-overridden", "head", [*RPC, "--port", "8001"], {}, RPC),
    ("plan-overridden", "head", [*RPC, "--rpc", "c:1"], {"of": engine("b7836")}, RPC),
    ("secret-in-arguments", "head", [*RPC, "--api-key", "k"], {}, [*RPC, "--api-key-file", "/f"]),
    ("secret-in-arguments", "head", [*RPC, "-hft", "k"], {}, RPC),
    ("secret-in-environment", "head", RPC, {"environment": {"HF_TOKEN": "k"}}, RPC),
    ("setting-in-environment", "head", RPC, {"environment": {"LLAMA_ARG_CTX_SIZE": "1"}}, RPC),
    ("memory-in-environment", "head", RPC, {"environment": {"GGML_CUDA_ENABLE_UNIFIED_MEMORY": "1"}}, RPC),
    ("model-from-network", "head", [*RPC, "-hf", "a/b"], {}, RPC),
    ("no-port", "head", SLOT, {}, ALONE),
    ("tls-by-half", "head", [*RPC, "--ssl-cert-file", "c"], {}, RPC),
    ("tls-by-half", "head", [*RPC, "--ssl-key-file", "k"], {}, RPC),
    ("tls-not-built", "head", [*RPC, *TLS], {}, RPC),
    (
        "quantised-v-without-flash-attention",
        "head",
        [*RPC, "-fa", "off", "-ctv", "q8_0"],
        {},
        [*RPC, "-fa", "on", "-ctv", "q8_0", "-ctk", "q8_0"],
    ),
    ("unequal-cache-types", "head", [*RPC, "-ctk", "q8_0"], {}, [*RPC, "-ctk", "q8_0", "-fa", "off"]),
    ("cache-type-without-kernel", "head", [*RPC, "-ctk", "q5_1", "-ctv", "q5_1"], {}, RPC),
    ("attention-without-kernel", "head", RPC, {"attention": (AttentionShape(512, 512, 2),), "capabilities": V100}, RPC),
    ("attention-without-kernel", "head", RPC, {"attention": (AttentionShape(192, 128, 1),)}, RPC),
    ("bf16-on-volta", "head", [*RPC, "-ctk", "bf16", "-ctv", "bf16"], {"capabilities": ("7.0",)}, RPC),
    ("bf16-on-volta", "head", RPC, {"capabilities": ("7.0", "8.6"), "model_types": ("bf16",)}, RPC),
    ("volta-code-missing", "head", RPC, {"capabilities": ("7.0",), "of": engine(architectures=("61", "75"))}, RPC),
    (
        "volta-code-missing",
        "worker",
        WORKER,
        {"capabilities": ("7.0",), "of": EngineBuild(NEW_WORKER, True, ("75",))},
        WORKER,
    ),
    ("no-device-list", "head", [*ALONE, "--rpc", "a:1", "--cache-ram", "0"], {}, RPC),
    ("device-before-rpc", "head", [*ALONE, "--device", "RPC0", "--rpc", "a:1", "--cache-ram", "0"], {}, RPC),
    ("device-before-rpc", "head", [*ALONE, "--device", "RPC0"], {}, [*ALONE, "--device", "CUDA0"]),
    ("split-and-devices-differ", "head", [*RPC, "--tensor-split", "1,2,3"], {}, [*RPC, "--tensor-split", "1/2"]),
    ("endpoint-malformed", "head", [*ALONE, "--rpc", "a", "--device", "RPC0", "--cache-ram", "0"], {}, RPC),
    ("endpoint-malformed", "head", [*ALONE, "--rpc", "[::1]:1", "--device", "RPC0", "--cache-ram", "0"], {}, RPC),
    ("endpoint-repeated", "head", [*ALONE, "--rpc", "a:1,a:1", "--device", "RPC0,RPC1", "--cache-ram", "0"], {}, RPC),
    (
        "deadlocking-workers",
        "head",
        [*ALONE, "--rpc", "a:1,b:1,c:1", "--device", "RPC0,RPC1,RPC2", "--cache-ram", "0"],
        {},
        RPC,
    ),
    ("prompt-cache-with-rpc", "head", [*ALONE, "--rpc", "a:1", "--device", "RPC0"], {}, ALONE),
    ("prompt-cache-with-rpc", "head", [*ALONE, "--rpc", "a:1", "--device", "RPC0", "-cram", "9"], {}, RPC),
    ("row-split-with-rpc", "head", [*RPC, "-sm", "row"], {}, [*RPC, "-sm", "layer"]),
    ("router-with-rpc", "head", [*RPC, "--models-dir", "/m"], {}, [*ALONE, "--models-dir", "/m"]),
    ("router-of-older-release", "router", PORT, {"of": engine("b7836", cuda=False)}, [*PORT, "--models-max", "2"]),
    ("alias-of-older-release", "preset", [*SLOT, "--alias", "a"], {"of": engine("b7836", cuda=False)}, SLOT),
    ("preset-reserved", "preset", [*SLOT, "--host", "0.0.0.0"], {}, SLOT),
    ("preset-reserved", "preset", [*SLOT, "--models-max", "9"], {}, SLOT),
    (
        "preset-overridden",
        "preset",
        [*SLOT, "-c", "9"],
        {"above": CommandLine(["--ctx-size", "8"])},
        [*SLOT, "-c", "9"],
    ),
    ("preset-cut-off", "preset", [*SLOT, "--alias", "c#"], {}, [*SLOT, "--alias", "a,b c"]),
    ("unknown-flag", "preset", [*SLOT, "--flash-atn", "on"], {}, [*SLOT, "--flash-attn", "on"]),
    ("unknown-flag", "router", [*PORT, "--model-max", "2"], {}, [*PORT, "--models-max", "2"]),
    ("slots-unsaid", "preset", ["--fit", "off"], {}, SLOT),
    ("setting-in-environment", "router", PORT, {"environment": {"LLAMA_ARG_CTX_SIZE": "1"}}, PORT),
    ("slots-divide-context", "head", [*PORT, "--fit", "off", "-c", "8192", "-np", "4"], {"context": 8192}, ALONE),
    ("slots-unsaid", "head", [*PORT, "--fit", "off"], {}, ALONE),
    ("slots-unsaid", "head", [*PORT, "--fit", "off", "-np", "-1"], {}, ALONE),
    ("micro-batch-above-batch", "head", [*RPC, "-b", "128"], {}, [*RPC, "-b", "128", "-ub", "128"]),
    ("fitting-is-on", "head", [*PORT, "-np", "1"], {}, ALONE),
    ("fitting-is-on", "head", [*PORT, "-np", "1", "--fit", "on"], {}, ALONE),
    ("worker-host-not-ipv4", "worker", ["-H", "vllm-node2", "-p", "1"], {}, WORKER),
    ("worker-host-not-ipv4", "worker", ["-H", "::1", "-p", "1"], {}, WORKER),
    ("worker-host-not-ipv4", "worker", ["-p", "1"], {}, WORKER),
    ("worker-open-to-all", "worker", ["-H", "0.0.0.0", "-p", "1"], {}, WORKER),
    ("worker-cache-nowhere", "worker", [*WORKER, "-c"], {"environment": {}}, WORKER),
    ("bench-split-separator", "bench", ["-ts", "1,1"], {}, ["-ts", "1/1"]),
    ("draft-without-type", "head", [*ALONE, "-md", "/d"], {}, [*ALONE, *DRAFT]),
    ("draft-without-type", "head", [*ALONE, "-md", "/d", "--spec-type", "ngram-mod"], {}, [*ALONE, *DRAFT]),
    ("type-without-draft", "head", [*ALONE, "--spec-type", "draft-simple"], {}, [*ALONE, "--spec-type", "none"]),
    ("type-without-draft", "preset", [*SLOT, "--spec-type", "ngram-mod,draft-eagle3"], {}, SLOT),
    ("draft-vocabulary-differs", "head", [*ALONE, *DRAFT], {"vocabulary_difference": "token 7"}, [*ALONE, *DRAFT]),
    ("synthetic-acceptance", "head", [*ALONE, *DRAFT, "--spec-synth-len", "2"], {}, [*ALONE, *DRAFT]),
    ("synthetic-acceptance", "head", [*ALONE, *DRAFT, "--spec-synth-rates", "1,0"], {}, [*ALONE, *DRAFT]),
    ("next-tokens-missing", "head", [*ALONE, *NEXT], {"next_tokens": 0}, [*ALONE, *NEXT]),
    ("draft-over-rpc", "head", [*RPC, *DRAFT[:4]], {}, [*RPC, *DRAFT]),
    ("draft-over-rpc", "head", [*RPC, *DRAFT[:4], "-devd", "RPC1"], {}, [*RPC, *DRAFT[:4], "-ngld", "0"]),
    ("draft-over-rpc", "head", [*RPC, *DRAFT[:4], "--device-draft", "CUDA0,RPC0"], {}, [*RPC, *DRAFT]),
    (
        "draft-cache-unquantised",
        "head",
        [*ALONE, *DRAFT, *Q8],
        {},
        [*ALONE, *DRAFT, *Q8, "-ctkd", "q8_0", "-ctvd", "q8_0"],
    ),
    ("draft-cache-unquantised", "head", [*ALONE, *NEXT, *Q8], {}, [*ALONE, *Q8]),
    (
        "slots-saved-with-draft",
        "head",
        [*ALONE, *DRAFT, "--slot-save-path", "/s"],
        {},
        [*ALONE, "--slot-save-path", "/s"],
    ),
    ("slots-saved-with-draft", "head", [*ALONE, *NEXT, *SAVED], {"next_tokens": 1}, [*ALONE, *NEXT]),
    (
        "slots-saved-with-window",
        "head",
        [*ALONE, *SAVED],
        {"has_window": True},
        [*ALONE, *SAVED, "--swa-full"],
    ),
    ("speculation-with-split", "head", [*RPC, *NEXT, "-ts", "1,1"], {}, [*RPC, *DRAFT, "-ts", "1,1"]),
    ("rdma-on-infiniband", "head", RPC, {"environment": {"GGML_RDMA_DEV": "mlx5_0"}, "link_layer": "InfiniBand"}, RPC),
    (
        "rdma-on-infiniband",
        "worker",
        WORKER,
        {"environment": {"GGML_RDMA_GID": "3"}, "link_layer": "InfiniBand"},
        WORKER,
    ),
]


@pytest.mark.parametrize(
    ("rule", "program", "words", "known", "harmless"), TRAPS, ids=[f"{i}-{t[0]}" for i, t in enumerate(TRAPS)]
)
def test_guard_finds_each_rule(
    rule: str, program: str, words: list[str], known: dict[str, Any], harmless: list[str]
) -> None:
    """And nothing else is said of the line; the harmless one beside it is clean."""
    assert set(ids(look(words, program, **known))) == {rule}
    assert look(harmless, program) == []


def test_every_rule_has_an_example() -> None:
    assert {trap[0] for trap in TRAPS} == {rule.id for rule in RULES}
    assert len({rule.id for rule in RULES}) == len(RULES)


def test_every_rule_is_complete() -> None:
    for rule in RULES:
        assert rule.severity in ("error", "warning", "information")
        assert all((rule.text, rule.otherwise, rule.instead, rule.source)), rule.id
        assert ("run" in rule.source) is not bool(rule.unshown), rule.id
        assert not rule.instead.endswith("."), rule.id


@pytest.mark.parametrize(
    ("flags", "words", "instead"),
    [
        (NEW, ["--mlock"], "write --load-mode mmap+mlock, or the setting load_mode: lock, which every release"),
        (NEW, ["--no-mmap"], "write --load-mode none, or the setting load_mode: read"),
        (NEW, ["--direct-io"], "write --load-mode dio"),
        (OLD, ["--load-mode", "mlock"], "write --mlock --no-mmap, or the setting load_mode: lock_read"),
        (OLD, ["-lm", "mmap"], "write nothing, it is the default, or the setting load_mode: mmap"),
        (OLD, ["--spec-draft-n-max", "4"], "write --draft-max"),
        (NEW, ["--draft-max", "4"], "write --spec-draft-n-max"),
        (NEW, ["--flash-atn", "on"], "write --flash-attn, the nearest that this build accepts"),
        (NEW, ["--qqqq"], "remove it"),
    ],
)
def test_guard_suggests_right_flag(flags: frozenset[str], words: list[str], instead: str) -> None:
    (found,) = look([*ALONE, *words], of=EngineBuild(flags))
    assert found.instead.startswith(instead)
    assert found.severity == "error"


def test_accepted_flag_is_not_called_removed() -> None:
    assert look([*ALONE, "--draft-max", "4", "--mlock"], of=EngineBuild(OLD)) == []


@pytest.mark.parametrize(
    ("name", "cuda", "words", "severity"),
    [
        ("b7836", True, ["-ctk", "q8_0"], "error"),
        ("0c1e57098", True, ["-ctk", "q8_0"], "warning"),
        ("0c1e57098", False, ["-ctk", "q8_0"], ""),
        ("b7836", False, ["-ctk", "q8_0"], ""),
        ("b7836", True, ["-ctk", "q5_1", "-ctv", "q5_1"], "error"),
        ("0c1e57098", True, ["-ctk", "q5_1", "-ctv", "q5_1"], "warning"),
        ("0c1e57098", True, ["-ctk", "iq4_nl", "-ctv", "iq4_nl"], "error"),
        ("b7836", True, ["-ctk", "bf16", "-ctv", "bf16"], "error"),
        ("0c1e57098", True, ["-ctk", "bf16", "-ctv", "bf16"], ""),
        ("b7836", True, ["-ctk", "q8_0", "-fa", "off"], ""),
        ("b7836", True, ["-sm", "row"], "warning"),
        ("0c1e57098", True, ["-sm", "row"], "error"),
    ],
)
def test_releases_differ(name: str, cuda: bool, words: list[str], severity: str) -> None:
    assert {finding.severity for finding in look([*RPC, *words], of=engine(name, cuda))} == {severity} - {""}


def test_observed_defect_stops_and_reported_defect_warns() -> None:
    three = [*ALONE, "--rpc", "a:1,b:1,c:1", "--device", "RPC0,RPC1,RPC2", "--cache-ram", "0"]
    (found,) = look(three)
    assert (found.severity, "#28487" in found.found) == ("warning", True)
    seen = EngineBuild(NEW, defects=({"id": "#28487", "means": "it hangs", "workers_from": 3},))
    (found,) = look(three, of=seen)
    assert (found.severity, found.otherwise) == ("error", "it hangs")
    assert look(RPC, of=seen) == []


def test_architectures_beside_70_are_accepted() -> None:
    newer = engine(architectures=("70", "80"))
    assert look(RPC, "head", newer, capabilities=("7.0", "8.0")) == []


def test_one_error_names_every_finding() -> None:
    with pytest.raises(InvalidInputError) as caught:
        flag_guard.require_clean(look([*ALONE, "--nonsense", "-fa"]), "llama-server")
    assert "unknown-flag" in str(caught.value)
    assert "bare-flash-attention" in str(caught.value)


def test_warnings_do_not_stop() -> None:
    (warning,) = flag_guard.require_clean(look([*RPC, "-b", "128"]), "llama-server")
    assert warning == (
        "llama-server: --ubatch-size 512 above --batch-size 128: the engine reduces it to the batch, "
        "and the plan is wrong. What to do: make ubatch at most batch (micro-batch-above-batch)."
    )


def test_accepted_rule_becomes_warning() -> None:
    subject = Subject("head", CommandLine([*RPC, "--api-key", "k"]), engine())
    found = flag_guard.inspect(subject, ["secret-in-arguments"])
    assert [(finding.rule, finding.severity) for finding in found] == [("secret-in-arguments", "warning")]
    with pytest.raises(InvalidInputError, match="ids of the flag guard's rules among the accepted ones, found no-such"):
        flag_guard.inspect(subject, ["no-such"])


def test_draft_of_older_release_needs_no_type() -> None:
    assert look([*ALONE, "-md", "/d"], of=EngineBuild(OLD)) == []


def test_cache_types_of_a_draft_are_checked() -> None:
    words = [*ALONE, *DRAFT, "-ctkd", "q8_0"]
    (found,) = look(words, of=EngineBuild(NEW, True, ("70",)))
    assert (found.rule, found.found) == (
        "unequal-cache-types",
        "K cache q8_0 and V cache f16 of the draft with flash attention auto",
    )
    (found,) = look([*ALONE, *DRAFT, "-fa", "off", "-ctvd", "q8_0"], of=EngineBuild(NEW))
    assert (found.rule, found.found) == (
        "quantised-v-without-flash-attention",
        "a V cache of the draft of q8_0 with flash attention off",
    )
    # Without a draft, its types change nothing.
    assert look([*ALONE, "-ctkd", "q8_0"]) == []


def test_information_stays_information_and_is_no_warning() -> None:
    subject = Subject("head", CommandLine([*RPC, *NEXT, "-ts", "1,1"]), engine())
    for accepted in ([], ["speculation-with-split"]):
        found = flag_guard.inspect(subject, accepted)
        assert [(finding.rule, finding.severity) for finding in found] == [("speculation-with-split", "information")]
        assert flag_guard.require_clean(found, "llama-server") == []


def test_rdma_over_ethernet_is_no_trap() -> None:
    assert look(RPC, environment={"GGML_RDMA_GID": "3"}, link_layer="Ethernet") == []
    assert look(RPC, environment={"GGML_RPC_NO_RDMA": "1"}, link_layer="InfiniBand") == []


def test_finding_does_not_repeat_secret() -> None:
    found = look([*RPC, "--api-key", "s3cr3t"], environment={"HF_TOKEN": "s3cr3t"})
    assert ids(found) == ["secret-in-arguments", "secret-in-environment"]
    assert "s3cr3t" not in str([(f.found, f.otherwise, f.instead) for f in found])


def test_build_is_read_from_manifest() -> None:
    entry = release("0c1e57098")
    manifest = {
        "flags": {"llama-server": ["--port"]},
        "cuda": {"version": "12.2", "architectures": ["70"]},
        "dialect": entry["dialect"],
        "defects": entry["defects"],
    }
    read = engine_of(manifest, "llama-server")
    assert (read.accepted, read.cuda, read.architectures) == (frozenset({"--port"}), True, ("70",))
    # A manifest of before the dialect knew of attention.
    older = engine_of({"flags": {}, "cuda": None}, "llama-server")
    assert (older.accepted, older.cuda, older.dialect, older.defects) == (frozenset(), False, {}, ())
    assert yaml.safe_load(yaml.safe_dump(entry["dialect"]))["cuda_attention"]["others"] == "converted"
