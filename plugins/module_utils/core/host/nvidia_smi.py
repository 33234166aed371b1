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
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..errors import HerdError, InvalidInputError, NotFoundError, RemoteFailureError
from ..text import plain
from .hardware import nvidia_smi_text as smi_text

MIB = 1 << 20
QUERY = ("-q", "-x")
CAPABILITY_QUERY = ("--query-gpu=uuid,compute_cap", "--format=csv,noheader")
_LOST_REMEDY = "look for Xid 79 in dmesg, restart this host, and check the card's slot"
_CLOCK_REASON = re.compile(r"<clocks_(?:event|throttle)_reason_([a-z_]{1,40})>\s*([A-Za-z ]{1,40}?)\s*</")
# Nothing limits the clocks of an idle GPU. The clocks of applications and of a display are an administrator's choice.
_NO_THROTTLING = frozenset(("gpu_idle", "applications_clocks_setting", "display_clocks_setting"))
# What a driver says of a GPU that it cannot use, in place of its values.
_LOST_WORDS = frozenset(("GPU is lost", "ERR!", "Unknown Error", "GPU requires reset"))
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
    compute_capability: str = ""
    sm_clock_mhz: int | None = None
    throttle_reasons: tuple[str, ...] | None = None
    memory_clock_mhz: int | None = None
    power_limit_w: float | None = None
    ecc_corrected: int | None = None


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
class LostGpu:
    """A GPU that nvidia-smi cannot describe.

    :ivar index: None if it cannot be concluded.
    :ivar reason: the words of nvidia-smi.
    """

    index: int | None
    uuid: str
    pci_bus_id: str
    reason: str

    @property
    def name(self) -> str:
        """Name the GPU as its messages do: C(GPU 3 (0000:5f:00.0))."""
        number = "" if self.index is None else f" {self.index}"
        slot = self.pci_bus_id or self.uuid
        return f"GPU{number} ({slot})" if slot else f"GPU{number}"

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True)
class GpuReport:
    """The driver and GPUs of a host.

    :ivar lost: GPUs that the driver lists and cannot use.
    :ivar doubt: why the report may be incomplete; usually empty.
    """

    driver: str
    gpus: tuple[Gpu, ...] = ()
    lost: tuple[LostGpu, ...] = ()
    doubt: str = ""


def _processes(block: str) -> tuple[GpuProcess, ...]:
    found = []
    for process in smi_text.elements(smi_text.element(block, "processes") or "", "process_info"):
        pid = smi_text.whole(process, "pid")
        if pid is not None:
            # Arguments of a process may contain secrets.
            name = smi_text.word(process, "process_name").strip().split(" ", 1)[0]
            used = smi_text.whole(process, "used_memory")
            found.append(GpuProcess(pid, name, smi_text.word(process, "type"), used))
    return tuple(found)


def _mig_devices(text: str) -> tuple[MigDevice, ...]:
    return tuple(
        MigDevice(
            smi_text.whole(device, "index") or 0,
            smi_text.whole(device, "gpu_instance_id"),
            smi_text.whole(device, "compute_instance_id"),
            *(smi_text.whole(device, f"fb_memory_usage/{kind}") for kind in ("total", "used", "free")),
        )
        for device in smi_text.elements(text, "mig_device")
    )


# Drivers since 2019 count errors by kind.
_CORRECTED = ("single_bit/total", "sram_correctable", "dram_correctable")
_UNCORRECTED = (
    "double_bit/total", "sram_uncorrectable", "sram_uncorrectable_parity", "sram_uncorrectable_secded",
    "dram_uncorrectable",
)  # fmt: skip


def _ecc_errors(block: str, kinds: Sequence[str]) -> int | None:
    """Return the errors of these kinds since the driver was loaded."""
    counts = [smi_text.whole(block, f"ecc_errors/volatile/{kind}") for kind in kinds]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _throttle_reasons(block: str) -> tuple[str, ...] | None:
    """Return why the clocks are below what the GPU could run at; None if the driver does not say it.

    Drivers before 535 name the list C(clocks_throttle_reasons). An idle GPU is not throttled.
    """
    listed = smi_text.element(block, "clocks_event_reasons") or smi_text.element(block, "clocks_throttle_reasons")
    if listed is None:
        return None
    found = dict(_CLOCK_REASON.findall(listed))
    return tuple(sorted(name for name, state in found.items() if state == "Active" and name not in _NO_THROTTLING))


