# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows the progress of the module llama_build while it compiles."""

from __future__ import annotations

from ansible_collections.herd.inference.plugins.plugin_utils.long_running import LongRunningAction


class ActionModule(LongRunningAction):
    """Runs llama_build on the build host, as a job of that host."""

    MODULE = "herd.inference.llama_build"
