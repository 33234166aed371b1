# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the vocabularies of a model and its draft as the engine does (common/speculative.cpp of 0c1e57098).

The engine serves without speculation if they differ.
"""

from __future__ import annotations

from ...models.gguf import ArraySummary, Header

#: The key of the tokens' texts, which a header keeps on request only.
TOKENS = "tokenizer.ggml.tokens"
#: More or fewer tokens than that are a difference.
MOST_DIFFERENCE = 128
#: Tokens before this one may differ.
FIRST = 5
# Keys that have to be equal, if both files have them: the kind, and the ends of a text.
_KEYS = (
    "tokenizer.ggml.model", "tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_eos_token",
    "tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id",
)  # fmt: skip
_SHOWN = 40


def difference(model: Header, draft: Header) -> str:
    """Name the first difference that turns speculation off; empty if there is none.

    :param model: the header of a file, read with the texts of C(TOKENS).
    """
    for key in _KEYS:
        ours, theirs = model.metadata.get(key), draft.metadata.get(key)
        if ours is not None and theirs is not None and ours != theirs:
            return f"{key} {_shown(ours)} of the model and {_shown(theirs)} of the draft"
    ours, theirs = model.metadata.get(TOKENS), draft.metadata.get(TOKENS)
    if not isinstance(ours, tuple) or not isinstance(theirs, tuple):
        return "" if ours is None and theirs is None else f"a vocabulary ({TOKENS}) in one of the files only"
    if abs(len(ours) - len(theirs)) > MOST_DIFFERENCE:
        return f"{len(ours)} tokens of the model and {len(theirs)} of the draft"
    for number, (one, other) in enumerate(zip(ours[FIRST:], theirs[FIRST:]), FIRST):
        if one != other:
            return f"token {number}, {_shown(one)} of the model and {_shown(other)} of the draft"
    return ""


def _shown(value: object) -> str:
    text = str(value.length) if isinstance(value, ArraySummary) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
