# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of a build host before and after its compilers are installed, and of a node's driver.

Compiler, cmake and nvcc are doubles that print what the real ones print.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.modules import nvidia_driver_info, toolchain_facts

FIXTURES = Path(__file__).parents[3] / "fixtures" / "toolchain"
KERNEL = (
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\n"
    "GCC version:  gcc version 8.5.0 20210514 (Red Hat 8.5.0-22) (GCC)\n"
)


def program(path: Path, says: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\ncat {FIXTURES / says}\n")
    path.chmod(0o755)


def module(tmp_path: Path, check: bool = True, **params: Any) -> Any:
    given = {
        "path": str(tmp_path / "etc" / "toolchain.json"),
        "cc": str(tmp_path / "bin" / "gcc"),
        "cxx": str(tmp_path / "bin" / "g++"),
        "search_path": [str(tmp_path / "bin"), "/bin"],
        "cuda_root": "",
        "compute_capabilities": [],
        "cuda_version": "",
        **params,
    }
    return SimpleNamespace(params=given, check_mode=check)


def install(tmp_path: Path) -> None:
    for name in ("gcc", "g++"):
        program(tmp_path / "bin" / name, "gcc-debian12.txt")
    program(tmp_path / "bin" / "cmake", "cmake-debian12.txt")
    program(tmp_path / "bin" / "ninja", "cmake-debian12.txt")


def test_check_mode_on_a_bare_host_returns_the_planned_version(tmp_path: Path) -> None:
    foreseen = toolchain_facts.result(
        module(tmp_path, cuda_root="/usr/local/cuda-12.2", cuda_version="12.2", compute_capabilities=["7.0"])
    )
    assert foreseen["changed"]
    assert foreseen["ansible_facts"] == {"herd_cuda_version": "12.2"}


def test_a_given_toolkit_must_exist_in_check_mode(tmp_path: Path) -> None:
    with pytest.raises(HerdError, match="nvcc"):
        toolchain_facts.result(module(tmp_path, cuda_root=str(tmp_path / "cuda"), compute_capabilities=["7.0"]))


def test_an_incompatible_toolkit_is_rejected_before_an_installation(tmp_path: Path) -> None:
    program(tmp_path / "cuda" / "bin" / "nvcc", "nvcc-13.0.txt")
    with pytest.raises(HerdError, match="not support Volta"):
        toolchain_facts.result(module(tmp_path, cuda_root=str(tmp_path / "cuda"), compute_capabilities=["7.0"]))


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    install(tmp_path)
    program(tmp_path / "cuda" / "bin" / "nvcc", "nvcc-12.2.txt")
    asked = module(tmp_path, check=False, cuda_root=str(tmp_path / "cuda"), compute_capabilities=["7.0"])
    first = toolchain_facts.result(asked)
    assert first["changed"]
    assert first["toolchain"]["cuda"]["version"] == "12.2.140"
    assert first["ansible_facts"] == {"herd_cuda_version": "12.2.140"}
    assert not toolchain_facts.result(asked)["changed"]


def test_without_gpus_there_is_no_cuda(tmp_path: Path) -> None:
    install(tmp_path)
    assert toolchain_facts.result(module(tmp_path))["ansible_facts"] == {"herd_cuda_version": ""}


@pytest.mark.parametrize(
    ("cuda", "kernel", "words"),
    [
        ("", None, None),
        ("", KERNEL, None),
        ("12.2", KERNEL, None),
        ("12.2", None, "modprobe nvidia"),
        ("13.0.88", KERNEL, "driver 580.65.06 or newer"),
    ],
)
def test_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cuda: str, kernel: str | None, words: str | None
) -> None:
    if kernel:
        (tmp_path / "version").write_text(kernel)
    monkeypatch.setattr(nvidia_driver_info, "DRIVER", tmp_path / "version")
    if words:
        with pytest.raises(HerdError, match=words):
            nvidia_driver_info.result(cuda)
        return
    assert nvidia_driver_info.result(cuda) == {"version": "535.183.01" if kernel else "", "note": ""}
