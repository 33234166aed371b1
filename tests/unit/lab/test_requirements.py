from __future__ import annotations

from pathlib import Path

from tests.lab import requirements
from tests.lab.requirements import Requirement


def test_requirement_names_a_package_and_its_programs() -> None:
    text = "# words\niproute2: ip\nsocat\n\ndebian-archive-keyring: /usr/share/k.gpg # keys\n"
    assert requirements.parse_requirements(text) == [
        Requirement("iproute2", "ip"),
        Requirement("socat", "socat"),
        Requirement("debian-archive-keyring", "/usr/share/k.gpg"),
    ]


def test_only_absent_packages_are_missing(tmp_path: Path) -> None:
    there = tmp_path / "file"
    there.touch()
    wanted = [
        Requirement("dash", "sh"),
        Requirement("nosuch", "no-such-program-anywhere"),
        Requirement("file", str(there)),
        Requirement("gone", str(tmp_path / "gone")),
    ]
    assert requirements.missing_packages(wanted) == ["nosuch", "gone"]


def test_remedy_is_one_command() -> None:
    assert requirements.install_argv(["a", "b"]) == [
        "apt-get",
        "install",
        "-y",
        "--no-install-recommends",
        "a",
        "b",
    ]


def test_package_lists_of_this_repository_are_readable() -> None:
    found = requirements.parse_requirements(requirements.REQUIREMENTS.read_text(encoding="utf-8"))
    assert {"systemd-container", "mmdebstrap", "socat"} <= {item.package for item in found}
