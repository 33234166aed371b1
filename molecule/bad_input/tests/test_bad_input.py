# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each wrong fact stops the playbook with one error, before any change."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import HEAD, NODES, ROOT, Run, answers, on, play, state, wait_until_it_answers

CORE = version("ansible-core")
MODELS = yaml.safe_load((ROOT / "inventory/lab/group_vars/all/models.yml").read_text())["herd_models"]
RIGHT_PARTS = MODELS["lab-llama"]["source"]["parts"]
RIGHT_SUMS = tuple(part["sha256"] for part in RIGHT_PARTS)
# URL of the parts, with its slash.
PLACE = RIGHT_PARTS[0]["url"].rpartition("/")[0] + "/"
RIGHT_SOURCE = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
WRONG_SUM = "1" * 64
JANUARY = {"herd_release": "b7836", "herd_acknowledged_advisories": ["CVE-2026-34159", "CVE-2026-21869"]}


def model(file: str, names: tuple[str, ...], sums: tuple[str, ...]) -> dict[str, Any]:
    """Return facts of the lab's model with other parts or another file."""
    parts = [{"url": PLACE + name, "sha256": sha256} for name, sha256 in zip(names, sums, strict=True)]
    return {"herd_models": {"lab-llama": {"name": "lab-llama", "file": file, "layers": 8, "source": {"parts": parts}}}}


def release_with_archive(sha256: str) -> dict[str, Any]:
    """Return facts of an operator's release with an archive."""
    return {
        "llama_build_extra_releases": {
            "0c1e57098": {
                "commit": "0c1e57098bba43ac29e6e3b677cdceebdd22334f",
                "rpc_protocol": "7.0.0",
                "programs": {"head": "llama-server", "worker": "ggml-rpc-server"},
                "targets": ["llama-server", "ggml-rpc-server"],
                "dialect": {"load_mode": ["--load-mode"]},
                "archives": [
                    {
                        "file": "llama_cpp_python-0.3.36.tar.gz",
                        "sha256": sha256,
                        "inner_path": "llama_cpp_python-0.3.36/vendor/llama.cpp",
                        "packing": "tree",
                    }
                ],
            }
        }
    }


def of_host(host: str, **facts: Any) -> dict[str, Any]:
    return {"host_vars": {host: facts}}


@dataclass(frozen=True)
class Case:
    """A wrong fact and the parts of its error.

    :ivar facts: facts of the whole site.
    :ivar inventory: facts of hosts, or members of groups, of an inventory that comes last.
    :ivar more: further arguments; the layer, where only its own work can show the mistake.
    :ivar lands: file of which right parts stay, hidden, for the run that comes after the correction.
    """

    name: str
    expected: str
    found: str
    remedy: str
    facts: dict[str, Any] = field(default_factory=dict)
    inventory: dict[str, Any] = field(default_factory=dict)
    more: tuple[str, ...] = ()
    lands: str = ""


