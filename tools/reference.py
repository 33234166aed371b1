# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Generate the pages of docs/reference from tables in the code (make reference)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.herd.inference.plugins.module_utils.core.benchmark import definitions, document
from ansible_collections.herd.inference.plugins.module_utils.core.engine.flags import attention_kernels, memory_flags
from ansible_collections.herd.inference.plugins.module_utils.core.engine.flags.rules import RULES
from ansible_collections.herd.inference.plugins.module_utils.core.engine.flags.subject import Rule
from ansible_collections.herd.inference.plugins.module_utils.core.engine.speculation import speedup
from ansible_collections.herd.inference.plugins.module_utils.core.vllm import config_keys
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.config_document import schema
from tools import reference_metrics, reference_vllm_models

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
MODULES = ROOT / "plugins" / "modules"
MODULES_INTRODUCTION = """\
# Modules

Each module belongs to one action group of `meta/runtime.yml`. A play can set defaults for a whole group with
`module_defaults` (`group/herd.inference.engine`). `ansible-doc herd.inference.NAME` shows a module's options,
examples and return values.

`make reference` writes this page from `meta/runtime.yml` and the modules' documentation; do not edit it.
"""
FLAG_GUARD_INTRODUCTION = """\
# Flag guard

For operators whose settings the flag guard reports. The flag guard checks every command line of this collection
before a unit changes. An **error** stops the playbook. A **warning** is shown, and the run continues. An
**information** is only in the findings that a module returns. The severity of some rules depends on the release: an
unequal pair of cache types crashes a CUDA worker of b7836 and only slows down one of 0c1e57098.

To accept a rule, add its id to `head_server_accepted_rules`, `rpc_worker_accepted_rules` or
`fast_router_accepted_rules`. Its findings become warnings.

Each rule without a reason in the last column has a test with the engines of both releases, b7836 and 0c1e57098
(`make engine-test`, `tests/engine/test_flag_guard.py`).

`make reference` writes this page from `plugins/module_utils/core/engine/flags/rules.py`; do not edit it.
"""

MEMORY_FLAGS_INTRODUCTION = """
## Flags that change memory

A setting writes these flags, and the plan counts what they take. In `extra_arguments` they are an error, because no
plan would see them. A flag without a setting has no plan. The same holds for the variables `LLAMA_ARG_…` of these
flags in the environment of a unit, and for {variables}.

| flag | changes | write instead |
|---|---|---|
"""

KERNELS_INTRODUCTION = """\
# Attention kernels

For operators whose settings break the rule `attention-without-kernel` of the [flag guard](flag-guard.md). CUDA's flash
attention has kernels for some sizes of heads only. An RPC worker says that it supports every operation, so a model
without a kernel aborts the worker and the head. The rule stops a head, a router's model and a tier before they start.

Each cell says how many query heads may share a key head. `herd.inference.gguf_info` shows the sizes of a model's heads.
If a model has no kernel, set `flash_attention: "off"` and the cache types to f16, or use another model. With a latent
cache (deepseek2), key and value heads are the compressed ones, and all query heads share one key. The engine computes
grok without flash attention.

The rows follow `ggml-cuda/fattn.cu`, `fattn-tile.cuh` and `fattn-mma-f16.cuh` of both releases. No GPU was at hand, so
no row was run. Compute capabilities below 7.0 were not looked up.

`make reference` writes this page from `plugins/module_utils/core/engine/flags/attention_kernels.py`; do not edit it.
"""
#: Query heads for each key head that are tried to name a cell.
_MOST_RATIO = 256

