# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GPUs as nvidia-smi of several drivers describes them, and its failures."""

from __future__ import annotations

from dataclasses import replace
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
            power_limit_w=250.0,
            ecc_corrected=0,
        ),
    )


def with_clocks(prefix: str, *active: str) -> str:
    """Return a description with clocks, as drivers before 535 (throttle) and later ones (event) print it."""
    names = (
        "gpu_idle", "applications_clocks_setting", "sw_power_cap", "hw_slowdown", "hw_thermal_slowdown",
        "hw_power_brake_slowdown", "sync_boost", "sw_thermal_slowdown", "display_clocks_setting",
    )  # fmt: skip
    rows = "\n".join(
        f"<{prefix}_reason_{name}>{'Active' if name in active else 'Not Active'}</{prefix}_reason_{name}>"
        for name in names
    )
    clocks = "<clocks>\n<graphics_clock>1200 MHz</graphics_clock>\n<sm_clock>1380 MHz</sm_clock>\n</clocks>"
    listed = f"<{prefix}_reasons>\n{rows}\n</{prefix}_reasons>\n{clocks}"
    return text("v100s-460.xml").replace("<fb_memory_usage>", f"{listed}\n<fb_memory_usage>", 1)


@pytest.mark.parametrize("prefix", ["clocks_throttle", "clocks_event"])
def test_clock_and_throttle_reasons_are_read(prefix: str) -> None:
    active = ("gpu_idle", "applications_clocks_setting", "sw_power_cap", "hw_thermal_slowdown")
    (gpu,) = nvidia_smi_report.parse(with_clocks(prefix, *active)).gpus
    assert (gpu.sm_clock_mhz, gpu.throttle_reasons) == (1380, ("hw_thermal_slowdown", "sw_power_cap"))


def test_idle_gpu_is_not_throttled() -> None:
    (gpu,) = nvidia_smi_report.parse(with_clocks("clocks_event", "gpu_idle")).gpus
    assert gpu.throttle_reasons == ()


def test_driver_that_reports_no_clocks_leaves_them_unknown() -> None:
    (gpu,) = report("v100s-460.xml").gpus
    assert (gpu.sm_clock_mhz, gpu.throttle_reasons) == (None, None)
    absent = with_clocks("clocks_event").replace("1380 MHz", "N/A").replace("Not Active", "N/A")
    (gpu,) = nvidia_smi_report.parse(absent).gpus
    assert gpu.sm_clock_mhz is None


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
    assert nvidia_smi_report.read(14, raw) == report("v100s-460.xml")


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("mismatch.txt", 18, ["of one version", "library 550.144", "restart this host"]),
        ("mismatch.txt", 255, ["of one version"]),
        ("no-driver.txt", 9, ["a loaded NVIDIA driver", "modprobe nvidia"]),
        ("no-devices.txt", 6, ["a GPU that the driver can use", "dmesg"]),
        ("lost.txt", 15, ["every GPU to answer", "0000:07:00.0", "Xid 79"]),
        ("lost.txt", 255, ["every GPU to answer"]),
        ("lost.txt", 0, ["every GPU to answer", "GPU (0000:07:00.0): Unknown Error"]),
        ("unknown-field.txt", 2, ["exit status 2", "compute_cap"]),
    ],
)
def test_failures(name: str, status: int, words: list[str]) -> None:
    with pytest.raises(HerdError) as caught:
        nvidia_smi_report.read(status, text(name))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "raw", ["", "No devices were found\n", "<nvidia_smi_log><gpu>", "<nvidia_smi_log></a></nvidia_smi_log>"]
)
def test_output_without_xml_is_an_error(raw: str) -> None:
    with pytest.raises(HerdError, match="nvidia-smi -q -x to print XML"):
        nvidia_smi_report.read(0, raw)


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


@pytest.mark.parametrize(
    ("ids", "buses"),
    [
        ([], ["01", "02"]),
        (["1"], ["02"]),
        (["1", "0"], ["02", "01"]),
        (["00000000:02:00.0"], ["02"]),
        (["0000:02:00.0"], ["02"]),
        (["02:00.0"], ["02"]),
    ],
)
def test_gpus_are_selected_by_index_uuid_or_pci_bus_id(ids: list[str], buses: list[str]) -> None:
    found = nvidia_smi_report.select(report("dual-2080-590.xml"), ids)
    assert [gpu.pci_bus_id.split(":")[1] for gpu in found] == buses


def test_unknown_or_ambiguous_ids_are_rejected() -> None:
    two = report("dual-2080-590.xml")
    for wanted, count in (("2", 0), ("GPU-9", 0), ("GPU-12345678", 2), ("GPU", 0)):
        with pytest.raises(HerdError, match=f"id {wanted}, found {count} among 0 "):
            nvidia_smi_report.select(two, [wanted])
    (v100s,) = nvidia_smi_report.select(report("v100s-460.xml"), ["GPU-76098dc1"])
    assert v100s.index == 0


