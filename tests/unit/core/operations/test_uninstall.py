# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is ours on a node, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.core.host.paths import is_system
from ansible_collections.herd.inference.plugins.module_utils.core.operations import uninstall as uninstall_rules
from ansible_collections.herd.inference.plugins.module_utils.core.slurm import endpoint_registry

ROLES = Path(__file__).parents[4] / "roles"
UNITS = sorted(ROLES.glob("*/templates/*.service.j2"))


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_each_unit_of_a_role_has_the_mark(path: Path) -> None:
    assert uninstall_rules.is_ours(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "text", ["", "[Unit]\nDescription=x\n\n# herd.inference\n", "[Service]\nExecStart=/opt/herd/x\n"]
)
def test_other_units_are_not_ours(text: str) -> None:
    assert not uninstall_rules.is_ours(text)


def test_tables_of_the_collection_are_found() -> None:
    listing = "table inet herd_rpc\ntable ip nat\ntable inet firewalld\ntable ip herd_queue\ntable ip other_herd_rpc\n"
    assert uninstall_rules.our_tables(listing) == [("inet", "herd_rpc"), ("ip", "herd_queue")]


@pytest.mark.parametrize("path", ["", "/", "/opt", "opt/llama.cpp", "/opt/../etc"])
def test_top_level_folders_are_rejected(path: str) -> None:
    with pytest.raises(HerdError, match="correct the inventory"):
        uninstall_rules.check_prefix(path)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        *((path, True) for path in ("/", "/usr", "/usr/local", "/usr/local/", "//usr//local", "/usr/./local", "/var")),
        *((path, True) for path in ("/opt", "/home", "/etc", "/etc/llama", "/usr/local/etc", "/opt/x/..", "/opt/herd")),
        *(
            (path, False)
            for path in ("/opt/llama.cpp", "/usr/local/llama", "/var/lib/llama", "/home/a/herd", "/etcetera")
        ),
    ],
)
def test_folders_of_the_system_are_recognised(path: str, expected: bool) -> None:
    assert is_system(path) is expected


THERE = [
    "m.gguf",
    ".m.gguf.lock",
    ".m.gguf.verified",
    "m.gguf.bak",
    "other-m.gguf",
    "m2.gguf",
    "big-00001-of-00002.gguf",
    "big-00002-of-00002.gguf",
    ".big-00002-of-00002.gguf.lock",
    "big-00001-of-00003.gguf",
]


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ([], []),
        (["m.gguf"], [".m.gguf.lock", ".m.gguf.verified", "m.gguf"]),
        (
            ["big-00001-of-00002.gguf"],
            [".big-00002-of-00002.gguf.lock", "big-00001-of-00002.gguf", "big-00002-of-00002.gguf"],
        ),
        (["absent.gguf"], []),
    ],
)
def test_files_of_models(files: list[str], found: list[str]) -> None:
    assert uninstall_rules.model_files(THERE, files) == found


def test_scripts_of_jobs_are_found_with_their_data() -> None:
    ours = "#!/bin/sh\n# Written by Ansible (herd.inference, role slurm_tiers).\n"
    texts = {
        "run.slurm": ours,
        "run.slurm.json": "{}",
        "own.slurm": "#!/bin/sh\n",
        "own.slurm.json": "{}",
        "x.json": ours,
    }
    assert uninstall_rules.our_scripts(texts) == ["run.slurm", "run.slurm.json"]


@pytest.mark.parametrize(
    ("folder", "name", "goes"),
    [
        ("ai/endpoints", "fast-12.json", True),
        ("ai/endpoints", ".fast-12.json.4711", True),
        ("ai/endpoints", "README", False),
        ("ai/endpoints", "fast.json", False),
        ("ai/logs", "12", True),
        ("ai/logs", "slurm-12.out", True),
        ("ai/logs", "notes-12", False),
        ("ai/logs", "slurm-12.out.gz", False),
    ],
)
def test_shared_files_of_jobs_are_recognised(folder: str, name: str, goes: bool) -> None:
    assert bool(uninstall_rules.SHARED_ENTRIES[folder].fullmatch(name)) == goes


def test_registry_entries_are_recognised() -> None:
    assert uninstall_rules.SHARED_ENTRIES["ai/endpoints"].fullmatch(
        endpoint_registry.file_name("reasoning", "123456789012")
    )
