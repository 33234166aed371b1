# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The paths of an engine's API that the gateway opens, with and without C(/v1).

All other paths change the engine or show other users' requests. Where the engine knows a path only with or only without
C(/v1), the gateway sends the one that it knows. C(/completions) and C(/embeddings) are no aliases: without C(/v1), the
engine answers in its own format.
"""

from __future__ import annotations

import re

_WITH_AND_WITHOUT_V1 = (
    "/chat/completions",
    "/chat/completions/input_tokens",
    "/completions",
    "/responses",
    "/responses/input_tokens",
    "/embeddings",
    "/rerank",
    "/reranking",
    "/audio/transcriptions",
)
_ONLY_WITH_V1 = ("/messages", "/messages/count_tokens", "/audio/translations")
_ONLY_WITHOUT_V1 = ("/completion", "/infill", "/tokenize", "/detokenize", "/apply-template")

#: The engine's path for each path that clients may use.
ENGINE_PATHS = {
    **{path: path for bare in _WITH_AND_WITHOUT_V1 for path in (bare, f"/v1{bare}")},
    **{path: f"/v1{bare}" for bare in _ONLY_WITH_V1 for path in (bare, f"/v1{bare}")},
    **{path: bare for bare in _ONLY_WITHOUT_V1 for path in (bare, f"/v1{bare}")},
}
#: Engine paths that neither occupy a slot nor compute a token: the engine answers them at once.
SLOTLESS_PATHS = frozenset(
    {
        "/v1/chat/completions/input_tokens",
        "/chat/completions/input_tokens",
        "/v1/responses/input_tokens",
        "/responses/input_tokens",
        "/v1/messages/count_tokens",
        "/tokenize",
        "/detokenize",
        "/apply-template",
    }
)


def corrected(path: str) -> str:
    """Return a path in lower case, without doubled slashes, a trailing slash and a doubled C(/v1)."""
    found = re.sub(r"/{2,}", "/", path.lower())
    found = re.sub(r"(?:/v1){2,}(?=/|$)", "/v1", found)
    return found.rstrip("/") or "/"
