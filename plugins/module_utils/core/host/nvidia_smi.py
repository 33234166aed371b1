# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the output of nvidia-smi, and explain its failures.

The source is C(nvidia-smi -q -x), since older drivers fail for unknown fields of C(--query-gpu). Only the compute
capability is such a field. Instead of a number, a value may be C(N/A), C(Not Supported), C(Unknown Error),
C(Insufficient Permissions) or C(GPU requires reset), with or without brackets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from xml.etree import ElementTree

from ..errors import HerdError, InvalidInputError, NotFoundError, RemoteFailureError

MIB = 1 << 20
QUERY = ("-q", "-x")
CAPABILITY_QUERY = ("--query-gpu=uuid,compute_cap", "--format=csv,noheader")
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_END = "</nvidia_smi_log>"
# Exit statuses of nvidia-smi's manual, "RETURN VALUE"; 18 is NVML_ERROR_LIB_RM_VERSION_MISMATCH of nvml.h.
_SUCCESS, _BAD_FIELD, _NO_DEVICE, _NO_DRIVER, _NO_LIBRARY, _INFOROM, _LOST, _MISMATCH = 0, 2, 6, 9, 12, 14, 15, 18


@dataclass(frozen=True)
class GpuProcess:
    """A process on a GPU. Its memory may be unknown."""

    pid: int
    name: str
    type: str
    used_mib: int | None


@dataclass(frozen=True)
class MigDevice:
    """A MIG device of a GPU."""

    index: int
    gpu_instance: int | None
    compute_instance: int | None
    total_mib: int | None
    used_mib: int | None
    free_mib: int | None


@dataclass(frozen=True)
class Gpu:
    """A GPU. A value is None if the driver, the card or the user's permissions do not provide it."""

    index: int
    uuid: str
    name: str
    pci_bus_id: str
    architecture: str
    total_mib: int | None
    reserved_mib: int | None
    used_mib: int | None
    free_mib: int | None
    utilisation_percent: int | None
    temperature_c: int | None
    power_w: float | None
    ecc: bool | None
    ecc_uncorrected: int | None
    mig: bool
    mig_devices: tuple[MigDevice, ...] = ()
    processes: tuple[GpuProcess, ...] = ()


@dataclass(frozen=True)
class GpuMemoryLimits:
    """Thresholds of a GPU's memory in use, in GiB. Use up to C(critical) is acceptable."""

    target_from: float = 26
    target_to: float = 28
    critical: float = 30

    def __post_init__(self) -> None:
        if not 0 <= self.target_from <= self.target_to <= self.critical:
            raise InvalidInputError(
                "thresholds of GPU memory in rising order",
                f"{self.target_from:g}, {self.target_to:g} and {self.critical:g} GiB",
                "correct target_from_gib, target_to_gib and critical_gib",
            )

    def level(self, used_mib: int | None) -> str:
        """Return C(below), C(good), C(acceptable), C(critical) or C(unknown)."""
        if used_mib is None:
            return "unknown"
        used = used_mib / 1024
        if used < self.target_from:
            return "below"
        if used <= self.target_to:
            return "good"
        return "acceptable" if used <= self.critical else "critical"


@dataclass(frozen=True)
class GpuReport:
    """The driver and GPUs of a host."""

    driver: str
    gpus: tuple[Gpu, ...] = ()


def _number(text: str | None) -> float | None:
    """Return the number of a value with its unit, or None for a word."""
    found = _NUMBER.match((text or "").strip().strip("[]").strip())
    return float(found.group()) if found else None


def _whole(text: str | None) -> int | None:
    number = _number(text)
    return None if number is None else int(number)


