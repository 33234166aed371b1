# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetch the pinned sources that the lab builds with the package managers' clients.

    python3 -m tests.lab.sources            all of them
    python3 -m tests.lab.sources 0c1e57098  one release

Hosts of the lab have no route outside; they find these archives in /srv/sources.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .naming import Places
from .process import LabError, run, say


@dataclass(frozen=True)
class Source:
    """One archive: its release, the registry's client and package, and its checksum."""

    release: str
    client: str
    package: str
    version: str
    archive: str
    sha256: str


SOURCES = (
    Source(
        "0c1e57098",
        "pip",
        "llama-cpp-python",
        "0.3.36",
        "llama_cpp_python-0.3.36.tar.gz",
        "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e",
    ),
    Source(
        "b7836",
        "npm",
        "node-llama-cpp",
        "3.15.1",
        "node-llama-cpp-3.15.1.tgz",
        "e81989a16620eab22f35c02b2db80f8f5a4c546a3ea4e886a4b45a8ef1475c9c",
    ),
)


def fetch_argv(source: Source, target: Path) -> list[str]:
    """Return the command that writes the archive to `target`."""
    if source.client == "pip":
        pinned = f"{source.package}=={source.version}"
        options = ["--no-deps", "--no-binary", source.package, "--dest", str(target)]
        return [sys.executable, "-m", "pip", "download", "--quiet", *options, pinned]
    return [
        "npm",
        "pack",
        "--silent",
        "--pack-destination",
        str(target),
        f"{source.package}@{source.version}",
    ]


def digest(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def ensure(source: Source, folder: Path) -> Path:
    """Return the cached archive; fetch it if it is missing, and keep only the right bytes."""
    path = folder / source.archive
    if path.is_file() and digest(path) == source.sha256:
        return path
    folder.mkdir(parents=True, exist_ok=True)
    say(f"fetching {source.package} {source.version} with {source.client}")
    with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as work:
        run(fetch_argv(source, Path(work)))
        new = Path(work) / source.archive
        if not new.is_file():
            found = ", ".join(sorted(entry.name for entry in Path(work).iterdir())) or "nothing"
            raise LabError(f"{source.client} was to bring {source.archive} and brought {found}.")
        found = digest(new)
        if found != source.sha256:
            raise LabError(f"{source.archive} should have sha256 {source.sha256}; what came has {found}.")
        new.chmod(0o644)
        new.replace(path)
    return path


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tests.lab.sources", description=__doc__.splitlines()[0])
    parser.add_argument("release", nargs="*", help=", ".join(source.release for source in SOURCES))
    options = parser.parse_args(argv)
    known = {source.release: source for source in SOURCES}
    try:
        for release in options.release or known:
            if release not in known:
                raise LabError(f"There is no source for {release!r}; there are {', '.join(known)}.")
            if not shutil.which("npm") and known[release].client == "npm":
                raise LabError("npm is needed to fetch node-llama-cpp; as root: apt-get install npm")
            print(ensure(known[release], Places.of(os.environ).cache / "sources"))
    except LabError as error:
        print(f"sources: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
