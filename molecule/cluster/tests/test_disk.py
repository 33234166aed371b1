# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of the cache, of the journal and of old files on hosts of the lab."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from testinfra.host import Host

from tests.scenarios.testing import ETHERNET, HEAD, NODES, wait_for

On = Callable[[str], Host]
CLONE = Path(__file__).resolve().parents[3]
WORKER = "vllm-node3"
CACHE = "/var/cache/herd/rpc"
MIB = 1 << 20

ASK = """
import json, urllib.request
key = open('/etc/herd/head/api-keys').read().split()[0]
body = {'model': 'lab-llama', 'max_tokens': 12, 'temperature': 0, 'seed': 1, 'cache_prompt': False,
        'messages': [{'role': 'user', 'content': 'Tell me about herds.'}]}
request = urllib.request.Request(
    'http://%s:8000/v1/chat/completions', json.dumps(body).encode(),
    {'Content-Type': 'application/json', 'Authorization': 'Bearer ' + key})
print(json.load(urllib.request.urlopen(request, timeout=60))['choices'][0]['message']['content'])
"""

# Lines of 40 KiB that barely compress, so that they stay below the limit on the number of lines.
FLOOD = """
import base64, os, socket
channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
channel.connect('/run/systemd/journal/socket')
for number in range(4000):
    channel.send(b'MESSAGE=flood ' + base64.b64encode(os.urandom(30720)) + b'\\nPRIORITY=6\\n')
"""


@pytest.fixture(scope="module", autouse=True)
def once(on: On) -> Iterator[None]:
    """Skip the second run after a reboot, which does not affect these tests."""
    boot = "cat /proc/sys/kernel/random/boot_id"
    shown = on(WORKER).run("cat /var/tmp/herd-disk-shown").stdout.strip()
    if shown and shown != on(WORKER).check_output(boot):
        pytest.skip("shown before the reboot")
    yield
    on(WORKER).run(f"{boot} > /var/tmp/herd-disk-shown")


def python(host: Host, script: str) -> str:
    said = host.run(f"python3 - <<'PYTHON'\n{script}\nPYTHON")
    assert said.succeeded, said.stderr
    return str(said.stdout)


def playbook(name: str, *arguments: str) -> int:
    """Run a playbook, and return the number of changes."""
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "ansible-playbook"),
            f"playbooks/{name}.yml",
            "-i",
            "inventory/lab",
            *arguments,
        ],
        cwd=CLONE,
        env={**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_CONFIG": str(CLONE / "ansible.cfg")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return sum(map(int, re.findall(r"changed=(\d+)", done.stdout)))


def answer(on: On) -> str:
    return python(on(HEAD), ASK % ETHERNET[HEAD])


def pid(host: Host, unit: str) -> str:
    return str(host.check_output(f"systemctl show -p MainPID --value {unit}"))


def head_serves(on: On) -> bool:
    return bool(on(HEAD).run(f"curl -sf -m 3 http://{ETHERNET[HEAD]}:8000/health").succeeded)


def restart(on: On, between: str = "true") -> None:
    """Stop head and worker, run a command on the worker, and start them again."""
    assert on(HEAD).run("systemctl stop llama-head").succeeded
    assert on(WORKER).run(f"systemctl stop llama-rpc && {between} && systemctl start llama-rpc").succeeded
    assert on(HEAD).run("systemctl start llama-head").succeeded
    wait_for("the head serves again", lambda: head_serves(on))


def cached(host: Host) -> dict[str, int]:
    """Return the sizes of the engine's cache files by name."""
    found = host.run(f"find {CACHE}/rpc -type f -not -name '.*' -printf '%f %s\\n'").stdout.split()
    return dict(zip(found[::2], map(int, found[1::2]), strict=True))


# --- the worker's cache


def test_the_cache_holds_the_files_of_the_engine(on: On) -> None:
    assert cached(on(WORKER))
    assert min(cached(on(WORKER)).values()) > 10 * MIB
    # Only one file, since the check is slow.
    one = f"mkdir /tmp/one && cp $(find {CACHE}/rpc -type f -size -12M -not -name '.*' | head -n 1) /tmp/one/"
    said = on(WORKER).run(f"{one}; herdctl rpc-cache check --json --folder /tmp/one; rm -r /tmp/one")
    assert json.loads(said.stdout) == {"damaged": []}


@pytest.fixture
def small_cache(on: On) -> Iterator[None]:
    """Mount a disk for the cache that is too small for its files."""
    restart(on, f"mount -t tmpfs -o size=20m none {CACHE}")
    yield
    restart(on, f"umount {CACHE}")


@pytest.fixture
def whole(on: On) -> dict[str, int]:
    """Return the cache files on a disk with free space."""
    return cached(on(WORKER))


def test_truncated_cache_files_of_a_full_disk_are_removed(on: On, whole: dict[str, int], small_cache: None) -> None:
    truth = answer(on)
    # The engine leaves truncated or empty files under the names of complete tensors, and logs that they are saved.
    short = cached(on(WORKER))
    assert short.keys() == whole.keys()
    assert sum(short.values()) <= 20 * MIB < sum(whole.values())
    assert 0 in short.values()
    assert on(WORKER).run(f"herdctl rpc-cache check --folder {CACHE}/rpc").rc == 1
    # Each node reports the full disk, while the service continues.
    wait_for(
        "a node tells of the full disk",
        lambda: f"disk of {CACHE} is full: 0 of 20 MiB free" in on(HEAD).run("herdctl status").stdout,
        20,
    )
    assert on(HEAD).run("herdctl status").rc == 1
    refused = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "playbooks/preflight.yml", "-i", "inventory/lab"],
        cwd=CLONE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode != 0
    assert f"0 of 20 MiB under {CACHE}" in refused.stdout.replace("\n", " ")
    # After the disk has grown and the worker has restarted, the truncated files must still be detected.
    assert on(WORKER).run(f"mount -o remount,size=400m {CACHE}").succeeded
    restart(on)
    said = on(WORKER).check_output("journalctl -q --no-pager -o cat -u llama-rpc -n 200")
    assert f"removed from the cache {len(whole)} files of" in said
    assert "the disk was full (" in said
    assert cached(on(WORKER)) == whole
    assert answer(on) == truth


