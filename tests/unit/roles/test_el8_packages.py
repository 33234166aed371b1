# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""On EL8, modules run with the installed Python, and a missing package is named with its substitute."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
ROCKY8 = 'ID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="8.10"\n'
EL8 = {
    "os_family": "RedHat",
    "distribution": "Rocky",
    "distribution_major_version": "8",
    "distribution_version": "8.10",
}
#: The system's Python, in the part of the package of EL8.
OWN = next(
    (path for path in sorted(Path("/usr/bin").glob("python3.*")) if re.fullmatch(r"python3\.\d+", path.name)), None
)


def play(folder: Path, role: str, tasks_from: str, **variables: Any) -> str:
    """Run tasks of a role on this machine in check mode, and return the output."""
    tasks: list[dict[str, Any]] = [
        {"import_role": {"name": f"herd.inference.{role}", "tasks_from": tasks_from}},
        {"debug": {"msg": "interpreter={{ ansible_python_interpreter | default('chosen by Ansible') }}"}},
    ]
    path, given = folder / "play.yml", folder / "vars.json"
    path.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]), encoding="utf-8")
    site = {"herd_prefix": "/opt/x", "herd_user": "x", "herd_models_dir": "/opt/y", "herd_fabric_address": "127.0.0.1"}
    given.write_text(json.dumps({**site, "herd_fabric_interface": "lo", **variables}), encoding="utf-8")
    inventory = {"all": {"hosts": {"node1": {"ansible_connection": "local", **variables.get("host", {})}}}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    done = subprocess.run(
        [program, str(path), "--check", f"--inventory={folder / 'hosts.yml'}", f"--extra-vars=@{given}"],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return " ".join((done.stdout + done.stderr).split())


@pytest.mark.skipif(OWN is None, reason="no /usr/bin/python3.* on this machine")
@pytest.mark.skipif(
    version("ansible-core").startswith("2.19."), reason="the role refuses a node of EL8 with ansible-core before 2.21"
)
@pytest.mark.parametrize(
    ("host", "interpreter"),
    [
        ({}, str(OWN)),
        ({"ansible_python_interpreter": "auto_silent"}, str(OWN)),
        ({"ansible_python_interpreter": sys.executable}, sys.executable),
    ],
)
def test_modules_run_with_the_package_unless_the_site_chose_a_python(
    tmp_path: Path, host: dict[str, str], interpreter: str
) -> None:
    assert OWN is not None
    own = OWN.name.removeprefix("python")
    probe = f"printf '{ROCKY8}herd-python 3.9 /usr/bin/python3.9\\nherd-python {own} {OWN}\\n'".replace("\n", "\\n")
    said = play(tmp_path, "node", "bootstrap", host=host, node_python_package=OWN.name, _node_probe=probe)
    assert f"interpreter={interpreter}" in said, said


def test_missing_package_of_requests_is_named_with_the_wheels(tmp_path: Path) -> None:
    said = play(tmp_path, "node", "install", ansible_facts=EL8, __node_probe={"stdout": ""})
    assert "expected to install nftables, python3.12-requests on node1, found " in said, said
    assert "If they lack python3.12-requests, set node_requests_wheels to a folder" in said


def test_wheels_replace_the_package_of_requests(tmp_path: Path) -> None:
    said = play(
        tmp_path, "node", "install", ansible_facts=EL8, __node_probe={"stdout": ""}, node_requests_wheels="/srv/wheels"
    )
    assert "expected to install nftables, python3.12-pip on node1" in said, said


def test_missing_package_of_cuda_is_named_with_the_toolkit(tmp_path: Path) -> None:
    packages = ["cuda-nvcc-12-2", "cuda-cudart-devel-12-2", "cuda-driver-devel-12-2", "libcublas-devel-12-2"]
    given = {"_toolchain_cuda_install": True, "_toolchain_cuda_packages": packages, "_toolchain_cuda": True}
    said = play(tmp_path, "toolchain", "install", ansible_facts=EL8, toolchain_cuda_repository="", **given)
    assert "libcublas-devel-12-2 on node1, found " in said, said
    assert "such as cuda-driver-devel-12-2 with the stub of the driver library, install the whole toolkit" in said
    assert "set toolchain_cuda_root to it: the build then uses its stub." in said


def test_lock_of_the_library_names_a_hash_for_each_wheel() -> None:
    blocks = re.split(r"(?m)^(?=[a-z])", (ROOT / "roles/node/files/requests.txt").read_text(encoding="utf-8"))[1:]
    names = {block.partition("==")[0]: block.count("--hash=sha256:") for block in blocks}
    assert {"requests", "urllib3", "idna", "certifi"} <= set(names)
    assert min(names.values()) >= 1
