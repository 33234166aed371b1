# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuration files of the node's services: JSON documents with a schema number, written by roles."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ...core.errors import InvalidInputError

MOST_CHARACTERS = 8 << 20

Settings = TypeVar("Settings")


def _reject_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number of JSON")


def read_config(path: str, schema: int, parse: Callable[[Any], Settings], what: str, role: str) -> Settings:
    """Read a configuration file and build the settings from it.

    :param parse: builds the settings from the document; it may raise the usual errors of a wrong value or key.
    :param what: names the configuration in an error ("the agent's configuration").
    :param role: the role that writes the file, and where it runs if that is not this host.
    :raises InvalidInputError: if the file cannot be read, is too large, or has another schema or wrong values.
    """
    try:
        with Path(path).open(encoding="utf-8") as file:
            text = file.read(MOST_CHARACTERS + 1)
        if len(text) > MOST_CHARACTERS:
            raise ValueError(f"more than {MOST_CHARACTERS} characters")
        data = json.loads(text, parse_constant=_reject_constant)
        if data["schema"] != schema:
            raise ValueError(f"schema {data['schema']}")
        return parse(data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        # The text of an OSError repeats its number and the path.
        found = error.strerror if isinstance(error, OSError) else None
        raise InvalidInputError(
            f"{what} of schema {schema} at {path}",
            found or f"{type(error).__name__}: {error}",
            f"run the role {role}, which writes it, or name another file with --config",
        ) from error
