# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A tier's job: what it is made of, what it starts where, and when it may stop.

The data of a job lies beside its script as JSON. Which nodes it got is known when it runs; head and workers, their
order and the split follow from that.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..engine import arguments as engine_arguments
from ..engine import device_order, router_mode
from ..engine.command_line import CommandLine
from ..engine.flags import guard as flag_guard
from ..engine.flags import subject as flag_subject
from ..errors import InvalidInputError

SCHEMA = 1
ROUTER, DISTRIBUTED = "router", "distributed"
#: Left free on each GPU, as by the roles head_server and fast_router.
RESERVE_MIB = 1024


@dataclass(frozen=True)
class Node:
    """A host that the job may get.

    :param gpus: how many GPUs it offers; without one its processor holds layers where it is a worker.
    :param memory_mib: least memory of one of its GPUs, 0 for none.
    :param capabilities: compute capabilities of its GPUs.
    """

    name: str
    address: str
    fabric: str
    interface: str = ""
    gpus: int = 0
    memory_mib: int = 0
    capabilities: Sequence[str] = ()
    memory_gib: float = 0.0


@dataclass(frozen=True)
class Model:
    """A model that the tier serves; id as in the API.

    :param devices: of a router's model, the engine's names of its devices; empty leaves that to the engine.
    :param split: shares of these devices.
    :param aliases: of a router's model, other names by which it may be asked for.
    :param settings: of a router's model, those of the engine that are not the tier's.
    :param at_start: whether a router loads it before it is asked for.
    """

    id: str
    path: str
    layers: int
    size: int
    devices: Sequence[str] = ()
    split: Sequence[int] = ()
    aliases: Sequence[str] = ()
    settings: Mapping[str, Any] | None = None
    at_start: bool = False


@dataclass(frozen=True)
class Timing:
    """Seconds.

    :param grace: from the word that the job has to go until it is killed.
    :param settle: until no gateway sends requests to an endpoint that is draining.
    :param reserve: of the grace for stopping the processes and for requeueing.
    """

    grace: float = 30.0
    settle: float = 3.0
    reserve: float = 6.0
    renew_before: float = 1800.0
    start: float = 300.0
    load: float = 3600.0


@dataclass(frozen=True)
class Job:
    """Everything that the runtime needs to know of its tier.

    :param plan: a mark of all that the job runs with (tier_outdated).
    :param scan: whether a router offers what else lies in the folder, if it fits and exclude does not name it.
    :param rules: release by whose rules of allocation that is planned.
    """

    tier: str
    kind: str
    user: str
    prefix: str
    registry: str
    logs: str
    key_file: str
    port: int
    worker_port: int
    ports: int
    models: tuple[Model, ...]
    settings: Mapping[str, Any]
    split: Mapping[str, int]
    nodes: Mapping[str, Node]
    timing: Timing
    cpus: int = 1
    restarts: int = 3
    log_days: float = 30.0
    guard: str = ""
    cache: Mapping[str, Any] | None = None
    environment: Mapping[str, str] | None = None
    models_max: int = 2
    sleep_idle_seconds: int = 0
    plan: str = ""
    folder: str = ""
    scan: bool = False
    exclude: Sequence[str] = ()
    rules: str = ""


def read_job(text: str) -> Job:
    """Read a job's data."""
    try:
        data = dict(json.loads(text))
        if data.pop("schema") != SCHEMA:
            raise ValueError(f"not schema {SCHEMA}")
        if data["kind"] not in (ROUTER, DISTRIBUTED):
            raise ValueError(f"kind {data['kind']}")
        nodes = {str(name): Node(name=str(name), **facts) for name, facts in data.pop("nodes").items()}
        models = tuple(Model(**facts) for facts in data.pop("models"))
        timing = Timing(**{str(name): float(value) for name, value in data.pop("timing", {}).items()})
        settings = engine_arguments.merged(data.pop("settings", {}))
        return Job(nodes=nodes, models=models, timing=timing, settings=settings, **data)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInputError(
            f"a job's data of schema {SCHEMA}",
            f"{type(error).__name__}: {error}",
            "run playbooks/slurm.yml --tags tiers, which writes it",
        ) from error


def crew(job: Job, hosts: Sequence[str]) -> tuple[Node, tuple[Node, ...]]:
    """The head's node, which is the first of the job, and those of its workers, in their order."""
    unknown = [host for host in hosts if host not in job.nodes]
    if unknown or not hosts:
        raise InvalidInputError(
            f"nodes among those of the tier {job.tier} ({', '.join(sorted(job.nodes))})",
            unknown[0] if unknown else "none",
            "put the node into the group slurm_nodes of the inventory, under its name in Slurm, and run "
            "playbooks/slurm.yml --tags tiers",
        )
    first, *others = [job.nodes[host] for host in hosts]
    return first, tuple(others) if job.kind == DISTRIBUTED else ()


