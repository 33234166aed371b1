# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A double of vLLM's command line, for tests without vLLM. It computes nothing.

It has vLLM's processes and titles (API server, EngineCore, a worker on each node), its log lines, ports, API and
answers, and it dies as vLLM 0.32 was seen to die: with exit status 0 once it was ready. Each token passes through all
processes of all nodes, so a stopped or killed one stops the answer as it does with vLLM.

The variable C(DOUBLE_VLLM) lists, with commas, how a run differs: C(load=SECONDS), C(config-error), C(unknown-option),
C(out-of-memory), C(no-completion), C(dies-at-first-request), C(worker-dies-loading).
"""

from __future__ import annotations

import argparse
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

TOKEN_S = 0.05
#: Python cannot name itself in a process that has another title.
PYTHON = str(Path("/proc/self/exe").resolve())
HOW = dict(part.partition("=")[::2] for part in os.environ.get("DOUBLE_VLLM", "").split(",") if part)
ENGINE, WORKER = "VLLM::EngineCore", "VLLM::Worker_TP"


def log(text: str, name: str = "APIServer") -> None:
    sys.stdout.write(f"({name} pid={os.getpid()}) INFO 11-29 12:00:00 [double.py:1] {text}\n")
    sys.stdout.flush()


def fail(text: str, name: str = "EngineCore") -> None:
    sys.stdout.write(f"({name} pid={os.getpid()}) ERROR 11-29 12:00:00 [double.py:1] {text}\n")
    sys.stdout.flush()


def parse(argv: list[str]) -> argparse.Namespace:
    found = argparse.ArgumentParser(prog="vllm")
    found.add_argument("command", choices=["serve"])
    found.add_argument("model")
    for option in ("--host", "--config", "--master-addr", "--dtype", "--quantization", "--limit-mm-per-prompt"):
        found.add_argument(option, default="")
    for option in ("--port", "--master-port", "--node-rank", "--max-model-len", "--max-num-seqs", "--seed"):
        found.add_argument(option, type=int, default=0)
    found.add_argument("--nnodes", type=int, default=1)
    found.add_argument("--tensor-parallel-size", type=int, default=1)
    found.add_argument("--distributed-timeout-seconds", type=int, default=1800)
    found.add_argument("--shutdown-timeout", type=int, default=0)
    found.add_argument("--gpu-memory-utilization", type=float)
    found.add_argument("--distributed-executor-backend")
    found.add_argument("--middleware", action="append")
    found.add_argument("--served-model-name", nargs="+", default=[])
    for option in ("--headless", "--disable-fastapi-docs", "--enforce-eager"):
        found.add_argument(option, action="store_true")
    return found.parse_args(argv)


class Link:
    """The next process of the chain: a token goes down and comes back."""

    def __init__(self, title: str, mode: str, given: argparse.Namespace) -> None:
        place = [given.master_addr, given.master_port, given.nnodes, given.node_rank, given.distributed_timeout_seconds]
        self.process = subprocess.Popen(
            [title, "-S", __file__, mode, *map(str, place)],
            executable=PYTHON,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._down, self._up = self.process.stdin, self.process.stdout
        self._lock = threading.Lock()

    def is_loaded(self) -> bool:
        """Wait until the processes below are ready; say whether they are."""
        return self._up.readline() == b"t\n"

    def token(self) -> bool:
        """Pass a token through; say whether it came back."""
        with self._lock, suppress(OSError):
            self._down.write(b"t\n")
            self._down.flush()
            return self._up.readline() == b"t\n"
        return False


def say(text: str, name: str) -> None:
    """Log from a process whose standard output is the chain."""
    sys.stderr.write(f"({name} pid={os.getpid()}) {text}\n")
    sys.stderr.flush()


def answer() -> None:
    sys.stdout.buffer.write(b"t\n")
    sys.stdout.buffer.flush()


def connect_ranks(address: str, port: int, nodes: int, rank: int, timeout_s: float) -> list[socket.socket]:
    """Meet the workers of the other nodes as torch's store does: rank 0 binds all addresses and waits."""
    name = f"Worker_TP{rank}"
    if rank:
        until = time.monotonic() + timeout_s
        while True:
            try:
                return [socket.create_connection((address, port), 5)]
            except OSError:
                if time.monotonic() > until:
                    say(f"ERROR DistNetworkError: The client socket has timed out after {timeout_s:.0f}s", name)
                    sys.exit(1)
                time.sleep(0.1)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("", port))
    except OSError:
        say(
            "ERROR torch.distributed.DistNetworkError: The server socket has failed to listen on any local network "
            f"address. port: {port}, useIpv6: false, code: -98, name: EADDRINUSE",
            name,
        )
        sys.exit(1)
    listener.listen()
    listener.settimeout(timeout_s)
    try:
        return [listener.accept()[0] for _other in range(nodes - 1)]
    except OSError:
        say(f"ERROR DistStoreError: Timed out after {timeout_s:.0f} seconds waiting for clients.", name)
        sys.exit(1)


