# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which engine a tier's requests go to, and how nginx is told."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.gateway import nginx_upstreams

ENTRY = {"tier": "fast", "job_id": "5", "address": "10.0.0.42", "port": 8080, "state": "ready", "started": 5.0}


@pytest.mark.parametrize(
    ("more", "endpoint"),
    [
        ({}, "10.0.0.42:8080"),
        ({"address": "10.0.0.42; }"}, ""),
        ({"address": "localhost"}, ""),
        ({"port": "8080"}, ""),
        ({"port": 0}, ""),
        ({"port": 70000}, ""),
    ],
)
def test_only_an_address_gets_into_nginx(more: dict[str, Any], endpoint: str) -> None:
    assert nginx_upstreams.endpoint_of({**ENTRY, **more}) == endpoint


def test_the_job_that_began_last_is_chosen_of_those_that_are_ready() -> None:
    entries = [
        ENTRY,
        {**ENTRY, "job_id": "6", "started": 6.0, "port": 8081},
        {**ENTRY, "job_id": "7", "started": 7.0, "state": "loading"},
        {**ENTRY, "job_id": "8", "started": 8.0, "port": 0},
    ]
    found = nginx_upstreams.chosen(entries)
    assert found is not None
    assert found["job_id"] == "6"
    assert nginx_upstreams.chosen([]) is None


def view(written: float = 100.0, **tier: Any) -> dict[str, Any]:
    return {"schema": 1, "written": written, "tiers": {"fast": {"state": "ready", "endpoints": [ENTRY], **tier}}}


def test_a_view_is_read() -> None:
    found = nginx_upstreams.from_view(view(), 105)
    assert found is not None
    assert found["fast"].is_ready
    found = nginx_upstreams.from_view(view(state="loading", percent=43, reason="loading 43 %", retry_after_s=9), 105)
    assert found is not None
    now = found["fast"]
    assert (now.is_ready, now.endpoint, now.percent, now.retry_after) == (False, "", 43.0, 9)


@pytest.mark.parametrize("data", [{}, view(80.0), view(120.0), {**view(), "schema": 2}, {**view(), "tiers": 5}, []])
def test_what_is_old_or_no_view_is_not_believed(data: Any) -> None:
    assert nginx_upstreams.from_view(data, 105) is None


def test_ready_without_an_engine_is_not_ready() -> None:
    found = nginx_upstreams.from_view(view(endpoints=[]), 105)
    assert found is not None
    assert not found["fast"].is_ready


def test_the_registry_alone() -> None:
    entries = [ENTRY, {**ENTRY, "tier": "reasoning", "state": "draining"}]
    found = nginx_upstreams.from_registry(entries, ["fast", "reasoning", "third"])
    assert found["fast"].endpoint == "10.0.0.42:8080"
    assert (found["reasoning"].state, found["reasoning"].is_ready) == ("draining", False)
    assert "the manager of the tiers is silent" in found["third"].reason


def test_what_nginx_is_told_is_read_again() -> None:
    endpoints = {"fast": "10.0.0.42:8080", "reasoning": ""}
    text = nginx_upstreams.configuration(endpoints)
    assert "server 10.0.0.42:8080 max_fails=0;" in text
    assert "server 127.0.0.1:9 down;" in text
    assert nginx_upstreams.known_endpoints(text) == endpoints
    assert nginx_upstreams.known_endpoints("") == {}


@pytest.mark.parametrize(
    ("said", "waits"),
    [
        ("nginx version: nginx/1.14.1", False),
        ("nginx version: nginx/1.26.3 (Ubuntu)", False),
        ("nginx version: nginx/1.27.4", True),
        ("nginx version: nginx/1.30.6", True),
        ("sh: nginx: not found", False),
    ],
)
def test_an_nginx_that_cannot_wait_for_a_client_ends_each_connection(said: str, waits: bool) -> None:
    directives = nginx_upstreams.clients_configuration(said).splitlines()[1:]
    kept = ["keepalive_timeout 75s;", "keepalive_min_timeout 75s;"]
    assert directives == (kept if waits else ["keepalive_timeout 0;"])


@pytest.mark.parametrize(
    "endpoints", [{"fa;st": ""}, {"fast": "10.0.0.1:x"}, {"fast": "evil.example:80"}, {"Fast": ""}]
)
def test_nothing_else_gets_into_the_file(endpoints: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError):
        nginx_upstreams.configuration(endpoints)


def test_the_key_of_the_engines() -> None:
    assert nginx_upstreams.key_configuration("herd-1-a_b") == 'proxy_set_header Authorization "Bearer herd-1-a_b";\n'
    for key in ("", 'a"b', "a b", "a;b", "a$b", "a\\", "\u00e4"):
        with pytest.raises(InvalidInputError) as refused:
            nginx_upstreams.key_configuration(key)
        assert key == "" or key not in str(refused.value)


@pytest.mark.parametrize(
    ("data", "late"), [({"written": 100.0}, False), ({"written": 96.0}, True), ({"written": 110.0}, True), ({}, True)]
)
def test_a_view_is_late_before_it_is_not_believed_any_more(data: dict[str, Any], late: bool) -> None:
    assert nginx_upstreams.is_late(data, 102.0) is late
