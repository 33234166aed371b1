"""Flags out of the help texts that the engines really print."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine.help_flags import accepted_flags

FIXTURES = Path(__file__).parents[3] / "fixtures" / "help"


def flags(name: str) -> list[str]:
    return accepted_flags((FIXTURES / f"{name}.txt").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("program", "accepted", "refused"),
    [
        ("b7836-llama-server", ["--mlock", "--no-mmap", "--rpc", "-fa", "--flash-attn", "-ngl"], ["--load-mode"]),
        (
            "0c1e57098-llama-server",
            ["--load-mode", "--rpc", "--device", "-dev", "--tensor-split", "--api-key-file", "--n-predict", "-n"],
            ["-----", "--no-such-flag"],
        ),
    ],
)
def test_server(program: str, accepted: list[str], refused: list[str]) -> None:
    found = flags(program)
    assert [flag for flag in accepted if flag not in found] == []
    assert [flag for flag in refused if flag in found] == []
    assert len(found) > 250


@pytest.mark.parametrize("program", ["b7836-rpc-server", "0c1e57098-ggml-rpc-server"])
def test_worker(program: str) -> None:
    assert flags(program) == sorted(
        ["-h", "--help", "-t", "--threads", "-d", "--device", "-H", "--host", "-p", "--port", "-c", "--cache"]
    )


def test_descriptions_are_not_flags() -> None:
    text = "-a,    --alias STRING      name of the model\n                           see also --other\n"
    assert accepted_flags(text) == ["--alias", "-a"]
