from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.lab import sources
from tests.lab.process import LabError
from tests.lab.sources import Source

GOOD = b"the pinned bytes"
SOURCE = Source("r1", "pip", "some-thing", "1.2", "some_thing-1.2.tar.gz", hashlib.sha256(GOOD).hexdigest())


class Client:
    """A double of pip or npm that writes a file to the given folder."""

    def __init__(self, name: str, content: bytes) -> None:
        self.calls: list[list[str]] = []
        self.name = name
        self.content = content

    def __call__(self, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        self.calls.append(list(argv))
        target = Path(argv[list(argv).index("--dest") + 1])
        (target / self.name).write_bytes(self.content)
        return subprocess.CompletedProcess(list(argv), 0, "", "")


def test_source_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(SOURCE.archive, GOOD)
    monkeypatch.setattr(sources, "run", client)
    for _each in range(2):
        assert sources.ensure(SOURCE, tmp_path).read_bytes() == GOOD
    assert len(client.calls) == 1
    assert [path.name for path in tmp_path.iterdir()] == [SOURCE.archive]


def test_damaged_bytes_in_the_cache_are_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / SOURCE.archive).write_bytes(b"damaged")
    monkeypatch.setattr(sources, "run", Client(SOURCE.archive, GOOD))
    assert sources.ensure(SOURCE, tmp_path).read_bytes() == GOOD


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (SOURCE.archive, b"other bytes", f"should have sha256 {SOURCE.sha256}"),
        (
            "some_thing-1.2.whl",
            GOOD,
            r"was to bring some_thing-1\.2\.tar\.gz and brought some_thing-1\.2\.whl",
        ),
    ],
)
def test_archive_with_another_checksum_is_refused_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, message: str
) -> None:
    monkeypatch.setattr(sources, "run", Client(name, content))
    with pytest.raises(LabError, match=message):
        sources.ensure(SOURCE, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_client_fetches_exactly_one_version() -> None:
    by_client = {source.client: sources.fetch_argv(source, Path("/t")) for source in sources.SOURCES}
    assert by_client["pip"][-1] == "llama-cpp-python==0.3.36"
    assert "--no-deps" in by_client["pip"]
    assert by_client["npm"] == [
        "npm",
        "pack",
        "--silent",
        "--pack-destination",
        "/t",
        "node-llama-cpp@3.15.1",
    ]


def test_unknown_release_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert sources.main(["b1"]) == 1
    assert "no source for 'b1'; there are 0c1e57098, b7836" in capsys.readouterr().err
