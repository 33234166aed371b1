# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the scenarios of one client library, and print what each returned or raised, as JSON.

The programs of this folder run with the Python of the clients' environment, and get the gateway's address in the
environment variable GATEWAY.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

GATEWAY = os.environ.get("GATEWAY", "")
KEY, WRONG_KEY, LIMITED_KEY = "herd-key-of-ann", "herd-key-of-nobody", "herd-key-of-bob"
#: A real engine; a double that calls a tool; an engine that ends in the middle; no model.
MODEL, TOOL_MODEL, CUT_MODEL, NO_MODEL = "large-one", "task:fix", "small-one", "none"
QUESTION = "What is the weather in Paris?"
#: The function that the double calls.
TOOL_NAME = "look_up"
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": TOOL_NAME, "description": "The weather.", "parameters": PARAMETERS}}

_SCENARIOS: dict[str, Callable[[], Any]] = {}


def scenario(function: Callable[[], Any]) -> Callable[[], Any]:
    """Register a function as a scenario of its name."""
    _SCENARIOS[function.__name__] = function
    return function


def main() -> None:
    """Run the scenarios that the arguments name, or all."""
    results: dict[str, Any] = {}
    for name in sys.argv[1:] or _SCENARIOS:
        try:
            results[name] = {"result": _SCENARIOS[name]()}
        except Exception as error:
            status = getattr(error, "status_code", None)
            results[name] = {"raised": type(error).__name__, "status": status, "message": str(error)[:2000]}
    # Libraries write to standard output too.
    sys.stdout.write("\nRESULTS " + json.dumps(results) + "\n")
