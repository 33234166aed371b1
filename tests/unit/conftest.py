# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of Hypothesis for all unit tests: no test depends on a clock. Signals that the tests send to programs."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

# Before the first example, Hypothesis reads the constants of all imported modules of this tree. On a busy machine that
# alone takes longer than this check allows.
settings.register_profile("herd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("herd")

# Programs inherit ignored signals: from nohup, or from a shell that runs the tests in the background. bash cannot even
# set a trap for one then.
signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, signal.SIG_DFL)
