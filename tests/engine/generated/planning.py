# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan the workers of a measured case."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.herd.inference.plugins.module_utils.core.models.metadata import ModelMetadata
from ansible_collections.herd.inference.plugins.module_utils.core.placement.kv_cache import CacheSettings
from ansible_collections.herd.inference.plugins.module_utils.core.placement.planner import (
    DeviceCapacity,
    PlacementGroup,
    PlacementHost,
    PlacementRequest,
    Planner,
    rules_of,
)
from tests.engine.measure import Case

ROOT = Path(__file__).parents[3]
DATA = ROOT / "tests" / "fixtures" / "placement"
RELEASES = ("0c1e57098", "b7836")


def planner(metadata: ModelMetadata, case: Case) -> Planner:
    """Create the planner for the workers of a case."""
    cache = CacheSettings(
        context=case.context // case.slots,
        slots=case.slots,
        type_k=case.cache_type,
        type_v=case.value_type or case.cache_type,
        ubatch=case.ubatch,
        batch=case.batch,
        unified=case.unified,
    )
    memory = DeviceCapacity(free=1 << 40, total=1 << 40, is_cuda=False)
    workers = tuple(PlacementHost(f"w{number}", (memory,), f"w{number}:1") for number in range(len(case.split)))
    request = PlacementRequest(cache, case.flash_attention != "off")
    return Planner(metadata, request, PlacementGroup(workers, PlacementHost("head", ())), rules_of(case.release))
