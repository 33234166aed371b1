# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The endpoint registry: one small file for each engine that a job has started.

Only the job writes its file: whole, in one step, and again and again as a heartbeat. Shared file systems offer no
locks, so readers must expect every fault: files that are old, truncated or from another program, a wrong clock, and two
entries with the same port. An entry with a fault is dead and is reported with the reason.

An endpoint is alive while its heartbeat changes, by the reader's monotonic clock. The writer's clock is compared with
the reader's only before the first change, and to report a wrong clock.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .. import timefmt, values
from ..errors import InvalidInputError

SCHEMA = 1
LOADING, READY, DRAINING = "loading", "ready", "draining"
STATES = (LOADING, READY, DRAINING)
#: Seconds between two heartbeats, and seconds without one after which an endpoint is dead.
HEARTBEAT_S, LIFE_S = 2.0, 15.0
#: Seconds that a writer's clock may be ahead of the reader's before the heartbeat has changed.
AHEAD_S = 60.0
#: Seconds of difference from which a clock is reported. A smaller difference may be the file system's delay.
CLOCK_S = 10.0
#: Seconds that an entry must be tracked before it can be a leftover: its writer would have written it again.
STILL_S = 3 * HEARTBEAT_S
#: Seconds after which the file of a job that Slurm no longer knows is removed.
LEFTOVER_S = 600.0
#: Bytes of the largest entry that is read.
LARGEST = 64 * 1024
#: Most files that are read, and most bytes in total.
MOST_FILES, MOST_BYTES = 500, 4 << 20
_TIER = re.compile(r"[a-z][a-z0-9-]{0,31}")
_JOB = re.compile(r"\d{1,12}")
_FILE = re.compile(r"(?P<tier>[a-z][a-z0-9-]{0,31})-(?P<job>\d{1,12})\.json")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
# 0.0.0.0 is any address of the reader's own host; from 224 on follow multicast and reserved addresses.
_HOST_OCTET = "(?:22[0-3]|2[01][0-9]|1[0-9]{2}|[1-9][0-9]?)"
_ADDRESS = re.compile(rf"{_HOST_OCTET}(?:\.{_OCTET}){{3}}")
#: Characters of the longest text in an entry.
_LONGEST = 256
_REMEDY = "leave it: the job's next heartbeat replaces it, and until then no request is sent there"


@dataclass(frozen=True)
class Endpoint:
    """One engine that a job has started.

    :param percent: loaded part of the model, 0 to 100.
    :param context: size of the context, in cells.
    :param slots: requests that are computed at the same time.
    :param started: when its job began, in seconds since 1970 by the writer's clock.
    :param heartbeat: when the entry was written, by the same clock.
    :param load: load of the engine and memory of its GPUs, for the status page; None if unknown.
    """

    tier: str
    job_id: str
    host: str
    address: str
    port: int
    models: tuple[str, ...]
    state: str
    percent: int
    context: int
    slots: int
    release: str
    started: float
    heartbeat: float
    load: Mapping[str, Any] | None = None

    @property
    def where(self) -> str:
        """Address and port."""
        return f"{self.address}:{self.port}"


@dataclass(frozen=True)
class DeadEntry:
    """A file of the registry that gets no requests, and the reason."""

    file: str
    reason: str


@dataclass(frozen=True)
class Registry:
    """Content of the registry.

    :param clocks: reports of hosts whose clock is wrong.
    """

    alive: tuple[Endpoint, ...] = ()
    dead: tuple[DeadEntry, ...] = ()
    clocks: tuple[str, ...] = ()

    def of(self, tier: str) -> tuple[Endpoint, ...]:
        """List a tier's endpoints, the one that started last first."""
        own = [entry for entry in self.alive if entry.tier == tier]
        return tuple(sorted(own, key=lambda entry: (entry.started, int(entry.job_id)), reverse=True))


def file_name(tier: str, job_id: str) -> str:
    """Name the file of a job's endpoint."""
    return f"{tier}-{job_id}.json"


def is_entry(name: str) -> bool:
    """Say whether a file may be an entry by its name. Temporary and foreign files are not."""
    return _FILE.fullmatch(name) is not None


def as_data(entry: Endpoint) -> dict[str, Any]:
    """Convert an entry to JSON data, for its file and for the tier status."""
    data = {"schema": SCHEMA, **asdict(entry), "models": list(entry.models)}
    if entry.load is None:
        del data["load"]
    return data


def write(entry: Endpoint) -> str:
    """Make the text of an entry's file."""
    return json.dumps(as_data(entry), separators=(",", ":")) + "\n"


def _wrong(expected: str, value: Any) -> InvalidInputError:
    return values.invalid(expected, value, _REMEDY)


def _number(data: Mapping[str, Any], name: str, most: float = values.LARGEST) -> float:
    return values.number(data, name, 0, most, _REMEDY)


def _word(data: Mapping[str, Any], name: str, pattern: re.Pattern[str], what: str) -> str:
    value = data.get(name)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise _wrong(f"{what} as {name}", value)
    return value


