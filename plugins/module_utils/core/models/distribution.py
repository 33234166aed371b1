# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan which host fetches a model, and which hosts copy it from each other: a tree over the fabric.

In each round, every host with the model copies it to a few hosts without it. These copy it on in the next round.
So n copies take about log(n) rounds, and the internet link carries the model once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any, Optional

from ..download.parts import file_name
from ..errors import InvalidInputError
from .lock import HUB, options_of

#: Names of a model's files with their SHA-256, None where the inventory does not know it.
FileDigests = Mapping[str, Optional[str]]


@dataclass(frozen=True)
class ModelCopy:
    """One copy of a model from one host to another.

    :ivar model: index of the model in the given list.
    """

    model: int
    source: str
    target: str


@dataclass(frozen=True)
class CopyPlan:
    """The steps of each host.

    :ivar fetching: for each model the hosts that already have it, or the one that fetches it.
    :ivar rounds: copies that run at the same time, one round after the other.
    """

    fetching: tuple[tuple[str, ...], ...]
    rounds: tuple[tuple[ModelCopy, ...], ...]


def _holders(files: FileDigests, held: Mapping[str, Mapping[str, str]], hosts: Sequence[str]) -> list[str]:
    """List the hosts with all files of a model; without a known checksum, those that agree with the first one."""
    wanted = dict(files)
    found: list[str] = []
    for host in hosts:
        has = held.get(host, {})
        if all(name in has and digest in (None, has[name]) for name, digest in wanted.items()):
            wanted = {name: has[name] for name in wanted}
            found.append(host)
    return found


def _rounds(model: int, holders: Sequence[str], lacking: Sequence[str], fanout: int) -> list[list[ModelCopy]]:
    """Plan the rounds of one model."""
    sources, rest = list(holders), list(lacking)
    rounds: list[list[ModelCopy]] = []
    while rest:
        pairs = list(zip([source for _each in range(fanout) for source in sources], rest))
        rounds.append([ModelCopy(model, source, target) for source, target in pairs])
        sources += [target for _source, target in pairs]
        rest = rest[len(pairs) :]
    return rounds


def plan_copies(
    hosts: Sequence[str], models: Sequence[FileDigests], held: Mapping[str, Mapping[str, str]], fanout: int = 2
) -> CopyPlan:
    """Plan the copies of all models at once.

    :param hosts: hosts that need the models; the first one fetches.
    :param held: by host, its verified files with their SHA-256.
    :param fanout: how many hosts copy from one host at the same time.
    """
    if fanout < 1:
        raise InvalidInputError("a fan-out of at least 1", str(fanout), "correct model_store_share_fanout")
    fetching: list[tuple[str, ...]] = []
    rounds: list[list[list[ModelCopy]]] = []
    for model, files in enumerate(models):
        holders = _holders(files, held, hosts) or list(hosts[:1])
        fetching.append(tuple(holders))
        lacking = [host for host in hosts if host not in holders]
        rounds.append(_rounds(model, holders, lacking, fanout))
    merged = zip_longest(*rounds, fillvalue=[])
    return CopyPlan(tuple(fetching), tuple(tuple(chain.from_iterable(together)) for together in merged))


def files_of(model: Mapping[str, Any]) -> dict[str, str | None]:
    """List the names of a model's files with the expected SHA-256.

    :param model: C(file), and options of the module gguf_fetch (C(shards), C(sha256)).
    """
    shards = model.get("shards")
    if shards:
        return {str(shard.get("file") or file_name(str(shard["url"]))): shard.get("sha256") for shard in shards}
    return {str(model["file"]): model.get("sha256")}


def _with_known(model: Mapping[str, Any], digests: Mapping[str, str]) -> dict[str, Any]:
    """Complete a model that is already there with its checksums, so that no server is asked for them."""
    known = [digests.get(name, wanted) for name, wanted in files_of(model).items()]
    if model.get("shards"):
        return {**model, "shards": [{**shard, "sha256": digest} for shard, digest in zip(model["shards"], known)]}
    return {**model, "sha256": known[0]}


def _from_node(model: Mapping[str, Any], url: str, digests: Mapping[str, str]) -> dict[str, Any]:
    """Describe a model as a copy from another node, with the checksums of the files there."""
    files = [{"url": f"{url}/{name}", "sha256": digests.get(name, wanted)} for name, wanted in files_of(model).items()]
    return {"file": model["file"], **({"shards": files} if model.get("shards") else files[0])}


def plan_distribution(
    entries: Sequence[Mapping[str, Any]],
    hosts: Sequence[str],
    held: Mapping[str, Mapping[str, str]],
    addresses: Mapping[str, str],
    port: int,
    fanout: int = 2,
    hubs: Sequence[str] = (HUB,),
) -> dict[str, Any]:
    """Plan the steps of each host, as options of the module gguf_fetch.

    :param entries: models as in the inventory's herd_models.
    :param addresses: by host, the address at which it shares files.
    :param hubs: base URLs of the hubs, asked in this order.
    :returns: C(files): names of all files. C(own): by host, the models that it fetches or already has. C(rounds): for
        each round C(targets), by host the models that it copies, and C(sources), by host the C(files) that it shares
        and the C(clients) that may read them.
    """
    models = [options_of(entry, hubs) for entry in entries]
    plan = plan_copies(hosts, [files_of(model) for model in models], held, fanout)
    own: dict[str, list[dict[str, Any]]] = {host: [] for host in hosts}
    for model, having in zip(models, plan.fetching):
        for host in having:
            has = held.get(host, {})
            is_there = all(name in has for name in files_of(model))
            own[host].append(_with_known(model, has) if is_there else model)
    rounds: list[dict[str, Any]] = []
    for copies in plan.rounds:
        sources: dict[str, dict[str, list[str]]] = {}
        targets: dict[str, list[dict[str, Any]]] = {}
        for copy in copies:
            model = models[copy.model]
            digests = held.get(plan.fetching[copy.model][0], {})
            job = _from_node(model, f"http://{addresses[copy.source]}:{port}", digests)
            targets.setdefault(copy.target, []).append({**job, "from": copy.source})
            given = sources.setdefault(copy.source, {"files": [], "clients": []})
            given["files"] += [name for name in files_of(model) if name not in given["files"]]
            if addresses[copy.target] not in given["clients"]:
                given["clients"].append(addresses[copy.target])
        rounds.append({"sources": sources, "targets": targets})
    return {"files": sorted({name for model in models for name in files_of(model)}), "own": own, "rounds": rounds}
