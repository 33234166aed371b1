# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The setting speculation: its checks, its flags, and what a release does not know."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine import arguments as engine_arguments
from ansible_collections.herd.inference.plugins.module_utils.core.engine.speculation import settings as speculation
from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from tests.unit.core.engine.flags.flag_lines import DEVICES, NEW, OLD

DRAFT = {"types": ["draft-simple"], "file": "/opt/models/d2.gguf"}


def words(given: dict[str, Any] | None, accepted: frozenset[str] = NEW, device: str = "none") -> list[str]:
    return speculation.arguments(speculation.checked(given), accepted, device)


def test_nothing_is_written_without_speculation() -> None:
    assert speculation.checked(None) is None
    assert words({}) == []
    assert speculation.most_tokens(None) == 0


def test_draft_is_written_with_all_numbers_of_its_memory() -> None:
    assert words({**DRAFT, "n_max": 4, "p_min": 0.75}) == [
        *("--spec-type", "draft-simple", "--spec-draft-model", "/opt/models/d2.gguf", "--spec-draft-device", "none"),
        *("--spec-draft-type-k", "f16", "--spec-draft-type-v", "f16"),
        *("--spec-draft-n-max", "4", "--spec-draft-n-min", "0", "--spec-draft-p-min", "0.75"),
    ]


def test_types_are_written_in_their_order_with_their_own_flags() -> None:
    found = words({"types": ["ngram-simple", "ngram-map-k4v", "draft-mtp"], "ngram_size_m": 16})
    assert found[:2] == ["--spec-type", "ngram-simple,ngram-map-k4v,draft-mtp"]
    for flag in ("--spec-ngram-simple-size-m", "--spec-ngram-map-k4v-size-m"):
        assert found[found.index(flag) + 1] == "16"
    assert "--spec-ngram-map-k-size-m" not in found and "--spec-draft-model" not in found
    assert {word for word in found if word.startswith("--")} <= NEW


@pytest.mark.parametrize("kind", speculation.TYPES)
def test_every_type_is_written_with_flags_of_the_release(kind: str) -> None:
    given = {"types": kind, **({"file": "/d.gguf"} if kind == "draft-simple" else {})}
    assert {word for word in words(given) if word.startswith("--")} <= NEW
    checked = speculation.checked(given)
    # Merged settings are merged again for a model of a router.
    assert speculation.checked(checked) == checked


@pytest.mark.parametrize(
    ("given", "tokens"),
    [
        (DRAFT, 3),
        ({**DRAFT, "n_max": 8}, 8),
        ({"types": ["ngram-simple"]}, 48),
        ({"types": ["ngram-map-k", "draft-mtp"], "ngram_size_m": 2, "n_max": 5}, 5),
        ({"types": ["ngram-mod"]}, 64),
        ({"types": ["ngram-cache"]}, 8),
        ({"types": ["ngram-cache", "ngram-mod"], "ngram_min": 2, "ngram_max": 4}, 8),
    ],
)
def test_rows_follow_the_longest_type(given: dict[str, Any], tokens: int) -> None:
    assert speculation.most_tokens(speculation.checked(given)) == tokens


def test_draft_is_on_one_device_of_the_head_unless_told() -> None:
    assert speculation.draft_device(DEVICES) == "CUDA0"
    assert speculation.draft_device(DEVICES[:2]) == "none"
    assert speculation.draft_device(DEVICES, "RPC1") == "RPC1"
    assert speculation.draft_device(DEVICES, "none") == "none"
    with pytest.raises(InvalidInputError, match="among RPC0, RPC1, CUDA0 and none"):
        speculation.draft_device(DEVICES, "CPU")


@pytest.mark.parametrize("given", [DRAFT, {"types": ["ngram-mod"]}, {"types": ["draft-mtp"]}])
def test_release_without_the_setting_is_named(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=r"a release that knows .* \(--spec-type\).*use 0c1e57098"):
        words(given, OLD)
    without = NEW - {"--spec-ngram-mod-n-match"}
    if given["types"] == ["ngram-mod"]:
        with pytest.raises(InvalidInputError, match=r"ngram_match of speculation \(--spec-ngram-mod-n-match\)"):
            words(given, without)


def test_unknown_settings_of_each_release() -> None:
    assert speculation.unknown_settings(NEW) == []
    unknown = speculation.unknown_settings(OLD)
    assert unknown[0] == "types" and "ngram_max" in unknown and "n_max" in unknown


def test_router_takes_no_draft() -> None:
    with pytest.raises(InvalidInputError, match="no draft for a model of a router"):
        engine_arguments.model_arguments(engine_arguments.merged({"speculation": DRAFT}), NEW)
    found = engine_arguments.model_arguments(engine_arguments.merged({"speculation": {"types": "ngram-mod"}}), NEW)
    assert found[found.index("--spec-type") + 1] == "ngram-mod"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("ngram-mod", "speculation as a mapping"),
        ({"types": []}, "types of speculation as a list"),
        ({"types": 3}, "types of speculation as a list"),
        ({"file": "/d.gguf"}, "types of speculation as a list"),
        ({"types": ["draft-eagle3"]}, "whose memory is planned"),
        ({"types": ["ngram"]}, "types of speculation among draft-simple"),
        ({"types": ["ngram-mod", "ngram-mod"]}, "different types"),
        ({"types": ["draft-simple", "draft-mtp"], "file": "/d"}, "one of draft-simple and draft-mtp at most"),
        ({"types": ["draft-simple"]}, "file of speculation with draft-simple to be an absolute path"),
        ({"types": ["draft-simple"], "file": "d.gguf"}, "an absolute path"),
        ({"types": ["draft-simple"], "file": "/a,b"}, "without commas"),
        ({"types": ["draft-mtp"], "file": "/d.gguf"}, "no file of a draft with the types draft-mtp"),
        ({**DRAFT, "n_max": 0}, "n_max of speculation to be a whole number from 1 to 1024"),
        ({**DRAFT, "n_max": True}, "n_max of speculation"),
        ({**DRAFT, "n_max": 2.5}, "n_max of speculation"),
        ({**DRAFT, "n_max": 10**30}, "n_max of speculation"),
        ({**DRAFT, "n_max": "3"}, "n_max of speculation"),
        ({**DRAFT, "n_min": 4}, "n_min of speculation to be at most n_max, which is 3"),
        ({**DRAFT, "p_min": 1.5}, "p_min of speculation to be a number from 0 to 1"),
        ({**DRAFT, "p_min": float("nan")}, "p_min of speculation"),
        ({**DRAFT, "device": "RPC0,RPC1"}, "one device for the draft"),
        ({**DRAFT, "cache_type_k": "q9_0"}, "cache_type_k of speculation among f32"),
        ({**DRAFT, "ngram_max": 3}, "keys of speculation that the types draft-simple read"),
        ({"types": ["ngram-mod"], "n_max": 3}, "keys of speculation that the types ngram-mod read"),
        ({"types": ["ngram-mod"], "ngram_max": 8}, "ngram_min of speculation to be at most ngram_max, which is 8"),
        ({**DRAFT, "tokens": 3}, "keys of speculation among types, file"),
    ],
)
def test_wrong_settings_are_one_error(given: Any, says: str) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(says)):
        engine_arguments.merged({"speculation": given})
