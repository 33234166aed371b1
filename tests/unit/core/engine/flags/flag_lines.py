# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command lines of head and worker, and what both releases accept by their own help."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.herd.inference.plugins.module_utils.core.engine import arguments as engine_arguments
from ansible_collections.herd.inference.plugins.module_utils.core.engine.device_order import PlacedDevice
from ansible_collections.herd.inference.plugins.module_utils.core.engine.help_flags import accepted_flags

HELP = Path(__file__).parents[4] / "fixtures" / "help"


def accepted(program: str) -> frozenset[str]:
    return frozenset(accepted_flags((HELP / f"{program}.txt").read_text(encoding="utf-8")))


NEW, OLD = accepted("0c1e57098-llama-server"), accepted("b7836-llama-server")
NEW_WORKER, OLD_WORKER = accepted("0c1e57098-ggml-rpc-server"), accepted("b7836-rpc-server")
DEVICES = [
    PlacedDevice("RPC0", "n2", "10.100.0.32:50052", 27),
    PlacedDevice("RPC1", "n3", "10.100.0.33:50052", 27),
    PlacedDevice("CUDA0", "n1", "", 26),
]


def derived(flags: frozenset[str], **settings: object) -> list[str]:
    """What the collection writes for the head."""
    return engine_arguments.head_arguments(
        engine_arguments.merged(settings),
        DEVICES,
        flags,
        "/m.gguf",
        "m",
        ("10.0.0.31", 8000),
        "/etc/herd/head/api-keys",
        reuse_port=True,
    )
