# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write nginx's upstreams: which engine each tier's requests go to.

Each nginx process also sends its upstreams with each request (C($herd_upstreams)). So the gateway knows where this
process would proxy the request, also while some processes still have the former configuration.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..errors import InvalidInputError

_ADDRESS = re.compile(r"\d{1,3}(\.\d{1,3}){3}")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
# nginx must not remember failures of an engine: the registry decides.
_SERVER = "    server {endpoint} max_fails=0;\n"
# The engine closes connections after five idle seconds. nginx must close them earlier: a request on a connection that
# closes is lost, since it is not sent twice.
_KEPT = "    keepalive 64;\n    keepalive_timeout 4s;\n"
#: First versions of nginx with keepalive_timeout in upstreams, and with keepalive_min_timeout.
_KNOWS_TIMEOUT, _KNOWS_MINIMUM = (1, 15, 3), (1, 27, 4)
# After a reload, an old nginx process closes idle client connections, whatever the last response's head said. A request
# that is on its way then is lost. So newer versions wait for it, and older ones close after each response.
_CLIENTS_KEPT = "keepalive_timeout 75s;\nkeepalive_min_timeout 75s;\n"
_CLIENTS_ENDED = "keepalive_timeout 0;\n"
_OURS = "# Written by herd-upstreams. Changes made here are lost.\n"
# Nothing listens there: nginx gets a 502, and asks the gateway for the error.
_NO_SERVER = "    server 127.0.0.1:9 down;\n"


def upstreams_of(header: str) -> dict[str, str]:
    """Read the upstreams of the nginx process that sent a request: C(fast=10.0.0.42:8080 reasoning=-)."""
    pairs = (pair.partition("=") for pair in header.split())
    return {name: endpoint if endpoint != "-" else "" for name, _sign, endpoint in pairs}


def _version(said: str) -> tuple[int, ...]:
    found = re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", said)
    return tuple(map(int, found.groups())) if found else ()


def may_keep(version: str) -> bool:
    """Return whether this version of nginx can keep connections to engines open.

    nginx 1.14 of EL8 has no time limit for them.
    """
    return _version(version) >= _KNOWS_TIMEOUT


def clients_configuration(version: str) -> str:
    """Write how long this version of nginx keeps client connections open."""
    return _OURS + (_CLIENTS_KEPT if _version(version) >= _KNOWS_MINIMUM else _CLIENTS_ENDED)


def configuration(endpoints: Mapping[str, str], keep: bool = False) -> str:
    """Write nginx's upstreams.

    :param endpoints: the endpoint of each tier; empty for none.
    :param keep: whether to keep connections to engines open.
    """
    for name, endpoint in endpoints.items():
        host, _colon, port = endpoint.partition(":")
        if not _NAME.fullmatch(name) or (endpoint and not (_ADDRESS.fullmatch(host) and port.isdigit())):
            raise InvalidInputError(
                "tiers with lower-case names and IPv4 endpoints", f"{name} at {endpoint!r}", "correct herd_tiers"
            )
    known = " ".join(f"{name}={endpoint or '-'}" for name, endpoint in sorted(endpoints.items()))
    blocks = [
        "# Written by herd-upstreams from the registry of endpoints. Changes made here are lost.\n",
        f'map $server_port $herd_upstreams {{\n    default "{known}";\n}}\n',
    ]
    for name, endpoint in sorted(endpoints.items()):
        inside = _SERVER.format(endpoint=endpoint) + (_KEPT if keep else "") if endpoint else _NO_SERVER
        blocks.append(f"upstream herd_{name} {{\n{inside}}}\n")
    return "\n".join(blocks)


def known_endpoints(text: str) -> dict[str, str]:
    """Read the endpoint of each tier back from the file; empty for none."""
    found = re.search(r'default "([^"]*)";', text)
    return upstreams_of(found[1]) if found else {}


def key_configuration(key: str) -> str:
    """Write the header with the engines' key. Only root may read it."""
    if not key or any(not "!" <= c <= "~" or c in "\"'\\;{}$#" for c in key):
        raise InvalidInputError(
            "an engine key of letters, digits, - and _", "none, or other characters", "run the role slurm_tiers"
        )
    return f'proxy_set_header Authorization "Bearer {key}";\n'
