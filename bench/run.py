"""Measure how long an operator waits for common commands, and write the figures as JSON.

    .venv/bin/python bench/run.py [no-change|build|status] [--lab NAME]

no-change: site.yml on a lab that has converged: wall time, tasks, where the time goes. It is compared, in the
same run, with as many tasks that do nothing (C(ping)): the ratio says what our modules add to Ansible's own cost.

build: the release built by the role on the lab's build host with an empty compiler cache, then with a full one.
It is compared, in the same run, with the commands that a user would type instead: cmake and ninja by hand.

status: playbooks/status.yml on a lab that serves, with all hosts, just after one lost its power, and later. It is
compared, in the same run, with what an operator types instead: ssh to each host, for its unit, its route and its GPU.

The figures of one machine are in bench/results/; nothing asserts on a clock.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"
HOSTS = ("vllm-node1", "vllm-node2", "vllm-node3")


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def playbook(lab: str, *arguments: str) -> tuple[float, dict[str, Any]]:
    """Run a playbook on the lab; return the seconds and the output of the task_times callback."""
    times = ROOT / "bench" / ".task_times.json"
    env = {
        **os.environ,
        "HERD_LAB": lab,
        "HERD_TASK_TIMES": str(times),
        "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "bench" / "callback_plugins"),
        "ANSIBLE_CALLBACKS_ENABLED": "task_times",
    }
    start = time.monotonic()
    done = subprocess.run(
        [str(ROOT / ".venv/bin/ansible-playbook"), "-i", "inventory/lab", *arguments],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - start
    if done.returncode:
        raise SystemExit(f"bench: ansible-playbook {' '.join(arguments)} failed:\n{done.stdout[-4000:]}{done.stderr}")
    written: dict[str, Any] = json.loads(times.read_text())
    times.unlink()
    return seconds, written


def trivial_playbook(count: int) -> Path:
    """Write a playbook with as many tasks as the real run, which do nothing."""
    path = ROOT / "bench" / ".trivial.yml"
    task = "    - ansible.builtin.ping:\n"
    path.write_text("- hosts: node\n  gather_facts: false\n  tasks:\n" + task * count)
    return path


def no_change(lab: str) -> dict[str, Any]:
    say("site.yml, twice: the first to converge, the second is measured")
    playbook(lab, "site.yml")
    seconds, written = playbook(lab, "site.yml")
    changed = sum(host["changed"] for host in written["hosts"].values())
    if changed:
        raise SystemExit(f"bench: expected a run that changes nothing, found {changed} changes")
    ran = [task for task in written["tasks"] if task["ran"]]
    say(f"{len(ran)} tasks that do nothing, to compare with")
    trivial = trivial_playbook(len(ran))
    floor = playbook(lab, str(trivial))[0]
    trivial.unlink()
    return {
        "seconds": round(seconds, 1),
        "tasks": len(written["tasks"]),
        "tasks_that_ran": len(ran),
        "trivial_seconds": round(floor, 1),
        "ratio_to_trivial": round(seconds / floor, 2),
        "slowest": sorted(written["tasks"], key=lambda task: -float(task["seconds"]))[:12],
    }


def on_build_host(lab: str, script: str) -> float:
    start = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "tests.lab", "--name", lab, "shell", "vllm-node1", "--", "sh", "-ec", script],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.monotonic() - start


BY_HAND = """
rm -rf /root/by-hand; mkdir /root/by-hand; cd /root/by-hand
tar xzf /srv/sources/llama_cpp_python-0.3.36.tar.gz --strip-components=3 --wildcards '*/vendor/llama.cpp/*'
rm -rf .git
cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DGGML_RPC=ON -DGGML_NATIVE=OFF -DGGML_CCACHE=OFF \
  -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_USE_PREBUILT_UI=OFF
ninja -C build llama-server ggml-rpc-server llama-cli llama-bench llama-gguf-split llama-quantize llama-fit-params
rm -rf /root/by-hand
"""

FORGET_BUILD = "rm -rf /opt/llama.cpp/dist /opt/llama.cpp/build"


def build(lab: str) -> dict[str, Any]:
    arguments = ("site.yml", "--tags", "llama_build", "-e", "llama_build_ccache_dir=/root/bench-ccache")
    say("by hand: tar, cmake, ninja")
    by_hand = on_build_host(lab, BY_HAND)
    on_build_host(lab, FORGET_BUILD + "; rm -rf /root/bench-ccache")
    say("by the role, compiler cache empty")
    cold = playbook(lab, *arguments)[0]
    on_build_host(lab, FORGET_BUILD)
    say("by the role, compiler cache full")
    warm = playbook(lab, *arguments)[0]
    on_build_host(lab, "rm -rf /root/bench-ccache")
    return {
        "by_hand_seconds": round(by_hand, 1),
        "cold_seconds": round(cold, 1),
        "warm_seconds": round(warm, 1),
        "ratio_cold_to_by_hand": round(cold / by_hand, 2),
        "ratio_warm_to_by_hand": round(warm / by_hand, 2),
    }


LOOK_BY_HAND = "systemctl status 'llama-*'; ip route; ip -s link; nvidia-smi; journalctl -n 20 -u 'llama-*'"


def looks_by_hand(lab: str) -> float:
    """Query one host after the other, as a shell loop does."""
    config = f"/run/herd-lab/{lab}/ssh_config"
    start = time.monotonic()
    for host in HOSTS:
        argv = ["ssh", "-F", config, "-o", "ConnectTimeout=2", host, LOOK_BY_HAND]
        subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return time.monotonic() - start


def looks(lab: str, times: int) -> float:
    """Return the median of some runs of status.yml, in seconds."""
    return statistics.median(playbook(lab, "playbooks/status.yml")[0] for _each in range(times))


def status(lab: str) -> dict[str, Any]:
    say("site.yml, to start the service")
    playbook(lab, "site.yml")
    well, by_hand = looks(lab, 3), looks_by_hand(lab)
    lab_command = [sys.executable, "-m", "tests.lab", "--name", lab]
    say(f"without the power of {HOSTS[-1]}")
    subprocess.run([*lab_command, "crash", HOSTS[-1]], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    try:
        just_dead = looks(lab, 1)
        dead, dead_by_hand = looks(lab, 3), looks_by_hand(lab)
    finally:
        subprocess.run([*lab_command, "start", HOSTS[-1]], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return {
        "seconds": round(well, 1),
        "by_hand_seconds": round(by_hand, 1),
        "ratio_to_by_hand": round(well / by_hand, 2),
        "one_host_just_dead_seconds": round(just_dead, 1),
        "one_host_dead_seconds": round(dead, 1),
        "one_host_dead_by_hand_seconds": round(dead_by_hand, 1),
        "one_host_dead_ratio_to_by_hand": round(dead / dead_by_hand, 2),
    }


KINDS: dict[str, Callable[[str], dict[str, Any]]] = {"no-change": no_change, "build": build, "status": status}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=tuple(KINDS), nargs="*", default=list(KINDS))
    parser.add_argument("--lab", default="bench", help="name of a running lab (python3 -m tests.lab up)")
    arguments = parser.parse_args()
    machine = {"cores": os.cpu_count(), "python": platform.python_version()}
    for what in arguments.what:
        figures = KINDS[what](arguments.lab)
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{what}.json"
        path.write_text(json.dumps({"machine": machine, **figures}, indent=2) + "\n")
        say(f"{json.dumps(figures, indent=2)}\nbench: written to {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
