"""Releases are packed the same way every time, unpacked without trust, and held against their manifest."""

from __future__ import annotations

import fcntl
import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.ports import files
from ansible_collections.herd.inference.plugins.module_utils.ports.release import archive as release_archive
from ansible_collections.herd.inference.plugins.module_utils.ports.release import build_tree
from ansible_collections.herd.inference.plugins.module_utils.ports.release import sources as release_sources
from ansible_collections.herd.inference.plugins.module_utils.ports.release.store import ReleaseStore

ID = "0c1e57098-cpu-11111111"


def make_release(root: Path) -> dict[str, Any]:
    """A small release as llama_build lays it out."""
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "llama-server").write_bytes(b"#!/bin/sh\n" * 1000)
    (root / "bin" / "llama-server").chmod(0o755)
    (root / "bin" / "libggml.so.0.1").write_bytes(b"\x7fELF" * 100)
    (root / "bin" / "libggml.so").symlink_to("libggml.so.0.1")
    manifest: dict[str, Any] = {"id": ID, "cuda": None, "files": release_archive.measure(root)}
    files.write_json(root / release_archive.MANIFEST, manifest)
    return manifest


def packed(tmp_path: Path) -> tuple[dict[str, Any], Path]:
    manifest = make_release(tmp_path / "made")
    tarball = tmp_path / f"{ID}.tar.gz"
    manifest["tarball"] = release_archive.pack(tmp_path / "made", ID, tarball)
    return manifest, tarball


def test_archives_are_reproducible(tmp_path: Path) -> None:
    _manifest, first = packed(tmp_path)
    (tmp_path / "again").mkdir()
    _manifest, second = packed(tmp_path / "again")
    assert first.read_bytes() == second.read_bytes()


def test_files_are_measured(tmp_path: Path) -> None:
    files = make_release(tmp_path)["files"]
    assert list(files) == ["bin/libggml.so", "bin/libggml.so.0.1", "bin/llama-server"]
    assert files["bin/libggml.so"] == {"link": "libggml.so.0.1"}
    assert files["bin/llama-server"]["mode"] == "0755"
    assert files["bin/llama-server"]["size"] == 10000


def test_a_release_is_unpacked_as_it_was_packed(tmp_path: Path) -> None:
    manifest, tarball = packed(tmp_path)
    release_archive.unpack_verified(tarball, manifest, tmp_path / "out")
    assert release_archive.differences(tmp_path / "out", manifest["files"]) == []


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda root: (root / "bin" / "llama-server").write_bytes(b"x"), "bin/llama-server differs"),
        (lambda root: (root / "bin" / "llama-server").chmod(0o644), "bin/llama-server differs"),
        (lambda root: (root / "bin" / "libggml.so").unlink(), "bin/libggml.so is missing"),
        (lambda root: (root / "bin" / "extra").touch(), "bin/extra does not belong there"),
    ],
)
def test_each_difference_is_found(tmp_path: Path, damage: Any, problem: str) -> None:
    manifest = make_release(tmp_path)
    damage(tmp_path)
    assert release_archive.differences(tmp_path, manifest["files"]) == [problem]


