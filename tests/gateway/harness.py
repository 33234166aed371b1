# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a gateway on this machine: nginx with the role's templates, the installed herdctl, and engines."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import yaml

from ansible_collections.herd.inference.plugins.module_utils.core.gateway import user_keys
from tests.engine.builds import binaries
from tests.engine.flag_runs import NEW, free_port, listens
from tests.gateway.venv import gateway_python
from tests.installed import install_herdctl
from tests.models.lab_model import lab_model_file

ROOT = Path(__file__).parents[2]
ROLE = ROOT / "roles" / "gateway"
#: What herdctl's other commands run with; nodes may have one as old as 3.9.
NODE_PYTHON = os.environ.get("HERD_NODE_PYTHON") or sys.executable
#: Seconds until the gateway knows what the tier manager has written, on a machine that has a core for each process.
SEEN_S = 0.15
ENGINE_KEY = "engine-key-of-the-tests"
FAST_MODEL, REASONING_MODEL = "small-one", "large-one"
USERS: dict[str, dict[str, Any]] = {
    "ann": {"key": "herd-key-of-ann", "limits": "roomy"},
    "bob": {"key": "herd-key-of-bob", "limits": "narrow"},
    "rob": {"key": "herd-key-of-rob", "limits": "narrow"},
    "sam": {"key": "herd-key-of-sam", "limits": "narrow"},
    "eve": {"key": "herd-key-of-eve", "state": "revoked"},
    "old": {"key": "herd-key-of-old", "expires": 1000.0},
    "fay": {"key": "herd-key-of-fay", "tiers": ["fast"], "limits": "roomy"},
    "meg": {"key": "herd-key-of-meg", "limits": "one"},
    "lee": {"key": "herd-key-of-lee", "limits": "roomy"},
}
LIMITS = {
    "default": {"requests_per_minute": 120, "burst": 30, "concurrency": 8},
    "roomy": {"requests_per_minute": 0, "burst": 1, "concurrency": 0},
    "narrow": {"requests_per_minute": 6, "burst": 3, "concurrency": 8},
    "one": {"requests_per_minute": 0, "burst": 1, "concurrency": 1},
}
TASKS = {
    "schema": 1,
    "types": {
        "fix": {"tier": "fast", "model": FAST_MODEL, "why": "It is quick."},
        "borrowing": {"tier": "reasoning", "model": REASONING_MODEL, "why": "It thinks."},
    },
    "default": None,
}
MAIN = """
{user}
daemon off;
worker_processes 2;
pid {root}/nginx.pid;
error_log {root}/error.log warn;
worker_rlimit_nofile 4096;
events {{ worker_connections 1024; }}
http {{
    client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
    access_log off;
    include {root}/etc/conf.d/*.conf;
}}
"""


def nginx_program() -> str:
    """Return the path of nginx; HERD_NGINX overrides it."""
    found = os.environ.get("HERD_NGINX") or shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert found, "nginx is needed: apt-get install nginx-light (it need not run), or name one in HERD_NGINX"
    return found


