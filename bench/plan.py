"""Compare the time of a plan with that of reading the same header with the Python package gguf; write JSON and a page.

    .venv/bin/python bench/plan.py [--rounds 3]

The files have the headers of large published models, with all layers and vocabularies. Their weights are holes. Each
run is a process of its own, which measures its processor time after the imports: other programs on the machine hardly
change that. The rounds are interleaved, and the median counts.

- "gguf" reads the header with GGUFReader, the class behind the package's gguf-dump.
- "read" does what gguf_info does: it reads the header, compares it with the tensors, and derives the metadata.
- "plan" does what playbooks/plan.yml does with metadata of the inventory: placement on the hosts of
  inventory/beefcake2, with the search for remedies where the model does not fit.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "collections")]

from gguf import GGUFReader

from ansible_collections.herd.inference.plugins.filter.placement import placement
from ansible_collections.herd.inference.plugins.module_utils.core.models.metadata import ModelMetadata
from ansible_collections.herd.inference.plugins.module_utils.core.models.metadata_reader import metadata_of_files
from ansible_collections.herd.inference.plugins.module_utils.ports.models.gguf_source import open_file
from tests.engine.generated.attention import Latent, deepseek2, llama
from tests.engine.generated.model import Q4_0, Dense, Model

RESULTS = ROOT / "bench" / "results"
PAGE = ROOT / "docs" / "reference" / "plan-speed.md"
RELEASE = "0c1e57098"
MIB = 1 << 20
WAYS = ("gguf", "read", "plan")


def models() -> list[Model]:
    """Make the headers: a dense model on three hosts, and the largest one of many experts."""
    ranks = Latent(1536, 512, 64, 128, 128, 2048, dense=3, used=8)
    return [
        llama("llama-3-70b", Dense(80, 8192, 64, 8, 128, 28672, 128256, kinds=Q4_0)),
        deepseek2("deepseek-v3-671b", Dense(61, 7168, 128, 128, 128, 18432, 129280, kinds=Q4_0), 256, ranks=ranks),
    ]


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


# --- one run, in a process of its own


def read_with_package(path: Path) -> Callable[[], object]:
    return lambda: GGUFReader(path)


def metadata_reader(path: Path) -> Callable[[], ModelMetadata]:
    return lambda: metadata_of_files(str(path.parent), path.name, lambda name: open_file(Path(name)))


def planner(path: Path) -> Callable[[], object]:
    """Prepare the call of the filter that plan.yml uses, with the model's entry and the facts of three hosts."""
    entry = {"metadata": metadata_reader(path)().to_data()}
    gpu = {"name": "Tesla V100S-PCIE-32GB", "memory_mib": 32768}
    host = {"herd_gpus": [gpu], "herd_memory_gib": 96, "herd_rpc_port": 50052}
    names = ("vllm-node2", "vllm-node3", "vllm-node1")
    hosts = {name: dict(host) for name in names}
    return lambda: placement(entry, names[:2], names[2], hosts, RELEASE)


PREPARE: dict[str, Callable[[Path], Callable[[], object]]] = {
    "gguf": read_with_package,
    "read": metadata_reader,
    "plan": planner,
}


def run_once(way: str, path: Path) -> None:
    """Print the processor seconds of one run, and the largest resident set of this process."""
    work = PREPARE[way](path)
    began = time.process_time()
    found = work()
    seconds = time.process_time() - began
    fits = found.get("fits") if isinstance(found, dict) else None
    if isinstance(found, dict) and not found["known"]:
        raise SystemExit(f"bench: no plan: {found['problems']}")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "memory": memory, "fits": fits}))


# --- all runs


def measure(way: str, path: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(Path(__file__)), "--once", way, str(path)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"bench: {way} failed: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def compare(model: Model, folder: Path, rounds: int) -> dict[str, Any]:
    path = model.write(folder / f"{model.name}.gguf")
    header = len(model.header())
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for number in range(rounds):
        shift = number % len(WAYS)
        for way in WAYS[shift:] + WAYS[:shift]:
            runs[way].append(measure(way, path))
        say(f"{model.name}: " + ", ".join(f"{way} {1000 * runs[way][-1]['seconds']:.0f} ms" for way in WAYS))
    path.unlink()
    seconds = {way: statistics.median(run["seconds"] for run in found) for way, found in runs.items()}
    return {
        "header_mib": round(header / MIB, 1),
        "tensors": len(model.tensors),
        "fits": runs["plan"][0]["fits"],
        "milliseconds": {way: round(1000 * found) for way, found in seconds.items()},
        "memory_mib": {way: round(max(run["memory"] for run in found) / MIB) for way, found in runs.items()},
        "gguf_times_read": round(seconds["gguf"] / seconds["read"], 1),
        "plan_times_gguf": round(seconds["plan"] / seconds["gguf"], 2),
    }


def page(figures: dict[str, Any]) -> str:
    """Write the figures as a page."""
    lines = [
        "# Planning time",
        "",
        "Written by `make bench-plan`; the figures are in `bench/results/plan.json`.",
        "",
        f"Headers of large models, read and planned on one machine ({figures['machine']['cores']} cores), each run in a"
        " process of its own. Milliseconds of",
        f"processor time without imports, medians of {figures['rounds']} interleaved rounds. `gguf` is the Python"
        " package's GGUFReader on the",
        "same file. `read` checks the header and derives the metadata, as `gguf_info`",
        "does. `plan` is the placement of `playbooks/plan.yml` on the three hosts of `inventory/beefcake2`, with the"
        " search for remedies where the",
        "model does not fit. Memory is the largest resident set of the process, with all imports.",
        "",
        "| model | header, MiB | tensors | gguf, ms | read, ms | gguf / read | plan, ms | plan / gguf | memory, MiB:"
        " gguf, read, plan |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, found in figures["models"].items():
        times, memory = found["milliseconds"], found["memory_mib"]
        lines.append(
            f"| {name} | {found['header_mib']} | {found['tensors']} | {times['gguf']} | {times['read']} |"
            f" {found['gguf_times_read']} | {times['plan']} | {found['plan_times_gguf']} |"
            f" {memory['gguf']}, {memory['read']}, {memory['plan']} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--once", nargs=2, metavar=("WAY", "FILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.once:
        run_once(arguments.once[0], Path(arguments.once[1]))
        return
    with tempfile.TemporaryDirectory(prefix="herd-bench-plan-") as folder:
        found = {model.name: compare(model, Path(folder), arguments.rounds) for model in models()}
    figures = {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "rounds": arguments.rounds,
        "models": found,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "plan.json").write_text(json.dumps(figures, indent=2) + "\n")
    PAGE.write_text(page(figures))
    say(f"written to {(RESULTS / 'plan.json').relative_to(ROOT)} and {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
