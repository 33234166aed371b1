# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/reference/ports.md names the ports of roles and inventories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.scenarios.tables import rows

ROOT = Path(__file__).parents[2]
DEFAULTS = {
    "8080": ("fast_router", "fast_router_port"),
    "50060": ("llama_release", "llama_release_port"),
    "50061": ("node_agent", "node_agent_port"),
    "50062": ("model_store", "model_store_share_port"),
    "50063": ("head_server", "head_server_queue_port"),
    "50064": ("node", "node_bandwidth_port"),
}
FACTS = {"8000": "herd_api_port", "50052": "herd_rpc_port"}


def read(path: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / path).read_text(encoding="utf-8")))


@pytest.mark.parametrize(("port", "where"), DEFAULTS.items())
def test_port_on_the_page_is_the_default_of_its_role(port: str, where: tuple[str, str]) -> None:
    role, variable = where
    assert str(read(f"roles/{role}/defaults/main.yml")[variable]) == port


@pytest.mark.parametrize("site", ["beefcake2", "lab"])
def test_port_on_the_page_is_that_of_the_inventories(site: str) -> None:
    facts = read(f"inventory/{site}/group_vars/all/site.yml")
    assert {str(facts[variable]): variable for variable in FACTS.values()} == FACTS


def test_every_port_of_a_role_is_on_the_page() -> None:
    listed = {row["port"] for row in rows("ports.md")}
    assert listed >= {*DEFAULTS, *FACTS}
    for path in sorted((ROOT / "roles").glob("*/defaults/main.yml")):
        given = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        ports = {str(v) for k, v in given.items() if k.endswith("_port") and str(v).isdigit()}
        assert ports <= listed, path


def test_page_lists_each_port_once() -> None:
    ports = [row["port"] for row in rows("ports.md")]
    assert len(ports) == len(set(ports))
