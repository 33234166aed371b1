# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the tables of docs/reference with which tests compare the hosts."""

from __future__ import annotations

from pathlib import Path

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def rows(page: str) -> list[dict[str, str]]:
    """Return the rows of a page's first table, by column heading."""
    lines = (REFERENCE / page).read_text(encoding="utf-8").splitlines()
    table: list[list[str]] = []
    for line in lines:
        if line.startswith("|"):
            table.append([cell.strip().replace("`", "") for cell in line.strip("|").split("|")])
        elif table:
            break
    heading, _rule, *body = table
    return [dict(zip(heading, cells, strict=True)) for cells in body]
