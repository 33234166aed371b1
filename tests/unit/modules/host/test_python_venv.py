# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""python_venv: once with the real pip and a wheel of one file, otherwise with a double of the installation."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.herd.inference.plugins.module_utils.ports.host import python_venv as venvs
from ansible_collections.herd.inference.plugins.modules import python_venv

WHEEL = {
    "small.py": "ANSWER = 42\n",
    "small-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: small\nVersion: 1.0\n",
    "small-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "small-1.0.dist-info/RECORD": "small.py,,\nsmall-1.0.dist-info/METADATA,,\nsmall-1.0.dist-info/WHEEL,,\n",
}


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    """Arguments of the module, with a folder of wheels."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    path = wheels / "small-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in WHEEL.items():
            archive.writestr(name, text)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {
        "root": str(tmp_path / "venvs"),
        "python": os.path.realpath(sys.executable),
        "lock": f"small==1.0 --hash=sha256:{digest}\n",
        "wheels": str(wheels),
    }


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the installation with a folder that looks like an environment."""

    def install(folder: Path, interpreter: venvs.Interpreter, _wanted: venvs.Installation) -> None:
        (folder / "bin").mkdir(parents=True, exist_ok=True)
        (folder / "bin" / "python").symlink_to(interpreter.program)
        (folder / venvs.COMPLETE).touch()

    monkeypatch.setattr(venvs, "install", install)


def run(capsys: pytest.CaptureFixture[str], given: dict[str, Any], check: bool = False) -> dict[str, Any]:
    capsys.readouterr()
    with patch_module_args({**given, "_ansible_check_mode": check}), pytest.raises(SystemExit):
        python_venv.main()
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_pip_installs_exactly_the_locked_wheels(given: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    foreseen = run(capsys, given, check=True)
    assert foreseen["changed"]
    assert not Path(given["root"]).exists()
    first = run(capsys, given)
    assert (first["changed"], first["path"]) == (True, foreseen["path"])
    ask = [f"{first['path']}/bin/python", "-I", "-c", "import small; print(small.ANSWER)"]
    assert subprocess.run(ask, capture_output=True, text=True, check=True).stdout == "42\n"
    # The service's user, who is not root, must be able to read it.
    assert Path(first["path"]).stat().st_mode & 0o005 == 0o005
    other = run(capsys, {**given, "lock": f"small==1.0 --hash=sha256:{'0' * 64}\n"})
    assert other["failed"]
    assert "expected the locked wheels in" in other["msg"]
    # The incomplete environment is removed by the next run, and nothing else.
    assert len(run(capsys, given)["removed"]) == 1
    for check in (True, False):
        assert not run(capsys, given, check=check)["changed"]


def test_installation_imports_no_module_of_the_environments_variables_or_the_present_folder(
    given: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    for name in ("venv", "pip", "json", "ensurepip"):
        (foreign / f"{name}.py").write_text(
            f"open({str(tmp_path / 'ran')!r}, 'a').write('{name} ')\n", encoding="utf-8"
        )
    monkeypatch.setenv("PYTHONPATH", str(foreign))
    monkeypatch.chdir(foreign)
    assert run(capsys, given)["installed"]
    assert not (tmp_path / "ran").exists()


def test_interrupted_installation_is_repeated(
    given: dict[str, Any], capsys: pytest.CaptureFixture[str], quick: None
) -> None:
    path = Path(run(capsys, given)["path"])
    (path / venvs.COMPLETE).unlink()
    (path / "bin" / "python").unlink()
    assert run(capsys, given)["installed"]
    # An interpreter that was removed, as by an upgrade of the system, makes an environment useless.
    (path / "bin" / "python").unlink()
    assert run(capsys, given)["installed"]
    assert not run(capsys, given)["changed"]


def test_former_environment_stays_and_older_ones_are_removed(
    given: dict[str, Any], capsys: pytest.CaptureFixture[str], quick: None
) -> None:
    paths = [run(capsys, {**given, "lock": given["lock"] + "# new\n" * count})["path"] for count in range(3)]
    assert not Path(paths[0]).exists()
    assert Path(paths[1]).exists()
    assert Path(paths[2]).exists()
    # A folder of an interrupted run is no former environment.
    (Path(paths[1]) / venvs.COMPLETE).unlink()
    last = run(capsys, {**given, "lock": given["lock"] + "# new\n" * 2})
    assert last["removed"] == [paths[1]]


def test_python_without_its_module_venv_is_reported(
    given: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "python3"
    program.write_text("#!/bin/sh\necho Traceback >&2; echo \"No module named 'ensurepip'\" >&2; exit 1\n")
    program.chmod(0o755)
    found = run(capsys, {**given, "python": str(program)})
    assert f"as {program}, found No module named 'ensurepip': install it (python3-venv on Debian" in found["msg"]


def test_environment_of_a_running_service_stays(
    given: dict[str, Any], capsys: pytest.CaptureFixture[str], quick: None
) -> None:
    first = run(capsys, given)["path"]
    with subprocess.Popen([f"{first}/bin/python", "-c", "input()"], stdin=subprocess.PIPE) as service:
        for count in (1, 2):
            run(capsys, {**given, "lock": given["lock"] + "# new\n" * count})
            assert Path(first).exists()
        service.communicate(b"\n")
    assert run(capsys, {**given, "lock": given["lock"] + "# new\n" * 2})["removed"] == [first]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"python": "/usr/bin/python-that-is-missing"}, "found no such program: install it"),
        ({"oldest": "3.99"}, "expected Python 3.99 or newer with the modules venv and ensurepip"),
        ({"python": "/bin/false"}, "found exit status 1"),
        ({"wheels": "/mnt/wheels"}, "expected the folder of wheels /mnt/wheels, found none"),
    ],
)
def test_unsuitable_host_is_reported(
    given: dict[str, Any], capsys: pytest.CaptureFixture[str], wrong: dict[str, str], says: str
) -> None:
    found = run(capsys, {**given, **wrong})
    assert found["failed"]
    assert says in found["msg"]


def test_dry_run_passes_before_python_is_installed(given: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, {**given, "python": "/usr/bin/python-that-is-missing"}, check=True)["changed"]
