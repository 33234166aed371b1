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
from tests.installed import install_herdctl
from tests.models.lab_model import lab_model_file

ROOT = Path(__file__).parents[2]
ROLE = ROOT / "roles" / "gateway"
#: What herdctl runs with; nodes may have one as old as 3.9.
NODE_PYTHON = os.environ.get("HERD_NODE_PYTHON") or sys.executable
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
    values.update(given)

    def resolve(value: Any) -> Any:
        if isinstance(value, str) and "{{" in value:
            return environment.from_string(value).render(values)
        if isinstance(value, list):
            return [resolve(each) for each in value]
        return value

    own = yaml.safe_load((ROLE / "vars" / "main.yml").read_text(encoding="utf-8"))
    values["_gateway_refusals"] = resolve(own["_gateway_refusals"])
    values["_gateway_kinds"] = own["_gateway_kinds"]
    names = {"conf.d/herd.conf": "herd.conf.j2", "herd/locations.conf": "locations.conf.j2"}
    names["herd/taken.conf"] = "taken.conf.j2"
    names["herd/cors.conf"] = "cors.conf.j2"
    names["herd/gateway.nft"] = "gateway.nft.j2"
    return {name: environment.get_template(template).render(values) for name, template in names.items()}


def wait_for(what: Callable[[], bool], text: str, limit: float = 20.0) -> None:
    """Wait for a condition."""
    end = time.monotonic() + limit
    while not what():
        assert time.monotonic() < end, f"{text} did not come about within {limit:g} seconds"
        time.sleep(0.02)


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


