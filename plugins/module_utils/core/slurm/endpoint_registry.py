# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry of endpoints: one small file for each engine that a job has started.

Only the job writes its file, whole and in one step, again and again as a sign of life; everybody else only reads. There
are no locks, since shared file systems do not have them. So a reader must expect everything: files that are old, cut
short, from a clock that is wrong, of another program, or two that claim the same port. What it cannot believe is dead,
and named.

Whether an endpoint lives shows in its sign of life becoming another one under the reader's eyes, by the reader's own
clock that nobody sets. The writer's clock is only held against the reader's where nobody has watched yet, and to name
one that is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .. import values
from ..errors import InvalidInputError

SCHEMA = 1
LOADING, READY, DRAINING = "loading", "ready", "draining"
STATES = (LOADING, READY, DRAINING)
#: Seconds between two signs of life, and without one after which an endpoint is dead.
HEARTBEAT_S, LIFE_S = 2.0, 15.0
#: Seconds that a writer's clock may be ahead of the reader's in an entry that nobody has seen change yet.
AHEAD_S = 60.0
#: Seconds between two clocks from which on people are told: less may be how long the file took to be seen.
CLOCK_S = 10.0
#: Seconds for which an entry must have been watched before it can be rubbish: its writer would have written it anew.
STILL_S = 3 * HEARTBEAT_S
#: Seconds after which what a job has left behind is removed, once Slurm does not know the job any more.
RUBBISH_S = 600.0
#: Bytes of the largest entry that is read at all.
LARGEST = 64 * 1024
_TIER = re.compile(r"[a-z][a-z0-9-]{0,31}")
_JOB = re.compile(r"\d{1,12}")
_FILE = re.compile(r"(?P<tier>[a-z][a-z0-9-]{0,31})-(?P<job>\d{1,12})\.json")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
_OCTET = re.compile(r"0|[1-9]\d{0,2}")
#: Characters of the longest text in an entry.
_LONGEST = 256
_REMEDY = "leave it: the next sign of life of its job replaces it, and nobody sends requests there meanwhile"


@dataclass(frozen=True)
class Endpoint:
    """One engine that a job has started.

    :param percent: how much of the model is loaded, 0 to 100.
    :param context: cells of the context.
    :param slots: requests that it computes at the same time.
    :param started: when its job began, in seconds since 1970 by the writer's clock.
    :param heartbeat: when this was written, by the same clock.
    :param load: what the engine has to do and how full its GPUs are, for the status page; None where it does not say.
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
        """Its address and port."""
        return f"{self.address}:{self.port}"


@dataclass(frozen=True)
class Dead:
    """A file of the registry that nothing is sent to, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class Registry:
    """What a look into the registry found.

    :param clocks: what is said of hosts whose clock is wrong.
    """

    alive: tuple[Endpoint, ...] = ()
    dead: tuple[Dead, ...] = ()
    clocks: tuple[str, ...] = ()

    def of(self, tier: str) -> tuple[Endpoint, ...]:
        """The endpoints of a tier, the one that began last in front."""
        own = [entry for entry in self.alive if entry.tier == tier]
        return tuple(sorted(own, key=lambda entry: (entry.started, int(entry.job_id)), reverse=True))


def file_name(tier: str, job_id: str) -> str:
    """The file of a job's endpoint."""
    return f"{tier}-{job_id}.json"


def is_entry(name: str) -> bool:
    """Whether a file of this name may be an entry: scratch files and what people leave there are not."""
    return _FILE.fullmatch(name) is not None


def as_data(entry: Endpoint) -> dict[str, Any]:
    """An entry as it is written, and as the view of the tiers passes it on."""
    data = {"schema": SCHEMA, **asdict(entry), "models": list(entry.models)}
    if entry.load is None:
        del data["load"]
    return data


def write(entry: Endpoint) -> str:
    """The text of an entry's file."""
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


def _address(data: Mapping[str, Any]) -> str:
    value = data.get("address")
    parts = value.split(".") if isinstance(value, str) else []
    if len(parts) != 4 or not all(_OCTET.fullmatch(part) and int(part) < 256 for part in parts):
        raise _wrong("an IPv4 address", value)
    return str(value)


def _models(data: Mapping[str, Any]) -> tuple[str, ...]:
    value = data.get("models")
    if not isinstance(value, list) or len(value) > 256:
        raise _wrong("a list of models", value)
    return tuple(values.text({"models": model}, "models", _LONGEST, _REMEDY) for model in value)


def _plain(value: Any, depth: int) -> Any:
    """What only the status page shows: numbers that are numbers, lines of text, and little of both."""
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
    """Read an entry that is parsed; fields that are unknown are left aside, since later versions may add some."""
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
        address=_address(data),
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

    :param name: of its file, which must be that of its tier and job; empty for one that has no file.
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


def age_problem(entry: Endpoint, wall: float) -> str:
    """Why an entry's sign of life is none by the clocks alone; empty for one that is alive.

    :param wall: the reader's clock.
    """
    return _age_problem(entry, wall - entry.heartbeat)


def _age_problem(entry: Endpoint, age: float) -> str:
    if age > LIFE_S:
        return f"no sign of life for {_span(age)}"
    if age < -AHEAD_S:
        return f"its sign of life is {_span(-age)} in the future: set the clock of {entry.host} (chronyc tracking)"
    return ""


@dataclass(frozen=True)
class Sign:
    """What a reader has seen of an entry's sign of life.

    :param heartbeat: the writer's word.
    :param since: when the reader saw it first, by a clock that nobody sets.
    :param ahead: how many seconds the writer's clock was ahead of the reader's at that moment.
    :param has_changed: whether it was another one before: only that proves that somebody writes it.
    """

    heartbeat: float
    since: float
    ahead: float
    has_changed: bool = False


