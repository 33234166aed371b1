from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import naming
from tests.lab.naming import Places
from tests.lab.process import LabError


@pytest.mark.parametrize("name", ["demo", "a", "lab-2", "bad_input", "x" * 24])
def test_valid_lab_name_is_accepted(name: str) -> None:
    assert naming.check_lab_name(name) == name


@pytest.mark.parametrize("name", ["", "Demo", "2nd", "a.b", "a/b", "a b", "x" * 25, "demo\n"])
def test_invalid_lab_name_is_refused(name: str) -> None:
    with pytest.raises(LabError, match="A lab's name is"):
        naming.check_lab_name(name)


@pytest.mark.parametrize(
    ("namespace", "owner"),
    [
        ("herd-demo", ("demo", None)),
        ("herd-demo.vllm-node1", ("demo", "vllm-node1")),
        ("herd-a-b", ("a-b", None)),
        ("herd-a.b", ("a", "b")),
        ("herd-", None),
        ("herd-Demo", None),
        ("demo", None),
        ("herd-demo.a.b", None),
    ],
)
def test_owner_of_a_namespace_is_read_from_its_name(namespace: str, owner: tuple[str, str | None] | None) -> None:
    assert naming.split_namespace(namespace) == owner


def test_host_of_one_lab_is_never_another_lab() -> None:
    assert naming.host_namespace("a", "b") != naming.lab_namespace("a-b")
    assert naming.split_namespace(naming.host_namespace("a-b", "c")) == ("a-b", "c")


def test_machine_name_is_valid_for_nspawn() -> None:
    assert naming.machine_name("bad_input", "mirror") == "herd-bad.input-mirror"
    assert naming.machine_name("bad-input", "mirror") == "herd-bad-input-mirror"


def test_port_name_contains_a_short_host_name() -> None:
    assert naming.port_name("ib", "vllm-node1") == "i-vllm-node1"


@pytest.mark.parametrize("length", [1, 13, 14, 32])
def test_port_name_fits_into_an_interface_name(length: int) -> None:
    assert len(naming.port_name("eth", "a" * length)) <= 15


def test_long_names_with_a_common_beginning_have_different_ports() -> None:
    assert naming.port_name("ib", "very-long-node-name-1") != naming.port_name("ib", "very-long-node-name-2")


@pytest.mark.parametrize(
    ("env", "cache"),
    [
        ({"HERD_CACHE": "/c"}, "/c"),
        ({"HOME": "/home/u"}, "/home/u/.cache/herd.inference"),
        ({"HOME": "/home/u", "XDG_CACHE_HOME": "/x"}, "/x/herd.inference"),
    ],
)
def test_cache_follows_the_environment(env: dict[str, str], cache: str) -> None:
    assert Places.of(env).cache == Path(cache)


def test_control_socket_of_ssh_fits_into_an_address() -> None:
    longest = Places.of({}).control_sockets("x" * 24)
    # ansible names a socket with 10 characters; ssh appends 17 while it creates the socket.
    assert len(str(longest)) + 1 + 10 + 17 < 108