@dataclass
class Gateway:
    """A gateway in one folder, with everything that tests do to it."""

    root: Path
    ports: dict[str, int]
    herdctl: Path
    stack: ExitStack
    tiers: dict[str, dict[str, Any]] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    fallback: dict[str, str] = field(default_factory=dict)
    sockets: list[socket.socket] = field(default_factory=list)
    clock_runs: bool = True
    is_silent: bool = False
    watch_streams: bool = True
    tasks: Mapping[str, Any] = field(default_factory=lambda: TASKS)
    #: Instead of one small model for each tier, what an inventory has.
    own_tiers: Sequence[Mapping[str, Any]] = ()

    @property
    def etc(self) -> Path:
        return self.root / "etc"

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

    def ready(self, tier: str, port: int, models: Sequence[str] = (), job: str = "1", started: float = 1.0) -> None:
        """Report an engine as ready for a tier."""
        entry = {
            "schema": 1,
            "tier": tier,
            "job_id": job,
            "host": "lab",
            "address": "127.0.0.1",
            "port": port,
            "models": list(models),
            "state": "ready",
            "percent": 100,
            "context": 8192,
            "slots": 1,
            "release": "0c1e57098",
            "started": started,
            "heartbeat": time.time(),
        }
        self.tiers[tier] = {"enabled": True, "state": "ready", "reason": "ready", "endpoints": [entry]}
        self.write_tier_status()

    def unavailable(self, tier: str, state: str, reason: str, retry: int = 30, **more: Any) -> None:
        """Report a tier as unavailable."""
        data = {"enabled": True, "state": state, "reason": reason, "retry_after_s": retry, "endpoints": [], **more}
        self.tiers[tier] = data
        self.write_tier_status()

    def write_keys(self, users: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Write the key file as the role does."""
        users = USERS if users is None else users
        entries = [
            {"id": name, "sha256": hashlib.sha256(str(user["key"]).encode()).hexdigest(), **user}
            for name, user in (USERS if users is None else users).items()
        ]
        keys = user_keys.parse(entries, LIMITS, self.ports)
        scratch = self.root / "keys.json.new"
        scratch.write_text(json.dumps(user_keys.as_data(keys)), encoding="utf-8")
        scratch.replace(self.root / "keys.json")

    def start(self, name: str, argv: Sequence[str], files: Sequence[int] = ()) -> subprocess.Popen[bytes]:
        with (self.root / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, pass_fds=files
            )
        return self.processes[name]

    def stop(self, name: str, number: int = signal.SIGTERM) -> None:
        process = self.processes.pop(name, None)
        if process:
            process.send_signal(number)
            process.wait(30)

    def program(self, *words: str) -> list[str]:
        return [NODE_PYTHON, "-I", "-u", str(self.herdctl), *words, "--config", str(self.root / "gateway.json")]

    def open_sockets(self) -> None:
        """Open the sockets as systemd does for herd-gateway.socket."""
        for name, kind in (("gateway", socket.SOCK_STREAM), ("log", socket.SOCK_DGRAM)):
            made = socket.socket(socket.AF_UNIX, kind)
            made.bind(f"{self.root}/{name}.sock")
            if kind == socket.SOCK_STREAM:
                made.listen(1024)
            self.sockets.append(self.stack.enter_context(made))

    def start_gateway(self) -> None:
        """Start the gateway as systemd does, with the sockets as its files 3 and 4."""
        said = self.log("gateway").count("gateway ready")
        numbers = [made.fileno() for made in self.sockets]
        shell = 'exec 3<&"$0" 4<&"$1"; shift; LISTEN_FDS=2 LISTEN_PID=$$ exec "$@"'
        argv = ["bash", "-c", shell, *map(str, numbers), *self.program("gateway")]
        self.start("gateway", argv, tuple(numbers))
        wait_for(lambda: self.log("gateway").count("gateway ready") > said, "the gateway")

    def restart_gateway(self) -> None:
        """Restart it as systemd does: only the parent gets a signal, and the next process has the same sockets."""
        self.stop("gateway")
        self.start_gateway()

    def reload_nginx(self) -> None:
        subprocess.run(self.nginx("-s", "reload"), check=True, capture_output=True)

    def start_upstreams(self) -> None:
        self.start("upstreams", self.program("upstreams"))

    def nginx(self, *words: str) -> list[str]:
        return [nginx_program(), "-p", str(self.root), "-c", str(self.etc / "nginx.conf"), *words]

    def start_nginx(self) -> None:
        self.start("nginx", self.nginx())
        wait_for(lambda: all(map(listens, self.ports.values())), "nginx")

    def log(self, name: str) -> str:
        path = self.root / f"{name}.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def access(self) -> list[dict[str, Any]]:
        """The lines of the access log."""
        return [json.loads(line) for line in self.log("access").splitlines()]

    def knows(self, tier: str, port: int) -> bool:
        """Return whether nginx's upstreams have an engine."""
        path = self.etc / "herd" / "upstreams.conf"
        return path.exists() and f"{tier}=127.0.0.1:{port}" in path.read_text(encoding="utf-8")

    def configure(self, **more: Any) -> None:
        """Write the files that the role writes."""
        tiers: list[dict[str, Any]] = [
            {"name": "fast", "kind": "router", "port": self.ports["fast"], "models": [FAST_MODEL]},
            {"name": "reasoning", "kind": "distributed", "port": self.ports["reasoning"], "models": [REASONING_MODEL]},
        ]
        if self.own_tiers:
            tiers = [{**tier, "port": self.ports[tier["name"]]} for tier in self.own_tiers]
        given = {
            "gateway_nginx_root": str(self.etc),
            "gateway_socket": f"{self.root}/gateway.sock",
            "gateway_log_socket": f"{self.root}/log.sock",
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
        reload = self.nginx("-s", "reload")
        settings = {
            "schema": 1,
            "tiers": [{"keys": [], **tier, "fallback": self.fallback.get(tier["name"], "")} for tier in tiers],
            "limits": LIMITS,
            "tasks": self.tasks,
            "keys": f"{self.root}/keys.json",
            "revoked": f"{self.root}/revoked.json",
            "tier_status": f"{self.root}/tiers.json",
            "registry": f"{self.root}/endpoints",
            "engine_key": f"{self.root}/engine-key",
            "max_body": 8 << 20,
            "retry_after": 5,
            "access_log": f"{self.root}/access.log",
            "watch_streams": self.watch_streams,
            "cors_origins": more.get("gateway_cors_origins", []),
            "nginx": {"root": str(self.etc), "test": [nginx_program(), "-p", str(self.root)], "reload": reload},
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
        made.watch_streams = more.pop("watch_streams", True)
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
            for name in list(made.processes):
                made.stop(name, signal.SIGKILL if name == "upstreams" else signal.SIGTERM)

        stack.callback(end)
        once = subprocess.run([*made.program("upstreams"), "--once"], capture_output=True, text=True, check=False)
        # nginx does not run yet, so that it cannot be told; the files are there.
        assert made.knows("fast", 0) or (made.etc / "herd" / "upstreams.conf").exists(), once.stderr
        made.open_sockets()
        made.start_gateway()
        made.start_nginx()
        made.start_upstreams()
        yield made
