# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""rpc_firewall limits the connections of the worker's user only where systemd cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import NotFoundError
from ansible_collections.herd.inference.plugins.module_utils.ports import files
from ansible_collections.herd.inference.plugins.module_utils.ports.host import firewall
from ansible_collections.herd.inference.plugins.modules import rpc_firewall


@pytest.mark.parametrize(
    ("has_cgroup2", "user", "user_id"),
    [(True, "llama", None), (False, "llama", 990), (False, "", None)],
)
def test_user_is_limited_on_cgroup_v1_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, has_cgroup2: bool, user: str, user_id: int | None
) -> None:
    monkeypatch.setattr(firewall, "CGROUP2", tmp_path if has_cgroup2 else tmp_path / "none")
    monkeypatch.setattr(files, "user_id", lambda _name: 990)
    assert rpc_firewall.limited_user(user, check_mode=False) == user_id


def test_missing_user_is_an_error_except_in_check_mode(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(firewall, "CGROUP2", tmp_path / "none")
    monkeypatch.setattr(files, "user_id", lambda _name: None)
    assert rpc_firewall.limited_user("llama", check_mode=True) is not None
    with pytest.raises(NotFoundError, match="the user llama"):
        rpc_firewall.limited_user("llama", check_mode=False)
