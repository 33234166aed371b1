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

from ansible_collections.herd.inference.plugins.module_utils.ports import agent_files

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def herdctl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, installed below a folder of its own by what the module agent_install uses."""
    root: Path = tmp_path_factory.mktemp("herd")
    role = ROOT / "roles" / "node_agent" / "files"
    files = {"lib/herd/__init__.py": "", "lib/herd/core/__init__.py": "", "lib/herd/agent/__init__.py": ""}
    for name, folder in (("core", ROOT / "plugins" / "module_utils" / "core"), ("agent", role / "agent")):
        sources = [path for path in folder.iterdir() if path.suffix in (".py", ".css", ".js")]
        files.update({f"lib/herd/{name}/{path.name}": path.read_text(encoding="utf-8") for path in sources})
    files["bin/herdctl"] = (role / "herdctl.py").read_text(encoding="utf-8")
    agent_files.install(root, files, ("bin/herdctl",))
    return root / "bin" / "herdctl"


def run_herdctl(herdctl: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it with -I: nothing of this tree is importable, only what was installed."""
    return subprocess.run(
        [sys.executable, "-I", str(herdctl), *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def run_inside(herdctl: Path, code: str, *arguments: str, wrapper: Sequence[str] = ()) -> str:
    """Run code that imports the installed program's parts; what it prints."""
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
