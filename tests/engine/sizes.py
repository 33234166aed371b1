# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the size of a model in a quantisation without the model.

    PYTHONPATH=collections python3 -m tests.engine.sizes PATH/TO/llama-quantize [METADATA.json]

prints a table, and writes the models' metadata for plans (group_vars/all/models_computed.json of an inventory).

The engine's quantiser reports the type of each tensor (--dry-run). It reads a file of the model's real dimensions whose
f16 weights are one hole, so 1.3 TB take no space. The size of the header, which is mostly the vocabulary, is the
remainder of a published file with the same vocabulary.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.models.metadata import metadata_of
from tests.engine.generated import attention
from tests.engine.generated.attention import Latent
from tests.engine.generated.model import Dense, Model, header_of
from tests.models.gguf_writer import data_size

LINE = re.compile(r"^\[ *\d+/ *\d+\] (?P<name>\S+) .*type = +(?P<type>\S+), size = .*?(?:\((?P<new>\w+)\))?$")


@dataclass(frozen=True)
class Case:
    """A model, the size of its header, and its quantisations.

    :ivar known: bytes of the publisher's file, if known.
    :ivar compared: quantisations for comparison only.
    """

    name: str
    model: Callable[[], Model]
    header: int
    known: dict[str, int | None]
    compared: tuple[str, ...] = ()


# The remainder of OR1-Behemoth.Q4_K_M.gguf (47369119648 bytes, document 000).
QWEN3_HEADER = 5982112
# The remainder of Qwen2.5-72B-Instruct-Q4_K_M.gguf (47415715488 bytes).
QWEN2_HEADER = 5990048
# The remainder of a Q5_K_M of Strand-Rust-Coder-14B-v1 (10508873856 bytes).
STRAND_HEADER = 5968000
# The remainder of Llama-3.3-70B-Instruct-Q4_K_M.gguf (42520398816 bytes), which has the same vocabulary.
LLAMA_HEADER = 7867104

CASES = (
    Case(
        "OR1-Behemoth",
        lambda: attention.qwen3("or1-behemoth", Dense(80, 8192, 64, 8, 128, 29568, 151936)),
        QWEN3_HEADER,
        {"Q4_K_S": None, "Q4_K_M": 47369119648, "Q5_K_S": None, "Q6_K": None, "Q8_0": None},
    ),
    Case(
        "Qwen2.5-72B",
        lambda: attention.qwen2("qwen2.5-72b", Dense(80, 8192, 64, 8, 128, 29568, 152064)),
        QWEN2_HEADER,
        {"Q4_K_M": 47415715488},
    ),
    Case(
        "Llama-3.1-70B",
        lambda: attention.llama("llama-3.1-70b", Dense(80, 8192, 64, 8, 128, 28672, 128256), rope_factors=True),
        LLAMA_HEADER,
        {"Q4_K_M": None},
    ),
    Case(
        "Strand-Rust-Coder-14B",
        lambda: attention.qwen2("strand", Dense(48, 5120, 40, 8, 128, 13824, 152064)),
        STRAND_HEADER,
        {"Q5_K_M": 10508873856, "Q8_0": None},
        compared=("Q5_K_M",),
    ),
    # Converted in January 2025, before keys and values were split for the engine. Its header is unknown.
    Case(
        "DeepSeek-V3",
        lambda: attention.deepseek2(
            "deepseek-v3",
            Dense(61, 7168, 128, 128, 128, 18432, 129280),
            experts=256,
            latent=False,
            ranks=Latent(1536, 512, 64, 128, 128, 2048, 3, 8),
        ),
        0,
        {"Q4_K_M": None, "Q5_K_M": None, "Q8_0": None},
    ),
)


def quantised(quantize: str, path: Path, model: Model, kind: str) -> Model:
    """Return the model with the tensor types of the quantiser."""
    command = [quantize, "--dry-run", str(path), kind]
    told = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
    found = [match for line in told.stdout.splitlines() if (match := LINE.match(line.rstrip()))]
    types = {match["name"]: match["new"] or match["type"] for match in found}
    return replace(model, tensors=[replace(spec, type=types[spec.name]) for spec in model.tensors])


def metadata_for(case: Case, model: Model) -> dict[str, Any]:
    """Return the metadata for a plan, as in the lock file."""
    known = metadata_of(header_of(model))
    header = case.header or known.header
    return replace(known, name=case.name, header=header, file_size=header + data_size(model.tensors)).to_data()


def main(argv: Sequence[str]) -> int:
    """Print a row for each file."""
    quantize = argv[0] if argv else "llama-quantize"
    metadata: dict[str, Any] = {}
    print("| file | weights | bytes of the weights | header | file | published | bits a weight |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for case in CASES:
        model = case.model()
        weights = sum(math.prod(spec.dims) for spec in model.tensors)
        with tempfile.TemporaryDirectory() as folder:
            path = model.write(Path(folder) / "model.gguf")
            for kind, known in case.known.items():
                small = quantised(quantize, path, model, kind)
                size = data_size(small.tensors)
                print(
                    f"| {case.name} {kind} | {weights} | {size} | {case.header or '?'} | {size + case.header} "
                    f"| {known or '?'} | {size * 8 / weights:.2f} |"
                )
                if kind not in case.compared:
                    metadata[f"{case.name}-{kind}".lower()] = {"metadata": metadata_for(case, small)}
    if len(argv) > 1:
        text = json.dumps({"herd_models_computed": metadata}, indent=2, sort_keys=True)
        Path(argv[1]).write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
