# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The units of every role have only directives that the systemd of each supported system knows."""

from __future__ import annotations

import re

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.host import unit_syntax
from tests.unit.roles.rendered_units import ROOT, UNITS, gateway_socket

ALL = {**UNITS, "herd-gateway.socket": gateway_socket}
#: The systemd of EL8, and those of Debian 12 and 13, which know every directive of our units.
EL8, DEBIAN = 239, (252, 257)
NOT_IN_EL8 = {"ProcSubset", "ProtectClock", "ProtectHostname", "ProtectKernelLogs", "ProtectProc"}


def directives(text: str) -> set[str]:
    return set(re.findall(r"^([A-Z]\w*)=", text, re.MULTILINE))


def test_every_template_of_a_unit_is_rendered() -> None:
    kinds = ["service", "socket", "timer", "path", "target", "slice", "mount", "automount", "swap", "scope"]
    found = {path.name.removesuffix(".j2") for kind in kinds for path in ROOT.glob(f"roles/*/templates/*.{kind}.j2")}
    # Rendered as the units of both firewalls.
    assert found - set(ALL) == {"herd-nft.service"}


@pytest.mark.parametrize("has_gpu", [False, True])
@pytest.mark.parametrize("unit", ALL)
def test_unit_for_el8_holds_no_directive_that_its_systemd_ignores(unit: str, has_gpu: bool) -> None:
    text = ALL[unit](has_gpu)
    old = unit_syntax.supported(text, EL8)
    newer = {name for name in directives(old) if unit_syntax.SINCE[name] > EL8}
    assert newer <= unit_syntax.BACKPORTED[EL8]
    assert directives(text) - directives(old) <= NOT_IN_EL8
    # Nothing else is lost.
    lost = re.compile(rf"(?:{'|'.join(NOT_IN_EL8)})=")
    assert old.splitlines() == [line for line in text.splitlines() if not lost.match(line)]


@pytest.mark.parametrize("has_gpu", [False, True])
@pytest.mark.parametrize("unit", ALL)
@pytest.mark.parametrize("version", DEBIAN)
def test_unit_for_debian_is_complete(version: int, unit: str, has_gpu: bool) -> None:
    text = ALL[unit](has_gpu)
    assert unit_syntax.supported(text, version) == text


def test_every_directive_of_a_template_has_a_version() -> None:
    used: set[str] = set()
    for path in ROOT.glob("roles/*/templates/*.j2"):
        if re.search(r"\.(service|socket|timer|path)\.j2$", path.name) or path.name == "sandbox.j2":
            text = path.read_text(encoding="utf-8")
            # Directives in every branch, and those in the dictionaries of the sandbox.
            used |= directives(text) | set(re.findall(r"'([A-Z]\w+)':", text))
    assert {"ProtectClock", "NUMAPolicy", "Backlog"} <= used
    assert used - set(unit_syntax.SINCE) == set()
    # No entry outlives its directive.
    assert set(unit_syntax.SINCE) - used == set()


def test_el8_lacks_some_directives_of_the_shared_sandbox() -> None:
    text = UNITS["herd-tiers.service"](False)
    assert directives(text) >= NOT_IN_EL8
    assert directives(unit_syntax.supported(text, EL8)) == directives(text) - NOT_IN_EL8
