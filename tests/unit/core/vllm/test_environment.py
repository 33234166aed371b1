# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The release of vLLM for GPUs and driver, and the checks of Python, machine, node and work space."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.core.host import nvidia_smi
from ansible_collections.herd.inference.plugins.module_utils.core.vllm import environment
from tools import wheel_locks

V100S = Path(__file__).parents[3] / "fixtures" / "nvidia_smi" / "v100s-460.xml"
A100, H100, V100, TURING = "8.0", "9.0", "7.0", "7.5"


@pytest.mark.parametrize(
    ("capabilities", "driver", "version"),
    [
        ([H100], "580.95.05", "0.32.0"),
        ([A100], "", "0.32.0"),
        ([TURING], "590.44.01", "0.32.0"),
        ([V100], "", "0.19.1"),
        # The slowest card decides.
        ([H100, V100], "580.95.05", "0.19.1"),
        # CUDA 13 needs driver 580; CUDA 12.8 runs with 535 by minor-version compatibility.
        ([H100], "550.54.15", "0.19.1"),
        ([V100], "535.183.01", "0.19.1"),
        ([], "", "0.32.0"),
    ],
)
def test_newest_release_that_gpus_and_driver_can_run_is_chosen(
    capabilities: list[str], driver: str, version: str
) -> None:
    assert environment.choose(capabilities, driver).version == version


@pytest.mark.parametrize(
    ("capabilities", "driver", "version", "says"),
    [
        (
            [V100],
            "",
            "0.32.0",
            "expected GPUs of compute capability 7.5 or higher for vLLM 0.32.0, found 7.0 (Volta): use vLLM 0.19.1, "
            "the last release with code for them.",
        ),
        (["6.1"], "", "", "or higher for vLLM 0.19.1, found 6.1: use newer GPUs, from Volta on."),
        (
            [H100],
            "550.54.15",
            "0.32.0",
            "expected an NVIDIA driver of 580.65.06 or newer for CUDA 13.0, which vLLM 0.32.0 brings along, found "
            "550.54.15: ask the administrators for a newer driver, or use an older release of vLLM.",
        ),
        ([A100], "470.57.02", "", "525.60.13 or newer for CUDA 12.8, which vLLM 0.19.1 brings along, found 470.57.02"),
        (
            [H100],
            "",
            "0.15.0",
            "expected a release of vLLM with a lock: 0.32.0, 0.19.1, found 0.15.0: name one of them.",
        ),
        (["sm_90"], "", "", "expected the compute capability of a GPU, such as 9.0, found 'sm_90'"),
    ],
)
def test_unsuitable_gpus_are_refused_by_name(capabilities: list[str], driver: str, version: str, says: str) -> None:
    with pytest.raises(HerdError) as caught:
        environment.choose(capabilities, driver, version)
    assert says in str(caught.value)


@pytest.mark.parametrize("release", environment.RELEASES, ids=lambda release: release.version)
def test_lock_has_the_packages_that_the_release_names(release: environment.VllmRelease) -> None:
    lock = wheel_locks.LOCKS[f"vllm-{release.version}"]
    text = lock.path.read_text(encoding="utf-8")
    assert f"\nvllm=={release.version} " in text
    assert f"\ntorch=={release.torch} " in text
    major = release.cuda.split(".")[0]
    assert f"nvidia-nccl-cu{major}==" in text
    assert lock.machines == (release.machine,)
    assert (lock.pythons[0], lock.pythons[-1]) == tuple(environment.dotted(each) for each in release.pythons)


def test_release_for_volta_says_that_it_was_never_run_there() -> None:
    assert "no test has run it on such a card" in environment.choose([V100]).remark
    assert not environment.choose([H100]).remark


@pytest.mark.parametrize("python", [(3, 11), (3, 13)])
def test_python_of_the_lock_is_accepted(python: tuple[int, int]) -> None:
    environment.check_python(environment.RELEASES[0], python)


@pytest.mark.parametrize("python", [(3, 9), (3, 14)])
def test_other_python_is_refused(python: tuple[int, int]) -> None:
    with pytest.raises(HerdError, match=r"expected Python 3\.11 to 3\.13 for vLLM 0\.32\.0, found Python 3\."):
        environment.check_python(environment.RELEASES[0], python)


def test_machine_and_c_library_must_suit_the_wheels() -> None:
    newest, volta = environment.RELEASES
    environment.check_machine(newest, "x86_64", "2.31")
    with pytest.raises(HerdError, match=r"expected a machine of the kind x86_64 .* found aarch64"):
        environment.check_machine(newest, "aarch64", "2.36")
    # EL 8 has an older C library.
    with pytest.raises(HerdError, match=r"GNU C library 2\.31 or newer .* found 2\.28"):
        environment.check_machine(volta, "x86_64", "2.28")
    with pytest.raises(HerdError, match="found another C library"):
        environment.check_machine(newest, "x86_64", "")


def node(driver: str, *capabilities: str, lost: tuple[nvidia_smi.LostGpu, ...] = ()) -> nvidia_smi.GpuReport:
    """Report GPUs of these compute capabilities."""
    (model,) = nvidia_smi.parse(V100S.read_text(encoding="utf-8")).gpus
    gpus = tuple(replace(model, index=index, compute_capability=each) for index, each in enumerate(capabilities))
    return nvidia_smi.GpuReport(driver, gpus, lost)


def test_node_of_a_job_is_checked_by_its_gpus() -> None:
    two = node("580.95.05", "9.0", "9.0")
    environment.check_node("0.32.0", two, 2)
    with pytest.raises(HerdError, match="expected 4 GPUs on this node, found 2"):
        environment.check_node("0.32.0", two, 4)
    with pytest.raises(HerdError, match="expected a GPU that nvidia-smi shows on this node, found none"):
        environment.check_node("0.32.0", node("580.95.05"))
    with pytest.raises(HerdError, match=r"found 7\.0 \(Volta\): use vLLM 0\.19\.1"):
        environment.check_node("0.32.0", node("535.183.01", "7.0"))
    # A driver that does not know the query for the capability is no reason to refuse the node.
    environment.check_node("0.32.0", node("580.95.05", ""))


def test_lost_gpu_of_a_node_is_named() -> None:
    lost = (nvidia_smi.LostGpu(1, "", "0000:5f:00.0", "Unknown Error"),)
    with pytest.raises(HerdError, match=r"found 1; GPU 1 \(0000:5f:00\.0\): Unknown Error: ask for another node"):
        environment.check_node("0.32.0", node("580.95.05", "9.0", lost=lost), 2)


def test_work_space_that_nobody_filled_in_is_refused() -> None:
    environment.check_work_dir("/data/horse/ws/s1234567-llm/vllm")
    for path, says in {
        "": "found none: set herd_work_dir to a folder that you own",
        "/data/horse/ws/YOUR_USERNAME/host_vllm": "found the placeholder /data/horse/ws/YOUR_USERNAME/host_vllm",
        "vllm": "an absolute path",
        "/data/my work": "an absolute path",
        "/data/../etc": "an absolute path",
        "/data/" + "x" * 70: "at most 70 characters",
    }.items():
        with pytest.raises(HerdError) as caught:
            environment.check_work_dir(path)
        assert says in str(caught.value), path


def test_requirements_of_each_lock_exist() -> None:
    for lock in wheel_locks.LOCKS.values():
        assert isinstance(lock.path, Path)
        assert lock.requirements.is_file()
