# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A release for GPUs bundles CUDA, and starts on a host without a GPU.

The tests do not show that its kernels compute on a GPU, because their machines have none.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import testinfra
from testinfra.host import Host

FOUND = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "cuda.json"
CUDA: dict[str, Any] = json.loads(FOUND.read_text(encoding="utf-8"))
CURRENT = "/opt/llama.cpp/current"

pytestmark = pytest.mark.skipif(not CUDA["usable"], reason=CUDA["missing"])


@pytest.fixture(scope="module")
def host() -> Host:
    lab = os.environ.get("HERD_LAB", "cuda_build")
    return testinfra.get_host("ssh://vllm-node1", ssh_config=str(Path("/run/herd-lab") / lab / "ssh_config"))


@pytest.fixture(scope="module")
def manifest(host: Host) -> dict[str, Any]:
    return dict(json.loads(host.file(f"{CURRENT}/manifest.json").content_string))


def driver(manifest: dict[str, Any]) -> str:
    """Return the environment for programs without a driver, in which the toolkit's stub replaces it."""
    if manifest["cmake"].get("GGML_CUDA_NO_VMM") == "ON":
        return ""
    return (
        "mkdir -p /run/stub && ln -sf $(find /usr/local/cuda/ -path '*stubs/libcuda.so' | head -1) "
        "/run/stub/libcuda.so.1 && LD_LIBRARY_PATH=/run/stub "
    )


def test_the_host_has_no_gpu(host: Host) -> None:
    assert not host.file("/dev/nvidia0").exists
    assert not host.file("/proc/driver/nvidia/version").exists


def test_the_manifest_contains_cuda(manifest: dict[str, Any]) -> None:
    arch = CUDA["lowest"].replace(".", "")
    assert manifest["backend"] == f"cuda{arch}"
    assert manifest["cuda"] == {"version": CUDA["version"], "architectures": [arch]}
    assert manifest["cmake"]["GGML_CUDA"] == "ON"
    assert manifest["cmake"]["CMAKE_CUDA_ARCHITECTURES"] == arch
    assert manifest["id"].startswith(f"0c1e57098-cuda{arch}-")


def test_the_kernels_are_compiled_for_one_architecture(host: Host) -> None:
    """Read the architectures of the library, with the toolkit's tool if it is installed."""
    if not host.file("/usr/local/cuda/bin/cuobjdump").exists:
        pytest.skip("this toolkit has no cuobjdump")
    listed = host.check_output(f"/usr/local/cuda/bin/cuobjdump --list-elf {CURRENT}/bin/libggml-cuda.so")
    assert set(re.findall(r"sm_(\d+)", listed)) == {CUDA["lowest"].replace(".", "")}


@pytest.mark.parametrize("library", ["libcudart", "libcublas", "libcublasLt"])
def test_the_release_bundles_cuda(host: Host, manifest: dict[str, Any], library: str) -> None:
    names = [name for name in manifest["files"] if re.fullmatch(rf"bin/{library}\.so\.\d+", name)]
    assert len(names) == 1, sorted(manifest["files"])
    assert host.file(f"{CURRENT}/{names[0]}").exists


def test_no_library_is_loaded_from_the_toolkit(host: Host, manifest: dict[str, Any]) -> None:
    """After a move, programs load libraries only from their own folder, the system or the driver."""
    host.check_output(f"rm -rf /run/moved && cp -a {CURRENT}/bin /run/moved")
    for name in manifest["files"]:
        if not name.startswith("bin/") or "link" in manifest["files"][name]:
            continue
        said = host.check_output(f"LD_LIBRARY_PATH= ldd /run/moved/{name[4:]}")
        for line in said.splitlines():
            found = re.match(r"\s+(\S+) => (not found|\S+)", line)
            if not found or re.fullmatch(r"libcuda\.so\.1|libnvidia-ml\.so\.1", found[1]):
                continue
            assert found[2].startswith(("/run/moved/", "/lib/", "/usr/lib/", "/lib64/")), f"{name}: {line}"


@pytest.mark.parametrize("program", ["llama-server", "ggml-rpc-server"])
def test_programs_start_without_a_gpu(host: Host, manifest: dict[str, Any], program: str) -> None:
    said = host.run(f"{driver(manifest)}/run/moved/{program} --help 2>&1")
    assert said.succeeded, said.stdout
    assert manifest["flags"][program]
    missing = [flag for flag in manifest["flags"][program] if flag not in said.stdout]
    assert not missing


def test_the_backend_is_loaded_and_finds_no_device(host: Host, manifest: dict[str, Any]) -> None:
    said = host.run(f"{driver(manifest)}/run/moved/llama-server --list-devices 2>&1")
    assert said.succeeded, said.stdout
    assert "Available devices:" in said.stdout
    # The engine logs this with a backend but without a driver.
    assert re.search(r"failed to initialize CUDA|no CUDA-capable device|CUDA driver", said.stdout), said.stdout
    assert "CUDA0" not in said.stdout
