# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nginx's upstream files."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.gateway import nginx_upstreams


def test_written_endpoints_are_read_again() -> None:
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
def test_an_old_nginx_ends_each_client_connection(said: str, waits: bool) -> None:
    directives = nginx_upstreams.clients_configuration(said).splitlines()[1:]
    kept = ["keepalive_timeout 75s;", "keepalive_min_timeout 75s;"]
    assert directives == (kept if waits else ["keepalive_timeout 0;"])


@pytest.mark.parametrize(
    "endpoints", [{"fa;st": ""}, {"fast": "10.0.0.1:x"}, {"fast": "evil.example:80"}, {"Fast": ""}]
)
def test_other_values_do_not_enter_the_file(endpoints: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError):
        nginx_upstreams.configuration(endpoints)


def test_the_engine_key_is_checked_before_it_is_written() -> None:
    assert nginx_upstreams.key_configuration("herd-1-a_b") == 'proxy_set_header Authorization "Bearer herd-1-a_b";\n'
    for key in ("", 'a"b', "a b", "a;b", "a$b", "a\\", "\u00e4"):
        with pytest.raises(InvalidInputError) as refused:
            nginx_upstreams.key_configuration(key)
        assert key == "" or key not in str(refused.value)