def _gpu(index: int, block: smi_text.GpuBlock) -> Gpu:
    text = block.text
    ecc = smi_text.word(text, "ecc_mode/current_ecc")
    memory = {kind: smi_text.whole(text, f"fb_memory_usage/{kind}") for kind in ("total", "reserved", "used", "free")}
    return Gpu(
        index=index,
        uuid=smi_text.word(text, "uuid"),
        name=smi_text.word(text, "product_name"),
        pci_bus_id=smi_text.word(text, "pci/pci_bus_id") or block.pci_bus_id,
        architecture=smi_text.word(text, "product_architecture"),
        total_mib=memory["total"],
        reserved_mib=memory["reserved"],
        used_mib=memory["used"],
        free_mib=memory["free"],
        utilisation_percent=smi_text.whole(text, "utilization/gpu_util"),
        temperature_c=smi_text.whole(text, "temperature/gpu_temp"),
        power_w=smi_text.number(
            text,
            "gpu_power_readings/instant_power_draw",
            "gpu_power_readings/power_draw",
            "power_readings/power_draw",
        ),
        ecc={"Enabled": True, "Disabled": False}.get(ecc),
        ecc_uncorrected=_ecc_errors(text, _UNCORRECTED),
        mig=smi_text.element(text, "mig_mode/current_mig") == "Enabled",
        mig_devices=_mig_devices(block.mig_devices),
        processes=_processes(text),
        sm_clock_mhz=smi_text.whole(text, "clocks/sm_clock"),
        throttle_reasons=_throttle_reasons(text),
        memory_clock_mhz=smi_text.whole(text, "clocks/mem_clock"),
        power_limit_w=smi_text.number(
            text,
            "gpu_power_readings/current_power_limit",
            "gpu_power_readings/power_limit",
            "power_readings/power_limit",
        ),
        ecc_corrected=_ecc_errors(text, _CORRECTED),
    )


def _fault(block: smi_text.GpuBlock) -> str:
    """Return why a description is of no usable GPU; empty for a usable one."""
    for path in ("uuid", "fb_memory_usage/total"):
        found = smi_text.element(block.text, path)
        if found is not None and found.strip("[]") in _LOST_WORDS:
            return found.strip("[]")
    missing = [
        path.partition("/")[0] for path in ("uuid", "fb_memory_usage/total") if not smi_text.element(block.text, path)
    ]
    if missing or not block.is_complete:
        return f"nvidia-smi's description of it is damaged{f' (no {missing[0]})' if missing else ''}"
    return ""


def _lost_index(handle: smi_text.LostHandle, slots: Sequence[tuple[int, ...] | None]) -> int | None:
    """Return the index of a GPU without a description: nvidia-smi counts in the order of PCI bus ids."""
    slot = smi_text.pci_slot(handle.pci_bus_id)
    if handle.index is not None or slot is None or None in slots:
        return handle.index
    return sum(other < slot for other in slots if other is not None)


def _lost_gpus(handles: Sequence[smi_text.LostHandle], found: Sequence[smi_text.GpuBlock]) -> list[LostGpu]:
    buses = [block.pci_bus_id for block in found] + [handle.pci_bus_id for handle in handles]
    slots = [smi_text.pci_slot(bus) for bus in buses]
    return [LostGpu(_lost_index(handle, slots), "", handle.pci_bus_id, handle.reason) for handle in handles]


def parse(output: str) -> GpuReport:
    """Read the output of C(nvidia-smi -q -x), in which other lines and damaged descriptions may stand.

    A GPU without a description keeps its index: the others are not counted anew.
    """
    found = smi_text.blocks(output)
    described = {smi_text.pci_slot(block.pci_bus_id) for block in found}
    handles = [
        handle
        for handle in smi_text.lost_handles(output)
        if handle.pci_bus_id == "" or smi_text.pci_slot(handle.pci_bus_id) not in described
    ]
    lost = _lost_gpus(handles, found)
    taken = {each.index for each in lost}
    indexes = [index for index in range(len(found) + len(lost)) if index not in taken]
    gpus = []
    for index, block in zip(indexes, found):
        fault = _fault(block)
        if fault:
            lost.append(LostGpu(index, smi_text.word(block.text, "uuid"), block.pci_bus_id, fault))
        else:
            gpus.append(_gpu(index, block))
    attached = smi_text.whole(output, "attached_gpus")
    if attached is None and not found:
        raise RemoteFailureError(
            "nvidia-smi -q -x to print XML", f"{output.strip()[:100]!r}", "run it by hand on that host"
        )
    known = len(gpus) + len(lost)
    doubt = ""
    if attached is not None and attached > known:
        doubt = f"nvidia-smi counts {attached} GPUs and describes {known}, so an index may mean another GPU"
    return GpuReport(smi_text.word(output, "driver_version"), tuple(gpus), tuple(lost), doubt)


def read(status: int, output: str) -> GpuReport:
    """Read what C(nvidia-smi -q -x) printed, whatever its exit status is, if it describes a usable GPU.

    :param output: both of its outputs.
    :raises HerdError: if it describes none, with the cause.
    """
    if not smi_text.blocks(output):
        problem = failure(status, output)
        if problem is not None:
            raise problem
        return parse(output)
    report = parse(output)
    if not report.gpus:
        raise lost_error(report.lost)
    if status not in (_SUCCESS, _INFOROM) and not report.lost:
        return replace(report, doubt=report.doubt or f"nvidia-smi ended with exit status {status}")
    return report


