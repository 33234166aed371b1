"""The state of labs on the machine is written, read and removed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.lab import config, lab
from tests.lab.lab import HostReport, LabReport, Manager
from tests.lab.naming import Places
from tests.lab.process import LabError

LAB = config.parse('[hosts.node1]\neth = "10.0.0.31"\n', "demo", {})


@pytest.fixture
def manager(tmp_path: Path) -> Manager:
    return Manager(Places(cache=tmp_path / "cache", data=tmp_path / "data", run=tmp_path / "run"))


def test_only_old_probes_are_removed(manager: Manager) -> None:
    old, young, disk = (manager.places.data / name for name in (".probe-a", ".probe-b", "demo"))
    for folder in (old, young, disk):
        folder.mkdir(parents=True)
    os.utime(old, (time.time() - 120, time.time() - 120))
    manager.remove_probes()
    assert [folder.exists() for folder in (old, young, disk)] == [False, True, True]


def test_unknown_lab_gives_one_error(manager: Manager) -> None:
    with pytest.raises(LabError, match="There is no lab 'demo'"):
        manager.lab("demo")


def test_ssh_reaches_hosts_by_name_through_the_labs_namespace(manager: Manager) -> None:
    lines = [line.strip() for line in lab.ssh_config(manager.places, LAB).splitlines()]
    assert lines[:2] == ["Host node1", "HostName 10.0.0.31"]
    assert "ProxyCommand nsenter --net=/run/netns/herd-demo socat - TCP:%h:%p" in lines
    assert f"IdentityFile {manager.places.run}/demo/id_ed25519" in lines


def test_table_shows_incomplete_labs_and_leftovers() -> None:
    host = HostReport("node1", "running", "10.0.0.31", "10.100.0.31", "debian12", 2, ("ib",))
    table = lab.as_table(
        [
            LabReport("one", "up", (host,)),
            LabReport("two", "incomplete", (host,)),
            LabReport("x", "leftover", ()),
        ]
    )
    rows = [line.split() for line in table.splitlines()]
    assert rows[1] == ["one", "node1", "running", "10.0.0.31", "10.100.0.31", "debian12", "2", "ib"]
    assert rows[2][2:4] == ["running", "(incomplete)"]
    assert rows[3][:3] == ["x", "-", "leftover"]
