# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that compiler, CUDA toolkit, GPU architecture and driver are compatible.

Sources, all NVIDIA's:

* host compilers: U(https://docs.nvidia.com/cuda/cuda-installation-guide-linux/), "Host Compiler Support Policy"; what
  stops a compiler is C(crt/host_config.h) of the toolkit.
* architectures: what C(nvcc --list-gpu-code) and C(ptxas --help) of the toolkits print.
* drivers: U(https://docs.nvidia.com/cuda/cuda-toolkit-release-notes/), the tables of drivers that belong to a toolkit
  and of the lowest that minor-version compatibility allows.
* repositories: the indexes below U(https://developer.download.nvidia.com/compute/cuda/repos/).

tests/fixtures/toolchain/cuda-limits.json holds the limits that several toolkits report.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import InvalidInputError, MismatchError

# In these tables, a minor version that is missing has the value of the newest one before it.
# Highest major version of gcc for a toolkit: from host_config.h, "unsupported GNU version".
HIGHEST_GCC = {"11.0": 9, "11.1": 10, "11.4": 11, "12.0": 12, "12.4": 13, "12.8": 14, "13.0": 15}
# Lowest and highest real architecture of a toolkit.
ARCHITECTURES = {"11.0": (35, 90), "12.0": (50, 90), "12.8": (50, 120), "12.9": (50, 121), "13.0": (75, 121)}
# (driver of the toolkit, lowest driver that minor-version compatibility allows)
DRIVERS = {
    "11.0": ((450, 36, 6), (450, 80, 2)),
    "12.0": ((525, 60, 13), (525, 60, 13)),
    "12.1": ((530, 30, 2), (525, 60, 13)),
    "12.2": ((535, 54, 3), (525, 60, 13)),
    "12.3": ((545, 23, 6), (525, 60, 13)),
    "12.4": ((550, 54, 14), (525, 60, 13)),
    "12.5": ((555, 42, 2), (525, 60, 13)),
    "12.6": ((560, 28, 3), (525, 60, 13)),
    "12.8": ((570, 26, 0), (525, 60, 13)),
    "12.9": ((575, 51, 3), (525, 60, 13)),
    "13.0": ((580, 65, 6), (580, 65, 6)),
    "13.1": ((590, 44, 1), (580, 65, 6)),
}
# Oldest toolkit in NVIDIA's repository for a distribution. The repository of Debian 12 has no 12.2, that of Debian 13
# has no toolkit for Volta.
OLDEST_IN_REPOSITORY = {
    "rhel8": "11.0", "rhel9": "11.7", "debian12": "12.3", "debian13": "13.0", "ubuntu2204": "11.7",
    "ubuntu2404": "12.5",
}  # fmt: skip
CAPABILITY = re.compile(r"([1-9][0-9]?)\.([0-9])")


def architectures(compute_capabilities: Iterable[str]) -> list[str]:
    """Return CMAKE_CUDA_ARCHITECTURES for these GPUs: C(["7.0", "7.0"]) becomes C(["70"])."""
    found: set[int] = set()
    for capability in compute_capabilities:
        match = CAPABILITY.fullmatch(str(capability).strip())
        if match is None:
            raise InvalidInputError(
                expected="compute_capability of every GPU in herd_gpus to be like 7.0",
                found=repr(capability),
                remedy="write it as a string in quotes, as nvidia-smi --query-gpu=compute_cap prints it",
            )
        found.add(int(match.group(1) + match.group(2)))
    return [str(arch) for arch in sorted(found)]


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]+", text)[:3])


def _row(table: Mapping[str, Any], cuda: str) -> Any:
    wanted = (*_version(cuda), 0)[:2]
    known = [key for key in table if _version(key)[0] == wanted[0] and _version(key) <= wanted]
    return table[max(known, key=_version)] if known else None


def check_compiler(cuda: str, cc_version: str) -> None:
    """Check that the CUDA toolkit supports this host compiler."""
    highest, major = _row(HIGHEST_GCC, cuda), _version(cc_version)[0]
    if highest is not None and major > highest:
        raise MismatchError(
            expected=f"gcc {highest} or older for CUDA {cuda}",
            found=f"gcc {cc_version}",
            remedy=f"set toolchain_gcc_version: {highest}, or use a newer CUDA toolkit that still supports the GPUs",
        )


def check_repository(platform: str, cuda: str) -> None:
    """Check that NVIDIA's repository for this distribution has the toolkit."""
    oldest = OLDEST_IN_REPOSITORY.get(platform)
    if oldest is None:
        raise InvalidInputError(
            expected=f"a distribution with an NVIDIA repository: {', '.join(sorted(OLDEST_IN_REPOSITORY))}",
            found=platform,
            remedy="set toolchain_cuda_repository to a repository, or toolchain_cuda_root to an installed toolkit",
        )
    if _version(cuda) < _version(oldest):
        raise MismatchError(
            expected=f"CUDA {oldest} or newer, which NVIDIA's repository for {platform} has",
            found=f"toolchain_cuda_version: {cuda!r}",
            remedy=(
                "choose a newer version that still supports the GPUs and their driver; or set "
                "toolchain_cuda_repository to a repository of your own, or toolchain_cuda_root to an installed toolkit"
            ),
        )


def cuda_packages(
    cuda: str, platform: str, compute_capabilities: Iterable[str], gcc_version: int, official: bool = True
) -> list[str]:
    """Return the packages that a build needs: compiler, runtime, stub of the driver library and cuBLAS.

    :param official: whether the packages come from NVIDIA's repository, whose contents are known.
    :raises HerdError: if these packages do not support the GPUs or the compiler, or if the repository lacks them.
    """
    if not re.fullmatch(r"[1-9][0-9]\.[0-9]+", cuda):
        raise InvalidInputError(
            expected="toolchain_cuda_version to be major and minor version, like 12.2",
            found=repr(cuda),
            remedy="write it in quotes",
        )
    check_architectures(cuda, architectures(compute_capabilities))
    check_compiler(cuda, str(gcc_version))
    if official:
        check_repository(platform, cuda)
    development = "devel" if platform.startswith("rhel") else "dev"
    suffix = cuda.replace(".", "-")
    return [
        f"cuda-nvcc-{suffix}",
        f"cuda-cudart-{development}-{suffix}",
        f"cuda-driver-{development}-{suffix}",
        f"libcublas-{development}-{suffix}",
    ]


def check_architectures(cuda: str, archs: Iterable[str]) -> None:
    """Check that the CUDA toolkit can compile for these GPUs."""
    limits = _row(ARCHITECTURES, cuda)
    if limits is None:
        return
    lowest, highest = limits
    outside = [arch for arch in archs if not lowest <= int(arch) <= highest]
    if outside:
        older = int(outside[0]) < lowest
        raise MismatchError(
            expected=f"GPUs of an architecture from {lowest} to {highest}, which CUDA {cuda} can compile for",
            found=f"architecture {', '.join(outside)}",
            remedy=(
                "use CUDA 12 (12.2 supports the V100 and its usual drivers; CUDA 13 does not support Volta): set "
                "toolchain_cuda_version, or set toolchain_cuda_root to an installed toolkit"
                if older
                else "use a newer CUDA toolkit: set toolchain_cuda_version or toolchain_cuda_root"
            ),
        )


def check_driver(cuda: str, driver: str) -> str | None:
    """Check that the driver can run programs of this toolkit.

    :returns: a sentence if only minor-version compatibility allows it.
    """
    limits = _row(DRIVERS, cuda)
    if limits is None:
        return None
    matching, lowest = limits
    have = _version(driver)
    if have < lowest:
        raise MismatchError(
            expected=f"an NVIDIA driver of {_dotted(lowest)} or newer for CUDA {cuda}",
            found=driver,
            remedy=f"install driver {_dotted(matching)} or newer on this node, or build with an older CUDA toolkit",
        )
    if have < matching:
        return (
            f"driver {driver} is older than {_dotted(matching)} of CUDA {cuda}: minor-version compatibility allows it, "
            "since the release contains compiled code for these GPUs and needs no PTX"
        )
    return None


def _dotted(version: tuple[int, ...]) -> str:
    return f"{version[0]}.{version[1]:02d}.{version[2]:02d}"