def _models(data: Mapping[str, Any]) -> tuple[str, ...]:
    value = data.get("models")
    if not isinstance(value, list) or len(value) > 256:
        raise _wrong("a list of models", value)
    return tuple(values.text({"models": model}, "models", _LONGEST, _REMEDY) for model in value)


def _plain(value: Any, depth: int) -> Any:
    """Reduce the load, which only the status page shows, to few finite numbers and printable texts."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, (int, float)):
        return values.finite(value, -values.LARGEST)
    if isinstance(value, str):
        return value[:64] if value.isprintable() else None
    if isinstance(value, list) and depth:
        return [_plain(one, depth - 1) for one in value[:64]]
    if isinstance(value, dict) and depth:
        return {str(name)[:64]: _plain(one, depth - 1) for name, one in list(value.items())[:32]}
    return None


def from_data(data: Any) -> Endpoint:
    """Read an entry from JSON data. Unknown fields are ignored: later versions may add some."""
    if not isinstance(data, dict):
        raise _wrong("an entry of the registry as a JSON object", data)
    if data.get("schema") != SCHEMA or isinstance(data["schema"], bool):
        raise _wrong(f"schema {SCHEMA}", data.get("schema"))
    if data.get("state") not in STATES:
        raise _wrong(f"a state of {', '.join(STATES)}", data.get("state"))
    return Endpoint(
        tier=_word(data, "tier", _TIER, "a tier's name"),
        job_id=_word(data, "job_id", _JOB, "a job's number"),
        host=_word(data, "host", _HOST, "a host's name"),
        address=_word(data, "address", _ADDRESS, "the IPv4 address of a host"),
        port=values.whole(data, "port", 1, 65535, _REMEDY),
        models=_models(data),
        state=str(data["state"]),
        percent=int(_number(data, "percent", 100)),
        context=values.whole(data, "context", 0, 1 << 40, _REMEDY),
        slots=values.whole(data, "slots", 0, 1 << 20, _REMEDY),
        release=values.text(data, "release", _LONGEST, _REMEDY),
        started=float(_number(data, "started")),
        heartbeat=float(_number(data, "heartbeat")),
        load=_plain(data["load"], 3) if isinstance(data.get("load"), dict) else None,
    )


def read(text: str, name: str = "") -> Endpoint:
    """Read an entry.

    :param name: name of its file, which must match its tier and job; empty if there is no file.
    """
    if len(text) > LARGEST:
        raise _wrong(f"at most {LARGEST} bytes", f"{len(text)}")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError("an entry of the registry as JSON", f"{error}"[:80], _REMEDY) from error
    entry = from_data(data)
    if name and name != file_name(entry.tier, entry.job_id):
        raise _wrong(f"the file's name to be {file_name(entry.tier, entry.job_id)}", name)
    return entry


@functools.lru_cache(maxsize=2 * MOST_FILES)
def _entry_or_fault(text: str, name: str) -> Endpoint | str:
    """Read an entry, an unchanged one only once. A faulty one gives its fault."""
    try:
        return read(text, name)
    except InvalidInputError as error:
        return f"expected {error.expected}, found {error.found}"


def _readable(files: Mapping[str, str]) -> Iterator[tuple[str, Endpoint]]:
    """Read the entries, without those that are faulty."""
    for name, text in sorted(files.items()):
        entry = _entry_or_fault(text, name)
        if isinstance(entry, Endpoint):
            yield name, entry


def _age_problem(entry: Endpoint, age: float) -> str:
    """Say why the age of an entry's heartbeat makes it dead; empty if it is alive."""
    if age > LIFE_S:
        return f"no heartbeat for {timefmt.span(age)}"
    if age < -AHEAD_S:
        return f"its heartbeat is {timefmt.span(-age)} in the future: set the clock of {entry.host} (chronyc tracking)"
    return ""


@dataclass(frozen=True)
class HeartbeatSeen:
    """What a reader knows of an entry's heartbeat.

    :param heartbeat: the writer's time.
    :param since: when the reader first saw it, by its monotonic clock.
    :param ahead: seconds that the writer's clock was ahead of the reader's then.
    :param has_changed: whether it had another value before: only a change proves a live writer.
    """

    heartbeat: float
    since: float
    ahead: float
    has_changed: bool = False


@dataclass(frozen=True)
class HeartbeatTracker:
    """What a reader that reads the registry repeatedly knows.

    :param heartbeats: by file name.
    :param tracked_at: when it read last, by its monotonic clock.
    """

    heartbeats: Mapping[str, HeartbeatSeen] = field(default_factory=dict)
    tracked_at: float = 0.0