def test_the_engine_loads_a_truncated_cache_file(on: On, whole: dict[str, int]) -> None:
    """Without the removal of truncated files, the model gives a different answer."""
    truth = answer(on)
    name = max(whole, key=lambda file: whole[file])
    prune = "/run/systemd/system/llama-rpc.service.d"
    without = f"mkdir -p {prune} && printf '[Service]\\nExecStartPre=\\nExecStopPost=\\n' > {prune}/no-prune.conf"
    restart(on, f"{without} && systemctl daemon-reload && truncate -s 12M {CACHE}/rpc/{name}")
    wrong = answer(on)
    restart(on, f"rm -r {prune} && systemctl daemon-reload")
    assert wrong != truth
    assert cached(on(WORKER)) == whole
    assert answer(on) == truth


def test_a_killed_worker_keeps_complete_cache_files(on: On) -> None:
    before = cached(on(WORKER))
    head = pid(on(HEAD), "llama-head")
    # Longer than a write can take.
    time.sleep(6)
    assert on(WORKER).run("systemctl kill -s KILL llama-rpc").succeeded
    wait_for("another head", lambda: pid(on(HEAD), "llama-head") not in ("0", head))
    wait_for("the head serves again", lambda: head_serves(on))
    assert before
    assert cached(on(WORKER)) == before


# --- old files


@pytest.fixture
def leftovers(on: On) -> Iterator[Host]:
    """Create old releases on the head, one running and one used by a unit, and old partial downloads."""
    host = on(HEAD)
    releases = "/opt/llama.cpp/releases"
    made = " ".join(f"{releases}/old-cpu-0000000{number}" for number in range(1, 7))
    script = f"""set -e
    for place in {made}; do
      mkdir -p $place/bin
      cp /usr/bin/sleep $place/bin/worker
      touch -d '90 days ago' $place
    done
    touch -d '80 days ago' {releases}/old-cpu-00000006
    systemd-run --quiet --unit=old-worker {releases}/old-cpu-00000001/bin/worker 600
    printf '[Service]\\nExecStart={releases}/old-cpu-00000002/bin/worker 600\\n' > /etc/systemd/system/old-named.service
    mkdir -p {releases}/.incoming-old-cpu-00000007/bin
    cd /opt/models
    touch .old.gguf.incoming .old.gguf.journal .old.gguf.lock .young.gguf.incoming
    touch -d '30 days ago' .old.gguf.*
    """
    assert host.run(script).succeeded
    yield host
    files = "/etc/systemd/system/old-named.service /opt/models/.old.gguf.* /opt/models/.young.gguf.*"
    host.run(
        f"systemctl stop old-worker old-fetch; rm -rf {made} {releases}/.incoming-old* {files}; systemctl daemon-reload"
    )


