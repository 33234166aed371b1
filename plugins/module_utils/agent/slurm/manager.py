# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manager of the tiers, and C(herdctl tiers), with which people see and stop them.

It decides nothing itself: the queue, accounting and the registry go into herd.core.tier_rules, and what comes out is
done and said. Slurm and the shared file system may hang, so each is asked in a thread of its own, and how the tiers are
is written down in any case.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pwd
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ...core.errors import InvalidInputError, NotFoundError, RemoteFailureError
from ...core.slurm import endpoint_registry, tier_status
from ...core.slurm import manager as tier_rules
from ...core.slurm import queue as slurm_queue
from ...core.slurm import revision as job_revision
from ...core.slurm.manager import Facts, Memory, Queue, Stop, Wanted
from ...core.slurm.queue import Ending
from ...core.text import plain
from ..common.atomic_files import read_registry, write_whole
from ..common.config import read_config
from ..common.log import log
from ..common.systemd_notify import notify

SCHEMA = 1
DEFAULT_PATH = "/etc/herd/tiers.json"
TICK_S = 0.25
REGISTRY_S = 0.5
#: Between two looks at Slurm, after one that failed, and after one that asked for something.
SLURM_S, AFTER_FAILURE_S, AFTER_ACTION_S = 2.0, 5.0, 1.0
MOST_SLURM_S = 60.0
#: Longer than Slurm's own patience with its controller.
TIMEOUT_S, SBATCH_TIMEOUT_S = 40.0, 60.0
# Slurm's programs try for a while before they say that nobody answers.
SILENT_S = 10.0
#: Longer than anything that the thread which asks Slurm waits for: after that it hangs, and systemd is to begin anew.
STUCK_S = max(SBATCH_TIMEOUT_S, TIMEOUT_S, MOST_SLURM_S) + 30.0
#: For a log on a file system that may hang.
LOG_S = 5.0
LOG_TAIL = 8192
#: Between two tries to end the job of a tier that there is not any more.
STRAY_AGAIN_S = 90.0


@dataclass(frozen=True)
class Settings:
    """The manager's configuration; every is the number of seconds between two looks at Slurm."""

    user: str
    registry: Path
    logs: Path
    state: Path
    view: Path
    tiers: Sequence[Wanted]
    every: float

    def tier(self, name: str) -> Wanted:
        """A tier by its name."""
        for wanted in self.tiers:
            if wanted.name == name:
                return wanted
        known = ", ".join(wanted.name for wanted in self.tiers)
        raise InvalidInputError(f"a tier among {known}", name, "name one of them")


def _parse(data: Any) -> Settings:
    every = float(data.get("every", SLURM_S))
    if not 0 < every <= MOST_SLURM_S:
        raise ValueError(f"{every:g} seconds between two looks at Slurm, and not above 0 to {MOST_SLURM_S:g}")
    tiers = [
        Wanted(
            name=str(tier["name"]),
            job_name=str(tier["job_name"]),
            user=str(data["user"]),
            script=f"{data['scripts']}/{tier['script']}",
            enabled=bool(tier["enabled"]),
            preempted_by=tuple(str(one["name"]) for one in data["qos"] if tier["qos"] in one.get("preempts", ())),
            hosts=tuple(map(str, tier["hosts"] or data["nodes"])),
            grace=float(tier.get("grace", 30)),
            plan=str(tier.get("plan") or ""),
            crowded=str(tier.get("crowded") or ""),
            backoff=tuple(map(float, data.get("backoff") or tier_rules.BACKOFF_S)),
        )
        for tier in data["tiers"]
    ]
    return Settings(
        user=str(data["user"]),
        registry=Path(data["registry"]),
        logs=Path(data["logs"]),
        state=Path(data["state"]),
        view=Path(data["view"]),
        tiers=tuple(tiers),
        every=every,
    )


def read_settings(path: str) -> Settings:
    """Read the tier manager's configuration."""
    return read_config(path, SCHEMA, _parse, "the tier manager's configuration", "slurm_tiers on the controller")


