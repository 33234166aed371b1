# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose the release of vLLM for GPUs and their driver, and check the Python and the machine that run it.

The facts of RELEASES are from the wheels on PyPI: the compute capabilities from the compiled code in them
(C(vllm/_C.abi3.so), the list of architectures in torch), CUDA from what torch requires, Python and the C library from
their names and metadata. NVIDIA's table of drivers is in core/release/toolchain.py.

0.19.1 is the last release with code for Volta, and it knows C(--nnodes). That was read from its wheel. No test has run
it on such a card.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..errors import InsufficientError, InvalidInputError, MismatchError, NotFoundError
from ..host.nvidia_smi import GpuReport
from ..release import toolchain

_CAPABILITY = re.compile(r"([1-9][0-9]?)\.([0-9])")
#: Longest path of the work space: it is in the first line of programs (128 bytes) and in names of sockets (108 bytes).
LONGEST_PATH = 70
#: Placeholders of the example, which a user must replace.
PLACEHOLDERS = ("YOUR_", "<", ">")


@dataclass(frozen=True)
class VllmRelease:
    """A release of vLLM with a lock of its packages.

    :ivar torch: the release of torch that it requires.
    :ivar cuda: the release of CUDA that this torch brings along.
    :ivar capability: lowest compute capability.
    :ivar pythons: oldest and newest Python of the lock.
    :ivar machine: the machine of the lock's wheels.
    :ivar glibc: lowest version of the C library.
    :ivar remark: what an operator has to know of it; usually empty.
    """

    version: str
    torch: str
    cuda: str
    capability: tuple[int, int]
    pythons: tuple[tuple[int, int], tuple[int, int]]
    machine: str
    glibc: tuple[int, int]
    remark: str = ""


#: Newest first. A release from 0.20.0 on has no code for Volta, and torch from 2.11 on requires CUDA 13.
RELEASES = (
    VllmRelease("0.32.0", "2.13.0", "13.0", (7, 5), ((3, 11), (3, 13)), "x86_64", (2, 31)),
    VllmRelease(
        "0.19.1",
        "2.10.0",
        "12.8",
        (7, 0),
        ((3, 11), (3, 13)),
        "x86_64",
        (2, 31),
        "vLLM 0.19.1 is the last release with code for Volta. That was read from its wheels; no test has run it on "
        "such a card.",
    ),
)
VERSIONS = tuple(release.version for release in RELEASES)


def dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))


def capability(text: str) -> tuple[int, int]:
    """Return a compute capability as numbers.

    :raises InvalidInputError: if the text is no such capability.
    """
    match = _CAPABILITY.fullmatch(str(text).strip())
    if match is None:
        raise InvalidInputError(
            "the compute capability of a GPU, such as 9.0",
            repr(text),
            "write it in quotes, as nvidia-smi --query-gpu=compute_cap prints it",
        )
    return int(match[1]), int(match[2])


def release(version: str) -> VllmRelease:
    """Return a release by its version.

    :raises InvalidInputError: if no lock of it is known.
    """
    for each in RELEASES:
        if each.version == version:
            return each
    raise InvalidInputError(f"a release of vLLM with a lock: {', '.join(VERSIONS)}", version, "name one of them")


def check_gpus(wanted: VllmRelease, capabilities: Iterable[str], driver: str = "") -> None:
    """Check that GPUs and driver can run a release.

    :param driver: version of NVIDIA's driver; empty skips its check.
    :raises MismatchError: if they cannot.
    """
    lowest = min((capability(each) for each in capabilities), default=None)
    if lowest is not None and lowest < wanted.capability:
        older = [each.version for each in RELEASES if each.capability <= lowest]
        raise MismatchError(
            f"GPUs of compute capability {dotted(wanted.capability)} or higher for vLLM {wanted.version}",
            f"{dotted(lowest)}{' (Volta)' if lowest == (7, 0) else ''}",
            f"use vLLM {older[0]}, the last release with code for them" if older else "use newer GPUs, from Volta on",
        )
    if driver:
        try:
            toolchain.check_driver(wanted.cuda, driver)
        except MismatchError as error:
            raise MismatchError(
                f"{error.expected}, which vLLM {wanted.version} brings along",
                driver,
                "ask the administrators for a newer driver, or use an older release of vLLM",
            ) from None


