# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""herdctl as it is installed on a node, for tests on this machine."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.herd.inference.plugins.module_utils.ports import agent_files

ROOT = Path(__file__).parents[1]


def install_herdctl(root: Path) -> Path:
    """Install it below a folder, by what the module agent_install uses; the program's path."""
    role = ROOT / "roles" / "node_agent" / "files"
    files = {"lib/herd/__init__.py": "", "lib/herd/core/__init__.py": "", "lib/herd/agent/__init__.py": ""}
    for name, folder in (("core", ROOT / "plugins" / "module_utils" / "core"), ("agent", role / "agent")):
        sources = [path for path in folder.iterdir() if path.suffix in (".py", ".css", ".js")]
        files.update({f"lib/herd/{name}/{path.name}": path.read_text(encoding="utf-8") for path in sources})
    files["bin/herdctl"] = (role / "herdctl.py").read_text(encoding="utf-8")
    agent_files.install(root, files, ("bin/herdctl",))
    return root / "bin" / "herdctl"
