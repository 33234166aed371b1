# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe C(config.yaml) as JSON Schema, from the table of keys, for editors and other programs."""

from __future__ import annotations

from typing import Any

from .. import config_keys
from ..config_keys import MODEL, REQUIRED, Key

_UNSET = {"enum": ["", None]}


def schema() -> dict[str, Any]:
    """Return the JSON schema. It lacks the rules between values, such as GPUs that divide over nodes."""
    top = _object("")
    models = {
        "type": "object",
        "description": "The models that can be launched, by key.",
        "minProperties": 1,
        "propertyNames": {"pattern": f"^{config_keys.MODEL_KEY}$"},
        "additionalProperties": _object(MODEL),
    }
    sections = {name: _object(name) for name in config_keys.SECTIONS}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Models that vLLM serves as Slurm jobs",
        **top,
        "required": [*top["required"], *(name for name in sections if "required" in sections[name]), "models"],
        "properties": {**top["properties"], **sections, "models": models},
    }


def _object(section: str) -> dict[str, Any]:
    keys = config_keys.in_section(section)
    required = [name for name, key in keys.items() if key.default == REQUIRED]
    described: dict[str, Any] = {"type": "object" if section in ("", MODEL) or required else ["object", "null"]}
    if required:
        described["required"] = required
    properties = {name: _value(key) for name, key in keys.items()}
    return {**described, "additionalProperties": False, "properties": properties}


def _value(key: Key) -> dict[str, Any]:
    text = {"description": f"{key.meaning[0].upper()}{key.meaning[1:]}."}
    if key.default == REQUIRED:
        return {**text, **key.kind.schema()}
    default = list(key.default) if isinstance(key.default, tuple) else key.default
    return {**text, "default": default, "anyOf": [key.kind.schema(), _UNSET]}
