# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many bytes a model takes in a quantisation, without the model.

    python3 -m tests.engine.sizes PATH/TO/llama-quantize

The engine's own quantiser says which type each tensor gets (--dry-run). It is shown a file of the model's real
dimensions whose f16 weights are one hole, so that 1.3 TB take no space. What it cannot say is how long the header
is, which is mostly the vocabulary: that is the rest of a published file with the same vocabulary.
"""

from __future__ import annotations

import math
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.engine import models
from tests.engine.models import Dense, Latent, Model
from tests.lab.gguf_writer import ALIGNMENT, TENSOR_TYPES

LINE = re.compile(r"^\[ *\d+/ *\d+\] (?P<name>\S+) .*type = +(?P<type>\S+), size = .*?(?:\((?P<new>\w+)\))?$")
#: Weights in a block and bytes of a block, by ggml's name of the type.
BLOCKS = {name: entry[1:] for name, entry in TENSOR_TYPES.items()} | {"q5_1": (32, 24)}


@dataclass(frozen=True)
class Case:
    """A model, what its header takes, and the quantisations that are asked for.

    :ivar known: bytes of the publisher's file where somebody has it.
    """

    name: str
    model: Callable[[], Model]
    header: int
    known: dict[str, int | None]


# The rest of OR1-Behemoth.Q4_K_M.gguf (47369119648 bytes, document 000).
QWEN3_HEADER = 5982112
# The rest of Qwen2.5-72B-Instruct-Q4_K_M.gguf (47415715488 bytes).
QWEN2_HEADER = 5990048
# The rest of a Q5_K_M of Strand-Rust-Coder-14B-v1 (10508873856 bytes).
STRAND_HEADER = 5968000
# The rest of Llama-3.3-70B-Instruct-Q4_K_M.gguf (42520398816 bytes), which has the same vocabulary.
LLAMA_HEADER = 7867104

CASES = (
    Case(
        "OR1-Behemoth",
        lambda: models.qwen3("or1-behemoth", Dense(80, 8192, 64, 8, 128, 29568, 151936)),
        QWEN3_HEADER,
        {"Q4_K_S": None, "Q4_K_M": 47369119648, "Q5_K_S": None, "Q6_K": None, "Q8_0": None},
    ),
    Case(
        "Qwen2.5-72B",
        lambda: models.qwen2("qwen2.5-72b", Dense(80, 8192, 64, 8, 128, 29568, 152064)),
        QWEN2_HEADER,
        {"Q4_K_M": 47415715488},
    ),
    Case(
        "Llama-3.1-70B",
        lambda: models.llama("llama-3.1-70b", Dense(80, 8192, 64, 8, 128, 28672, 128256), rope_factors=True),
        LLAMA_HEADER,
        {"Q4_K_M": None},
    ),
    Case(
        "Strand-Rust-Coder-14B-v1",
        lambda: models.qwen2("strand", Dense(48, 5120, 40, 8, 128, 13824, 152064)),
        STRAND_HEADER,
        {"Q5_K_M": 10508873856, "Q8_0": None},
    ),
    # Converted in January 2025, when keys and values were not yet split for the engine. Its header is not known.
    Case(
        "DeepSeek-V3",
        lambda: models.deepseek2(
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


def quantised_size(quantize: str, path: Path, model: Model, kind: str) -> int:
    """Bytes of all tensors with the types that the quantiser gives them, padded as in the file."""
    told = subprocess.run(
        [quantize, "--dry-run", str(path), kind],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    found = [match for line in told.stdout.splitlines() if (match := LINE.match(line.rstrip()))]
    types = {match["name"]: match["new"] or match["type"] for match in found}
    total = 0
    for spec in model.tensors:
        block, size = BLOCKS[types[spec.name]]
        raw = math.prod(spec.dims) // block * size
        total += raw + -raw % ALIGNMENT
    return total


def main(argv: Sequence[str]) -> int:
    """Print a row for each file."""
    quantize = argv[0] if argv else "llama-quantize"
    print("| file | weights | bytes of the weights | header | file | published | bits a weight |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for case in CASES:
        model = case.model()
        weights = sum(math.prod(spec.dims) for spec in model.tensors)
        with tempfile.TemporaryDirectory() as folder:
            path = model.write(Path(folder) / "model.gguf")
            for kind, known in case.known.items():
                size = quantised_size(quantize, path, model, kind)
                total = size + case.header
                print(
                    f"| {case.name} {kind} | {weights} | {size} | {case.header or '?'} | {total} "
                    f"| {known or '?'} | {size * 8 / weights:.2f} |"
                )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
