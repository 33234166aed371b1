# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find an endpoint of the cluster and the file of its key, from the inventory and from what herdctl reports.

A role's variable counts where the inventory sets it. Otherwise the default of that role applies, which is repeated
here: the roles themselves are not part of a benchmark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import InvalidInputError, NotFoundError
from ..values import finite

HEAD, ROUTER, TIER, GATEWAY, VLLM = "head", "router", "tier", "gateway", "vllm"
#: The group whose first host has the endpoint. The first kind that an inventory has is measured if none is named.
GROUPS = {HEAD: "head_server", ROUTER: "fast_router", TIER: "slurm_controller", VLLM: "vllm_slurm", GATEWAY: "gateway"}
_EVERYWHERE = "0.0.0.0"
_REMEDY = "correct the inventory, or name the endpoint with benchmark_url"
_CONDITIONS_OF_GPU = ("name", "total_mib", "temperature_c", "power_w", "sm_clock_mhz", "throttle_reasons")


@dataclass(frozen=True)
class Place:
    """Where an endpoint is.

    :ivar key_file: file of its key on its host; empty where a user has the key.
    :ivar certificate_file: file of its own certificate there; empty without TLS, and where authorities vouch.
    :ivar model: the model that it serves; empty if it is asked for its models.
    """

    url: str
    key_file: str = ""
    certificate_file: str = ""
    model: str = ""


def kind_of(wanted: str, groups: Mapping[str, Sequence[str]]) -> str:
    """Return the kind of endpoint to measure.

    :param wanted: a kind, or empty for the first one that the inventory has.
    :raises NotFoundError: if the inventory has no host for it.
    """
    if wanted and wanted not in GROUPS:
        raise InvalidInputError(f"one of {', '.join(GROUPS)}", repr(wanted), "correct benchmark_endpoint")
    for kind in [wanted] if wanted else GROUPS:
        if groups.get(GROUPS[kind]):
            return kind
    expected = GROUPS[wanted] if wanted else " or ".join(GROUPS.values())
    raise NotFoundError(f"a host in the group {expected}", "none", "name another inventory with -i")


def _url(facts: Mapping[str, Any], address: Any, port: Any, tls: Any) -> str:
    if not isinstance(address, str) or not address:
        raise InvalidInputError("an address of the endpoint", repr(address), _REMEDY)
    number = int(port) if isinstance(port, str) and port.isascii() and port.isdigit() else port
    if finite(number, 1, 65535) is None or not isinstance(number, int):
        raise InvalidInputError("a port of the endpoint from 1 to 65535", repr(port), _REMEDY)
    host = str(facts.get("ansible_host", address)) if address == _EVERYWHERE else address
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if _is_true(tls) else 'http'}://{shown}:{number}"


def _is_true(value: Any) -> bool:
    return value is True or str(value).lower() in ("true", "yes", "on", "1")


def _service(facts: Mapping[str, Any], role: str, address: Any, port: Any, name: str) -> Place:
    """Return the place of a head or of a router."""
    tls = facts.get(f"{role}_tls", facts.get("herd_api_tls", False))
    url = _url(facts, facts.get(f"{role}_address", address), facts.get(f"{role}_port", port), tls)
    key_file = str(facts.get(f"{role}_api_key_file", f"/etc/herd/{name}/api-keys"))
    chain = str(facts.get(f"{role}_tls_certificate_file", f"/etc/herd/{name}.crt"))
    return Place(url, key_file, chain if _is_true(tls) else "")


def _head(facts: Mapping[str, Any]) -> Place:
    address = facts.get("herd_api_address", facts.get("ansible_host"))
    return _service(facts, "head_server", address, facts.get("herd_api_port"), "head")


def _router(facts: Mapping[str, Any]) -> Place:
    address = facts.get("herd_router_address", facts.get("ansible_host"))
    return _service(facts, "fast_router", address, 8080, "router")


def _mappings(found: Any) -> list[Mapping[str, Any]]:
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, Sequence) else []


def _tier(facts: Mapping[str, Any], name: str, report: Mapping[str, Any]) -> Place:
    tiers = report.get("tiers")
    found = tiers if isinstance(tiers, Mapping) else {}
    for tier, state in found.items():
        for endpoint in _mappings(state.get("endpoints")) if isinstance(state, Mapping) else ():
            if name in ("", tier) and endpoint.get("state") == "ready":
                url = _url(facts, endpoint.get("address"), endpoint.get("port"), False)
                return Place(url, str(facts.get("slurm_tiers_api_key_file", "/etc/herd/tiers/api-keys")))
    states = ", ".join(f"{tier} is {state.get('state')}" for tier, state in found.items() if isinstance(state, Mapping))
    raise NotFoundError(
        f"the tier {name} to be ready" if name else "a tier that is ready",
        states or "no tiers",
        "herdctl tiers on this host says when it is expected",
    )


def _gateway(facts: Mapping[str, Any], name: str) -> Place:
    tiers = _mappings(facts.get("gateway_tiers", facts.get("herd_tiers")))
    for tier in tiers:
        if name in ("", tier.get("name")):
            (address, *_others) = facts.get("gateway_addresses") or [facts.get("ansible_host")]
            return Place(_url(facts, address, tier.get("gateway_port"), facts.get("gateway_tls", False)))
    known = ", ".join(str(tier.get("name")) for tier in tiers) or "no tiers"
    raise NotFoundError(f"the tier {name} of the gateway" if name else "a tier of the gateway", known, _REMEDY)


def _vllm(facts: Mapping[str, Any], report: Mapping[str, Any]) -> Place:
    models = _mappings(report.get("models"))
    for model in models:
        if model.get("address") and model.get("port") and model.get("state") == "ready":
            url = _url(facts, model["address"], model["port"], False)
            return Place(url, str(model.get("key_file") or ""), model=str(model.get("served_name") or ""))
    states = ", ".join(f"{model.get('model')} is {model.get('state')}" for model in models)
    raise NotFoundError("a model that is ready", states or "none", "run herdctl vllm launch, and wait for it")


def place(
    kind: str, facts: Mapping[str, Any], tier: str = "", report: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """Return the place of an endpoint, as the fields of C(Place).

    :param facts: variables of its host.
    :param tier: name of the tier, of the gateway or of Slurm; empty for the first one.
    :param report: what C(herdctl tiers --json) or C(herdctl vllm status --json) printed there.
    :raises NotFoundError: if no such endpoint is ready.
    """
    said = report or {}
    if kind == HEAD:
        return asdict(_head(facts))
    if kind == ROUTER:
        return asdict(_router(facts))
    if kind == TIER:
        return asdict(_tier(facts, tier, said))
    return asdict(_gateway(facts, tier) if kind == GATEWAY else _vllm(facts, said))


def node_conditions(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return driver and GPUs by host, from the results of the module gpu_memory. A host without GPUs is left out.

    :param results: of a loop whose items are the hosts.
    """
    return {
        str(one["item"]): {
            "driver": one.get("driver", ""),
            "gpus": [{key: gpu.get(key) for key in _CONDITIONS_OF_GPU} for gpu in one["gpus"]],
        }
        for one in results
        if one.get("gpus")
    }