class Stops:
    """Tiers that somebody stopped: until somebody starts them, over a reboot too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """The file that says so."""
        return self.folder / f"stop-{name}.json"

    def all(self, names: Sequence[str]) -> dict[str, Stop]:
        """Those that are stopped. A file that cannot be read stops too: somebody put it there."""
        found = {}
        for name in names:
            with suppress(FileNotFoundError):
                try:
                    data = json.loads(self.path(name).read_text(encoding="utf-8"))
                    found[name] = Stop(plain(str(data["reason"])), plain(str(data["by"])), float(data["at"]))
                except (ValueError, KeyError, TypeError, PermissionError):
                    found[name] = Stop("no reason that could be read")
        return found


class Memories:
    """What is remembered of the tiers, on the disk before anything is done that depends on it."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self._path, self._lock, self._is_written = path, threading.Lock(), True
        data: Any = {}
        try:
            data = json.loads(path.read_text(encoding="utf-8"))["tiers"]
        except FileNotFoundError:
            log("nothing is remembered")
        except (OSError, ValueError, KeyError, TypeError) as error:
            log(f"what was remembered cannot be read and is forgotten: {error}")
        known = data if isinstance(data, dict) else {}
        self.of = {name: tier_rules.memory_from(known.get(name)) for name in names}

    def decide(
        self, name: str, rule: Callable[[Memory], tuple[Memory, list[tier_rules.Action]]]
    ) -> list[tier_rules.Action]:
        """Remember of a tier what a rule makes of it, and give what is to be done; one rule at a time."""
        with self._lock:
            memory, actions = rule(self.of[name])
            if self.of[name] != memory:
                self.of = {**self.of, name: memory}
                self._is_written = False
            # What could not be written once is written as soon as it can.
            if not self._is_written:
                data = {"schema": SCHEMA, "tiers": {key: tier_rules.memory_data(one) for key, one in self.of.items()}}
                write_whole(self._path, json.dumps(data, indent=2) + "\n", 0o600)
                self._is_written = True
        return actions

    def change(self, name: str, rule: Callable[[Memory], Memory]) -> None:
        """Remember something else of a tier."""
        self.decide(name, lambda memory: (rule(memory), []))


@dataclass(frozen=True)
class Ran:
    """What a program of Slurm's did; status 124 if it did not end."""

    status: int
    raw: bytes
    err: str

    @property
    def out(self) -> str:
        """What it printed."""
        return self.raw.decode("utf-8", errors="replace")

    @property
    def said(self) -> str:
        """What it complained of, in one line."""
        return " ".join((self.err or self.out).split())[:300] or f"status {self.status}"


class Slurm:
    """Slurm's own programs. Only times are asked for in another way than people see them."""

    def __init__(self) -> None:
        # Nothing of what is in somebody's environment: SBATCH_ and SQUEUE_ variables change what programs do.
        kept = {name: os.environ[name] for name in ("PATH", "SLURM_CONF", "TZ") if name in os.environ}
        self._environment = {**kept, "LC_ALL": "C", "HOME": "/", **slurm_queue.ENVIRONMENT}
        #: When it was last seen to go on: it waits for one program at a time, and for none for ever.
        self.seen = time.monotonic()

    def run(self, argv: Sequence[str], timeout_s: float = TIMEOUT_S) -> Ran:
        """Run one."""
        self.seen = time.monotonic()
        try:
            done = subprocess.run(
                argv,
                capture_output=True,
                timeout=timeout_s,
                check=False,
                cwd="/",
                env=self._environment,
            )
        except subprocess.TimeoutExpired:
            return Ran(124, b"", f"{argv[0]} did not end within {timeout_s:g} seconds")
        except OSError as error:
            return Ran(127, b"", f"{argv[0]}: {error.strerror}")
        return Ran(done.returncode, done.stdout, done.stderr.decode("utf-8", errors="replace"))

    def queue(self, before: Queue) -> Queue:
        """Ask for all jobs; what was known before where nobody answers."""
        asked = time.time()
        ran = self.run(["squeue", "--all", "--noheader", "--states=all", f"--Format={slurm_queue.SQUEUE_FORMAT}"])
        if ran.status:
            return replace(before, problem=ran.said, since=before.since or asked)
        try:
            return Queue(asked, tuple(slurm_queue.parse_queue(ran.raw)))
        except ValueError as error:
            return replace(before, problem=plain(str(error)), since=before.since or asked)

    def ending(self, job: str, queue: Queue, logs: Path) -> Ending:
        """Ask how a job ended; by the queue where accounting does not answer."""
        fields = f"--format={slurm_queue.SACCT_FIELDS}"
        ran = self.run(["sacct", "--noheader", "--parsable2", "--duplicates", f"--jobs={job}", fields])
        found = slurm_queue.parse_ending(ran.out, job) if ran.status == 0 else Ending()
        seen = next((one for one in queue.jobs if one.id == job), None)
        if seen is not None:
            if found.state in ("", "RUNNING", "PENDING", "REQUEUED") and not seen.is_live:
                took = (seen.end or 0) - (seen.start or 0) if seen.end and seen.start else 0
                found = Ending(state=seen.state, exit_code=seen.exit_code >> 8, elapsed=max(0.0, took))
                found = replace(found, signal=seen.exit_code & 127, nodes=",".join(seen.nodes))
            found = replace(found, reason=seen.reason)
        return replace(found, log=_last_words(logs, job))

    def submit(self, wanted: Wanted) -> tuple[Ran, str]:
        """Submit a tier's job. Slurm itself starts no two of one name and user at once."""
        comment = f"--comment={tier_rules.comment(wanted)}"
        argv = ["sbatch", "--parsable", "--dependency=singleton", comment, wanted.script]
        ran = self.run(argv, SBATCH_TIMEOUT_S)
        number = ran.out.strip().split(";", maxsplit=1)[0]
        return ran, number if number.isdigit() else ""


