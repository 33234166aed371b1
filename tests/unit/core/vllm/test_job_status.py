# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.vllm import job_status
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.job_status import JobStatus, RankStatus

STATUS = JobStatus(
    "4711", "llama-4-scout", job_status.READY, served_name="Llama-4-Scout", percent=100, host="c1", address="10.0.0.1",
    port=8006, key_file="/ws/api-key", started=1000.0, updated=2000.5, restarts=1, log="/ws/logs/x.out",
    ranks=(RankStatus(0, "c1", "up"), RankStatus(1, "c2", "lost", "no heartbeat for 10 s")),
)  # fmt: skip


def test_status_file_is_read_as_it_was_written() -> None:
    assert job_status.parse(json.dumps(STATUS.as_data())) == STATUS


def test_address_for_clients() -> None:
    assert STATUS.base_url == "http://10.0.0.1:8006/v1"
    assert replace(STATUS, address="fd00::1").base_url == "http://[fd00::1]:8006/v1"
    assert replace(STATUS, address="").base_url == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 2}, "schema 1"),
        ({"phase": "happy"}, "phase"),
        ({"port": "8006"}, "port"),
        ({"port": 70000}, "port"),
        ({"updated": -1}, "updated"),
        ({"reason": "x" * 5000}, "reason"),
        ({"host": "c1\x1b[2J"}, "host"),
        ({"ranks": "none"}, "ranks"),
        ({"ranks": ["none"]}, "rank"),
        ({"ranks": [{"rank": True, "host": "c1", "state": "up"}]}, "rank"),
    ],
)
def test_wrong_value_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        job_status.parse(json.dumps({**STATUS.as_data(), **change}))


@pytest.mark.parametrize("document", ["", "{", "[]", "null", '{"schema": 1}' * 2, "[" * 100000])
def test_other_document_is_refused(document: str) -> None:
    with pytest.raises(InvalidInputError):
        job_status.parse(document)


def test_file_of_a_killed_job_is_silent() -> None:
    assert not STATUS.is_silent(2030.0)
    assert not STATUS.is_silent(1000.0)
    assert STATUS.is_silent(2200.0)
    assert not replace(STATUS, phase=job_status.FAILED).is_silent(9000.0)
