# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask for the API key on every path of vLLM but C(GET /health).

vLLM guards C(/v1) and a few other prefixes only: C(POST /invocations) answers anybody with a completion. vLLM imports
this class through C(--middleware), so that it runs in vLLM's own process and before everything else. The standard
library is enough for it.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

#: Variable with the path of the key file. The key itself is in no environment.
VARIABLE = "HERD_KEY_FILE"
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
_BODY = b'{"error":{"message":"Unauthorized","type":"authentication_error","code":401}}'


class KeyGuard:
    """The ASGI application in front of vLLM's.

    :raises RuntimeError: if there is no key: vLLM does not start then.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        words = Path(os.environ.get(VARIABLE, "/nonexistent")).read_bytes().split()
        if not words:
            raise RuntimeError(f"the key file in {VARIABLE} is empty")
        self._expected = b"Bearer " + words[0]

    def _is_allowed(self, scope: Scope) -> bool:
        if scope["type"] == "http" and scope.get("method") in ("GET", "HEAD") and scope.get("path") == "/health":
            return True
        given = [value for name, value in scope.get("headers", ()) if name.lower() == b"authorization"]
        # A second header might be the one that the application reads.
        return len(given) == 1 and hmac.compare_digest(given[0], self._expected)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 401."""
        if scope["type"] == "lifespan" or self._is_allowed(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(_BODY)).encode())]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": _BODY})
