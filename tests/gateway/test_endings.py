# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Responses that are cut, abandoned by their clients, or read slowly."""

from __future__ import annotations

import getpass
import gzip
import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from http.client import IncompleteRead
from pathlib import Path
from typing import Any

import jinja2
import openai
import pytest

from tests.gateway.conftest import Client, chat, settle
from tests.gateway.harness import ENGINE_KEY, FAST_MODEL, REASONING_MODEL, ROLE, USERS, Engine, Gateway, wait_for
from tests.gateway.test_abuse import KEY, request
from tests.gateway.test_proxy import double

BODY = json.dumps({"choices": [{"message": {"content": "x" * 4000}}], "usage": {"completion_tokens": 9}}).encode()
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CUTS = {
    "known length": JSON + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY[:2000],
    "chunks": JSON + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (2000, BODY[:2000]),
    "in a chunk": JSON + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s" % (len(BODY), BODY[:2000]),
}


def line_of(made: Gateway, identity: str) -> dict[str, Any]:
    wait_for(lambda: any(line["id"] == identity for line in made.access()), "the line of the log")
    return next(line for line in made.access() if line["id"] == identity)


@pytest.mark.parametrize("kind", CUTS)
@pytest.mark.parametrize("way", ["nginx", "the gateway"])
def test_a_cut_response_never_looks_complete(
    client: Client, made: Gateway, engines: dict[str, Engine], kind: str, way: str
) -> None:
    """It becomes a 503. If its head was sent already, the connection ends early."""

    def answer(wire: socket.socket) -> None:
        wire.sendall(CUTS[kind])
        time.sleep(0.2)
        wire.shutdown(socket.SHUT_RDWR)

    # The gateway itself takes what names no model to a router, since that one must be told which.
    tier, model = ("reasoning", REASONING_MODEL) if way == "nginx" else ("fast", FAST_MODEL)
    with double(answer) as port:
        made.ready(tier, port, [model], job="51")
        wait_for(lambda: made.knows(tier, port), "nginx told")
        time.sleep(0.5)
        connection, reply = client.open(chat(), tier=tier)
        assert (reply.getheader("X-Herd-Tier") or "").startswith(tier)
        if reply.status == 503:
            assert json.loads(reply.read())["error"]["code"] == "tier_unavailable"
        else:
            assert reply.status == 200
            with pytest.raises((IncompleteRead, ConnectionResetError)):
                reply.read()
        connection.close()
        sdk = openai.OpenAI(base_url=made.url(tier), api_key="herd-key-of-ann", max_retries=0, timeout=20)
        with pytest.raises((openai.APIConnectionError, openai.InternalServerError)):
            sdk.chat.completions.create(model=f"task:{'borrowing' if way == 'nginx' else 'fix'}", messages=[])
        line = line_of(made, reply.getheader("X-Request-Id") or "")
        assert line["status"] == reply.status
        if reply.status == 200 and (way == "the gateway" or kind == "known length"):
            assert line["complete"] is False
    settle(made, engines)


def router_is_busy(engine: Engine) -> bool:
    """Whether the model that a router has loaded generates."""
    asked = urllib.request.Request(
        f"http://127.0.0.1:{engine.port}/slots?model={FAST_MODEL}", headers={"Authorization": f"Bearer {ENGINE_KEY}"}
    )
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return any(slot["is_processing"] for slot in json.load(answer))


@pytest.mark.parametrize("named", [True, False], ids=["named", "written anew"])
def test_a_router_stops_when_its_client_leaves(client: Client, engines: dict[str, Engine], named: bool) -> None:
    """Between the client and the model there are nginx, the gateway, the router and the router's own child."""
    engine = engines["fast"]
    assert client.ask(chat(1, model=FAST_MODEL)).status == 200
    wait_for(lambda: not router_is_busy(engine), "an idle engine", 60)
    body = chat(3900, stream=True, **({"model": FAST_MODEL} if named else {}))
    wire = socket.create_connection(("127.0.0.1", client.gateway.ports["fast"]), timeout=20)
    wire.sendall(request("/v1/chat/completions", KEY, body=json.dumps(body).encode()))
    assert wire.recv(100)
    wait_for(lambda: router_is_busy(engine), "the engine at work")
    wire.close()
    wait_for(lambda: not router_is_busy(engine), "the engine at rest", 5)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "in one piece"])
