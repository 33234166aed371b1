# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors quote what a service and systemd say about a fault, and not that systemd ignores a directive."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError, NotFoundError
from ansible_collections.herd.inference.plugins.module_utils.ports import commands, systemd

WARNINGS = [
    f"/etc/systemd/system/llama-rpc.service:{line}: Unknown lvalue '{name}' in section 'Service'"
    for line, name in enumerate(["ProtectKernelLogs", "ProtectClock", "ProtectHostname", "ProtectProc", "ProcSubset"])
]


def answer(monkeypatch: pytest.MonkeyPatch, rc: int = 0, out: str = "", err: str = "") -> list[Sequence[str]]:
    """Let every command answer with this, and return the list of commands."""
    asked: list[Sequence[str]] = []

    def run(argv: Sequence[str], **_options: object) -> commands.CommandResult:
        asked.append(argv)
        return commands.CommandResult(rc, out, err)

    monkeypatch.setattr(commands, "run", run)
    return asked


def test_last_words_are_those_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    said = ["one", "two", "three", "error: no such device", *WARNINGS, "", *WARNINGS]
    asked = answer(monkeypatch, out="\n".join(said))
    assert systemd.last_words("llama-rpc.service", 2) == "three | error: no such device"
    # More lines are read than quoted, since the warnings may be the last ones.
    assert int(asked[0][4].removeprefix("--lines=")) > 2 + len(WARNINGS) * 2


@pytest.mark.parametrize(
    ("out", "version"),
    [
        ("systemd 239 (239-82.el8_10.5)\n+PAM +AUDIT\n", 239),
        ("systemd 257 (257.13-1~deb13u1)\n", 257),
        ("systemd 256~rc3 (256~rc3)\n", 256),
        ("elogind\n", systemd.NEWEST),
    ],
)
def test_version_of_systemd_is_its_first_number(monkeypatch: pytest.MonkeyPatch, out: str, version: int) -> None:
    answer(monkeypatch, out=out)
    assert systemd.version() == version


def test_host_without_systemd_has_every_directive(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_argv: Sequence[str]) -> commands.CommandResult:
        raise NotFoundError.plain("The program systemctl is not installed on this machine", "install it")

    monkeypatch.setattr(commands, "run", run)
    assert systemd.version() == systemd.NEWEST


@pytest.mark.parametrize(
    "line",
    [
        "herd-gateway.socket: Service herd-gateway@a.service not loaded, socket cannot be started.",
        "Service herd-gateway@a.service not loaded, herd-gateway.socket cannot be started.",
        "/tmp/x/herd-gateway.socket:9: Unknown lvalue 'PassFileDescriptorsToExec' in section 'Socket'",
    ],
)
def test_socket_is_accepted_before_its_service_is_installed(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    answer(monkeypatch, rc=1, err=f"{line}\nother.service: Command /bin/no is not executable\n")
    systemd.verify("herd-gateway.socket", "[Socket]\n")


def test_fault_is_quoted_without_the_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    fault = "llama-rpc.service: Command /opt/x is not executable: No such file or directory"
    answer(monkeypatch, rc=1, err="\n".join([*WARNINGS, fault]))
    with pytest.raises(InvalidInputError) as caught:
        systemd.verify("llama-rpc.service", "[Service]\n")
    assert fault in str(caught.value)
    assert "Unknown lvalue" not in str(caught.value)
