# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Under which id a model of the inventory is asked for at a tier."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

ROUTER = "router"
_ENDING = re.compile(r"(-\d{5}-of-\d{5})?\.gguf$")


def file_id(file: str) -> str:
    """The engine's id of a file in router mode: the name without its ending, also of the first of several shards."""
    return _ENDING.sub("", file.rsplit("/", 1)[-1])


def api_id(kind: str, model: Mapping[str, Any]) -> str:
    """The id of a model: a router goes by files, any other engine says the name that it was given.

    :param kind: kind of the tier.
    :param model: the model's facts, an entry of C(herd_models).
    """
    return file_id(str(model["file"])) if kind == ROUTER else str(model.get("name") or file_id(str(model["file"])))
