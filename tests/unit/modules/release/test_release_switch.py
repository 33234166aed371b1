# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change of release on three nodes, killed after each of its steps and asked for again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.herd.inference.plugins.filter import release_change as filters
from ansible_collections.herd.inference.plugins.module_utils.core.release import status as release_status
from ansible_collections.herd.inference.plugins.module_utils.core.release import switch as release_change
from ansible_collections.herd.inference.plugins.module_utils.ports import files, systemd
from ansible_collections.herd.inference.plugins.module_utils.ports.release import archive as release_archive
from ansible_collections.herd.inference.plugins.module_utils.ports.release import store as release_store
from ansible_collections.herd.inference.plugins.modules import release_info, release_prune, release_switch

OLD, NEW, OLDER = "b7836-cpu-11aa22bb", "0c1e57098-cpu-5f1c20ab", "b7760-cpu-22bb33cc"
GROUPS = {"head_server": ["n1"], "rpc_worker": ["n2", "n3"], "llama_release": ["n1", "n2", "n3"]}
UNIT = {"n1": "llama-head.service", "n2": "llama-rpc.service", "n3": "llama-rpc.service"}


class KilledError(Exception):
    """The controller has lost its life."""


class Cluster:
    """Real stores and modules; services are only a note of what runs, as this test has no systemd."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.capsys, self.steps = folder, capsys, -1
        (folder / "units").mkdir()
        monkeypatch.setattr(release_store, "UNITS", folder / "units")
        self.running: dict[str, str] = dict.fromkeys(UNIT, OLD)
        for host in UNIT:
            for release in (OLDER, OLD, NEW):
                place = folder / host / "releases" / release
                (place / "bin").mkdir(parents=True)
                (place / "bin" / "llama-server").write_text(release, encoding="utf-8")
                manifest = {"id": release, "files": release_archive.measure(place)}
                files.write_json(place / release_archive.MANIFEST, manifest)
            for link, release in (("current", OLD), ("previous", OLDER)):
                (folder / host / link).symlink_to(Path("releases") / release)
        monkeypatch.setattr(release_info, "programs", self.programs)
        # Power is not lost here, and a busy disk takes long over it.
        monkeypatch.setattr(os, "fsync", lambda _fd: None)
        monkeypatch.setattr(systemd, "show", lambda _unit: systemd.UnitState())

    def programs(self, store: release_store.ReleaseStore) -> list[release_status.RunningProgram]:
        host = store.prefix.name
        return [release_status.RunningProgram(self.running[host], 1, "x", UNIT[host])] if self.running[host] else []

    def run(self, module: Any, host: str, check: bool = False, **arguments: Any) -> dict[str, Any]:
        self.capsys.readouterr()
        given = {"prefix": str(self.folder / host), **arguments, "_ansible_check_mode": check, "_ansible_diff": True}
        with patch_module_args(given), pytest.raises(SystemExit):
            module.main()
        result: dict[str, Any] = json.loads(self.capsys.readouterr().out)
        assert not result.get("failed"), result
        return result

    def step(self, action: Callable[[], object]) -> None:
        """One step of a playbook on one host, or the end of the playbook before it."""
        if self.steps == 0:
            raise KilledError
        self.steps -= 1
        action()

    def switch(self, host: str, **arguments: Any) -> None:
        """What the module does; a table of kills has no time for the arguments of thousands of calls."""
        given = {"prefix": str(self.folder / host), "state": "switched", "former": "", "rollback": False, **arguments}
        release_switch.result(cast(Any, SimpleNamespace(params=given, check_mode=False)))

    def looks(self) -> dict[str, dict[str, Any]]:
        """What release_info says, as far as it matters here."""
        stores = [release_store.ReleaseStore(self.folder / host) for host in UNIT]
        return {
            store.prefix.name: {
                "look": {
                    "current": store.current(),
                    "previous": store.previous(),
                    "changing": release_change.read_record(store.pending_switch()),
                    "running": [asdict(program) for program in self.programs(store)],
                }
            }
            for store in stores
        }

    def begin(self, **arguments: Any) -> None:
        for host in UNIT:
            self.step(partial(self.switch, host, state="begun", **arguments))

    def change(self, to: str) -> None:
        """switch_release.yml, in its order."""
        self.step(partial(self.running.update, n1=""))
        for host in UNIT:
            self.step(partial(self.switch, host, id=to))
        for host in ("n2", "n3", "n1"):
            self.step(partial(self.running.update, {host: to}))
        for host in UNIT:
            self.step(partial(self.switch, host, id=to, state="proved"))

    def upgrade(self, to: str, works: bool = True) -> bool:
        """upgrade.yml, in its order; whether it had anything to do."""
        plan = filters.release_change(self.looks(), GROUPS, "look", to)
        if plan["needed"]:
            self.begin(id=to, former=plan["from"])
            if works:
                self.change(to)
            else:
                self.fail(to)
                self.change(plan["from"])
        return bool(plan["needed"])

    def fail(self, to: str) -> None:
        """As change(), but the head does not answer, so that nothing is proved."""
        self.step(partial(self.running.update, n1=""))
        for host in UNIT:
            self.step(partial(self.switch, host, id=to))

    def rollback(self) -> None:
        """rollback.yml, in its order."""
        plan = filters.release_change(self.looks(), GROUPS, "look")
        self.begin(id=plan["to"], former=plan["from"], rollback=True)
        self.change(plan["to"])

    def assert_serves(self, release: str) -> None:
        for host, look in self.looks().items():
            assert (self.running[host], look["look"]["current"]) == (release, release)
            assert look["look"]["changing"] == {}


@pytest.fixture
def cluster(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return Cluster(tmp_path, capsys, monkeypatch)


#: Three notes, the head's stop, three links, three starts, three notes less.
STEPS = 13
#: From this step on something has changed that a rollback takes back.
NOTED = 3


def killed(cluster: Cluster, command: Callable[[], object], steps: int) -> None:
    cluster.steps = steps
    with pytest.raises(KilledError):
        command()
    cluster.steps = -1


@pytest.mark.parametrize("steps", range(STEPS))
def test_a_killed_upgrade_is_repeated(cluster: Cluster, steps: int) -> None:
    killed(cluster, partial(cluster.upgrade, NEW), steps)
    assert cluster.upgrade(NEW)
    cluster.assert_serves(NEW)
    assert not cluster.upgrade(NEW)
    cluster.rollback()
    cluster.assert_serves(OLD)


@pytest.mark.parametrize("steps", range(1, STEPS))
def test_a_rollback_after_a_killed_upgrade(cluster: Cluster, steps: int) -> None:
    killed(cluster, partial(cluster.upgrade, NEW), steps)
    # That one may be killed too.
    killed(cluster, cluster.rollback, steps)
    cluster.rollback()
    cluster.assert_serves(OLD)


@pytest.mark.parametrize("steps", range(STEPS))
def test_a_killed_upgrade_rolls_back_to_its_origin(cluster: Cluster, steps: int) -> None:
    killed(cluster, partial(cluster.upgrade, NEW), steps)
    assert cluster.upgrade(NEW, works=False)
    cluster.assert_serves(OLD)


@pytest.mark.parametrize("steps", [None, *range(STEPS)])
def test_a_failed_release_is_no_target_of_a_rollback(cluster: Cluster, steps: int | None) -> None:
    if steps is not None:
        killed(cluster, partial(cluster.upgrade, NEW, works=False), steps)
    cluster.upgrade(NEW, works=False)
    cluster.assert_serves(OLD)
    assert {look["look"]["previous"] for look in cluster.looks().values()} == {OLDER}


@pytest.mark.parametrize("steps", range(STEPS + 4))
def test_a_failed_upgrade_with_a_killed_rollback(cluster: Cluster, steps: int) -> None:
    killed(cluster, partial(cluster.upgrade, NEW, works=False), steps)
    cluster.upgrade(NEW)
    cluster.assert_serves(NEW)


@pytest.mark.parametrize("again", ["rollback", "upgrade"])
@pytest.mark.parametrize("steps", range(STEPS))
def test_a_killed_rollback_is_repeated(cluster: Cluster, steps: int, again: str) -> None:
    cluster.upgrade(NEW)
    killed(cluster, cluster.rollback, steps)
    if again == "rollback":
        cluster.rollback()
        cluster.assert_serves(OLD)
    else:
        assert cluster.upgrade(NEW) is (steps > 0)
        cluster.assert_serves(NEW)


@pytest.mark.parametrize("state", ["begun", "switched", "proved"])
def test_check_mode_predicts_a_step_and_a_second_run_changes_nothing(cluster: Cluster, state: str) -> None:
    if state == "proved":
        cluster.run(release_switch, "n1", id=NEW, former=OLD, state="begun")
    arguments: dict[str, Any] = {"id": NEW, "former": OLD, "state": state}
    foreseen = cluster.run(release_switch, "n1", check=True, **arguments)
    done = cluster.run(release_switch, "n1", **arguments)
    assert (foreseen["changed"], foreseen["diff"]) == (done["changed"], done["diff"])
    assert done["changed"]
    assert done["diff"]["before"] != done["diff"]["after"]
    for check in (True, False):
        again = cluster.run(release_switch, "n1", check=check, **arguments)
        assert not again["changed"]
        assert again["diff"]["before"] == again["diff"]["after"] == done["diff"]["after"]


def test_unreachable_and_outdated_hosts_are_listed(cluster: Cluster) -> None:
    looks = cluster.looks()
    looks["n2"] = {"look": {"unreachable": True}}
    looks["n3"] = {}
    assert filters.release_change(looks, GROUPS, "look", OLD)["behind"] == ["n2", "n3"]
    assert filters.release_change(cluster.looks(), GROUPS, "look", OLD)["behind"] == []
    cluster.running["n3"] = NEW
    assert filters.release_change(cluster.looks(), GROUPS, "look", OLD)["behind"] == ["n3"]


def test_releases_of_an_unfinished_switch_are_not_pruned(cluster: Cluster) -> None:
    for host in UNIT:
        (cluster.folder / host / "previous").unlink()
    killed(cluster, partial(cluster.upgrade, OLDER), NOTED)
    assert cluster.run(release_prune, "n1", keep=0)["removed"] == [NEW]
    assert "is unfinished" in "".join(cluster.run(release_info, "n1")["problems"])


def test_a_partial_record_of_a_killed_switch_is_removed(cluster: Cluster) -> None:
    scratch = cluster.folder / "n1" / ".switch.json.4711.tmp"
    scratch.write_text("{", encoding="utf-8")
    (cluster.folder / "n1" / "switch.json").write_text("{", encoding="utf-8")
    assert cluster.run(release_info, "n1")["changing"] == {}
    assert cluster.run(release_prune, "n1")["leftovers"] == [str(scratch)]
    assert cluster.run(release_switch, "n1", id=OLD, state="proved")["changed"]
    cluster.assert_serves(OLD)
