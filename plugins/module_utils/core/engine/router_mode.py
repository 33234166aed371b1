# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""llama-server in router mode: several models behind one port, each in a process that starts on demand.

Every model is a section of a preset file (common/preset.cpp). The engine gets no directory, because it would offer all
its files, even those that do not fit. The router's own command line overrides every preset, so it holds only arguments
of the router.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import InvalidInputError
from . import arguments as engine_arguments
from .command_line import SWITCHES, CommandLine
from .flags import guard as flag_guard
from .flags.attention_kernels import AttentionShape
from .flags.subject import PRESET, ROUTER, EngineBuild, Finding, Subject

#: Keys that are valid in a preset only (common_params_add_preset_options).
PRESET_KEYS = frozenset({"--load-on-startup", "--stop-timeout"})
#: Section names that the engine reserves.
RESERVED_IDS = ("default",)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+:/-]{0,127}")
#: Files that accompany a model and are no models themselves (common/preset.cpp).
_COMPANIONS = re.compile(r"mmproj|^(mtp|dspark|dflash)-")
#: Address without a listener (the discard port), so that a download requested by a client fails at once.
NOWHERE = "http://127.0.0.1:9/"


@dataclass(frozen=True)
class Offer:
    """A model that the router offers.

    :param id: model id for clients.
    :param path: its file, or the first shard.
    :param settings: merged settings (engine.arguments).
    :param aliases: further model ids for clients.
    :param sleep_s: idle seconds after which it releases its memory until the next request; 0 is never.
    :param stop_s: seconds before its process is killed at a stop.
    :param devices: names of its devices; empty leaves the choice to the engine.
    :param split: shares of several devices.
    :param attention: known shapes of its attention.
    """

    id: str
    path: str
    settings: Mapping[str, Any]
    aliases: tuple[str, ...] = ()
    sleep_s: int = 0
    stop_s: int = 10
    at_start: bool = False
    devices: tuple[str, ...] = ()
    split: tuple[int, ...] = ()
    attention: tuple[AttentionShape, ...] = ()


def models_among(files: Collection[str]) -> list[str]:
    """Select the models among a folder's files: whole files and first shards, no hidden files, parts or companions.

    :param files: paths below the folder.
    """
    found = []
    for file in sorted(files):
        name = file.rsplit("/", 1)[-1]
        shard = re.search(r"-([0-9]{5})-of-[0-9]{5}\.gguf$", name)
        is_hidden = any(part.startswith(".") for part in file.split("/"))
        is_model = name.endswith(".gguf") and not is_hidden and not _COMPANIONS.search(name)
        if is_model and (not shard or shard[1] == "00001"):
            found.append(file)
    return found


def is_id(name: str) -> bool:
    """Return whether the engine accepts a model id."""
    return bool(_ID.fullmatch(name)) and name not in RESERVED_IDS


def require_distinct(offers: Sequence[Offer]) -> None:
    """Reject ids and aliases that are invalid or not unique. The engine would not start with them."""
    if not offers:
        raise InvalidInputError(
            "at least one model that the router can offer",
            "none",
            "name models in fast_router_models, or put a model's file into fast_router_directory",
        )
    owners: dict[str, str] = {}
    for offer in offers:
        for name in (offer.id, *offer.aliases):
            pattern = _ID if name == offer.id else _ALIAS
            if not pattern.fullmatch(name) or name in RESERVED_IDS:
                raise InvalidInputError(
                    "ids and aliases of models of letters, digits, dots, hyphens, plus signs and underscores (aliases "
                    "also colons and slashes), none of them 'default'",
                    repr(name),
                    "rename the file or the alias",
                )
            if name in owners:
                raise InvalidInputError(
                    "ids and aliases that each name one model",
                    f"{name} for {owners[name]} and {offer.id}" if owners[name] != offer.id else f"{name} twice",
                    "change one of them",
                )
            owners[name] = offer.id


def preset_words(offer: Offer, accepted: Collection[str]) -> list[str]:
    """Build the words of a command line that equal a preset."""
    words = ["--model", offer.path]
    if offer.aliases:
        words += ["--alias", ",".join(offer.aliases)]
    if offer.devices:
        words += ["--device", ",".join(offer.devices)]
    if len(offer.split) > 1:
        words += ["--tensor-split", ",".join(str(share) for share in offer.split)]
    # The router overrides the time-out of a model's process.
    first = offer.devices[0] if offer.devices else ""
    arguments_of_model = engine_arguments.model_arguments(offer.settings, accepted, first)
    at = arguments_of_model.index("--timeout")
    words += arguments_of_model[:at] + arguments_of_model[at + 2 :]
    if offer.sleep_s:
        words += ["--sleep-idle-seconds", str(offer.sleep_s)]
    if offer.at_start:
        words += ["--load-on-startup", "true"]
    return [*words, "--stop-timeout", str(offer.stop_s)]


