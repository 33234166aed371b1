# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Form the address of a repository on the Hugging Face Hub, and say why the Hub refuses it."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

from ...download.identity import is_address
from ...download.refusals import Refusal
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
    if not is_server(endpoint):
        raise InvalidInputError("an http or https address of the Hub", repr(endpoint)[:80], "correct the endpoint")
    return f"{endpoint.rstrip('/')}/{huggingface_id}/resolve/{quote(revision, safe='')}"


def is_server(address: str) -> bool:
    """Return whether a text is the address of a web server, without a user."""
    return is_address(address) and "@" not in urlsplit(address).netloc


def denied(huggingface_id: str, refusal: Refusal) -> AccessDeniedError:
    """Say what a gated model needs. Without a token, the Hub answers 401 also for a repository that does not exist."""
    return AccessDeniedError(f"access to {huggingface_id}", _cause(refusal), _remedy(huggingface_id, refusal))


def _cause(refusal: Refusal) -> str:
    if refusal.code or refusal.is_wrong_token:
        return f"a refusal: {refusal.cause}"
    if refusal.has_token:
        reason = "the token's account has not accepted the model's terms, or the token may not read it"
    else:
        reason = "the model is gated or private, or the id is wrong"
    return f"a refusal: {reason}{refusal.said}"


def _remedy(huggingface_id: str, refusal: Refusal) -> str:
    page = f"{HUB}/{huggingface_id}"
    if refusal.is_unknown_repository or refusal.is_disabled or refusal.is_wrong_token:
        return refusal.remedy("the token")
    if refusal.has_token:
        return f"accept the terms at {page} with that account, and give the token the right to read"
    return f"accept the terms at {page}, and give a token of that account"
