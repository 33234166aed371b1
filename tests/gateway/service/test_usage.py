# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Usage: it adds up to the engine's own count, and a key's bearer sees that key's usage only."""

from __future__ import annotations

import json
import subprocess

from tests.gateway.conftest import Client, chat
from tests.gateway.harness import REASONING_MODEL, Engine, Gateway, wait_for
from tests.gateway.mixed_requests import check_usage_adds_up
from tests.gateway.wire import line_of


def test_usage_adds_up_to_the_engines_count_over_mixed_requests(
    client: Client, made: Gateway, engines: dict[str, Engine]
) -> None:
    check_usage_adds_up(made, client, 200)


def test_a_keys_bearer_sees_its_own_usage(client: Client, made: Gateway, engines: dict[str, Engine]) -> None:
    def total(key: str) -> int:
        found = client.ask(path="/usage", key=key)
        assert found.status == 200
        return int(found.data["total"]["tokens"])

    before = [total(key) for key in ("herd-key-of-ann", "herd-key-of-fay")]
    asked = client.ask(chat(5, model=REASONING_MODEL), tier="reasoning")
    line = line_of(made, asked.headers["x-request-id"])
    used = line["prompt_tokens"] + line["completion_tokens"]
    wait_for(lambda: total("herd-key-of-ann") == before[0] + used, "the usage")
    assert total("herd-key-of-fay") == before[1]
    assert client.ask(path="/usage", key=None).status == 401
    assert client.ask(path="/usage", key="herd-key-of-eve").status == 401


def test_herdctl_shows_the_usage_of_the_gateway(client: Client, made: Gateway, engines: dict[str, Engine]) -> None:
    assert client.ask(chat(5, model=REASONING_MODEL), tier="reasoning").status == 200

    def rows() -> list[dict[str, object]]:
        command = [*made.program("usage")[:-2], "--database", f"{made.root}/usage.sqlite3", "--by", "model", "--json"]
        return list(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["rows"])

    wait_for(lambda: any(row["model"] == REASONING_MODEL for row in rows()), "the model in the report")
