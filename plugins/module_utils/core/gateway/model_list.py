# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of models, in the shapes of OpenAI's and Anthropic's APIs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import values
from ..timefmt import iso

_MOST_MODELS, _LONGEST = 256, 256
#: The last UNIX time that a date can have, at the end of the year 9999.
_LAST_TIME = 253402300799


@dataclass(frozen=True)
class Description:
    """What an engine says of one of its models.

    :ivar is_loaded: whether a router has loaded it; None if the engine does not say so.
    :ivar context: size of its context in tokens; None if unknown.
    :ivar owner: who owns it, as the engine says.
    """

    owner: str = "herd"
    created: int = 0
    context: int | None = None
    capabilities: tuple[str, ...] = ()
    is_loaded: bool | None = None


UNKNOWN = Description()
#: An engine's descriptions by the model's id.
Descriptions = Mapping[str, Description]


@dataclass(frozen=True)
class Model:
    """A model of a tier.

    :ivar state: the tier's present state.
    """

    id: str
    tier: str
    state: str
    description: Description = UNKNOWN


def _word(value: Any, default: str = "") -> str:
    return value if isinstance(value, str) and value.isprintable() and 0 < len(value) <= _LONGEST else default


def _description(data: Mapping[str, Any], capabilities: Any) -> Description:
    meta = data.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    context = next((found for name in ("n_ctx", "n_ctx_train") if (found := values.finite(meta.get(name), 1))), None)
    status = data.get("status")
    words = capabilities if isinstance(capabilities, list) else []
    return Description(
        owner=_word(data.get("owned_by"), UNKNOWN.owner),
        created=int(values.finite(data.get("created"), most=_LAST_TIME) or 0),
        context=None if context is None else int(context),
        capabilities=tuple(filter(None, map(_word, words[:16]))),
        is_loaded=status.get("value") == "loaded" if isinstance(status, dict) else None,
    )


def _list(data: Any, name: str) -> list[dict[str, Any]]:
    found = data.get(name) if isinstance(data, dict) else None
    return [each for each in found[:_MOST_MODELS] if isinstance(each, dict)] if isinstance(found, list) else []


def read(body: bytes) -> dict[str, Description]:
    """Read an engine's list of models. Anything else is an empty list."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    # The engine describes capabilities in a second list, in the shape of another API.
    capabilities = {
        each.get("model"): each.get("capabilities") for each in _list(data, "models") if _word(each.get("model"))
    }
    return {
        identity: _description(each, each.get("capabilities") or capabilities.get(identity))
        for each in _list(data, "data")
        if (identity := _word(each.get("id")))
    }


def one(model: Model, is_anthropic: bool) -> dict[str, Any]:
    """Describe a model."""
    described = model.description
    herd: dict[str, Any] = {"tier": model.tier, "state": model.state}
    if described.context is not None:
        herd["context"] = described.context
    if described.capabilities:
        herd["capabilities"] = list(described.capabilities)
    if is_anthropic:
        return {
            "type": "model",
            "id": model.id,
            "display_name": model.id,
            "created_at": iso(described.created),
            "herd": herd,
        }
    found = {"id": model.id, "object": "model", "created": described.created, "owned_by": described.owner, "herd": herd}
    if described.context is not None:
        # The name by which clients of vLLM and OpenRouter read it.
        found["max_model_len"] = found["context_length"] = described.context
    return found


def listed(models: Sequence[Model], is_anthropic: bool) -> dict[str, Any]:
    """List models."""
    data = [one(model, is_anthropic) for model in models]
    if not is_anthropic:
        return {"object": "list", "data": data}
    ids = [model.id for model in models]
    return {"data": data, "has_more": False, "first_id": (*ids, None)[0], "last_id": (None, *ids)[-1]}