@pytest.mark.parametrize(
    ("bus", "name"),
    [("00000000:3B:00.0", "0000:3b:00.0"), ("00010000:01:00.0", "10000:01:00.0"), ("", ""), ("[N/A]", "")],
)
def test_the_kernels_name_of_a_pci_device(bus: str, name: str) -> None:
    assert nvidia_smi_report.sysfs_name(bus) == name


def test_sizes_are_also_in_bytes() -> None:
    (gpu,) = report("v100s-460.xml").gpus
    with_capability = nvidia_smi_report.with_capabilities(report("v100s-460.xml"), f"{gpu.uuid}, 7.0\n").gpus[0]
    data = nvidia_smi_report.describe(with_capability, GpuMemoryLimits(), 1)
    assert (data["total_bytes"], data["used_bytes"], data["free_bytes"]) == (34089205760, 33228324864, 860880896)
    assert (data["level"], data["compute_capability"], data["numa_node"]) == ("critical", "7.0", 1)
    assert list(data["processes"]) == [{"pid": 37305, "name": "python", "type": "C", "used_mib": 31683}]


def eight(lost: int | None = None) -> str:
    """Return XML of eight cards, of which one is not described."""
    raw = text("dual-2080-590.xml")
    head, _start, rest = raw.partition('<gpu id="')
    card = '<gpu id="' + rest.partition("</gpu>")[0] + "</gpu>\n"
    cards = [
        card.replace(":01:00.0", f":{number + 1:02x}:00.0").replace("GPU-12345678-aaaa", f"GPU-{number}0000000-aaaa")
        for number in range(8)
        if number != lost
    ]
    return head.replace("<attached_gpus>2<", "<attached_gpus>8<") + "".join(cards) + "</nvidia_smi_log>\n"


@pytest.mark.parametrize(
    ("line", "slot", "reason"),
    [
        ("for GPU3: 0000:04:00.0: Unknown Error", "0000:04:00.0", "Unknown Error"),
        ("for GPU0000:04:00.0: Unknown Error", "0000:04:00.0", "Unknown Error"),
        (
            "for GPU 0000:04:00.0: GPU is lost.  Reboot the system to recover this GPU",
            "0000:04:00.0",
            "GPU is lost. Reboot the system to recover this GPU",
        ),
        ("for GPU3: Unknown Error", "", "Unknown Error"),
        ("for GPU 3: Unknown Error", "", "Unknown Error"),
        ("for GPU3", "", "no reason given"),
    ],
)
@pytest.mark.parametrize("status", [0, 15, 255])
@pytest.mark.parametrize("place", ["before", "after", "between"])
def test_healthy_gpus_keep_their_indexes_beside_a_lost_one(
    line: str, slot: str, reason: str, status: int, place: str
) -> None:
    said, xml = f"Unable to determine the device handle {line}\n", eight(lost=3)
    raw = {
        "before": said + xml,
        "after": xml + said,
        "between": xml.replace('<gpu id="00000000:05', said + '<gpu id="00000000:05'),
    }[place]
    found = nvidia_smi_report.read(status, raw)
    assert [(gpu.index, gpu.pci_bus_id[9:11]) for gpu in found.gpus] == [
        (0, "01"), (1, "02"), (2, "03"), (4, "05"), (5, "06"), (6, "07"), (7, "08"),
    ]  # fmt: skip
    assert found.lost == (nvidia_smi_report.LostGpu(3, "", slot, reason),)
    assert found.doubt == ""
    for ids in (["4"], ["GPU-40000000-aaaa"], ["0000:05:00.0"]):
        assert [gpu.pci_bus_id for gpu in nvidia_smi_report.select(found, ids)] == ["00000000:05:00.0"]
    for ids in ([], ["3"], ["4", "3"], *([["0000:04:00.0"]] if slot else [])):
        with pytest.raises(HerdError, match=r"every GPU to answer, found GPU 3.*: look for Xid 79"):
            nvidia_smi_report.select(found, ids)
    (warning,) = nvidia_smi_report.warnings(found)
    assert warning.startswith(f"GPU 3{f' ({slot})' if slot else ''} is lost ({reason}); look for Xid 79")


def test_two_lost_gpus_keep_the_indexes_of_the_others() -> None:
    said = "".join(
        f"Unable to determine the device handle for GPU 0000:{bus}:00.0: Unknown Error\n" for bus in ("04", "01")
    )
    xml = eight(lost=3).replace(eight()[eight().index('<gpu id="') : eight().index('<gpu id="00000000:02')], "")
    found = nvidia_smi_report.read(0, said + xml)
    assert [gpu.index for gpu in found.gpus] == [1, 2, 4, 5, 6, 7]
    assert {gpu.index for gpu in found.lost} == {0, 3}


