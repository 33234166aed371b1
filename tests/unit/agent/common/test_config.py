# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reader of the services' configuration files accepts valid documents, and its errors name the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.common import config
from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError


def read(path: Path) -> str:
    def parse(data: Any) -> str:
        return str(data["name"])

    return config.read_config(str(path), 1, parse, "the agent's configuration", "node_agent")


def test_document_of_the_schema_is_read(tmp_path: Path) -> None:
    path = tmp_path / "agent.json"
    path.write_text('{"schema": 1, "name": "beefcake2"}', encoding="utf-8")
    assert read(path) == "beefcake2"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"schema": 2, "name": "a"}', "schema 2"),
        ('{"schema": 1}', "KeyError: 'name'"),
        ('{"schema": 1, "name": NaN}', "NaN is not a number of JSON"),
        ("[1]", "TypeError"),
        ('{"schema": 1, "name": ', "JSONDecodeError"),
        ("[" * 100000, "RecursionError"),
        (" " * (config.MOST_CHARACTERS + 1), "more than 8388608 characters"),
    ],
)
def test_invalid_configuration_is_rejected(tmp_path: Path, text: str, found: str) -> None:
    path = tmp_path / "agent.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInputError, match="expected the agent's configuration of schema 1 at") as caught:
        read(path)
    assert found in str(caught.value)
    assert "run the role node_agent" in str(caught.value)


def test_error_names_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="found No such file or directory: run the role"):
        read(tmp_path / "none.json")
