# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The units of the three hosts of inventory/beefcake2, as the roles plan and render them for its values.

The playbook runs in a network namespace that has the fabric addresses, because a worker requires its own.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.core.engine.flags.flag_lines import NEW, NEW_WORKER

ROOT = Path(__file__).parents[3]
RELEASE = "0c1e57098"
WORKERS = ("vllm-node2", "vllm-node3")
ADDRESSES = ("10.100.0.31", "10.100.0.32", "10.100.0.33")
MANIFEST = {
    "id": RELEASE,
    "programs": {"head": "llama-server", "worker": "ggml-rpc-server"},
    "flags": {"llama-server": sorted(NEW), "ggml-rpc-server": sorted(NEW_WORKER)},
    "cuda": {"architectures": ["70"]},
    "rpc_protocol": "3.6.0",
}


def play_of(role: str, group: str, template: str, folder: Path) -> dict[str, Any]:
    """Plan a role's service on each host of its group, and write the unit to a folder."""
    path = ROOT / "roles" / role
    text = f"{{{{ lookup('ansible.builtin.template', '{path}/templates/{template}') }}}}"
    return {
        "hosts": group,
        "connection": "local",
        "gather_facts": False,
        "vars": {"role_path": str(path), "ansible_python_interpreter": sys.executable},
        "tasks": [
            {"import_role": {"name": f"herd.inference.{role}", "tasks_from": "preflight", "public": True}},
            {"copy": {"content": text, "dest": f"{folder}/{{{{ inventory_hostname }}}}.service", "mode": "0644"}},
        ],
    }


def write(folder: Path) -> dict[str, list[str]]:
    """Write the units of all hosts into a folder, and return their lines by host."""
    place = folder / "prefix" / "releases" / RELEASE
    place.mkdir(parents=True)
    (place / "manifest.json").write_text(json.dumps(MANIFEST), encoding="utf-8")
    (folder / "prefix" / "current").symlink_to(place)
    plays = [
        play_of("rpc_worker", "rpc_worker", "llama-rpc.service.j2", folder),
        play_of("head_server", "head_server", "llama-head.service.j2", folder),
    ]
    (folder / "units.yml").write_text(json.dumps(plays), encoding="utf-8")
    play = [str(Path(sys.executable).with_name("ansible-playbook")), str(folder / "units.yml")]
    play += [f"--inventory={ROOT / 'inventory/beefcake2'}", "-e", f"herd_prefix={folder}/prefix"]
    network = ["ip link set lo up", *(f"ip address add {address}/24 dev lo" for address in ADDRESSES)]
    done = subprocess.run(
        ["unshare", "--net", "--map-root-user", "sh", "-ec", "; ".join([*network, shlex.join(play)])],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.stem: path.read_text(encoding="utf-8").splitlines() for path in folder.glob("*.service")}


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    return write(tmp_path_factory.mktemp("units"))


def value(unit: list[str], name: str) -> str:
    (found,) = (line.partition("=")[2] for line in unit if line.startswith(f"{name}="))
    return found


def arguments(unit: list[str]) -> list[str]:
    return shlex.split(value(unit, "ExecStart"))


def option(unit: list[str], *names: str) -> str:
    """Return the value of the one option that has one of these names."""
    argv = arguments(unit)
    (found,) = (argv[index + 1] for index, word in enumerate(argv) if word in names)
    return found


def test_head_and_workers_have_their_units(units: dict[str, list[str]]) -> None:
    assert set(units) == {"vllm-node1", *WORKERS}


def test_head_serves_the_q8_0_file_with_the_profile_of_4k(units: dict[str, list[str]]) -> None:
    head = units["vllm-node1"]
    assert re.fullmatch(rf".*/prefix/releases/{RELEASE}/bin/llama-server", arguments(head)[0])
    assert option(head, "--model", "-m") == "/opt/models/OR1-Behemoth.Q8_0.gguf"
    assert option(head, "--alias", "-a") == "OR1-Behemoth"
    assert option(head, "--ctx-size", "-c") == "4096"
    assert option(head, "--parallel", "-np") == "1"
    assert option(head, "--threads", "-t") == "40"
    assert option(head, "--cache-type-k", "-ctk") == option(head, "--cache-type-v", "-ctv") == "f16"
    assert option(head, "--timeout", "-to") == "600"
    assert option(head, "--load-mode", "-lm") == "mmap+mlock"


def test_layers_are_split_26_27_27_over_head_and_workers(units: dict[str, list[str]]) -> None:
    head = units["vllm-node1"]
    assert option(head, "--rpc") == "10.100.0.32:50052,10.100.0.33:50052"
    assert option(head, "--device", "-dev") == "RPC0,RPC1,CUDA0"
    # The engine counts the output as a layer more, which is on the last device: the head.
    assert option(head, "--tensor-split", "-ts") == "27,27,27"


def test_head_listens_on_its_address_with_its_keys(units: dict[str, list[str]]) -> None:
    head = units["vllm-node1"]
    assert (option(head, "--host"), option(head, "--port")) == ("10.0.0.31", "8000")
    assert option(head, "--api-key-file") == "/etc/herd/head/api-keys"
    assert (value(head, "User"), value(head, "RestartSec"), value(head, "LimitMEMLOCK")) == ("llama", "5", "infinity")


@pytest.mark.parametrize(("host", "address"), list(zip(WORKERS, ADDRESSES[1:], strict=True)))
def test_worker_listens_on_its_fabric_address_for_the_head(
    units: dict[str, list[str]], host: str, address: str
) -> None:
    worker = units[host]
    assert re.search(rf" /\S+/prefix/releases/{RELEASE}/bin/ggml-rpc-server ", value(worker, "ExecStart"))
    assert (option(worker, "--host", "-H"), option(worker, "--port", "-p")) == (address, "50052")
    assert value(worker, "IPAddressDeny") == "any"
    assert value(worker, "IPAddressAllow") == "10.100.0.31"
    assert value(worker, "RestartSec") == "2"


def test_memory_limit_of_the_head_comes_from_the_plan(units: dict[str, list[str]]) -> None:
    # The file has 72 GiB. With a copy of the context, buffers and a quarter for prompts the plan has 95.
    assert value(units["vllm-node1"], "MemoryMax") == "95G"
    assert not any(line.startswith("MemoryMax=") for host in WORKERS for line in units[host])
