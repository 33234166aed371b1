# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Form the address of a repository on the Hugging Face Hub, and say why the Hub refuses it."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

from ...errors import AccessDeniedError, InvalidInputError

HUB = "https://huggingface.co"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")


def folder_url(huggingface_id: str, revision: str = "main", endpoint: str = HUB) -> str:
    """Return the address below which the files of a repository are."""
    if not _ID.fullmatch(huggingface_id) or ".." in huggingface_id:
        raise InvalidInputError("an id such as openai/gpt-oss-20b", repr(huggingface_id)[:80], "correct the id")
    if not _REVISION.fullmatch(revision) or ".." in revision:
        raise InvalidInputError("a branch, a tag or a commit as revision", repr(revision)[:80], "correct the revision")
    split = urlsplit(endpoint)
    if split.scheme not in ("http", "https") or not split.hostname or "@" in split.netloc:
        raise InvalidInputError("an http or https address of the Hub", repr(endpoint)[:80], "correct the endpoint")
    return f"{endpoint.rstrip('/')}/{huggingface_id}/resolve/{quote(revision, safe='')}"


def denied(huggingface_id: str, has_token: bool) -> AccessDeniedError:
    """Say what a gated model needs. The Hub answers 401 also for a repository that does not exist."""
    if has_token:
        return AccessDeniedError(
            f"access to {huggingface_id}",
            "a refusal: the token's account has not accepted the model's terms, or the token may not read it",
            f"accept the terms at {HUB}/{huggingface_id} with that account, and give the token the right to read",
        )
    return AccessDeniedError(
        f"access to {huggingface_id}",
        "a refusal: the model is gated or private, or the id is wrong",
        f"accept the terms at {HUB}/{huggingface_id}, and give a token of that account",
    )