def lost_error(lost: Sequence[LostGpu]) -> RemoteFailureError:
    """Return the error of GPUs that are needed and lost."""
    return RemoteFailureError(
        "every GPU to answer",
        "; ".join(map(str, lost)),
        _LOST_REMEDY,
    )


def warnings(report: GpuReport) -> list[str]:
    """Return a sentence for each lost GPU, which is not needed, and for a doubt about the others."""
    lost = [f"{each.name} is lost ({each.reason}); {_LOST_REMEDY}. The other GPUs are used." for each in report.lost]
    return lost + ([f"{report.doubt}: run it by hand on this host."] if report.doubt else [])


def with_capabilities(report: GpuReport, csv: str) -> GpuReport:
    """Add the compute capabilities to a report; none if the driver does not support the field.

    :param csv: what nvidia-smi printed for CAPABILITY_QUERY.
    """
    known = parse_capabilities(csv)
    gpus = tuple(replace(gpu, compute_capability=known.get(gpu.uuid, "")) for gpu in report.gpus)
    return replace(report, gpus=gpus)


def parse_capabilities(csv: str) -> dict[str, str]:
    """Return the compute capability by UUID; empty if the driver does not support the field."""
    rows = (tuple(cell.strip() for cell in line.split(",")) for line in csv.splitlines())
    return {row[0]: row[1] for row in rows if len(row) == 2 and re.fullmatch(r"[0-9]{1,2}\.[0-9]", row[1])}


def failure(status: int, output: str) -> HerdError | None:
    """Return the error of an output without GPUs, or None if it has none."""
    told = next((plain(line.strip()) for line in output.splitlines() if line.strip()), "nothing")
    if status == _LOST or "Unable to determine the device handle" in output:
        lost = [
            str(LostGpu(handle.index, "", handle.pci_bus_id, handle.reason)) for handle in smi_text.lost_handles(output)
        ]
        return RemoteFailureError("every GPU to answer", "; ".join(lost) or told, _LOST_REMEDY)
    if status == _SUCCESS:
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
    return RemoteFailureError(
        "nvidia-smi to succeed", f"exit status {status}: {told}", "run it by hand on that host; dmesg may say more"
    )


def _fits(wanted: str, index: int | None, uuid: str, pci_bus_id: str) -> bool:
    """Return whether an id is this index, this UUID or its beginning, or this PCI bus id in any of its forms."""
    slot = smi_text.pci_slot(wanted)
    return (
        wanted == str(index)
        or (len(wanted) > 3 and uuid.startswith(wanted))
        or (slot is not None and slot == smi_text.pci_slot(pci_bus_id))
    )


def select(report: GpuReport, ids: Sequence[str]) -> list[Gpu]:
    """Return the GPUs of these ids (index, UUID or its beginning, or PCI bus id), or all GPUs without ids.

    :raises RemoteFailureError: if one of them is lost.
    :raises NotFoundError: if an id fits no GPU or several.
    """
    lost = [each for each in report.lost if not ids or any(_fits(wanted, *_identity(each)) for wanted in ids)]
    if lost:
        raise lost_error(lost)
    if not ids:
        return list(report.gpus)
    found = []
    for wanted in ids:
        fitting = [gpu for gpu in report.gpus if _fits(wanted, *_identity(gpu))]
        if len(fitting) != 1:
            gpus = ", ".join([f"{gpu.index} ({gpu.uuid})" for gpu in report.gpus] + [str(each) for each in report.lost])
            raise NotFoundError(
                f"one GPU with the id {wanted}",
                f"{len(fitting)} among {gpus or 'none'}",
                "correct the id in herd_gpus; nvidia-smi -L lists them",
            )
        found.append(fitting[0])
    return found


def _identity(gpu: Gpu | LostGpu) -> tuple[int | None, str, str]:
    return gpu.index, gpu.uuid, gpu.pci_bus_id


def least_free(gpus: Sequence[Gpu]) -> int | None:
    """Return the free MiB of the fullest GPU, or None if a value is unknown."""
    known = [gpu.free_mib for gpu in gpus if gpu.free_mib is not None]
    return min(known) if known and len(known) == len(gpus) else None


def sysfs_name(pci_bus_id: str) -> str:
    """Return the kernel's name of a PCI device: C(00000000:3B:00.0) becomes C(0000:3b:00.0)."""
    domain, colon, rest = pci_bus_id.lower().partition(":")
    return f"{int(domain, 16):04x}:{rest}" if colon and re.fullmatch(r"[0-9a-f]+", domain) else ""


def describe(gpu: Gpu, limits: GpuMemoryLimits, numa_node: int | None) -> dict[str, Any]:
    """Return a GPU as data, with sizes in MiB and in bytes."""
    data: dict[str, Any] = asdict(gpu)
    for kind in ("total", "used", "free"):
        mib = data[f"{kind}_mib"]
        data[f"{kind}_bytes"] = None if mib is None else mib * MIB
    return {**data, "numa_node": numa_node, "level": limits.level(gpu.used_mib)}
