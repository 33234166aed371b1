# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GPUs as nvidia-smi of several drivers describes them, and its failures."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.core.host import nvidia_smi as nvidia_smi_report
from ansible_collections.herd.inference.plugins.module_utils.core.host.nvidia_smi import (
    Gpu,
    GpuMemoryLimits,
    GpuProcess,
)

FIXTURES = Path(__file__).parents[3] / "fixtures" / "nvidia_smi"


def text(name: str) -> str:
    return (FIXTURES / name).read_text(encoding="utf-8")


def report(name: str) -> nvidia_smi_report.GpuReport:
    return nvidia_smi_report.parse(text(name))


def test_a_busy_v100s_is_read() -> None:
    found = report("v100s-460.xml")
    assert found.driver == "460.73.01"
    assert found.gpus == (
        Gpu(
            index=0,
            uuid="GPU-76098dc1-d3bc-9a1b-7ea6-f7b48837829e",
            name="Tesla V100S-PCIE-32GB",
            pci_bus_id="00000000:00:0D.0",
            architecture="",
            total_mib=32510,
            reserved_mib=None,
            used_mib=31689,
            free_mib=821,
            utilisation_percent=97,
            temperature_c=66,
            power_w=232.8,
            ecc=True,
            ecc_uncorrected=0,
            mig=False,
            processes=(GpuProcess(37305, "python", "C", 31683),),
        ),
    )


def test_an_a100_with_mig_is_read() -> None:
    (gpu,) = report("a100-mig-510.xml").gpus
    assert (gpu.mig, gpu.utilisation_percent, gpu.ecc_uncorrected) == (True, None, None)
    assert (gpu.total_mib, gpu.reserved_mib, gpu.free_mib) == (40960, 605, 40315)
    assert [(part.index, part.gpu_instance, part.free_mib) for part in gpu.mig_devices] == [
        (0, 1, 19948),
        (1, 2, 19948),
    ]


def test_two_cards_of_a_new_driver_are_read() -> None:
    gpus = report("dual-2080-590.xml").gpus
    assert [(gpu.index, gpu.pci_bus_id, gpu.power_w, gpu.ecc) for gpu in gpus] == [
        (0, "00000000:01:00.0", 1.0, None),
        (1, "00000000:02:00.0", 1.62, None),
    ]
    assert {gpu.architecture for gpu in gpus} == {"Turing"}


def test_arguments_of_processes_are_left_out() -> None:
    (gpu,) = report("gt-1030-470.xml").gpus
    assert [(process.pid, process.name, process.used_mib) for process in gpu.processes] == [
        (1000, "/usr/bin/akonadi_mailfilter_agent", 1),
        (2028, "/usr/lib/electron9/electron", 65),
    ]
    assert gpu.power_w is None


@pytest.mark.parametrize(
    "word",
    ["N/A", "[N/A]", "[Not Supported]", "Unknown Error", "[Unknown Error]", "Insufficient Permissions",
     "[Insufficient Permissions]", "GPU requires reset", "Requested functionality has been deprecated", ""],
)  # fmt: skip
def test_words_instead_of_numbers_are_unknown(word: str) -> None:
    raw = text("v100s-460.xml")
    for value in ("821 MiB", "31689 MiB", "97 %", "66 C", "232.80 W", "31683 MiB", "Enabled</current_ecc>"):
        raw = raw.replace(value, f"{word}</current_ecc>" if "<" in value else word)
    (gpu,) = nvidia_smi_report.parse(raw).gpus
    assert (gpu.free_mib, gpu.used_mib, gpu.utilisation_percent, gpu.temperature_c) == (None, None, None, None)
    assert (gpu.power_w, gpu.ecc, gpu.processes[0].used_mib, gpu.total_mib) == (None, None, None, 32510)
    assert nvidia_smi_report.least_free([gpu]) is None
    assert GpuMemoryLimits().level(gpu.used_mib) == "unknown"


def test_unknown_elements_are_ignored() -> None:
    raw = text("v100s-460.xml").replace("<processes>", "<quantum_mode><state>7</state></quantum_mode><processes>")
    assert nvidia_smi_report.parse(raw) == report("v100s-460.xml")


