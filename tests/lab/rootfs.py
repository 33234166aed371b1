# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Root file systems, layers and the package repository, cached by a hash of their inputs.

A key is a hash of the recipe (packages, script, files), of the suite and of all layers below. A changed
recipe gets a new key. Labs can use the image of the old key until it is pruned.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .config import Lab
from .images import IMAGES, Image
from .process import LabError, run, say

RECIPES = Path(__file__).parent / "recipes"
# Raise it when this file builds something else from the same recipe.
BASE_VERSION = "1"
REPOSITORY_VERSION = "2"
PRIVATE_MOUNTS = ("unshare", "--mount", "--propagation=private")
_ACQUIRE = re.compile(
    r'^(Acquire::(?:https?|Check-Valid-Until|Check-Date|Retries|ForceIPv[46]|Max-ValidTime|Min-ValidTime)\S*) "(.*)";$'
)


@dataclass(frozen=True)
class Recipe:
    """A folder under recipes/: packages, and the script that runs after their installation."""

    name: str
    packages: tuple[str, ...]
    script: str
    files: Path | None
    digest: str


def package_list(text: str) -> tuple[str, ...]:
    words = (line.split("#", 1)[0].strip() for line in text.splitlines())
    return tuple(sorted({word for word in words if word}))


def key_of(parts: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        # Lengths keep ("ab", "c") and ("a", "bc") apart.
        digest.update(f"{len(part)}:{part}".encode())
    return digest.hexdigest()[:16]


def _tree_digest(folder: Path) -> str:
    parts = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            parts += [str(path.relative_to(folder)), hashlib.sha256(path.read_bytes()).hexdigest()]
    return key_of(parts)


def recipe(name: str) -> Recipe:
    folder = RECIPES / name
    if not (folder / "packages").is_file():
        known = sorted(path.parent.name for path in RECIPES.glob("*/packages"))
        raise LabError(f"There is no layer {name!r}; there are {', '.join(known)}.")
    packages = package_list((folder / "packages").read_text(encoding="utf-8"))
    setup = folder / "setup.sh"
    script = setup.read_text(encoding="utf-8") if setup.is_file() else ""
    files = folder / "files"
    return Recipe(
        name,
        packages,
        script,
        files if files.is_dir() else None,
        key_of([name, *packages, script, _tree_digest(files) if files.is_dir() else ""]),
    )


def acquire_options(dump: str) -> list[str]:
    """Return apt's proxy and certificate settings from the output of `apt-config dump`."""
    found = []
    for line in dump.splitlines():
        match = _ACQUIRE.match(line.strip())
        if match and match.group(2):
            found.append(f'{match.group(1)} "{match.group(2)}";')
    return found


def suite_sources(texts: Mapping[str, str], suite: str, machine_suite: str) -> str:
    """Return the stanzas of a Debian suite in the machine's package sources as one-line entries.

    A machine with another Debian suite has none; those of its own suite then get the other name. The result is empty
    on other systems, where mmdebstrap uses its default.

    :param machine_suite: the machine's own Debian suite; empty on other systems.
    """
    found = _stanzas(texts, suite)
    if not found and machine_suite:
        found = [_renamed(line, machine_suite, suite) for line in _stanzas(texts, machine_suite)]
    return "".join(f"{line}\n" for line in dict.fromkeys(found))


def _renamed(line: str, old: str, new: str) -> str:
    """Replace the name of the suite in a one-line entry; addresses stay."""
    return re.sub(rf" {re.escape(old)}(?=[ -])", f" {new}", line, count=1)


def _stanzas(texts: Mapping[str, str], suite: str) -> list[str]:
    suites = (suite, f"{suite}-updates", f"{suite}-security")
    lines: list[str] = []
    for name, text in sorted(texts.items()):
        if name.endswith(".sources"):
            for stanza in re.split(r"\n\s*\n", text):
                lines += _one_line(stanza, suites)
        else:
            for line in text.splitlines():
                match = re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+(.*)", line)
                if match and match.group(3) in suites:
                    lines.append(line.strip())
    return lines


def _one_line(stanza: str, suites: Sequence[str]) -> list[str]:
    fields: dict[str, str] = {}
    for line in stanza.splitlines():
        if line.startswith("#") or ":" not in line:
            continue
        key, _colon, value = line.partition(":")
        fields[key.strip().lower()] = value.strip()
    if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() == "no":
        return []
    options = f"[signed-by={fields['signed-by']}] " if fields.get("signed-by", "").startswith("/") else ""
    return [
        f"deb {options}{uri} {suite} {fields.get('components', 'main')}"
        for uri in fields.get("uris", "").split()
        for suite in fields.get("suites", "").split()
        if suite in suites
    ]


def machine_suite(os_release: str) -> str:
    """Return the Debian suite of the text of /etc/os-release; empty for another distribution."""
    fields = dict(re.findall(r'^([A-Z_]+)="?([^"\n]*)"?$', os_release, re.MULTILINE))
    return fields.get("VERSION_CODENAME", "") if fields.get("ID") == "debian" else ""


def _machine_sources(suite: str) -> str:
    folder = Path("/etc/apt")
    paths = [folder / "sources.list", *(folder / "sources.list.d").glob("*")]
    texts = {p.name: p.read_text(encoding="utf-8") for p in paths if p.suffix in {".list", ".sources"} and p.is_file()}
    os_release = Path("/etc/os-release")
    own = machine_suite(os_release.read_text(encoding="utf-8")) if os_release.is_file() else ""
    return suite_sources(texts, suite, own)


@contextmanager
def _lock(path: Path) -> Iterator[int]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="ascii") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that makes {path.stem}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle.fileno()


