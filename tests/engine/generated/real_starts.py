# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start head and workers with small models of architectures that `make accuracy` otherwise only asks the engine about.

python3 -m tests.engine.generated.real_starts    start them, and write tests/fixtures/placement/starts/0c1e57098.json
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.engine.builds import binaries
from tests.engine.generated.allocation import Allocation
from tests.engine.generated.every_architecture import every_architecture
from tests.engine.generated.listed import PLACE, Compared, astuple, compared
from tests.engine.generated.planning import DATA
from tests.engine.measure import Case, MeasureError, measure

RESULT = DATA / "starts" / "0c1e57098.json"
RELEASE = "0c1e57098"
_MIB = 1 << 20
#: Second caches, shared caches, windows, states, and latent caches.
NAMES = ("gemma4", "gemma4-moe", "deepseek32", "glm-dsa", "lfm2", "gemma3n", "qwen35", "rwkv7")


def asked(name: str) -> Iterator[list[Compared]]:
    """List the devices of each case about which the engine was asked."""
    devices: list[Compared] = []
    for each in compared(PLACE / f"{name}.json"):
        if each.release != RELEASE:
            continue
        if each.device == 0 and devices:
            yield devices
            devices = []
        devices.append(each)
    if devices:
        yield devices


def started(name: str, case: Case, path: Path) -> dict[str, Any] | None:
    """Start the engine for a case. Return None if it refuses the case."""
    try:
        found = measure(case, path, binaries(case.release))
    except MeasureError as error:
        print(f"{name}: {str(error)[-200:]}", file=sys.stderr)
        return None
    given = {key: value for key, value in asdict(case).items() if value != asdict(Case("", "", 0))[key]}
    sizes = [(device.weights, device.cache + device.recurrent, device.compute) for device in found.devices]
    return {"case": given, "devices": sizes}


def main() -> None:
    models = {model.name: model for model in every_architecture()}
    rows = []
    with tempfile.TemporaryDirectory(prefix="herd-models-") as place:
        for name in NAMES:
            path = models[name].write(Path(place) / "model.gguf")
            for devices in asked(name):
                print(name, devices[0].case.context, devices[0].case.split, file=sys.stderr)
                row = started(name, devices[0].case, path)
                if row:
                    rows.append(row)
            path.unlink()
    RESULT.write_text("[\n " + ",\n ".join(json.dumps(row) for row in rows) + "\n]\n", encoding="utf-8")


def stored() -> Iterator[tuple[Compared, Allocation]]:
    """List the devices of the stored starts: the plan with the engine's answer, and the bytes of the start."""
    by_case = {(devices[0].case.model, devices[0].case): devices for name in NAMES for devices in asked(name)}
    for row in json.loads(RESULT.read_text(encoding="utf-8")):
        given = dict(row["case"])
        given |= {key: tuple(given[key]) for key in ("split", "more") if key in given}
        case = Case(**given)
        for each, sizes in zip(by_case[case.model, case], row["devices"], strict=True):
            yield each, Allocation(*sizes)


def summary() -> dict[str, object]:
    """Compose the numbers and the table for the accuracy page."""
    pairs, rows = list(stored()), []
    for name in NAMES:
        own = [(each, real) for each, real in pairs if each.case.model == name]
        first = [(each, real) for each, real in own if each.case == own[0][0].case]
        cells = [
            f"{sum(getattr(real, part) for _each, real in first) / _MIB:.0f} of "
            f"{sum(getattr(each.planned, part) for each, _real in first) / _MIB:.0f}"
            for part in ("weights", "kept", "compute")
        ]
        equal = sum(real == each.real for each, real in own)
        rows.append(f"| {name} | {len(own)} | {equal} | {sum(under(*pair) for pair in own)} | {' | '.join(cells)} |")
    return {
        "started": len(pairs),
        "started_equal": sum(real == each.real for each, real in pairs),
        "started_under": sum(under(*pair) for pair in pairs),
        "started_rows": "\n".join(rows),
    }


def under(each: Compared, real: Allocation) -> bool:
    """Return whether the plan of a device is below what the start allocated."""
    return any(mine < theirs for mine, theirs in zip(astuple(each.planned), astuple(real), strict=True))


if __name__ == "__main__":
    main()
