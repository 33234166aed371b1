# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install herdctl as on a node, for tests on this machine."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.herd.inference.plugins.module_utils.ports import agent_install

ROOT = Path(__file__).parents[1]


def install_herdctl(root: Path) -> Path:
    """Install herdctl below a folder with the code of the module agent_install, and return the program's path."""
    files = agent_install.read_sources(ROOT / "plugins" / "module_utils")
    files["bin/herdctl"] = (ROOT / "roles" / "node_agent" / "files" / "herdctl.py").read_text(encoding="utf-8")
    agent_install.install(root, files, ("bin/herdctl",))
    return root / "bin" / "herdctl"