def devices(
    job: Job, head: Node, workers: Sequence[Node], worker_ports: Mapping[str, int]
) -> list[device_order.PlacedDevice]:
    """Every device in the engine's order with its layers."""
    remote = [
        device_order.LayerHost(node.name, max(1, node.gpus), f"{node.fabric}:{worker_ports[node.name]}")
        for node in workers
    ]
    local = device_order.LayerHost(head.name, head.gpus) if head.gpus else None
    names = {holder.name for holder in (*remote, *([local] if local else []))}
    # A job on other nodes than those of the split spreads its layers evenly.
    split = job.split if set(job.split) == names else {}
    return device_order.placed(remote, local, job.models[0].layers, split)


def head_argv(
    job: Job, program: str, accepted: Collection[str], placed: Sequence[device_order.PlacedDevice], address: str
) -> list[str]:
    """The head's command line; the port is put in where it is chosen."""
    model = job.models[0]
    argv = engine_arguments.head_arguments(
        job.settings, placed, accepted, model.path, model.id, (address, 0), job.key_file
    )
    argv[argv.index("--port") + 1] = PORT
    return [program, *argv]


def worker_argv(program: str, address: str, threads: int, has_cache: bool) -> list[str]:
    """A worker's command line; the port is put in where it is chosen."""
    argv = engine_arguments.worker_arguments(address, 0, threads, has_cache)
    argv[argv.index("-p") + 1] = PORT
    return [program, *argv]


@dataclass(frozen=True)
class Line:
    """A command line that was held against the traps of its release.

    :param files: other files that it needs, by the name that stands for them in it.
    :param environment: variables that it needs.
    :param warnings: what does not stop.
    """

    argv: list[str]
    warnings: list[str]
    environment: Mapping[str, str]
    files: Mapping[str, str]


def head_line(
    job: Job, program: str, manifest: Mapping[str, Any], placed: Sequence[device_order.PlacedDevice], head: Node
) -> Line:
    """The head's command line; what this build does not take, or does not survive, is an error."""
    engine = flag_subject.engine_of(manifest, program.rsplit("/", 1)[-1])
    argv = head_argv(job, program, engine.accepted, placed, head.address)
    capabilities = sorted({capability for node in job.nodes.values() for capability in node.capabilities})
    subject = flag_subject.Subject(
        flag_subject.HEAD,
        CommandLine(with_port(argv[1:], job.port)),
        engine,
        tuple(capabilities),
        int(job.settings["context"]),
        environment=dict(job.environment or {}),
    )
    warnings = flag_guard.require_clean(flag_guard.inspect(subject, ()), program)
    return Line(argv, warnings, {}, {})


#: Stands for the file of a router's presets.
PRESETS = "{presets}"


def router_line(job: Job, program: str, manifest: Mapping[str, Any], head: Node) -> Line:
    """A router's command line, and the presets of its models."""
    engine = flag_subject.engine_of(manifest, program.rsplit("/", 1)[-1])
    offers = [
        router_mode.Offer(
            id=model.id,
            path=model.path,
            settings=engine_arguments.merged(job.settings, model.settings or {}),
            aliases=tuple(model.aliases),
            at_start=model.at_start,
            sleep_s=job.sleep_idle_seconds,
            devices=tuple(model.devices),
            split=tuple(model.split),
        )
        for model in job.models
    ]
    timeout = int(job.settings["timeout_s"])
    argv = router_mode.arguments(PRESETS, job.models_max, (head.address, job.port), job.key_file, timeout)
    found = router_mode.findings(offers, argv, engine, (), tuple(head.capabilities), dict(job.environment or {}))
    warnings = flag_guard.require_clean(found, program)
    argv[argv.index("--port") + 1] = PORT
    presets = router_mode.presets(offers, engine.accepted)
    return Line([program, *argv], warnings, router_mode.environment(job.key_file), {PRESETS: presets})


#: Stands for the port that is chosen on the node itself.
PORT = "{port}"


def with_port(argv: Sequence[str], port: int) -> list[str]:
    """The command line with the port that was chosen."""
    return [str(port) if word == PORT else word for word in argv]


def candidates(first: int, count: int, taken: Collection[int]) -> list[int]:
    """Ports to be tried, without those on which somebody listens.

    An engine shares a port with whoever listens there already, and each gets half of the requests: a port that can be
    bound is not free yet.
    """
    return [port for port in range(first, first + count) if port not in taken]


def percent(read: int, size: int, sent: int, remote: int) -> int:
    """How much of a model is loaded, at most 99: what was read of its file, and what workers were sent.

    :param remote: bytes that workers are to hold; they may have some in their cache, so that less is sent.
    """
    shares = [min(1.0, read / size) if size else 1.0]
    if remote:
        shares.append(min(1.0, sent / remote))
    return min(99, int(100 * sum(shares) / len(shares)))


def remote_bytes(placed: Sequence[device_order.PlacedDevice], size: int) -> int:
    """Roughly, what workers are to hold of a model."""
    layers = sum(device.layers for device in placed)
    return int(size * sum(d.layers for d in placed if d.endpoint) / layers) if layers else 0
