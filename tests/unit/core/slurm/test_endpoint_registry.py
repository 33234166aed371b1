# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.slurm import endpoint_registry
from ansible_collections.herd.inference.plugins.module_utils.core.slurm.endpoint_registry import DeadEntry, Endpoint

NOW = 1_763_700_000.0
FAST = Endpoint(
    tier="fast",
    job_id="12",
    host="vasp-02",
    address="10.0.0.42",
    port=8080,
    models=("lab-llama",),
    state="ready",
    percent=100,
    context=2048,
    slots=2,
    release="0c1e57098-0ff1ce",
    started=NOW - 600,
    heartbeat=NOW - 1,
)
# As a job of the lab wrote it.
CAPTURED = (
    '{"schema": 1, "tier": "fast", "job_id": "14", "host": "vasp-02", "address": "10.0.0.42", "port": 8080, "models": '
    '["lab-llama"], "state": "ready", "percent": 100, "context": 2048, "slots": 2, "release": "0c1e57098-cpu", '
    '"started": 1795263501.71, "heartbeat": 1795263540.97}\n'
)


def files(*entries: Endpoint) -> dict[str, str]:
    return {endpoint_registry.file_name(entry.tier, entry.job_id): endpoint_registry.write(entry) for entry in entries}


def test_written_entry_is_read() -> None:
    assert endpoint_registry.read(endpoint_registry.write(FAST), "fast-12.json") == FAST
    assert json.loads(endpoint_registry.write(FAST)).keys() == {
        "schema",
        *(field.name for field in fields(Endpoint)),
    } - {"load"}


def test_load_is_kept_in_the_entry() -> None:
    gpus = [{"host": "vasp-02", "name": "Tesla V100S", "used_mib": 28000, "total_mib": 32510}]
    busy = replace(FAST, load={"processing": 1, "tokens_per_s": 12.7, "gpus": gpus})
    assert endpoint_registry.read(endpoint_registry.write(busy)) == busy


@pytest.mark.parametrize(
    ("load", "kept"),
    [
        ("much", None),
        ([1], None),
        ({"a": float("inf"), "b": 1}, {"a": None, "b": 1}),
        ({"a": "x\x00"}, {"a": None}),
        ({"a": [[[[1]]]]}, {"a": [[None]]}),
        ({"a": float("nan")}, {"a": None}),
    ],
)
def test_only_plain_values_of_a_load_are_kept(load: Any, kept: Any) -> None:
    entry = endpoint_registry.read(json.dumps({**endpoint_registry.as_data(FAST), "load": load}))
    assert entry.load == kept
    assert endpoint_registry.read(endpoint_registry.write(entry)) == entry


def test_captured_entry_is_read() -> None:
    entry = endpoint_registry.read(CAPTURED, "fast-14.json")
    assert (entry.where, entry.models, entry.heartbeat) == ("10.0.0.42:8080", ("lab-llama",), 1795263540.97)


def test_unknown_fields_are_ignored() -> None:
    assert endpoint_registry.from_data({**endpoint_registry.as_data(FAST), "queue": 3}) == FAST


@pytest.mark.parametrize("length", range(len(endpoint_registry.write(FAST)) - 1))
def test_truncated_entry_is_dead(length: int) -> None:
    text = endpoint_registry.write(FAST)[:length]
    found = endpoint_registry.read_all({"fast-12.json": text}, NOW)
    assert found.alive == ()
    assert [dead.file for dead in found.dead] == ["fast-12.json"]


WRONG: dict[str, list[Any]] = {
    "schema": [None, 2, "1", True, 0],
    "tier": ["", "Fast", "a/b", "../fast", 1, "x" * 33, "fast\n"],
    "job_id": ["", "12a", 12, "-1", "1" * 13],
    "host": ["", "a b", "-x", "h;", None],
    "address": ["", "10.0.0", "10.0.0.256", "10.0.0.042", "vasp-02", "::1", "10.0.0.42; evil", 4, "1.2.3.4\n"],
    "port": [0, 65536, "8080", 80.5, True, None, -1],
    "models": [None, "m", [1], ["a\nb"], [["x"]], {"a": 1}],
    "state": ["", "up", None, 1, ["ready"]],
    "percent": [-1, 101, "43", None, True],
    "context": [-1, None, 1.5],
    "slots": [-1, "2"],
    "release": [None, 3, "a\x00b", "x" * 257],
    "started": [-1, "now", None, float("inf")],
    "heartbeat": [None, "x", float("nan"), True],
}


