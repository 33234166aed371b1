# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the setting C(speculation), and write it as flags of a release.

The defaults are those of the engine (common/common.h of 0c1e57098). Each number that determines memory is written, so
that the plan and the engine use the same one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import InvalidInputError
from ...values import finite
from ..device_order import PlacedDevice
from ..flags.values import CACHE_TYPES

SIMPLE, MTP = "draft-simple", "draft-mtp"
#: Types that take the settings of a draft.
DRAFTS = (SIMPLE, MTP)
MOD = "ngram-mod"
CACHE = "ngram-cache"
#: Types that look up an n-gram of one size, and propose what followed it.
LOOKUPS = ("ngram-simple", "ngram-map-k", "ngram-map-k4v")
#: Types of the engine whose memory is planned.
TYPES = (SIMPLE, MTP, *LOOKUPS, MOD, CACHE)
#: Types of the engine whose memory was not measured.
UNPLANNED = ("draft-eagle3", "draft-dflash", "draft-dspark")
#: The device of a draft on the head's processor.
PROCESSOR = "none"
#: Tokens that ngram-cache proposes at most (common_speculative_n_max).
CACHE_TOKENS = 8
#: More tokens are never accepted in a row, and each is a row of logits.
MOST_TOKENS = 1024
NEEDED_RELEASE = "0c1e57098"


@dataclass(frozen=True)
class Key:
    """A key of the setting.

    :param flags: the flags that write it, by type; a single one for all its types.
    :param types: types that read it.
    :param default: the engine's default. A float takes any number, an int only whole ones.
    :param least: the least number.
    :param most: the largest number.
    """

    name: str
    flags: Mapping[str, str]
    types: tuple[str, ...]
    default: Any
    least: float = 0
    most: float = MOST_TOKENS


def _lookup_flags(part: str) -> dict[str, str]:
    return {kind: f"--spec-{kind}-{part}" for kind in LOOKUPS}


#: Keys with a number, in the order of the flags.
NUMBERS: tuple[Key, ...] = (
    Key("n_max", {"": "--spec-draft-n-max"}, DRAFTS, 3, 1),
    Key("n_min", {"": "--spec-draft-n-min"}, DRAFTS, 0),
    Key("p_min", {"": "--spec-draft-p-min"}, DRAFTS, 0.0, 0, 1),
    Key("ngram_match", {"": "--spec-ngram-mod-n-match"}, (MOD,), 24, 1),
    Key("ngram_min", {"": "--spec-ngram-mod-n-min"}, (MOD,), 48, 1),
    Key("ngram_max", {"": "--spec-ngram-mod-n-max"}, (MOD,), 64, 1),
    Key("ngram_size_n", _lookup_flags("size-n"), LOOKUPS, 12, 1),
    Key("ngram_size_m", _lookup_flags("size-m"), LOOKUPS, 48, 1),
    Key("ngram_min_hits", _lookup_flags("min-hits"), LOOKUPS, 1, 1),
)
#: Types of the draft's cache, with their flags.
_CACHES = {"cache_type_k": "--spec-draft-type-k", "cache_type_v": "--spec-draft-type-v"}
_TEXTS = ("file", "device", *_CACHES)
#: All keys of the setting.
KEYS = ("types", *_TEXTS, *(key.name for key in NUMBERS))


def _listed_types(given: Any) -> list[str]:
    listed = [given] if isinstance(given, str) else given
    if not isinstance(listed, (list, tuple)) or not listed:
        raise InvalidInputError("types of speculation as a list", repr(given), f"write some of {', '.join(TYPES)}")
    for kind in listed:
        if kind in UNPLANNED:
            raise InvalidInputError(
                f"a type of speculation whose memory is planned ({', '.join(TYPES)})",
                str(kind),
                "choose another type: what this one allocates was not measured",
            )
        if kind not in TYPES:
            raise InvalidInputError(
                f"types of speculation among {', '.join(TYPES)}", repr(kind), "correct it, or remove speculation"
            )
    if len(set(listed)) != len(listed) or len(set(listed) & set(DRAFTS)) > 1:
        raise InvalidInputError(
            f"different types of speculation, one of {' and '.join(DRAFTS)} at most",
            ", ".join(map(str, listed)),
            "remove one of them",
        )
    return [str(kind) for kind in listed]


def _file(given: Any, types: Sequence[str]) -> str:
    if SIMPLE not in types:
        if given:
            raise InvalidInputError(
                f"no file of a draft with the types {', '.join(types)}",
                repr(given),
                f"remove file, or add the type {SIMPLE}",
            )
        return ""
    # The engine takes commas and colons for separators.
    if not isinstance(given, str) or not given.startswith("/") or any(mark in given for mark in ",:"):
        raise InvalidInputError(
            f"file of speculation with {SIMPLE} to be an absolute path without commas and colons",
            repr(given),
            "write the path of a draft that herd_models describes",
        )
    return given


def _device(given: Any) -> str:
    if not isinstance(given, str) or "," in given:
        raise InvalidInputError(
            f"one device for the draft, or {PROCESSOR} for the head's processor",
            repr(given),
            "name one device, because a draft over several workers costs round trips for every token",
        )
    return given


def _cache_type(name: str, given: Any) -> str:
    if given not in CACHE_TYPES:
        raise InvalidInputError(
            f"{name} of speculation among {', '.join(CACHE_TYPES)}", repr(given), "choose one of them"
        )
    return str(given)


