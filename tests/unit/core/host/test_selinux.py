# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What SELinux's policy has, in the words of semanage 3.4 and semodule 3.4, and what is changed in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError, InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.host import selinux as rules

FIXTURES = Path(__file__).parents[3] / "fixtures" / "selinux"
EVERY = rules.read_ports((FIXTURES / "ports.txt").read_text(encoding="utf-8"))
GOOD = ("http_cache_port_t",)


def found(local: str = "", ours: tuple[int, ...] = (), module: str = "") -> rules.PolicyState:
    """What there is; a list of all has what this host says first, and what the policy says as well."""
    own = rules.read_ports(local)
    return rules.PolicyState(module=module, local=own, every=(*own, *EVERY), ours=ours)


def wanted(*ports: int, module: str = "") -> rules.PolicySpec:
    return rules.PolicySpec(module=module, ports=ports, good_types=GOOD)


@pytest.mark.parametrize(
    ("local", "port", "expected"),
    [
        ("", 8080, "http_cache_port_t"),
        ("", 10005, "http_cache_port_t"),
        ("", 8081, "transproxy_port_t"),
        ("", 8443, "http_port_t"),
        ("", 9999, "unreserved_port_t"),
        ("http_port_t tcp 8081, 9999", 8081, "http_port_t"),
        ("http_port_t tcp 8081, 9999", 9999, "http_port_t"),
        # Of another protocol, and a range that is wider than what the policy says of the port.
        ("http_port_t udp 8081", 8081, "transproxy_port_t"),
        ("http_port_t tcp 8000-9000", 8081, "transproxy_port_t"),
        ("http_port_t tcp 9900-9999", 9950, "http_port_t"),
    ],
)
def test_the_smallest_range_gives_the_type_of_a_port(local: str, port: int, expected: str) -> None:
    assert rules.type_of(found(local), port) == expected


def test_the_heading_is_ignored() -> None:
    text = "SELinux Port Type              Proto    Port Number\n\nhttp_port_t                    tcp      80, 443\n"
    assert [each.low for each in rules.read_ports(text)] == [80, 443]
    with pytest.raises(HerdError, match="semanage port -l"):
        rules.read_ports("http_port_t tcp eighty")


@pytest.mark.parametrize(
    ("local", "ours", "ports", "commands", "left"),
    [
        ("", (), (8080, 8443), [], ()),
        ("", (), (8080, 8081), ["-m 8081"], (8081,)),
        ("", (), (9999,), ["-a 9999"], (9999,)),
        ("http_port_t tcp 8081", (8081,), (8080, 8081), [], (8081,)),
        # It was somebody else who has done what was needed.
        ("http_port_t tcp 8081", (), (8080, 8081), [], ()),
        # A run that was killed before it did what it had written down.
        ("", (8081,), (8081,), ["-m 8081"], (8081,)),
        # A tier has moved to another port.
        ("http_port_t tcp 8081", (8081,), (8080, 9999), ["-d 8081", "-a 9999"], (9999,)),
        # By now it is somebody else's.
        ("squid_port_t tcp 8081", (8081,), (8080,), [], ()),
        ("", (8081,), (8080,), [], ()),
    ],
)
def test_ports_without_an_allowed_type_get_one(
    local: str, ours: tuple[int, ...], ports: tuple[int, ...], commands: list[str], left: tuple[int, ...]
) -> None:
    plan = rules.plan(found(local, ours), wanted(*ports))
    assert [f"{words[0]} {words[-1]}" for words in plan.commands] == commands
    assert all(words[1:5] == ("-t", "http_port_t", "-p", "tcp") for words in plan.commands)
    assert plan.ours == left
    assert all(name in ("http_port_t", *GOOD) for port, name in plan.after["ports"].items() if int(port) in ports)


def test_local_types_of_others_are_not_changed() -> None:
    with pytest.raises(InvalidInputError, match="found the local type squid_port_t"):
        rules.plan(found("squid_port_t tcp 8081"), wanted(8080, 8081))


def test_only_recorded_types_are_removed() -> None:
    local = "http_port_t tcp 8081, 9999"
    plan = rules.plan(found(local, (8081,), "(x)"), wanted(8081, 9999), is_present=False)
    assert plan.commands == (("-d", "-t", "http_port_t", "-p", "tcp", "8081"),)
    assert (plan.module, plan.ours) == ("remove", ())
    assert plan.before["ports"] == {"8081": "http_port_t", "9999": "http_port_t"}
    assert plan.after == {"module": [], "ports": {"8081": "transproxy_port_t", "9999": "http_port_t"}}


@pytest.mark.parametrize(
    ("there", "text", "is_present", "action"),
    [
        ("", "(x)\n", True, "install"),
        ("(x)\n", "(x)\n", True, ""),
        ("(x)", "(x)\n", True, ""),
        ("(y)\n", "(x)\n", True, "install"),
        ("(y)\n", "", False, "remove"),
        ("", "", False, ""),
    ],
)
def test_a_different_module_is_installed(there: str, text: str, is_present: bool, action: str) -> None:
    plan = rules.plan(found(module=there), wanted(module=text), is_present)
    assert plan.module == action
    assert bool(action) == (plan.before != plan.after)


def test_only_locally_installed_modules_are_read() -> None:
    text = (FIXTURES / "modules.txt").read_text(encoding="utf-8")
    assert rules.read_modules(text) == ("herd_gateway",)
    # The same name within the policy itself is not ours.
    assert rules.read_modules("100 herd_gateway pp\n") == ()


def test_the_record_is_read_and_written() -> None:
    assert rules.read_record("") == ()
    assert rules.read_record(rules.format_record([8081, 80])) == (80, 8081)
    for text in ("{", "[]", '{"ports": ["x"]}', '{"ports": 3}'):
        with pytest.raises(InvalidInputError, match="record"):
            rules.read_record(text)
