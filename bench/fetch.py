"""Compare gguf_fetch with the commands that a user would type instead; write the figures as JSON and as a page.

    .venv/bin/python bench/fetch.py [--mib 4096] [--rounds 3] [--only NAME …]

nginx on this machine serves a model in two byte parts over loopback. The time of a run includes the sync of its files.
Then all files are removed and the page cache is dropped, including the server's. The rounds are interleaved, and the
median counts. All contenders except C(curl) verify the sha256 of the file.

Peak disk is the largest space of a run's files (st_blocks, read every 20 ms). Memory is the largest resident set of one
process (wait4). Missing tools are installed with apt, and huggingface_hub into a virtual environment.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shlex
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from tests.lab import requirements
from tests.lab.naming import Places
from tests.models.random_weights import opening

RESULTS = ROOT / "bench" / "results"
PAGE = ROOT / "docs" / "reference" / "fetch-speed.md"
CACHE = Places.of(os.environ).cache
FAST, SLOW = 18431, 18432
#: Of one connection of the slow server: 50 MB/s, in the kibibytes of nginx.
SLOW_RATE = f"{50_000_000 // 1024}k"
COMMIT = "0" * 40
PARTS = ("bench.gguf.part1of2", "bench.gguf.part2of2")
MIB = 1 << 20


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


# --- preparation


def hub_python() -> Path | None:
    """Create a virtual environment with huggingface_hub; None if that fails."""
    python = CACHE / "bench-hub" / "bin" / "python"
    if not python.exists():
        say("creating a virtual environment with huggingface_hub")
        subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=True)
        done = subprocess.run([str(python), "-m", "pip", "install", "-q", "huggingface_hub"], check=False)
        if done.returncode:
            shutil.rmtree(python.parents[1])
            return None
    return python


@dataclass(frozen=True)
class Model:
    """The two parts on the server's disk, and their checksums."""

    folder: Path
    size: int
    whole: str
    parts: tuple[str, str]


