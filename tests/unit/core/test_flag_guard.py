# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Traps of the engine, each with a command line that walks into it."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core import engine_settings, flag_guard
from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.placement_order import Device

NEW = [
    "--model", "--alias", "--host", "--port", "--api-key-file", "--rpc", "--device", "--tensor-split", "--split-mode",
    "--n-gpu-layers", "--ctx-size", "--parallel", "--threads", "--batch-size", "--ubatch-size", "--cache-type-k",
    "--cache-type-v", "--flash-attn", "-fa", "--load-mode", "--cache-ram", "--timeout", "--metrics", "--fit",
    "--log-verbosity",
]  # fmt: skip
OLD = [flag for flag in NEW if flag != "--load-mode"] + ["--mlock", "--no-mmap"]
DEVICES = [
    Device("RPC0", "n2", "10.100.0.32:50052", 27),
    Device("RPC1", "n3", "10.100.0.33:50052", 27),
    Device("CUDA0", "n1", "", 26),
]


def argv(accepted: list[str], **settings: object) -> list[str]:
    merged = engine_settings.merged(settings)
    return engine_settings.head_arguments(
        merged, DEVICES, accepted, "/m.gguf", "m", ("10.0.0.31", 8000), "/etc/herd/head/api-keys"
    )


def value(arguments: list[str], flag: str) -> str:
    return arguments[arguments.index(flag) + 1]


@pytest.mark.parametrize("accepted", [NEW, OLD], ids=["new", "old"])
@pytest.mark.parametrize("mode", list(engine_settings.LOAD_MODES))
def test_what_is_derived_is_clean_in_both_dialects(accepted: list[str], mode: str) -> None:
    arguments = argv(accepted, load_mode=mode, slots=4, context=8192)
    assert flag_guard.findings(arguments, accepted, True, 8192) == []
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
def test_load_modes_have_another_name_in_each_dialect(mode: str, new: list[str], old: list[str]) -> None:
    assert [w for w in argv(NEW, load_mode=mode) if w in ("--load-mode", "mmap", "none", "mmap+mlock", "mlock")] == new
    assert [w for w in argv(OLD, load_mode=mode) if w in ("--mlock", "--no-mmap", "--load-mode")] == old


RPC = ["--rpc", "a:1,b:1", "--device", "RPC0,RPC1", "--cache-ram", "0"]


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ([*RPC, "--flash-atn", "on"], "unknown-flag"),
        ([*RPC, "--flash-attn"], "bare-flash-attention"),
        ([*RPC, "-fa", "--metrics"], "bare-flash-attention"),
        ([*RPC, "-fa", "off", "--cache-type-v", "q8_0"], "quantised-v-without-flash-attention"),
        ([*RPC, "--cache-type-k", "q8_0"], "unequal-cache-types"),
        ([*RPC, "--cache-type-k", "q5_1", "--cache-type-v", "q5_1"], "cache-type-without-kernel"),
        (["--rpc", "a:1", "--cache-ram", "0"], "no-device-list"),
        (["--device", "RPC0", "--rpc", "a:1", "--cache-ram", "0"], "device-before-rpc"),
        ([*RPC, "--tensor-split", "1,2,3"], "split-and-devices-differ"),
        ([*RPC, "--ctx-size", "8192", "--parallel", "4"], "slots-divide-context"),
        (["--rpc", "a:1", "--device", "RPC0"], "prompt-cache-with-rpc"),
        ([*RPC, "--cache-ram", "100"], "prompt-cache-with-rpc"),
        ([*RPC, "--metrics", "yes", "please"], "stray-word"),
    ],
)
def test_each_trap_is_found(arguments: list[str], rule: str) -> None:
    assert rule in [f.rule for f in flag_guard.findings(arguments, NEW, has_cuda=True, wanted_context=8192)]


def test_the_nearest_flag_is_named() -> None:
    with pytest.raises(InvalidInputError, match=r"write --flash-attn, the nearest"):
        flag_guard.require_clean(flag_guard.findings(["--flash-atn", "on"], NEW), "llama-server")


def test_one_error_names_every_finding() -> None:
    with pytest.raises(InvalidInputError) as caught:
        flag_guard.require_clean(flag_guard.findings(["--nonsense", "-fa"], NEW), "llama-server")
    assert "unknown-flag" in str(caught.value)
    assert "bare-flash-attention" in str(caught.value)


def test_a_worker_needs_an_address_and_no_name() -> None:
    accepted = ["-H", "-p", "-t", "-c", "-d"]
    good = engine_settings.worker_arguments("10.100.0.32", 50052, 4, True)
    assert good == ["-H", "10.100.0.32", "-p", "50052", "-t", "4", "-c"]
    assert flag_guard.worker_findings(good, accepted) == []
    bad = engine_settings.worker_arguments("vllm-node2", 50052, 4, False)
    assert [f.rule for f in flag_guard.worker_findings(bad, accepted)] == ["worker-host-not-ipv4"]


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
def test_settings_that_cannot_be_meant(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        engine_settings.merged(settings)


def test_a_bare_on_of_yaml_is_the_word() -> None:
    assert engine_settings.merged({"flash_attention": True})["flash_attention"] == "on"


def test_later_settings_win() -> None:
    assert engine_settings.merged({"context": 1, "slots": 2}, {"context": 3})["context"] == 3


def test_an_unknown_profile_is_named() -> None:
    with pytest.raises(InvalidInputError, match="a profile among a, b, found 'c'"):
        engine_settings.profile_named({"b": {}, "a": {}}, "c")
