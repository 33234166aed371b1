# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""gpu_memory with a double of nvidia-smi, a script that prints what the real one printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import (
    HerdError,
    InsufficientError,
    NotFoundError,
    RemoteFailureError,
)
from ansible_collections.herd.inference.plugins.module_utils.ports.host import nvidia_smi
from ansible_collections.herd.inference.plugins.modules import gpu_memory

FIXTURES = Path(__file__).parents[3] / "fixtures" / "nvidia_smi"
DEFAULTS: dict[str, Any] = {
    "ids": [], "required": False, "wait_for_free_mib": 0, "wait_timeout": 0, "interval": 0, "timeout": 10,
    "target_from_gib": 26.0, "target_to_gib": 28.0, "critical_gib": 30.0,
}  # fmt: skip
UUID = "GPU-76098dc1-d3bc-9a1b-7ea6-f7b48837829e"


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a double first in the search path; without one there is no nvidia-smi at all."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/bin:/usr/bin")
    monkeypatch.setattr(gpu_memory, "PROGRESS", tmp_path / "progress.json")
    monkeypatch.setattr(nvidia_smi, "PCI_DEVICES", tmp_path / "devices")

    def make(query: str, capability: str = f"echo '{UUID}, 7.0'") -> Path:
        program = folder / "nvidia-smi"
        program.write_text(f'#!/bin/sh\ncase "$1" in -q) {query};; *) {capability};; esac\n')
        program.chmod(0o755)
        return program

    return make


def prints(name: str, status: int = 0) -> str:
    return f"cat {FIXTURES / name}; exit {status}"


def run(check: bool = False, **params: Any) -> dict[str, Any]:
    return gpu_memory.result({**DEFAULTS, **params}, check)


def test_a_host_with_a_gpu(smi: Any) -> None:
    smi(prints("v100s-460.xml"))
    found = run()
    assert (found["available"], found["driver"], found["level"]) == (True, "460.73.01", "critical")
    assert found["free_bytes"] == [860880896]
    assert found["gpus"][0]["compute_capability"] == "7.0"
    assert not found["must_wait"]


def test_an_old_driver_without_the_field(smi: Any) -> None:
    smi(prints("gt-1030-470.xml"), prints("unknown-field.txt", 2))
    found = run(target_from_gib=0.5, target_to_gib=1.0, critical_gib=1.5)
    assert (found["gpus"][0]["compute_capability"], found["level"]) == ("", "good")


@pytest.mark.parametrize(("fixture", "status"), [("no-driver.txt", 9), ("no-devices.txt", 6)])
def test_a_host_without_a_gpu(smi: Any, fixture: str, status: int) -> None:
    smi(prints(fixture, status))
    found = run()
    assert (found["available"], found["gpus"], found["free_bytes"], found["level"]) == (False, [], [], "unknown")
    assert (FIXTURES / fixture).read_text().strip() in found["reason"]
    for params in ({"required": True}, {"wait_for_free_mib": 1}):
        with pytest.raises(NotFoundError):
            run(**params)


def test_a_host_without_nvidia_smi(smi: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert "The program nvidia-smi is not installed" in run()["reason"]


def test_a_driver_that_was_updated_while_it_runs(smi: Any) -> None:
    """No host without GPU: its services will fail, so it is an error also where none is required."""
    smi(prints("mismatch.txt", 18))
    with pytest.raises(RemoteFailureError, match="restart this host"):
        run()


def test_a_hanging_nvidia_smi_is_an_error(smi: Any) -> None:
    smi("exec sleep 60")
    with pytest.raises(RemoteFailureError, match="did not end within 1 seconds"):
        run(timeout=1)


def test_it_waits_until_memory_is_free(smi: Any, tmp_path: Path) -> None:
    full = FIXTURES / "v100s-460.xml"
    later = tmp_path / "later.xml"
    later.write_text(full.read_text().replace("821 MiB", "32000 MiB").replace("31689 MiB", "510 MiB"))
    mark = tmp_path / "asked"
    # Twice full, then free.
    smi(f'echo >>{mark}; if [ "$(wc -l <{mark})" -lt 3 ]; then cat {full}; else cat {later}; fi')
    assert run(check=True, wait_for_free_mib=30000)["must_wait"]
    mark.unlink()
    found = run(wait_for_free_mib=30000, wait_timeout=60)
    assert (found["must_wait"], found["gpus"][0]["free_mib"], found["level"]) == (False, 32000, "below")
    assert '"finished": true' in (tmp_path / "progress.json").read_text()


def test_a_timeout_names_the_processes(smi: Any) -> None:
    smi(prints("v100s-460.xml"))
    with pytest.raises(InsufficientError) as caught:
        run(wait_for_free_mib=1000)
    assert "found 821 MiB, used by python (37305, 31683 MiB)" in str(caught.value)


def test_only_the_given_gpus_are_read(smi: Any) -> None:
    smi(prints("dual-2080-590.xml"))
    assert [gpu["index"] for gpu in run(ids=["1"])["gpus"]] == [1]
    with pytest.raises(HerdError, match="one GPU with the id 5"):
        run(ids=["5"])


def test_a_lost_gpu_beside_a_healthy_one(smi: Any, tmp_path: Path) -> None:
    """The card that an id names is used. A warning names the lost one, or the error of a task that needs it."""
    one = tmp_path / "one.xml"
    text = (FIXTURES / "dual-2080-590.xml").read_text(encoding="utf-8")
    start = text.index('<gpu id="00000000:01:00.0">')
    one.write_text(text[:start] + text[text.index('<gpu id="00000000:02:00.0">') :], encoding="utf-8")
    smi(f"cat {one}; echo 'Unable to determine the device handle for GPU0: 0000:01:00.0: Unknown Error' >&2; exit 15")
    for name in ("1", "0000:02:00.0"):
        found = run(ids=[name], required=True)
        assert [gpu["index"] for gpu in found["gpus"]] == [1]
        assert found["lost"] == [{"name": "GPU 0 (0000:01:00.0)", "reason": "Unknown Error"}]
        assert found["warnings"][0].startswith("GPU 0 (0000:01:00.0) is lost (Unknown Error)")
    for ids in ([], ["0"], ["0000:01:00.0"]):
        with pytest.raises(RemoteFailureError, match=r"every GPU to answer, found GPU 0 \(0000:01:00\.0\)"):
            run(ids=ids)


def test_bytes_that_are_no_text_hide_no_gpu(smi: Any, tmp_path: Path) -> None:
    raw = (FIXTURES / "v100s-460.xml").read_bytes().replace(b">python<", b">\xff\xfe\x01&<")
    (tmp_path / "raw.xml").write_bytes(raw)
    smi(f"cat {tmp_path / 'raw.xml'}")
    assert run()["gpus"][0]["free_mib"] == 821


def test_the_numa_node_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "0000:3b:00.0"
    folder.mkdir()
    (folder / "numa_node").write_text("1\n")
    assert nvidia_smi.numa_node("0000:3b:00.0", tmp_path) == "1\n"
    assert nvidia_smi.numa_node("0000:00:0d.0", tmp_path) == ""