def choose(capabilities: Iterable[str], driver: str = "", version: str = "") -> VllmRelease:
    """Return the newest release that all these GPUs and their driver can run.

    :param driver: version of NVIDIA's driver on the nodes; empty if it is not known.
    :param version: the release to check in place of the newest one; empty for none.
    :raises HerdError: if none can, or the wanted one cannot.
    """
    given = tuple(capabilities)
    if version:
        wanted = release(version)
        check_gpus(wanted, given, driver)
        return wanted
    for each in RELEASES:
        try:
            check_gpus(each, given, driver)
        except MismatchError as error:
            last = error
        else:
            return each
    raise last


def check_python(wanted: VllmRelease, python: tuple[int, int]) -> None:
    """Check that the lock of a release has wheels for this Python.

    :raises MismatchError: if it has none.
    """
    oldest, newest = wanted.pythons
    if not oldest <= python <= newest:
        raise MismatchError(
            f"Python {dotted(oldest)} to {dotted(newest)} for vLLM {wanted.version}",
            f"Python {dotted(python)}",
            "name another one, which all nodes must have under the same path (module load puts one into PATH)",
        )


def check_machine(wanted: VllmRelease, machine: str, glibc: str) -> None:
    """Check that the lock of a release has wheels for a machine and its C library.

    :param glibc: version of the GNU C library; empty for another library.
    :raises MismatchError: if it has none.
    """
    if machine != wanted.machine:
        raise MismatchError(
            f"a machine of the kind {wanted.machine} for the lock of vLLM {wanted.version}",
            machine,
            "install the environment on a node of that kind, which the jobs use",
        )
    found = tuple(int(part) for part in re.findall(r"[0-9]+", glibc)[:2])
    if found < wanted.glibc:
        raise MismatchError(
            f"the GNU C library {dotted(wanted.glibc)} or newer for the wheels of vLLM {wanted.version}",
            glibc or "another C library",
            "use nodes with a newer system (EL 9, Debian 12; EL 8 has 2.28), or jobs in a container that has one",
        )


def check_node(version: str, report: GpuReport, gpus: int = 1) -> None:
    """Check on a job's node that its GPUs and their driver can run a release.

    :param report: what nvidia-smi says of the GPUs, with their compute capabilities.
    :param gpus: GPUs that the job needs on this node.
    :raises HerdError: if they cannot, or if they are too few.
    """
    if not report.gpus:
        raise NotFoundError(
            "a GPU that nvidia-smi shows on this node", "none", "ask for GPUs in the job (--gres=gpu:1)"
        )
    if len(report.gpus) < gpus:
        lost = "".join(f"; {each}" for each in report.lost)
        remedy = "ask for another node: this one has lost a GPU" if lost else "ask for as many in the job (--gres)"
        raise InsufficientError(f"{gpus} GPUs on this node", f"{len(report.gpus)}{lost}", remedy)
    known = [gpu.compute_capability for gpu in report.gpus if _CAPABILITY.fullmatch(gpu.compute_capability)]
    check_gpus(release(version), known, report.driver)


def check_work_dir(path: str) -> None:
    """Check the path of the work space, which has the environments, the logs and the jobs' files.

    :raises InvalidInputError: if it is unset, no absolute path, too long or has other characters than a plain path.
    """
    expected = "the folder of your work space, on storage that all nodes share"
    example = "set herd_work_dir to a folder that you own, such as /data/horse/ws/NAME/vllm (see ws_allocate)"
    if not path or any(mark in path for mark in PLACEHOLDERS):
        raise InvalidInputError(expected, f"the placeholder {path}" if path else "none", example)
    if not re.fullmatch(r"/[A-Za-z0-9._/+@~-]+", path) or ".." in path.split("/"):
        raise InvalidInputError(f"{expected}: an absolute path of letters, digits and . _ + @ ~ -", path, example)
    if len(path) > LONGEST_PATH:
        raise InvalidInputError(
            f"{expected}: at most {LONGEST_PATH} characters, since names of sockets and programs begin with it",
            f"{len(path)} characters",
            "use a shorter path, or a short link to it",
        )
