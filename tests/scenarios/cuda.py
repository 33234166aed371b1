# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find a CUDA toolkit on this machine with which the engine can be compiled and linked; no GPU is needed.

    python3 -m tests.scenarios.cuda    prints the toolkit as JSON, or the missing part

The places are HERD_CUDA_ROOT, /usr/local/cuda, the newest /usr/local/cuda-*, and the toolkit of the nvcc in PATH.
Toolkits that pip installs have cuBLAS as a separate package. A toolkit that lacks only cuBLAS is copied to
${HERD_CACHE}/cuda, and pip adds NVIDIA's package of the same minor version to the copy. The machine's toolkit is
not changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ..lab.naming import Places
from ..lab.process import LabError, run, say

# The engine's build needs each header with its library.
NEEDS = {
    "the CUDA runtime": ("cuda_runtime.h", "libcudart.so"),
    "cuBLAS": ("cublas_v2.h", "libcublas.so"),
}
# Raise it when this file builds the completed copy in another way.
RECIPE = 1


@dataclass(frozen=True)
class Toolkit:
    """A CUDA toolkit for a build host of the lab."""

    root: str
    version: str
    # Compute capability of the oldest GPU that it compiles for, as inventories write it: 7.5.
    lowest: str
    # The package that completed a copy; empty for the machine's own toolkit.
    completed_with: str = ""


def candidates(env: Mapping[str, str]) -> Iterator[Path]:
    """Return the possible places of a toolkit, best first."""
    if env.get("HERD_CUDA_ROOT"):
        yield Path(env["HERD_CUDA_ROOT"])
        return
    yield Path("/usr/local/cuda")
    yield from sorted(Path("/usr/local").glob("cuda-*"), key=lambda path: numbers(path.name), reverse=True)
    nvcc = shutil.which("nvcc", path=env.get("PATH"))
    if nvcc:
        yield Path(nvcc).resolve().parent.parent


def numbers(text: str) -> list[int]:
    """Return the numbers in a name, so that cuda-13.0 sorts after cuda-9.2."""
    return [int(number) for number in re.findall(r"\d+", text)]


def nvcc_of(env: Mapping[str, str]) -> Path:
    """Return the compiler of the first toolkit found."""
    looked = list(candidates(env))
    for root in looked:
        nvcc = root / "bin" / "nvcc"
        if nvcc.is_file() and os.access(nvcc, os.X_OK):
            return nvcc
    raise LabError(
        f"no CUDA toolkit: expected bin/nvcc in {', '.join(map(str, looked))}; install one, "
        "or name one with HERD_CUDA_ROOT"
    )


def version_of(nvcc: Path) -> str:
    """Return the toolkit's version, such as 13.0.88."""
    said = run([str(nvcc), "--version"]).stdout
    found = re.search(r"release \d+\.\d+, V(\d+\.\d+\.\d+)", said)
    if found is None:
        raise LabError(f"no CUDA toolkit: {nvcc} --version tells no version; found {said.strip()[:200]!r}")
    return found.group(1)


def lowest_of(listed: str) -> str:
    """Return the lowest compute capability from `nvcc --list-gpu-arch`, whose lines are not strictly ordered."""
    found = [int(number) for number in re.findall(r"^compute_(\d+)$", listed, re.MULTILINE)]
    if not found:
        raise LabError(f"no CUDA toolkit: nvcc --list-gpu-arch lists nothing; found {listed.strip()[:200]!r}")
    return f"{min(found) // 10}.{min(found) % 10}"


def folders(root: Path, *names: str) -> list[Path]:
    """Return the folders of these names in both layouts: for one target and for several."""
    return [path for name in names for path in (root / name, *root.glob(f"targets/*/{name}")) if path.is_dir()]


def missing(root: Path) -> list[str]:
    """Return the files that linking the engine needs and this toolkit lacks."""
    return [
        name
        for name, (header, library) in NEEDS.items()
        if not any((folder / header).is_file() for folder in folders(root, "include"))
        or not any((folder / library).is_file() for folder in folders(root, "lib64", "lib"))
    ]


