# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start the real engine on the loopback interface with the words that the flag guard inspects."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.engine.command_line import CommandLine
from ansible_collections.herd.inference.plugins.module_utils.core.engine.flags import guard as flag_guard
from ansible_collections.herd.inference.plugins.module_utils.core.engine.flags.subject import EngineBuild, Subject
from ansible_collections.herd.inference.plugins.module_utils.core.engine.help_flags import accepted_flags
from tests.lab.naming import Places

OLD, NEW = "b7836", "0c1e57098"
WORKERS = {OLD: "rpc-server", NEW: "ggml-rpc-server"}
# Below the kernel's ephemeral ports, so that no recent connection holds one of them.
_PORTS = iter(range(21000 + os.getpid() % 400 * 20, 32000))


def cache() -> Path:
    """Return the directory that keeps builds and models between runs."""
    return Places.of(os.environ).cache


def free_port() -> int:
    """Return a free port that this run has not used."""
    for port in _PORTS:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no port left")


def listens(port: int) -> bool:
    """Return whether a process listens. The kernel's table is read, because a worker takes one connection only."""
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in lines)


def get(
    port: int, path: str, body: Mapping[str, Any] | None = None, limit: float = 20, key: str = ""
) -> tuple[int, Any]:
    """Return status and JSON of an answer."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers)
    try:
        with urllib.request.urlopen(request, timeout=limit) as answer:
            return int(answer.status), json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"{}")


@dataclass
class Run:
    """A process and its log."""

    process: subprocess.Popen[bytes]
    log_path: Path
    port: int

    @property
    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def ended(self, limit: float = 20) -> int:
        """Return the exit status; a signal is negative."""
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it was to end, and runs after {limit} s:\n{self.log[-2000:]}") from None

    def healthy(self, limit: float = 30) -> bool:
        """Return whether /health becomes 200 before the process ends."""
        end = time.monotonic() + limit
        while time.monotonic() < end and self.process.poll() is None:
            try:
                if get(self.port, "/health", limit=1)[0] == 200:
                    return True
            except OSError:
                pass
            time.sleep(0.03)
        return False

    def says(self, words: str, limit: float = 20) -> bool:
        """Return whether these words appear in the log before the process ends."""
        end = time.monotonic() + limit
        while time.monotonic() < end and words not in self.log and self.process.poll() is None:
            time.sleep(0.03)
        return words in self.log

    def listening(self, limit: float = 10) -> bool:
        """Return whether the worker listens before it ends."""
        end = time.monotonic() + limit
        while time.monotonic() < end and self.process.poll() is None:
            if listens(self.port):
                return True
            time.sleep(0.02)
        return False

    def answers(self, prompt: str = "hello") -> int:
        """Return the status of a completion."""
        return get(self.port, "/completion", {"prompt": prompt, "n_predict": 2})[0]

    def contexts(self) -> list[int]:
        """Return the cells of each slot."""
        return [slot["n_ctx"] for slot in get(self.port, "/slots")[1]]


@dataclass
class RouterRun(Run):
    """A router and its log."""

    key: str = ""

    def chat(self, model: str, limit: float = 30, tokens: int = 2) -> int:
        """Return the status of a model's chat completion."""
        body = {"model": model, "max_tokens": tokens, "messages": [{"role": "user", "content": "hello"}]}
        return get(self.port, "/v1/chat/completions", body, limit, self.key)[0]

    def models(self) -> dict[str, dict[str, Any]]:
        """Return the router's models by id."""
        return {model["id"]: model for model in get(self.port, "/models", key=self.key)[1]["data"]}

    def states(self) -> dict[str, str]:
        """Return the state of each model."""
        return {name: model["status"]["value"] for name, model in self.models().items()}

    def told(self, model: str) -> list[str]:
        """Return the command line of a model's process."""
        return [str(word) for word in self.models()[model]["status"]["args"]]

    def becomes(self, model: str, state: str, limit: float = 20) -> bool:
        """Return whether a model reaches this state."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if self.states()[model] == state:
                return True
            time.sleep(0.05)
        return False


@dataclass
class Build:
    """One release on this machine."""

    release: str
    binaries: Path
    model: Path
    place: Path
    _stack: ExitStack = field(default_factory=ExitStack)

    @property
    def is_new(self) -> bool:
        return self.release == NEW

    @cached_property
    def engine(self) -> EngineBuild:
        return self._engine("llama-server")

    def _engine(self, program: str) -> EngineBuild:
        told = subprocess.run([str(self.binaries / program), "--help"], capture_output=True, text=True, check=False)
        return EngineBuild(frozenset(accepted_flags(told.stdout + told.stderr)))

    def guard(self, words: Sequence[str], program: str = "head", **known: Any) -> list[str]:
        """Return the ids of the rules that these words break."""
        is_worker = program == "worker"
        engine = self._engine(WORKERS[self.release]) if is_worker else self.engine
        subject = Subject(program, CommandLine(words, is_worker), engine, **known)
        return [finding.rule for finding in flag_guard.inspect(subject)]

    def _start(self, argv: Sequence[str], port: int, environment: Mapping[str, str] | None = None) -> Run:
        path = self.place / f"{self.release}-{port}-{time.monotonic_ns()}.log"
        base = {"PATH": os.environ["PATH"], "HOME": str(self.place)} if environment is None else dict(environment)
        with path.open("wb") as stream:
            process = subprocess.Popen(
                argv,
                stdout=stream,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                # A crash would start a debugger otherwise.
                env={"GGML_NO_BACKTRACE": "1", **base},
            )
        self._stack.callback(self._stop, process)
        return Run(process, path, port)

    @staticmethod
    def _stop(process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self, run: Run) -> None:
        """Stop a run early, and free its workers."""
        run.process.terminate()
        run.process.wait(20)

    def lacks_volta(self, architectures: str) -> bool:
        """Return the findings for a build of these architectures with a V100."""
        engine = replace(self.engine, cuda=True, architectures=tuple(architectures.split(";")))
        words = ["--port", "1", "--parallel", "1", "--fit", "off"]
        subject = Subject("head", CommandLine(words), engine, capabilities=("7.0",))
        return [finding.rule for finding in flag_guard.inspect(subject)] == ["volta-code-missing"]

    def head(self, *words: str, port: int | None = None, environment: Mapping[str, str] | None = None) -> Run:
        """Start a head with the small model. Port 0 omits --port."""
        chosen = free_port() if port is None else port
        argv = [str(self.binaries / "llama-server"), "--model", str(self.model), "--host", "127.0.0.1"]
        argv += [*(["--port", str(chosen)] if chosen else []), "--threads", "1", "--no-warmup", *words]
        home = {"PATH": os.environ["PATH"], "HOME": str(self.place), **(environment or {})}
        return self._start(argv, chosen or 8080, home)

    def preset(self, name: str, *words: str, model: Path | None = None) -> str:
        """Compose a section of a preset file."""
        lines = [f"[{name}]", f"model = {model or self.model}", "threads = 1"]
        for argument in CommandLine(words).arguments:
            lines.append(f"{argument.flag.lstrip('-')} = {argument.value or 'true'}")
        return "\n".join(lines) + "\n"

    def broken(self) -> Path:
        """Write a truncated file."""
        path = self.place / "broken.gguf"
        path.write_bytes(self.model.read_bytes()[:100_000])
        return path

    def router(self, presets: str, *words: str, environment: Mapping[str, str] | None = None) -> RouterRun:
        """Start a router with these presets."""
        port = free_port()
        path = self.place / f"presets-{port}.ini"
        path.write_text(presets, encoding="utf-8")
        argv = [str(self.binaries / "llama-server"), "--models-preset", str(path), "--host", "127.0.0.1"]
        home = {"PATH": os.environ["PATH"], "HOME": str(self.place), **(environment or {})}
        run = self._start([*argv, "--port", str(port), *words], port, home)
        return RouterRun(run.process, run.log_path, port)

    def worker(self, *words: str, environment: Mapping[str, str] | None = None) -> Run:
        """Start a worker with these words."""
        found = re.search(r"-p (\d+)", " ".join(words))
        return self._start(
            [str(self.binaries / WORKERS[self.release]), *words], int(found[1]) if found else 0, environment
        )

    def workers(self, count: int) -> list[str]:
        """Start workers, and return their endpoints."""
        endpoints = []
        for _each in range(count):
            port = free_port()
            run = self.worker("-H", "127.0.0.1", "-p", str(port), "-t", "1")
            assert run.listening(), run.log
            endpoints.append(f"127.0.0.1:{port}")
        return endpoints

    def bench(self, *words: str) -> str:
        """Return the output of llama-bench."""
        argv = [str(self.binaries / "llama-bench"), "-m", str(self.model), "-p", "8", "-n", "0", "-r", "1", "-t", "1"]
        told = subprocess.run([*argv, *words], capture_output=True, text=True, check=True, timeout=60)
        return told.stdout

    @contextmanager
    def session(self) -> Iterator[Build]:
        """Stop everything that was started when the block ends."""
        with self._stack:
            yield self
