# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""herdctl as it is installed on a node."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.installed import install_herdctl


@pytest.fixture(scope="session")
def herdctl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the program below a separate folder with the code of the module agent_install."""
    return install_herdctl(tmp_path_factory.mktemp("herd"))


def run_herdctl(herdctl: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run herdctl with -I: only the installed files are importable, not this tree."""
    return subprocess.run(
        [sys.executable, "-I", str(herdctl), *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def run_inside(herdctl: Path, code: str, *arguments: str, wrapper: Sequence[str] = ()) -> str:
    """Run code that imports the installed program's parts; return its output."""
    code = f"import sys\nsys.path.insert(0, sys.argv[1])\n{code}"
    done = subprocess.run(
        [*wrapper, sys.executable, "-I", "-c", code, str(herdctl.parents[1] / "lib"), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
