# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show how the engine reacts to words of the command line, the API's address and its certificate.

Each function shows one rule of the flag guard.
"""

from __future__ import annotations

import http.server
import stat
import threading
from collections.abc import Callable
from pathlib import Path

from ansible_collections.herd.inference.plugins.module_utils.ports.host import openssl
from tests.engine.flag_runs import Build, free_port

ONE = ("--ctx-size", "512", "--parallel", "1", "--fit", "off")
Shown = Callable[[Build], None]
SHOWN: dict[str, Shown] = {}


def shows(rule: str) -> Callable[[Shown], Shown]:
    """Register a function as the proof of a rule."""

    def keep(function: Shown) -> Shown:
        assert rule not in SHOWN
        SHOWN[rule] = function
        return function

    return keep


def refused(build: Build, rule: str, words: list[str], says: str) -> None:
    """Check that the head exits with a usage error, and that the guard reports the rule."""
    run = build.head(*words)
    assert run.ended() == 1
    assert says in run.log
    assert rule in build.guard(["--port", "1", *words])


@shows("unknown-flag")
def unknown_flag(build: Build) -> None:
    refused(build, "unknown-flag", ["--flash-atn", "on"], "error: invalid argument: --flash-atn")
    words = ["-H", "127.0.0.1", "-p", str(free_port()), "--mem", "1"]
    worker = build.worker(*words)
    assert worker.ended() == 0
    assert "unknown argument: --mem" in worker.log
    assert "unknown-flag" in build.guard(words, "worker")


@shows("flag-of-another-release")
def flag_of_another_release(build: Build) -> None:
    foreign = ["--mlock"] if build.is_new else ["--load-mode", "mlock"]
    refused(build, "flag-of-another-release", foreign, f"error: invalid argument: {foreign[0]}")
    # Engine and guard treat underscores as hyphens.
    spelled = ["--load_mode", "none"] if build.is_new else ["--no_mmap"]
    assert build.head(*ONE, *spelled).healthy()
    assert build.guard(["--port", "1", *ONE, *spelled]) == []


@shows("removed-flag")
def removed_flag(build: Build) -> None:
    words = ["--draft-max", "4"]
    if build.is_new:
        refused(build, "removed-flag", words, "the argument has been removed. use --spec-draft-n-max")
    else:
        assert build.head(*ONE, *words).healthy()
        assert build.guard(["--port", "1", *ONE, *words]) == []


@shows("unsplit-argument")
def unsplit_argument(build: Build) -> None:
    refused(build, "unsplit-argument", ["--flash-attn=on"], "error: invalid argument: --flash-attn=on")
    refused(build, "unsplit-argument", ["--flash-attn on"], "error: invalid argument: --flash-attn on")


@shows("stray-word")
def stray_word(build: Build) -> None:
    refused(build, "stray-word", ["--metrics", "yes"], "error: invalid argument: yes")


@shows("bare-flash-attention")
def bare_flash_attention(build: Build) -> None:
    refused(build, "bare-flash-attention", ["--metrics", "--flash-attn"], "expected value for argument")
    refused(build, "bare-flash-attention", ["-fa", "--metrics"], "unknown value for --flash-attn: '--metrics'")


@shows("missing-value")
def missing_value(build: Build) -> None:
    refused(build, "missing-value", ["--ctx-size"], "expected value for argument")
    worker = build.worker("-H", "127.0.0.1", "-p")
    assert worker.ended() == 1
    assert "Invalid parameters" in worker.log
    assert "missing-value" in build.guard(["-H", "127.0.0.1", "-p"], "worker")


@shows("value-out-of-range")
def value_out_of_range(build: Build) -> None:
    for words, says in (
        (["--ctx-size", "k4"], "stoi"),
        (["--parallel", "0"], "invalid value for n_parallel"),
        (["--cache-type-k", "q9_0"], "Unsupported cache type: q9_0"),
        (["--tensor-split", "1,x"], "stof"),
        (["--flash-attn", "yes"], "unknown value for --flash-attn"),
    ):
        refused(build, "value-out-of-range", words, says)
    negative = build.head("--ctx-size", "-1", "--parallel", "1", "--fit", "off")
    assert negative.ended() == (1 if build.is_new else -11)
    assert "n_ctx_seq == 0" in negative.log
    assert build.head(*ONE, "--batch-size", "0").ended() == -6
    assert "value-out-of-range" in build.guard(["--port", "1", "--fit", "off", "--parallel", "1", "--ctx-size", "-1"])
    assert "value-out-of-range" in build.guard(["--port", "1", *ONE, "--batch-size", "0"])
    for port, status in (("70000", 1), ("x", -6)):
        words = ["-H", "127.0.0.1", "-p", port]
        assert build.worker(*words).ended() == status
        assert "value-out-of-range" in build.guard(words, "worker")


@shows("repeated-flag")
def repeated_flag(build: Build) -> None:
    same = [*ONE, "--ctx-size", "256"]
    run = build.head(*same)
    assert run.healthy()
    assert run.contexts() == [256]
    assert "specified multiple times" in run.log
    synonym = build.head(*ONE, "-c", "256")
    assert synonym.healthy()
    assert synonym.contexts() == [256]
    assert "specified multiple times" not in synonym.log
    assert build.guard(["--port", "1", *same]) == build.guard(["--port", "1", *ONE, "-c", "256"]) == ["repeated-flag"]


@shows("plan-overridden")
def plan_overridden(build: Build) -> None:
    other = free_port()
    run = build.head(*ONE, "--port", str(other))
    planned, run.port = run.port, other
    assert run.healthy()
    assert planned != other
    # A second --rpc adds its devices to those of the first.
    first, second = build.workers(2)
    words = [*ONE, "--rpc", first, "--rpc", second, "--device", "RPC0,RPC1", "--cache-ram", "0"]
    both = build.head(*words)
    assert both.healthy()
    assert build.guard(["--port", "1", *words]) == ["plan-overridden"]


@shows("secret-in-arguments")
def secret_in_arguments(build: Build) -> None:
    run = build.head(*ONE, "--api-key", "key-of-the-test")
    assert run.healthy()
    path = Path(f"/proc/{run.process.pid}/cmdline")
    assert b"key-of-the-test" in path.read_bytes()
    assert path.stat().st_mode & stat.S_IROTH
    assert build.guard(["--port", "1", *ONE, "--api-key", "k"]) == ["secret-in-arguments"]


@shows("setting-in-environment")
def setting_in_environment(build: Build) -> None:
    run = build.head("--parallel", "1", "--fit", "off", environment={"LLAMA_ARG_CTX_SIZE": "256"})
    assert run.healthy()
    assert run.contexts() == [256]
    environment = {"LLAMA_ARG_CTX_SIZE": "256"}
    assert build.guard(["--port", "1", *ONE], environment=environment) == ["setting-in-environment"]


@shows("model-from-network")
def model_from_network(build: Build) -> None:
    asked: list[str] = []

    class Publisher(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Publisher) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/model.gguf"
        run = build.head(*ONE, "--model", str(build.place / "fetched.gguf"), "--model-url", url)
        assert run.ended() != 0
        server.shutdown()
    assert "/model.gguf" in asked
    assert "model-from-network" in build.guard(["--port", "1", *ONE, "--model-url", url])


@shows("no-port")
def no_port(build: Build) -> None:
    run = build.head(*ONE, port=0)
    # No connection is made, because it would block the port for a minute.
    assert run.says("http://127.0.0.1:8080")
    assert not build.is_new or run.says("will be changed to :9931")
    assert build.guard(list(ONE)) == ["no-port"]


def pair(build: Build) -> list[str]:
    """Create a certificate of one day, and return the words for it and its key."""
    openssl.self_signed(build.place, "herd.inference", "guard", "IP:127.0.0.1", 1)
    return ["--ssl-cert-file", str(build.place / "certificate"), "--ssl-key-file", str(build.place / "key")]


@shows("tls-by-half")
def tls_by_half(build: Build) -> None:
    for words in (pair(build)[:2], pair(build)[2:]):
        # The request is without TLS, and the head answers.
        assert build.head(*ONE, *words).healthy()
        assert build.guard(["--port", "1", *ONE, *words]) == ["tls-by-half"]


@shows("tls-not-built")
def tls_not_built(build: Build) -> None:
    run = build.head(*ONE, *pair(build))
    assert run.ended() == 1
    assert "built without SSL support" in run.log
    assert build.guard(["--port", "1", *ONE, *pair(build)]) == ["tls-not-built"]
