from __future__ import annotations

from pathlib import Path

from tests.lab import requirements
from tests.lab.requirements import Requirement


def test_a_requirement_is_a_package_and_how_it_is_recognised() -> None:
    text = "# words\niproute2: ip\nsocat\n\ndebian-archive-keyring: /usr/share/k.gpg # keys\n"
    assert requirements.parse_requirements(text) == [
        Requirement("iproute2", "ip"),
        Requirement("socat", "socat"),
        Requirement("debian-archive-keyring", "/usr/share/k.gpg"),
    ]


def test_only_what_is_not_there_is_missing(tmp_path: Path) -> None:
    there = tmp_path / "file"
    there.touch()
    wanted = [
        Requirement("dash", "sh"),
        Requirement("nosuch", "no-such-program-anywhere"),
        Requirement("file", str(there)),
        Requirement("gone", str(tmp_path / "gone")),
    ]
    assert requirements.missing_packages(wanted) == ["nosuch", "gone"]


def test_the_cure_is_one_command() -> None:
    assert requirements.install_argv(["a", "b"]) == [
        "apt-get",
        "install",
        "-y",
        "--no-install-recommends",
        "a",
        "b",
    ]


def test_the_list_of_this_repository_can_be_read() -> None:
    found = requirements.parse_requirements(requirements.REQUIREMENTS.read_text(encoding="utf-8"))
    assert {"systemd-container", "mmdebstrap", "socat"} <= {item.package for item in found}
