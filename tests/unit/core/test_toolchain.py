"""Compiler, CUDA, GPU and driver: what fits together, and what the cure is where it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core import toolchain, toolchain_facts
from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError

FIXTURES = Path(__file__).parents[2] / "fixtures" / "toolchain"


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
def test_bad_capability(capability: str) -> None:
    with pytest.raises(HerdError, match=r"like 7.0"):
        toolchain.architectures([capability])


@pytest.mark.parametrize(
    ("archs", "warns"), [(["70"], False), (["70", "86"], True), (["61", "70"], False), (["75", "86"], False)]
)
def test_volta_beside_newer_gpus(archs: list[str], warns: bool) -> None:
    assert bool(toolchain.architecture_warnings(archs)) is warns


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
    ("cuda", "archs", "cure"),
    [
        ("12.2.140", ["70"], None),
        ("13.0.88", ["70"], "CUDA 13 has no Volta"),
        ("13.0.88", ["75", "90"], None),
        ("12.2.140", ["120"], "newer CUDA toolkit"),
        ("12.8.61", ["120"], None),
    ],
)
def test_cuda_against_gpus(cuda: str, archs: list[str], cure: str | None) -> None:
    if cure is None:
        toolchain.check_architectures(cuda, archs)
        return
    with pytest.raises(HerdError, match=cure):
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
    assert toolchain_facts.version((FIXTURES / fixture).read_text(encoding="utf-8")) == expected


def test_red_hat_gcc() -> None:
    line = "gcc (GCC) 12.2.1 20221121 (Red Hat 12.2.1-7)\nCopyright (C) 2022\n"
    assert toolchain_facts.version(line) == "12.2.1"


def test_nvcc_version() -> None:
    assert toolchain_facts.nvcc_version((FIXTURES / "nvcc-13.0.txt").read_text(encoding="utf-8")) == "13.0.88"


@pytest.mark.parametrize(
    ("cc_version", "cuda", "capabilities", "words"),
    [
        ("8.5.0", None, [], "gcc-toolset-12"),
        ("12.2.0", None, ["7.0"], "toolchain_cuda_root"),
        ("12.2.0", {"version": "13.0.88"}, ["7.0"], "no Volta"),
        ("14.2.0", {"version": "12.2.140"}, ["7.0"], "gcc 12 or older"),
    ],
)
def test_whole_toolchain_refused(
    cc_version: str, cuda: dict[str, str] | None, capabilities: list[str], words: str
) -> None:
    with pytest.raises(HerdError, match=words):
        toolchain_facts.check({"cc": "gcc", "cc_version": cc_version, "cuda": cuda}, capabilities)


def test_old_cmake() -> None:
    with pytest.raises(HerdError, match=r"cmake 3.18"):
        toolchain_facts.check_cmake("/usr/bin/cmake", "3.11.4")