@pytest.mark.parametrize(("field", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_wrong_field_is_reported(field: str, value: Any) -> None:
    text = json.dumps({**endpoint_registry.as_data(FAST), field: value})
    with pytest.raises(InvalidInputError):
        endpoint_registry.read(text)
    found = endpoint_registry.read_all({"fast-12.json": text}, NOW)
    assert found.alive == ()
    assert "found" in found.dead[0].reason


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "[" * 20000, "{}", "\x00" * 50, '{"schema":1', "x" * 70000, "1e999", '"fast"', "{" * 9]
)
def test_broken_file_does_not_affect_other_entries(text: str) -> None:
    found = endpoint_registry.read_all({"fast-12.json": text, **files(replace(FAST, job_id="13"))}, NOW)
    assert [entry.job_id for entry in found.alive] == ["13"]
    assert found.dead[0].file == "fast-12.json"


def test_entry_with_another_file_name_is_dead() -> None:
    found = endpoint_registry.read_all({"reasoning-12.json": endpoint_registry.write(FAST)}, NOW)
    assert found.alive == ()
    assert "fast-12.json" in found.dead[0].reason


@pytest.mark.parametrize(
    ("age", "said"),
    [
        (0, ""),
        (15, ""),
        (15.1, "no heartbeat for 15 seconds"),
        (7200, "no heartbeat for 2 hours"),
        (-60, ""),
        (-61, "in the future: set the clock of vasp-02"),
        (-86400 * 9, "9 days in the future"),
    ],
)
def test_heartbeat_is_valid_for_fifteen_seconds(age: float, said: str) -> None:
    found = endpoint_registry.read_all(files(replace(FAST, heartbeat=NOW - age)), NOW)
    assert bool(found.alive) == (not said)
    assert said in "".join(dead.reason for dead in found.dead)


# Whose clock is wrong, and who lives


class Reader:
    """A reader that reads every half second the entry of a node with another clock."""

    def __init__(self, ahead: float, began: float = 0.0) -> None:
        self.ahead, self.now = ahead, 5000.0
        self.tracker = endpoint_registry.HeartbeatTracker()
        self.beat, self.text = NOW, ""
        self.writes = True
        self.pass_(began, looks=False)

    @property
    def wall(self) -> float:
        return NOW + self.now - 5000.0

    def pass_(self, seconds: float, looks: bool = True) -> None:
        until = self.now + seconds
        while True:
            if self.writes:
                self.beat = self.wall - self.wall % endpoint_registry.HEARTBEAT_S + self.ahead
            if looks:
                self.tracker = endpoint_registry.track(self.tracker, self.files(), self.wall, self.now)
            if self.now >= until:
                return
            self.now += 0.5

    def files(self) -> dict[str, str]:
        return files(replace(FAST, heartbeat=self.beat))

    def look(self) -> endpoint_registry.Registry:
        return endpoint_registry.read_all(self.files(), self.wall, heartbeats=self.tracker.heartbeats, now=self.now)

    def said(self) -> str:
        return "".join(dead.reason for dead in self.look().dead)


@pytest.mark.parametrize("ahead", [0.0, -15.0, -16.0, 40.0, 55.0, 61.0, -3600.0, 86400.0, -1.7e9, 1e12])
def test_engine_is_alive_while_its_heartbeat_changes(ahead: float) -> None:
    reader = Reader(ahead)
    reader.pass_(2.5)
    assert reader.said() == ""
    reader.pass_(60)
    assert reader.said() == ""
    # The node loses its power.
    reader.writes = False
    reader.pass_(endpoint_registry.LIFE_S - 3)
    assert reader.said() == ""
    reader.pass_(4)
    assert "no heartbeat for 1" in reader.said()
    reader.writes = True
    reader.pass_(2)
    assert reader.said() == ""