def render(given: Mapping[str, Any]) -> dict[str, str]:
    """Render the role's nginx files with these variables."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROLE / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["bool"] = bool
    values: dict[str, Any] = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text(encoding="utf-8"))
    # Without classes of the site, the role has the one class default, which lets no request wait.
    values.update({"_gateway_limits": {"default": {}}, **given})

    def resolve(value: Any) -> Any:
        if isinstance(value, str) and "{{" in value:
            return environment.from_string(value).render(values)
        if isinstance(value, list):
            return [resolve(each) for each in value]
        return value

    own = yaml.safe_load((ROLE / "vars" / "main.yml").read_text(encoding="utf-8"))
    for name in ("_gateway_refusals", "_gateway_openai_types", "_gateway_anthropic_types", "_gateway_exposed_headers"):
        values[name] = resolve(own[name])
    names = {"conf.d/herd.conf": "herd.conf.j2", "herd/gateway.nft": "gateway.nft.j2"}
    return {name: environment.get_template(template).render(values) for name, template in names.items()}


def wait_for(what: Callable[[], bool], text: str, limit: float = 20.0) -> None:
    """Wait for a condition."""
    end = time.monotonic() + limit
    while not what():
        assert time.monotonic() < end, f"{text} did not come about within {limit:g} seconds"
        time.sleep(0.02)


def wait_until_seen() -> None:
    """Wait until the gateway knows what the tier manager has written. On a busy machine, it looks less often."""
    time.sleep(SEEN_S * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))


@dataclass
class Engine:
    """A llama-server."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self, number: int = signal.SIGKILL) -> None:
        """End it."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)
        self.process.wait()


def other_host_addresses() -> tuple[str, str]:
    """Return the addresses of this machine and of a test's other host on the cable between: this process's own."""
    own = os.getpid()
    here, there = (f"198.18.{own >> 6 & 255}.{(own & 63) * 4 + end}" for end in (1, 2))
    return here, there


@dataclass
class Gateway:
    """A gateway in one folder, with everything that tests do to it."""

    root: Path
    ports: dict[str, int]
    herdctl: Path
    stack: ExitStack
    tiers: dict[str, dict[str, Any]] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    #: Former gateway processes, which finish their responses.
    former: list[subprocess.Popen[bytes]] = field(default_factory=list)
    fallback: dict[str, str] = field(default_factory=dict)
    sockets: list[socket.socket] = field(default_factory=list)
    clock_runs: bool = True
    is_silent: bool = False
    tasks: Mapping[str, Any] = field(default_factory=lambda: TASKS)
    #: Instead of one small model for each tier, what an inventory has.
    own_tiers: Sequence[Mapping[str, Any]] = ()

    @property
    def etc(self) -> Path:
        return self.root / "etc"

    @property
    def gateway_python(self) -> str:
        return str(gateway_python())

    @property
    def pid(self) -> int:
        """Return the process that serves."""
        return self.processes["gateway"].pid

    def memory(self, word: str = "VmRSS") -> int:
        """Return the memory of the process that serves, in MiB."""
        lines = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) // 1024 for line in lines if line.startswith(f"{word}:"))

    def url(self, tier: str = "fast", path: str = "/v1") -> str:
        return f"http://127.0.0.1:{self.ports[tier]}{path}"

    def write_tier_status(self) -> None:
        """Write what the tier manager writes."""
        data = {"schema": 1, "written": time.time(), "tiers": self.tiers}
        scratch = self.root / f"tiers.json.{threading.get_ident()}"
        scratch.write_text(json.dumps(data), encoding="utf-8")
        scratch.replace(self.root / "tiers.json")

    def keep_tier_status(self) -> None:
        while self.clock_runs:
            if not self.is_silent:
                self.write_tier_status()
            time.sleep(1)

    def entry(self, tier: str, port: int, models: Sequence[str] = (), **more: Any) -> dict[str, Any]:
        """Make an engine's entry of the registry."""
        return {
            "schema": 1,
            "tier": tier,
            "job_id": "1",
            "host": "lab",
            "address": "127.0.0.1",
            "port": port,
            "models": list(models),
            "state": "ready",
            "percent": 100,
            "context": 8192,
            "slots": 8,
            "release": "0c1e57098",
            "started": 1.0,
            "heartbeat": time.time(),
            **more,
        }

    def ready(self, tier: str, port: int, models: Sequence[str] = (), job: str = "1", **more: Any) -> None:
        """Report an engine as ready for a tier, and wait until the gateway has seen it."""
        entry = self.entry(tier, port, models, job_id=job, **more)
        self.tiers[tier] = {"enabled": True, "state": "ready", "reason": "ready", "endpoints": [entry]}
        self.write_tier_status()
        wait_until_seen()

    def unavailable(self, tier: str, state: str, reason: str, retry: int = 30, **more: Any) -> None:
        """Report a tier as unavailable, and wait until the gateway has seen it."""
        data = {"enabled": True, "state": state, "reason": reason, "retry_after_s": retry, "endpoints": [], **more}
        self.tiers[tier] = data
        self.write_tier_status()
        wait_until_seen()

    def write_keys(self, users: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Write the key file as the role does."""
        users = USERS if users is None else users
        entries = [
            {"id": name, "sha256": hashlib.sha256(str(user["key"]).encode()).hexdigest(), **user}
            for name, user in users.items()
        ]
        keys = user_keys.parse(entries, LIMITS, self.ports)
        scratch = self.root / "keys.json.new"
        scratch.write_text(json.dumps(user_keys.as_data(keys)), encoding="utf-8")
        scratch.replace(self.root / "keys.json")

    def start(self, name: str, argv: Sequence[str], files: Sequence[int] = (), **more: str) -> subprocess.Popen[bytes]:
        with (self.root / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, pass_fds=files, env={**os.environ, **more}
            )
        return self.processes[name]

    def stop(self, name: str, number: int = signal.SIGTERM) -> None:
        process = self.processes.pop(name, None)
        if process:
            process.send_signal(number)
            process.wait(30)

    def program(self, *words: str) -> list[str]:
        """Write a command of herdctl for this gateway."""
        return [NODE_PYTHON, "-I", "-u", str(self.herdctl), *words, "--config", str(self.root / "gateway.json")]

    def open_socket(self) -> None:
        """Open the socket as systemd does for herd-gateway.socket."""
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.bind(f"{self.root}/gateway.sock")
        made.listen(1024)
        self.sockets.append(self.stack.enter_context(made))

    def start_gateway(self, limit: float = 20.0, files: int = 0) -> None:
        """Start a gateway as systemd does, with the socket as its file 3, and wait until it says that it is ready.

        :param files: most files that it may have open; 0 for the machine's limit.
        """
        notify = self.root / f"notify-{time.monotonic_ns()}.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.bind(str(notify))
            told.setblocking(False)
            number = self.sockets[0].fileno()
            few = f"ulimit -n {files};" if files else ""
            shell = few + 'exec 3<&"$0"; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"'
            argv = [self.gateway_python, *self.program("gateway")[1:]]
            self.start("gateway", ["bash", "-c", shell, str(number), *argv], (number,), NOTIFY_SOCKET=str(notify))
            wait_for(lambda: self._is_ready(told), "the gateway", limit)

    def _is_ready(self, told: socket.socket) -> bool:
        assert self.processes["gateway"].poll() is None, self.log("gateway")[-2000:]
        with suppress(BlockingIOError):
            return b"READY=1" in told.recv(4096)
        return False

    def restart_gateway(self) -> None:
        """Restart it as a deploy does: the next instance starts at the same socket, then the former one is stopped."""
        former = self.processes.pop("gateway", None)
        self.start_gateway()
        if former:
            former.send_signal(signal.SIGTERM)
            self.former.append(former)

    def reload_nginx(self) -> None:
        subprocess.run(self.nginx("-s", "reload"), check=True, capture_output=True)

    def nginx(self, *words: str) -> list[str]:
        return [nginx_program(), "-p", str(self.root), "-c", str(self.etc / "nginx.conf"), *words]

    def start_nginx(self) -> None:
        self.start("nginx", self.nginx())
        wait_for(lambda: all(map(listens, self.ports.values())), "nginx")

    def log(self, name: str) -> str:
        path = self.root / f"{name}.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def access(self) -> list[dict[str, Any]]:
        """Return the lines of the gateway's access log."""
        return [json.loads(line) for line in self.log("access").splitlines()]

    def refused(self) -> list[dict[str, Any]]:
        """Return the lines of requests that nginx itself has answered."""
        return [json.loads(line) for line in self.log("nginx-own").splitlines()]

    def configure(self, **more: Any) -> None:
        """Write the files that the role writes."""
        tiers: list[dict[str, Any]] = [
            {"name": "fast", "kind": "router", "port": self.ports["fast"], "models": [FAST_MODEL]},
            {"name": "reasoning", "kind": "distributed", "port": self.ports["reasoning"], "models": [REASONING_MODEL]},
        ]
        if self.own_tiers:
            own_key = f"{self.root}/engine-key"
            tiers = [{**tier, "port": self.ports[tier["name"]], "engine_key": own_key} for tier in self.own_tiers]
        given = {
            "gateway_nginx_root": str(self.etc),
            "gateway_socket": f"{self.root}/gateway.sock",
            "gateway_nginx_log": f"{self.root}/nginx-own.log",
            "gateway_addresses": ["127.0.0.1"],
            "gateway_client_timeout": 3,
            "gateway_header_timeout": 3,
            "_gateway_limits": LIMITS,
            "_gateway_tiers": tiers,
            **more,
        }
        for name, text in render(given).items():
            (self.etc / name).parent.mkdir(parents=True, exist_ok=True)
            (self.etc / name).write_text(text, encoding="utf-8")
        # Files of tests are the user's own.
        user = "user root;" if os.geteuid() == 0 else ""
        (self.etc / "nginx.conf").write_text(MAIN.format(root=self.root, user=user), encoding="utf-8")
        settings = {
            "schema": 1,
            "tiers": [
                {
                    "keys": [],
                    "engine_key": f"{self.root}/engine-key",
                    **tier,
                    "fallback": self.fallback.get(tier["name"], ""),
                }
                for tier in tiers
            ],
            "limits": LIMITS,
            "tasks": self.tasks,
            "keys": f"{self.root}/keys.json",
            "revoked": f"{self.root}/revoked.json",
            "tier_status": f"{self.root}/tiers.json",
            "registry": f"{self.root}/endpoints",
            "engine_hosts": ["127.0.0.1", *other_host_addresses()],
            "max_body": 32 << 20,
            "body_memory": 256 << 20,
            "retry_after": 5,
            "connect_timeout": 3,
            "read_timeout": 7200,
            "queue_timeout": 600,
            "gpu_memory": {"target_from_gib": 26, "target_to_gib": 28, "critical_gib": 30},
            "drain_timeout": 600,
            "access_log": f"{self.root}/access.log",
            "usage": f"{self.root}/usage.sqlite3",
            "usage_days": 400,
        }
        (self.root / "gateway.json").write_text(json.dumps(settings), encoding="utf-8")
        (self.root / "engine-key").write_text(f"{ENGINE_KEY}\nspare\n", encoding="utf-8")
        (self.root / "endpoints").mkdir(exist_ok=True)

    def engine(self, alias: str, *words: str, port: int = 0, key: str = ENGINE_KEY) -> Engine:
        """Start an engine, and wait until it listens."""
        port = port or free_port()
        log = self.root / f"engine-{port}.log"
        keys = self.root / f"keys-{port}"
        keys.write_text(f"{key}\n", encoding="utf-8")
        server = str(binaries(NEW) / "llama-server")
        argv = [server, "--host", "127.0.0.1", "--port", str(port), "--api-key-file", str(keys), "-t", "1", *words]
        if alias:
            argv += ["-m", str(lab_model_file()), "--alias", alias, "-c", "8192", "--metrics", "--no-warmup"]
        with log.open("wb") as out:
            process = subprocess.Popen(argv, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        engine = Engine(port, process, log)
        self.stack.callback(engine.stop)
        wait_for(lambda: "listening on http" in log.read_text(errors="replace"), f"the engine ({log})", 60)
        return engine

    def router(self, *names: str) -> Engine:
        """Start a router, which loads models on demand."""
        preset = self.root / "models.ini"
        sections = "".join(f"[{name}]\nmodel = {lab_model_file()}\nctx-size = 4096\nthreads = 1\n" for name in names)
        preset.write_text(f"version = 1\n{sections}", encoding="utf-8")
        return self.engine("", "--models-preset", str(preset), "--models-max", "1")


@contextmanager
def gateway(root: Path, **more: Any) -> Iterator[Gateway]:
    """A gateway whose tiers are both unavailable."""
    with ExitStack() as stack:
        made = Gateway(root, {"fast": free_port(), "reasoning": free_port()}, install_herdctl(root / "herd"), stack)
        made.fallback = more.pop("fallback", {})
        made.tasks = more.pop("tasks", TASKS)
        made.own_tiers = more.pop("own_tiers", ())
        made.configure(**more)
        made.write_keys()
        made.unavailable("fast", "stopped", "stopped by the tests")
        made.unavailable("reasoning", "stopped", "stopped by the tests")
        beat = threading.Thread(target=made.keep_tier_status, daemon=True)
        beat.start()

        def end() -> None:
            made.clock_runs = False
            beat.join()
            for former in made.former:
                former.kill()
                former.wait()
            for name in list(made.processes):
                made.stop(name, signal.SIGKILL if name == "gateway" else signal.SIGTERM)

        stack.callback(end)
        made.open_socket()
        made.start_gateway()
        made.start_nginx()
        yield made
