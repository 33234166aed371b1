# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write nginx's upstreams: which engine each tier's requests go to.

Every process of nginx also tells the gateway what it was told (C($herd_upstreams)), so that the gateway knows where a
request would go that it lets through, also while some processes still work with what was true before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..errors import InvalidInputError

_ADDRESS = re.compile(r"\d{1,3}(\.\d{1,3}){3}")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
# nginx itself must not remember that an engine failed: the registry says what there is.
_SERVER = "    server {endpoint} max_fails=0;\n"
# The engine closes a connection that was idle for five seconds. Ours must end before: a request that meets the end on
# its way is lost, since it is not sent twice.
_KEPT = "    keepalive 64;\n    keepalive_timeout 4s;\n"
#: The first nginx that knows keepalive_timeout there, and the first that knows keepalive_min_timeout.
_KNOWS_TIMEOUT, _KNOWS_MINIMUM = (1, 15, 3), (1, 27, 4)
# A process of nginx that was told to leave ends connections of clients as soon as they wait for a request, whatever
# the last answer's head said; a request that is on its way then is lost. So a newer one is told to wait for it, and
# an older one says with each answer that it was the last.
_CLIENTS_KEPT = "keepalive_timeout 75s;\nkeepalive_min_timeout 75s;\n"
_CLIENTS_ENDED = "keepalive_timeout 0;\n"
_OURS = "# Written by herd-upstreams. Changes made here are lost.\n"
# Nobody listens there; nginx answers 502, of which the gateway makes an honest answer.
_NOBODY = "    server 127.0.0.1:9 down;\n"


def upstreams_of(header: str) -> dict[str, str]:
    """Read which endpoints the process of nginx has that handed a request over: C(fast=10.0.0.42:8080 reasoning=-)."""
    pairs = (pair.partition("=") for pair in header.split())
    return {name: endpoint if endpoint != "-" else "" for name, _sign, endpoint in pairs}


def _version(said: str) -> tuple[int, ...]:
    found = re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", said)
    return tuple(map(int, found.groups())) if found else ()


def may_keep(version: str) -> bool:
    """Say whether connections to engines may be kept open by an nginx that says this of its version.

    EL8's first one, 1.14, cannot be told for how long.
    """
    return _version(version) >= _KNOWS_TIMEOUT


def clients_configuration(version: str) -> str:
    """Write how long an nginx that says this of its version keeps connections of clients open."""
    return _OURS + (_CLIENTS_KEPT if _version(version) >= _KNOWS_MINIMUM else _CLIENTS_ENDED)


def configuration(endpoints: Mapping[str, str], keep: bool = False) -> str:
    """Write nginx's upstreams.

    :param endpoints: the endpoint of each tier, empty for none.
    :param keep: whether connections to engines are kept open.
    """
    for name, endpoint in endpoints.items():
        host, _colon, port = endpoint.partition(":")
        if not _NAME.fullmatch(name) or (endpoint and not (_ADDRESS.fullmatch(host) and port.isdigit())):
            raise InvalidInputError(
                "tiers with names of small letters and IPv4 endpoints", f"{name} at {endpoint!r}", "correct herd_tiers"
            )
    known = " ".join(f"{name}={endpoint or '-'}" for name, endpoint in sorted(endpoints.items()))
    blocks = [
        "# Written by herd-upstreams from the registry of endpoints. Changes made here are lost.\n",
        f'map $server_port $herd_upstreams {{\n    default "{known}";\n}}\n',
    ]
    for name, endpoint in sorted(endpoints.items()):
        inside = _SERVER.format(endpoint=endpoint) + (_KEPT if keep else "") if endpoint else _NOBODY
        blocks.append(f"upstream herd_{name} {{\n{inside}}}\n")
    return "\n".join(blocks)


def known_endpoints(text: str) -> dict[str, str]:
    """Read the endpoint of each tier, empty for none, back out of what was written."""
    found = re.search(r'default "([^"]*)";', text)
    return upstreams_of(found[1]) if found else {}


def key_configuration(key: str) -> str:
    """Write the header that opens the engines. Only root reads it."""
    if not key or any(not "!" <= c <= "~" or c in "\"'\\;{}$#" for c in key):
        raise InvalidInputError(
            "a key of the engines of letters, digits, - and _", "none, or another kind", "run the role slurm_tiers"
        )
    return f'proxy_set_header Authorization "Bearer {key}";\n'