def track(before: HeartbeatTracker, files: Mapping[str, str], wall: float, now: float) -> HeartbeatTracker:
    """Record which heartbeats have changed since the last read.

    :param wall: the reader's wall clock.
    :param now: its monotonic clock.
    """
    # After a pause, a change may be old and its writer dead: tracking starts again.
    known = before.heartbeats if now - before.tracked_at <= LIFE_S else {}
    # A file that is missing or unreadable for a short time is remembered: otherwise it would be new afterwards.
    heartbeats = {name: seen for name, seen in known.items() if now - seen.since <= LEFTOVER_S}
    for name, entry in _readable(files):
        seen = known.get(name)
        if seen is None or seen.heartbeat != entry.heartbeat:
            seen = HeartbeatSeen(entry.heartbeat, now, entry.heartbeat - wall, seen is not None)
        heartbeats[name] = seen
    return HeartbeatTracker(heartbeats, now)


def _life_problem(entry: Endpoint, seen: HeartbeatSeen | None, wall: float, now: float) -> str:
    if seen is None or seen.heartbeat != entry.heartbeat:
        return _age_problem(entry, wall - entry.heartbeat)
    silent = now - seen.since
    # Before the first change, the age by the clocks counts, too.
    problem = "" if seen.has_changed else _age_problem(entry, silent - seen.ahead)
    return problem or (f"no heartbeat for {timefmt.span(silent)}" if silent > LIFE_S else "")


def _clocks(entries: Sequence[Endpoint], heartbeats: Mapping[str, HeartbeatSeen]) -> tuple[str, ...]:
    """Report wrong clocks. A heartbeat that has just changed was just written."""
    found = {}
    for entry in entries:
        seen = heartbeats.get(file_name(entry.tier, entry.job_id))
        if seen is not None and seen.has_changed and abs(seen.ahead) > CLOCK_S:
            way = "ahead of" if seen.ahead > 0 else "behind"
            found[entry.host] = (
                f"the clock of {entry.host} is {timefmt.span(abs(seen.ahead))} {way} this host's: set the wrong one "
                f"(chronyc tracking)"
            )
    return tuple(found[host] for host in sorted(found))


def read_all(
    files: Mapping[str, str],
    wall: float,
    tiers: Collection[str] | None = None,
    gone: Collection[str] = (),
    broken: Mapping[str, str] | None = None,
    heartbeats: Mapping[str, HeartbeatSeen] | None = None,
    now: float = 0.0,
) -> Registry:
    """Read all entries of the registry.

    :param files: texts by file name.
    :param wall: the reader's wall clock.
    :param tiers: names of the tiers; None accepts every name.
    :param gone: numbers of jobs that certainly do not run.
    :param broken: why further files cannot be read, by name.
    :param heartbeats: what the reader has tracked; without it, only the clocks decide which entry is alive.
    :param now: the reader's monotonic clock.
    """
    heartbeats = heartbeats or {}
    alive: list[Endpoint] = []
    dead = [DeadEntry(name, reason) for name, reason in (broken or {}).items()]
    for name in sorted(files):
        entry = _entry_or_fault(files[name], name)
        if isinstance(entry, str):
            dead.append(DeadEntry(name, entry))
            continue
        problem = _life_problem(entry, heartbeats.get(name), wall, now)
        if tiers is not None and entry.tier not in tiers:
            problem = f"there is no tier {entry.tier}"
        elif entry.job_id in gone:
            problem = f"its job {entry.job_id} is gone"
        elif entry.started > max(wall + AHEAD_S, entry.heartbeat + CLOCK_S):
            # By the clocks of both. The endpoint that started last would get all of the tier's requests.
            problem = "its job has started in the future"
        if problem:
            dead.append(DeadEntry(name, problem))
        else:
            alive.append(entry)
    alive = _one_for_each_port(alive, dead)
    return Registry(tuple(alive), tuple(sorted(dead, key=lambda one: one.file)), _clocks(alive, heartbeats))


def _one_for_each_port(entries: Sequence[Endpoint], dead: list[DeadEntry]) -> list[Endpoint]:
    """Keep one endpoint for each port: the one whose job started last. The others are dead."""
    owners: dict[str, Endpoint] = {}
    for entry in sorted(entries, key=lambda one: (one.started, int(one.job_id))):
        other = owners.get(entry.where)
        if other is not None:
            name = file_name(other.tier, other.job_id)
            dead.append(DeadEntry(name, f"{entry.where} belongs to job {entry.job_id}, which started later"))
        owners[entry.where] = entry
    return sorted(owners.values(), key=lambda one: (one.tier, one.job_id))


def leftovers(
    files: Mapping[str, str], jobs: Collection[str], heartbeats: Mapping[str, HeartbeatSeen], now: float
) -> list[str]:
    """List the files of jobs that ended long ago. Unreadable files stay for an operator.

    :param jobs: numbers of all jobs that Slurm knows.
    :param heartbeats: what the reader has tracked. A job with a slow clock still changes its heartbeat.
    """
    found = []
    for name, entry in _readable(files):
        seen = heartbeats.get(name)
        if entry.job_id in jobs or seen is None or seen.heartbeat != entry.heartbeat:
            continue
        silent = now - seen.since
        age = silent if seen.has_changed else max(silent, silent - seen.ahead)
        if silent > STILL_S and age > LEFTOVER_S:
            found.append(name)
    return found
