# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journals of several hosts as one log: units, windows of time, secrets, limits."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.operations import cluster_log
from ansible_collections.herd.inference.plugins.module_utils.core.operations.redaction import LEFT_OUT

HERE = ["herd-agent.service", "herd-gateway@.service", "llama-head.service"]
BASE = 1_795_350_000_000_000


def record(text: Any, after: int = 0, **more: Any) -> str:
    """Return a line of journalctl --output=json."""
    fields = {"__CURSOR": "s=1", "__REALTIME_TIMESTAMP": str(BASE + after), "_BOOT_ID": "b", "MESSAGE": text}
    return json.dumps({**fields, "_SYSTEMD_UNIT": "llama-head.service", **more})


def texts(output: str, secrets: tuple[str, ...] = (), lines: int = 100) -> list[str]:
    return [line["text"] for line in cluster_log.read_journal(output, secrets, lines)["lines"]]


@pytest.mark.parametrize(
    ("wanted", "units"),
    [
        ([], HERE),
        (["head"], ["llama-head.service"]),
        (["head", "agent"], ["herd-agent.service", "llama-head.service"]),
        (["gateway"], ["herd-gateway@.service"]),
        (["llama-head.service"], ["llama-head.service"]),
        (["herd-agent"], ["herd-agent.service"]),
        # This host has no worker.
        (["worker"], []),
    ],
)
def test_units_are_chosen_by_short_or_full_name(wanted: list[str], units: list[str]) -> None:
    assert cluster_log.chosen(HERE, wanted) == units


@pytest.mark.parametrize("name", ["haed", "sshd.service", "--file=/etc/shadow", "*"])
def test_other_units_are_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match="expected units among head, worker, router"):
        cluster_log.chosen(HERE, [name])


def test_command_names_the_window_and_all_instances() -> None:
    argv = cluster_log.journal_command(HERE, "-1h", "2026-11-30 10:00", 50)
    assert argv[0] == "journalctl"
    assert {"--output=json", "--lines=51", "--since=-1h", "--until=2026-11-30 10:00"} <= set(argv)
    assert argv[-3:] == ["--unit=herd-agent.service", "--unit=herd-gateway@*.service", "--unit=llama-head.service"]
    assert not [
        word for word in cluster_log.journal_command(HERE, "", "", 50) if word.startswith(("--since", "--until"))
    ]


def test_lines_have_time_unit_and_text() -> None:
    output = "\n".join(
        [record("starts"), record("Started the head.", 5, UNIT="llama-head.service", _SYSTEMD_UNIT="init.scope")]
    )
    assert cluster_log.read_journal(output, (), 10) == {
        "lines": [
            {"time": BASE, "unit": "llama-head.service", "text": "starts"},
            {"time": BASE + 5, "unit": "llama-head.service", "text": "Started the head."},
        ],
        "cut": False,
    }


def test_last_lines_of_the_window_are_kept() -> None:
    output = "\n".join(record(f"line {number}", number) for number in range(4))
    found = cluster_log.read_journal(output, (), 3)
    assert ([line["text"] for line in found["lines"]], found["cut"]) == (["line 1", "line 2", "line 3"], True)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ([104, 105, 255], "hi\ufffd"),
        (None, cluster_log.TOO_LONG),
        (["one", "two"], "one two"),
        ("\x1b[31mred\x07", " [31mred "),
        ("x" * 3000, "x" * cluster_log.LONGEST_TEXT + "…"),
        ([300], "300"),
    ],
)
def test_every_form_of_a_message_is_read(message: Any, text: str) -> None:
    assert texts(record(message)) == [text]


@pytest.mark.parametrize("line", ["", "no JSON", "[]", "{}", '{"__REALTIME_TIMESTAMP": "x"}', "[" * 100_000, "null"])
def test_unreadable_records_are_left_out(line: str) -> None:
    assert texts(f"{line}\n{record('kept')}") == ["kept"]


def test_secrets_are_left_out() -> None:
    output = "\n".join([record("key canary-0123456789 used"), record("Authorization: Bearer abcdefgh12345678")])
    assert texts(output, ("canary-0123456789",)) == [f"key {LEFT_OUT} used", f"Authorization: Bearer {LEFT_OUT}"]


def test_private_key_over_several_lines_is_left_out() -> None:
    key = ["-----BEGIN PRIVATE KEY-----", "MIIEvQIBADANBgkqhkiG9w0", "-----END PRIVATE KEY-----", "ready"]
    other = record("another unit speaks", UNIT="herd-agent.service")
    output = "\n".join([record(key[0]), other, *(record(text) for text in key[1:])])
    assert texts(output) == [LEFT_OUT, "another unit speaks", LEFT_OUT, LEFT_OUT, "ready"]


def answer(*lines: tuple[int, str, str], cut: bool = False) -> dict[str, Any]:
    return {"lines": [{"time": BASE + after, "unit": unit, "text": text} for after, unit, text in lines], "cut": cut}


def test_lines_of_all_hosts_are_ordered_by_time() -> None:
    found = cluster_log.joined(
        {
            "one": answer((0, "llama-head.service", "first"), (2_500_000, "llama-head.service", "third\nmore")),
            "three": answer((1_000, "llama-rpc.service", "second")),
        }
    )
    assert [(line["host"], line["text"]) for line in found["lines"]] == [
        ("one", "first"),
        ("three", "second"),
        ("one", "third\nmore"),
    ]
    assert found["problems"] == []
    assert found["text"].splitlines() == [
        "2026-11-22T12:20:00.000Z  one    llama-head  first",
        "2026-11-22T12:20:00.001Z  three  llama-rpc   second",
        "2026-11-22T12:20:02.500Z  one    llama-head  third",
        "                                             more",
    ]


def test_hosts_without_an_answer_are_named_and_others_shown() -> None:
    found = cluster_log.joined(
        {
            "one": answer((0, "llama-head.service", "first"), cut=True),
            "two": {"unreachable": True, "msg": "Failed to connect\nNo route to host"},
            "three": {"failed": True, "msg": "expected a window of time"},
        }
    )
    assert len(found["lines"]) == 1
    assert found["problems"] == [
        "one has more lines in this window: choose a shorter one, fewer units, or a larger logs_lines",
        "three: expected a window of time",
        "two cannot be reached: Failed to connect No route to host",
    ]
    assert found["text"].endswith("\n\n" + "\n".join(found["problems"]))


def test_empty_window_says_so() -> None:
    assert cluster_log.joined({"one": answer()})["text"] == "no lines in this window"
