# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which engine each tier's requests go to, as nginx is told.

Every process of nginx also tells the gateway what it was told (C($herd_upstreams)), so that the gateway knows where a
request would go that it lets through, also while some processes still work with what was true before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .. import values
from ..errors import InvalidInputError
from .routing import READY, Now, upstreams_of

#: Seconds after which a view of the tiers that nobody wrote anew is not believed any more.
VIEW_LIFE_S = 10.0
VIEW_SCHEMA = 1
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


def endpoint_of(entry: Mapping[str, Any]) -> str:
    """Give address and port of an entry of the registry; empty for what must not get into nginx's configuration."""
    address, port = str(entry.get("address", "")), entry.get("port")
    if not _ADDRESS.fullmatch(address) or not isinstance(port, int) or not 0 < port < 65536:
        return ""
    return f"{address}:{port}"


def chosen(entries: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Choose one of a tier's endpoints: the one of the job that started last, of those that are ready."""
    ready = [entry for entry in entries if entry.get("state") == READY and endpoint_of(entry)]
    return max(ready, key=lambda entry: (float(entry.get("started") or 0), str(entry.get("job_id"))), default=None)


def now_of(tier: Mapping[str, Any]) -> Now:
    """Read how a tier is."""
    entry = chosen(tier.get("endpoints") or ())
    state = str(tier.get("state", "unknown"))
    return Now(
        state=state,
        reason=str(tier.get("reason") or state),
        retry_after=int(values.finite(tier.get("retry_after_s")) or 30),
        endpoint=endpoint_of(entry) if entry and state == READY else "",
        models=tuple(map(str, entry.get("models") or ())) if entry else (),
        percent=values.finite(tier.get("percent")),
        expected=values.finite(tier.get("expected")),
    )


def from_view(view: Mapping[str, Any], wall: float) -> dict[str, Now] | None:
    """Read the manager's view of all tiers; None for one that is too old to be believed, or none."""
    try:
        if view["schema"] != VIEW_SCHEMA or abs(wall - float(view["written"])) > VIEW_LIFE_S:
            return None
        return {str(name): now_of(tier) for name, tier in view["tiers"].items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def is_late(view: Mapping[str, Any], wall: float) -> bool:
    """Say whether a view of the tiers should have been written anew, and will soon not be believed any more."""
    written = values.finite(view.get("written"))
    return written is None or abs(wall - written) > VIEW_LIFE_S / 2


def from_registry(entries: Sequence[Mapping[str, Any]], tiers: Sequence[str]) -> dict[str, Now]:
    """Say how the tiers are by the registry alone, while their manager is silent: no reasons, but engines.

    :param entries: those that are alive.
    """
    silent = "the manager of the tiers is silent, and no engine of this tier is registered"
    found: dict[str, Now] = {}
    for name in tiers:
        own = [entry for entry in entries if entry.get("tier") == name]
        states = {str(entry.get("state")) for entry in own}
        state = READY if chosen(own) else next((s for s in ("loading", "draining") if s in states), "unknown")
        reason = silent if state == "unknown" else state
        found[name] = now_of({"state": state, "reason": reason, "endpoints": own})
    return found


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
