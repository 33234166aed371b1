"""What a node has to do: from what is there and what should be there."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.core.release import install as release_install

NEW = "0c1e57098-cpu-11111111"
A, B, C = "a-cpu-0000000a", "b-cpu-0000000b", "c-cpu-0000000c"
MANIFEST: dict[str, Any] = {
    "id": NEW,
    "cuda": None,
    "files": {"bin/llama-server": {"sha256": "a" * 64, "size": 7 << 20, "mode": "0755"}, "bin/a.so": {"link": "b"}},
    "tarball": {"name": f"{NEW}.tar.gz", "sha256": "b" * 64, "size": 3 << 20},
}
DRIVER = (
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\n"
    "GCC version:  gcc version 8.5.0 20210514 (Red Hat 8.5.0-20) (GCC)\n"
)


@pytest.mark.parametrize(
    ("whole", "current", "installed", "in_use", "keep", "expected"),
    [
        (False, None, [], [], 2, (True, True, ())),
        (True, NEW, [NEW], [], 2, (False, False, ())),
        (True, A, [A, NEW], [], 2, (False, True, ())),
        (False, C, [A, B, C], [], 2, (True, True, (A,))),
        (True, NEW, [A, B, C, NEW], [], 1, (False, False, (A, B))),
        (True, NEW, [A, B, C, NEW], [A], 1, (False, False, (B,))),
        # Going forward from the oldest: it was current, so it is what one would go back to.
        (False, A, [A, B, C], [], 1, (True, True, (B, C))),
        (False, A, [A], [A], 0, (True, True, ())),
        # Both names, current and previous, stay whatever keep says.
        (False, A, [A], [], 0, (True, True, ())),
    ],
)
def test_plan(
    whole: bool,
    current: str | None,
    installed: list[str],
    in_use: list[str],
    keep: int,
    expected: tuple[bool, bool, tuple[str, ...]],
) -> None:
    found = release_install.plan(NEW, whole, current, installed, in_use, keep)
    assert (found.fetch, found.link, found.prune) == expected
    assert found.changes is any(expected)


def test_the_target_of_a_rollback_is_kept_longest() -> None:
    """It may be the oldest, after going forward, back and forward again."""
    found = release_install.plan(NEW, True, NEW, [A, B, C, NEW], [], 1, previous=A)
    assert found.prune == (B, C)


def test_folders_without_the_name_of_a_release_are_ignored() -> None:
    names = ["backup-of-ops", A, "b7836-cpu-11aa22bb.bak", B, "notes", NEW]
    assert release_install.release_ids(names) == [A, B, NEW]
    assert release_install.plan(NEW, True, NEW, names, [], 2).prune == ()
    assert release_install.plan(NEW, True, NEW, names, [], 1).prune == (A,)


def test_space_includes_tarball_and_content() -> None:
    assert release_install.space_mib(MANIFEST) == 10 + release_install.RESERVE_MIB


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": "../../etc"}, "../../etc"),
        ({"id": ""}, "id ''"),
        ({"files": {}}, "no files"),
        ({"files": {"../x": {"link": "y"}}}, "../x"),
        ({"files": {"/etc/passwd": {"link": "y"}}}, "/etc/passwd"),
        ({"files": {"bin/.hidden": {"link": "y"}}}, ".hidden"),
        ({"tarball": {"name": "other.tar.gz", "sha256": "b" * 64, "size": 1}}, "other.tar.gz"),
        ({"tarball": {"name": f"{NEW}.tar.gz", "sha256": "short", "size": 1}}, "short"),
    ],
)
def test_an_invalid_manifest_is_rejected(change: dict[str, Any], words: str) -> None:
    with pytest.raises(HerdError) as error:
        release_install.check_manifest({**MANIFEST, **change})
    assert words in str(error.value)


def test_a_valid_manifest_is_accepted() -> None:
    release_install.check_manifest(MANIFEST)


def test_the_drivers_version_is_read() -> None:
    assert release_install.parse_driver(DRIVER) == "535.183.01"
    assert release_install.parse_driver("") is None


@pytest.mark.parametrize(
    ("cuda", "driver", "outcome"),
    [
        (None, "470.1.1", None),
        ({"version": "12.2.140"}, None, None),
        ({"version": "12.2.140"}, "535.183.01", None),
        ({"version": "12.2.140"}, "525.85.12", "minor-version compatibility"),
    ],
)
def test_driver_note(cuda: dict[str, str] | None, driver: str | None, outcome: str | None) -> None:
    found = release_install.driver_note({**MANIFEST, "cuda": cuda}, driver)
    assert found is None if outcome is None else outcome in str(found)


def test_an_old_driver_is_rejected() -> None:
    with pytest.raises(HerdError, match=r"525.60.13"):
        release_install.driver_note({**MANIFEST, "cuda": {"version": "12.2.140"}}, "470.223.02")
