# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A unit keeps the directives that a version of systemd knows, and loses no other line."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.host import unit_syntax

UNIT = """\
# A comment: ProtectClock=yes
[Service]
Environment=ProtectClock=yes
ExecStart=/bin/echo \\
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes \\
  and its continuation
ProtectClock=yes
ProcSubset=pid
RestrictSUIDSGID=yes
SomethingOfASite=1

[Install]
WantedBy=multi-user.target
"""
OLDEST = """\
# A comment: ProtectClock=yes
[Service]
Environment=ProtectClock=yes
ExecStart=/bin/echo \\
ProtectClock=yes
RestrictSUIDSGID=yes
SomethingOfASite=1

[Install]
WantedBy=multi-user.target
"""


@pytest.mark.parametrize(
    ("version", "text"),
    [
        (239, OLDEST),
        (242, OLDEST.replace("RestrictSUIDSGID", "ProtectHostname=yes\nRestrictSUIDSGID")),
        (246, UNIT.replace("ProcSubset=pid\n", "")),
        (247, UNIT),
        (257, UNIT),
    ],
)
def test_unit_loses_only_directives_that_are_newer_than_systemd(version: int, text: str) -> None:
    assert unit_syntax.supported(UNIT, version) == text


def test_directive_has_one_version() -> None:
    assert unit_syntax.SINCE["ProtectProc"] == 247
    versions = unit_syntax.BY_VERSION
    assert sum(len(names.split()) for names in versions.values()) == len(unit_syntax.SINCE)
    assert list(versions) == sorted(versions)


def test_backported_directives_are_newer_than_their_systemd() -> None:
    for version, names in unit_syntax.BACKPORTED.items():
        assert {name for name in names if unit_syntax.SINCE[name] <= version} == set()


@pytest.mark.parametrize(
    ("line", "is_unknown"),
    [
        ("/etc/systemd/system/a.service:9: Unknown lvalue 'ProtectClock' in section 'Service'", True),
        ("/etc/systemd/system/a.service:9: Unknown key name 'ProtectClock' in section 'Service', ignoring.", True),
        ("/etc/systemd/system/a.service:9: Unknown key 'ProtectClock' in section [Service], ignoring.", True),
        ("error: Unknown key 'x' in the request", False),
        ("/etc/systemd/system/a.service:9: Failed to parse service type, ignoring: exce", False),
        ("a.service: Failed with result 'exit-code'.", False),
    ],
)
def test_line_about_an_unknown_directive_is_recognised(line: str, is_unknown: bool) -> None:
    assert unit_syntax.is_unknown_directive(line) == is_unknown


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
def test_own_systemd_reports_an_unknown_directive_in_a_recognised_line(tmp_path: Path) -> None:
    unit = tmp_path / "herd-t.service"
    unit.write_text("[Service]\nExecStart=/bin/true\nProtectEverything=yes\n", encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    said = [line for line in done.stderr.splitlines() if "ProtectEverything" in line]
    assert [unit_syntax.is_unknown_directive(line) for line in said] == [True]
