# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ids by which clients ask for models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

ROUTER = "router"
_ENDING = re.compile(r"(-\d{5}-of-\d{5})?\.gguf$")


def file_id(file: str) -> str:
    """Name a file as the engine does in router mode: without folder, ending and number of the shard."""
    return _ENDING.sub("", file.rsplit("/", 1)[-1])


def api_id(kind: str, model: Mapping[str, Any]) -> str:
    """Name a model at a tier: a router names models by their files, any other engine by the name that it was given.

    :param kind: kind of the tier.
    :param model: an entry of C(herd_models).
    """
    return file_id(str(model["file"])) if kind == ROUTER else str(model.get("name") or file_id(str(model["file"])))