@dataclass(frozen=True)
class Watch:
    """What a reader that looks again and again has seen so far.

    :param signs: by the names of the files.
    :param looked: when it looked last, by a clock that nobody sets.
    """

    signs: Mapping[str, Sign] = field(default_factory=dict)
    looked: float = 0.0


def watch(before: Watch, files: Mapping[str, str], wall: float, now: float) -> Watch:
    """Note which signs of life have changed since the last look.

    :param wall: the reader's clock.
    :param now: its clock that nobody sets.
    """
    # What changed in a pause may have changed at its beginning, and its writer be dead since: watching begins anew.
    known = before.signs if now - before.looked <= LIFE_S else {}
    # A file that cannot be read for a moment, or is not there, is not forgotten: it would be a new one after that.
    signs = {name: sign for name, sign in known.items() if now - sign.since <= RUBBISH_S}
    for name, text in files.items():
        try:
            heartbeat = read(text, name).heartbeat
        except InvalidInputError:
            continue
        sign = known.get(name)
        if sign is None or sign.heartbeat != heartbeat:
            sign = Sign(heartbeat, now, heartbeat - wall, sign is not None)
        signs[name] = sign
    return Watch(signs, now)


def _life_problem(entry: Endpoint, sign: Sign | None, wall: float, now: float) -> str:
    if sign is None or sign.heartbeat != entry.heartbeat:
        return age_problem(entry, wall)
    silent = now - sign.since
    # Where nobody has seen it change, it must be as old as the clocks say, too.
    problem = "" if sign.has_changed else _age_problem(entry, silent - sign.ahead)
    return problem or (f"no sign of life for {_span(silent)}" if silent > LIFE_S else "")


def _clocks(entries: Sequence[Endpoint], signs: Mapping[str, Sign]) -> tuple[str, ...]:
    """What is said of clocks that are wrong: a change that was just seen has just been written."""
    found = {}
    for entry in entries:
        sign = signs.get(file_name(entry.tier, entry.job_id))
        if sign is not None and sign.has_changed and abs(sign.ahead) > CLOCK_S:
            way = "ahead of" if sign.ahead > 0 else "behind"
            found[entry.host] = (
                f"the clock of {entry.host} is {_span(abs(sign.ahead))} {way} this host's: set the wrong one "
                f"(chronyc tracking)"
            )
    return tuple(found[host] for host in sorted(found))


def _span(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def look(
    files: Mapping[str, str],
    wall: float,
    tiers: Collection[str] | None = None,
    gone: Collection[str] = (),
    names: Sequence[str] = (),
    signs: Mapping[str, Sign] | None = None,
    now: float = 0.0,
) -> Registry:
    """Read the whole registry.

    :param files: text by file name, of entries that could be read from the disk.
    :param wall: the reader's clock.
    :param tiers: names of the tiers that there are; None believes every name.
    :param gone: numbers of jobs that are known not to run any more.
    :param names: further files that are there and could not be read from the disk.
    :param signs: what the reader has seen of their signs of life; without, the clocks alone say who lives.
    :param now: the reader's clock that nobody sets.
    """
    signs = signs or {}
    alive: list[Endpoint] = []
    dead = [Dead(name, "it cannot be read") for name in names]
    for name in sorted(files):
        try:
            entry = read(files[name], name)
        except InvalidInputError as error:
            dead.append(Dead(name, f"expected {error.expected}, found {error.found}"))
            continue
        problem = _life_problem(entry, signs.get(name), wall, now)
        if tiers is not None and entry.tier not in tiers:
            problem = f"there is no tier {entry.tier}"
        elif entry.job_id in gone:
            problem = f"its job {entry.job_id} is gone"
        if problem:
            dead.append(Dead(name, problem))
        else:
            alive.append(entry)
    found = _one_for_each_port(alive, dead)
    return replace(found, clocks=_clocks(found.alive, signs))


def _one_for_each_port(entries: Sequence[Endpoint], dead: list[Dead]) -> Registry:
    """An engine's port is its own: of two that claim one, the job that began last has it."""
    owners: dict[str, Endpoint] = {}
    for entry in sorted(entries, key=lambda one: (one.started, int(one.job_id))):
        other = owners.get(entry.where)
        if other is not None:
            name = file_name(other.tier, other.job_id)
            dead.append(Dead(name, f"{entry.where} is that of job {entry.job_id}, which began later"))
        owners[entry.where] = entry
    return Registry(
        tuple(sorted(owners.values(), key=lambda one: (one.tier, one.job_id))),
        tuple(sorted(dead, key=lambda one: one.file)),
    )


def rubbish(files: Mapping[str, str], jobs: Collection[str], signs: Mapping[str, Sign], now: float) -> list[str]:
    """Files that jobs have left behind that are long gone; what cannot be read is left for people.

    :param jobs: numbers of all jobs that Slurm still knows.
    :param signs: what the reader has seen of their signs of life: whose clock is slow writes on.
    """
    found = []
    for name, text in sorted(files.items()):
        try:
            entry = read(text, name)
        except InvalidInputError:
            continue
        sign = signs.get(name)
        if entry.job_id in jobs or sign is None or sign.heartbeat != entry.heartbeat:
            continue
        silent = now - sign.since
        age = silent if sign.has_changed else max(silent, silent - sign.ahead)
        if silent > STILL_S and age > RUBBISH_S:
            found.append(name)
    return found
