# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a server wants to be asked again, and why it refuses."""

from __future__ import annotations

import email.utils
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.download import refusals
from ansible_collections.herd.inference.plugins.module_utils.core.download.refusals import Refusal

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": " 7 "}, 7.0),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": email.utils.formatdate(NOW + 30, usegmt=True)}, 30.0),
        ({"Retry-After": email.utils.formatdate(NOW - 30, usegmt=True)}, 0.0),
        # The clock of the node is wrong by an hour.
        (
            {
                "Retry-After": email.utils.formatdate(NOW + 3630, usegmt=True),
                "Date": email.utils.formatdate(NOW + 3600, usegmt=True),
            },
            30.0,
        ),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "\u00b2"}, None),
        ({"Retry-After": "9" * 5000}, None),
        ({"Retry-After": "Mon, 99 Foo 99999 99:99:99 GMT"}, None),
        ({"Retry-After": "Mon, 01 Jan 99999999999999 00:00:00 +9999"}, None),
        ({"RateLimit": '"api|resolvers";r=0;t=50'}, 50.0),
        ({"RateLimit": '"a";r=5;t=3, "b";r=0;t=50'}, 50.0),
        ({"RateLimit": '"a";r=0;t=3, "b";r=9;t=50'}, 3.0),
        ({"RateLimit": '"a, r=0;t=9";r=0;t=50'}, 50.0),
        ({"RateLimit": '"api" ; R=0 ; T=50'}, 50.0),
        ({"RateLimit": '"api";t=50'}, 50.0),
        ({"RateLimit": "limit=100, remaining=0, reset=50"}, 50.0),
        ({"RateLimit": "reset=50"}, 50.0),
        ({"RateLimit": '"api";r=0'}, None),
        ({"RateLimit": "t=-5, t=x"}, None),
        ({"RateLimit": "t=" + "9" * 5000}, None),
        ({"RateLimit": '"api";r=0;t=50', "Retry-After": "7"}, 7.0),
        ({"RateLimit": '"api";r=0;t=50', "Retry-After": "soon"}, 50.0),
        ({"RateLimit-Reset": "50"}, 50.0),
        ({"X-RateLimit-Reset": "50"}, 50.0),
        ({"X-Rate-Limit-Reset": "50"}, 50.0),
        ({"X-RateLimit-Reset": str(int(NOW) + 50)}, 50.0),
        ({"X-RateLimit-Reset": str(int(NOW * 1000) + 50_000)}, 50.0),
        ({"X-RateLimit-Reset": str(int(NOW) - 50)}, 0.0),
        ({"RateLimit-Policy": '"fixed window";"api";q=500;w=300'}, 300.0),
        ({"RateLimit-Policy": '"day";q=9;w=86400, "minute";q=5;w=60'}, 60.0),
        ({"RateLimit-Policy": "100;w=60"}, 60.0),
        # A policy is no request to wait for a day.
        ({"RateLimit-Policy": '"day";q=9;w=86400'}, None),
        ({"RateLimit-Policy": '"api";q=500;w=300', "RateLimit": '"api";r=0;t=50'}, 50.0),
    ],
)
def test_pause_is_read_from_every_form_of_the_limit(headers: dict[str, str], seconds: float | None) -> None:
    found = refusals.pause(headers, NOW)
    assert found == (seconds if seconds is None else pytest.approx(seconds, abs=1e-3))


def test_only_statuses_that_may_change_pass() -> None:
    passing = {status for status in range(100, 1000) if refusals.may_pass(status)}
    assert {408, 421, 425, 429, 500, 502, 503, 504, 507, 520, 529, 599} <= passing
    assert not passing & {200, 206, 301, 400, 401, 403, 404, 407, 410, 416, 451, 501, 505, 511, 600, 999}


def refusal(status: int, code: str = "", message: str = "", has_token: bool = False) -> Refusal:
    return Refusal.of(status, {"X-Error-Code": code, "X-Error-Message": message}, has_token)


@pytest.mark.parametrize(
    ("found", "cause", "remedy"),
    [
        (refusal(401), "status 401: a token is needed", "set T to a token of an account"),
        (refusal(403, has_token=True), "status 403: a token was refused", "set T to a token of an account"),
        (refusal(404), "status 404", "compare the path"),
        (
            refusal(401, "RepoNotFound", "Repository not found"),
            "status 401: there is no such repository, or it is private (RepoNotFound: Repository not found)",
            "compare owner and name",
        ),
        (refusal(404, "RepoNotFound", "", True), "no such repository, or it is private", "compare owner and name"),
        (refusal(401, "GatedRepo", "Access is restricted"), "its terms are not accepted", "an account whose token"),
        (refusal(403, "GatedRepo", "", True), "its terms are not accepted", "with the token's account"),
        (refusal(404, "RevisionNotFound"), "there is no such revision", "compare the path, the revision"),
        (refusal(404, "EntryNotFound"), "there is no such file in this revision", "compare the path"),
        (refusal(403, "", "Access to this resource is disabled."), "has disabled the repository", "another repository"),
        (refusal(401, "", "Invalid username or password.", True), "the token is not valid", "has not expired"),
        (refusal(451), "legal reasons", "compare the path"),
    ],
)
def test_refusal_names_the_cause_and_the_next_step(found: Refusal, cause: str, remedy: str) -> None:
    assert cause in found.cause
    assert remedy in found.remedy("T")


def test_words_of_a_server_are_bounded_and_clean() -> None:
    found = refusal(404, "E" * 9000, "a\x1b[31m\r\nb" + "c" * 9000)
    assert len(found.cause) < 300
    assert found.cause.isprintable()


def test_missing_headers_are_no_words() -> None:
    headers: dict[str, Any] = {}
    assert Refusal.of(404, headers, False).cause == "status 404"