#: Keys of vLLM's configuration whose value no job gets in an option of its own, with the test that holds them.
OTHER_TESTS = {
    "active_model": "test_written_value_is_read",
    "paths.venv_dir": "test_written_value_is_read",
    "paths.work_dir": "test_written_value_is_read",
    "distributed.rdzv_backend": "test_wrong_value_is_one_error",
    "distributed.master_port_base": "test_master_port_is_above_its_base",
    "nccl.socket_ifname": "test_interface_reaches_the_job",
    "models.*.job_script": "test_job_script_of_the_document_is_not_used",
    "models.*.vision": "test_model_without_vision_reads_no_pictures",
}
KEYS_BEGIN = "<!-- make reference writes these rows from plugins/module_utils/core/vllm/config_keys.py -->\n"
KEYS_END = "<!-- end of the rows -->\n"
SPEEDUP_BEGIN = (
    "<!-- make reference writes these rows from plugins/module_utils/core/engine/speculation/speedup.py -->\n"
)
SPEEDUP_END = "<!-- end of the rows -->\n"
#: Tokens of a proposal, acceptance in percent, and the draft's time as a part of the model's, in the table.
SPEEDUP_TOKENS, SPEEDUP_PERCENT, SPEEDUP_DRAFT = (1, 2, 3, 4, 6, 8), (0, 30, 50, 70, 80, 90, 100), 0.05
METRICS_BEGIN = "<!-- make reference writes these rows from plugins/module_utils/core/benchmark/definitions.py -->\n"


def _links(source: str) -> str:
    words = []
    for word in source.split():
        bare = word.rstrip(",;")
        if bare.startswith("https://github.com/") and bare.rsplit("/", 1)[-1].isdigit():
            words.append(f"[#{bare.rsplit('/', 1)[-1]}]({bare}){word[len(bare) :]}")
        elif bare.startswith("https://"):
            words.append(f"[{bare.split('#')[0].rsplit('/', 1)[-1]}]({bare}){word[len(bare) :]}")
        else:
            words.append(word)
    return " ".join(words)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _row(rule: Rule) -> str:
    cells = (
        f"`{rule.id}`",
        rule.severity,
        ", ".join(rule.programs),
        rule.text,
        rule.otherwise,
        rule.instead,
        _links(rule.source),
        rule.unshown,
    )
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def flag_guard() -> str:
    """Return the page of the flag guard's rules."""
    heads = ("rule", "severity", "program", "trap", "otherwise", "instead", "source", "not shown by the engine because")
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    rules = FLAG_GUARD_INTRODUCTION + "\n" + "\n".join([*lines, *(_row(rule) for rule in RULES)]) + "\n"
    variables = ", ".join(f"`{name}`" for name in memory_flags.VARIABLES)
    rows = [_memory_row(flag) for flag in memory_flags.FLAGS]
    return rules + MEMORY_FLAGS_INTRODUCTION.format(variables=variables) + "\n".join(rows) + "\n"


def _memory_row(flag: memory_flags.MemoryFlag) -> str:
    names = " ".join(f"`{name}`" for name in flag.names.split())
    return f"| {names} | {flag.effect} | {flag.setting or 'nothing'} |"


def _ratios(key: int, value: int, is_newer: bool, is_volta: bool) -> str:
    """Name the numbers of query heads that have a kernel."""
    tried = range(1, _MOST_RATIO + 1)
    found = [
        ratio
        for ratio in tried
        if attention_kernels.has_kernel(attention_kernels.AttentionShape(key, value, ratio), is_newer, is_volta)
    ]
    if not found:
        return "no kernel"
    names = {1: "any number", 2: "2 or more"} if found == list(range(found[0], _MOST_RATIO + 1)) else {}
    return names.get(found[0], f"multiples of {found[0]}")


def attention() -> str:
    """Return the page of CUDA's attention kernels."""
    heads = ["key heads of", "value heads of"]
    heads += [f"{release}, {gpu}" for release in ("b7836", "0c1e57098") for gpu in ("7.0 (V100)", "7.5 and newer")]
    sizes = [*((size, size) for size in attention_kernels.EQUAL_SIZES), *attention_kernels.PAIRS]
    rows = []
    for key, value in sorted(sizes):
        cells = [_ratios(key, value, is_newer, is_volta) for is_newer in (False, True) for is_volta in (True, False)]
        rows.append("| " + " | ".join([str(key), str(value), *cells]) + " |")
    rows.append("| other | other |" + " no kernel |" * 4)
    return KERNELS_INTRODUCTION + "\n" + "\n".join(["| " + " | ".join(heads) + " |", "|---" * 6 + "|", *rows]) + "\n"


def action_groups() -> dict[str, list[str]]:
    """Read the modules of each action group from meta/runtime.yml."""
    groups: dict[str, list[str]] = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text(encoding="utf-8"))[
        "action_groups"
    ]
    return groups


