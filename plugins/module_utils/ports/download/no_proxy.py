# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide which servers are asked without a proxy: by names, addresses, networks and ports in no_proxy.

The rule is that of curl, with the ports of Go's programs: C(host:8080), C(10.0.0.1:8080) and C([fd00::1]:8080) count
for that port only. requests itself knows a port only behind a name, and only if the URL has it too.
"""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}
_WITH_PORT = re.compile(r"(\[[^\]]*\]|[^:]*):([0-9]{1,5})")


def lists(no_proxy: str, url: str) -> bool:
    """Return whether no_proxy lists the server of a URL."""
    with suppress(ValueError):
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port or _PORTS.get(parts.scheme, 0)
        return bool(host) and any(_names(entry, host, port) for entry in re.split(r"[,\s]+", no_proxy.lower()))
    return False


def _names(entry: str, host: str, port: int) -> bool:
    """Return whether an entry names a host, for all ports or for this one."""
    if entry == "*":
        return True
    with_port = _WITH_PORT.fullmatch(entry)
    if with_port and int(with_port[2]) != port:
        return False
    name = (with_port[1] if with_port else entry).strip("[]").strip(".")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return bool(name) and (host == name or host.endswith(f".{name}"))
    with suppress(ValueError):
        return address in ipaddress.ip_network(name, strict=False)
    return False
