# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""no_proxy lists servers by names, addresses, networks and ports, also by the port that a URL does not write."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.ports.download import no_proxy


@pytest.mark.parametrize(
    ("entries", "url"),
    [
        ("*", "https://a.example.org/m"),
        ("example.org", "https://example.org/m"),
        ("example.org", "https://a.Example.org/m"),
        ("EXAMPLE.org.", "https://a.example.org./m"),
        (".example.org", "https://example.org/m"),
        ("example.org:443", "https://a.example.org/m"),
        ("example.org:80", "http://example.org/m"),
        ("example.org:8080", "http://example.org:8080/m"),
        ("x.org,, example.org:8080 y.org", "http://example.org:8080/m"),
        ("10.0.0.1", "http://10.0.0.1/m"),
        ("10.0.0.1:80", "http://10.0.0.1/m"),
        ("10.0.0.1:8080", "http://10.0.0.1:8080/m"),
        ("10.0.0.0/8", "http://10.9.9.9:8080/m"),
        ("10.1.2.3/8:8080", "http://10.9.9.9:8080/m"),
        ("fd00::1", "http://[fd00::1]/m"),
        ("[fd00::1]", "http://[fd00::1]:8080/m"),
        ("[fd00::1]:8080", "http://[FD00:0:0::1]:8080/m"),
        ("fd00::/8", "http://[fd00::1]/m"),
        ("localhost", "http://localhost:1/m"),
    ],
)
def test_listed_server_is_asked_without_a_proxy(entries: str, url: str) -> None:
    assert no_proxy.lists(entries, url)


@pytest.mark.parametrize(
    ("entries", "url"),
    [
        ("", "http://example.org/m"),
        (" , ", "http://example.org/m"),
        (".", "http://example.org/m"),
        (":80", "http://example.org/m"),
        ("ample.org", "http://example.org/m"),
        ("example.org:443", "http://example.org/m"),
        ("example.org:8080", "http://example.org/m"),
        ("example.org:", "http://example.org/m"),
        ("example.org:http", "http://example.org/m"),
        ("10.0.0.1:8080", "http://10.0.0.1:8081/m"),
        ("10.0.0.1:8080", "http://10.0.0.2:8080/m"),
        ("0.0.1", "http://10.0.0.1/m"),
        ("10.0.0.0/33", "http://10.0.0.1/m"),
        ("10.0.0.0/8", "http://11.0.0.1/m"),
        ("fd00::1", "http://[fd00::2]/m"),
        ("*", "file:///m"),
        ("*", "http://[::1/m"),
        ("*", "http://h:99999/m"),
    ],
)
def test_other_server_is_not_listed(entries: str, url: str) -> None:
    assert not no_proxy.lists(entries, url)
