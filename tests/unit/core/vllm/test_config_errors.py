# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each mistake in C(config.yaml) is one sentence with its line, and all mistakes of a file are found at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.vllm.config_document.findings import (
    MOST_SHOWN,
    Finding,
    InvalidConfigError,
)
from tests.unit.core.vllm import config_texts

TABLE = (Path(__file__).parents[3] / "fixtures" / "vllm" / "config-errors.txt").read_text(encoding="utf-8")
ROWS = [tuple(line.split(" | ")) for line in TABLE.splitlines() if not line.startswith("#")]
LEAST_MODELS = "models: {m: {huggingface_id: o/n, port: 8000}}\n"


@pytest.mark.parametrize(("path", "value", "error"), ROWS)
def test_wrong_value_is_one_error(path: str, value: str, error: str) -> None:
    (found,) = config_texts.errors(config_texts.with_value(path, value))
    file, line, text = found.split(":", 2)
    assert file == "config.yaml"
    assert int(line)
    assert text.removeprefix(f" {path.replace('*', 'm')}: ").strip() == error


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        # The document's own sample against too little memory writes vllm three times.
        (
            "active_model: m\nslurm: {account: a}\n" + LEAST_MODELS + "vllm:\n  gpu_memory_utilization: 0.85\n"
            "vllm:\n  max_num_seqs: 8\nvllm:\n  max_model_len_default: 16384\n",
            ["8: vllm: the key is written on lines 4, 6 and 8, and YAML keeps only the last one: write vllm once, with "
             "the keys of all."],
        ),
        (
            "active_model: m\nactive_model: xyz\nslurm: {account: a}\n" + LEAST_MODELS,
            ["2: active_model: expected a key of models (m), found xyz: name one of them, or add the model.",
             "2: active_model: the key is written on lines 1 and 2, and YAML keeps only the last one: remove all but "
             "one."],
        ),
        (
            "active_model: m\nslurm: {account: a}\nmodels:\n  m:\n    huggingface_id: o/n\n    port: 8000\n"
            "    port: 8001\n  m:\n    path: /w\n",
            ["7: models.m.port: the key is written on lines 6 and 7, and YAML keeps only the last one: remove all but "
             "one.",
             "8: models.m: the key is written on lines 4 and 8, and YAML keeps only the last one: write m once, with "
             "the keys of all."],
        ),
        # Errors of both occurrences are found, with the repetition.
        (
            "active_model: m\nslurm: {account: a}\n" + LEAST_MODELS + "vllm: {seed: x}\nvllm: {dtype: int8}\n",
            ["4: vllm.seed: expected a whole number from 0 to 4294967295, found x: write digits only.",
             "5: vllm: the key is written on lines 4 and 5, and YAML keeps only the last one: write vllm once, with "
             "the keys of all.",
             "5: vllm.dtype: expected auto, bfloat16, float16 or float32, found int8: choose one of them."],
        ),
        (
            "active_model: m\n",
            ["1: models: the key models is missing: add it, with a key for each model below it.",
             "1: slurm.account: the key account is missing: add it: the account that pays for the job."],
        ),
        (
            "active_model: m\nslurm: {account: a}\nmodels:\n",
            ["3: models: there is no model: add one."],
        ),
        (
            "active_model: m\nslurm:\n- account: a\nmodels:\n- name: m\n",
            ["3: slurm: expected keys below slurm, found a list: write its keys below slurm, each with two more "
             "spaces.",
             "5: models: expected keys below models, found a list: write each model as a key, and its settings below "
             "it."],
        ),
        # The keys of the model are not indented below it.
        (
            "active_model: m\nslurm: {account: a}\nmodels:\n  m:\n  huggingface_id: o/n\n  port: 8000\n",
            ["4: models.m: the model has no weights: add huggingface_id, or path for a local directory.",
             "4: models.m.port: the key port is missing: add it: the port of its API.",
             "5: models.huggingface_id: the key belongs to a model: indent it below the model's key.",
             "6: models.port: the key belongs to a model: indent it below the model's key."],
        ),
        # Text from a web page has spaces that YAML takes for letters.
        (
            "active_model: m\nslurm: {account: a}\n" + LEAST_MODELS + "\u00a0\u00a0vllm: {}\n",
            ["4: '\\xa0\\xa0vllm': the key is unknown: replace the no-break spaces around it by spaces."],
        ),
        (
            "active_model: m\nslurm: {account: a}\nmodels: {m: openai/gpt-oss-20b}\n",
            ["3: models.m: expected keys below models.m, found openai/gpt-oss-20b: write huggingface_id, port and the "
             "other keys below it."],
        ),
        (
            "active_model: m\nslurm: {account: a}\nmodels: {m: }\n",
            ["3: models.m: the model has no weights: add huggingface_id, or path for a local directory.",
             "3: models.m.port: the key port is missing: add it: the port of its API."],
        ),
        (
            "active_model: m\nslurm: {account: a}\nmodels:\n  m: {huggingface_id: o/n, port: 8000}\n"
            "  n: {huggingface_id: o/n, port: 8000}\n",
            ["5: models.n.port: port 8000 is that of m too (line 4): write a free one such as 8001."],
        ),
        (
            "active_model: a-b\nslurm: {account: a}\nmodels:\n  a-b: {huggingface_id: o/n, port: 8000}\n"
            "  A_b: {huggingface_id: o/n, port: 8001}\n",
            ["5: models.A_b: its files have the names of those of a-b: rename one; case, - and _ make no difference."],
        ),
        (
            "active_model: m\nslurm: {account: a}\nmodels:\n  m: {huggingface_id: o/n, port: 8000}\n"
            "  ../x: {huggingface_id: o/n, port: 8001}\n",
            ["5: models.../x: expected a key of at most 64 letters, digits, dots, underscores and hyphens, found ../x: "
             "rename it; the name for the API goes to name."],
        ),
        (
            "active_model: m\nslurm: {account: a}\nmodels:\n  m:\n    huggingface_id: o/n\n    port: 8000\n"
            "    gpus: 8\n    nodes: 3\n",
            ["7: models.m.gpus: expected gpus, the GPUs of all nodes together, as a multiple of nodes, found 8 with "
             "nodes 3: write 6 or 9, or change nodes."],
        ),
    ],
)  # fmt: skip
def test_all_errors_of_a_document_are_found(document: str, expected: list[str]) -> None:
    assert sorted(config_texts.errors(document)) == sorted(f"config.yaml:{line}" for line in expected)


