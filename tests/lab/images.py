# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The systems of hosts, from images.toml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tomllib


@dataclass(frozen=True)
class Image:
    """A system: the Debian suite of its root file system, and the layers that make it another system."""

    title: str
    suite: str
    layers: tuple[str, ...] = ()

    def with_layers(self, layers: Sequence[str]) -> tuple[str, ...]:
        """Return all layers of a host with this system."""
        return (*self.layers, *layers)


def parse(text: str) -> dict[str, Image]:
    return {
        name: Image(table["title"], table["suite"], tuple(table.get("layers", ())))
        for name, table in tomllib.loads(text).items()
    }


#: The system of hosts whose definition names none.
DEFAULT = "debian12"
IMAGES: Mapping[str, Image] = parse(Path(__file__).with_name("images.toml").read_text(encoding="utf-8"))
