# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A group of a head and two workers that has run for a while."""

from __future__ import annotations

import pytest

from tests.unit.core.supervision.group import Group


@pytest.fixture
def group() -> Group:
    found = Group()
    found.run(5)
    assert found.said() == ["the head runs as process 77", "the head serves"]
    assert found.supervisor.state == "watching"
    return found
