# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Quantiles of a histogram."""

from __future__ import annotations

import math

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.gateway.quantile import quantile

BUCKETS = [(0.1, 0.0), (1.0, 10.0), (2.0, 10.0), (math.inf, 20.0)]


@pytest.mark.parametrize(("share", "wanted"), [(0.25, 0.55), (0.5, 1.0), (0.95, 2.0)])
def test_quantile(share: float, wanted: float) -> None:
    assert quantile(BUCKETS, share) == wanted


def test_nothing_has_no_quantile() -> None:
    assert quantile([], 0.5) is None
    assert quantile([(0.1, 0.0), (math.inf, 0.0)], 0.5) is None
