# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show the progress of the module llama_build."""

from __future__ import annotations

from ansible_collections.herd.inference.plugins.plugin_utils.long_running import LongRunningAction


class ActionModule(LongRunningAction):
    """Runs llama_build as a job on the build host."""

    MODULE = "herd.inference.llama_build"
