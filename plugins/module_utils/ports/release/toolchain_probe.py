# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find compilers, tools and CUDA on this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from .. import commands

# The driver's own library where there is a driver; otherwise the toolkit brings a stub to link against.
DRIVER_PLACES = ("/usr/lib64/libcuda.so.1", "/usr/lib/x86_64-linux-gnu/libcuda.so.1")


def find(name: str, search_path: Sequence[str]) -> str | None:
    """Return the path of a program by its name or path, or None."""
    return shutil.which(name, path=os.pathsep.join(search_path))


def version_output(program: str, search_path: Sequence[str]) -> str:
    """Return the output of a program for --version."""
    return commands.run([program, "--version"], env={"PATH": os.pathsep.join(search_path)}).out


def library_path(root: Path) -> str:
    """Return the folders of a CUDA toolkit's libraries as a search path."""
    places = [root / "lib64", root / "lib", *sorted(root.glob("targets/*/lib"))]
    return os.pathsep.join(str(place) for place in places if place.is_dir())


def driver_library(root: Path) -> str | None:
    """Return the path of the driver's library, or of the toolkit's stub of it, or None."""
    places = [Path(place) for place in DRIVER_PLACES]
    places += [Path(folder) / "stubs" / "libcuda.so" for folder in library_path(root).split(os.pathsep) if folder]
    for place in places:
        if place.is_file():
            return str(place)
    return None
