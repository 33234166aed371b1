# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List the paths of llama-server's API that clients may use through the gateway.

All other paths change the engine or show other users' requests.
"""

from __future__ import annotations

#: Paths that generate text. Their responses report token counts.
GENERATION_PATHS = frozenset(
    {
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/messages",
        "/v1/responses",
        "/chat/completions",
        "/completions",
        "/completion",
        "/infill",
    }
)
#: All paths that clients may use.
ALLOWED_PATHS = GENERATION_PATHS | {
    "/v1/embeddings",
    "/v1/messages/count_tokens",
    "/v1/rerank",
    "/embeddings",
    "/apply-template",
    "/detokenize",
    "/tokenize",
}