def archive(path: Path, members: list[tuple[str, bytes | str]]) -> Path:
    """A tar archive of files (bytes) and symbolic links (text)."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    "members",
    [
        [("top/../../evil", b"x")],
        [("/top/evil", b"x")],
        [("top/link", "../../evil")],
        [("top/link", "/etc")],
        [("top/a/link", "../../../evil")],
    ],
)
def test_members_outside_of_the_folder_are_rejected(tmp_path: Path, members: list[tuple[str, bytes | str]]) -> None:
    with pytest.raises(HerdError, match="are inside of it"):
        release_sources.unpack(archive(tmp_path / "a.tar.gz", members), tmp_path / "inner" / "out", "top")
    assert not (tmp_path / "evil").exists()


def test_only_the_inner_path_is_unpacked(tmp_path: Path) -> None:
    made = archive(tmp_path / "a.tgz", [("p/vendor/x/f", b"1"), ("p/vendor/x/d/l", "../f"), ("p/other", b"2")])
    release_sources.unpack(made, tmp_path / "out", "p/vendor/x")
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == ["d", "f", "l"]


def test_a_missing_inner_path_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HerdError, match="correct inner_path"):
        release_sources.unpack(archive(tmp_path / "a.tgz", [("p/f", b"1")]), tmp_path / "out", "q")


def test_install_switch_and_prune(tmp_path: Path) -> None:
    manifest, tarball = packed(tmp_path)
    store = ReleaseStore(tmp_path / "opt")
    (store.releases / "old").mkdir(parents=True)
    (store.releases / ".incoming-killed").mkdir()
    (store.prefix / ".current.4711.tmp").symlink_to("releases/old")
    with store.locked():
        assert [path.name for path in store.leftovers()] == [".current.4711.tmp", ".incoming-killed"]
        store.remove_leftovers()
        store.install(manifest, str(tarball))
        store.switch(ID)
        store.remove("old")
        store.remove_leftovers()
    assert store.leftovers() == []
    assert store.current() == ID
    assert store.installed() == [ID]
    assert store.problems(manifest) == []
    assert [path.name for path in store.releases.iterdir()] == [ID]
    assert tarball.exists()


def test_previous_points_to_the_former_release(tmp_path: Path) -> None:
    store = ReleaseStore(tmp_path)
    for name in ("a", "b"):
        (store.releases / name).mkdir(parents=True)
    assert store.previous() is None
    found = []
    for release in ("a", "a", "b", "b", "a"):
        store.switch(release)
        found.append((store.current(), store.previous()))
    assert found == [("a", None), ("a", None), ("b", "a"), ("b", "a"), ("a", "b")]
    store.remove("b")
    assert store.previous() is None
    (tmp_path / ".previous.4711.tmp").symlink_to("releases/a")
    store.remove_leftovers()
    assert store.leftovers() == []


def test_damaged_release_is_replaced(tmp_path: Path) -> None:
    manifest, tarball = packed(tmp_path)
    store = ReleaseStore(tmp_path / "opt")
    store.install(manifest, str(tarball))
    (store.releases / ID / "bin" / "llama-server").write_bytes(b"bad")
    assert store.problems(manifest) == ["bin/llama-server differs"]
    store.install(manifest, str(tarball))
    assert store.problems(manifest) == []


def test_a_wrong_tarball_leaves_no_files(tmp_path: Path) -> None:
    manifest, tarball = packed(tmp_path)
    tarball.write_bytes(tarball.read_bytes()[:-100])
    store = ReleaseStore(tmp_path / "opt")
    with pytest.raises(HerdError, match="sha256"):
        store.install(manifest, str(tarball))
    assert store.installed() == []


def test_a_source_with_a_wrong_checksum_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    path.write_bytes(b"not it")
    source = {"path": str(path), "url": "", "sha256": "a" * 64}
    with pytest.raises(HerdError, match="a" * 64):
        release_sources.verified_archive(source, tmp_path / "cache", lambda *_: None)


def test_a_missing_source_is_an_error(tmp_path: Path) -> None:
    source = {"path": str(tmp_path / "none.tar.gz"), "url": "", "sha256": "a" * 64}
    with pytest.raises(HerdError, match="no such file"):
        release_sources.verified_archive(source, tmp_path / "cache", lambda *_: None)


def test_a_build_of_a_former_boot_is_repeated(tmp_path: Path) -> None:
    note = tmp_path / "boot"
    assert not build_tree.is_same_boot(note)
    build_tree.record_boot(note)
    assert build_tree.is_same_boot(note)
    note.write_text("another boot", encoding="ascii")
    assert not build_tree.is_same_boot(note)


def test_installations_run_one_at_a_time(tmp_path: Path) -> None:
    store = ReleaseStore(tmp_path)
    with store.locked():
        handle = os.open(store.releases, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(handle)
    with store.locked():
        pass
