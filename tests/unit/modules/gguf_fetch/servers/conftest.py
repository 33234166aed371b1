# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A web server whose responses a test can spoil, and the module with short timeouts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.herd.inference.plugins.module_utils.core.download.retry import Backoff, Pace
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule
from ansible_collections.herd.inference.plugins.modules import gguf_fetch
from tests.unit.model_server import ModelServer, Served
from tests.unit.modules.gguf_fetch.servers.misbehaviour import TIMEOUT, WHOLE, Run


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    small = partial(Pace, smallest=20_000, largest=60_000, checkpoint=60_000, unsafe=120_000, ahead=400_000)
    monkeypatch.setattr(gguf_fetch, "Pace", partial(small, block=10_000, progress=5_000))
    monkeypatch.setattr(gguf_fetch, "Backoff", partial(Backoff, first=0.01))


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer("127.0.0.1").running() as running:
        running.files["/m.gguf"] = Served(WHOLE)
        yield running


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def call(**arguments: Any) -> dict[str, Any]:
        said: list[str] = []
        # In a process that has loaded Ansible's controller, such as for the tests of filters, Ansible prints warnings.
        monkeypatch.setattr(HerdModule, "warn", lambda _module, text: said.append(text))
        arguments = {"dest": str(tmp_path / "m.gguf"), "timeout": TIMEOUT, "retries": 3, "connections": 4, **arguments}
        capsys.readouterr()
        with patch_module_args(arguments), pytest.raises(SystemExit):
            gguf_fetch.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return {**result, "warnings": said} if said else result

    return call