def _text(element: ElementTree.Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _said(element: ElementTree.Element, path: str) -> str:
    """Return a word, or empty for a missing value."""
    word = _text(element, path)
    return "" if word.strip("[]") in ("N/A", "Not Supported", "Unknown Error", "Insufficient Permissions") else word


def _first(element: ElementTree.Element, *paths: str) -> float | None:
    """Return the first number among elements whose names depend on the driver."""
    return next((found for found in (_number(_text(element, path)) for path in paths) if found is not None), None)


def _processes(gpu: ElementTree.Element) -> tuple[GpuProcess, ...]:
    found = []
    for process in gpu.iterfind("processes/process_info"):
        pid = _whole(_text(process, "pid"))
        if pid is not None:
            # Arguments of a process may contain secrets.
            name = _said(process, "process_name").split(" ", 1)[0]
            found.append(GpuProcess(pid, name, _said(process, "type"), _whole(_text(process, "used_memory"))))
    return tuple(found)


def _mig_devices(gpu: ElementTree.Element) -> tuple[MigDevice, ...]:
    return tuple(
        MigDevice(
            _whole(_text(device, "index")) or 0,
            _whole(_text(device, "gpu_instance_id")),
            _whole(_text(device, "compute_instance_id")),
            *(_whole(_text(device, f"fb_memory_usage/{kind}")) for kind in ("total", "used", "free")),
        )
        for device in gpu.iterfind("mig_devices/mig_device")
    )


def _uncorrected(gpu: ElementTree.Element) -> int | None:
    """Return the uncorrected errors since the driver was loaded. Drivers since 2019 count them by kind."""
    counts = [
        _whole(_text(gpu, f"ecc_errors/volatile/{path}"))
        for path in ("double_bit/total", "sram_uncorrectable", "sram_uncorrectable_parity",
                     "sram_uncorrectable_secded", "dram_uncorrectable")
    ]  # fmt: skip
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _gpu(index: int, element: ElementTree.Element) -> Gpu:
    ecc = _said(element, "ecc_mode/current_ecc")
    memory = {kind: _whole(_text(element, f"fb_memory_usage/{kind}")) for kind in ("total", "reserved", "used", "free")}
    return Gpu(
        index=index,
        uuid=_said(element, "uuid"),
        name=_said(element, "product_name"),
        pci_bus_id=_said(element, "pci/pci_bus_id") or str(element.get("id", "")),
        architecture=_said(element, "product_architecture"),
        total_mib=memory["total"],
        reserved_mib=memory["reserved"],
        used_mib=memory["used"],
        free_mib=memory["free"],
        utilisation_percent=_whole(_text(element, "utilization/gpu_util")),
        temperature_c=_whole(_text(element, "temperature/gpu_temp")),
        power_w=_first(
            element,
            "gpu_power_readings/instant_power_draw",
            "gpu_power_readings/power_draw",
            "power_readings/power_draw",
        ),
        ecc={"Enabled": True, "Disabled": False}.get(ecc),
        ecc_uncorrected=_uncorrected(element),
        mig=_text(element, "mig_mode/current_mig") == "Enabled",
        mig_devices=_mig_devices(element),
        processes=_processes(element),
    )


def parse(xml: str) -> GpuReport:
    """Read the output of C(nvidia-smi -q -x), which may contain warnings around the XML."""
    start, end = xml.find("<nvidia_smi_log"), xml.rfind(_END)
    try:
        if start < 0 or end < 0:
            raise ElementTree.ParseError("no nvidia_smi_log in it")
        root = ElementTree.fromstring(xml[start : end + len(_END)])
    except ElementTree.ParseError as error:
        raise RemoteFailureError(
            "nvidia-smi -q -x to print XML", f"{error} ({xml.strip()[:100]!r})", "run it by hand on that host"
        ) from error
    gpus = tuple(_gpu(index, element) for index, element in enumerate(root.iterfind("gpu")))
    return GpuReport(_said(root, "driver_version"), gpus)


def parse_capabilities(csv: str) -> dict[str, str]:
    """Return the compute capability by UUID; empty if the driver does not support the field."""
    rows = (tuple(cell.strip() for cell in line.split(",")) for line in csv.splitlines())
    return {row[0]: row[1] for row in rows if len(row) == 2 and re.fullmatch(r"[0-9]+\.[0-9]", row[1])}


def failure(status: int, output: str) -> HerdError | None:
    """Return the error of an exit status, or None if the output is usable."""
    told = next((line.strip() for line in output.splitlines() if line.strip()), "nothing")
    if status == _SUCCESS or (status == _INFOROM and _END in output):
        return None
    if status == _MISMATCH or "version mismatch" in output:
        library = re.search(r"NVML library version: (\S+)", output)
        return RemoteFailureError(
            "the loaded NVIDIA driver and its libraries to be of one version",
            told + (f", library {library.group(1)}" if library else ""),
            "restart this host, or unload and load the nvidia modules: the driver was updated under a running one",
        )
    if status == _NO_DRIVER or "couldn't communicate" in output:
        return NotFoundError(
            "a loaded NVIDIA driver",
            told,
            "load it (modprobe nvidia), or install the one for this kernel (dkms status)",
        )
    if status == _NO_DEVICE or "No devices were found" in output:
        return NotFoundError(
            "a GPU that the driver can use", told, "look for NVRM and Xid in dmesg, and check the card's power and slot"
        )
    if status == _NO_LIBRARY:
        return NotFoundError("the library libnvidia-ml", told, "install the driver's libraries")
    if status == _LOST or "Unable to determine the device handle" in output:
        return RemoteFailureError(
            "every GPU to answer", told, "look for Xid 79 in dmesg, restart this host, and check the card's slot"
        )
    return RemoteFailureError(
        "nvidia-smi to succeed", f"exit status {status}: {told}", "run it by hand on that host; dmesg may say more"
    )


def select(gpus: Sequence[Gpu], ids: Sequence[str]) -> list[Gpu]:
    """Return the GPUs of these ids (index, or UUID or its beginning), or all GPUs without ids."""
    if not ids:
        return list(gpus)
    found = []
    for wanted in ids:
        fitting = [gpu for gpu in gpus if wanted == str(gpu.index) or (len(wanted) > 3 and gpu.uuid.startswith(wanted))]
        if len(fitting) != 1:
            raise NotFoundError(
                f"one GPU with the id {wanted}",
                f"{len(fitting)} among {', '.join(f'{gpu.index} ({gpu.uuid})' for gpu in gpus) or 'none'}",
                "correct the id in herd_gpus; nvidia-smi -L lists them",
            )
        found.append(fitting[0])
    return found


def least_free(gpus: Sequence[Gpu]) -> int | None:
    """Return the free MiB of the fullest GPU, or None if a value is unknown."""
    known = [gpu.free_mib for gpu in gpus if gpu.free_mib is not None]
    return min(known) if known and len(known) == len(gpus) else None


def sysfs_name(pci_bus_id: str) -> str:
    """Return the kernel's name of a PCI device: C(00000000:3B:00.0) becomes C(0000:3b:00.0)."""
    domain, colon, rest = pci_bus_id.lower().partition(":")
    return f"{int(domain, 16):04x}:{rest}" if colon and re.fullmatch(r"[0-9a-f]+", domain) else ""


def describe(
    gpu: Gpu, limits: GpuMemoryLimits, capabilities: Mapping[str, str], numa_node: int | None
) -> dict[str, Any]:
    """Return a GPU as data, with sizes in MiB and in bytes."""
    data: dict[str, Any] = asdict(gpu)
    for kind in ("total", "used", "free"):
        mib = data[f"{kind}_mib"]
        data[f"{kind}_bytes"] = None if mib is None else mib * MIB
    return {
        **data,
        "compute_capability": capabilities.get(gpu.uuid, ""),
        "numa_node": numa_node,
        "level": limits.level(gpu.used_mib),
    }