PARTS = ("lab-llama.gguf.part1of2", "lab-llama.gguf.part2of2")
CASES = [
    Case(
        "unknown release",
        "expected herd_release to name one of the releases 0c1e57098, 49bfddeca, b7760, b7836",
        "found 'nonsense'",
        "choose one of them, or add this one to llama_build_extra_releases",
        facts={"herd_release": "nonsense"},
    ),
    Case(
        "unacknowledged advisory",
        "expected every advisory of release b7836 to be named in herd_acknowledged_advisories",
        "found 1 that is not: CVE-2026-34159 (unauthenticated code execution",
        "choose a release without them, or add these ids to the inventory",
        facts={**JANUARY, "herd_acknowledged_advisories": ["CVE-2026-21869"]},
    ),
    Case(
        "wrong sha256 of the source",
        f"expected sha256 {WRONG_SUM} of /srv/sources/llama_cpp_python-0.3.36.tar.gz",
        f"found {RIGHT_SOURCE}",
        "fetch the file again, or correct the checksum",
        facts=release_with_archive(WRONG_SUM),
    ),
    Case(
        "wrong sha256 of a part",
        f"expected sha256 {WRONG_SUM} of {PLACE}{PARTS[0]}",
        f"found {RIGHT_SUMS[0]}",
        "compare the checksum with the publisher's",
        # The installed model is not changed, although the inventory requires another one.
        facts=model("lab-llama.gguf", PARTS, (WRONG_SUM, RIGHT_SUMS[1])),
        more=("--tags", "model"),
        lands="/opt/models/.lab-llama.gguf",
    ),
    Case(
        "part missing on the server",
        f"expected a file at {PLACE}elsewhere/{PARTS[1]}",
        "found status 404",
        "compare the path, the revision and the number of parts",
        facts=model("other.gguf", (PARTS[0], f"elsewhere/{PARTS[1]}"), RIGHT_SUMS),
    ),
    Case(
        "disk too small for the model",
        "expected 343123424 free bytes (0.32 GiB) for /srv/no-model/lab-llama.gguf",
        "found 67108864 (64.0 MiB)",
        "free 0.26 GiB or more there, or choose another directory",
        facts={"herd_models_dir": "/srv/no-model"},
    ),
    Case(
        "disk too small for the release",
        "host vllm-node3: expected 512 MiB free under /srv/no-release for the release",
        "found 16 MiB",
        "free space there, or move herd_prefix to a larger disk",
        facts={"herd_prefix": "/srv/no-release"},
    ),
    Case(
        "disk too small for the build",
        "expected 1024 MiB free under /srv/no-build for the build",
        "found 700 MiB",
        "free space there, or move herd_prefix to a larger disk",
        facts={"herd_prefix": "/srv/no-build"},
    ),
    Case(
        "two heads",
        "group head_server: expected exactly one host",
        "found 2 (vllm-node1, vllm-node2)",
        "leave one host in the group head_server",
        inventory={"head_server": {"hosts": {"vllm-node2": None}}},
    ),
    Case(
        "worker without a fabric address",
        "host vllm-node3: expected a herd_fabric_address",
        "found none",
        "set it in host_vars/vllm-node3.yml",
        inventory=of_host("vllm-node3", herd_fabric_address=""),
    ),
    Case(
        "fabric address that is not on the host",
        "expected herd_fabric_address 10.100.0.99 on an interface of this host",
        "found 10.0.0.33, 10.100.0.33",
        "correct the inventory or bring ib0 up with that address",
        inventory=of_host("vllm-node3", herd_fabric_address="10.100.0.99"),
    ),
    Case(
        "wrong fabric interface",
        "expected herd_fabric_address 10.100.0.32 on herd_fabric_interface eth0",
        "found it on ib0",
        "correct one of the two facts",
        inventory=of_host("vllm-node2", herd_fabric_interface="eth0"),
    ),
    Case(
        "tensor split with an unknown host",
        "expected a tensor split over the hosts that hold layers (vllm-node2, vllm-node3)",
        "found the host vllm-node9",
        "remove it from the split, or put it into the group rpc_worker",
        facts={"head_server_tensor_split": {"vllm-node2": 4, "vllm-node9": 4}},
    ),
    Case(
        "tensor split that does not add up",
        "expected a tensor split that adds up to the model's 8 layers",
        "found 7 (4 + 3)",
        "add 1",
        facts={"head_server_tensor_split": {"vllm-node2": 4, "vllm-node3": 3}},
    ),
]


@pytest.fixture(scope="module", autouse=True)
def working_service() -> Iterator[None]:
    """The running service is never interrupted."""
    wait_until_it_answers()
    sums = on(HEAD, "sha256sum /opt/models/*.gguf").stdout
    yield
    assert on(HEAD, "sha256sum /opt/models/*.gguf").stdout == sums
    assert answers()


def written(inventory: dict[str, Any], folder: Path) -> Path | None:
    """Write an inventory that is read after the lab's."""
    if not inventory:
        return None
    groups = {name: group for name, group in inventory.items() if name != "host_vars"}
    (folder / "host_vars").mkdir()
    (folder / "hosts.yml").write_text(json.dumps(groups or {"all": {}}))
    for host, facts in inventory.get("host_vars", {}).items():
        (folder / "host_vars" / f"{host}.yml").write_text(json.dumps(facts))
    return folder


def assert_one_clear_error(run: Run, expected: str, found: str, remedy: str) -> None:
    assert run.rc != 0, run.output
    assert len(run.errors) == 1 and len(run.failed) == 1, run.output
    for words in (expected, found, remedy):
        assert words in run.errors[0]
    assert "Traceback" not in run.output


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_bad_input_stops_with_one_error_and_changes_nothing(case: Case, tmp_path: Path) -> None:
    before = state()
    run = play("site.yml", *case.more, facts=case.facts, inventory=written(case.inventory, tmp_path))
    assert_one_clear_error(run, case.expected, case.found, case.remedy)
    assert run.changed == dict.fromkeys(NODES, 0), run.output
    assert without(state(), case.lands) == before


