# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import math
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core import values
from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError


@pytest.mark.parametrize("value", [None, True, "1", [1], math.nan, math.inf, -math.inf, -1, 10**400, 2e15])
def test_finite_returns_none_for_a_value_outside_the_range(value: Any) -> None:
    assert values.finite(value) is None


@pytest.mark.parametrize("value", [0, 1, 0.5, 10**15])
def test_finite_returns_a_number_within_the_range(value: float) -> None:
    assert values.finite(value) == value


def test_number_error_names_key_range_value_and_remedy() -> None:
    with pytest.raises(InvalidInputError) as raised:
        values.number({"percent": 101}, "percent", 0, 100, "correct it")
    assert str(raised.value) == "expected percent from 0 to 100, found 101: correct it."


def test_number_error_shortens_a_long_value() -> None:
    with pytest.raises(InvalidInputError) as raised:
        values.number({"percent": "9" * 200}, "percent", 0, 100, "correct it")
    assert len(raised.value.found) == 78


@pytest.mark.parametrize("value", [1.0, True, None, 0, 65536])
def test_whole_refuses_all_but_whole_numbers_of_the_range(value: Any) -> None:
    with pytest.raises(InvalidInputError):
        values.whole({"port": value}, "port", 1, 65535, "correct it")


@pytest.mark.parametrize("value", [None, 1, "a\nb", "\x00", "x" * 9])
def test_text_refuses_all_but_short_lines(value: Any) -> None:
    with pytest.raises(InvalidInputError):
        values.text({"name": value}, "name", 8, "correct it")


def test_values_within_their_ranges_are_returned() -> None:
    data = {"percent": 99.5, "port": 8080, "name": "fast"}
    assert values.number(data, "percent", 0, 100, "") == 99.5
    assert values.whole(data, "port", 1, 65535, "") == 8080
    assert values.text(data, "name", 8, "") == "fast"
