# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A web server on loopback, and the module as Ansible runs it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.herd.inference.plugins.module_utils.core.download.retry import (
    Backoff,
)
from ansible_collections.herd.inference.plugins.module_utils.ports.download import http_client
from ansible_collections.herd.inference.plugins.modules import gguf_fetch
from tests.unit.model_server import ModelServer, Served
from tests.unit.modules.gguf_fetch.downloads import PARTS, SECRET, SMALL_PACE, WHOLE, Run


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer("127.0.0.1").running() as running:
        for number, data in enumerate(PARTS, 1):
            running.files[f"/m.gguf.part{number}of2"] = Served(data, etag=f'"part{number}"')
        running.files["/m.gguf"] = Served(WHOLE)
        yield running


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Requests and checkpoints that fit these files; pauses before the transfer are noted and not slept."""
    pauses: list[float] = []
    monkeypatch.setattr(gguf_fetch, "Pace", SMALL_PACE)
    monkeypatch.setattr(gguf_fetch, "Backoff", partial(Backoff, first=0.01))
    monkeypatch.setattr(http_client, "time", SimpleNamespace(sleep=pauses.append))
    return pauses


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(check: bool = False, **arguments: Any) -> dict[str, Any]:
        arguments.setdefault("dest", str(tmp_path / "m.gguf"))
        arguments.update(_ansible_check_mode=check, _ansible_diff=True)
        capsys.readouterr()
        with patch_module_args(arguments), pytest.raises(SystemExit):
            gguf_fetch.main()
        output = capsys.readouterr().out
        assert SECRET not in output
        result: dict[str, Any] = json.loads(output)
        return result

    return call
