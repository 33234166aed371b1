# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the pictures of the status page for the README: make pictures.

The gateway is real. The tiers are those of inventory/beefcake2_slurm; their state is made up, as no job runs here.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

from tests.browser.chromium import browser
from tests.browser.conftest import settled, url
from tests.gateway.harness import gateway

IMAGES = Path(__file__).parents[2] / "docs" / "images"
SIZE = (1000, 720)
#: Pixels from the top of the page: the tiers, without the examples below them.
HEIGHT = 605
FAST, REASONING = "strand-rust-coder-14b-q8_0", "or1-behemoth-q4_k_m"
TIERS = (
    {"name": "fast", "kind": "router", "models": [FAST]},
    {"name": "reasoning", "kind": "distributed", "models": [REASONING]},
)
TASKS = {"schema": 1, "types": {}, "default": None}
#: Example of the registry entry that the fast tier's job writes.
ENTRY = {
    "host": "vasp-02",
    "release": "0c1e57098",
    "context": 32768,
    "slots": 1,
    "load": {
        "processing": 1,
        "waiting": 0,
        "tokens_per_s": 38.2,
        "prompt_tokens_per_s": 512.0,
        "gpus": [{"host": "vasp-02", "name": "Tesla V100S-PCIE-32GB", "used_mib": 21504, "total_mib": 32768}],
    },
}


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix="herd-picture-", dir="/tmp"))
    try:
        with gateway(root, own_tiers=TIERS, tasks=TASKS) as made, browser() as page:
            made.ready("fast", 9, [FAST], job="4711", started=time.time() - 7200)
            made.tiers["fast"]["endpoints"][0].update(ENTRY)
            reason = "preempted by VASP job 88, pending: Priority"
            made.unavailable("reasoning", "preempted", reason, 30, expected=time.time() + 1500)
            settled(made, "fast", "ready")
            settled(made, "reasoning", "preempted")
            for scheme in ("light", "dark"):
                page.look(SIZE, dark=scheme == "dark")
                page.go(url(made))
                page.picture(IMAGES / f"status-{scheme}.png", HEIGHT)
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