class Store:
    """The cache on disk; an entry with its final name is complete."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock_held = -1

    # Keys

    def base_key(self, image: Image) -> str:
        return key_of([BASE_VERSION, image.suite, platform.machine(), recipe("base").digest])

    def repository_key(self, image: Image) -> str:
        wanted = (RECIPES / "repository.packages").read_text(encoding="utf-8")
        return key_of([REPOSITORY_VERSION, self.base_key(image), *package_list(wanted)])

    def layer_key(self, image: Image, names: Sequence[str]) -> str:
        # Without the repository's key: another package in it changes no layer.
        make = (RECIPES / "make_layer.sh").read_text(encoding="utf-8")
        return key_of([self.base_key(image), make, *(recipe(name).digest for name in names)])

    # Places

    def base(self, image: Image) -> Path:
        return self.folder / "base" / self.base_key(image)

    def repository(self, image: Image) -> Path:
        return self.folder / "repository" / self.repository_key(image)

    def layer(self, image: Image, names: Sequence[str]) -> Path:
        return self.folder / "layer" / f"{'-'.join(names)}-{self.layer_key(image, names)}"

    def lower_folders(self, image: Image, names: Sequence[str]) -> list[Path]:
        """Return the read-only folders of a host, the topmost first."""
        layers = [self.layer(image, names[:count]) for count in range(len(names), 0, -1)]
        return [*layers, self.base(image)]

    # Making

    @contextmanager
    def _making(self, target: Path, what: str) -> Iterator[Path | None]:
        """Yield a folder that gets its final name at the end, or None if the entry exists."""
        if target.is_dir():
            yield None
            return
        with _lock(self.folder / "lock" / f"{target.parent.name}-{target.name}.lock") as held:
            if target.is_dir():
                yield None
                return
            target.parent.mkdir(parents=True, exist_ok=True)
            for leftover in target.parent.glob(f".new-{target.name}-*"):
                remove_tree(leftover)
            say(what)
            work = Path(tempfile.mkdtemp(prefix=f".new-{target.name}-", dir=target.parent))
            self._lock_held = held
            try:
                yield work
                (work / "result").rename(target)
            finally:
                remove_tree(work)

    def _run(self, argv: Sequence[str], stdin: str | None = None) -> None:
        """Run a step that survives this process and holds the lock against a second one."""
        run(argv, stdin=stdin, keep_open=[self._lock_held])

    def ensure(self, lab: Lab) -> None:
        """Make all file systems that the lab's hosts need."""
        for host in lab.hosts:
            image = IMAGES[host.os]
            self.ensure_base(image)
            self.ensure_repository(image)
            self.ensure_layers(image, image.with_layers(host.layers))

    def ensure_base(self, image: Image) -> None:
        with self._making(self.base(image), f"making the root file system ({image.title}, about 40 s)") as work:
            if work is None:
                return
            wanted = recipe("base")
            setup = work / "setup.sh"
            setup.write_text(wanted.script, encoding="utf-8")
            conf = work / "apt.conf"
            conf.write_text("\n".join(self._acquire()) + "\n", encoding="utf-8")
            sources = _machine_sources(image.suite)
            argv = [
                # Its mounts must not outlive it: a killed mmdebstrap does not unmount them.
                *PRIVATE_MOUNTS,
                "mmdebstrap",
                "--mode=root",
                "--variant=minbase",
                "--format=directory",
                '--aptopt=APT::Install-Recommends "false"',
                f"--aptopt={conf}",
                "--dpkgopt=force-unsafe-io",
                f"--include={','.join(wanted.packages)}",
                f'--customize-hook=chroot "$1" /bin/sh -s < {setup}',
                image.suite,
                str(work / "result"),
            ]
            self._run([*argv, "-"], stdin=sources) if sources else self._run(argv)

    @staticmethod
    def _acquire() -> list[str]:
        return acquire_options(run(["apt-config", "dump"]).stdout)

    def ensure_repository(self, image: Image) -> None:
        what = f"fetching the packages that hosts can install ({image.title}, about 30 s)"
        with self._making(self.repository(image), what) as work:
            if work is None:
                return
            wanted = package_list((RECIPES / "repository.packages").read_text(encoding="utf-8"))
            self._download(image, work, wanted, work / "result")
            listing = run(["apt-ftparchive", "packages", "."], cwd=work / "result").stdout
            (work / "result" / "Packages").write_text(listing, encoding="utf-8")
            # Without this file apt warns at every update.
            release = run(["apt-ftparchive", "release", "."], cwd=work / "result").stdout
            (work / "result" / "Release").write_text(release, encoding="utf-8")

    def _download(self, image: Image, work: Path, packages: Sequence[str], target: Path) -> None:
        """Fetch `packages` and their dependencies beyond the base with the machine's apt."""
        lists = work / "sources.list"
        lists.write_text(_machine_sources(image.suite) or self._base_sources(image), encoding="utf-8")
        # On a machine without Debian, only the new file system has Debian's keys.
        keys = self.base(image) / "etc/apt/trusted.gpg.d"
        for folder in ("state/lists/partial", "cache/archives/partial"):
            (work / folder).mkdir(parents=True)
        options = {
            "Dir::Etc::SourceList": lists,
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::Etc::TrustedParts": keys,
            "Dir::Etc::Preferences": "/dev/null",
            "Dir::Etc::PreferencesParts": "/dev/null",
            "Dir::State": work / "state",
            "Dir::State::status": self.base(image) / "var/lib/dpkg/status",
            "Dir::Cache": work / "cache",
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",
            "Debug::NoLocking": "true",
        }
        apt = ["apt-get", "-q", "-y", *(f"-o{key}={value}" for key, value in options.items())]
        self._run([*apt, "update"])
        self._run([*apt, "--download-only", "--reinstall", "install", *packages])
        target.mkdir()
        for package in (work / "cache" / "archives").glob("*.deb"):
            package.rename(target / package.name)

    def _base_sources(self, image: Image) -> str:
        return (self.base(image) / "usr/share/herd-lab/sources.list").read_text(encoding="utf-8")

    def ensure_layers(self, image: Image, names: Sequence[str]) -> None:
        for count in range(1, len(names) + 1):
            self._ensure_layer(image, names[:count])

    def _ensure_layer(self, image: Image, names: Sequence[str]) -> None:
        wanted = recipe(names[-1])
        with self._making(self.layer(image, names), f"making the layer {wanted.name} (up to two minutes)") as work:
            if work is None:
                return
            for folder in ("result", "work", "root"):
                (work / folder).mkdir()
            (work / "setup.sh").write_text(wanted.script, encoding="utf-8")
            self._run(
                [
                    *PRIVATE_MOUNTS,
                    "sh",
                    str(RECIPES / "make_layer.sh"),
                    str(work),
                    ":".join(str(path) for path in self.lower_folders(image, names[:-1])),
                    str(self.repository(image)),
                    str(wanted.files or ""),
                    *wanted.packages,
                ]
            )

    # Pruning

    def unused(self, used: set[Path]) -> list[Path]:
        """Return images that neither the present recipes nor an existing lab uses."""
        present = set(used)
        for image in IMAGES.values():
            present |= {self.base(image), self.repository(image)}
            present |= {
                self.layer(image, (path.parent.name,))
                for path in RECIPES.glob("*/packages")
                if path.parent.name != "base"
            }
        found = [p for kind in ("base", "repository", "layer") for p in sorted((self.folder / kind).glob("*"))]
        found += [p for kind in ("base", "repository", "layer") for p in (self.folder / kind).glob(".new-*")]
        return [path for path in dict.fromkeys(found) if path not in present]


def remove_tree(path: Path) -> None:
    """Remove a tree unless a killed run left a mount in it."""
    if not path.exists():
        return
    below = f"{os.path.realpath(path)}/"
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        if line.split()[1].startswith(below):
            raise LabError(f"{line.split()[1]} is still mounted; unmount it before {path} is removed.")
    shutil.rmtree(path)