@pytest.mark.parametrize("word", ["GPU is lost", "[GPU is lost]", "ERR!", "Unknown Error", "GPU requires reset"])
def test_gpu_with_errors_in_place_of_values_is_lost(word: str) -> None:
    first, second = text("dual-2080-590.xml").split('<gpu id="00000000:02:00.0">')
    for value in ("8192 MiB", "7786 MiB", "406 MiB", "15 C"):
        first = first.replace(value, word)
    found = nvidia_smi_report.read(0, f'{first}<gpu id="00000000:02:00.0">{second}')
    assert [gpu.index for gpu in found.gpus] == [1]
    assert found.lost == (
        nvidia_smi_report.LostGpu(0, "GPU-12345678-aaaa-bbbb-cccc-0123456789ab", "00000000:01:00.0", word.strip("[]")),
    )


@pytest.mark.parametrize("word", ["N/A", "[N/A]", "Not Supported", "Insufficient Permissions"])
def test_gpu_without_a_known_memory_is_not_lost(word: str) -> None:
    """As on hosts whose GPU shares the memory of the processors."""
    found = nvidia_smi_report.read(0, text("v100s-460.xml").replace("32510 MiB", word))
    assert (found.gpus[0].total_mib, found.lost) == (None, ())


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a&b", "a&b"),
        ("a&amp;b", "a&b"),
        ("R&D <beta>", "R&D"),
        ("<python", "<python"),
        ("</process_name>", "</process_name>"),
        ("x</gpu><gpu", "x</gpu><gpu"),
        ("\x01py\x1b[31m", "py"),
        ("\ufffd\ufffd", "\ufffd\ufffd"),
        ("two\nlines", "two"),
        ("]]>", "]]>"),
        ("&#0;", "&#0;"),
    ],
)
def test_names_of_processes_may_hold_anything(name: str, shown: str) -> None:
    (gpu,) = nvidia_smi_report.read(0, text("v100s-460.xml").replace(">python<", f">{name}<")).gpus
    assert gpu.processes == (GpuProcess(37305, shown, "C", 31683),)
    assert replace(gpu, processes=()) == replace(report("v100s-460.xml").gpus[0], processes=())


def test_wrongly_nested_clocks_hide_nothing() -> None:
    clocks = (
        "<supported_clocks><supported_graphics_clock>210 MHz</supported_graphics_clock></supported_mem_clock>"
        "<supported_mem_clock>5001 MHz</supported_clocks>"
    )
    raw = text("dual-2080-590.xml").replace("<processes>", f"{clocks}<processes>")
    assert nvidia_smi_report.read(0, raw) == report("dual-2080-590.xml")


@pytest.mark.parametrize("part", [0.0, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("status", [0, 255])
def test_damaged_description_is_named_and_the_other_gpu_is_read(part: float, status: int) -> None:
    raw = text("dual-2080-590.xml")
    start, second = raw.index('<gpu id="00000000:01:00.0">'), raw.index('<gpu id="00000000:02:00.0">')
    begin = start + len('<gpu id="00000000:01:00.0">')
    cut = raw[: begin + int((raw.index("</gpu>") - begin) * part)] + "\n" + raw[second:]
    found = nvidia_smi_report.read(status, cut)
    assert [(gpu.index, gpu.pci_bus_id) for gpu in found.gpus] == [(1, "00000000:02:00.0")]
    assert [(gpu.index, gpu.pci_bus_id) for gpu in found.lost] == [(0, "00000000:01:00.0")]
    assert "damaged" in found.lost[0].reason
    with pytest.raises(HerdError, match=r"GPU 0 \(00000000:01:00\.0\): nvidia-smi's description of it is damaged"):
        nvidia_smi_report.select(found, ["0"])


def test_output_that_ends_early_names_the_last_gpu() -> None:
    raw = text("dual-2080-590.xml")
    found = nvidia_smi_report.read(255, raw[: raw.index("</fb_memory_usage>", raw.index("00000000:02"))])
    assert ([gpu.index for gpu in found.gpus], [gpu.index for gpu in found.lost]) == ([0], [1])


def test_gpu_that_is_counted_and_not_described_makes_indexes_doubtful() -> None:
    found = nvidia_smi_report.read(0, eight(lost=3))
    assert found.doubt == "nvidia-smi counts 8 GPUs and describes 7, so an index may mean another GPU"
    assert nvidia_smi_report.warnings(found) == [f"{found.doubt}: run it by hand on this host."]


def test_unknown_exit_status_of_a_whole_report_is_a_doubt() -> None:
    found = nvidia_smi_report.read(255, text("v100s-460.xml"))
    assert (found.gpus, found.doubt) == (report("v100s-460.xml").gpus, "nvidia-smi ended with exit status 255")


def test_host_whose_gpus_are_all_lost_is_an_error() -> None:
    raw = text("v100s-460.xml").replace("32510 MiB", "GPU is lost")
    with pytest.raises(HerdError, match=r"every GPU to answer, found GPU 0 \(00000000:00:0D\.0\): GPU is lost"):
        nvidia_smi_report.read(0, raw)


def test_numbers_out_of_range_are_unknown() -> None:
    (gpu,) = nvidia_smi_report.read(0, text("v100s-460.xml").replace("821 MiB", f"{'9' * 400} MiB")).gpus
    assert gpu.free_mib is None
