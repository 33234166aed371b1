# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The access log: rotated without a lost line, as its own user; and what a restart forgets."""

from __future__ import annotations

import getpass
import gzip
import json
import os
import pwd
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import jinja2
import pytest

from tests.gateway.conftest import Client, chat
from tests.gateway.harness import REASONING_MODEL, ROLE, USERS, Engine, Gateway, wait_for


def test_log_rotation_loses_no_line(client: Client, made: Gateway, engines: dict[str, Engine], tmp_path: Path) -> None:
    """logrotate itself with the role's own file, while users ask."""
    program = rotate_program()
    log = made.root / "access.log"
    (tmp_path / "rotate.conf").write_text(rendered(log), encoding="utf-8")
    before, goes_on, asked = len(made.access()), True, []

    def users() -> None:
        while goes_on:
            asked.append(client.ask(chat(1, model=REASONING_MODEL)).headers["x-request-id"])

    threads = [threading.Thread(target=users) for _each in range(3)]
    for thread in threads:
        thread.start()
    for _each in range(4):
        time.sleep(0.7)
        command = [program, "--force", "--state", str(tmp_path / "state"), str(tmp_path / "rotate.conf")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "error" not in done.stderr
    time.sleep(0.5)
    goes_on = False
    for thread in threads:
        thread.join(60)
    wait_for(lambda: identities(log) >= set(asked), "every line")
    kept = {path.name for path in log.parent.glob("access.log*")}
    assert kept == {"access.log", "access.log.1", "access.log.2.gz", "access.log.3.gz", "access.log.4.gz"}
    lines = [line for path in sorted(log.parent.glob("access.log*")) for line in lines_of(path)]
    assert len(lines) == before + len(asked)
    for path in log.parent.glob("access.log.*"):
        path.unlink()


def lines_of(path: Path) -> list[str]:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode().splitlines()


def identities(log: Path) -> set[str]:
    """The requests of which there is a line, in any of the files."""
    found = [line for path in log.parent.glob("access.log*") for line in lines_of(path)]
    return {str(json.loads(line)["id"]) for line in found}


def rotate_program() -> str:
    found = shutil.which("logrotate", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert found, "logrotate is needed: apt-get install logrotate"
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may rotate what is another user's")
def test_the_log_is_rotated_as_its_own_user(tmp_path: Path) -> None:
    """The log directory belongs to the gateway's user (LogsDirectory), so logrotate must not act there as root."""
    program, user = rotate_program(), pwd.getpwnam("daemon")
    folder = Path(tempfile.mkdtemp(prefix="herd-logs-", dir="/tmp"))
    log = folder / "gateway.log"
    try:
        folder.chmod(0o750)
        os.chown(folder, user.pw_uid, user.pw_gid)
        (tmp_path / "rotate.conf").write_text(rendered(log, "daemon"), encoding="utf-8")
        for _each in range(3):
            log.write_text('{"id": "1"}\n', encoding="utf-8")
            log.chmod(0o600)
            os.chown(log, user.pw_uid, user.pw_gid)
            command = [program, "--force", "--state", str(tmp_path / "state"), str(tmp_path / "rotate.conf")]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert (done.returncode, "error" in done.stderr) == (0, False), done.stderr
        found = {path.name: path.stat() for path in folder.iterdir()}
        assert set(found) == {"gateway.log.1", "gateway.log.2.gz", "gateway.log.3.gz"}
        assert {(facts.st_uid, facts.st_mode & 0o777) for facts in found.values()} == {(user.pw_uid, 0o600)}
    finally:
        shutil.rmtree(folder)


def rendered(log: Path, user: str = "") -> str:
    """The role's file for logrotate, for this log and this user."""
    text = (ROLE / "templates" / "logrotate.j2").read_text(encoding="utf-8")
    given = {"gateway_access_log": str(log), "gateway_user": user or getpass.getuser()}
    return str(jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(text).render(given))


def test_a_restart_gives_each_key_one_burst(client: Client, made: Gateway, engines: dict[str, Engine]) -> None:
    """Its process forgets who has asked how often: after each start a key has its burst, and not more, once again."""
    users = {**USERS, "ida": {"key": "herd-key-of-ida", "limits": "narrow"}}
    made.write_keys(users)
    wait_for(lambda: client.ask(path="/v1/models", key="herd-key-of-ida").status != 401, "the key", 5)
    allowed = []
    for _each in range(3):
        statuses = [client.ask(path="/v1/models", key="herd-key-of-ida").status for _each in range(8)]
        assert set(statuses) <= {200, 429}
        assert statuses[-1] == 429
        allowed.append(statuses.count(200))
        made.restart_gateway()
    # Three at once, and one for every ten seconds.
    assert all(count <= 4 for count in allowed)
    made.write_keys()
