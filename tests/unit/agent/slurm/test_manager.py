# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""herdctl tiers as a process, with doubles of Slurm's programs that print what the real ones of 22.05 print."""

from __future__ import annotations

import getpass
import json
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.unit.agent.conftest import run_herdctl, run_inside

WIDTHS = (24, 64, 40, 20, 160, 8, 24, 24, 24, 512, 512, 64, 64, 12, 128)
ENTRY = {
    "schema": 1, "tier": "fast", "host": "vasp-02", "address": "10.0.0.42", "port": 8080, "models": ["lab-llama"],
    "state": "ready", "percent": 100, "context": 2048, "slots": 2, "release": "r", "started": 1.0,
}  # fmt: skip


def wait_for(what: str, is_so: Callable[[], Any], seconds: float = 30.0) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = is_so()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(what)


class Double:
    """Slurm's programs: they print what lies in files, and write down how they were called."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin, self.comment = folder, folder / "bin", "herd-tiers"
        self.bin.mkdir()
        for name in ("squeue", "sacct", "sbatch", "scancel"):
            self.says(name, "")
            program = self.bin / name
            program.write_text(
                f'#!/bin/sh\necho "$*" >> {folder}/{name}.calls\ncat {folder}/{name}.out\n'
                f'echo "$SLURM_TIME_FORMAT $SBATCH_PARTITION" > {folder}/{name}.environment\n'
                f"exit $(cat {folder}/{name}.status)\n",
                encoding="utf-8",
            )
            program.chmod(0o755)

    def says(self, name: str, text: str, status: int = 0) -> None:
        """What a program prints from now on."""
        for kind, value in (("out", text), ("status", str(status))):
            scratch = self.folder / f"{name}.{kind}.new"
            scratch.write_text(value, encoding="utf-8")
            scratch.replace(self.folder / f"{name}.{kind}")

    def calls(self, name: str) -> list[list[str]]:
        """How a program was called."""
        path = self.folder / f"{name}.calls"
        return [shlex.split(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []

    def queue(self, *jobs: tuple[str, str, str], name: str = "llama-14b") -> None:
        """Jobs of the queue: number, state, reason."""
        now = str(int(time.time()))
        lines = []
        for number, state, reason in jobs:
            values = [
                number,
                name,
                getpass.getuser(),
                state,
                reason,
                "0",
                now,
                now,
                "N/A",
                "vasp-02",
                "",
                "gpu_ai",
            ]
            values += ["ai_opportunistic", "0", self.comment]
            lines.append("".join(value.ljust(width) for value, width in zip(values, WIDTHS, strict=True)))
        self.says("squeue", "\n".join([*lines, ""]))


class Home:
    """A manager's files."""

    def __init__(self, folder: Path, herdctl: Path) -> None:
        self.folder, self.herdctl = folder, herdctl
        for name in ("registry", "logs", "state", "run"):
            (folder / name).mkdir()
        (folder / "double").mkdir()
        self.slurm = Double(folder / "double")
        tier = {"name": "fast", "job_name": "llama-14b", "script": "run-14b.slurm", "enabled": True, "hosts": []}
        self.data = {
            "schema": 1, "user": getpass.getuser(), "registry": str(folder / "registry"), "logs": str(folder / "logs"),
            "state": str(folder / "state"), "view": str(folder / "run" / "tiers.json"), "scripts": "/scripts",
            "every": 0.1, "nodes": ["vasp-02"], "qos": [{"name": "vasp_priority", "preempts": ["ai_opportunistic"]}],
            "tiers": [{**tier, "qos": "ai_opportunistic", "grace": 30}],
        }  # fmt: skip
        self.config = folder / "tiers.json"
        self.config.write_text(json.dumps(self.data), encoding="utf-8")
        self.processes: list[subprocess.Popen[bytes]] = []

    def tiers(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_herdctl(self.herdctl, "tiers", "--config", str(self.config), *arguments)

    def begin(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PATH": f"{self.slurm.bin}:{os.environ['PATH']}", "SBATCH_PARTITION": "wrong"}
        environment.pop("NOTIFY_SOCKET", None)
        argv = [sys.executable, "-I", str(self.herdctl), "tiers", "--config", str(self.config), "manage"]
        with (self.folder / "journal").open("ab") as journal:
            process = subprocess.Popen(argv, env=environment, stdout=journal, stderr=journal)
        self.processes.append(process)
        return process

    def tier(self) -> dict[str, Any]:
        path = self.folder / "run" / "tiers.json"
        if not path.exists():
            return {"state": "", "reason": "", "advice": "", "job_id": None, "pending_reason": None, "endpoints": []}
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["tiers"]["fast"]
        return found

    def problems(self) -> list[str]:
        path = self.folder / "run" / "tiers.json"
        found: list[str] = json.loads(path.read_text(encoding="utf-8"))["problems"] if path.exists() else []
        return found

    def inside(self, code: str) -> str:
        """What code prints that has this home's manager before it, which has done nothing yet."""
        begin = (
            "from herd.agent.slurm import manager as tiers\n"
            f"manager = tiers.Manager(tiers.read_settings({str(self.config)!r}))\n"
        )
        # Threads that go on for ever may hold what an orderly end of the interpreter wants.
        end = "\nsys.stdout.flush()\nos._exit(0)\n"
        return run_inside(self.herdctl, f"import os, threading, time\n{begin}{code}{end}")

    def entry(self, job: str, **change: Any) -> None:
        path = self.folder / "registry" / f"fast-{job}.json"
        text = json.dumps({**ENTRY, "job_id": job, "heartbeat": time.time(), **change})
        scratch = path.with_name(f".{path.name}.1")
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(path)


@pytest.fixture
def home(tmp_path: Path, herdctl: Path) -> Iterator[Home]:
    found = Home(tmp_path, herdctl)
    yield found
    for process in found.processes:
        process.kill()
        process.wait()


def test_a_job_is_submitted_once_and_followed(home: Home) -> None:
    home.slurm.says("sbatch", "12\n")
    home.begin()
    wait_for("a submission", lambda: home.slurm.calls("sbatch"))
    assert home.slurm.calls("sbatch") == [
        ["--parsable", "--dependency=singleton", "--comment=herd-tiers", "tier=fast", "/scripts/run-14b.slurm"]
    ]
    home.slurm.queue(("12", "RUNNING", "None"))
    wait_for("it to start", lambda: home.tier()["reason"] == "starting as job 12")
    # Nothing of whoever started the manager changes what Slurm's programs do.
    assert (home.slurm.folder / "sbatch.environment").read_text(encoding="utf-8").split() == ["%s"]
    home.entry("12", state="loading", percent=43)
    wait_for("it to load", lambda: home.tier()["reason"] == "loading 43 %")
    home.entry("12")
    wait_for("it to be ready", lambda: home.tier()["state"] == "ready")
    assert home.tiers().returncode == 0
    home.entry("12", state="draining")
    wait_for("it to drain", lambda: home.tier()["state"] == "draining")
    (home.folder / "registry" / "fast-12.json").unlink()
    home.slurm.queue(("12", "PENDING", "Priority"))
    wait_for("it to wait", lambda: home.tier()["pending_reason"] == "Priority")
    assert len(home.slurm.calls("sbatch")) == 1
    done = home.tiers()
    assert done.returncode == 3
    assert "pending: Priority (jobs of higher priority come first)" in done.stdout
    assert json.loads(home.tiers("--json").stdout)["is_old"] is False


def test_a_manager_that_is_killed_finds_its_job_again(home: Home) -> None:
    home.slurm.says("sbatch", "sbatch: error: Socket timed out on send/recv operation", 1)
    process = home.begin()
    wait_for("a submission", lambda: home.slurm.calls("sbatch"))
    process.kill()
    process.wait()
    home.begin()
    looks = len(home.slurm.calls("squeue"))
    wait_for("two looks", lambda: len(home.slurm.calls("squeue")) >= looks + 2)
    assert len(home.slurm.calls("sbatch")) == 1
    home.slurm.queue(("13", "RUNNING", "None"))
    wait_for("the job", lambda: home.tier()["job_id"] == "13")
    assert len(home.slurm.calls("sbatch")) == 1


def test_a_job_that_died_is_explained_by_its_log_and_by_accounting(home: Home) -> None:
    home.slurm.queue(("34", "RUNNING", "None"))
    home.begin()
    wait_for("the job", lambda: home.tier()["job_id"] == "34")
    (home.folder / "logs" / "34").mkdir()
    text = "2026-11-21 12:46:57 lost: head on vasp-01 has ended with status 1\n"
    (home.folder / "logs" / "34" / "job.log").write_text(text, encoding="utf-8")
    home.slurm.says("sacct", "34|FAILED|1:0|49|1-00:00:00|3G||vasp-[01-03]\n34.batch|FAILED|1:0|49|||46.50M|vasp-01\n")
    home.slurm.queue(("34", "FAILED", "NonZeroExitCode"))
    tier = wait_for("a back-off", lambda: home.tier() if home.tier()["state"] == "backing-off" else None)
    assert "job 34 failed with status 1 after 49 seconds: head on vasp-01 has ended with status 1" in tier["reason"]
    assert tier["advice"] == "see ai/logs/34/job.log in the shared directory"


@pytest.mark.parametrize("accounting", [("", 0), ("sacct: error: slurm_persist_conn_open", 1)])
def test_without_accounting_the_queue_says_how_a_job_ended(home: Home, accounting: tuple[str, int]) -> None:
    home.slurm.says("sacct", *accounting)
    home.slurm.queue(("34", "RUNNING", "None"))
    home.begin()
    wait_for("the job", lambda: home.tier()["job_id"] == "34")
    home.slurm.queue(("34", "OUT_OF_MEMORY", "OutOfMemory"))
    tier = wait_for("a back-off", lambda: home.tier() if home.tier()["state"] == "backing-off" else None)
    assert "ran out of memory" in tier["reason"]
    assert "raise memory" in tier["advice"]


def test_a_tier_is_stopped_and_started_by_people(home: Home) -> None:
    home.slurm.queue(("12", "RUNNING", "None"))
    home.begin()
    wait_for("the job", lambda: home.tier()["job_id"] == "12")
    assert home.tiers("stop", "fast", "--reason", "new fan").returncode == 0
    wait_for("its end", lambda: home.slurm.calls("scancel") == [["12"]])
    home.slurm.queue()
    wait_for("it to be away", lambda: home.tier()["state"] == "stopped")
    assert home.tier()["reason"].endswith(": new fan")
    assert home.slurm.calls("sbatch") == []
    home.slurm.says("sbatch", "14\n")
    assert home.tiers("start", "fast").returncode == 0
    wait_for("a new job", lambda: home.slurm.calls("sbatch"))
    done = home.tiers("stop", "slow")
    assert done.returncode == 2
    assert "expected a tier among fast, found slow" in done.stderr


def test_while_slurm_is_away_nothing_is_done_and_what_runs_is_shown(home: Home) -> None:
    home.slurm.queue(("12", "RUNNING", "None"))
    home.entry("12")
    home.begin()
    wait_for("it to be ready", lambda: home.tier()["state"] == "ready")
    home.slurm.says("squeue", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)", 1)
    wait_for("the manager to say so", lambda: "does not answer" in home.tier()["advice"])
    assert home.tier()["state"] == "ready"
    assert home.slurm.calls("sbatch") == []


def test_a_job_of_another_name_is_followed_by_its_number(home: Home) -> None:
    home.slurm.queue(("12", "RUNNING", "None"))
    home.begin()
    wait_for("the job", lambda: home.tier()["job_id"] == "12")
    # As after scontrol update, or another job_name in the inventory.
    home.slurm.queue(("12", "RUNNING", "None"), name="llama-new")
    looks = len(home.slurm.calls("squeue"))
    wait_for("looks", lambda: len(home.slurm.calls("squeue")) >= looks + 5)
    assert home.tier()["job_id"] == "12"
    assert home.slurm.calls("sbatch") == []
    assert home.slurm.calls("scancel") == []


def test_the_job_of_a_tier_that_was_taken_out_of_the_inventory_is_ended(home: Home) -> None:
    home.slurm.comment = "herd-tiers tier=fast"
    home.slurm.queue(("12", "RUNNING", "None"))
    data = {**home.data, "tiers": [{**home.data["tiers"][0], "name": "quick"}]}
    home.config.write_text(json.dumps(data), encoding="utf-8")
    home.begin()
    wait_for("its end", lambda: home.slurm.calls("scancel"))
    looks = len(home.slurm.calls("squeue"))
    wait_for("looks", lambda: len(home.slurm.calls("squeue")) >= looks + 5)
    # Not again at once: it may have answers to end.
    assert home.slurm.calls("scancel") == [["12"]]
    journal = (home.folder / "journal").read_text(encoding="utf-8")
    assert "fast: ending job 12: it belongs to no tier of the inventory" in journal


def test_a_node_with_a_slow_clock_serves_and_its_clock_is_named(home: Home) -> None:
    home.slurm.queue(("12", "RUNNING", "None"))
    home.begin()

    def is_ready() -> bool:
        home.entry("12", heartbeat=time.time() - 3600)
        return bool(home.tier()["state"] == "ready")

    wait_for("it to be ready", is_ready)
    wait_for("its clock to be named", lambda: any("the clock of vasp-02 is 60 minutes" in p for p in home.problems()))


def test_a_manager_that_begins_anew_does_not_say_that_such_an_engine_is_away(home: Home) -> None:
    home.slurm.queue(("12", "RUNNING", "None"))
    home.entry("12", heartbeat=time.time() - 3600)
    stop = threading.Event()

    def beats() -> None:
        while not stop.wait(0.5):
            home.entry("12", heartbeat=time.time() - 3600)

    with ThreadPoolExecutor(1) as other:
        other.submit(beats)
        try:
            home.begin()
            wait_for("a view", lambda: home.tier()["state"])
            assert home.tier()["state"] == "ready"
            journal = (home.folder / "journal").read_text(encoding="utf-8")
            assert "fast: loading" not in journal
        finally:
            stop.set()


def test_whatever_goes_wrong_once_slurm_is_asked_again(home: Home) -> None:
    home.slurm.queue(("12", "RUNNING", "None"))
    code = """
tiers.AFTER_FAILURE_S = tiers.REGISTRY_S = 0.01
asked = []
def queue(before):
    asked.append(1)
    raise RuntimeError("dictionary changed size during iteration")
manager.slurm.queue = queue
read = []
def read_registry(folder):
    read.append(1)
    raise RuntimeError("a surprise")
tiers.read_registry = read_registry
for work in (manager.follow_slurm, manager.follow_registry):
    threading.Thread(target=work, daemon=True).start()
until = time.monotonic() + 20
while time.monotonic() < until and not (len(asked) >= 3 and len(read) >= 3):
    time.sleep(0.01)
print(len(asked) >= 3, len(read) >= 3, manager.registry_problem)
"""
    said = home.inside(code).splitlines()
    assert said[-1].startswith("True True the registry ")
    assert said[-1].endswith("cannot be read: RuntimeError: a surprise")
    again = "could not do what was to be done, and will try again: RuntimeError: dictionary changed size"
    assert any(again in line for line in said)


def test_systemd_hears_of_a_manager_only_while_slurm_is_asked(home: Home) -> None:
    code = """
heard, hangs = [], threading.Event()
tiers.notify = heard.append
tiers.STUCK_S = 0.5
manager.slurm.queue = lambda before: time.sleep(60 if hangs.is_set() else 0.01) or tiers.Queue(time.time(), ())
manager.act = lambda: False
threading.Thread(target=manager.live, daemon=True).start()
def wait(is_so):
    until = time.monotonic() + 20
    while time.monotonic() < until and not is_so():
        time.sleep(0.01)
for _turn in range(2):
    heard.clear()
    wait(lambda: "WATCHDOG=1" in heard)
    print("WATCHDOG=1" in heard)
hangs.set()
wait(lambda: time.monotonic() - manager.slurm.seen > 1.0)
heard.clear()
time.sleep(0.6)
print("WATCHDOG=1" in heard)
"""
    assert home.inside(code).splitlines()[-3:] == ["True", "True", "False"]


def test_what_two_threads_remember_at_once_is_all_remembered(home: Home) -> None:
    code = """
memories, begun, other = manager.memories, threading.Event(), []
def submits(memory):
    begun.wait()
    time.sleep(0.3)
    return tiers.tier_rules.about_to_submit(memory, 1000.0)
first = threading.Thread(target=lambda: memories.change("fast", submits))
second = threading.Thread(target=lambda: memories.change("fast", lambda one: tiers.replace(one, load_s=7.0)))
first.start()
time.sleep(0.1)
second.start()
begun.set()
first.join()
second.join()
kept = tiers.Memories(manager.settings.state / "memory.json", ["fast"]).of["fast"]
print(kept.asked_at, kept.load_s)
"""
    assert home.inside(code).splitlines()[-1] == "1000.0 7.0"


def test_a_clock_that_is_set_back_keeps_no_entry_of_a_job_that_is_gone(home: Home) -> None:
    code = """
path = manager.settings.registry / "fast-12.json"
entry = {"schema": 1, "tier": "fast", "job_id": "12", "host": "vasp-02", "address": "10.0.0.42", "port": 8080,
         "models": ["m"], "state": "ready", "percent": 100, "context": 8, "slots": 1, "release": "r", "started": 1.0}
real, ahead = time.time, [7200.0]
time.time = lambda: real() + ahead[0]
def look():
    path.write_text(tiers.json.dumps({**entry, "heartbeat": time.time()}), encoding="utf-8")
    manager.read_registry()
    return [one.job_id for one in manager.look(time.time())[0].endpoints]
print(look())
ahead[0] = 0.0
print(look(), time.sleep(0.1))
manager.queue = tiers.Queue(time.time(), ())
print(look())
"""
    assert home.inside(code).splitlines()[-3:] == ["['12']", "['12'] None", "[]"]


def test_what_two_threads_look_at_does_not_change_under_their_eyes(home: Home) -> None:
    """The one asks Slurm and forgets what is over, the other one tells others how the tiers are."""
    code = """
looks = threading.Thread(target=lambda: manager.look(time.time()), daemon=True)
acts = threading.Thread(target=manager.act, daemon=True)
manager.settings = tiers.replace(manager.settings, tiers=())
with manager._lock:
    looks.start()
    acts.start()
    time.sleep(0.3)
    print(looks.is_alive(), acts.is_alive())
looks.join(20)
acts.join(20)
print(looks.is_alive(), acts.is_alive())
"""
    assert home.inside(code).splitlines()[-2:] == ["True True", "False False"]


def test_a_log_on_a_file_system_that_hangs_holds_nobody_up(home: Home) -> None:
    code = """
tiers.LOG_S = 0.2
tiers._read_last_words = lambda logs, job: time.sleep(60)
began = time.monotonic()
print(repr(tiers._last_words(manager.settings.logs, "12")), time.monotonic() - began < 10)
"""
    assert home.inside(code).splitlines()[-1] == "'' True"


def test_what_is_no_queue_is_no_empty_one(home: Home) -> None:
    home.slurm.says("squeue", "squeue: something that a later Slurm prints there\n")
    home.begin()
    wait_for("the manager to say so", home.problems)
    assert "squeue printed no jobs but b'squeue: something" in home.problems()[0]
    assert home.slurm.calls("sbatch") == []


def test_there_is_one_manager(home: Home) -> None:
    home.slurm.queue(("12", "RUNNING", "None"))
    home.begin()
    wait_for("the job", lambda: home.tier()["job_id"] == "12")
    done = home.tiers("manage")
    assert done.returncode == 2
    assert "expected no other manager of the tiers" in done.stderr


def test_what_jobs_have_left_in_the_registry_is_removed_after_a_while(home: Home) -> None:
    home.entry("7", heartbeat=time.time() - 700)
    home.entry("8", heartbeat=time.time() - 60)
    home.entry("9", heartbeat=time.time() - 700)
    code = """
tiers.endpoint_registry.STILL_S, tiers.REGISTRY_S = 0.3, 0.05
folder = manager.settings.registry
threading.Thread(target=manager.follow_registry, daemon=True).start()
time.sleep(0.6)
# As long as nobody knows which jobs there are, nothing is.
print(sorted(path.name for path in folder.iterdir()))
nine = tiers.slurm_queue.Job("9", "llama-14b", "llama", "PENDING")
manager.queue = tiers.Queue(time.time(), (nine,))
until = time.monotonic() + 20
while time.monotonic() < until and (folder / "fast-7.json").exists():
    time.sleep(0.02)
print(sorted(path.name for path in folder.iterdir()))
"""
    said = home.inside(code).splitlines()
    assert "removed fast-7.json from the registry: its job is long gone" in said
    shown = [line for line in said if line.startswith("[")]
    assert shown == ["['fast-7.json', 'fast-8.json', 'fast-9.json']", "['fast-8.json', 'fast-9.json']"]


@pytest.mark.parametrize("text", ["", "{}", '{"schema": 2}', "[]", '{"schema": 1, "tiers": 5}'])
def test_a_configuration_that_cannot_be_read_is_named(home: Home, text: str) -> None:
    home.config.write_text(text, encoding="utf-8")
    done = home.tiers()
    assert done.returncode == 2
    assert "run the role slurm_tiers on the controller" in done.stderr


@pytest.mark.parametrize("every", [0, -1, 61])
def test_a_look_at_slurm_is_neither_without_a_pause_nor_too_seldom(home: Home, every: int) -> None:
    home.config.write_text(json.dumps({**home.data, "every": every}), encoding="utf-8")
    done = home.tiers("manage")
    assert done.returncode != 0
    assert f"{every} seconds between two looks at Slurm" in done.stdout + done.stderr


def test_without_a_manager_there_is_no_view(home: Home) -> None:
    done = home.tiers()
    assert done.returncode == 2
    assert "see that herd-tiers.service runs on this host" in done.stderr
    (home.folder / "run" / "tiers.json").write_text('{"schema": 1, "written": 5, "tiers": {}}', encoding="utf-8")
    done = home.tiers()
    assert done.returncode == 3
    assert "This is old" in done.stdout


def test_another_user_is_not_the_tiers_own(home: Home) -> None:
    home.config.write_text(json.dumps({**home.data, "user": "llama-of-nobody"}), encoding="utf-8")
    done = home.tiers("manage")
    assert done.returncode == 2
    assert "expected to run as llama-of-nobody" in done.stderr


def test_a_job_that_is_outdated_is_asked_to_make_way_and_replaced_once_it_waits(home: Home) -> None:
    home.data["tiers"][0]["plan"] = "aaaaaaaa"
    home.config.write_text(json.dumps(home.data), encoding="utf-8")
    home.slurm.comment = "herd-tiers tier=fast plan=bbbbbbbb"
    home.slurm.queue(("12", "RUNNING", "None"))
    home.entry("12")
    home.begin()
    wait_for("it to be asked", lambda: home.slurm.calls("scancel"))
    assert home.slurm.calls("scancel") == [["--signal=USR2", "--batch", "12"]]
    wait_for("it to be said", lambda: "job 12 is outdated" in home.tier()["advice"])
    assert "job 12 is outdated" in home.tiers().stdout
    (home.folder / "registry" / "fast-12.json").unlink()
    home.slurm.queue(("12", "PENDING", "BeginTime"))
    wait_for("it to be replaced", lambda: len(home.slurm.calls("scancel")) > 1)
    assert home.slurm.calls("scancel")[1:] == [["12"]]
    home.slurm.says("sbatch", "13\n")
    home.slurm.says("sacct", "")
    home.slurm.queue()
    wait_for("another one", lambda: home.slurm.calls("sbatch"))
    ((_parsable, _singleton, comment, *rest),) = home.slurm.calls("sbatch")
    assert comment.startswith("--comment=herd-tiers")
    assert rest[-2:] == ["plan=aaaaaaaa", "/scripts/run-14b.slurm"]
