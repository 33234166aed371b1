# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input ends no thread of the agent: systemd would not notice, and would not restart the thread."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.unit.agent.agent_config import AGENT
from tests.unit.agent.conftest import run_inside


class Peer(threading.Thread):
    """Another node's agent, which answers with the given bodies in turn, and then with the last one."""

    def __init__(self, *bodies: bytes) -> None:
        super().__init__(daemon=True)
        self.bodies = list(bodies)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]

    def run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _address = self.listener.accept()
                with connection, suppress(OSError):
                    connection.recv(65536)
                    body = self.bodies.pop(0) if len(self.bodies) > 1 else self.bodies[0]
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


@pytest.fixture
def peer() -> Iterator[Peer]:
    huge = b'{"schema":1,"node":"n","agent":"a","sequence":1,"boot_id":"b","uptime_s":' + b"9" * 400 + b"}"
    good = b'{"schema":1,"node":"n","agent":"a","sequence":2,"boot_id":"b","uptime_s":1}'
    found = Peer(huge, good)
    found.start()
    yield found
    found.listener.close()


FOLLOW = """
import json, time
from herd.agent.supervisor import heartbeat_client
from herd.core.supervision import heartbeat
if sys.argv[3] == "broken":
    # An unexpected error of our own code, at the first heartbeat only.
    whole = heartbeat.read
    def read(raw, node):
        heartbeat.read = whole
        raise ZeroDivisionError("nobody thought of it")
    heartbeat.read = read
heartbeat_client.EVERY_S, seen, once = 0.05, [], heartbeat_client.fetch
def fetch(*arguments):
    observation = once(*arguments)
    seen.append([observation.kind, observation.detail])
    return observation
heartbeat_client.fetch = fetch
followers = heartbeat_client.Followers(int(sys.argv[2]))
followers.follow("head", {"n": "127.0.0.1"})
until = time.monotonic() + 20
while time.monotonic() < until and (not seen or seen[-1][0] != "heartbeat"):
    time.sleep(0.02)
print(json.dumps(seen))
"""


@pytest.mark.parametrize(("fault", "words"), [("none", "is no number from 0"), ("broken", "nobody thought of it")])
def test_poller_continues_after_an_invalid_heartbeat(herdctl: Path, peer: Peer, fault: str, words: str) -> None:
    seen = json.loads(run_inside(herdctl, FOLLOW, str(peer.port), fault))
    assert [detail for kind, detail in seen if kind == "bad" and words in detail]
    assert seen[-1][0] == "heartbeat"


@pytest.mark.parametrize("reason", ["a half \udcff", "\u8a9e"])
def test_text_beyond_the_locale_is_escaped(herdctl: Path, settings: Path, reason: str) -> None:
    done = subprocess.run(
        [
            sys.executable,
            str(herdctl),
            "hold",
            "--config",
            str(settings),
            "--reason",
            reason.encode(errors="surrogateescape"),
        ],
        env={**os.environ, "PYTHONIOENCODING": "ascii:strict"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"held for 600 seconds: {reason.encode('ascii', 'backslashreplace').decode()};" in done.stdout


ENGINE = """
import json
from pathlib import Path
from herd.agent.common import engine_api as engine
from herd.agent.supervisor import daemon, engine_poller, settings
said = []
engine_poller.log = said.append
agent = daemon.Agent(settings.read_settings(sys.argv[2]))
poller = agent.engine.poller
poller.api = engine.of(["llama-server", "--port", sys.argv[3], "--api-key-file", sys.argv[4]])
if sys.argv[5] == "broken":
    def fail(*_arguments):
        raise ZeroDivisionError("nobody thought of it")
    engine.health = engine.complete = fail
poller.poll()
poller.poll()
found = {"health": poller.health, "said": said}
for name, api in (("probe", poller.api), ("no api", None)):
    poller.api = api
    agent.engine.ask()
    found[name] = [agent.engine.probe.asked, agent.engine.probe.answered]
print(json.dumps(found))
"""


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "agent.json"
    data = {**AGENT, "run_dir": str(tmp_path)}
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("keys", "fault", "expected"),
    [
        (b"abc\n", "", {"health": "ok", "said": "", "probe": [True, True], "no api": [False, False]}),
        # The bad file is no evidence about the head, which serves, so the agent does not act.
        ("schl\u00fcssel\n".encode(), "", {"health": "ok", "said": "printable ASCII", "probe": [False, False]}),
        (b"\xff\xfe\n", "", {"health": "ok", "said": "printable ASCII", "probe": [False, False]}),
        (None, "", {"health": "ok", "said": "No such file", "probe": [False, False]}),
        (b"abc\n", "broken", {"health": "", "said": "nobody thought of it", "probe": [False, False]}),
    ],
)
def test_engine_is_polled_with_any_key_file(
    herdctl: Path, settings: Path, tmp_path: Path, keys: bytes | None, fault: str, expected: dict[str, Any]
) -> None:
    head, path = Peer(b'{"content": "x"}'), tmp_path / "api-keys"
    head.start()
    if keys is not None:
        path.write_bytes(keys)
    found = json.loads(run_inside(herdctl, ENGINE, str(settings), str(head.port), str(path), fault))
    head.listener.close()
    said = expected.pop("said")
    assert [said in text for text in found.pop("said")] == ([True] if said else [])
    assert found == {"no api": [False, False], **expected}


COUNTERS = """
import json
from herd.agent.common import engine_api as engine
from herd.agent.supervisor import engine_poller
seen = iter([("ok", 100), ("ok", None), ("silent", None), ("ok", 130), ("loading", None)])
def step(_api):
    global counter
    health, counter = next(seen)
    return health
engine.health = step
engine.slots = lambda _api: engine.Slots(True, 2, 1, "")
engine.metrics = lambda _api: {} if counter is None else {"tokens_predicted_total": counter}
poller = engine_poller.EnginePoller(-1.0)
found = []
for _each in range(5):
    poller._ask(None)
    found.append([poller.tokens, len(poller._rates)])
print(json.dumps(found))
"""


def test_missing_counters_do_not_change_the_rate(herdctl: Path) -> None:
    assert json.loads(run_inside(herdctl, COUNTERS)) == [[100, 1], [100, 1], [100, 0], [130, 1], [-1, 0]]