def documentation(module: str) -> dict[str, Any]:
    """Read a module's DOCUMENTATION without importing the module."""
    text = (MODULES / f"{module}.py").read_text(encoding="utf-8")
    documented: dict[str, Any] = yaml.safe_load(text.partition('DOCUMENTATION = r"""')[2].partition('"""')[0])
    return documented


def modules() -> str:
    """Return the page of all modules by action group."""
    lines = ["| group | module | purpose |", "|---|---|---|"]
    for group, names in action_groups().items():
        lines += [f"| {group} | `{name}` | {_cell(documentation(name)['short_description'])} |" for name in names]
    return MODULES_INTRODUCTION + "\n" + "\n".join(lines) + "\n"


def vllm_schema() -> str:
    """Return the JSON schema of the configuration of vLLM's jobs."""
    return json.dumps(schema.schema(), indent=2, ensure_ascii=False) + "\n"


def _default(key: config_keys.Key) -> str:
    if key.default in ("", (), None):
        return "empty"
    return "required" if key.default == config_keys.REQUIRED else f"`{json.dumps(key.default).strip(chr(34))}`"


def _key_row(key: config_keys.Key) -> str:
    path = key.path.replace(config_keys.MODEL, "models.KEY")
    test = f"`{OTHER_TESTS.get(key.path, 'test_value_arrives')}`"
    cells = (f"`{path}`{' (own)' if key.is_own else ''}", key.meaning, _default(key), key.goes_to, test)
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def vllm() -> str:
    """Return the page of vLLM's jobs, with the rows of the keys between its two marks."""
    before, begin, rest = (REFERENCE / "vllm.md").read_text(encoding="utf-8").partition(KEYS_BEGIN)
    _rows, end, after = rest.partition(KEYS_END)
    lines = ["| key | meaning | default | where it goes | test |", "|---|---|---|---|---|"]
    lines += [_key_row(key) for key in config_keys.KEYS]
    return before + begin + "\n" + "\n".join(lines) + "\n" + end + after


def _metric_row(metric: definitions.Metric) -> str:
    others = (metric.llama_benchy, metric.guidellm, metric.vllm_bench)
    better = "more" if metric.more_is_better else "less"
    cells = (f"`{metric.name}`", metric.unit, metric.meaning, better, *(f"`{name}`" if name else "" for name in others))
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def benchmark() -> str:
    """Return the page of benchmarks, with the rows of the metrics between its two marks."""
    before, begin, rest = (REFERENCE / "benchmark.md").read_text(encoding="utf-8").partition(METRICS_BEGIN)
    _rows, end, after = rest.partition(KEYS_END)
    lines = ["| metric | unit | definition | better | llama-benchy | guidellm | vllm bench |", "|---" * 7 + "|"]
    lines += [_metric_row(metric) for metric in (*definitions.REQUEST_METRICS, *definitions.RUN_METRICS)]
    return before + begin + "\n" + "\n".join(lines) + "\n" + end + after


def benchmark_schema() -> str:
    """Return the JSON schema of a benchmark's result."""
    return json.dumps(document.schema(), indent=2, ensure_ascii=False) + "\n"


def speculation() -> str:
    """Return the page of speculation, with the rows of the speed-up between its two marks."""
    before, begin, rest = (REFERENCE / "speculation.md").read_text(encoding="utf-8").partition(SPEEDUP_BEGIN)
    _rows, end, after = rest.partition(SPEEDUP_END)
    heads = ["acceptance", *(f"n_max {tokens}" for tokens in SPEEDUP_TOKENS)]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for percent in SPEEDUP_PERCENT:
        found = [speedup.speedup(percent / 100, tokens, SPEEDUP_DRAFT) for tokens in SPEEDUP_TOKENS]
        lines.append("| " + " | ".join([f"{percent} %", *(f"{each:.2f}" for each in found)]) + " |")
    return before + begin + "\n" + "\n".join(lines) + "\n" + end + after


PAGES = {
    "attention-kernels.md": attention,
    "benchmark.md": benchmark,
    "benchmark.schema.json": benchmark_schema,
    "flag-guard.md": flag_guard,
    "metrics.md": reference_metrics.page,
    "modules.md": modules,
    "speculation.md": speculation,
    "vllm.md": vllm,
    "vllm-config.schema.json": vllm_schema,
    "vllm-models.md": reference_vllm_models.page,
}


def main() -> None:
    """Write all pages."""
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
