# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test helpers for a gateway whose engines are services: a head with its workers, and a router."""

from __future__ import annotations

import json
from typing import Any

from tests.scenarios.kept_tiers import CLIENT, TOKENS, Kept
from tests.scenarios.slurm import TESTER
from tests.scenarios.streams import Answer
from tests.scenarios.testing import ETHERNET, HEAD

GATEWAY_HOST, ROUTER = HEAD, "vllm-node3"
#: Each tier: its port at the gateway, its model, and a task that goes to it.
PORTS = {"reasoning": 8081, "fast": 8080}
MODELS = {"reasoning": "lab-llama", "fast": "lab-small"}
TASKS = {"reasoning": "borrowing", "fast": "fix"}
KEY_FILES = {"reasoning": (HEAD, "/etc/herd/head/api-keys"), "fast": (ROUTER, "/etc/herd/router/api-keys")}


class Services(Kept):
    """A site whose tiers are services."""

    def view(self) -> dict[str, Any]:
        """Return the status that the agent on the gateway's host publishes."""
        found: dict[str, Any] = json.loads(self.sure(GATEWAY_HOST, "cat /run/herd/tiers.json"))
        return found

    def url(self, path: str, tier: str = "fast") -> str:
        """Return an address of the gateway."""
        return f"http://{ETHERNET[GATEWAY_HOST]}:{PORTS[tier]}{path}"

    def get(self, path: str) -> Any:
        """Return a document of the gateway."""
        answer = self.ask(self.url(path), TESTER, host=CLIENT)
        assert answer.status == 200, answer.text
        return answer.json()

    def engine_key(self, tier: str) -> str:
        """Return the key that the engine of a tier accepts."""
        host, path = KEY_FILES[tier]
        return self.sure(host, f"head -n 1 {path}").strip()

    def chat_with(self, model: str, key: str = TESTER, tokens: int = 4, port: str = "fast") -> Answer:
        """Request a chat completion of the gateway from a host that is no node."""
        body = {"model": model, "max_tokens": tokens, "messages": [{"role": "user", "content": "Say hello."}]}
        return self.ask(self.url("/v1/chat/completions", port), key, body, host=CLIENT)

    def questions(self) -> dict[str, list[dict[str, Any]]]:
        """Return questions for each port of the gateway, with the engines' own answers."""
        found: dict[str, list[dict[str, Any]]] = {}
        for tier, model in MODELS.items():
            entry, key = self.tier(tier)["endpoints"][0], self.engine_key(tier)
            for number in range(2):
                words = f"Say hello to number {number}."
                body = {"model": model, "max_tokens": TOKENS, "temperature": 0, "seed": number}
                body["messages"] = [{"role": "user", "content": words}]
                url = f"http://{entry['address']}:{entry['port']}/v1/chat/completions"
                answer = self.ask(url, key, body, host=CLIENT)
                assert answer.status == 200, answer.text
                text = answer.json()["choices"][0]["message"]["content"]
                found.setdefault(f"{ETHERNET[GATEWAY_HOST]}:{PORTS[tier]}", []).append({"body": body, "text": text})
        return found