def make_model(folder: Path, mib: int) -> Model:
    """Write a model of random weights, which cannot be compressed."""
    folder.mkdir(parents=True)
    say(f"writing {mib} MiB")
    whole = hashlib.sha256()
    sums = []
    size = mib // 2 * 2 * MIB
    head = opening(size)
    for number, name in enumerate(PARTS):
        digest = hashlib.sha256()
        with (folder / name).open("wb") as stream:
            for index in range(mib // 2):
                data = os.urandom(MIB)
                data = head + data[len(head) :] if number == index == 0 else data
                stream.write(data)
                digest.update(data)
                whole.update(data)
            stream.flush()
            os.fsync(stream.fileno())
        sums.append(digest.hexdigest())
    return Model(folder, size, whole.hexdigest(), (sums[0], sums[1]))


CONFIG = """
daemon off;
master_process on;
worker_processes 2;
pid {run}/nginx.pid;
error_log {run}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 100000;
  client_body_temp_path {run}/body; proxy_temp_path {run}/proxy; fastcgi_temp_path {run}/fastcgi;
  uwsgi_temp_path {run}/uwsgi; scgi_temp_path {run}/scgi;
  server {{
    listen 127.0.0.1:{fast};
    root {folder};
    location ~ ^/herd/bench/resolve/[^/]+/(.+)$ {{
      alias {folder}/$1;
      add_header X-Repo-Commit {commit};
    }}
  }}
  server {{ listen 127.0.0.1:{slow}; root {folder}; limit_rate {rate}; }}
}}
"""


@contextmanager
def serving(folder: Path, run: Path) -> Iterator[None]:
    run.mkdir(parents=True)
    config = run / "nginx.conf"
    # nginx's workers may run as another user, and must be able to read the parts.
    for place in (folder, *folder.parents):
        if place.stat().st_uid == os.getuid() and not place.stat().st_mode & 0o001 and place != Path("/root"):
            place.chmod(place.stat().st_mode | 0o011)
    user = "user root;\n" if os.getuid() == 0 else ""
    config.write_text(user + CONFIG.format(run=run, folder=folder, fast=FAST, slow=SLOW, rate=SLOW_RATE, commit=COMMIT))
    nginx = subprocess.Popen(["nginx", "-c", str(config), "-e", str(run / "error.log")])
    try:
        deadline = time.monotonic() + 10
        while subprocess.run(["curl", "-sfI", url(PARTS[0])], stdout=subprocess.DEVNULL, check=False).returncode:
            if time.monotonic() > deadline or nginx.poll() is not None:
                raise SystemExit(f"bench: nginx does not answer: {(run / 'error.log').read_text()}")
            time.sleep(0.1)
        yield
    finally:
        nginx.terminate()
        nginx.wait(10)


def url(name: str, port: int = FAST) -> str:
    return f"http://127.0.0.1:{port}/{name}"


# --- the contenders

LAUNCHER = """
import json, sys
from ansible.module_utils.testing import patch_module_args
from ansible_collections.herd.inference.plugins.modules import gguf_fetch
with patch_module_args(json.load(sys.stdin)):
    gguf_fetch.main()
"""


@dataclass
class Contender:
    """One way to download the model.

    :ivar script: for sh in an empty directory; it must write the file C(one.gguf).
    :ivar given: the script's standard input.
    :ivar checked: whether the script verifies the bytes.
    """

    name: str
    script: str
    given: str = ""
    checked: bool = True
    env: dict[str, str] = field(default_factory=dict)


def ours(model: Model, port: int = FAST, connections: int = 8, parts: int = 2) -> Contender:
    """Run the module as a node does."""
    entries = [{"url": url(name, port), "sha256": sha256} for name, sha256 in zip(PARTS, model.parts, strict=True)]
    arguments: dict[str, Any] = {"dest": "@HERE@/one.gguf", "parts": entries[:parts], "connections": connections}
    if parts == 1:
        arguments = {"dest": "@HERE@/one.gguf", "url": entries[0]["url"], "sha256": entries[0]["sha256"]}
        arguments["connections"] = connections
        # A single byte part would be refused, so the slow server has it under another name.
        arguments["url"] = url("half.gguf", port)
    else:
        arguments["sha256"] = model.whole
    script = f"exec {shlex.quote(sys.executable)} -c {shlex.quote(LAUNCHER)}"
    env = {"PYTHONPATH": str(ROOT / "collections")}
    return Contender("gguf_fetch", script, json.dumps(arguments), env=env)


def contenders(model: Model) -> list[Contender]:
    one, two = (shlex.quote(url(name)) for name in PARTS)
    joined = f"cat {PARTS[0]} {PARTS[1]} > one.gguf"
    check = f"echo '{model.whole}  one.gguf' | sha256sum -c --quiet"
    found = [
        ours(model),
        Contender("curl", f"curl -sSf {one} {two} > one.gguf", checked=False),
        Contender("wget, cat, sha256sum", f"wget -q {one} && wget -q {two} && {joined} && {check}"),
        Contender("aria2c -x8, cat, sha256sum", f"aria2c -q -x8 -s8 -Z {one} {two} && {joined} && {check}"),
    ]
    python = hub_python()
    if python is not None:
        fetch = "; ".join(
            ["from huggingface_hub import hf_hub_download as get"]
            + [f"get('herd/bench', {name!r}, local_dir='.')" for name in PARTS]
        )
        env = {
            "HF_ENDPOINT": url("").rstrip("/"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HOME": "/nonexistent",
        }
        script = f"{shlex.quote(str(python))} -c {shlex.quote(fetch)} && {joined} && {check}"
        found.append(Contender("huggingface_hub, cat, sha256sum", script, env=env))
    return found


# --- measurement


class DiskMonitor:
    """Measure the largest space that the files of a directory take."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stop = threading.Event()
        self.peak = 0
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> DiskMonitor:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            taken = 0
            for where, _folders, names in os.walk(self._folder):
                for name in names:
                    try:
                        taken += (Path(where) / name).lstat().st_blocks * 512
                    except FileNotFoundError:
                        continue
            self.peak = max(self.peak, taken)


@dataclass(frozen=True)
class Run:
    """One run. Processor time is the contender's, without the server's."""

    seconds: float
    disk: int
    memory: int
    cpu: float


def measure(contender: Contender, here: Path, size: int, whole: str) -> Run:
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir(parents=True)
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")
    given = contender.given.replace("@HERE@", str(here))
    with DiskMonitor(here) as monitor, (here.parent / "output").open("wb") as output:
        began = time.monotonic()
        process = subprocess.Popen(
            ["sh", "-ec", contender.script],
            cwd=here,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env={**os.environ, **contender.env},
        )
        assert process.stdin
        process.stdin.write(given.encode())
        process.stdin.close()
        _pid, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        subprocess.run(["sync", "-f", str(here)], check=True)
        seconds = time.monotonic() - began
    if process.returncode:
        raise SystemExit(f"bench: {contender.name} failed: {(here.parent / 'output').read_text()[-2000:]}")
    found = hashlib.sha256()
    with (here / "one.gguf").open("rb") as stream:
        while data := stream.read(4 * MIB):
            found.update(data)
    if (here / "one.gguf").stat().st_size != size or found.hexdigest() != whole:
        raise SystemExit(f"bench: {contender.name} wrote wrong bytes")
    shutil.rmtree(here)
    return Run(seconds, monitor.peak, usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime)


def summary(runs: list[Run], size: int) -> dict[str, Any]:
    seconds = [run.seconds for run in runs]
    return {
        "seconds": [round(second, 2) for second in seconds],
        "median_seconds": round(statistics.median(seconds), 2),
        "mb_per_second": round(size / 1e6 / statistics.median(seconds)),
        "cpu_seconds": round(statistics.median(run.cpu for run in runs), 2),
        "peak_disk_ratio": round(max(run.disk for run in runs) / size, 3),
        "memory_mib": round(max(run.memory for run in runs) / MIB, 1),
    }


def compare(model: Model, here: Path, rounds: int, only: list[str]) -> dict[str, Any]:
    field_ = [one for one in contenders(model) if not only or any(word in one.name for word in only)]
    runs: dict[str, list[Run]] = {one.name: [] for one in field_}
    for number in range(rounds):
        # Each round starts with another contender, so that none always follows the same one.
        shift = number % len(field_)
        for contender in field_[shift:] + field_[:shift]:
            run = measure(contender, here, model.size, model.whole)
            runs[contender.name].append(run)
            say(
                f"round {number + 1}: {contender.name}: {run.seconds:.1f} s, {run.cpu:.1f} s of CPU, "
                f"{run.memory / MIB:.0f} MiB of memory"
            )
    figures = {name: summary(found, model.size) for name, found in runs.items()}
    fastest = figures.get("gguf_fetch", {}).get("median_seconds")
    if fastest:
        for found in figures.values():
            found["times_gguf_fetch"] = round(found["median_seconds"] / fastest, 2)
    return figures


def slow_server(model: Model, here: Path, rounds: int) -> dict[str, Any]:
    """Compare one connection with eight, at 50 MB/s each, on the first half of the model."""
    half = model.folder / "half.gguf"
    half.unlink(missing_ok=True)
    half.symlink_to(PARTS[0])
    figures = {}
    for connections in (1, 8):
        contender = ours(model, SLOW, connections, parts=1)
        runs = []
        for _round in range(rounds):
            runs.append(measure(contender, here, model.size // 2, model.parts[0]))
            say(f"{connections} connections of 50 MB/s: {runs[-1].seconds:.1f} s")
        figures[str(connections)] = summary(runs, model.size // 2)
    times = figures["1"]["median_seconds"] / figures["8"]["median_seconds"]
    return {"connections": figures, "eight_times_one": round(times, 2)}


def page(figures: dict[str, Any]) -> str:
    """Write the figures as a page."""
    lines = [
        "# Download speed",
        "",
        "Written by `make bench-fetch`; the figures are in `bench/results/fetch.json`.",
        "",
        f"{figures['mib']} MiB in two byte parts from nginx on the same machine ({figures['machine']['cores']} cores),"
        " destination synced, cache dropped",
        f"before each run, {figures['rounds']} interleaved rounds, medians. All except `curl` verify the sha256.",
        "",
        "| what | seconds | MB/s | times gguf_fetch | peak disk / model | memory, MiB |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {found['median_seconds']} | {found['mb_per_second']} | {found.get('times_gguf_fetch', '')} |"
        f" {found['peak_disk_ratio']} | {found['memory_mib']} |"
        for name, found in figures["contenders"].items()
    ]
    slow = figures["slow_server"]["connections"]
    lines += [
        "",
        "A server with 50 MB/s for each connection, and the first half of the model:",
        "",
        "| connections | seconds | MB/s |",
        "|---|---|---|",
        *(f"| {number} | {found['median_seconds']} | {found['mb_per_second']} |" for number, found in slow.items()),
        "",
        f"Eight connections are {figures['slow_server']['eight_times_one']} times as fast as one.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--only", nargs="*", default=[], help="words in the names of the contenders to run; writes nothing"
    )
    arguments = parser.parse_args()
    requirements.install([ROOT / "bench" / "requirements.apt"])
    work = CACHE / f"bench-fetch-{os.getpid()}"
    try:
        model = make_model(work / "server", arguments.mib)
        with serving(model.folder, work / "nginx"):
            found = compare(model, work / "here", arguments.rounds, arguments.only)
            slow = {} if arguments.only else slow_server(model, work / "here", max(1, arguments.rounds // 2))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    figures = {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "mib": arguments.mib,
        "rounds": arguments.rounds,
        "contenders": found,
        "slow_server": slow,
    }
    say(json.dumps(figures, indent=2))
    if not arguments.only:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "fetch.json").write_text(json.dumps(figures, indent=2) + "\n")
        PAGE.write_text(page(figures))
        say(f"written to {(RESULTS / 'fetch.json').relative_to(ROOT)} and {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
