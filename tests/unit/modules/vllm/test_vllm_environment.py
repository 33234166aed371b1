# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""vllm_environment: with a double of the installation, once with the real pip and a wheel of one file."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.herd.inference.plugins.module_utils.ports.host import python_venv as venvs
from ansible_collections.herd.inference.plugins.modules import vllm_environment

PYTHON = (3, 12)


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Arguments of the module, with a Python of the locks and a double of the installation."""

    def find(program: str, _oldest: object, prefix: tuple[str, ...] = ()) -> venvs.Interpreter:
        return venvs.Interpreter(program, PYTHON, "x86_64", "2.36", tuple(prefix))

    def install(folder: Path, interpreter: venvs.Interpreter, wanted: venvs.Installation) -> None:
        (folder / "bin").mkdir(parents=True, exist_ok=True)
        (folder / "bin" / "python").symlink_to(os.path.realpath(sys.executable))
        (folder / "prefix").write_text(" ".join(interpreter.prefix), encoding="utf-8")
        wanted.on_package(1, 2, "fetching torch")
        (folder / venvs.COMPLETE).touch()

    monkeypatch.setattr(venvs, "find", find)
    monkeypatch.setattr(venvs, "install", install)
    return {
        "root": str(tmp_path / "venv"),
        "python": "/usr/bin/python3.12",
        "capabilities": ["9.0"],
        "locks": {"0.32.0": "vllm==0.32.0\n", "0.19.1": "vllm==0.19.1\n"},
    }


def run(capsys: pytest.CaptureFixture[str], given: dict[str, Any], check: bool = False) -> dict[str, Any]:
    capsys.readouterr()
    with patch_module_args({**given, "_ansible_check_mode": check}), pytest.raises(SystemExit):
        vllm_environment.main()
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_current_leads_to_the_environment_and_the_former_one_stays(
    given: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    current = Path(given["root"], "current")
    foreseen = run(capsys, given, check=True)
    assert foreseen["changed"]
    assert not Path(given["root"]).exists()
    first = run(capsys, given)
    assert (first["changed"], first["version"], first["path"]) == (True, "0.32.0", foreseen["path"])
    assert current.resolve() == Path(first["path"])
    assert json.loads(Path(first["progress_file"]).read_text(encoding="utf-8"))["finished"]
    for check in (True, False):
        assert not run(capsys, given, check=check)["changed"]
    second = run(capsys, {**given, "version": "0.19.1"})
    assert current.resolve() == Path(second["path"])
    assert Path(first["path"]).exists()
    back = run(capsys, given)
    assert (back["changed"], back["installed"]) == (True, False)
    assert current.resolve() == Path(first["path"])


def test_environment_that_a_job_names_is_not_removed(
    given: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    first = run(capsys, given)["path"]
    jobs = tmp_path / "jobs" / "17"
    jobs.mkdir(parents=True)
    (jobs / "spec.json").write_text(json.dumps({"venv_dir": first}), encoding="utf-8")
    for number in range(2):
        changed = {"0.32.0": given["locks"]["0.32.0"] + f"# {number}\n"}
        assert not run(capsys, {**given, "locks": changed, "jobs": str(tmp_path / "jobs")})["removed"]
    (jobs / "spec.json").unlink()
    assert run(capsys, {**given, "locks": changed, "jobs": str(tmp_path / "jobs")})["removed"] == [first]


def test_environment_of_a_job_stays_although_the_work_space_is_named_by_a_link(
    given: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "disk" / "jobs").mkdir(parents=True)
    (tmp_path / "ws").symlink_to(tmp_path / "disk")
    jobs = str(tmp_path / "ws" / "jobs")
    linked = {**given, "root": str(tmp_path / "ws" / "venv"), "jobs": jobs}
    first = run(capsys, linked)["path"]
    # A job's specification has the path without links; a file that a job removes meanwhile is no error.
    text = json.dumps({"vllm": f"{Path(first).resolve()}/bin/vllm"})
    (tmp_path / "disk" / "jobs" / "m-1.json").write_text(text, encoding="utf-8")
    (tmp_path / "disk" / "jobs" / "gone.json").symlink_to(tmp_path / "nothing")
    for number in range(2):
        changed = {"0.32.0": given["locks"]["0.32.0"] + f"# {number}\n"}
        assert not run(capsys, {**linked, "locks": changed})["removed"]


def test_volta_gets_its_release_with_a_remark(given: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    found = run(capsys, {**given, "capabilities": ["7.0"]})
    assert found["version"] == "0.19.1"
    assert "no test has run it on such a card" in found["remark"]


def test_installation_runs_behind_the_prefix_but_check_mode_submits_nothing(
    given: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(capsys, {**given, "prefix": ["srun", "--ntasks=1"]})
    assert Path(found["path"], "prefix").read_text(encoding="utf-8") == "srun --ntasks=1"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"capabilities": ["7.0"], "version": "0.32.0"}, "found 7.0 (Volta): use vLLM 0.19.1"),
        ({"driver": "470.57.02"}, "expected an NVIDIA driver of 525.60.13 or newer"),
        ({"locks": {}}, "expected a lock of vLLM 0.32.0, found none"),
        ({"wheels": "/mnt/wheels"}, "expected the folder of wheels /mnt/wheels, found none"),
    ],
)
def test_nothing_is_installed_where_it_cannot_run(
    given: dict[str, Any], capsys: pytest.CaptureFixture[str], wrong: dict[str, Any], says: str
) -> None:
    for check in (True, False):
        found = run(capsys, {**given, **wrong}, check=check)
        assert found["failed"]
        assert says in found["msg"]
    assert not Path(given["root"]).exists()


def test_unsuitable_python_is_refused(
    given: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_new(program: str, *_more: object) -> venvs.Interpreter:
        return venvs.Interpreter(program, (3, 14), "x86_64", "2.36")

    monkeypatch.setattr(venvs, "find", too_new)
    assert "found Python 3.14: name another one" in run(capsys, given)["msg"]


def test_pip_installs_the_locked_wheel_and_its_output_is_kept(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    path = wheels / "small-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("small.py", "ANSWER = 42\n")
        info = "small-1.0.dist-info"
        # Not installed: the lock is complete.
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: small\nVersion: 1.0\nRequires-Dist: other\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"small.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n")
    lock = f"small==1.0 \\\n    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"
    seen: list[tuple[int, int, str]] = []
    interpreter = venvs.find(os.path.realpath(sys.executable), (3, 9), ("env", "HERD_PREFIX=1"))
    assert interpreter.machine
    venvs.install(
        tmp_path / "venv" / "one",
        interpreter,
        venvs.Installation(lock, wheels=str(wheels), is_complete=True, on_package=lambda *state: seen.append(state)),
    )
    assert seen == [(1, 1, "fetching small"), (1, 1, "unpacking")]
    assert "Successfully installed small-1.0" in (tmp_path / "venv" / "one" / venvs.LOG).read_text(encoding="utf-8")
    assert not (tmp_path / "venv" / "one" / "tmp").exists()
