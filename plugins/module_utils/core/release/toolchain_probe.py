# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the versions of the toolchain's programs from their output, and check them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import MismatchError, NotFoundError
from .toolchain import architectures, check_architectures, check_compiler

# Older versions, such as 8.5 of EL8, have an incomplete std::filesystem.
LOWEST_GCC = 9
LOWEST_CMAKE = (3, 18)


def first_line(text: str) -> str:
    return text.strip().splitlines()[0].strip() if text.strip() else ""


def version(text: str) -> str:
    """Read the version from a first line such as C(gcc (Debian 12.2.0-14+deb12u1) 12.2.0)."""
    # The parentheses contain the version of the distribution's package.
    plain = re.sub(r"\([^)]*\)", " ", first_line(text))
    found = re.search(r"\d+\.\d+(?:\.\d+)?", plain)
    return found.group(0) if found else ""


def nvcc_version(text: str) -> str:
    """Read the version from C(nvcc --version): C(Cuda compilation tools, release 12.2, V12.2.140)."""
    found = re.search(r"release \d+\.\d+, V(\d+\.\d+\.\d+)", text)
    return found.group(1) if found else ""


def check(facts: Mapping[str, Any], compute_capabilities: Iterable[str]) -> None:
    """Check that this toolchain can build for these GPUs."""
    major = int(str(facts["cc_version"]).split(".", maxsplit=1)[0])
    if major < LOWEST_GCC:
        raise MismatchError(
            expected=f"gcc {LOWEST_GCC} or newer",
            found=f"{facts['cc']} {facts['cc_version']}",
            remedy="set toolchain_gcc_version: 12 (EL: it installs gcc-toolset-12)",
        )
    archs = architectures(compute_capabilities)
    cuda = facts.get("cuda")
    if archs and not cuda:
        raise NotFoundError.plain(
            f"There is no CUDA toolkit on this host for GPUs of architecture {', '.join(archs)}",
            "set toolchain_cuda_root to an installed toolkit, or let the role install one",
        )
    if archs and cuda:
        check_compiler(str(cuda["version"]), str(facts["cc_version"]))
        check_architectures(str(cuda["version"]), archs)


def check_cmake(path: str, found: str) -> None:
    """Check that cmake is new enough for the engine."""
    if tuple(int(part) for part in found.split(".")[:2]) < LOWEST_CMAKE:
        raise MismatchError(
            expected=f"cmake {'.'.join(map(str, LOWEST_CMAKE))} or newer",
            found=f"{path} {found}",
            remedy="install a newer one (on EL8 the package cmake of the AppStream repository is new enough)",
        )


def missing_program(name: str, search_path: Sequence[str]) -> NotFoundError:
    return NotFoundError.plain(
        f"The program {name} is not in {':'.join(search_path)}",
        "install its package, or correct the toolchain variables of this host",
    )
