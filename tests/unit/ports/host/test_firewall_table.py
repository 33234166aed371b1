# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A table of nftables is written, loaded and enabled once, and its state is the module's diff."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.ports import systemd
from ansible_collections.herd.inference.plugins.module_utils.ports.host import firewall


class Host:
    """A host whose kernel and systemd note what they are told."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.did: list[str] = []
        self.unit = systemd.UnitState()
        self.is_loaded = False
        self.version = 257
        self.table = firewall.NftTable("herd_t", "m1", "t.service", str(folder / "t.nft"), "table\n", "[Unit]\n")
        monkeypatch.setattr(systemd, "UNIT_DIRECTORY", folder)
        monkeypatch.setattr(systemd, "show", lambda _unit: self.unit)
        monkeypatch.setattr(systemd, "version", lambda: self.version)
        monkeypatch.setattr(firewall, "nft_program", lambda: "/usr/sbin/nft")
        monkeypatch.setattr(firewall, "has_chain", lambda _table, _chain: self.is_loaded)
        for module, names in ((systemd, ("reload", "enable", "start")), (firewall, ("check", "load"))):
            for name in names:
                monkeypatch.setattr(module, name, lambda *_what, name=name: self.did.append(name))

    def install(self, check_mode: bool = False) -> tuple[bool, list[str]]:
        self.did.clear()
        return firewall.install_table(self.table, check_mode)["changed"], list(self.did)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_new_table_is_checked_written_loaded_and_enabled(host: Host, tmp_path: Path) -> None:
    assert host.install(check_mode=True) == (True, [])
    assert list(tmp_path.iterdir()) == []
    assert host.install() == (True, ["check", "reload", "load", "enable", "start"])
    assert (tmp_path / "t.nft").read_text(encoding="utf-8") == "table\n"
    assert (tmp_path / "t.service").read_text(encoding="utf-8") == "[Unit]\n"
    host.is_loaded, host.unit = True, systemd.UnitState("active", "exited", enabled=True)
    assert host.install() == (False, [])


def test_flushed_table_is_loaded_again(host: Host) -> None:
    host.install()
    host.unit = systemd.UnitState("active", "exited", enabled=True)
    assert host.install() == (True, ["load"])
    (diff,) = firewall.install_table(host.table, check_mode=True)["diff"]
    assert (diff["before"], diff["after"]) == (
        "rules loaded: no\nloaded at boot: yes\n",
        "rules loaded: yes\nloaded at boot: yes\n",
    )


def test_unit_has_no_directive_that_systemd_of_the_host_does_not_know(host: Host, tmp_path: Path) -> None:
    text = "[Service]\nPrivateMounts=yes\nProtectClock=yes\n"
    host.table, host.version = replace(host.table, unit_text=text), 239
    host.install()
    assert (tmp_path / "t.service").read_text(encoding="utf-8") == "[Service]\nPrivateMounts=yes\n"
    host.is_loaded, host.unit = True, systemd.UnitState("active", "exited", enabled=True)
    assert host.install() == (False, [])
    # systemd was upgraded.
    host.version = 252
    assert host.install()[0]
    assert (tmp_path / "t.service").read_text(encoding="utf-8") == text
