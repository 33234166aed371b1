# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A release that was built on EL8 runs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import testinfra
from testinfra.host import Host

TOOLSET = "/opt/rh/gcc-toolset-12/root/usr/bin"


@pytest.fixture(scope="module")
def host() -> Host:
    lab = os.environ.get("HERD_LAB", "el8_build")
    return testinfra.get_host("ssh://vllm-node1", ssh_config=str(Path("/run/herd-lab") / lab / "ssh_config"))


@pytest.fixture(scope="module")
def manifest(host: Host) -> dict[str, Any]:
    return dict(json.loads(host.file("/opt/llama.cpp/current/manifest.json").content_string))


def test_the_host_reports_el8(host: Host) -> None:
    assert host.system_info.distribution == "rocky"
    assert host.system_info.release == "8.10"
    assert not host.file("/usr/bin/apt-get").exists


@pytest.mark.parametrize("package", ["python3.12", "gcc-toolset-12-gcc-c++", "cmake", "ninja-build", "git-core"])
def test_packages_came_from_dnf(host: Host, package: str) -> None:
    assert host.run("rpm -q %s", package).rc == 0


def test_the_toolset_compiled_the_release(host: Host, manifest: dict[str, Any]) -> None:
    facts = json.loads(host.file("/opt/llama.cpp/etc/toolchain.json").content_string)
    assert facts["cxx"] == f"{TOOLSET}/g++"
    assert manifest["compiler"]["cxx"] == f"{TOOLSET}/g++"
    assert not host.file("/usr/bin/g++").exists


@pytest.mark.parametrize("role", ["head", "worker"])
def test_the_programs_run(host: Host, manifest: dict[str, Any], role: str) -> None:
    program = manifest["programs"][role]
    done = host.run("/opt/llama.cpp/current/bin/%s --help", program)
    assert done.rc == 0
    assert "--port" in done.stdout + done.stderr


def test_the_head_reports_its_commit(host: Host, manifest: dict[str, Any]) -> None:
    done = host.run("/opt/llama.cpp/current/bin/%s --version", manifest["programs"]["head"])
    assert done.rc == 0
    assert "version" in done.stdout + done.stderr


def test_no_library_is_missing_without_any_search_path(host: Host, manifest: dict[str, Any]) -> None:
    for program in manifest["programs"].values():
        assert "not found" not in host.check_output("env -i ldd /opt/llama.cpp/current/bin/%s", program)
