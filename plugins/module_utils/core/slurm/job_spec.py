# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The specification of a tier's job: its engines, nodes, models and times.

It lies beside the job's script as JSON. A job learns its nodes when it runs; head, workers, their order and the split
follow from them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..engine import arguments as engine_arguments
from ..engine import device_order, router_mode
from ..engine.command_line import CommandLine
from ..engine.flags import guard as flag_guard
from ..engine.flags import subject as flag_subject
from ..engine.flags.attention_kernels import AttentionShape
from ..errors import InvalidInputError
from . import endpoint_registry

SCHEMA = 1
ROUTER, DISTRIBUTED = "router", "distributed"
#: MiB left free on each GPU, as in the roles head_server and fast_router.
RESERVE_MIB = 1024


@dataclass(frozen=True)
class Node:
    """A host on which the job may run.

    :param gpus: number of its GPUs; a worker without one holds its layers on the CPU.
    :param memory_mib: memory of its smallest GPU, 0 for none.
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
    """A model of the tier, with its id of the API. All parameters below attention are for a router's model.

    :param attention: known shapes of its attention.
    :param devices: the engine's names of its devices; if empty, the engine chooses.
    :param split: shares of these devices.
    :param aliases: other names of the model.
    :param settings: settings of the engine that differ from the tier's.
    :param at_start: whether the router loads it at its start.
    """

    id: str
    path: str
    layers: int
    size: int
    attention: tuple[AttentionShape, ...] = ()
    devices: Sequence[str] = ()
    split: Sequence[int] = ()
    aliases: Sequence[str] = ()
    settings: Mapping[str, Any] | None = None
    at_start: bool = False


@dataclass(frozen=True)
class Timing:
    """Times of a job, in seconds.

    :param grace: from the signal to drain until the job is killed.
    :param settle: from draining until the gateway sends no more requests.
    :param reserve: part of the grace for stopping the processes and for requeueing.
    :param renew_before: from Slurm's signal until the time limit.
    :param start: limit for the start of an engine.
    :param load: limit for loading a model.
    """

    grace: float = 30.0
    settle: float = 3.0
    reserve: float = 6.0
    renew_before: float = 1800.0
    start: float = 300.0
    load: float = 3600.0


@dataclass(frozen=True)
class JobSpec:
    """The specification of a job, which its runtime reads.

    :param fingerprint: fingerprint of the job's configuration (revision.py).
    :param scan: whether a router also offers other models of the folder, if they fit and are not excluded.
    :param rules: release whose rules of allocation the plan follows.
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
    fingerprint: str = ""
    folder: str = ""
    scan: bool = False
    exclude: Sequence[str] = ()
    rules: str = ""

    def settings_of(self, model: Model) -> dict[str, Any]:
        """Merge the tier's settings with the model's own."""
        return engine_arguments.merged(self.settings, model.settings or {})


def _model(facts: Mapping[str, Any]) -> Model:
    """Read a model of the specification."""
    shapes = [[int(size) for size in shape] for shape in facts.get("attention", ())]
    return Model(**{**facts, "attention": tuple(AttentionShape(*shape) for shape in shapes)})


def read_job(text: str) -> JobSpec:
    """Read a job's specification."""
    try:
        data = dict(json.loads(text))
        if data.pop("schema") != SCHEMA:
            raise ValueError(f"not schema {SCHEMA}")
        if data["kind"] not in (ROUTER, DISTRIBUTED):
            raise ValueError(f"kind {data['kind']}")
        nodes = {str(name): Node(name=str(name), **facts) for name, facts in data.pop("nodes").items()}
        models = tuple(_model(facts) for facts in data.pop("models"))
        timing = Timing(**{str(name): float(value) for name, value in data.pop("timing", {}).items()})
        settings = engine_arguments.merged(data.pop("settings", {}))
        return JobSpec(nodes=nodes, models=models, timing=timing, settings=settings, **data)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInputError(
            f"a job's data of schema {SCHEMA}",
            f"{type(error).__name__}: {error}",
            "run playbooks/slurm.yml --tags tiers, which writes it",
        ) from error


def assign_nodes(job: JobSpec, hosts: Sequence[str]) -> tuple[Node, tuple[Node, ...]]:
    """Assign the job's nodes: the first one to the head, the others to workers, in their order."""
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


def endpoint(job: JobSpec, head: Node, job_id: str, release: str) -> endpoint_registry.Endpoint:
    """Describe a job's endpoint, without its state and its times. The port is chosen when the head starts."""
    return endpoint_registry.Endpoint(
        tier=job.tier,
        job_id=job_id,
        host=head.name,
        address=head.address,
        port=0,
        models=tuple(model.id for model in job.models),
        state="",
        percent=0,
        context=int(job.settings["context"]),
        slots=int(job.settings["slots"]),
        release=release,
        started=0.0,
        heartbeat=0.0,
    )


