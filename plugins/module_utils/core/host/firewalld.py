# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan rich rules of firewalld that open one TCP port, in the format of firewalld's lists."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..errors import InvalidInputError

_SHAPE = re.compile(r'rule family="ipv4"(?: source address="[^"]+")? port port="(?P<port>\d+)" protocol="tcp" accept')


@dataclass(frozen=True)
class RuleChange:
    """Rules to remove from a zone, and rules to add to it."""

    remove: tuple[str, ...]
    add: tuple[str, ...]


def rules(port: int, sources: Sequence[str]) -> list[str]:
    """Return one rule for each source, or one rule for all sources."""
    if not sources:
        return [f'rule family="ipv4" port port="{port}" protocol="tcp" accept']
    for source in sources:
        try:
            ipaddress.IPv4Network(source)
        except ValueError as error:
            raise InvalidInputError(
                "sources that are IPv4 addresses or networks such as 10.0.0.0/24",
                f"{source!r} ({error})",
                "correct it in the inventory",
            ) from error
    return [
        f'rule family="ipv4" source address="{source}" port port="{port}" protocol="tcp" accept'
        for source in sorted(set(sources))
    ]


def change(wanted: Iterable[str], listed: Iterable[str], port: int) -> RuleChange:
    """Compare the wanted rules with those of a zone. Only rules of this format for this port are the collection's."""
    ours = {line for line in listed if (match := _SHAPE.fullmatch(line)) and int(match["port"]) == port}
    target = set(wanted)
    return RuleChange(tuple(sorted(ours - target)), tuple(sorted(target - ours)))