def work(argv: list[str]) -> int:
    """Be a worker: of rank 0 by its standard input, of another rank by the connection to rank 0's worker."""
    address, port, nodes, rank, timeout_s = argv[0], *map(int, argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    name = f"Worker_TP{rank}"
    peers = []
    if nodes > 1:
        say(f"INFO world_size={nodes} rank={rank} distributed_init_method=tcp://{address}:{port} backend=gloo", name)
        peers = connect_ranks(address, port, nodes, rank, timeout_s)
        say(f"INFO rank {rank} in world size {nodes} is assigned as DP rank 0, PP rank 0, TP rank {rank}", name)
    say("INFO Starting to load model double...", name)
    seconds = float(HOW.get("load") or 0.3)
    for shard in range(1, 5):
        time.sleep(seconds / 4)
        text = f"Loading safetensors checkpoint shards: {25 * shard:3d}% Completed | {shard}/4 [00:00<00:00]"
        if rank == 0:
            sys.stderr.write(f"\r{text}")
    sys.stderr.write("\n")
    if "out-of-memory" in HOW and rank == 0:
        say("ERROR torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 is full.", name)
        return 1
    say("INFO Loading weights took 0.30 seconds", name)
    answer()
    if rank:
        peers[0].settimeout(None)
        stream = peers[0].makefile("rwb")
        while stream.readline() == b"t\n":
            stream.write(b"t\n")
            stream.flush()
        # A worker whose rank 0 is gone stays for ever, as vLLM's does.
        while True:
            time.sleep(60)
    streams = [peer.makefile("rwb") for peer in peers]
    for peer in peers:
        peer.settimeout(None)
    while sys.stdin.buffer.readline() == b"t\n":
        for stream in streams:
            stream.write(b"t\n")
            stream.flush()
            if stream.readline() != b"t\n":
                say("ERROR Read error [127.0.0.2]:1234: Connection reset by peer", name)
                return 1
        answer()
    return 0


def core(argv: list[str]) -> int:
    """Be the EngineCore, between the API server and the worker of rank 0."""
    signal.signal(signal.SIGTERM, lambda *_: None)
    given = argparse.Namespace(master_addr=argv[0], master_port=argv[1], nnodes=argv[2])
    given.node_rank, given.distributed_timeout_seconds = argv[3], argv[4]
    say(f"INFO DP group leader: node_rank=0, master_addr={argv[0]}, world_size={argv[2]}", "EngineCore")
    worker = Link(f"{WORKER}0", "worker", given)
    if not worker.is_loaded():
        say("ERROR RuntimeError: Engine core initialization failed. See root cause above.", "EngineCore")
        return 1
    say("INFO init engine (profile, create kv cache, warmup model) took 0.10 s", "EngineCore")
    answer()
    while sys.stdin.buffer.readline() == b"t\n":
        if not worker.token():
            say("ERROR EngineCore encountered a fatal error.", "EngineCore")
            return 1
        answer()
    worker.process.kill()
    return 0


class Api(http.server.ThreadingHTTPServer):
    """vLLM's API. It binds its port at the start and listens when the engine is ready."""

    daemon_threads = True

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.is_dead, self.running, self.tokens = given, False, 0, 0
        self.engine: Link
        text = Path(given.config).read_text(encoding="ascii") if given.config else "api-key: null"
        self.key = json.loads(text.partition(":")[2])
        super().__init__((given.host, given.port), Handler, bind_and_activate=False)
        self.server_bind()

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = self.given.host, self.given.port


class Handler(http.server.BaseHTTPRequestHandler):
    server: Api
    protocol_version = "HTTP/1.1"

    def log_message(self, *_arguments: object) -> None:
        """Log no requests."""

    def _send(self, status: int, body: object) -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _is_known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {self.server.key}"

    def do_GET(self) -> None:
        if self.path == "/health":
            self._send(503 if self.server.is_dead else 200, "")
        elif not self._is_known():
            self._send(401, {"error": "Unauthorized"})
        elif self.path == "/v1/models":
            self._send(200, {"data": [{"id": name} for name in self.server.given.served_model_name]})
        elif self.path == "/metrics":
            lines = (
                f'vllm:generation_tokens_total{{engine="0",model_name="m"}} {self.server.tokens}.0',
                f'vllm:num_requests_running{{engine="0",model_name="m"}} {self.server.running}.0',
                'vllm:num_requests_waiting{engine="0",model_name="m"} 0.0',
            )
            self._send(200, "\n".join(lines) + "\n")
        else:
            self._send(404, {"error": "Not Found"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        if not self._is_known():
            self._send(401, {"error": "Unauthorized"})
            return
        if "no-completion" in HOW:
            self._send(500, {"error": {"message": "InvalidCxxCompiler", "code": 500}})
            return
        if "dies-at-first-request" in HOW:
            self.server.engine.process.kill()
        self.server.running += 1
        try:
            self._generate(body)
        finally:
            self.server.running -= 1

    def _generate(self, body: dict[str, Any]) -> None:
        count, is_stream = int(body.get("max_tokens") or 16), bool(body.get("stream"))
        if is_stream:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
        for index in range(count):
            if not self.server.engine.token():
                error = {"error": {"message": "EngineCore encountered an issue.", "code": 500}}
                if is_stream:
                    self.wfile.write(f"data: {json.dumps(error)}\n\ndata: [DONE]\n\n".encode())
                else:
                    self._send(500, error)
                return
            self.server.tokens += 1
            if is_stream:
                self.wfile.write(f'data: {{"choices":[{{"index":{index},"text":"t"}}]}}\n\n'.encode())
                self.wfile.flush()
            time.sleep(TOKEN_S)
        if is_stream:
            self.wfile.write(b"data: [DONE]\n\n")
        else:
            self._send(200, {"choices": [{"text": "t" * count}]})


def headless(given: argparse.Namespace) -> int:
    """Be the parent of a further node's worker."""
    place = f"{given.master_addr}:{given.master_port}"
    log(
        f"Launching vLLM (v0.32.0) headless multiproc executor, with head node address {place} for torch", "MainProcess"
    )
    worker = Link(f"{WORKER}{given.node_rank}", "worker", given)

    def leave(*_arguments: object) -> None:
        worker.process.kill()
        os._exit(0)

    signal.signal(signal.SIGTERM, leave)
    if not worker.is_loaded():
        return 1
    status = worker.process.wait()
    fail(f"Worker proc VllmWorker-1 died unexpectedly (exit code: {status}), shutting down executor.", "MainProcess")
    time.sleep(0.5)
    return 0


def serve(given: argparse.Namespace) -> int:
    """Be the API server of rank 0."""
    api = Api(given)
    engine = api.engine = Link(ENGINE, "core", given)
    drain = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: drain.set())
    if "worker-dies-loading" in HOW:
        # Its parent does not watch it before it is ready. On a busy machine, the worker starts late.
        children = Path(f"/proc/{engine.process.pid}/task/{engine.process.pid}/children")
        while not (workers := children.read_text().split()):
            time.sleep(0.02)
        for worker in workers:
            os.kill(int(worker), signal.SIGKILL)
    if not engine.is_loaded():
        fail("RuntimeError: Engine core initialization failed. See root cause above.", "APIServer")
        return 1
    log(f"Starting vLLM server on http://{given.host}:{given.port}")
    api.server_activate()
    threading.Thread(target=api.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    log("Application startup complete.")
    while not drain.is_set():
        if engine.process.poll() is not None:
            api.is_dead = True
            fail("EngineDeadError: EngineCore encountered an issue. See stack trace (above).", "APIServer")
            time.sleep(0.5)
            return 0
        drain.wait(0.05)
    mode = "drain" if given.shutdown_timeout else "abort"
    log(f"[shutdown] API server: start mode={mode} timeout={given.shutdown_timeout}s")
    api.socket.close()
    until = time.monotonic() + given.shutdown_timeout
    while api.running and time.monotonic() < until:
        time.sleep(0.05)
    engine.process.kill()
    while api.running:
        # vLLM waits for its clients for ever now.
        time.sleep(1)
    log("request processing complete")
    return 0


def main(argv: list[str]) -> int:
    if argv and argv[0] == "worker":
        return work(argv[1:])
    if argv and argv[0] == "core":
        return core(argv[1:])
    if "unknown-option" in HOW:
        sys.stderr.write("usage: vllm serve\nvllm: error: unrecognized arguments: --no-such-flag\n")
        return 2
    given = parse(argv)
    log(f"non-default args: {{'model': '{given.model}', 'api_key': '***'}}")
    if "config-error" in HOW:
        sys.stderr.write(
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
            "  Value error, User-specified max_model_len (4096) is greater than the derived max_model_len "
            "(max_position_embeddings=2048). [type=value_error]\n"
        )
        return 1
    log("Resolved architecture: LlamaForCausalLM")
    return headless(given) if given.headless else serve(given)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
