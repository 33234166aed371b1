# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""benchmark as Ansible runs it, against a double of an engine's API."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.herd.inference.plugins.filter import benchmark_document, benchmark_table
from ansible_collections.herd.inference.plugins.module_utils.core.benchmark import document
from ansible_collections.herd.inference.plugins.module_utils.ports.benchmark import load_client
from ansible_collections.herd.inference.plugins.modules import benchmark
from tests.unit.ports.benchmark.endpoint_double import KEY, Double, in_a_thread

Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def double() -> Iterator[Double]:
    with in_a_thread(Double()) as made:
        yield made


@pytest.fixture
def run(double: Double, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    double.answers.clear()
    key_file = tmp_path / "keys"
    key_file.write_text(f"# keys of the head\n{KEY}\nspare\n", encoding="utf-8")
    small = {"prompts": ["short"], "output_tokens": 4, "repetitions": 2, "api_key_file": str(key_file)}

    def call(**arguments: Any) -> dict[str, Any]:
        capsys.readouterr()
        given = {"url": f"http://127.0.0.1:{double.port}", **small, **arguments}
        if arguments.get("api_key"):
            del given["api_key_file"]
        with patch_module_args(given), pytest.raises(SystemExit):
            benchmark.main()
        printed = capsys.readouterr()
        assert KEY not in printed.out + printed.err
        found: dict[str, Any] = json.loads(printed.out)
        return found

    return call


def test_endpoint_is_measured(run: Run, double: Double, tmp_path: Path) -> None:
    found = run(clients=[1, 2], kind="head", progress_file=str(tmp_path / "progress"))
    assert found["changed"] is False
    measured = found["measured"]
    assert measured["endpoint"] == {"url": f"http://127.0.0.1:{double.port}", "model": "tiny", "kind": "head"}
    assert [case["label"] for case in measured["cases"]] == ["short c1", "short c2"]
    assert [[run["requests"] for run in case["repetitions"]] for case in measured["cases"]] == [[1, 1], [2, 2]]
    # The double waits so long before its first event. A busy machine only adds to it.
    assert measured["cases"][0]["metrics"]["ttfr_ms"]["least"] >= 200
    assert json.loads((tmp_path / "progress").read_text())["finished"] is True
    # Five for the latency, then a warm-up and two repetitions with three clients.
    assert len(double.answers) == 5 + 3 * 3


def test_result_is_a_document_of_the_schema(run: Run) -> None:
    made = benchmark_document.benchmark_document(run(), {"release": "b7836"})
    jsonschema.Draft202012Validator(document.schema()).validate(made)
    assert made["conditions"] == {"release": "b7836", "nodes": {}}
    assert "short c1" in benchmark_table.benchmark_table(made)


def test_check_mode_sends_nothing(run: Run, double: Double) -> None:
    found = run(_ansible_check_mode=True)
    assert "measured" not in found
    assert found["limits"]["output_tokens_per_second"]["target"] == 15
    assert double.answers == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"url": "http://u:secret@a"}, "expected an address such as"),
        ({"model": "large"}, "expected a model of the endpoint (tiny), found large: correct benchmark_model."),
        ({"clients": [0]}, "benchmark_clients"),
        ({"timeout": 0}, "expected seconds from 1 to 86400 as benchmark_timeout, found 0"),
        ({"time_limit": 100_000}, "benchmark_time_limit"),
        ({"api_key_file": "/nonexistent/key"}, "expected a readable file /nonexistent/key"),
        ({"certificate": "no certificate"}, "expected a certificate in PEM"),
        ({"api_key": "two words"}, "expected a key of printable ASCII without blanks in benchmark_api_key"),
        ({"api_key": "wrong"}, "does not answer a short request (401: Invalid API key)"),
        ({"url": "http://127.0.0.1:1"}, "no connection (Connection refused)"),
    ],
)
def test_what_cannot_work_is_one_sentence(run: Run, arguments: dict[str, Any], message: str) -> None:
    found = run(**arguments)
    assert found["failed"] is True
    assert message in found["msg"]
    assert "secret" not in found["msg"]
    assert "Traceback" not in str(found)


def test_text_of_a_key_file_is_a_key(run: Run) -> None:
    assert run(api_key=f"# keys of the head\n{KEY}\nspare\n")["measured"]["complete"] is True


def test_missing_library_is_named_with_the_command_that_installs_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_client, "AIOHTTP_ERROR", "No module named 'aiohttp'")
    found = run()
    assert "-m pip install aiohttp" in found["msg"]
