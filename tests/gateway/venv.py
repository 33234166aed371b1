# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install the gateway's packages as on its host, once for each lock and Python.

python3 -m tests.gateway.venv
"""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

from ansible_collections.herd.inference.plugins.module_utils.ports.host import python_venv
from tests.lab.naming import Places
from tests.lab.process import say
from tests.lab.wheels import LOCK, wheels


def gateway_python() -> Path:
    """Return the Python of the gateway's virtual environment; HERD_GATEWAY_PYTHON names another interpreter."""
    program = os.environ.get("HERD_GATEWAY_PYTHON") or os.path.realpath(sys.executable)
    interpreter = python_venv.find(program, (3, 11))
    root = Places.of(os.environ).cache / "gateway-venv"
    root.mkdir(parents=True, exist_ok=True)
    lock = LOCK.read_text(encoding="utf-8")
    folder = root / python_venv.name(lock, interpreter.version)
    with (root / "lock").open("w", encoding="utf-8") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not python_venv.is_complete(folder):
            say(f"installing the gateway's packages for Python {'.'.join(map(str, interpreter.version))}")
            python_venv.install(folder, interpreter, python_venv.Installation(lock, "", str(wheels())))
    return folder / "bin" / "python"


if __name__ == "__main__":
    print(gateway_python())