@pytest.mark.parametrize("ahead", [0.0, -14.0, 40.0, 55.0, 61.0, -3600.0, 86400.0])
def test_heartbeat_without_a_change_is_valid_for_fifteen_seconds(ahead: float) -> None:
    reader = Reader(ahead)
    reader.writes = False
    reader.pass_(0)
    assert (reader.said() == "") == (-15 <= ahead <= 60)
    reader.pass_(16)
    said = "in the future: set the clock of vasp-02" if ahead > 80 else "no heartbeat for "
    assert said in reader.said()


def test_reader_forgets_heartbeats_after_a_pause() -> None:
    reader = Reader(-3600.0)
    reader.pass_(30)
    assert reader.said() == ""
    # The writer died during a pause of the reader.
    reader.pass_(30, looks=False)
    reader.writes = False
    reader.pass_(0)
    assert "no heartbeat for 60 minutes" in reader.said()
    reader.pass_(5)
    assert "no heartbeat for 60 minutes" in reader.said()


@pytest.mark.parametrize("broken", [{}, {"fast-12.json": '{"schema": 1'}])
def test_entry_is_remembered_while_it_is_unreadable(broken: dict[str, str]) -> None:
    reader = Reader(-3600.0)
    reader.pass_(30)
    reader.tracker = endpoint_registry.track(reader.tracker, broken, reader.wall, reader.now + 0.5)
    reader.pass_(0)
    assert reader.said() == ""
    # A dead entry stays dead.
    reader.writes = False
    reader.pass_(20)
    assert "no heartbeat for" in reader.said()
    reader.tracker = endpoint_registry.track(reader.tracker, broken, reader.wall, reader.now + 0.5)
    reader.pass_(0)
    assert "no heartbeat for" in reader.said()


@pytest.mark.parametrize(
    ("ahead", "said"),
    [
        (0.0, ""), (-9.0, ""), (9.0, ""),
        (-20.0, "the clock of vasp-02 is 2"), (-3600.0, "the clock of vasp-02 is 60 minutes behind this host's"),
        (55.0, "seconds ahead of this host's: set the wrong one (chronyc tracking)"),
        (86400.0, "the clock of vasp-02 is 24 hours ahead of this host's"),
    ],
)  # fmt: skip
def test_wrong_clock_is_reported(ahead: float, said: str) -> None:
    reader = Reader(ahead)
    reader.pass_(4)
    assert [said in line for line in reader.look().clocks] == ([True] if said else [])
    assert reader.look().alive


def test_wrong_clock_is_reported_once_for_each_host() -> None:
    tracker: endpoint_registry.HeartbeatTracker = endpoint_registry.HeartbeatTracker()
    for turn in range(3):
        beat = NOW - 100 + 2 * turn
        both = files(replace(FAST, heartbeat=beat), replace(FAST, job_id="13", port=8081, heartbeat=beat))
        tracker = endpoint_registry.track(tracker, both, NOW + 2 * turn, 2.0 * turn)
    assert len(endpoint_registry.read_all(both, NOW + 4, heartbeats=tracker.heartbeats, now=4.0).clocks) == 1