def package(version: str) -> tuple[str, str]:
    """Return the name and version of NVIDIA's cuBLAS package for pip; it has the toolkit's version number."""
    major, minor = version.split(".")[:2]
    # From version 13 on, the names have no suffix.
    return ("nvidia-cublas" if int(major) >= 13 else f"nvidia-cublas-cu{major}"), f"{major}.{minor}.*"


def complete(root: Path, version: str, cache: Path) -> Toolkit:
    """Return a copy of the toolkit with cuBLAS; make it on the first call."""
    name, wanted = package(version)
    key = hashlib.sha256(f"{RECIPE} {root.resolve()} {version} {name} {wanted}".encode()).hexdigest()[:8]
    copy = cache / "cuda" / f"{version}-{key}"
    note = copy / "completed.json"
    if not note.is_file():
        copy.parent.mkdir(parents=True, exist_ok=True)
        say(f"completing a copy of {root} with {name}=={wanted}, which pip fetches (about 500 MB)")
        with tempfile.TemporaryDirectory(prefix=".new-", dir=copy.parent) as work:
            wheel = fetch(name, wanted, Path(work))
            made = Path(work) / "toolkit"
            shutil.copytree(root.resolve(), made, symlinks=True)
            unpack(wheel, made)
            note_text = json.dumps({"of": str(root), "with": wheel.name})
            (made / note.name).write_text(note_text, encoding="utf-8")
            if copy.exists():
                shutil.rmtree(copy)
            made.rename(copy)
    return Toolkit(str(copy), version, "", json.loads(note.read_text(encoding="utf-8"))["with"])


def fetch(name: str, wanted: str, to: Path) -> Path:
    """Fetch the wheel with pip."""
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(to)]
    run([sys.executable, "-m", "pip", "download", *options, f"{name}=={wanted}"])
    wheels = list(to.glob("*.whl"))
    if len(wheels) != 1:
        raise LabError(f"pip was to bring one wheel of {name} and brought {len(wheels)}")
    return wheels[0]


def unpack(wheel: Path, toolkit: Path) -> None:
    """Unpack a wheel's headers and libraries into the toolkit's folders."""
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            folder = Path(member.filename).parent.name
            if member.is_dir() or folder not in {"include", "lib"}:
                continue
            target = folders(toolkit, *(("include",) if folder == "include" else ("lib64", "lib")))[0]
            path = target / Path(member.filename).name
            with archive.open(member) as source, path.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
            # A linker needs the name without the version, which wheels lack.
            linked = re.fullmatch(r"(lib.+\.so)\.\d+", path.name)
            if linked and not (target / linked.group(1)).exists():
                (target / linked.group(1)).symlink_to(path.name)


def find(env: Mapping[str, str]) -> Toolkit:
    """Return the toolkit for a build host; a LabError names what is missing and how to provide it."""
    nvcc = nvcc_of(env)
    root, version = nvcc.parent.parent, version_of(nvcc)
    toolkit = Toolkit(str(root.resolve()), version, "")
    lacks = missing(root)
    if lacks == ["cuBLAS"]:
        try:
            toolkit = complete(root, version, Places.of(env).cache)
        except (LabError, OSError) as error:
            name, wanted = package(version)
            raise LabError(
                f"CUDA toolkit without cuBLAS: {root} ({version}) lacks cublas_v2.h or libcublas.so; install the "
                f"toolkit's libcublas-dev package, or let pip fetch {name}=={wanted}, which failed: {error}"
            ) from error
    elif lacks:
        raise LabError(
            f"incomplete CUDA toolkit: {root} ({version}) lacks {' and '.join(lacks)}; install the toolkit's "
            "cudart and cublas development packages, or name a whole toolkit with HERD_CUDA_ROOT"
        )
    lowest = lowest_of(run([str(nvcc), "--list-gpu-arch"]).stdout)
    return Toolkit(toolkit.root, version, lowest, toolkit.completed_with)


def main() -> int:
    try:
        answer = {"usable": True, "missing": "", **asdict(find(os.environ))}
    except LabError as error:
        answer = {"usable": False, "missing": str(error), **asdict(Toolkit("", "", ""))}
    print(json.dumps(answer, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
