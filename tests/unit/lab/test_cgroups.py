"""The machine's cgroup trees are read from the texts of /proc."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import cgroups
from tests.lab.process import LabError

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "lab"
V1_ONLY = """cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu 0 0
cgroup /sys/fs/cgroup/systemd cgroup rw,relatime,xattr,name=systemd 0 0
"""


@pytest.mark.parametrize(
    ("fixture", "mode", "roots"),
    [
        ("mounts-unified", cgroups.UNIFIED, ["/sys/fs/cgroup"]),
        ("mounts-hybrid", cgroups.HYBRID, ["/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"]),
    ],
)
def test_mode_is_read_from_the_mounts(fixture: str, mode: str, roots: list[str]) -> None:
    trees = cgroups.trees_of((FIXTURES / fixture).read_text(encoding="utf-8"))
    assert trees == cgroups.Trees(mode, tuple(Path(root) for root in roots))


@pytest.mark.parametrize("mounts", ["", V1_ONLY, "short line\n"])
def test_error_without_cgroup2_names_the_boot_option(mounts: str) -> None:
    with pytest.raises(LabError, match=r"systemd\.unified_cgroup_hierarchy=1"):
        cgroups.trees_of(mounts)


HYBRID_PROC = "9:name=systemd:/a/b\n4:memory:/m\n0::/u/v\n"


@pytest.mark.parametrize(("unified", "path"), [(True, "/u/v"), (False, "/a/b")])
def test_own_path_is_found_in_each_tree(unified: bool, path: str) -> None:
    assert cgroups.own_path(HYBRID_PROC, unified=unified) == path


def test_process_without_a_path_in_the_tree_gives_an_error() -> None:
    with pytest.raises(LabError):
        cgroups.own_path("0::/u\n", unified=False)


def test_two_hosts_never_share_a_folder() -> None:
    trees = cgroups.Trees(cgroups.HYBRID, (Path("/u"), Path("/s")))
    first = cgroups.own_folder(trees, "demo", "node1")
    assert first == [Path("/u/herd-lab/demo/node1"), Path("/s/herd-lab/demo/node1")]
    assert not set(first) & set(cgroups.own_folder(trees, "demo", "node2"))
    assert not set(first) & set(cgroups.own_folder(trees, "other", "node1"))


def test_scope_is_delegated_and_names_lab_and_host() -> None:
    argv = cgroups.scope_argv("demo", "node1", ["true"])
    assert argv[0] == "systemd-run"
    assert "--unit=herd-lab-demo.node1.scope" in argv
    assert "--property=Delegate=yes" in argv
    assert argv[-2:] == ["--", "true"]


@pytest.mark.parametrize(
    ("text", "folder", "limit"),
    [
        (HYBRID_PROC, "/sys/fs/cgroup/memory/m", "memory.limit_in_bytes"),
        ("0::/u/v\n", "/sys/fs/cgroup/u/v", "memory.max"),
    ],
)
def test_memory_limit_is_set_in_the_tree_with_the_controller(text: str, folder: str, limit: str) -> None:
    assert cgroups.memory_folder(text) == (Path(folder), limit)