def _last_words(logs: Path, job: str) -> str:
    """What a job's log says last; nothing where the shared file system does not answer for a while."""
    found: list[str] = []
    reading = threading.Thread(target=lambda: found.append(_read_last_words(logs, job)), daemon=True)
    reading.start()
    reading.join(LOG_S)
    return found[0] if found else ""


def _read_last_words(logs: Path, job: str) -> str:
    for path in (logs / job / "job.log", logs / f"slurm-{job}.out"):
        with suppress(OSError), path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - LOG_TAIL))
            found = slurm_queue.last_words(stream.read().decode(errors="replace"))
            if found:
                return plain(found)[:240]
    return ""


@dataclass(frozen=True)
class Read:
    """What the registry had when it was read last.

    :param when: by the clock that nobody sets; 0 if it never was.
    """

    when: float = 0.0
    files: Mapping[str, str] = field(default_factory=dict)
    broken: Sequence[str] = ()
    watch: endpoint_registry.Watch = field(default_factory=endpoint_registry.Watch)


def _step(wanted: Wanted, facts: Facts, memory: Memory) -> tuple[Memory, list[tier_rules.Action]]:
    return tier_rules.step(wanted, memory, facts)


class Manager:
    """Follows Slurm and the registry, and keeps one job for each tier."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.names = [wanted.name for wanted in settings.tiers]
        self.slurm, self.stops = Slurm(), Stops(settings.state)
        self.memories = Memories(settings.state / "memory.json", self.names)
        self.queue = Queue()
        self.read = Read()
        self.registry_problem = ""
        self.first_seen: dict[tuple[str, float], float] = {}
        self.endings: dict[str, Ending] = {}
        self.drained: dict[str, int] = {}
        self.strays: dict[str, float] = {}
        self.states: dict[str, str] = {}
        self.written: tuple[float, str] = (0.0, "")
        self._wake = threading.Event()
        # For what both the thread that asks Slurm and the one that tells others change.
        self._lock = threading.Lock()

    # What there is

    def follow_registry(self) -> None:
        """Read the registry again and again."""
        while True:
            try:
                self.read_registry()
                self._sweep()
                self.registry_problem = ""
            except Exception as error:
                # Whatever it is: nobody else reads it, and the next time it may go well.
                said = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
                self.registry_problem = f"the registry {self.settings.registry} cannot be read: {said}"
            time.sleep(REGISTRY_S)

    def read_registry(self) -> None:
        """Read it once."""
        files, broken = read_registry(self.settings.registry)
        now = time.monotonic()
        self.read = Read(now, files, broken, endpoint_registry.watch(self.read.watch, files, time.time(), now))

    def _sweep(self) -> None:
        """Remove what jobs that are long gone have left in the registry: nobody else would."""
        queue, read = self.queue, self.read
        if queue.problem or not queue.taken:
            return
        for name in endpoint_registry.rubbish(read.files, {job.id for job in queue.jobs}, read.watch.signs, read.when):
            with suppress(OSError):
                (self.settings.registry / name).unlink()
                log(f"removed {name} from the registry: its job is long gone")

    def look(self, wall: float) -> tuple[Facts, endpoint_registry.Registry]:
        """Put together what is known."""
        read, queue, now = self.read, self.queue, time.monotonic()

        def registry(gone: Collection[str]) -> endpoint_registry.Registry:
            return endpoint_registry.look(read.files, wall, self.names, gone, read.broken, read.watch.signs, now)

        with self._lock:
            found = registry(())
            runs = {tier_rules.run_of(entry) for entry in found.alive}
            # Never later than now: the clock may have been set back.
            self.first_seen = {run: min(wall, self.first_seen.get(run, wall)) for run in runs}
            gone = tier_rules.gone_jobs(found.alive, queue, self.first_seen)
            if gone:
                found = registry(gone)
            # One that is ending has been counted up already, if it is requeued by somebody else.
            restarts = {job.id: job.restarts for job in queue.jobs if job.is_running}
            for entry in found.alive:
                if entry.state == endpoint_registry.DRAINING and entry.job_id in restarts:
                    self.drained[entry.job_id] = restarts[entry.job_id]
            endings, drained = dict(self.endings), dict(self.drained)
        if queue.taken and not queue.problem and wall - queue.taken > SILENT_S + self.settings.every:
            queue = replace(queue, problem=f"no answer for {wall - queue.taken:.0f} seconds", since=queue.taken)
        return Facts(wall, queue, found.alive, self.stops.all(self.names), endings, drained), found

    def _may_live_on(self) -> bool:
        """Whether an entry is dead that was never watched for long enough to see it change."""
        _facts, found = self.look(time.time())
        signs = self.read.watch.signs
        return any(dead.file in signs and not signs[dead.file].has_changed for dead in found.dead)

    # Slurm

    def follow_slurm(self) -> None:
        """Ask Slurm, decide, do; again and again, one after the other."""
        while True:
            pause = self.settings.every
            self.slurm.seen = time.monotonic()
            try:
                queue = self.slurm.queue(self.queue)
                if bool(queue.problem) != bool(self.queue.problem):
                    log(f"Slurm does not answer: {queue.problem}" if queue.problem else "Slurm answers")
                self.queue = queue
                if queue.problem:
                    pause = AFTER_FAILURE_S
                elif self.act():
                    pause = min(AFTER_ACTION_S, pause)
            except Exception as error:
                # Whatever it is: without this thread no tier would ever have a job again.
                log(f"could not do what was to be done, and will try again: {type(error).__name__}: {error}")
                pause = AFTER_FAILURE_S
            self._wake.wait(pause)
            self._wake.clear()

    def act(self) -> bool:
        """Decide and do, for every tier; whether there was anything to do."""
        is_busy = False
        for wanted in self.settings.tiers:
            facts, _registry = self.look(time.time())
            for action in self.memories.decide(wanted.name, partial(_step, wanted, facts)):
                is_busy = True
                self._do(wanted, action)
        self._end_strays()
        live = {job.id for job in self.queue.jobs} | {memory.job for memory in self.memories.of.values()}
        with self._lock:
            self.endings = {job: ending for job, ending in self.endings.items() if job in live}
            self.drained = {job: count for job, count in self.drained.items() if job in live}
        return is_busy

    def _end_strays(self) -> None:
        """End the jobs of tiers that are not in the inventory any more: they would come back for ever."""
        now = time.monotonic()
        found = tier_rules.stray_jobs(self.settings.tiers, self.memories.of, self.queue, self.settings.user)
        self.strays = {job: at for job, at in self.strays.items() if now - at < STRAY_AGAIN_S}
        for job in found:
            if job.id not in self.strays:
                self.strays[job.id] = now
                name = tier_rules.tier_of(job) or plain(job.name)
                self._end(name, job.id, "it belongs to no tier of the inventory")

    def _end(self, name: str, job: str, reason: str) -> None:
        log(f"{name}: ending job {job}: {reason}")
        ran = self.slurm.run(["scancel", job])
        if ran.status:
            log(f"{name}: scancel {job}: {ran.said}")

    def _do(self, wanted: Wanted, action: tier_rules.Action) -> None:
        if action.kind == tier_rules.EXPLAIN:
            ending = self.slurm.ending(action.job, self.queue, self.settings.logs)
            with self._lock:
                self.endings[action.job] = ending
            log(f"{wanted.name}: {tier_rules.explain(action.job, ending)[0]}")
        elif action.kind == tier_rules.CANCEL:
            self._end(wanted.name, action.job, action.reason)
        elif action.kind == tier_rules.RENEW:
            log(f"{wanted.name}: asking job {action.job} to make way in a quiet moment: {action.reason}")
            ran = self.slurm.run(["scancel", f"--signal={job_revision.SIGNAL}", "--batch", action.job])
            if ran.status:
                log(f"{wanted.name}: scancel --signal={job_revision.SIGNAL} {action.job}: {ran.said}")
        elif action.kind == tier_rules.SUBMIT:
            self._submit(wanted)

    def _submit(self, wanted: Wanted) -> None:
        self.memories.change(wanted.name, lambda memory: tier_rules.about_to_submit(memory, time.time()))
        ran, job = self.slurm.submit(wanted)
        text = f"{ran.err} {ran.out}"
        self.memories.change(
            wanted.name, lambda memory: tier_rules.submitted(wanted, memory, time.time(), ran.status, job, text)
        )
        log(f"{wanted.name}: submitted job {job}" if job else f"{wanted.name}: sbatch {wanted.script}: {ran.said}")

    # What others are told

    def tell(self) -> None:
        """Write how the tiers are, if that has changed or was long ago."""
        wall = time.time()
        facts, registry = self.look(wall)
        notes = [f"{dead.file} in the registry is dead: {dead.reason}" for dead in registry.dead]
        notes += registry.clocks
        notes += [self.registry_problem] if self.registry_problem else []
        unread = time.monotonic() - self.read.when
        if self.read.when and unread > endpoint_registry.LIFE_S:
            notes.append(f"the registry has not been read for {unread:.0f} seconds")
        view = tier_rules.view(self.settings.tiers, self.memories.of, facts, notes)
        for name, tier in view.tiers.items():
            self._changed(name, tier)
        # Without times, which always change.
        mark = json.dumps({name: [tier.state, tier.reason, [e.where for e in tier.endpoints]]
                           for name, tier in view.tiers.items()})  # fmt: skip
        if mark != self.written[1] or not 0 <= wall - self.written[0] < tier_status.EVERY_S - TICK_S:
            write_whole(self.settings.view, tier_status.write(view))
            self.written = (wall, mark)

    def _changed(self, name: str, tier: tier_status.Tier) -> None:
        before = self.states.get(name)
        if tier.state == before:
            return
        self.states[name] = tier.state
        log(f"{name}: {tier.state}" + (f" ({tier.reason})" if tier.reason else ""))
        if tier.state == tier_status.READY and before == tier_status.LOADING:
            self.memories.change(name, lambda memory: tier_rules.loaded_in(memory, tier.endpoints[0]))
        # What happened in the registry will soon show in the queue.
        self._wake.set()

    def live(self) -> None:
        """Begin, and go on for ever."""
        for work in (self.follow_registry, self.follow_slurm):
            threading.Thread(target=work, daemon=True).start()
        until = time.monotonic() + TIMEOUT_S
        while not ((self.queue.taken or self.queue.problem) and (self.read.when or self.registry_problem)):
            if time.monotonic() > until:
                break
            time.sleep(TICK_S)
        # What was said before holds for longer than this: an engine whose node has a wrong clock is not said to be away
        # only because nobody has seen its entry change yet.
        until = time.monotonic() + endpoint_registry.STILL_S
        while self._may_live_on() and time.monotonic() < until:
            time.sleep(TICK_S)
        self.tell()
        notify("READY=1")
        log(f"keeping {', '.join(self.names) or 'no tier'}")
        while True:
            # One that nobody hears of any more has no thread that keeps jobs: systemd is to begin anew.
            if time.monotonic() - self.slurm.seen < STUCK_S:
                notify("WATCHDOG=1")
            time.sleep(TICK_S)
            self.tell()


def alone(folder: Path) -> Any:
    """Only one manager at a time: the file that it holds locked as long as it lives."""
    stream = (folder / "lock").open("a")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise RemoteFailureError(
            "no other manager of the tiers", f"one that holds {folder / 'lock'}", "stop herd-tiers.service first"
        ) from error
    return stream


def manage_command(arguments: argparse.Namespace) -> int:
    """Run the manager until systemd ends it."""
    settings = read_settings(arguments.config)
    user = pwd.getpwuid(os.geteuid()).pw_name
    if user != settings.user:
        raise InvalidInputError(f"to run as {settings.user}", user, "use herd-tiers.service")
    with alone(settings.state):
        Manager(settings).live()
    return 0


def read_view(path: Path) -> tier_status.View:
    """Read what the manager says."""
    try:
        return tier_status.read(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NotFoundError(
            f"the manager's view of the tiers at {path}",
            error.strerror or str(error),
            "see that herd-tiers.service runs on this host (journalctl -u herd-tiers)",
        ) from error


def show_command(arguments: argparse.Namespace) -> int:
    """Show the tiers; 0 if the view is new and every tier that is enabled is ready, 3 if not."""
    settings = read_settings(arguments.config)
    view, wall = read_view(settings.view), time.time()
    if arguments.json:
        data: Mapping[str, Any] = {**tier_status.as_data(view), "is_old": bool(view.age_problem(wall))}
        print(json.dumps(data, indent=2))
    else:
        print(tier_status.table(view, wall))
    away = [name for name, tier in view.tiers.items() if tier.enabled and tier.state != tier_status.READY]
    return 3 if away or view.age_problem(wall) else 0


def stop_command(arguments: argparse.Namespace) -> int:
    """Have a tier's job drained and ended, and no new one submitted."""
    settings = read_settings(arguments.config)
    for name in arguments.tier:
        settings.tier(name)
    for name in arguments.tier:
        data = {"reason": plain(arguments.reason), "by": _person(), "at": time.time()}
        _change(lambda name=name, data=data: write_whole(Stops(settings.state).path(name), json.dumps(data) + "\n"))
        print(f"{name}: its job ends once its running answers have, and none follows until: herdctl tiers start {name}")
    return 0


