# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the planner with the memory that the engine allocates, and record both.

    python3 -m tests.engine.accuracy             measure everything, write data and table
    python3 -m tests.engine.accuracy --quick     one context of each model, compare only

Each model's file is written when its cases are measured. To continue after an interruption, measure the rest, then
write the page from all files:

    python3 -m tests.engine.accuracy --model NAME [--model NAME ...]
    python3 -m tests.engine.generated.listed
    python3 -m tests.engine.generated.real_starts
    python3 -m tests.engine.accuracy --table

The measured bytes go to tests/fixtures/placement, from where unit tests check the planner without an engine. The table
goes to docs/reference/placement-accuracy.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.models.metadata import (
    ModelMetadata,
    from_data,
    metadata_of,
)
from ansible_collections.herd.inference.plugins.module_utils.core.placement import compute_buffer
from ansible_collections.herd.inference.plugins.module_utils.core.placement.planner import DevicePlan
from tests.lab.process import LabError

from .builds import binaries
from .generated import listed, real_starts
from .generated.model import Model, header_of
from .generated.planning import DATA, RELEASES, ROOT, planner
from .measure import Case, MeasureError, measure
from .models import models, published

PAGE = ROOT / "docs" / "reference" / "placement-accuracy.md"
MIB = 1 << 20
#: Goal for compute buffers: within 5 % or 8 MiB above, and never below.
SHARE, MARGIN = 0.05, 8 * MIB


def predicted(metadata: ModelMetadata, case: Case) -> tuple[list[DevicePlan], int]:
    """Plan the bytes on each worker for the case's split, and of the head's compute buffer."""
    found = planner(metadata, case)
    head = compute_buffer.head_bytes(
        metadata, found.request.cache, found.rules, found.copies, case.flash_attention != "off"
    )
    return found.place_by(case.split), head


@dataclass(frozen=True)
class Judged:
    """Measured and planned bytes of one worker."""

    model: str
    release: str
    device: int
    is_exact: bool
    measured: int
    foreseen: int

    @property
    def is_under(self) -> bool:
        return self.foreseen < self.measured

    @property
    def is_within(self) -> bool:
        return not self.is_under and self.foreseen - self.measured <= max(SHARE * self.measured, MARGIN)


def judge(metadata: ModelMetadata, case: Case, devices: Sequence[Mapping[str, Any]]) -> Iterator[Judged]:
    """Compare measurement and plan. "Exact" means weights, cache, states and layers to the byte."""
    plans, _head = predicted(metadata, case)
    for number, (plan, got) in enumerate(zip(plans, devices, strict=True)):
        layers = [*range(plan.first, plan.first + plan.layers), *([len(metadata.layers)] if plan.has_output else [])]
        is_exact = (plan.weights, plan.cache, plan.state, layers) == (
            got["weights"],
            got["cache"],
            got["recurrent"],
            got["layers"],
        )
        yield Judged(case.model, case.release, number, is_exact, got["compute"], plan.compute)


def cases(model: Model, release: str) -> list[Case]:
    """List the cases: three contexts by three cache types on two workers, then other splits, slots and batches."""
    small = Case(model.name, release, 4096)
    found = [
        replace(small, context=context, cache_type=cache_type)
        for context in (512, 4096, 32768)
        for cache_type in ("f16", "q8_0", "q4_0")
    ]
    return [
        *found,
        replace(small, split=(1,)),
        replace(small, split=(1, 2, 1)),
        replace(small, context=16384, cache_type="q8_0", slots=2),
        replace(small, context=8192, split=(3, 1), slots=4, unified=True, ubatch=256),
        replace(small, context=2048, split=(1, 1, 1, 1), ubatch=1024, batch=1024),
        replace(small, flash_attention="off"),
    ]


def large_cases(model: Model, release: str) -> list[Case]:
    """List the cases for layers of published sizes, which show errors in large buffers."""
    return [Case(model.name, release, context) for context in (512, 8192, 32768)]


