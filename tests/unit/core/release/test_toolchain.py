"""Compiler, CUDA, GPU and driver: what fits together, and what the remedy is where it does not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.core.release import toolchain, toolchain_probe

FIXTURES = Path(__file__).parents[3] / "fixtures" / "toolchain"


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        (["7.0", "7.0", "7.0"], ["70"]),
        (["8.6", "7.0"], ["70", "86"]),
        (["12.0", "9.0"], ["90", "120"]),
        ([], []),
    ],
)
def test_architectures(capabilities: list[str], expected: list[str]) -> None:
    assert toolchain.architectures(capabilities) == expected


@pytest.mark.parametrize("capability", ["70", "7", "", "sm_70", "7.0.0"])
def test_a_malformed_capability_is_rejected(capability: str) -> None:
    with pytest.raises(HerdError, match=r"like 7.0"):
        toolchain.architectures([capability])


@pytest.mark.parametrize(
    ("cuda", "gcc", "fits"),
    [
        ("12.2.140", "12.2.1", True),
        ("12.2.140", "13.2.0", False),
        ("12.2.140", "8.5.0", True),
        ("12.4.131", "13.2.0", True),
        ("12.7.0", "14.1.0", False),
        ("13.0.88", "12.2.0", True),
        ("13.9.0", "16.0.0", False),
        ("11.8.89", "12.2.0", False),
    ],
)
def test_compiler(cuda: str, gcc: str, fits: bool) -> None:
    if fits:
        toolchain.check_compiler(cuda, gcc)
        return
    with pytest.raises(HerdError, match="toolchain_gcc_version"):
        toolchain.check_compiler(cuda, gcc)


@pytest.mark.parametrize(
    ("cuda", "archs", "remedy"),
    [
        ("12.2.140", ["70"], None),
        ("13.0.88", ["70"], "CUDA 13 does not support Volta"),
        ("13.0.88", ["75", "90"], None),
        ("12.2.140", ["120"], "newer CUDA toolkit"),
        ("12.8.61", ["120"], None),
    ],
)
def test_cuda_against_gpus(cuda: str, archs: list[str], remedy: str | None) -> None:
    if remedy is None:
        toolchain.check_architectures(cuda, archs)
        return
    with pytest.raises(HerdError, match=remedy):
        toolchain.check_architectures(cuda, archs)


@pytest.mark.parametrize(
    ("cuda", "driver", "outcome"),
    [
        ("12.2.140", "535.183.01", "fits"),
        ("12.2.140", "535.54.03", "fits"),
        ("12.2.140", "525.60.13", "note"),
        ("12.2.140", "525.60.12", "too old"),
        ("12.4.131", "535.183.01", "note"),
        ("13.0.88", "535.183.01", "too old"),
        ("13.0.88", "580.65.06", "fits"),
        ("13.1.80", "580.65.06", "note"),
        ("13.2.78", "580.65.05", "too old"),
        ("12.9.86", "575.51.03", "fits"),
    ],
)
def test_driver(cuda: str, driver: str, outcome: str) -> None:
    if outcome == "too old":
        with pytest.raises(HerdError, match="install driver"):
            toolchain.check_driver(cuda, driver)
        return
    assert (toolchain.check_driver(cuda, driver) is not None) is (outcome == "note")


@pytest.mark.parametrize(
    ("fixture", "expected"),
    [("gcc-debian12.txt", "12.2.0"), ("cmake-debian12.txt", "3.25.1")],
)
def test_versions(fixture: str, expected: str) -> None:
    assert toolchain_probe.version((FIXTURES / fixture).read_text(encoding="utf-8")) == expected


@pytest.mark.parametrize(("release", "version"), [("12.2", "12.2.140"), ("12.4", "12.4.131"), ("13.0", "13.0.88")])
def test_nvcc_version(release: str, version: str) -> None:
    assert toolchain_probe.nvcc_version((FIXTURES / f"nvcc-{release}.txt").read_text(encoding="utf-8")) == version


@pytest.mark.parametrize(
    ("line", "version"),
    [
        # EL8: gcc-toolset-12 and the system's own; Debian 12; Ubuntu 22.04 and 24.04; Debian 13.
        ("gcc (GCC) 12.2.1 20221121 (Red Hat 12.2.1-7)", "12.2.1"),
        ("gcc (GCC) 8.5.0 20210514 (Red Hat 8.5.0-28)", "8.5.0"),
        ("gcc (Debian 12.2.0-14+deb12u1) 12.2.0", "12.2.0"),
        ("gcc (Ubuntu 11.4.0-1ubuntu1~22.04) 11.4.0", "11.4.0"),
        ("gcc-12 (Ubuntu 12.3.0-17ubuntu1) 12.3.0", "12.3.0"),
        ("gcc (Debian 14.2.0-19) 14.2.0", "14.2.0"),
        ("cmake version 3.26.5", "3.26.5"),
    ],
)
def test_versions_of_the_supported_systems(line: str, version: str) -> None:
    assert toolchain_probe.version(f"{line}\nmore\n") == version


# What the toolkits say themselves: the line of crt/host_config.h that stops a compiler, and the architectures that
# nvcc or ptxas lists. Taken from NVIDIA's packages.
LIMITS: dict[str, dict[str, Any]] = json.loads((FIXTURES / "cuda-limits.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("cuda", LIMITS)
def test_highest_gcc_matches_the_toolkits(cuda: str) -> None:
    highest = int(re.findall(r"\d+", LIMITS[cuda]["crt/host_config.h"])[0])
    toolchain.check_compiler(cuda, f"{highest}.9.9")
    with pytest.raises(HerdError, match=f"gcc {highest} or older"):
        toolchain.check_compiler(cuda, f"{highest + 1}.0.0")


@pytest.mark.parametrize("cuda", [cuda for cuda in LIMITS if len(LIMITS[cuda]) == 2])
def test_architectures_match_the_toolkits(cuda: str) -> None:
    listed = next(value for name, value in LIMITS[cuda].items() if name != "crt/host_config.h")
    numbers = sorted(int(name.removeprefix("sm_")) for name in listed)
    toolchain.check_architectures(cuda, map(str, numbers))
    for outside in (numbers[0] - 1, numbers[-1] + 1):
        with pytest.raises(HerdError):
            toolchain.check_architectures(cuda, [str(outside)])


def test_cuda_13_rejects_volta() -> None:
    assert all(
        ("sm_70" in str(LIMITS[cuda])) is (int(cuda.split(".")[0]) < 13) for cuda in LIMITS if len(LIMITS[cuda]) == 2
    )


@pytest.mark.parametrize(
    ("platform", "cuda", "packages"),
    [
        (
            "rhel8",
            "12.2",
            ["cuda-nvcc-12-2", "cuda-cudart-devel-12-2", "cuda-driver-devel-12-2", "libcublas-devel-12-2"],
        ),
        (
            "ubuntu2204",
            "12.2",
            ["cuda-nvcc-12-2", "cuda-cudart-dev-12-2", "cuda-driver-dev-12-2", "libcublas-dev-12-2"],
        ),
        ("debian12", "12.4", None),
        ("ubuntu2404", "12.6", None),
    ],
)
def test_packages(platform: str, cuda: str, packages: list[str] | None) -> None:
    found = toolchain.cuda_packages(cuda, platform, ["7.0"], 12)
    assert found == packages if packages else len(found) == 4


@pytest.mark.parametrize(
    ("platform", "cuda", "capability", "gcc", "words"),
    [
        ("debian12", "12.2", "7.0", 12, "CUDA 12.3 or newer, which NVIDIA's repository for debian12 has"),
        ("ubuntu2404", "12.2", "7.0", 12, "CUDA 12.5 or newer"),
        ("debian13", "13.0", "7.0", 12, "not support Volta"),
        ("debian13", "12.6", "7.0", 12, "CUDA 13.0 or newer"),
        ("rhel8", "12.2", "7.0", 13, "gcc 12 or older"),
        ("rhel8", "12.2", "12.0", 12, "newer CUDA toolkit"),
        ("rhel8", "12", "7.0", 12, "like 12.2"),
        ("rhel8", "12.2.140", "7.0", 12, "like 12.2"),
        ("unknown", "12.2", "7.0", 12, "toolchain_cuda_repository"),
    ],
)
def test_incompatible_packages_are_rejected(platform: str, cuda: str, capability: str, gcc: int, words: str) -> None:
    with pytest.raises(HerdError, match=words):
        toolchain.cuda_packages(cuda, platform, [capability], gcc)


def test_another_repository_may_have_other_versions() -> None:
    assert toolchain.cuda_packages("12.2", "debian12", ["7.0"], 12, official=False)


@pytest.mark.parametrize(
    ("cc_version", "cuda", "capabilities", "words"),
    [
        ("8.5.0", None, [], "gcc-toolset-12"),
        ("12.2.0", None, ["7.0"], "toolchain_cuda_root"),
        ("12.2.0", {"version": "13.0.88"}, ["7.0"], "not support Volta"),
        ("14.2.0", {"version": "12.2.140"}, ["7.0"], "gcc 12 or older"),
    ],
)
def test_an_incompatible_toolchain_is_rejected(
    cc_version: str, cuda: dict[str, str] | None, capabilities: list[str], words: str
) -> None:
    with pytest.raises(HerdError, match=words):
        toolchain_probe.check({"cc": "gcc", "cc_version": cc_version, "cuda": cuda}, capabilities)


def test_an_old_cmake_is_rejected() -> None:
    with pytest.raises(HerdError, match=r"cmake 3.18"):
        toolchain_probe.check_cmake("/usr/bin/cmake", "3.11.4")