def test_entry_of_a_job_that_ended_long_ago_is_a_leftover() -> None:
    def rubbish(reader: Reader, jobs: set[str]) -> list[str]:
        return endpoint_registry.leftovers(reader.files(), jobs, reader.tracker.heartbeats, reader.now)

    old = Reader(-700.0)
    old.writes = False
    old.beat = NOW - 700
    old.pass_(5)
    # The writer may be alive with a wrong clock.
    assert rubbish(old, set()) == []
    old.pass_(2)
    assert rubbish(old, set()) == ["fast-12.json"]
    assert rubbish(old, {"12"}) == []
    assert endpoint_registry.leftovers({"fast-12.json": "{"}, set(), old.tracker.heartbeats, old.now) == []
    assert endpoint_registry.leftovers(old.files(), set(), {}, old.now) == []
    slow = Reader(-700.0)
    slow.pass_(60)
    assert rubbish(slow, set()) == []
    slow.writes = False
    slow.pass_(590)
    assert rubbish(slow, set()) == []
    slow.pass_(15)
    assert rubbish(slow, set()) == ["fast-12.json"]
    future = Reader(86400.0)
    future.writes = False
    future.pass_(590)
    assert rubbish(future, set()) == []
    future.pass_(15)
    assert rubbish(future, set()) == ["fast-12.json"]


def test_unchanged_entry_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed, real = list[str](), json.loads

    def recorded(text: str) -> Any:
        parsed.append(text)
        return real(text)

    monkeypatch.setattr(json, "loads", recorded)
    both = {**files(replace(FAST, release="parsed once")), "fast-99.json": "{ parsed once"}
    for turn in range(3):
        tracker = endpoint_registry.track(endpoint_registry.HeartbeatTracker(), both, NOW, turn)
        found = endpoint_registry.read_all(both, NOW, heartbeats=tracker.heartbeats, now=turn)
        assert (len(found.alive), len(found.dead)) == (1, 1)
    assert len(parsed) == 2


def test_endpoints_of_unknown_tiers_and_gone_jobs_are_dead() -> None:
    other = replace(FAST, tier="slow", job_id="13", port=8081)
    gone = replace(FAST, job_id="14", port=8082)
    found = endpoint_registry.read_all(
        files(FAST, other, gone), NOW, {"fast"}, {"14"}, {"fast-15.json": "it cannot be read"}
    )
    assert found.alive == (FAST,)
    assert found.dead == (
        DeadEntry("fast-14.json", "its job 14 is gone"),
        DeadEntry("fast-15.json", "it cannot be read"),
        DeadEntry("slow-13.json", "there is no tier slow"),
    )


def test_endpoint_that_started_in_the_future_is_dead() -> None:
    future = replace(FAST, job_id="14", port=8082, started=NOW + 3600)
    found = endpoint_registry.read_all(files(FAST, future), NOW)
    assert (found.alive, found.dead) == ((FAST,), (DeadEntry("fast-14.json", "its job has started in the future"),))


@pytest.mark.parametrize("address", ["0.0.0.0", "0.1.2.3", "224.0.0.1", "255.255.255.255"])
def test_addresses_of_no_host_are_invalid(address: str) -> None:
    found = endpoint_registry.read_all(files(replace(FAST, address=address)), NOW)
    assert not found.alive
    assert "expected the IPv4 address of a host" in found.dead[0].reason


def test_later_job_owns_a_port_of_two_endpoints() -> None:
    later = replace(FAST, tier="reasoning", job_id="11", started=FAST.started + 5)
    found = endpoint_registry.read_all(files(FAST, later), NOW)
    assert found.alive == (later,)
    assert found.dead == (DeadEntry("fast-12.json", "10.0.0.42:8080 belongs to job 11, which started later"),)
    # A dead entry owns no port.
    stale = replace(later, heartbeat=NOW - 100)
    assert endpoint_registry.read_all(files(FAST, stale), NOW).alive == (FAST,)


def test_newest_job_of_a_tier_is_first() -> None:
    newer = replace(FAST, job_id="13", port=8081, started=FAST.started + 1)
    found = endpoint_registry.read_all(files(FAST, newer), NOW)
    assert found.of("fast") == (newer, FAST)
    assert found.of("reasoning") == ()


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("fast-12.json", True),
        ("reasoning-two-7.json", True),
        (".fast-12.json.345", False),
        ("fast-12.json~", False),
        ("README", False),
        ("fast.json", False),
    ],
)
def test_temporary_files_are_no_entries(name: str, is_one: bool) -> None:
    assert endpoint_registry.is_entry(name) == is_one
