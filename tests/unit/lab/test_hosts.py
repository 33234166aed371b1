from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.lab import config, hosts
from tests.lab.naming import Places

TEXT = """
[hosts.node1]
eth = "10.0.0.31"
hostname = "gpu1"
disks = { "/opt/models" = "64M" }
binds = ["/b:/srv/b:ro", "/a:/opt/models/a"]
"""
HOST = config.parse(TEXT, "demo", {}).hosts[0]
STATUS = "Name:\tsystemd\nTgid:\t{0}\nPPid:\t{1}\nNSpid:\t{2}\n"


def test_boot_command_names_disk_host_and_network() -> None:
    argv = hosts.nspawn_argv("demo", HOST, Path("/disk/root"))
    assert argv[0] == "systemd-nspawn"
    for word in (
        "--directory=/disk/root",
        "--machine=herd-demo-node1",
        "--hostname=gpu1",
        "--register=no",
        "--keep-unit",
        "--network-namespace-path=/run/netns/herd-demo.node1",
    ):
        assert word in argv


def test_hosts_run_without_the_filter_that_disables_ip_rules() -> None:
    assert hosts.nspawn_environment("/bin")["SYSTEMD_SECCOMP"] == "0"


def test_mounts_are_made_from_the_bottom_up() -> None:
    commands = [" ".join(words) for words in hosts.mount_commands(HOST, ["/l", "/b"], Path("/d"), Path("/r"))]
    assert commands == [
        "mount -t overlay overlay -o lowerdir=/l:/b,upperdir=/d/upper,workdir=/d/work,volatile /r",
        "mount -t tmpfs -o size=64M,mode=755 tmpfs /r/opt/models",
        "mount --bind /a /r/opt/models/a",
        "mount --bind /b /r/srv/b",
        "mount -o remount,bind,ro /r/srv/b",
    ]


@pytest.mark.parametrize(
    ("code", "state"), [(0, hosts.OFF), (1, hosts.CRASHED), (-9, hosts.CRASHED), (255, hosts.CRASHED)]
)
def test_exit_of_a_host_gives_its_state(code: int, state: str) -> None:
    assert hosts.state_after(code) == state


@pytest.mark.parametrize(
    ("status", "pair"),
    [
        (STATUS.format(7, 5, "7\t1"), (5, 1)),
        (STATUS.format(7, 5, "7\t30\t1"), (5, 1)),
        (STATUS.format(1, 0, "1"), (0, 0)),
        ("Name:\tx\n", (0, 0)),
    ],
)
def test_parent_and_inner_pid_are_read_from_the_status(status: str, pair: tuple[int, int]) -> None:
    assert hosts.parent_and_inner_pid(status) == pair


@pytest.mark.parametrize(
    ("words", "ours"),
    [
        ("/usr/bin/python3 -m tests.lab supervise demo node1", True),
        ("unshare --mount --propagation=slave python3 -m tests.lab supervise demo node1", True),
        ("python3 -m tests.lab supervise demo2 node1", False),
        ("python3 -m tests.lab --name demo up", False),
        ("vi supervise demo", False),
        ("", False),
    ],
)
def test_supervisors_of_a_lab_are_recognised_by_their_command(words: str, ours: bool) -> None:
    assert hosts.serves("\0".join(words.split()).encode() + b"\0", "demo") is ours


def places(tmp_path: Path) -> Places:
    return Places(cache=tmp_path / "cache", data=tmp_path / "data", run=tmp_path / "run")


def test_disk_is_made_once_and_kept(tmp_path: Path) -> None:
    where = places(tmp_path)
    files = {"/root/.ssh/authorized_keys": "key\n", "/etc/hosts": "a\n"}
    hosts.make_disk(where, "demo", HOST, [Path("/l"), Path("/b")], files)
    disk = where.disk("demo", "node1")
    key = disk / "upper/root/.ssh/authorized_keys"
    assert [oct(path.stat().st_mode & 0o777) for path in (key, key.parent, key.parent.parent)] == [
        "0o600",
        "0o700",
        "0o700",
    ]
    assert hosts.lower_of(disk) == ["/l", "/b"]
    (disk / "upper/etc/hosts").write_text("mine\n", encoding="utf-8")
    hosts.make_disk(where, "demo", HOST, [Path("/new")], files)
    assert (disk / "upper/etc/hosts").read_text(encoding="utf-8") == "mine\n"
    assert hosts.lower_of(disk) == ["/l", "/b"]


def test_incomplete_disk_of_a_killed_run_is_replaced(tmp_path: Path) -> None:
    where = places(tmp_path)
    half = where.disk("demo", "node1").with_name(".new-node1")
    (half / "upper/etc/junk").mkdir(parents=True)
    hosts.make_disk(where, "demo", HOST, [], {})
    assert not half.exists()
    assert not (where.disk("demo", "node1") / "upper/etc").exists()


def test_status_is_valid_only_while_its_supervisor_runs(tmp_path: Path) -> None:
    folder = tmp_path / "node1"
    assert hosts.read_status(folder).state == hosts.ABSENT
    lock = hosts.lock_supervisor(folder)
    assert lock is not None
    assert hosts.read_status(folder).state == hosts.STARTING
    hosts.write_status(folder, hosts.Status(hosts.RUNNING, os.getpid(), 0, 3))
    assert hosts.read_status(folder) == hosts.Status(hosts.RUNNING, os.getpid(), 0, 3)
    assert hosts.lock_supervisor(folder, patience=0.05) is None
    lock.close()
    assert hosts.read_status(folder) == hosts.Status(hosts.ABSENT, boots=3)


@pytest.mark.parametrize("text", ["", "{", json.dumps({"state": "running", "unknown": 1}), "[]"])
def test_broken_status_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text, encoding="utf-8")
    assert hosts.read_status(tmp_path).state == hosts.ABSENT


@pytest.mark.parametrize(("used", "limit", "says"), [(40, 128, False), (106, 128, True), (128, 128, True)])
def test_hint_names_a_lack_of_inotify_instances(used: int, limit: int, says: bool) -> None:
    assert ("max_user_instances" in hosts.inotify_hint(used, limit)) is says