def measured(chosen: Sequence[Model], is_large: bool, quick: bool) -> Iterator[tuple[Model, list[dict[str, Any]]]]:
    """Measure every case of every model."""
    with tempfile.TemporaryDirectory(prefix="herd-models-") as place:
        for model in chosen:
            path = model.write(Path(place) / "model.gguf")
            rows = []
            for release in RELEASES:
                wanted = large_cases(model, release) if is_large else cases(model, release)
                for case in wanted[4:5] if quick else wanted:
                    print(f"{model.name} {release} {case.context} {case.cache_type} {case.split}", file=sys.stderr)
                    found = measure(case, path, binaries(release))
                    rows.append({"case": asdict(case), **found.to_data()})
            path.unlink()
            yield model, rows


def store(model: Model, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a file for each model with its metadata and the measured cases."""
    write(model, [_compact(row) for row in rows])


def write(model: Model, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the file of a model, one line for each case."""
    DATA.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"metadata": metadata_of(header_of(model)).to_data()})[1:-1]
    runs = ",\n  ".join(json.dumps(run) for run in rows)
    (DATA / f"{model.name}.json").write_text(f'{{\n {text},\n "runs": [\n  {runs}\n ]\n}}\n')


def _compact(row: Mapping[str, Any]) -> dict[str, Any]:
    """Drop values that are equal in every run, or that vary between runs of a case."""
    defaults = asdict(Case("", "", 0))
    case = {key: value for key, value in row["case"].items() if value != defaults[key]}
    devices = [{key: value for key, value in device.items() if key != "peak_rss"} for device in row["devices"]]
    return {"case": case, "devices": devices, "head_mib": row["head_mib"]}


def load(path: Path) -> tuple[dict[str, Any], list[tuple[Case, list[dict[str, Any]], dict[str, float]]]]:
    """Read a model's metadata, and its cases with devices and the head's buffers."""
    data = json.loads(path.read_text())
    runs = []
    for run in data["runs"]:
        given: dict[str, Any] = dict(run["case"])
        given |= {key: tuple(given[key]) for key in ("split", "more") if key in given}
        runs.append((Case(**given), run["devices"], run["head_mib"]))
    return data["metadata"], runs


