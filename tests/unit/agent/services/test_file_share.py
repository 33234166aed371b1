# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file share: named files, whole or in ranges, for named clients and a limited time."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.agent.conftest import run_herdctl

BODY = bytes(range(256)) * 4096


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.gguf").write_bytes(BODY)
    (tmp_path / "secret").write_bytes(b"not for you")
    return tmp_path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


Serve = Callable[..., "tuple[subprocess.Popen[bytes], int]"]


@pytest.fixture
def serve(herdctl: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    started: list[subprocess.Popen[bytes]] = []

    def start(client: str = "127.0.0.1", seconds: int = 60) -> tuple[subprocess.Popen[bytes], int]:
        port = free_port()
        # Like systemd, wait for the service's READY=1.
        notify = tmp_path_factory.mktemp("notify") / "socket"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.bind(str(notify))
            channel.settimeout(20)
            argv = ["share-files", "--address", "127.0.0.1", "--port", str(port), "--root", str(folder)]
            argv += ["--name", "model.gguf", "--name", "gone", "--client", client, "--seconds", str(seconds)]
            (folder / "gone").write_bytes(b"")
            program = [sys.executable, "-I", str(herdctl), *argv]
            process = subprocess.Popen(program, env={**os.environ, "NOTIFY_SOCKET": str(notify)})
            started.append(process)
            assert channel.recv(64) == b"READY=1"
        (folder / "gone").unlink()
        return process, port

    yield start
    for process in started:
        process.kill()
        process.wait()


def ask(
    port: int, path: str, method: str = "GET", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, headers=headers or {})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, dict(answer.headers), body


@pytest.mark.parametrize(
    ("asked", "status", "first", "end"),
    [
        ("", 200, 0, len(BODY)),
        ("bytes=0-", 200, 0, len(BODY)),
        ("bytes=0-0", 206, 0, 1),
        ("bytes=100-299", 206, 100, 300),
        ("bytes=1000000-", 206, 1000000, len(BODY)),
        ("bytes=-5", 206, len(BODY) - 5, len(BODY)),
        ("bytes=5-99999999", 206, 5, len(BODY)),
        # A server may ignore any header but that of one byte range.
        ("bytes=0-1,4-5", 200, 0, len(BODY)),
        ("lines=1-2", 200, 0, len(BODY)),
        ("bytes=-", 200, 0, len(BODY)),
    ],
)
def test_range_returns_its_bytes(serve: Serve, asked: str, status: int, first: int, end: int) -> None:
    _process, port = serve()
    got, headers, body = ask(port, "/model.gguf", headers={"Range": asked} if asked else {})
    assert (got, body == BODY[first:end]) == (status, True)
    assert headers.get("Content-Range") == (f"bytes {first}-{end - 1}/{len(BODY)}" if status == 206 else None)
    assert ask(port, "/model.gguf", "HEAD", {"Range": asked} if asked else {})[1:] == ({**headers, "Date": ANY}, b"")


class Anything:
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


ANY = Anything()


@pytest.mark.parametrize("asked", [f"bytes={len(BODY)}-", "bytes=7-6", "bytes=-0"])
def test_range_outside_the_file_is_rejected(serve: Serve, asked: str) -> None:
    _process, port = serve()
    status, headers, body = ask(port, "/model.gguf", headers={"Range": asked})
    assert (status, headers["Content-Range"], body) == (416, f"bytes */{len(BODY)}", b"")


def test_changed_file_is_sent_whole(serve: Serve, folder: Path) -> None:
    _process, port = serve()
    tag = ask(port, "/model.gguf", "HEAD")[1]["ETag"]
    assert ask(port, "/model.gguf", headers={"Range": "bytes=1-2", "If-Range": tag})[0] == 206
    (folder / "model.gguf").write_bytes(b"another")
    status, headers, body = ask(port, "/model.gguf", headers={"Range": "bytes=1-2", "If-Range": tag})
    assert (status, body, headers["ETag"] == tag) == (200, b"another", False)


@pytest.mark.parametrize(
    "path", ["/", "/secret", "/../secret", "/%2e%2e/secret", "/./model.gguf", "//etc/passwd", "/model.gguf/", "/gone"]
)
def test_unnamed_paths_are_not_found(serve: Serve, path: str) -> None:
    _process, port = serve()
    assert ask(port, path)[0] == 404


def test_other_clients_get_no_answer(serve: Serve) -> None:
    _process, port = serve(client="10.100.0.33")
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        ask(port, "/model.gguf")


def test_share_ends_when_time_is_up(serve: Serve) -> None:
    process, _port = serve(seconds=1)
    assert process.wait(timeout=20) == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--name", "nothing", "--client", "127.0.0.1"], "expected a file nothing in"),
        (["--name", "../secret", "--client", "127.0.0.1"], "expected the plain name of a file"),
        (["--name", "model.gguf", "--client", "vllm-node2"], "expected IPv4 addresses of clients"),
    ],
)
def test_unusable_arguments_are_rejected(herdctl: Path, folder: Path, more: list[str], said: str) -> None:
    done = run_herdctl(
        herdctl, "share-files", "--address", "127.0.0.1", "--port", "1", "--root", str(folder), "--seconds", "1", *more
    )
    assert done.returncode == 2
    assert said in done.stderr