def state(host: Host) -> tuple[set[str], set[str], str]:
    return (
        set(host.check_output("ls -A /opt/llama.cpp/releases").split()),
        set(host.check_output("ls -A /opt/models").split()),
        pid(host, "llama-head"),
    )


def test_tidy_removes_only_unused_files(leftovers: Host) -> None:
    host, before = leftovers, state(leftovers)
    current = host.file("/opt/llama.cpp/current").linked_to.rpartition("/")[2]
    # During a download, nothing in the folder of models is removed: one change less.
    fetch = "systemd-run --quiet --unit=old-fetch flock /opt/models/.old.gguf.lock sleep 600"
    assert host.run(fetch).succeeded
    wait_for("the lock is held", lambda: not host.run("flock -n /opt/models/.old.gguf.lock true").succeeded, 10)
    assert playbook("tidy", "--check") == 1
    assert host.run("systemctl stop old-fetch").succeeded
    assert playbook("tidy", "--check") == 2
    assert state(host) == before
    assert playbook("tidy") == 2
    releases, models, head = state(host)
    # 1 runs, a unit uses 2, and 5 and 6 are the newest.
    gone = before[0] - releases
    assert gone == {"old-cpu-00000003", "old-cpu-00000004", ".incoming-old-cpu-00000007"}
    assert current in releases
    assert before[1] - models == {".old.gguf.incoming", ".old.gguf.journal", ".old.gguf.lock"}
    assert head == before[2]
    assert playbook("tidy") == 0


# --- the journal


def usage(host: Host) -> float:
    said = re.search(r"take up ([0-9.]+)([KMG])", host.check_output("journalctl --disk-usage"))
    assert said
    return float(said[1]) * {"K": 1 / 1024, "M": 1, "G": 1024}[said[2]]


@pytest.mark.parametrize("name", NODES)
def test_the_journal_survives_a_reboot_and_has_limits(on: On, name: str) -> None:
    settings = on(name).check_output("systemd-analyze cat-config systemd/journald.conf")
    assert "\nSystemMaxUse=2048M\n" in settings
    assert on(name).run("ls /var/log/journal/*/system.journal").succeeded


@pytest.fixture
def flooded(on: On) -> Iterator[Host]:
    yield on(WORKER)
    # The limits of the inventory.
    playbook("tidy")


def test_a_flooded_journal_stays_below_its_limit(on: On, flooded: Host) -> None:
    host, worker, head = flooded, pid(flooded, "llama-rpc"), pid(on(HEAD), "llama-head")
    python(host, FLOOD)
    wait_for("the flood is in the journal", lambda: usage(host) > 80, 60)
    limits = ("-e", "node_journal_max_mib=48", "-e", "node_journal_lines=100", "-e", "node_journal_interval=2")
    limits += ("--limit", WORKER)
    assert playbook("tidy", *limits) == 1
    assert usage(host) <= 48
    assert playbook("tidy", *limits) == 0
    # journald enforces its limits from now on. Its restart did not affect running services.
    python(host, FLOOD)
    wait_for("the journal is below its limit", lambda: usage(host) <= 48 + 8, 60)
    assert (pid(host, "llama-rpc"), pid(on(HEAD), "llama-head")) == (worker, head)
    # Lines above the limit of a service are dropped and counted.
    shouting = "for i in $(seq 20000); do echo line $i; done; sleep 3; echo the end"
    assert host.run(f"systemd-run --quiet --wait --unit=shouting bash -c '{shouting}'").succeeded
    host.run("journalctl --sync")
    heard = host.check_output("journalctl -q --no-pager -o cat -u shouting _TRANSPORT=stdout").splitlines()
    assert heard[0] == "line 1"
    assert heard[-1] == "the end"
    assert 100 <= len(heard) < 5000
    assert host.run("journalctl -q --no-pager -o cat -n 1000 | grep -q 'Suppressed [0-9]* messages'").succeeded
    # Other services are not affected: the worker's process still logs, and reports the connection of the head.
    now = host.check_output("date '+%F %T'")
    assert on(HEAD).run("systemctl restart llama-head").succeeded
    wait_for("the head serves again", lambda: head_serves(on))
    said = host.check_output(f"journalctl -q --no-pager -o cat -S '{now}' _PID={worker}")
    assert "Accepted client connection" in said
