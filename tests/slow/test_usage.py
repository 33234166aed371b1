# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Usage adds up to the engine's own count over a thousand mixed requests with cuts, cancels and restarts."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tests.gateway.conftest import Client
from tests.gateway.harness import gateway
from tests.gateway.mixed_requests import check_usage_adds_up


def test_usage_adds_up_over_a_thousand_mixed_requests() -> None:
    root = Path(tempfile.mkdtemp(prefix="herd-gateway-", dir="/tmp"))
    try:
        with gateway(root) as made:
            check_usage_adds_up(made, Client(made), 1000)
    finally:
        shutil.rmtree(root, ignore_errors=True)
