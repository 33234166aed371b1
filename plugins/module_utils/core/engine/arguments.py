# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Translate neutral settings into the command-line arguments of a release.

The dialect follows from the flags that the built program accepts, so this file needs no list of versions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..errors import InvalidInputError
from .device_order import PlacedDevice, engine_split

# Defaults of all settings. Profiles and the inventory override them.
DEFAULTS: dict[str, Any] = {
    "context": 4096,
    "slots": 1,
    "threads": None,
    "batch": 2048,
    "ubatch": 512,
    "cache_type_k": "f16",
    "cache_type_v": "f16",
    "flash_attention": "auto",
    "load_mode": "mmap",
    "split_mode": "layer",
    "gpu_layers": 999,
    "cache_ram_mib": 0,
    "metrics": True,
    "timeout_s": 600,
    "extra_arguments": [],
}

# Setting: (value of --load-mode, flags of releases without it)
LOAD_MODES: dict[str, tuple[str, tuple[str, ...]]] = {
    "mmap": ("mmap", ()),
    "read": ("none", ("--no-mmap",)),
    "lock": ("mmap+mlock", ("--mlock",)),
    "lock_read": ("mlock", ("--mlock", "--no-mmap")),
}
_CHOICES = {
    "flash_attention": ("on", "off", "auto"),
    "load_mode": tuple(LOAD_MODES),
    "split_mode": ("layer",),
}
_COUNTS = ("context", "slots", "batch", "ubatch", "gpu_layers", "timeout_s")
# Lowest level at which releases with --load-mode log the placement. Requests stay unlogged.
_PLACEMENT_VERBOSITY = "4"


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge settings over the defaults, later ones winning, and reject invalid ones."""
    settings = dict(DEFAULTS)
    for layer in layers:
        unknown = sorted(set(layer) - set(DEFAULTS))
        if unknown:
            raise InvalidInputError(
                f"settings of the head among {', '.join(DEFAULTS)}",
                unknown[0],
                "correct its name, or write the engine's own flag into extra_arguments",
            )
        settings.update(layer)
    for name, choices in _CHOICES.items():
        # YAML 1.1 reads a bare on or off as a boolean; the operator means the word.
        if isinstance(settings[name], bool):
            settings[name] = "on" if settings[name] else "off"
        if settings[name] not in choices:
            raise InvalidInputError(
                f"{name} to be one of {', '.join(choices)}", repr(settings[name]), "choose one of them"
            )
    for name in _COUNTS:
        if not isinstance(settings[name], int) or isinstance(settings[name], bool) or settings[name] < 1:
            raise InvalidInputError(f"{name} to be a whole number above zero", repr(settings[name]), "correct it")
    settings["extra_arguments"] = [str(argument) for argument in settings["extra_arguments"]]
    return settings


def profile_named(profiles: Mapping[str, Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    """Return a profile; an empty one for an empty name."""
    if not name:
        return {}
    if name not in profiles:
        raise InvalidInputError(
            f"a profile among {', '.join(sorted(profiles))}", repr(name), "choose one, or describe a new one"
        )
    return profiles[name]


def _load_mode(mode: str, accepted: Collection[str]) -> list[str]:
    value, old_flags = LOAD_MODES[mode]
    return ["--load-mode", value] if "--load-mode" in accepted else list(old_flags)


def head_arguments(
    settings: Mapping[str, Any],
    devices: Sequence[PlacedDevice],
    accepted: Collection[str],
    model_path: str,
    alias: str,
    listen: tuple[str, int],
    api_key_file: str,
    tls: tuple[str, str] = ("", ""),
    reuse_port: bool = False,
) -> list[str]:
    """Build llama-server's arguments.

    :param accepted: every flag that this very build accepts, from its manifest.
    :param listen: address and port of the API.
    :param tls: files of its certificate and its key; empty without TLS.
    :param reuse_port: whether to bind with SO_REUSEPORT. Then a port still in TIME_WAIT of a former release can be
        bound, but other processes of the same user can listen there too.
    """
    endpoints = list(dict.fromkeys(device.endpoint for device in devices if device.endpoint))
    argv = ["--model", model_path, "--alias", alias, "--host", listen[0], "--port", str(listen[1])]
    argv += ["--api-key-file", api_key_file]
    if reuse_port and "--reuse-port" in accepted:
        argv += ["--reuse-port"]
    if any(tls):
        argv += ["--ssl-cert-file", tls[0], "--ssl-key-file", tls[1]]
    if endpoints:
        argv += ["--rpc", ",".join(endpoints)]
    # After --rpc, which creates the devices. With the list, a missing worker is an error on every release; without it,
    # some releases run on the remaining devices and report healthy.
    argv += ["--device", ",".join(device.name for device in devices)]
    if len(devices) > 1:
        argv += ["--tensor-split", ",".join(str(share) for share in engine_split(devices))]
    return argv + model_arguments(settings, accepted)


def model_arguments(settings: Mapping[str, Any], accepted: Collection[str]) -> list[str]:
    """Build the arguments that control how a model is loaded and computed."""
    argv = ["--split-mode", str(settings["split_mode"]), "--n-gpu-layers", str(settings["gpu_layers"])]
    # The setting is the context of one slot; the engine divides --ctx-size by its slots.
    argv += ["--ctx-size", str(settings["context"] * settings["slots"]), "--parallel", str(settings["slots"])]
    if settings["threads"]:
        argv += ["--threads", str(settings["threads"])]
    argv += ["--batch-size", str(settings["batch"]), "--ubatch-size", str(settings["ubatch"])]
    argv += ["--cache-type-k", str(settings["cache_type_k"]), "--cache-type-v", str(settings["cache_type_v"])]
    argv += ["--flash-attn", str(settings["flash_attention"])]
    argv += _load_mode(str(settings["load_mode"]), accepted)
    if settings["cache_ram_mib"] is not None and "--cache-ram" in accepted:
        argv += ["--cache-ram", str(settings["cache_ram_mib"])]
    argv += ["--timeout", str(settings["timeout_s"])]
    if settings["metrics"]:
        argv += ["--metrics"]
    if "--fit" in accepted:
        # The placement is planned. An engine that silently shrinks the context would hide a mistake.
        argv += ["--fit", "off"]
    if "--load-mode" in accepted:
        argv += ["--log-verbosity", _PLACEMENT_VERBOSITY]
    return argv + list(settings["extra_arguments"])


def worker_arguments(address: str, port: int, threads: int, has_cache: bool) -> list[str]:
    """Build the RPC worker's arguments. All supported releases have the same short flags."""
    return ["-H", address, "-p", str(port), "-t", str(threads), *(["-c"] if has_cache else [])]
