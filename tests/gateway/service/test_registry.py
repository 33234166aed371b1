# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in the registry of engines that does not belong there: files that are none, and engines of others."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.conftest import Client, chat, settle
from tests.gateway.harness import FAST_MODEL, REASONING_MODEL, Engine, Gateway, wait_for, wait_until_seen


def fifo(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    os.mknod(path, 0o666 | 0o020000, os.makedev(1, 5))


def directory(path: Path) -> None:
    path.mkdir()


def gibibyte(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 30)


def link(path: Path) -> None:
    path.symlink_to("/dev/zero")


def link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def link_to_a_secret(path: Path) -> None:
    path.symlink_to("/etc/shadow")


def unix_socket(path: Path) -> None:
    os.mknod(path, 0o666 | 0o140000)


THINGS: list[Callable[[Path], None]] = [
    fifo,
    device,
    directory,
    gibibyte,
    link,
    link_to_itself,
    link_to_a_secret,
    unix_socket,
]


@pytest.fixture(scope="module")
def silent_manager(made: Gateway, engines: dict[str, Engine]) -> Iterator[Path]:
    """Silence the tier manager while both engines register themselves."""
    folder = made.root / "endpoints"
    goes_on = True

    def register() -> None:
        while goes_on:
            for tier, models in (("fast", [FAST_MODEL, "small-two"]), ("reasoning", [REASONING_MODEL])):
                entry = made.entry(tier, engines[tier].port, models, job_id="5", started=time.time() - 9)
                scratch = folder / ".scratch"
                scratch.write_text(json.dumps(entry), encoding="utf-8")
                scratch.replace(folder / f"{tier}-5.json")
            time.sleep(0.5)

    thread = threading.Thread(target=register)
    thread.start()
    made.is_silent = True
    try:
        wait_for(lambda: made.log("gateway").rstrip().endswith("using the registry"), "the gateway notices", 30)
        yield folder
    finally:
        made.is_silent = False
        made.write_tier_status()
        goes_on = False
        thread.join()
        for tier in ("fast", "reasoning"):
            (folder / f"{tier}-5.json").unlink()


@contextmanager
def thing_in(folder: Path, make: Callable[[Path], None]) -> Iterator[None]:
    path = folder / "fast-99.json"
    make(path)
    try:
        yield
    finally:
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()


def serves(client: Client, made: Gateway, seconds: float) -> None:
    """Check for a while that both tiers answer as before."""
    # The router loads its model.
    assert client.ask(chat(1, model=FAST_MODEL)).status == 200
    before, end = made.memory(), time.monotonic() + seconds
    while time.monotonic() < end:
        for model in (FAST_MODEL, REASONING_MODEL):
            began = time.monotonic()
            answer = client.ask(chat(1, model=model))
            assert answer.status == 200, answer.body
            assert time.monotonic() - began < 3
        time.sleep(0.2)
    assert made.memory() - before < 20


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a device")
@pytest.mark.parametrize("make", THINGS, ids=lambda make: make.__name__)
def test_a_thing_in_the_registry_harms_nobody(
    client: Client, made: Gateway, engines: dict[str, Engine], make: Callable[[Path], None]
) -> None:
    with thing_in(made.root / "endpoints", make):
        serves(client, made, 0.5)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a device")
@pytest.mark.parametrize("make", THINGS, ids=lambda make: make.__name__)
def test_a_thing_in_the_registry_harms_nobody_while_the_manager_is_silent(
    client: Client, made: Gateway, silent_manager: Path, make: Callable[[Path], None]
) -> None:
    # Each second the registry is read.
    with thing_in(silent_manager, make):
        serves(client, made, 2.5)


@pytest.mark.parametrize(
    "lie",
    [
        {"address": "0.0.0.0"},
        {"address": "10.9.8.7"},
        {"address": "::1"},
        {"address": "localhost"},
        {"address": "127.0.0.1@10.9.8.7"},
        {"address": "169.254.169.254"},
        {"port": 0},
        {"port": 70000},
        {"port": -1},
        {"port": "80"},
        {"started": 4e9},
        {"started": -1},
        {"started": float("nan")},
    ],
    ids=lambda lie: " ".join(f"{name} {value}" for name, value in lie.items()),
)
def test_an_engine_that_cannot_be_one_of_ours_is_refused(
    client: Client, made: Gateway, silent_manager: Path, lie: dict[str, Any]
) -> None:
    """It would be the newest engine of its tier, and get all prompts."""
    entry = made.entry("fast", 9, [FAST_MODEL], job_id="99", started=time.time() - 1, heartbeat=time.time() + 20)
    (silent_manager / "fast-99.json").write_text(json.dumps({**entry, **lie}), encoding="utf-8")
    try:
        end = time.monotonic() + 2.2
        while time.monotonic() < end:
            assert client.ask(chat(1)).status == 200
            time.sleep(0.2)
    finally:
        (silent_manager / "fast-99.json").unlink()


@pytest.mark.parametrize("lie", [{"address": "0.0.0.0"}, {"address": "10.9.8.7"}, {"port": 70000}, {"port": 0}])
def test_an_engine_of_the_manager_that_cannot_be_one_of_ours_is_refused(
    client: Client, made: Gateway, engines: dict[str, Engine], lie: dict[str, Any]
) -> None:
    made.ready("fast", 9, [FAST_MODEL])
    assert client.ask(chat(1)).error["herd"]["state"] == "failing"
    made.tiers["fast"]["endpoints"][0] |= lie
    made.write_tier_status()
    wait_until_seen()
    # It is unavailable, or the former report still counts; the lie is not even tried.
    began = time.monotonic()
    answer = client.ask(chat(1))
    assert (answer.status, answer.error["code"]) == (503, "tier_unavailable")
    assert time.monotonic() - began < 2
    settle(made, engines)
