# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that the gateway reads while it runs."""

from __future__ import annotations

import json
from pathlib import Path

from tests.unit.agent.gateway.running_gateway import Running, code, serve, settings_data


def test_engine_gets_the_key_of_its_own_tier(tmp_path: Path) -> None:
    (tmp_path / "other-key").write_text("other-key\nspare\n", encoding="utf-8")
    tiers = [
        {**tier, "engine_key": f"{tmp_path}/{'other-key' if tier['name'] == 'reasoning' else 'engine-key'}"}
        for tier in settings_data(tmp_path)["tiers"]
    ]

    async def check(made: Running) -> None:
        where = f"127.0.0.1:{made.engine.port}"
        assert made.gateway.state.engine_key(where) == "engine-key"
        made.report(host="127.0.0.2")
        # Its last responses end with the key of the engine that it was.
        assert made.gateway.state.engine_key(where) == "engine-key"
        assert made.gateway.state.engine_key("127.0.0.1:1") == ""
        assert [file.value for file in made.gateway.state._key_files.values()] == ["engine-key", "other-key"]

    serve(tmp_path, check, tiers=tiers)


def test_site_without_a_registry_reports_that_the_manager_is_silent(tmp_path: Path) -> None:
    async def check(made: Running) -> None:
        (tmp_path / "tiers.json").write_text(json.dumps({"schema": 1, "written": 5, "tiers": {}}), encoding="utf-8")
        made.gateway.state.refresh(at_once=True)
        assert await code(made.post()) == (503, "tier_unavailable")
        assert made.gateway.state.is_silent

    serve(tmp_path, check, registry="")