def devices(
    job: JobSpec, head: Node, workers: Sequence[Node], worker_ports: Mapping[str, int]
) -> list[device_order.PlacedDevice]:
    """Give every device its layers, in the engine's order."""
    remote = [
        device_order.LayerHost(node.name, max(1, node.gpus), f"{node.fabric}:{worker_ports[node.name]}")
        for node in workers
    ]
    local = device_order.LayerHost(head.name, head.gpus) if head.gpus else None
    names = {holder.name for holder in (*remote, *([local] if local else []))}
    # A job on other nodes than the split names spreads its layers evenly.
    split = job.split if set(job.split) == names else {}
    return device_order.placed(remote, local, job.models[0].layers, split)


def head_argv(
    job: JobSpec, program: str, accepted: Collection[str], placed: Sequence[device_order.PlacedDevice], address: str
) -> list[str]:
    """Build the head's command line, with a placeholder for the port."""
    model = job.models[0]
    argv = engine_arguments.head_arguments(
        job.settings, placed, accepted, model.path, model.id, (address, 0), job.key_file
    )
    argv[argv.index("--port") + 1] = PORT
    return [program, *argv]


def worker_argv(program: str, address: str, threads: int, has_cache: bool) -> list[str]:
    """Build a worker's command line, with a placeholder for the port."""
    argv = engine_arguments.worker_arguments(address, 0, threads, has_cache)
    argv[argv.index("-p") + 1] = PORT
    return [program, *argv]


@dataclass(frozen=True)
class EngineCommand:
    """A command line that has passed the flag guard.

    :param warnings: findings of the flag guard that are no errors.
    :param environment: its environment variables.
    :param presets: content of a router's file of presets.
    """

    argv: list[str]
    warnings: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    presets: str = ""


def head_line(
    job: JobSpec, program: str, manifest: Mapping[str, Any], placed: Sequence[device_order.PlacedDevice], head: Node
) -> EngineCommand:
    """Build and check the head's command line. A flag that this build refuses or cannot survive is an error."""
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
        attention=job.models[0].attention,
    )
    warnings = flag_guard.require_clean(flag_guard.inspect(subject, ()), program)
    return EngineCommand(argv, warnings)


def router_line(job: JobSpec, program: str, manifest: Mapping[str, Any], head: Node, preset_file: str) -> EngineCommand:
    """Build and check a router's command line and the presets of its models."""
    engine = flag_subject.engine_of(manifest, program.rsplit("/", 1)[-1])
    offers = [
        router_mode.Offer(
            id=model.id,
            path=model.path,
            settings=job.settings_of(model),
            aliases=tuple(model.aliases),
            at_start=model.at_start,
            sleep_s=job.sleep_idle_seconds,
            devices=tuple(model.devices),
            split=tuple(model.split),
            attention=model.attention,
        )
        for model in job.models
    ]
    timeout = int(job.settings["timeout_s"])
    argv = router_mode.arguments(preset_file, job.models_max, (head.address, job.port), job.key_file, timeout)
    found = router_mode.findings(offers, argv, engine, (), tuple(head.capabilities), dict(job.environment or {}))
    warnings = flag_guard.require_clean(found, program)
    argv[argv.index("--port") + 1] = PORT
    presets = router_mode.presets(offers, engine.accepted)
    return EngineCommand([program, *argv], warnings, router_mode.environment(job.key_file), presets)


#: Placeholder of the port, which is chosen on the node.
PORT = "{port}"


def with_port(argv: Sequence[str], port: int) -> list[str]:
    """Put the port into a command line."""
    return [str(port) if word == PORT else word for word in argv]


def percent(read: int, size: int, sent: int, remote: int) -> int:
    """Estimate the loaded percentage of a model, at most 99, from the bytes read and the bytes sent to workers.

    :param remote: bytes that workers will hold. Cached ones are not sent.
    """
    shares = [min(1.0, read / size) if size else 1.0]
    if remote:
        shares.append(min(1.0, sent / remote))
    return min(99, int(100 * sum(shares) / len(shares)))


def remote_bytes(placed: Sequence[device_order.PlacedDevice], size: int) -> int:
    """Estimate the bytes of a model that workers hold."""
    layers = sum(device.layers for device in placed)
    return int(size * sum(d.layers for d in placed if d.endpoint) / layers) if layers else 0
