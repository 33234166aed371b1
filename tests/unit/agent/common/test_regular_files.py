# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that may be anything."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.common.regular_files import read_regular
from ansible_collections.herd.inference.plugins.module_utils.agent.slurm.registry_io import read_registry


def test_regular_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"text")
    assert read_regular(path, 4) == b"text"
    (tmp_path / "link").symlink_to(path)
    assert read_regular(tmp_path / "link", 4) == b"text"


def make_what_is_no_small_file(folder: Path, names: list[str]) -> None:
    fifo, directory, device, large, link, endpoint = (folder / name for name in names)
    os.mkfifo(fifo)
    directory.mkdir()
    device.symlink_to("/dev/zero")
    with large.open("wb") as stream:
        stream.truncate(1 << 30)
    link.symlink_to("/etc/hostname")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(endpoint))


def test_other_files_are_refused_at_once(tmp_path: Path) -> None:
    names = ["fifo", "directory", "device", "large", "link", "socket"]
    make_what_is_no_small_file(tmp_path, names)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for name in names:
        with pytest.raises(OSError):
            read_regular(tmp_path / name, 1000, follow=False)
    with pytest.raises(OSError):
        read_regular(tmp_path / "device", 1000)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_registry_has_only_regular_files(tmp_path: Path) -> None:
    names = [f"fast-{number}.json" for number in range(1, 7)]
    make_what_is_no_small_file(tmp_path, names)
    (tmp_path / "fast-9.json").write_text("{}", encoding="utf-8")
    assert read_registry(tmp_path) == ({"fast-9.json": "{}"}, dict.fromkeys(names, "it cannot be read"))


@pytest.mark.parametrize(("size", "count", "most"), [(2, 1000, 500), (64 * 1024, 100, 64)])
def test_only_the_newest_files_of_a_full_registry_are_read(tmp_path: Path, size: int, count: int, most: int) -> None:
    for number in range(1, count):
        path = tmp_path / f"fast-{number}.json"
        path.write_bytes(b"x" * size)
        os.utime(path, (number, number))
    # The entry of a running job is always new.
    (tmp_path / "tiny-7.json").write_text("{}", encoding="utf-8")
    files, broken = read_registry(tmp_path)
    assert len(files) == most
    assert "tiny-7.json" in files
    assert sum(map(len, files.values())) <= 4 << 20
    reasons = list(broken.values())
    assert reasons == [f"it and {count - most - 1} older files are not read: the limits are 500 files and 4 MiB"]
