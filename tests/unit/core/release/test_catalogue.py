"""The catalogue of releases: the real one is whole, and a bad choice gives one clear error."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.core.release import catalogue as release_catalogue

DATA = Path(__file__).parents[4] / "roles" / "llama_build" / "vars" / "main" / "catalogue.yml"
CVES = ["CVE-2026-34159", "CVE-2026-21869"]


def real() -> dict[str, Any]:
    """The role's data, with its references to other variables resolved."""
    values = yaml.safe_load(DATA.read_text(encoding="utf-8"))

    def resolve(value: Any) -> Any:
        if isinstance(value, str) and (found := re.fullmatch(r"\{\{ (\w+) \}\}", value)):
            return resolve(values[found.group(1)])
        if isinstance(value, dict):
            return {name: resolve(item) for name, item in value.items()}
        return [resolve(item) for item in value] if isinstance(value, list) else value

    entries: dict[str, Any] = resolve(values["_llama_build_catalogue"])
    return entries


@pytest.mark.parametrize(
    ("release", "protocol", "worker", "advisories"),
    [
        ("b7760", "3.6.0", "rpc-server", CVES),
        ("b7836", "3.6.0", "rpc-server", CVES),
        ("49bfddeca", "3.6.1", "rpc-server", CVES),
        ("0c1e57098", "7.0.0", "ggml-rpc-server", []),
    ],
)
def test_known_releases(release: str, protocol: str, worker: str, advisories: list[str]) -> None:
    entry = release_catalogue.release_facts(real(), release, CVES)
    assert entry["release"] == release
    assert entry["rpc_protocol"] == protocol
    assert entry["programs"]["worker"] == worker
    assert worker in entry["targets"]
    assert [advisory["id"] for advisory in entry["advisories"]] == advisories
    assert entry["commit"].startswith(release) or release.startswith("b")


@pytest.mark.parametrize(
    ("release", "acknowledged", "words"),
    [
        ("b9999", [], ["'b9999'", "0c1e57098, 49bfddeca, b7760, b7836", "llama_build_extra_releases"]),
        ("b7836", [], ["CVE-2026-34159", "unauthenticated code execution", "CVE-2026-21869", "herd_acknowledged"]),
        ("b7836", ["CVE-2026-34159"], ["found 1 that is not: CVE-2026-21869"]),
    ],
)
def test_unknown_or_unacknowledged_releases_are_rejected(
    release: str, acknowledged: list[str], words: list[str]
) -> None:
    with pytest.raises(HerdError) as error:
        release_catalogue.release_facts(real(), release, acknowledged)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"commit": ""}, "no commit"),
        ({"commit": "xyz"}, "commit 'xyz'"),
        ({"rpc_protocol": "7"}, "rpc_protocol '7'"),
        ({"programs": {"head": "llama-server"}}, "no program called worker"),
        ({"archives": [{"sha256": "12", "file": "x", "inner_path": "y", "packing": "tree"}]}, "sha256 is '12'"),
        ({"archives": [{"sha256": "a" * 64, "file": "x", "inner_path": "y", "packing": "zip"}]}, "packing is 'zip'"),
        ({"archives": [{"sha256": "a" * 64, "packing": "tree"}]}, "without file or inner_path"),
    ],
)
def test_a_malformed_entry_is_rejected(change: dict[str, Any], words: str) -> None:
    with pytest.raises(HerdError, match=re.escape(words)):
        release_catalogue.select({"mine": {**real()["0c1e57098"], **change}}, "mine")


@pytest.mark.parametrize(
    ("release", "kind", "location", "sha256", "expected"),
    [
        ("b7760", "git", "", "", {"kind": "git", "repository": "https://github.com/ggml-org/llama.cpp"}),
        ("b7760", "git", "/srv/mirror.git", "", {"repository": "/srv/mirror.git"}),
        (
            "0c1e57098",
            "archive",
            "/srv/llama_cpp_python-0.3.36.tar.gz",
            "",
            {"path": "/srv/llama_cpp_python-0.3.36.tar.gz", "url": "", "packing": "tree"},
        ),
        (
            "b7836",
            "archive",
            "http://mirror/x/node-llama-cpp-3.15.1.tgz?token=1",
            "",
            {"url": "http://mirror/x/node-llama-cpp-3.15.1.tgz?token=1", "path": "", "packing": "git_bundle"},
        ),
        (
            "b7836",
            "archive",
            "/srv/renamed.tgz",
            "e81989a16620eab22f35c02b2db80f8f5a4c546a3ea4e886a4b45a8ef1475c9c",
            {"path": "/srv/renamed.tgz"},
        ),
    ],
)
def test_source(release: str, kind: str, location: str, sha256: str, expected: dict[str, str]) -> None:
    found = release_catalogue.source(release_catalogue.select(real(), release), kind, location, sha256)
    assert expected.items() <= found.items()


@pytest.mark.parametrize(
    ("release", "kind", "location", "words"),
    [
        ("49bfddeca", "git", "", "full commit"),
        ("0c1e57098", "archive", "", "llama_build_archive"),
        ("0c1e57098", "archive", "/srv/other.tar.gz", "llama_cpp_python-0.3.36.tar.gz (llama-cpp-python==0.3.36"),
        ("0c1e57098", "zip", "", "git or archive"),
    ],
)
def test_an_unknown_source_is_rejected(release: str, kind: str, location: str, words: str) -> None:
    with pytest.raises(HerdError, match=re.escape(words)):
        release_catalogue.source(release_catalogue.select(real(), release), kind, location)
