# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent: observe this node, publish its heartbeat, and restart what cannot go on.

The rules in core/supervision make all decisions; the agent applies and logs them. Nothing depends on the state of the
agent, so it may exit at any moment.
"""

from __future__ import annotations

import argparse
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from ...core.engine.command_line import value_of
from ...core.host import proc_net
from ...core.release import units
from ...core.supervision import heartbeat, metrics_text
from ...core.supervision.actions import RESTART, Action
from ...core.supervision.observations import PeerObservation, WorkerObservation
from ...core.supervision.supervisor import Supervisor
from ...core.supervision.worker_monitor import WorkerMonitor
from ...core.text import plain
from ..common import command, engine_api
from ..common.log import log
from ..common.systemd_notify import notify
from . import disks, heartbeat_client, heartbeat_server, local_state, sampled_files
from .engine_poller import TICK_S, EnginePoller
from .metrics import AgentMetrics, Parts
from .router_monitor import Actions, RouterMonitor
from .settings import DEFAULT_PATH, OperatorFlags, Settings, read_settings
from .supervised_engine import SupervisedEngine, service_fields
from .tier_publisher import TierPublisher


class Agent:
    """The agent of one node."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.flags = OperatorFlags(settings.run_dir)
        self.worker, self.head = local_state.ObservedUnit(units.WORKER), local_state.ObservedUnit(units.HEAD)
        actions = Actions(EnginePoller, self._order, lambda name, pid, _reason: self._restart_unit(name, pid), log)
        self.router_unit = local_state.ObservedUnit(units.ROUTER)
        self.router = RouterMonitor(self.router_unit, settings.limits, actions, lists_models=True)
        self.engine = SupervisedEngine(Supervisor(settings.limits), EnginePoller(), log, self._restart_group)
        self.gpus, self.bindings = local_state.Gpus(), local_state.Bindings()
        self.disks = disks.Disks(settings.disks, settings.disk_limits, settings.run_dir)
        self.protocols = local_state.Protocols(settings.prefix)
        self.followers = heartbeat_client.Followers(settings.port)
        self.worker_monitor = WorkerMonitor(settings.limits)
        self.metrics = AgentMetrics(self._parts(), self._sampled_files())
        self._ordering: threading.Thread | None = None
        self._heartbeat = heartbeat.Heartbeat(settings.node, secrets.token_hex(8), 0, local_state.boot_id(), 0.0)
        self.published = heartbeat.write(self._heartbeat)

    def _parts(self) -> Parts:
        causes = {units.WORKER: self.worker_monitor.causes, units.HEAD: self.engine.supervisor.causes}
        return Parts(self.head, self.worker, self.engine, self.router, self.gpus, self.followers, causes)

    def _sampled_files(self) -> sampled_files.SampledFiles:
        observed = (self.head, self.router.observed)
        return sampled_files.SampledFiles(self.settings.address, self.settings.models_dir, observed)

    def _observe_worker(self, now: float, table: Sequence[proc_net.TcpSocket], hold: str) -> heartbeat.Worker | None:
        self.worker.refresh(now)
        unit, process = self.worker.unit, self.worker.process
        if not unit.loaded:
            return None
        port = value_of(process.arguments, "-p", "--port")
        number = int(port) if port.isdigit() else 0
        clients = proc_net.established_from(table, number)
        stale = sum(1 for found in table if found.local_port == number and found.state == "CLOSE_WAIT")
        view = WorkerObservation(
            unit.active, unit.job, unit.pid, process.started, process.state, stale if number else 0
        )
        for action in self.worker_monitor.step(now, view, hold):
            if action.kind == RESTART:
                log(f"noticed: {action.reason}")
                self._order(lambda: self._systemctl("restart", "--no-block", units.WORKER))
            else:
                log(action.reason)
        service = service_fields(self.worker, now)
        return heartbeat.Worker(
            **service,
            pid=unit.pid,
            state=process.state,
            protocol=self.protocols.of(service["release"]),
            listening=bool(number and proc_net.listening_on(table, number)),
            clients=tuple(f"{found.remote_address}:{found.remote_port}" for found in clients)[:256],
            stale=view.stale,
        )

    def _links(self, arguments: Sequence[str], table: Sequence[proc_net.TcpSocket]) -> dict[str, tuple[str, ...]]:
        """Return the established connections of the head's process to each worker, by the worker's name."""
        names = {address: name for name, address in self.settings.peers.items()}
        found = {}
        for endpoint in filter(None, value_of(arguments, "--rpc").split(",")):
            address, _colon, port = endpoint.rpartition(":")
            links = proc_net.established_to(table, address, int(port) if port.isdigit() else 0)
            found[names.get(address, endpoint)] = tuple(f"{s.local_address}:{s.local_port}" for s in links)
        return found

    def _observe_head(self, now: float, table: Sequence[proc_net.TcpSocket], hold: str) -> heartbeat.Head | None:
        self.head.refresh(now)
        if not self.head.unit.loaded:
            return None
        state, supervisor, arguments = self.engine.poller, self.engine.supervisor, self.head.process.arguments
        links = self._links(arguments, table)
        peers = {name: self.settings.peers[name] for name in links if name in self.settings.peers}
        self.followers.follow("head", peers)
        state.api = engine_api.of(arguments)
        observations = {name: PeerObservation("silent", detail="it has no agent") for name in links}
        observations.update(self.followers.observations(peers, now))
        self.engine.step(now, self.engine.head_view(self.head, links), observations, hold)
        return heartbeat.Head(
            **service_fields(self.head, now),
            pid=self.engine.view.pid,
            api=state.api.endpoint if state.api else "",
            health=state.health,
            workers=tuple(links),
            lost=tuple(name for name, found in links.items() if not found),
            slots=state.slots.total,
            busy=state.slots.busy,
            waiting=state.waiting,
            tokens_total=state.tokens,
            tokens_per_second=state.rate(),
            supervision=supervisor.state,
            reason=plain(supervisor.reason),
            recoveries=supervisor.recoveries,
            draining=supervisor.state == "draining" or self.flags.get("drain") is not None,
        )

    def _restart_group(self, action: Action) -> None:
        pid = 0 if action.gently else self.engine.view.pid
        log(f"restarting the head, which waits for its workers: {action.reason}")
        self._order(lambda: self._restart_unit(units.HEAD, pid))

    def _restart_unit(self, name: str, pid: int) -> None:
        # Its answers are lost, so the process is killed: systemd would wait as long as a stop may take.
        is_same = bool(pid) and local_state.unit(name).pid == pid
        if is_same:
            self._systemctl("kill", "--kill-who=main", "--signal=SIGKILL", name)
        # A process that has exited meanwhile may have been stopped by an operator, and is not started again.
        self._systemctl("restart" if is_same else "try-restart", "--no-block", name)

    def _order(self, work: Callable[[], None]) -> None:
        """Call systemd in a thread: it may be stalled, and heartbeats must continue."""
        if self._ordering is not None and self._ordering.is_alive():
            log("systemd has not answered the last request yet; the next one is sent later")
            return
        self._ordering = threading.Thread(target=work, daemon=True)
        self._ordering.start()

    @staticmethod
    def _systemctl(*arguments: str) -> None:
        status, text = command.run(["systemctl", *arguments])
        if status:
            log(f"systemctl {' '.join(arguments)} ended with {status}: {text.strip()}")

    def tick(self) -> None:
        """Observe everything once, apply the decisions and publish the heartbeat."""
        now = time.monotonic()
        hold = self.flags.get("hold")
        reason = hold.reason if hold else ""
        table = local_state.sockets()
        self._heartbeat = replace(
            self._heartbeat,
            sequence=self._heartbeat.sequence + 1,
            uptime_s=round(time.clock_gettime(time.CLOCK_BOOTTIME), 1),
            hold=hold,
            worker=self._observe_worker(now, table, reason),
            head=self._observe_head(now, table, reason),
            router=self.router.step(now, table, reason),
            gpus=self.gpus.readings,
            lost_gpus=self.gpus.lost,
            bindings=self.bindings.of((self.worker, self.head, self.router_unit)),
            disks=self.disks.readings,
        )
        self.published = heartbeat.write(self._heartbeat)
        self.metrics.observe(now, self._heartbeat)

    def _pages(self) -> dict[str, heartbeat_server.Page]:
        own, peers = self.settings.address, self.settings.peers.values()
        return {
            heartbeat.PATH: heartbeat_server.Page("application/json", lambda: self.published, {own, *peers}),
            metrics_text.PATH: heartbeat_server.Page(
                metrics_text.CONTENT_TYPE, self.metrics.text, {own, *self.settings.scrapers}
            ),
        }

    def run(self) -> None:
        """Run until the process ends."""
        server = heartbeat_server.Server((self.settings.address, self.settings.port), self._pages())
        for work in (server.serve_forever, self.gpus.run):
            threading.Thread(target=work, daemon=True).start()
        self.engine.begin()
        self.disks.start()
        self.metrics.samples.start()
        if self.settings.tiers:
            TierPublisher(self.settings, self.followers).start()
        self.tick()
        notify("READY=1")
        log(f"watching {self.settings.node}, heartbeat at {self.settings.address}:{self.settings.port}")
        while True:
            time.sleep(TICK_S)
            self.tick()
            # READY again: the first message may have been lost, and systemd would stop the service.
            notify("READY=1\nWATCHDOG=1")


def agent_command(arguments: argparse.Namespace) -> int:
    """Run the agent until systemd stops it."""
    Agent(read_settings(arguments.config)).run()
    return 0


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe C(herdctl agent)."""
    agent = commands.add_parser(
        "agent",
        description="Publish a heartbeat on the fabric, follow those of the workers, and restart what cannot go on: a "
        "head, a worker, a router of models or the process of one of them.",
    )
    agent.add_argument("--config", default=DEFAULT_PATH, help="what was installed (default: %(default)s)")
    agent.set_defaults(run=agent_command)