def test_warnings_around_the_xml_are_ignored() -> None:
    """As with a damaged infoROM: status 14, and everything is there."""
    raw = text("v100s-460.xml") + "WARNING: infoROM is corrupted at gpu 0000:0B:00.0\n"
    assert nvidia_smi_report.failure(14, raw) is None
    assert nvidia_smi_report.parse(raw) == report("v100s-460.xml")


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("mismatch.txt", 18, ["of one version", "library 550.144", "restart this host"]),
        ("mismatch.txt", 255, ["of one version"]),
        ("no-driver.txt", 9, ["a loaded NVIDIA driver", "modprobe nvidia"]),
        ("no-devices.txt", 6, ["a GPU that the driver can use", "dmesg"]),
        ("no-devices.txt", 0, []),
        ("lost.txt", 15, ["every GPU to answer", "GPU0000:07:00.0", "Xid 79"]),
        ("lost.txt", 255, ["every GPU to answer"]),
        ("unknown-field.txt", 2, ["exit status 2", "compute_cap"]),
    ],
)
def test_failures(name: str, status: int, words: list[str]) -> None:
    problem = nvidia_smi_report.failure(status, text(name))
    assert (problem is None) is (not words)
    for word in words:
        assert word in str(problem)


@pytest.mark.parametrize(
    "raw", ["", "No devices were found\n", "<nvidia_smi_log><gpu>", "<nvidia_smi_log></a></nvidia_smi_log>"]
)
def test_output_without_xml_is_an_error(raw: str) -> None:
    with pytest.raises(HerdError, match="nvidia-smi -q -x to print XML"):
        nvidia_smi_report.parse(raw)


def test_capabilities() -> None:
    csv = "GPU-76098dc1-d3bc-9a1b-7ea6-f7b48837829e, 7.0\nGPU-2, [N/A]\n"
    assert nvidia_smi_report.parse_capabilities(csv) == {"GPU-76098dc1-d3bc-9a1b-7ea6-f7b48837829e": "7.0"}
    assert nvidia_smi_report.parse_capabilities(text("unknown-field.txt")) == {}


@pytest.mark.parametrize(
    ("gib", "level"),
    [
        (0, "below"),
        (25.9, "below"),
        (26, "good"),
        (28, "good"),
        (28.1, "acceptable"),
        (30, "acceptable"),
        (30.1, "critical"),
    ],
)
def test_thresholds_of_the_documents(gib: float, level: str) -> None:
    assert GpuMemoryLimits().level(round(gib * 1024)) == level


def test_thresholds_out_of_order_are_rejected() -> None:
    with pytest.raises(HerdError, match="rising order"):
        GpuMemoryLimits(28, 26, 30)


@pytest.mark.parametrize(("ids", "buses"), [([], ["01", "02"]), (["1"], ["02"]), (["1", "0"], ["02", "01"])])
def test_gpus_are_selected_by_index_or_uuid(ids: list[str], buses: list[str]) -> None:
    found = nvidia_smi_report.select(report("dual-2080-590.xml").gpus, ids)
    assert [gpu.pci_bus_id.split(":")[1] for gpu in found] == buses


def test_unknown_or_ambiguous_ids_are_rejected() -> None:
    gpus = report("dual-2080-590.xml").gpus
    for wanted, count in (("2", 0), ("GPU-9", 0), ("GPU-12345678", 2), ("GPU", 0)):
        with pytest.raises(HerdError, match=f"id {wanted}, found {count} among 0 "):
            nvidia_smi_report.select(gpus, [wanted])
    (v100s,) = nvidia_smi_report.select(report("v100s-460.xml").gpus, ["GPU-76098dc1"])
    assert v100s.index == 0


@pytest.mark.parametrize(
    ("bus", "name"),
    [("00000000:3B:00.0", "0000:3b:00.0"), ("00010000:01:00.0", "10000:01:00.0"), ("", ""), ("[N/A]", "")],
)
def test_the_kernels_name_of_a_pci_device(bus: str, name: str) -> None:
    assert nvidia_smi_report.sysfs_name(bus) == name


def test_sizes_are_also_in_bytes() -> None:
    (gpu,) = report("v100s-460.xml").gpus
    data = nvidia_smi_report.describe(gpu, GpuMemoryLimits(), {gpu.uuid: "7.0"}, 1)
    assert (data["total_bytes"], data["used_bytes"], data["free_bytes"]) == (34089205760, 33228324864, 860880896)
    assert (data["level"], data["compute_capability"], data["numa_node"]) == ("critical", "7.0", 1)
    assert list(data["processes"]) == [{"pid": 37305, "name": "python", "type": "C", "used_mib": 31683}]
