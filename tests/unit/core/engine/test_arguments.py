# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Neutral settings, written in the dialect of each release."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine import arguments as engine_arguments
from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from tests.unit.core.engine.flags.flag_lines import NEW, OLD, derived


def value(arguments: list[str], flag: str) -> str:
    return arguments[arguments.index(flag) + 1]


def test_head_arguments_follow_engine_order() -> None:
    arguments = derived(NEW, slots=4, context=8192)
    assert value(arguments, "--rpc") == "10.100.0.32:50052,10.100.0.33:50052"
    assert value(arguments, "--device") == "RPC0,RPC1,CUDA0"
    assert value(arguments, "--tensor-split") == "27,27,27"
    assert value(arguments, "--ctx-size") == "32768"
    assert arguments.index("--rpc") < arguments.index("--device")


@pytest.mark.parametrize(
    ("mode", "new", "old"),
    [
        ("mmap", ["--load-mode", "mmap"], []),
        ("read", ["--load-mode", "none"], ["--no-mmap"]),
        ("lock", ["--load-mode", "mmap+mlock"], ["--mlock"]),
        ("lock_read", ["--load-mode", "mlock"], ["--mlock", "--no-mmap"]),
    ],
)
def test_load_mode_depends_on_release(mode: str, new: list[str], old: list[str]) -> None:
    words = ("--load-mode", "mmap", "none", "mmap+mlock", "mlock", "--mlock", "--no-mmap")
    assert [word for word in derived(NEW, load_mode=mode) if word in words] == new
    assert [word for word in derived(OLD, load_mode=mode) if word in words] == old


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"contxt": 4096}, "contxt"),
        ({"context": 0}, "context"),
        ({"context": True}, "context"),
        ({"slots": "two"}, "slots"),
        ({"load_mode": "fast"}, "load_mode"),
        ({"flash_attention": "yes"}, "flash_attention"),
    ],
)
def test_invalid_settings_are_rejected(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        engine_arguments.merged(settings)


def test_bare_yaml_on_is_read_as_word() -> None:
    assert engine_arguments.merged({"flash_attention": True})["flash_attention"] == "on"


def test_later_settings_win() -> None:
    assert engine_arguments.merged({"context": 1, "slots": 2}, {"context": 3})["context"] == 3


@pytest.mark.parametrize(("accepted", "is_there"), [(NEW, True), (OLD, False)])
def test_head_binds_port_in_time_wait(accepted: frozenset[str], is_there: bool) -> None:
    # The older release does so without being told.
    assert ("--reuse-port" in derived(accepted)) is is_there


def test_unknown_profile_is_rejected() -> None:
    with pytest.raises(InvalidInputError, match="a profile among a, b, found 'c'"):
        engine_arguments.profile_named({"b": {}, "a": {}}, "c")