def _number(key: Key, given: Any) -> float | int:
    is_whole = isinstance(key.default, int)
    value = finite(given, key.least, key.most)
    if value is None or isinstance(given, (bool, str)) or (is_whole and not isinstance(given, int)):
        kind = "whole number" if is_whole else "number"
        raise InvalidInputError(
            f"{key.name} of speculation to be a {kind} from {key.least:g} to {key.most:g}", repr(given), "correct it"
        )
    return int(given) if is_whole else float(given)


def _require_order(found: Mapping[str, Any]) -> None:
    for least, most in (("n_min", "n_max"), ("ngram_min", "ngram_max")):
        if least in found and found[least] > found[most]:
            raise InvalidInputError(
                f"{least} of speculation to be at most {most}, which is {found[most]}", str(found[least]), "lower it"
            )


def checked(given: Any) -> dict[str, Any] | None:
    """Check the setting, and add the defaults of its types. None is no speculation."""
    if not given:
        return None
    if not isinstance(given, Mapping):
        raise InvalidInputError("speculation as a mapping", repr(given), f"write keys among {', '.join(KEYS)}")
    unknown = sorted(set(map(str, given)) - set(KEYS))
    if unknown:
        raise InvalidInputError(f"keys of speculation among {', '.join(KEYS)}", unknown[0], "correct its name")
    types = _listed_types(given.get("types"))
    found: dict[str, Any] = {"types": types}
    file = _file(given.get("file"), types)
    if SIMPLE in types:
        found.update(file=file, device=_device(given.get("device") or ""))
    if set(types) & set(DRAFTS):
        found.update({name: _cache_type(name, given.get(name) or "f16") for name in _CACHES})
    for key in NUMBERS:
        if set(types) & set(key.types):
            found[key.name] = _number(key, given.get(key.name, key.default))
    unread = [str(name) for name in given if name not in found and given[name] not in (None, "")]
    if unread:
        raise InvalidInputError(
            f"keys of speculation that the types {', '.join(types)} read ({', '.join(found)})",
            unread[0],
            "remove it, or add the type that reads it",
        )
    _require_order(found)
    return found


def has_own_draft(speculation: Mapping[str, Any] | None) -> bool:
    """Return whether a second model drafts."""
    return bool(speculation) and SIMPLE in (speculation or {})["types"]


def has_next_tokens(speculation: Mapping[str, Any] | None) -> bool:
    """Return whether the model's own blocks for next tokens draft."""
    return bool(speculation) and MTP in (speculation or {})["types"]


def most_tokens(speculation: Mapping[str, Any] | None) -> int:
    """Return the most tokens that a slot verifies at once. Each is a further row of logits."""
    if not speculation:
        return 0
    of_type = {
        **dict.fromkeys(DRAFTS, speculation.get("n_max", 0)),
        **dict.fromkeys(LOOKUPS, speculation.get("ngram_size_m", 0)),
        MOD: speculation.get("ngram_max", 0),
        CACHE: CACHE_TOKENS,
    }
    return max(int(of_type[kind]) for kind in speculation["types"])


def rollbacks(speculation: Mapping[str, Any] | None) -> int:
    """Return the further recurrent states of a slot, to which the engine can go back (need_n_rs_seq)."""
    return int((speculation or {})["n_max"]) if has_next_tokens(speculation) else 0


def draft_device(devices: Sequence[PlacedDevice], wanted: str = "") -> str:
    """Return the device of the draft: the wanted one, or the head's last GPU, or none for its processor.

    The engine's own default spreads a draft over all workers.
    """
    if not wanted:
        return PROCESSOR if devices[-1].endpoint else devices[-1].name
    names = [device.name for device in devices]
    if wanted != PROCESSOR and wanted not in names:
        raise InvalidInputError(
            f"the draft's device among {', '.join(names)} and {PROCESSOR}", repr(wanted), "choose one of them"
        )
    return wanted


def _flag(flag: str, accepted: Collection[str], what: str) -> str:
    if flag not in accepted:
        raise InvalidInputError(
            f"a release that knows {what} ({flag})",
            "a release without it",
            f"remove it from the settings, or use {NEEDED_RELEASE}",
        )
    return flag


def arguments(speculation: Mapping[str, Any] | None, accepted: Collection[str], device: str) -> list[str]:
    """Build the flags of speculation.

    :param accepted: every flag that the build accepts.
    :param device: the device of the draft; empty for a router, which takes none.
    """
    if not speculation:
        return []
    types = speculation["types"]
    argv = [_flag("--spec-type", accepted, "speculation of planned memory"), ",".join(types)]
    if has_own_draft(speculation):
        if not device:
            raise InvalidInputError(
                "no draft for a model of a router", speculation["file"], f"remove the type {SIMPLE} from speculation"
            )
        argv += [_flag("--spec-draft-model", accepted, "a draft"), speculation["file"]]
        argv += [_flag("--spec-draft-device", accepted, "the draft's device"), device]
    for name, flag in _CACHES.items():
        if name in speculation:
            argv += [_flag(flag, accepted, f"{name} of speculation"), speculation[name]]
    for key in NUMBERS:
        if key.name in speculation:
            flags = [key.flags[kind] for kind in types if kind in key.flags] or list(key.flags.values())
            for flag in flags:
                argv += [_flag(flag, accepted, f"{key.name} of speculation"), f"{speculation[key.name]:g}"]
    return argv


def unknown_settings(accepted: Collection[str]) -> list[str]:
    """List the keys of the setting that a release does not know, for the pages of the reference."""
    flags = {
        "types": ("--spec-type",), "file": ("--spec-draft-model",), "device": ("--spec-draft-device",),
        **{name: (flag,) for name, flag in _CACHES.items()},
        **{key.name: tuple(key.flags.values()) for key in NUMBERS},
    }  # fmt: skip
    return [name for name, needed in flags.items() if not set(needed) & set(accepted)]
