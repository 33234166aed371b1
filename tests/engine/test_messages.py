# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages that docs/operations quotes exist in the sources of the engine's releases and of this collection."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.engine.builds import unpack
from tests.engine.flag_runs import NEW, OLD, cache
from tests.lab.sources import SOURCES, ensure
from tests.scenarios.runbook import read

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "operations"
INDEX = ("README", "agent")
#: Messages in the engine's source, with C(%s) and the like for values, and the releases that have them.
ENGINE = {
    "CUDA error": ("CUDA error", (OLD, NEW)),
    "Failed to connect to": ("Failed to connect to %s", (OLD, NEW)),
    "Failed to create server socket": ("Failed to create server socket", (OLD, NEW)),
    "Invalid API Key": ("Invalid API Key", (OLD, NEW)),
    "RPC server version mismatch": ("RPC server version mismatch: %d.%d.%d", (OLD,)),
    "Remote RPC server crashed or returned malformed response": (
        'GGML_ABORT("Remote RPC server crashed or returned malformed response")',
        (OLD, NEW),
    ),
    "couldn't bind HTTP server socket": ("couldn't bind HTTP server socket, hostname: %s, port: %d", (OLD, NEW)),
    "cudaMalloc failed: out of memory": ("cudaMalloc failed: %s", (OLD, NEW)),
    "data is not within the file bounds, model is corrupted or incomplete": (
        "data is not within the file bounds, model is corrupted or incomplete",
        (OLD, NEW),
    ),
    "error: invalid argument:": ("error: invalid argument: %s", (OLD, NEW)),
    "failed to allocate compute pp buffers": ("failed to allocate compute pp buffers", (OLD, NEW)),
    "failed to load model": ("failed to load model", (OLD, NEW)),
    "recv failed (bytes_recv=0, size_to_recv=8)": ("recv failed (bytes_recv=%zu, size_to_recv=%zu)", (OLD, NEW)),
    "unable to allocate": ("unable to allocate %s buffer", (OLD, NEW)),
    '{"status":"ok"}': ('{"status", "ok"}', (OLD, NEW)),
}
#: Messages of this collection, and their files.
OURS = {
    "expected traffic to … to leave by …, found it on …": (
        "to leave by {name}, found it on {route.interface}",
        "plugins/module_utils/core/host/fabric_route.py",
    ),
    "resetting connections to": (
        "resetting connections to {worker.name}",
        "plugins/module_utils/agent/services/wait_for_workers.py",
    ),
    "to speak RPC protocol": ("to speak RPC protocol", "plugins/module_utils/core/engine/worker_readiness.py"),
    "waiting: expected worker … to answer with RPC protocol …": (
        "to answer with RPC protocol",
        "plugins/module_utils/core/engine/worker_readiness.py",
    ),
}
#: Messages of systemd, the kernel, Ansible and the driver, which the scenario runbooks or the fixtures show.
OTHERS = {
    "Connection refused",
    "Failed to initialize NVML: Driver/library version mismatch",
    "Failed with result 'oom-kill'",
    "Main process exited, code=dumped",
    "Main process exited, code=killed",
    "No space left on device",
    "No such file or directory",
    "Scheduled restart job, restart counter is at",
    "UNREACHABLE!",
    "Unable to determine the device handle",
    "code=killed, status=9/KILL",
}


def messages() -> set[str]:
    return {message for path in FOLDER.glob("*.md") if path.stem not in INDEX for message in read(path).messages}


def test_every_message_has_a_source() -> None:
    assert messages() == {*ENGINE, *OURS, *OTHERS}


@pytest.mark.parametrize("message", OURS)
def test_own_messages_are_in_source(message: str) -> None:
    phrase, path = OURS[message]
    assert phrase in (ROOT / path).read_text(encoding="utf-8")


def source_text(folder: Path) -> Iterable[str]:
    for path in folder.rglob("*"):
        if path.suffix in (".cpp", ".cu", ".cuh", ".h"):
            yield path.read_text(encoding="utf-8", errors="replace")


@pytest.mark.parametrize("release", [OLD, NEW])
def test_engine_messages_are_in_its_source(release: str, tmp_path: Path) -> None:
    (source,) = (source for source in SOURCES if source.release == release)
    archive = ensure(source, cache() / "sources")
    tree = unpack(archive, tmp_path)
    lacking = {phrase for phrase, releases in ENGINE.values() if release in releases}
    for name in ("ggml", "src", "common", "tools"):
        for text in source_text(tree / name):
            lacking -= {phrase for phrase in lacking if phrase in text}
    assert lacking == set()
