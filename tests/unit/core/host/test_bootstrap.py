"""What a host needs before modules run on it, from what the probe printed there."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from ansible_collections.herd.inference.plugins.module_utils.core.host.bootstrap import plan

ROOT = Path(__file__).parents[4]
ROCKY8 = 'NAME="Rocky Linux"\nID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="8.10"\n'
ROCKY9 = 'NAME="Rocky Linux"\nID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.4"\n'
DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'
UBUNTU = 'NAME="Ubuntu"\nID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\n'


@pytest.mark.parametrize(
    ("probe", "core", "command", "problem"),
    [
        (ROCKY8 + "herd-python 3.6 /usr/bin/python3.6\n", "2.21.5", "dnf -y install python3.12", ""),
        (ROCKY8.replace("\n", "\r\n"), "2.21.5", "dnf -y install python3.12", ""),
        (ROCKY8 + "herd-python 3.6 /usr/bin/python3.6\r\nherd-python 3.12 /usr/bin/python3.12\r\n", "2.21.5", "", ""),
        # Another Python is new enough, but lacks the package of requests.
        (
            ROCKY8 + "herd-python 3.6 /usr/bin/python3.6\nherd-python 3.9 /usr/bin/python3.9\n",
            "2.21.5",
            "dnf -y install python3.12",
            "",
        ),
        (
            ROCKY8 + "herd-python 3.11 /usr/bin/python3.11\nherd-python 3.13 /usr/bin/python3.13\n",
            "2.21.5",
            "dnf -y install python3.12",
            "",
        ),
        (
            ROCKY8 + "herd-python 3.6 /usr/bin/python3.6\nherd-python 3.12 /usr/bin/python3.12\n",
            "2.19.14",
            "",
            "expected ansible-core 2.21 or newer",
        ),
        (ROCKY9 + "herd-python 3.9 /usr/bin/python3.9\n", "2.19.14", "", ""),
        (ROCKY9, "2.21.5", "dnf -y install python3", ""),
        (DEBIAN + "herd-python 3.11 /usr/bin/python3.11\n", "2.21.5", "", ""),
        (DEBIAN, "2.21.5", "apt-get update && DEBIAN_FRONTEND=noninteractive apt-get -y install python3", ""),
        (UBUNTU + "herd-python 3.12 /usr/bin/python3.12\n", "2.19.14", "", ""),
        ("ID=arch\n", "2.21.5", "", "expected Python 3.9 or newer"),
    ],
)
def test_plan(probe: str, core: str, command: str, problem: str) -> None:
    found = plan("node1", probe, core, "python3.12")
    assert found.command == command
    assert problem in found.problem
    assert bool(problem) == bool(found.problem)


@pytest.mark.parametrize(
    ("probe", "package", "interpreter"),
    [
        (
            ROCKY8 + "herd-python 3.9 /usr/bin/python3.9\nherd-python 3.12 /usr/bin/python3.12\n",
            "python3.12",
            "/usr/bin/python3.12",
        ),
        (ROCKY8 + "herd-python 3.9 /usr/bin/python3.9\n", "python3.12", "/usr/bin/python3.12"),
        (
            ROCKY8 + "herd-python 3.9 /usr/bin/python3.9\nherd-python 3.12 /usr/bin/python3.12\n",
            "python39",
            "/usr/bin/python3.9",
        ),
        (
            ROCKY8.replace("\n", "\r\n") + "herd-python 3.11 /usr/bin/python3.11\r\n",
            "python3.11",
            "/usr/bin/python3.11",
        ),
        (ROCKY9 + "herd-python 3.9 /usr/bin/python3.9\nherd-python 3.12 /usr/bin/python3.12\n", "python3.12", ""),
        (DEBIAN + "herd-python 3.11 /usr/bin/python3.11\n", "python3.12", ""),
    ],
)
def test_modules_run_with_the_python_of_the_package_on_el8(probe: str, package: str, interpreter: str) -> None:
    found = plan("node1", probe, "2.21.5", package)
    assert (found.problem, found.interpreter) == ("", interpreter)


@pytest.mark.parametrize("package", ["python3", "python38", "python3.12-requests", "python36", ""])
def test_package_without_a_supported_version_is_refused_on_el8(package: str) -> None:
    found = plan("node1", ROCKY8 + "herd-python 3.12 /usr/bin/python3.12\n", "2.21.5", package)
    assert found.command == ""
    assert (
        f"expected node_python_package to name a Python of EL8 from 3.9 on, such as python3.12, found {package!r}"
        in (found.problem)
    )


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("", ""),
        ("herd-free 512 /opt\n", ""),
        ("herd-free 511 /opt\r\n", "expected 512 MiB free under /opt for the release, found 511 MiB: free space"),
    ],
)
def test_a_first_release_needs_disk_space(line: str, problem: str) -> None:
    found = plan("node1", f"{DEBIAN}herd-python 3.11 /usr/bin/python3.11\n{line}", "2.21.5", "python3.12", 512)
    assert problem in found.problem
    assert bool(problem) == bool(found.problem)


def probed(prefix: Path) -> str:
    variables = yaml.safe_load((ROOT / "roles/node/vars/main.yml").read_text())
    probe = variables["_node_probe"].replace("{{ node_prefix | quote }}", shlex.quote(str(prefix)))
    return subprocess.run(["sh", "-c", probe], capture_output=True, text=True, check=True).stdout


def test_the_plan_reads_the_output_of_the_probe(tmp_path: Path) -> None:
    printed = probed(tmp_path / "not" / "there yet")
    assert "VERSION_ID" in printed or "ID=" in printed
    if Path("/usr/bin/python3").exists():
        assert "herd-python 3." in printed
    assert plan("node1", printed, "2.21.5", "python3.12", 0).problem == ""
    assert str(tmp_path) in plan("node1", printed, "2.21.5", "python3.12", 1 << 40).problem


def test_an_installed_release_needs_no_disk_space(tmp_path: Path) -> None:
    (tmp_path / "current").mkdir()
    assert "herd-free" not in probed(tmp_path)


@pytest.mark.parametrize(
    ("line", "units", "refused"),
    [
        ("herd-user-namespaces 0\n", ("llama-rpc.service", "herd-queue.service"), True),
        ("herd-user-namespaces 0\r\n", ("herd-gateway@.service",), True),
        # On a GPU, a worker has no namespace of users.
        ("herd-user-namespaces 0\n", (), False),
        ("herd-user-namespaces 63231\n", ("llama-rpc.service",), False),
        # A kernel without the setting.
        ("herd-user-namespaces \n", ("llama-rpc.service",), False),
    ],
)
def test_kernel_without_user_namespaces_is_refused(line: str, units: tuple[str, ...], refused: bool) -> None:
    found = plan(
        "node1", f"{DEBIAN}herd-python 3.11 /usr/bin/python3.11\n{line}", "2.21.5", "python3.12", private_users=units
    )
    assert bool(found.problem) == refused
    if refused:
        assert f"for PrivateUsers=yes of {', '.join(units)}, found 0" in found.problem
        assert "write user.max_user_namespaces = 64 to a file in /etc/sysctl.d" in found.problem


def test_probe_prints_the_limit_of_user_namespaces(tmp_path: Path) -> None:
    path = Path("/proc/sys/user/max_user_namespaces")
    limit = path.read_text(encoding="ascii").strip() if path.exists() else ""
    assert f"herd-user-namespaces {limit}\n" in probed(tmp_path)
