# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a key may stand, and what a request with two of them means."""

from __future__ import annotations

import pytest

from tests.gateway.conftest import Client, chat
from tests.gateway.harness import REASONING_MODEL, Engine

ASK = chat(2, model=REASONING_MODEL)
GOOD, OTHER, BAD = "herd-key-of-ann", "herd-key-of-lee", "sk-of-another-service"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {GOOD}"},
        {"Authorization": f"bearer {GOOD}"},
        {"x-api-key": GOOD},
        {"api-key": GOOD},
        {"Authorization": f"Bearer {BAD}", "x-api-key": GOOD},
        {"Authorization": f"Bearer {GOOD}", "x-api-key": BAD},
        {"Authorization": f"Bearer {BAD}", "api-key": GOOD},
        {"Authorization": f"Bearer {GOOD}", "x-api-key": OTHER},
        {"Authorization": "Basic bm9ib2R5OnNlY3JldA==", "api-key": GOOD},
    ],
    ids=lambda headers: "+".join(f"{name} {value.split()[-1][-3:]}" for name, value in headers.items()),
)
def test_one_valid_key_is_enough(
    client: Client, engines: dict[str, Engine], path: str, headers: dict[str, str]
) -> None:
    """Clients send what their user has set for another service too."""
    assert client.ask(ASK, path=path, key=None, headers=headers).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {BAD}", "x-api-key": "sk-ant-nothing"},
        {"Authorization": "Bearer herd-key-of-eve", "api-key": BAD},
        {"api-key": ""},
        {"x-api-key": "é".encode().decode("latin-1")},
    ],
)
def test_no_valid_key_among_several_is_refused(
    client: Client, engines: dict[str, Engine], headers: dict[str, str]
) -> None:
    answer = client.ask(ASK, key=None, headers=headers)
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