def without(found: dict[str, str], lands: str) -> dict[str, str]:
    """Return the state without the hidden files of a partial download."""
    ours = tuple(f"{lands}.{word} " for word in ("incoming", "journal", "written")) if lands else ()
    return {
        host: "".join(line for line in text.splitlines(keepends=True) if not (ours and line.startswith(ours)))
        for host, text in found.items()
    }


def test_preflight_passes_with_acknowledged_advisories() -> None:
    before = state()
    run = play("playbooks/preflight.yml", facts=JANUARY)
    assert run.rc == 0, run.output
    assert run.changed == dict.fromkeys(NODES, 0)
    assert state() == before


@contextmanager
def held(host: str, address: str, port: int) -> Iterator[int]:
    """Run a listener on a port, and yield its process id."""
    program = f"import socket, time; s = socket.create_server(('{address}', {port})); print('ready', flush=True)"
    program += "; time.sleep(600)"
    started = on(
        host,
        f'out=$(mktemp); python3 -c "{program}" >"$out" 2>&1 </dev/null & pid=$!; '
        'for _ in 1 2 3 4 5 6 7 8 9 10; do grep -q ready "$out" && break; sleep 0.2; done; cat "$out" >&2; echo $pid',
    )
    pid = int(started.stdout)
    try:
        assert "ready" in started.stderr, started.stderr
        yield pid
    finally:
        on(host, f"kill {pid}")


@contextmanager
def stopped(*units: tuple[str, str]) -> Iterator[None]:
    """Stop units, and start them in reverse order afterwards, since the head waits for its workers."""
    for host, unit in units:
        assert on(host, f"systemctl stop {unit}").returncode == 0
    try:
        yield
    finally:
        for host, unit in reversed(units):
            on(host, f"systemctl start --no-block {unit}")
        wait_until_it_answers()


HEAD_UNIT = (HEAD, "llama-head.service")
WORKER_UNIT = ("vllm-node3", "llama-rpc.service")


@pytest.mark.parametrize(
    ("units", "address", "port"),
    [([HEAD_UNIT], "10.0.0.31", 8000), ([HEAD_UNIT, WORKER_UNIT], "10.100.0.33", 50052)],
    ids=["api", "rpc"],
)
def test_preflight_names_the_program_on_a_used_port(units: list[tuple[str, str]], address: str, port: int) -> None:
    host, unit = units[-1]
    with stopped(*units), held(host, address, port) as pid:
        before = state()
        run = play()
        assert_one_clear_error(
            run,
            f"expected port {port} to be free for {unit}",
            f"found python3 (process {pid}) on {address}:{port}",
            "stop that process, or choose another",
        )
        assert run.changed == dict.fromkeys(NODES, 0), run.output
        assert state() == before


def test_the_head_does_not_start_without_a_worker() -> None:
    with stopped(HEAD_UNIT, WORKER_UNIT):
        # The timeout of the worker readiness check is configuration, which this run writes.
        run = play("site.yml", "--tags", "head", facts={"head_server_worker_timeout": 3})
        assert_one_clear_error(
            run,
            "expected worker vllm-node3 to answer with RPC protocol 7.0.0",
            "found connection refused at 10.100.0.33:50052",
            "start llama-rpc on vllm-node3",
        )
        assert on(HEAD, "pgrep -x llama-server").returncode != 0
        assert on(HEAD, "ss -Hltn 'sport = :8000'").stdout == ""


def test_the_site_converges_with_correct_facts() -> None:
    run = play("site.yml", "--tags", "workers,head")
    assert run.rc == 0, run.output
    # Only the changed timeout of the worker readiness check was written.
    assert run.changed == {**dict.fromkeys(NODES, 0), HEAD: 1}, run.output


@pytest.mark.skipif(
    tuple(map(int, CORE.split(".")[:2])) >= (2, 21), reason=f"ansible-core {CORE} can manage an EL8 node"
)
def test_an_unsupported_ansible_core_rejects_el8() -> None:
    lab = [sys.executable, "-m", "tests.lab", "--name", "bad-input-el8"]
    subprocess.run([*lab, "up", "--config", "el8"], cwd=ROOT, env={**os.environ}, check=True, timeout=600)
    try:
        run = play("playbooks/preflight.yml", "--limit", HEAD, lab="bad-input-el8")
    finally:
        subprocess.run([*lab, "down"], cwd=ROOT, check=True, timeout=120)
    assert_one_clear_error(
        run,
        "expected ansible-core 2.21 or newer for an EL8 node",
        f"found {CORE}",
        "install ansible-core 2.21 on the controller",
    )
    assert run.changed == {HEAD: 0}
