# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare plans with what both engines would allocate, for a small model of every architecture.

python3 -m tests.engine.generated.listed         ask both engines, and write tests/fixtures/placement/architectures
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.models.metadata import (
    ModelMetadata,
    from_data,
    metadata_of,
)
from ansible_collections.herd.inference.plugins.module_utils.core.placement.graph import device_graph
from tests.engine.generated.allocation import Allocation, Engine, engine, program
from tests.engine.generated.every_architecture import every_architecture
from tests.engine.generated.model import Model, header_of
from tests.engine.generated.planning import DATA, RELEASES, planner
from tests.engine.measure import Case, MeasureError

PLACE = DATA / "architectures"


@dataclass(frozen=True)
class Compared:
    """Planned and real bytes of one device; C(is_followed): whether the plan follows the engine's graph."""

    release: str
    case: Case
    device: int
    is_followed: bool
    planned: Allocation
    real: Allocation

    @property
    def is_under(self) -> bool:
        return any(mine < theirs for mine, theirs in zip(astuple(self.planned), astuple(self.real), strict=True))

    @property
    def is_exact(self) -> bool:
        return self.planned == self.real

    @property
    def ratio(self) -> float:
        return sum(astuple(self.planned)) / max(sum(astuple(self.real)), 1)


def astuple(found: Allocation) -> tuple[int, int, int]:
    return found.weights, found.kept, found.compute


def cases(release: str) -> list[Case]:
    """List cases that differ in what a bound depends on: context, types, devices, slots, micro-batch, attention."""
    small = Case("", release, 4096)
    return [
        replace(small, context=32768, split=(3, 5)),
        replace(small, context=8192, slots=2, cache_type="q8_0", value_type="f16"),
        replace(small, context=2048, split=(1, 1, 1, 1), ubatch=1024, batch=1024),
        replace(small, split=(1,), flash_attention="off"),
        replace(small, context=8192, split=(3, 1), slots=4, unified=True, ubatch=256, flash_attention="off"),
        replace(small, context=131072, split=(2, 3), cache_type="q4_0"),
    ]


def allocations(model: Model, engines: dict[str, Engine]) -> list[dict[str, Any]]:
    """Ask the engines. A release that refuses a model or a case has no entry for it."""
    found = []
    with tempfile.TemporaryDirectory(prefix="herd-models-") as place:
        path = model.write(Path(place) / "model.gguf")
        for release, running in engines.items():
            for case in cases(release):
                try:
                    devices = running.allocate(case, path)[: len(case.split)]
                except MeasureError as error:
                    print(f"{model.name}: {error}", file=sys.stderr)
                    continue
                given = {key: value for key, value in asdict(case).items() if value != asdict(Case("", "", 0))[key]}
                found.append({"case": given, "devices": [astuple(device) for device in devices]})
    return found


def store(model: Model, runs: Sequence[dict[str, Any]]) -> None:
    """Write the metadata of a model and what the engines answered."""
    PLACE.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"metadata": metadata_of(header_of(model)).to_data()})[1:-1]
    lines = ",\n  ".join(json.dumps(run) for run in runs)
    (PLACE / f"{model.name}.json").write_text(f'{{\n {text},\n "runs": [\n  {lines}\n ]\n}}\n')


def compared(path: Path) -> Iterator[Compared]:
    """Plan each case of a stored model, and compare it with the answer."""
    data = json.loads(path.read_text())
    metadata: ModelMetadata = from_data(data["metadata"])
    is_followed = device_graph.is_followed(metadata)
    for run in data["runs"]:
        given: dict[str, Any] = {"model": path.stem, **run["case"]}
        if "split" in given:
            given["split"] = tuple(given["split"])
        case = Case(**given)
        plans = planner(metadata, case).place_by(case.split)
        for number, (plan, real) in enumerate(zip(plans, run["devices"], strict=True)):
            planned = Allocation(plan.weights, plan.cache + plan.state, plan.compute)
            yield Compared(case.release, case, number, is_followed, planned, Allocation(*real))


def summary() -> dict[str, object]:
    """Compose the numbers and the table for the accuracy page."""
    rows, everything = [], []
    for path in sorted(PLACE.glob("*.json")):
        found = list(compared(path))
        everything += found
        for release in RELEASES:
            own = [each for each in found if each.release == release]
            if own:
                ratios = sorted(each.ratio for each in own)
                rows.append(
                    f"| {path.stem} | {release} | {'graph' if own[0].is_followed else 'bound'} | {len(own)} | "
                    f"{sum(each.is_exact for each in own)} | {sum(each.is_under for each in own)} | "
                    f"{ratios[len(ratios) // 2]:.2f} | {ratios[-1]:.2f} |"
                )
    return {
        "listed": len({name_of(path) for path in PLACE.glob("*.json")}),
        "every": len(everything),
        "every_under": sum(each.is_under for each in everything),
        "listed_rows": "\n".join(rows),
    }


def name_of(path: Path) -> str:
    """Return the architecture of a stored model."""
    return str(json.loads(path.read_text())["metadata"]["architecture"])


def measure_all() -> None:
    """Ask both engines about every model."""
    with ExitStack() as stack:
        engines = {release: stack.enter_context(engine(program(release))) for release in RELEASES}
        for model in every_architecture():
            print(model.name, file=sys.stderr)
            runs = allocations(model, engines)
            if runs:
                store(model, runs)


if __name__ == "__main__":
    measure_all()
