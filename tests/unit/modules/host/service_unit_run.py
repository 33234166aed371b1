# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the module service_unit in this process, and end it as a killed run ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.herd.inference.plugins.modules import service_unit

GATEWAY = "herd-gateway@.service"


class Killed(BaseException):
    """The module's process is killed."""


def run(capsys: pytest.CaptureFixture[str], check: bool, **given: Any) -> dict[str, Any]:
    """Run the module, and return its result."""
    capsys.readouterr()
    with patch_module_args({**given, "_ansible_check_mode": check}), pytest.raises(SystemExit):
        service_unit.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def run_gateway(capsys: pytest.CaptureFixture[str], text: str, check: bool, **given: Any) -> dict[str, Any]:
    """Run the module for the two instances of the gateway, whose program is the text."""
    content = f"[Service]\nEnvironment=HERD_UNIT=@HERD_UNIT@\nExecStart={text}\n"
    return run(capsys, check, name=GATEWAY, content=content, instances=["a", "b"], stop_timeout=60, **given)


def digest_in(folder: Path) -> str:
    """Return the digest in the installed unit of the gateway."""
    return (folder / GATEWAY).read_text(encoding="utf-8").partition("HERD_UNIT=")[2].split("\n", 1)[0]