def start_command(arguments: argparse.Namespace) -> int:
    """Let a tier come back."""
    settings = read_settings(arguments.config)
    for name in arguments.tier:
        settings.tier(name)
    for name in arguments.tier:
        _change(lambda name=name: Stops(settings.state).path(name).unlink(missing_ok=True))
        print(f"{name}: its job is submitted by the manager")
    return 0


def _person() -> str:
    return plain(os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name)


def _change(work: Any) -> None:
    try:
        work()
    except OSError as error:
        raise RemoteFailureError(
            "to be allowed to change the tiers", f"{error.filename}: {error.strerror}", "run it as root (sudo)"
        ) from error


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe C(herdctl tiers)."""
    tiers = commands.add_parser(
        "tiers", description="Show, stop or start the tiers that run as Slurm jobs (on the controller)."
    )
    tiers.add_argument("--config", default=DEFAULT_PATH, help="what was installed (default: %(default)s)")
    tiers.add_argument("--json", action="store_true", help="as JSON")
    tiers.set_defaults(run=show_command)
    what = tiers.add_subparsers(dest="what")
    manage = what.add_parser("manage", help="keep one job for each tier (what herd-tiers.service runs)")
    manage.set_defaults(run=manage_command)
    stop = what.add_parser("stop", help="end a tier's job gently, and submit none until it is started")
    stop.add_argument("tier", nargs="+")
    stop.add_argument("--reason", default="no reason was given")
    stop.set_defaults(run=stop_command)
    start = what.add_parser("start", help="let a stopped tier come back")
    start.add_argument("tier", nargs="+")
    start.set_defaults(run=start_command)
