# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples of the status page work, with real engines behind the gateway."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.browser.chromium import Browser
from tests.browser.conftest import facts, settled, url
from tests.gateway.environments import python_of
from tests.gateway.harness import FAST_MODEL, REASONING_MODEL, Gateway, wait_for


def test_copied_examples_get_a_response(page: Browser, made: Gateway) -> None:
    """Examples that are copied from the page get a response of a real engine."""
    engines = {"fast": made.router(FAST_MODEL), "reasoning": made.engine(REASONING_MODEL)}
    try:
        for tier, model in (("fast", FAST_MODEL), ("reasoning", REASONING_MODEL)):
            made.ready(tier, engines[tier].port, [model])
            settled(made, tier, "ready")
        page.go(url(made))
        given = {**os.environ, "HERD_API_KEY": "herd-key-of-ann", "no_proxy": "*"}
        for name in ("curl-fast", "curl-reasoning"):
            text = page.run(f"document.querySelector('#{name}').textContent").replace("500}", "5}")
            done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, env=given, check=False)
            assert json.loads(done.stdout)["usage"]["completion_tokens"] == 5, done.stdout + done.stderr
        python = {"openai": sys.executable, "anthropic": python_of("clients")}
        for name, program in python.items():
            text = page.run(f"document.querySelector('#{name}').textContent").replace("max_tokens=500", "max_tokens=5")
            done = subprocess.run([program, "-c", text], capture_output=True, text=True, env=given, check=False)
            assert done.returncode == 0, done.stderr
            assert done.stdout.strip()
        found = {row["name"]: row["measured"]["requests"] for row in facts(made)["tiers"]}
        assert found == {"fast": 3, "reasoning": 1}
        # The router is asked every few seconds.
        wait_for(lambda: [row["loaded"] for row in facts(made)["tiers"]] == [[FAST_MODEL], None], "the loaded model")
        page.go(url(made))
        assert page.text("#tier-fast .loaded") == "loaded"
    finally:
        for engine in engines.values():
            engine.stop()
