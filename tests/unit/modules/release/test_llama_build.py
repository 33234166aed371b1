# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a build is made, when it is only published again, and what is given up. No compiler runs here."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.ports import files
from ansible_collections.herd.inference.plugins.module_utils.ports.release.build_store import BuildStore
from ansible_collections.herd.inference.plugins.modules import llama_build

RELEASE = {
    "release": "0c1e57098",
    "commit": "0c1e57098bba43ac29e6e3b677cdceebdd22334f",
    "build_number": 11312,
    "targets": ["llama-server", "ggml-rpc-server"],
    "programs": {"head": "llama-server", "worker": "ggml-rpc-server"},
    "cmake": {},
}
# sha256 of no bytes: what stands for the source.
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
TOOLS = {"cc": "/usr/bin/gcc", "cxx": "/usr/bin/g++", "cc_version": "12.2.0", "cmake": "cmake", "ninja": "ninja"}


class Site:
    """A build host's prefix, and what the module says about it."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.store = BuildStore(prefix)
        self.store.dist.mkdir()
        self.store.build.mkdir()
        (prefix / "source.tar.gz").touch()
        files.write_json(prefix / "toolchain.json", TOOLS)

    def module(self, check: bool = False, **params: Any) -> Any:
        given = {
            "release": RELEASE,
            "source": {"kind": "archive", "sha256": EMPTY, "path": str(self.prefix / "source.tar.gz"), "url": ""},
            "prefix": str(self.prefix),
            "toolchain_file": str(self.prefix / "toolchain.json"),
            "compute_capabilities": [],
            "every_node_has_gpu": True,
            "native": False,
            "cmake": {},
            "ccache_dir": str(self.prefix / "ccache"),
            "jobs": 1,
            "free_mib": 0,
            "keep": 1,
            **params,
        }
        return SimpleNamespace(params=given, check_mode=check)

    def result(self, check: bool = False, **params: Any) -> dict[str, Any]:
        return llama_build.result(self.module(check, **params))

    def make(self, **params: Any) -> str:
        """What a build with these options leaves behind, without the compiler."""
        build = self.build(**params)
        build.work.mkdir(exist_ok=True)
        pack(build)
        return build.id

    def build(self, **params: Any) -> llama_build.Build:
        return llama_build.Build(self.module(**params).params, TOOLS)

    def published(self) -> str:
        found = files.read_json(self.store.dist / "0c1e57098.json") or {}
        return str(found.get("id", ""))


def pack(build: llama_build.Build, _progress: object = None) -> None:
    """In the place of the compiler: what it leaves at the end."""
    build.tarball.write_bytes(build.id.encode())
    facts = {"name": build.tarball.name, "sha256": files.sha256(build.tarball), "size": len(build.id)}
    files.write_json(build.description, {"id": build.id, "tarball": facts})


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(llama_build.Build, "_build", pack)
    return Site(tmp_path)


OLD, NEW = {"GGML_LTO": "OFF"}, {"GGML_LTO": "ON"}


def test_a_second_run_does_not_build_again(site: Site) -> None:
    foreseen = site.result(check=True)
    assert (foreseen["changed"], foreseen["manifest"]) == (True, {})
    assert list(site.store.dist.iterdir()) == []
    first = site.result()
    assert first["changed"]
    assert first["manifest"]["id"] == site.published()
    assert not site.result()["changed"]


def test_former_options_only_change_the_pointer(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    former = site.result(cmake=OLD)["id"]
    assert site.result(cmake=NEW)["id"] != former
    monkeypatch.setattr(llama_build.Build, "_build", lambda *_: pytest.fail("it was built again"))
    back = site.result(cmake=OLD)
    assert (back["changed"], back["manifest"]["id"]) == (True, former)
    assert "describes another build" in back["reason"]
    assert site.published() == former


@pytest.mark.parametrize("cmake", [OLD, NEW])
def test_check_mode_predicts_a_build(site: Site, cmake: dict[str, str]) -> None:
    """Without the prediction, the release's installation would compare the nodes with the former build."""
    site.result(cmake=OLD)
    foreseen = site.result(check=True, cmake=cmake)
    assert foreseen["changed"] is (cmake == NEW)
    assert foreseen["ansible_facts"] == {"herd_build_pending": cmake == NEW}
    assert site.result(cmake=cmake)["ansible_facts"] == {"herd_build_pending": False}


def test_check_mode_without_a_toolchain(site: Site) -> None:
    (site.prefix / "toolchain.json").unlink()
    foreseen = site.result(check=True)
    assert (foreseen["changed"], foreseen["ansible_facts"]) == (True, {"herd_build_pending": True})


def test_a_damaged_tarball_is_built_again(site: Site) -> None:
    site.result()
    site.build().tarball.write_bytes(b"rot")
    assert "damaged" in site.result(check=True)["reason"]
    assert site.result()["changed"]
    assert not site.result()["changed"]


def age(store: BuildStore, *builds: str) -> None:
    """The first one is the oldest."""
    for position, build in enumerate(builds):
        for path in (store.dist / f"{build}.json", store.build / build):
            os.utime(path, (position + 1, position + 1))


def test_old_builds_are_removed_except_the_requested_one(site: Site) -> None:
    wanted = site.result()["id"]
    others = [site.make(cmake={"GGML_LTO": str(number)}) for number in range(3)]
    named = site.store.dist / "b7836.json"
    files.write_json(named, files.read_json(site.store.dist / f"{others[0]}.json"))
    (site.store.build / "sources").mkdir()
    age(site.store, wanted, *others)
    foreseen = site.result(check=True)
    assert foreseen["removed"] == others[:2]
    assert site.store.finished() == [wanted, *others]
    assert site.result()["removed"] == others[:2]
    assert sorted(site.store.finished()) == sorted([wanted, others[2]])
    assert sorted(site.store.unfinished()) == sorted([wanted, others[2]])
    assert (site.store.build / "sources").is_dir()
    # Nobody is sent to a build that is gone.
    assert not named.exists()
    assert not site.result()["changed"]


def test_a_running_build_is_not_removed(site: Site) -> None:
    site.result()
    busy = [f"0c1e57098-cpu-{number}" for number in range(3)]
    for name in busy:
        (site.store.build / name).mkdir()
    with (site.store.build / f"{busy[0]}.lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        site.store.remove_unfinished(busy[0])
    site.store.remove_unfinished(busy[1])
    assert (site.store.build / busy[0]).is_dir()
    assert not (site.store.build / busy[1]).exists()


def test_leftovers_of_a_killed_build_are_removed_without_a_build(site: Site) -> None:
    build = site.build()
    site.make()
    (build.work / "src").mkdir()
    # No process has this number: the kernel's limit is 2^22.
    dead, alive = f".{build.pointer.name}.4194305.tmp", f".{build.pointer.name}.1.tmp"
    for name in (dead, alive):
        (site.store.dist / name).touch()
    (build.work / ".progress.json.4194305.tmp").touch()
    build.run()
    assert [path.name for path in site.store.dist.iterdir() if path.name.startswith(".")] == [alive]
    assert list(build.work.iterdir()) == []
    assert site.published() == build.id
