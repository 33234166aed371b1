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
from .flags import memory_flags
from .speculation import settings as speculation

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
    "unified_cache": False,
    "full_window": False,
    "projector": None,
    "adapters": [],
    "speculation": None,
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
_SWITCHES = ("unified_cache", "full_window")
# Keys of a further file of the model, with the least number of each; None for text.
_PROJECTOR: dict[str, int | None] = {"file": None, "mib": 1, "compute_mib": 1}
_ADAPTER: dict[str, int | None] = {"file": None, "mib": 1}
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
    for name in _SWITCHES:
        if not isinstance(settings[name], bool):
            raise InvalidInputError(f"{name} to be true or false", repr(settings[name]), "choose one of them")
    settings["projector"] = _file_of("projector", settings["projector"], _PROJECTOR)
    settings["speculation"] = speculation.checked(settings["speculation"])
    if not isinstance(settings["adapters"], (list, tuple)):
        raise InvalidInputError("adapters to be a list", repr(settings["adapters"]), "write one item for each adapter")
    settings["adapters"] = [_file_of("an adapter", adapter, _ADAPTER) for adapter in settings["adapters"]]
    settings["extra_arguments"] = [str(argument) for argument in settings["extra_arguments"]]
    memory_flags.require_planned(settings["extra_arguments"])
    return settings


def _file_of(name: str, given: Any, keys: Mapping[str, int | None]) -> dict[str, Any] | None:
    """Check a further file of the model; None for none."""
    if not given:
        return None
    if not isinstance(given, Mapping) or set(given) != set(keys):
        listed = given if not isinstance(given, Mapping) else ", ".join(map(str, given))
        raise InvalidInputError(f"{name} with {', '.join(keys)}", repr(listed), "write exactly these keys")
    for key, least in keys.items():
        value = given[key]
        if least is None:
            # The engine takes commas and colons for separators.
            if not isinstance(value, str) or not value.startswith("/") or any(mark in value for mark in ",:"):
                raise InvalidInputError(
                    f"{key} of {name} to be an absolute path without commas and colons", repr(value), "correct it"
                )
        elif not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InvalidInputError(f"{key} of {name} to be a whole number from {least}", repr(value), "correct it")
    return dict(given)


def require_offload(settings: Mapping[str, Any], layers: int) -> None:
    """Reject a number of offloaded layers that leaves some on the head's processor, which no plan computes."""
    if settings["gpu_layers"] <= layers:
        raise InvalidInputError(
            f"gpu_layers of at least {layers + 1}, for {layers} layers and the output, because plans offload all",
            f"{settings['gpu_layers']}",
            "remove gpu_layers from the settings; a model that does not fit needs another remedy of the plan",
        )


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
    require_offload(settings, sum(device.layers for device in devices))
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
    wanted = (settings["speculation"] or {}).get("device", "")
    return argv + model_arguments(settings, accepted, devices[0].name, speculation.draft_device(devices, wanted))


def _further_files(settings: Mapping[str, Any], accepted: Collection[str], first: str) -> list[str]:
    argv = []
    if settings["projector"]:
        if "--mmproj-device" not in accepted:
            raise InvalidInputError(
                "a release with --mmproj-device, for a projector on the first device",
                "a release without it",
                "remove projector from the settings, or use 0c1e57098",
            )
        argv += ["--mmproj", str(settings["projector"]["file"])]
        argv += ["--mmproj-device", first] if first else []
    if settings["adapters"]:
        argv += ["--lora", ",".join(str(adapter["file"]) for adapter in settings["adapters"])]
    return argv


def model_arguments(
    settings: Mapping[str, Any], accepted: Collection[str], first: str = "", draft_device: str = ""
) -> list[str]:
    """Build the arguments that control how a model is loaded and computed.

    :param first: the first device, which gets the projector; empty leaves it to the engine.
    :param draft_device: the device of a draft; empty for a router, which takes none.
    """
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
    argv += ["--kv-unified"] if settings["unified_cache"] else []
    argv += ["--swa-full"] if settings["full_window"] else []
    argv += _further_files(settings, accepted, first)
    argv += speculation.arguments(settings["speculation"], accepted, draft_device)
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
