# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""C(/usage): what a key has used in the present month, for the bearer of that key only."""

from __future__ import annotations

import json
import sqlite3
import time
from typing import Any

from ....core import timefmt
from ....core.errors import HerdError
from ....core.gateway.api_errors import ApiError
from ....core.gateway.rate_limit import RateLimits
from ....core.gateway.usage import counts, report
from ....core.gateway.usage.budget import MonthBudget
from ....core.gateway.usage.report import Period
from ....core.gateway.user_keys import UserKey
from ..exchange import Exchange
from .recorder import UsageRecorder

PATH = "/usage"
_HEADERS = {"Content-Type": "application/json", "Cache-Control": "no-store"}


async def respond(exchange: Exchange, usage: UsageRecorder, key: UserKey, limits: RateLimits, retry_after: int) -> None:
    """Answer with the usage of a key by day and by model, and with what its budget has left.

    :raises ApiError: if the database cannot be read.
    """
    wall = time.time()
    covered = Period(counts.month_begin(wall), counts.month_end(wall))
    try:
        rows = await usage.rows(covered, key.id)
    except (OSError, sqlite3.Error, HerdError) as error:
        message = "The gateway cannot read its database of usage. Its operator finds the reason in its journal."
        raise ApiError(503, message, "gateway_unavailable", retry_after=retry_after) from error
    groups = {name: report.as_data(report.grouped(rows, name), name, covered) for name in ("day", "model")}
    budget = MonthBudget(limits.tokens_per_month, usage.month_tokens(key.id, wall), wall)
    found: dict[str, Any] = {
        "schema": report.SCHEMA,
        "generated": timefmt.iso(wall),
        "key": key.id,
        "user": key.user,
        "project": key.project,
        "month": counts.month_of(wall),
        "total": groups["day"]["total"],
        "budget": budget.as_data() if limits.tokens_per_month else None,
        "days": groups["day"]["rows"],
        "models": groups["model"]["rows"],
    }
    await exchange.respond(200, json.dumps(found).encode(), _HEADERS)