@pytest.mark.parametrize("named", [True, False], ids=["named", "written anew"])
def test_the_connection_to_a_router_closes_when_its_client_leaves(
    client: Client, made: Gateway, engines: dict[str, Engine], stream: bool, named: bool
) -> None:
    """What the gateway can do: a router goes on with an answer in one piece all the same, also when asked directly."""
    asked, ended = threading.Event(), threading.Event()

    def answer(wire: socket.socket) -> None:
        # Nothing: it is at its prompt. An end of the connection is all that can come now.
        asked.set()
        wire.settimeout(20)
        if not wire.recv(1):
            ended.set()

    with double(answer) as port:
        made.ready("fast", port, [FAST_MODEL], job="52")
        wait_for(lambda: made.knows("fast", port), "nginx told")
        time.sleep(0.5)
        body = chat(9, stream=stream, **({"model": FAST_MODEL} if named else {}))
        wire = socket.create_connection(("127.0.0.1", made.ports["fast"]), timeout=20)
        wire.sendall(request("/v1/chat/completions", KEY, body=json.dumps(body).encode()))
        assert asked.wait(10)
        time.sleep(0.2)
        wire.close()
        assert ended.wait(5)
    settle(made, engines)


#: What each slow reader is sent: this many pieces.
PIECES, PIECE = 64, b"x" * 65524


def memory_of(made: Gateway) -> int:
    """How many bytes the process of the gateway that serves and all of nginx have in memory."""
    pids = []
    for name in ("gateway", "nginx"):
        parent = made.processes[name].pid
        pids += Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="utf-8").split()
    texts = [Path(f"/proc/{pid}/status").read_text(encoding="utf-8") for pid in pids]
    return sum(int(text.split("VmRSS:")[1].split()[0]) << 10 for text in texts)


def slow_readers(client: Client, made: Gateway, port: int) -> int:
    """Let two hundred clients ask and hardly read; return the memory of gateway and nginx meanwhile, in bytes."""
    body = json.dumps(chat(9, model=REASONING_MODEL, stream=True)).encode()
    with ExitStack() as stack:
        wires = []
        for _each in range(200):
            wire = stack.enter_context(socket.socket())
            # A small window, so that what does not fit stays on the other side.
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
            wire.settimeout(30)
            wire.connect(("127.0.0.1", made.ports["reasoning"]))
            wire.sendall(request("/v1/chat/completions", KEY, body=body))
            wires.append(wire)
        heads = [wire.recv(4096) for wire in wires]
        assert all(head.startswith(b"HTTP/1.1 200") for head in heads)
        time.sleep(1.0)
        memory = memory_of(made)
        # Another user still gets responses from the other tier's engine.
        began = time.monotonic()
        assert client.ask(chat(2, model=FAST_MODEL, stream=True)).status == 200
        assert time.monotonic() - began < 5
        # One of them wakes up, and everything that was kept for it comes.
        found = heads[7]
        while data := wires[7].recv(1 << 20):
            found += data
        assert found.partition(b"\r\n\r\n")[2].count(b"x") == PIECES * len(PIECE)
        assert found.endswith(b"0\r\n\r\n")
    return memory


def test_slow_readers_use_little_memory_and_do_not_delay_others(
    client: Client, made: Gateway, engines: dict[str, Engine]
) -> None:
    """Each has four megabytes to come; all of it in memory would be eight hundred."""
    piece = b"data: " + PIECE + b"\n\n"
    chunk = b"%x\r\n%s\r\n" % (len(piece), piece)

    def answer(wire: socket.socket) -> None:
        wire.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _each in range(PIECES):
            wire.sendall(chunk)
        wire.sendall(b"0\r\n\r\n")

    before = memory_of(made)
    with double(answer) as port:
        made.ready("reasoning", port, [REASONING_MODEL], job="53")
        wait_for(lambda: made.knows("reasoning", port), "nginx told")
        time.sleep(0.5)
        # An allocator keeps freed memory for some time. What those who have left still held would add up.
        for _round in range(2):
            assert slow_readers(client, made, port) - before < 100 << 20
    settle(made, engines)


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


@pytest.mark.parametrize("stream", [False, True], ids=["in one piece", "stream"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/completions", "/v1/responses"])
def test_each_api_has_retry_after_while_a_tier_is_unavailable(
    client: Client, made: Gateway, engines: dict[str, Engine], path: str, stream: bool
) -> None:
    body = chat(4, model=REASONING_MODEL, stream=stream, prompt="hello", input="hello")
    asked = {"path": path, "key": None, "headers": {"x-api-key": "herd-key-of-ann"}}
    assert client.ask(body, **asked).status == 200
    made.unavailable("reasoning", "preempted", "preempted by VASP job 88", 41)
    wait_for(lambda: client.ask(tier="reasoning", path="/health").status == 503, "the gateway knows")
    answer = client.ask(body, **asked)
    assert (answer.status, answer.headers["retry-after"]) == (503, "41")
    assert answer.headers["content-type"].startswith("application/json")
    assert "preempted by VASP job 88" in answer.data["error"]["message"]
    settle(made, engines)


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
