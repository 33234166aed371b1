# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build both releases of the engine for this machine's processor, once.

    python3 -m tests.engine.builds            both
    python3 -m tests.engine.builds b7836      one

Builds are in $HERD_CACHE/engines under names that depend on source and options. A link with the release's name points
to the build. ccache keeps objects if it is installed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.lab.naming import Places
from tests.lab.process import LabError, run, say
from tests.lab.sources import SOURCES, Source, ensure

OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DGGML_RPC=ON",
    # The same code on every machine, so that measurements hold elsewhere.
    "-DGGML_NATIVE=OFF",
    "-DLLAMA_BUILD_SERVER=ON",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DCMAKE_INSTALL_RPATH=$ORIGIN",
    "-DCMAKE_BUILD_WITH_INSTALL_RPATH=ON",
)
PROGRAMS = ("llama-server", "llama-bench", "llama-cli", "llama-quantize")
WORKERS = {"b7836": "rpc-server"}


def key(source: Source) -> str:
    """Hash the inputs of a build."""
    inputs = "\n".join((source.sha256, *OPTIONS, *PROGRAMS))
    return f"{source.release}-{hashlib.sha256(inputs.encode()).hexdigest()[:12]}"


def unpack(archive: Path, place: Path) -> Path:
    """Unpack the engine's source from its package."""
    with tarfile.open(archive) as tarball:
        names = tarball.getnames()
        bundle = "package/llama/gitRelease.bundle"
        if bundle in names:
            tarball.extract(bundle, place, filter="data")
            run(["git", "clone", "--quiet", str(place / bundle), str(place / "source")])
            return place / "source"
        top = names[0].split("/", 1)[0]
        prefix = f"{top}/vendor/llama.cpp/"
        members = [member for member in tarball if member.name.startswith(prefix)]
        tarball.extractall(place, members, filter="data")
    source = place / prefix.rstrip("/")
    # This left-over of a submodule makes ninja regenerate for ever.
    leftover = source / ".git"
    if leftover.is_dir():
        shutil.rmtree(leftover)
    else:
        leftover.unlink(missing_ok=True)
    return source


def build(source: Source, engines: Path, cache: Path) -> Path:
    """Return the folder with the programs of a release. The first call builds them."""
    place = engines / key(source)
    if not (place / "bin" / "llama-server").exists():
        say(f"building {source.release} for the tests of the engine")
        engines.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "CCACHE_DIR": str(cache / "ccache"), "CCACHE_COMPILERCHECK": "content"}
        with tempfile.TemporaryDirectory(prefix=".new-", dir=engines) as work:
            tree = unpack(ensure(source, cache / "sources"), Path(work))
            # ccache finds objects only if their paths are relative to the same folder.
            environment["CCACHE_BASEDIR"] = work
            out = Path(work) / "build"
            run(["cmake", "-S", str(tree), "-B", str(out), "-G", "Ninja", *OPTIONS], env=environment)
            worker = WORKERS.get(source.release, "ggml-rpc-server")
            jobs = os.environ.get("HERD_JOBS") or str(os.cpu_count() or 1)
            run(["cmake", "--build", str(out), "-j", jobs, "--target", *PROGRAMS, worker], env=environment)
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            (out / "bin").rename(place / "bin")
    link = engines / source.release
    if not link.is_symlink() or link.readlink() != Path(place.name):
        link.unlink(missing_ok=True)
        link.symlink_to(place.name)
    return place / "bin"


def binaries(release: str) -> Path:
    """Return the folder of a release's programs, which is built if missing. HERD_ENGINES names another folder."""
    given = os.environ.get("HERD_ENGINES")
    if given:
        return Path(given) / release / "bin"
    known = {source.release: source for source in SOURCES}
    if release not in known:
        raise LabError(f"There is no source for {release!r}; there are {', '.join(known)}.")
    cache = Places.of(os.environ).cache
    return build(known[release], cache / "engines", cache)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tests.engine.builds", description=__doc__.splitlines()[0])
    parser.add_argument("release", nargs="*", help=", ".join(source.release for source in SOURCES))
    options = parser.parse_args(argv)
    try:
        for release in options.release or [source.release for source in SOURCES]:
            print(binaries(release))
    except LabError as error:
        print(f"builds: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