def _lines(words: Sequence[str]) -> list[str]:
    lines = []
    for argument in CommandLine(words).arguments:
        value = "true" if argument.value is None and argument.name in SWITCHES else argument.value
        lines.append(f"{argument.flag.lstrip('-')} = {value or ''}".rstrip())
    return lines


def presets(offers: Sequence[Offer], accepted: Collection[str]) -> str:
    """Compose the text of the preset file."""
    require_distinct(offers)
    sections = ["\n".join([f"[{offer.id}]", *_lines(preset_words(offer, accepted))]) for offer in offers]
    # No version at the top: releases without --load-mode would offer it as a model named default.
    return "# Written by herd.inference. Changes made here are lost.\n" + "\n\n".join(sections) + "\n"


def arguments(
    preset_file: str,
    models_max: int,
    listen: tuple[str, int],
    api_key_file: str,
    timeout_s: int,
    tls: tuple[str, str] = ("", ""),
) -> list[str]:
    """Build the router's own arguments.

    :param listen: address and port of the API.
    :param tls: files of its certificate and its key; empty without TLS. Processes of models never use TLS, because only
        the router sends requests to them.
    """
    if models_max < 1:
        raise InvalidInputError(
            "at least one model in memory", f"{models_max}", "0 would be as many as are asked for, which no plan holds"
        )
    return [
        *("--models-preset", preset_file, "--models-max", str(models_max)),
        *("--host", listen[0], "--port", str(listen[1]), "--api-key-file", api_key_file),
        *("--timeout", str(timeout_s)),
        *(("--ssl-cert-file", tls[0], "--ssl-key-file", tls[1]) if any(tls) else ()),
    ]  # fmt: skip


def environment(api_key_file: str, folder: str = "/nonexistent") -> dict[str, str]:
    """Return the variables of the router, which processes of models inherit.

    :param folder: an empty folder for models that the engine would download itself.
    """
    return {
        # A model's process listens on the loopback interface. The router does not pass the key to it (0c1e57098), so
        # without this variable every user of the host could send requests to it.
        "LLAMA_ARG_API_KEY_FILE": api_key_file,
        # A client may request a download (POST /models), and the engine would offer the downloaded model.
        "MODEL_ENDPOINT": NOWHERE,
        "HF_HUB_CACHE": folder,
        "LLAMA_CACHE": folder,
    }


def findings(
    offers: Sequence[Offer],
    argv: Sequence[str],
    engine: EngineBuild,
    accepted_rules: Collection[str] = (),
    capabilities: tuple[str, ...] = (),
    given_environment: Mapping[str, str] | None = None,
) -> list[Finding]:
    """Run the flag guard on the router's command line and on every preset.

    :param argv: the router's arguments, without the program.
    :param given_environment: variables of the operator beside those of environment().
    """
    line = CommandLine(argv)
    own = Subject(ROUTER, line, engine, capabilities, environment=given_environment)
    found = flag_guard.inspect(own, accepted_rules)
    with_keys = replace(engine, accepted=engine.accepted | PRESET_KEYS)
    for offer in offers:
        words = CommandLine(preset_words(offer, engine.accepted))
        subject = Subject(
            PRESET,
            words,
            with_keys,
            capabilities,
            int(offer.settings["context"]),
            above=line,
            attention=offer.attention,
        )
        for finding in flag_guard.inspect(subject, accepted_rules):
            found.append(replace(finding, found=f"{finding.found} in the preset of {offer.id}"))
    return found


@dataclass(frozen=True)
class RouterModelState:
    """A model in the answer of a running router.

    :param state: C(unloaded), C(loading), C(loaded) or C(sleeping), as the engine names them.
    :param exit_code: exit code of its last process, if that failed.
    """

    id: str
    aliases: tuple[str, ...]
    state: str
    exit_code: int | None

    @property
    def is_in_memory(self) -> bool:
        return self.state in ("loading", "loaded", "sleeping")


def states(answer: Mapping[str, Any]) -> list[RouterModelState]:
    """Parse a router's answer to GET /models."""
    found = []
    for model in answer["data"]:
        status = model.get("status") or {}
        code = int(status.get("exit_code", 0)) if status.get("failed") else None
        found.append(
            RouterModelState(
                str(model["id"]), tuple(model.get("aliases") or ()), str(status.get("value", "unknown")), code
            )
        )
    return found


def model_to_probe(found: Sequence[RouterModelState], offered: Sequence[str]) -> str:
    """Choose the model for a test request: one in memory, so that no other model is unloaded.

    If none is in memory, prefer a model whose last process did not fail.
    """
    order = ("loaded", "sleeping", "loading")
    there = sorted((s for s in found if s.is_in_memory and s.id in offered), key=lambda s: order.index(s.state))
    failed = {s.id for s in found if s.exit_code}
    return there[0].id if there else min(offered, key=lambda name: name in failed, default="")
