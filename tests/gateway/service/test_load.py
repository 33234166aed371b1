# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A load generator that users use (hey), as they use it: many at once, over connections that stay open."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.conftest import chat, settle
from tests.gateway.harness import REASONING_MODEL, Engine, Gateway, wait_for


def hey_program() -> str:
    """Where hey is; HERD_HEY names another one."""
    found = os.environ.get("HERD_HEY") or shutil.which("hey")
    assert found, "hey is needed: apt-get install hey, or name one in HERD_HEY"
    return found


@dataclass
class Load:
    """What hey has seen.

    :ivar seconds: of each request that was answered, in all and until the first byte.
    """

    asked: int
    statuses: Counter[str]
    seconds: list[tuple[float, float]]

    @property
    def unanswered(self) -> int:
        return self.asked - sum(self.statuses.values())


def hey(
    made: Gateway, folder: Path, asked: int, at_once: int, key: str = "herd-key-of-ann", stream: bool = False
) -> Load:
    """Ask as often as this, so many at the same time."""
    body = folder / "body.json"
    body.write_text(json.dumps(chat(3, model=REASONING_MODEL, stream=stream)), encoding="utf-8")
    command = [hey_program(), "-n", str(asked), "-c", str(at_once), "-m", "POST", "-T", "application/json", "-t", "60"]
    command += [
        "-H",
        f"Authorization: Bearer {key}",
        "-D",
        str(body),
        "-o",
        "csv",
        made.url(path="/v1/chat/completions"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240)
    rows = list(csv.DictReader(done.stdout.splitlines()))
    seconds = [(float(row["response-time"]), float(row["Response-delay"])) for row in rows]
    return Load(asked, Counter(row["status-code"] for row in rows), seconds)


@pytest.mark.parametrize("stream", [False, True], ids=["in one piece", "streams"])
def test_every_request_of_a_load_is_answered(
    made: Gateway, engines: dict[str, Engine], tmp_path: Path, stream: bool
) -> None:
    def logged_lines() -> list[dict[str, Any]]:
        # Lines of former tests may be written late. No other test uses this key.
        return [line for line in made.access() if line.get("key") == "lee"]

    before = len(logged_lines())
    load = hey(made, tmp_path, 48, 8, key="herd-key-of-lee", stream=stream)
    assert (load.unanswered, load.statuses) == (0, {"200": 48})
    wait_for(lambda: len(logged_lines()) >= before + 48, "a line of the log for each")
    lines = logged_lines()[before:]
    assert len(lines) == 48
    assert all(line["complete"] for line in lines)
    if stream:
        # What the gateway calls the time to the first token is what the client has seen.
        first = sorted(delay for _total, delay in load.seconds)
        logged = sorted(line["ttft"] for line in lines)
        assert logged[24] == pytest.approx(first[24], rel=0.5, abs=0.05)


def test_a_load_over_the_rate_limit_is_refused(made: Gateway, engines: dict[str, Engine], tmp_path: Path) -> None:
    one_at_once = hey(made, tmp_path, 40, 8, key="herd-key-of-meg", stream=True)
    assert one_at_once.unanswered == 0
    assert set(one_at_once.statuses) == {"200", "429"}
    few_a_minute = hey(made, tmp_path, 40, 8, key="herd-key-of-sam")
    assert few_a_minute.unanswered == 0
    assert set(few_a_minute.statuses) == {"200", "429"}
    # A burst of three, and one more for every ten seconds.
    assert 3 <= few_a_minute.statuses["200"] <= 8


def test_no_request_is_lost_when_a_tier_moves_under_load(
    made: Gateway, engines: dict[str, Engine], tmp_path: Path
) -> None:
    second = made.engine(REASONING_MODEL)
    is_over = threading.Event()

    def move() -> None:
        for turn in range(100):
            if is_over.wait(1.5):
                return
            target = second if turn % 2 == 0 else engines["reasoning"]
            made.ready("reasoning", target.port, [REASONING_MODEL], job=str(40 + turn))

    mover = threading.Thread(target=move)
    mover.start()
    try:
        streams, pieces = (hey(made, tmp_path, 48, 8, stream=stream) for stream in (True, False))
    finally:
        is_over.set()
        mover.join()
        settle(made, engines)
        time.sleep(0.5)
        second.stop()
    # hey asks again at once on a connection that was left open, and sends nothing a second time.
    for load in (streams, pieces):
        assert (load.unanswered, load.statuses) == (0, {"200": 48})
