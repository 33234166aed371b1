"""A lab's definition is read from TOML, and each mistake has its error."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lab import config
from tests.lab.config import Bind
from tests.lab.process import LabError

VARIABLES = {
    "HERD_CACHE": "/cache",
    "LAB_REPOSITORY": "/cache/lab/repository/x",
    "LAB_SHARED": "/data/x/.shared",
    "EMPTY": "",
}
TWO = """
binds = ["${LAB_REPOSITORY}:/srv/repo:ro"]
[hosts.node1]
eth = "10.0.0.31"
ib = "10.100.0.31"
binds = ["${HERD_CACHE}/ccache:/var/cache/ccache"]
disks = { "/opt/models" = "64M" }
[hosts.mirror]
eth = "10.0.0.9"
layers = ["nginx"]
hostname = "hub"
"""


def test_definition_gives_hosts_common_and_own_binds() -> None:
    lab = config.parse(TWO, "demo", VARIABLES)
    node, mirror = lab.hosts
    assert node.binds == (
        Bind("/cache/lab/repository/x", "/srv/repo", True),
        Bind("/cache/ccache", "/var/cache/ccache", False),
    )
    assert node.disks == {"/opt/models": "64M"}
    assert (node.hostname, mirror.hostname) == ("node1", "hub")
    assert mirror.ib is None
    assert mirror.address(config.IB) is None


def test_definition_survives_a_round_trip_through_json() -> None:
    lab = config.parse(TWO, "demo", VARIABLES)
    assert config.from_data(json.loads(json.dumps(config.to_data(lab)))) == lab


@pytest.mark.parametrize("path", sorted((Path(config.__file__).parent / "labs").glob("*.toml")), ids=lambda p: p.stem)
def test_definitions_of_this_repository_match_the_inventories(path: Path) -> None:
    lab = config.read(path, "demo", VARIABLES)
    # The addresses of the inventories that use these definitions.
    name, address = ("vasp-01", "10.0.0.41") if path.stem == "slurm" else ("vllm-node1", "10.0.0.31")
    assert lab.host(name).eth == address


HOST = '[hosts.a]\neth = "10.0.0.2"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hosts = [", "not TOML"),
        ("", "at least one table"),
        ("host = 1\n" + HOST, "Unknown key host"),
        ("[hosts.A]\neth = '10.0.0.2'\n", "A host's name"),
        ("[hosts.a]\nib = '10.100.0.2'\n", "no 'eth' address"),
        ("[hosts.a]\neth = '10.0.0'\n", "is an IPv4 address"),
        ("[hosts.a]\neth = '10.0.1.2'\n", "in 10.0.0.0/24"),
        ("[hosts.a]\neth = '10.0.0.1'\n", "in 10.0.0.0/24"),
        ("[hosts.a]\neth = '10.0.0.255'\n", "in 10.0.0.0/24"),
        (HOST + "ib = '10.0.0.2'\n", "in 10.100.0.0/24"),
        (HOST + "memory = 1\n", "unknown key memory"),
        (HOST + "os = 'windows'\n", "Host a: os is one of debian12, debian13, el8-like; found 'windows'"),
        (HOST + "os = ['debian13']\n", "Host a: os is one of"),
        ("os = 'windows'\n" + HOST, "The lab: os is one of debian12, debian13, el8-like; found 'windows'"),
        (HOST + "layers = 'nginx'\n", "layers is a list"),
        (HOST + "disks = { models = '64M' }\n", "absolute path and a size"),
        (HOST + "disks = { '/models' = '64' }\n", "absolute path and a size"),
        (HOST + "binds = ['/a:b']\n", "absolute paths"),
        (HOST + "binds = ['/a:/b:rx']\n", "absolute paths"),
        (HOST + "binds = ['${NOBODY}/a:/b']\n", "needs ${NOBODY}"),
        (HOST + "binds = ['${EMPTY}/a:/b']\n", "needs ${EMPTY}"),
        (HOST + "[hosts.b]\neth = '10.0.0.2'\n", "Hosts a and b both have eth 10.0.0.2"),
    ],
)
def test_error_names_the_mistake(text: str, message: str) -> None:
    with pytest.raises(LabError) as caught:
        config.parse(text, "demo", VARIABLES)
    assert message in str(caught.value)


def test_hosts_have_the_system_of_the_lab_or_their_own() -> None:
    text = 'os = "debian13"\nbinds = ["${LAB_REPOSITORY}:/srv/repo:ro"]\n' + HOST
    text += '[hosts.b]\neth = "10.0.0.3"\nos = "debian12"\n'
    lab = config.parse(text, "demo", VARIABLES, {"debian12": "/cache/twelve", "debian13": "/cache/thirteen"})
    assert [host.os for host in lab.hosts] == ["debian13", "debian12"]
    # Each host gets the packages of its own system.
    assert [host.binds[0].source for host in lab.hosts] == ["/cache/thirteen", "/cache/twelve"]


def test_hosts_of_scenario_on_debian13_differ_from_cluster_in_their_system_only() -> None:
    root = Path(__file__).parents[3]
    found = [
        config.read(path, "demo", VARIABLES)
        for path in (root / "tests/lab/labs/cluster.toml", root / "molecule/cluster_debian13/lab.toml")
    ]
    assert {host.os for host in found[1].hosts} == {"debian13"}
    assert found[0].hosts == tuple(replace(host, os="debian12") for host in found[1].hosts)


def test_missing_definition_gives_one_error(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="cannot be read: No such file"):
        config.read(tmp_path / "none.toml", "demo", VARIABLES)


def test_bind_of_the_command_line_replaces_one_to_the_same_place() -> None:
    lab = config.parse(TWO, "demo", VARIABLES)
    more = config.parse_host_bind("node1:/other:/var/cache/ccache/:ro", VARIABLES)
    changed = config.with_binds(lab, [more])
    assert [bind.words() for bind in changed.host("node1").binds] == [
        "/cache/lab/repository/x:/srv/repo:ro",
        "/other:/var/cache/ccache:ro",
    ]
    assert changed.host("mirror") == lab.host("mirror")


def test_bind_for_an_unknown_host_is_refused() -> None:
    lab = config.parse(TWO, "demo", VARIABLES)
    with pytest.raises(LabError, match=r"has no host 'node7'; it has node1, mirror"):
        config.with_binds(lab, [config.parse_host_bind("node7:/a:/b", VARIABLES)])


def test_bind_without_a_host_is_refused() -> None:
    with pytest.raises(LabError, match="--bind takes HOST"):
        config.parse_host_bind("nothing", VARIABLES)