def test_wrong_value_brings_no_second_error() -> None:
    """A model whose port or GPUs are wrong takes part in no check of ports or nodes."""
    document = config_texts.text(models="{m: {huggingface_id: x, path: 1, port: a, gpus: b, nodes: 3}}")
    keys = [error.split(": ")[1] for error in config_texts.errors(document)]
    assert keys == ["models.m.gpus", "models.m.huggingface_id", "models.m.path", "models.m.port"]


def test_errors_are_shown_by_line_with_their_number() -> None:
    with pytest.raises(InvalidConfigError) as raised:
        config_texts.parse(config_texts.text(slurm="{account: a, mem_per_gpu: x}", active_model="n"))
    lines = str(raised.value).splitlines()
    assert lines[0] == "config.yaml has 2 errors:"
    assert [line.split(": ")[0] for line in lines[1:]] == ["config.yaml:1", "config.yaml:2"]


def test_single_error_has_no_heading() -> None:
    with pytest.raises(InvalidConfigError) as raised:
        config_texts.parse(config_texts.text(active_model="n"))
    assert str(raised.value).startswith("config.yaml:1: active_model: ")


def test_thousands_of_errors_are_cut() -> None:
    error = InvalidConfigError("f", [Finding(line, "", "x") for line in range(2000)])
    assert len(str(error).splitlines()) == MOST_SHOWN + 2
    assert str(error).endswith("1950 more errors are not shown.")


@pytest.mark.parametrize("word", ["\\x1b[31m", "\\ud800", "\\n" * 5, "x" * 5000])
def test_errors_are_printable_and_short(word: str) -> None:
    """Terminal sequences, lone surrogates and long texts of the file do not reach the terminal."""
    document = config_texts.text() + f'"{word}": "{word}"\n'
    document += f'models: {{"{word}": {{"{word}": "{word}", port: "{word}", "{word}": 1}}}}\n'
    for error in config_texts.errors(document):
        assert error.isprintable()
        assert error.encode()
        assert len(error) < 700