def page(judged: Mapping[str, Sequence[Judged]], bounds: Sequence[Judged], large: Sequence[str]) -> str:
    """Compose the page of the reference.

    :param bounds: the same devices, planned as if the architecture were unknown.
    """
    rows = []
    for name, found in judged.items():
        for release in RELEASES:
            own = [each for each in found if each.release == release]
            if not own:
                continue
            over = [each.foreseen - each.measured for each in own]
            worst = max(own, key=lambda each: each.foreseen - each.measured)
            rows.append(
                f"| {name} | {release} | {len(own)} | {sum(each.is_exact for each in own)} | "
                f"{sum(each.is_under for each in own)} | {sum(each.is_within for each in own)} | "
                f"{sorted(over)[len(over) // 2] / MIB:.1f} | {max(over) / MIB:.1f} of {worst.measured / MIB:.0f} |"
            )
    everything = [each for found in judged.values() for each in found]
    ratios = sorted(each.foreseen / each.measured for each in bounds if each.measured)
    return HEAD.format(
        devices=len(everything),
        models=len(judged),
        exact=sum(each.is_exact for each in everything),
        under=sum(each.is_under for each in everything),
        within=sum(each.is_within for each in everything),
        equal=sum(each.foreseen == each.measured for each in everything),
        bound_median=ratios[len(ratios) // 2],
        bound_most=ratios[-1],
        large=", ".join(large),
        rows="\n".join(rows),
        **listed.summary(),
        **real_starts.summary(),
    )


HEAD = """\
# How accurate placement is

Written by `make accuracy`; do not edit. The command starts head and workers of both releases on one machine with
{models} generated models (tests/engine/models.py), and compares the plan with the bytes that each worker allocates and
the layers that the head assigns to it.

- **Weights, key-value cache, recurrent states, layers**: equal to the byte on {exact} of {devices} devices.
- **Compute buffers**: never less than the engine allocates ({under} of {devices} less), within 5 % or 8 MiB above on
  {within} of {devices}, and equal to the byte on {equal}. The planner builds the engine's graph for these layers, and
  follows scheduler and allocator through it (core/placement/graph), including holes between tensors.
- Layers of published sizes, a few of each: {large}. The others are small, all dimensions different.
- An unknown architecture, or `metadata` without `details`, gets an upper bound: 1.6 times the widest point
  of any known kind of layer with its dimensions. For the models below, the bound is {bound_median:.2f} times the
  measured size in the median, {bound_most:.1f} times at most, and never less. The plan reports an unknown architecture.
- **CUDA is not measured**: padding to 128 bytes and to rows of 512 weights, the context, and scratch memory of flash
  attention and half-precision copies follow from the engine's source. A plan marks them as modelled and leaves
  `head_server_gpu_reserve_mib` free.

Cases of the small models: contexts of 512, 4096 and 32768 tokens by caches in f16, q8_0 and q4_0 on two workers; one,
three and four workers with unequal shares; several slots, unified and not; micro-batches of 256 and 1024; flash
attention off. Each row counts devices. "over" is the planned size minus the measured one, in MiB.

| model | release | devices | exact | under | within 5 % or 8 MiB | over, median | over, most |
| --- | --- | --- | --- | --- | --- | --- | --- |
{rows}

## Every architecture

A small model of {listed} architectures, from the engine's own list of them (tests/engine/generated/architectures.json).
Both engines compute what they would allocate, without loading the weights (tests/engine/generated/allocation.cpp). For
320 devices of five small models, the answer was equal to the bytes of a real start. For the models below, head and
workers of 0c1e57098 were started in the same cases (tests/engine/generated/real_starts.py). The bytes were equal to the
answer on {started_equal} of {started} devices, and **the plan was below them on {started_under}**. These models have a
second cache for an indexer, shared layers, windows, or recurrent states. The last columns are MiB of both devices with
32768 tokens on shares of 3:5, allocated of planned.

| model | devices started | equal to the answer | under | weights | caches and states | compute |
| --- | --- | --- | --- | --- | --- | --- |
{started_rows}

Other recurrent models, models with windows and models with a latent cache were not started. An architecture of the
engine that is not in the table below was not measured: encoders, vision and speech parts, drafts, and files whose
header the reader refuses.

Plans of "graph" follow the engine's graph; the columns say how exact each one is. Plans of "bound" are upper bounds:
weights and caches equal to the engine's or above, compute buffers by the bound. Its factors were chosen so that this
set is respected; models of other dimensions are no part of it. **{every_under} of {every} devices get less than the
engine allocates.** Cases: 32768 tokens on shares of 3:5; keys in q8_0 beside values in f16 with two slots; four devices
with micro-batches of 1024; flash attention off, also with a unified cache; 131072 tokens in q4_0.
"median" and "most" are the planned bytes of a device divided by the real ones.

| model | release | planned by | devices | exact | under | median | most |
| --- | --- | --- | --- | --- | --- | --- | --- |
{listed_rows}
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tests.engine.accuracy", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one context of each small model, and nothing is written")
    parser.add_argument(
        "--table", action="store_true", help="only write metadata and page anew, from what was measured"
    )
    parser.add_argument("--model", action="append", default=[], help="only these models; the page needs all")
    options = parser.parse_args(argv)
    large = [model.name for model in published()]
    try:
        if not options.table:
            for is_large, chosen in ((False, models()), (True, [] if options.quick else published())):
                wanted = [model for model in chosen if not options.model or model.name in options.model]
                for model, rows in measured(wanted, is_large, options.quick):
                    if options.quick:
                        metadata = metadata_of(header_of(model))
                        for row in rows:
                            for each in judge(metadata, Case(**row["case"]), row["devices"]):
                                if not each.is_exact or each.is_under:
                                    raise MeasureError(f"the plan is wrong: {each}")
                    else:
                        store(model, rows)
        if options.quick or options.model:
            return 0
        if not options.table:
            listed.measure_all()
            real_starts.main()
        names = [*(model.name for model in models()), *large]
        judged: dict[str, list[Judged]] = {}
        bounds: list[Judged] = []
        if options.table:
            for model in (*models(), *published()):
                write(model, json.loads((DATA / f"{model.name}.json").read_text())["runs"])
        for name in names:
            data, runs = load(DATA / f"{name}.json")
            for case, devices, _head in runs:
                metadata = from_data(data)
                judged.setdefault(name, []).extend(judge(metadata, case, devices))
                bounds.extend(judge(replace(metadata, details=None), case, devices))
        PAGE.write_text(page(judged, bounds, large))
    except (MeasureError, LabError) as error:
        print(f"accuracy: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
