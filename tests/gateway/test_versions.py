# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nginx as old as EL8's first one understands what the role writes.

That one, 1.14, is not to be had everywhere. nginx's own table of directives of its days is: crossplane 0.4.5, which its
makers published in the summer of 1.14, knows each directive with the places and the number of arguments it may have.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import crossplane
import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.gateway import nginx_upstreams
from tests.gateway.harness import LIMITS, MAIN, render

ENDPOINTS = {"fast": "10.0.0.42:8080", "reasoning": ""}
TIERS = [
    {"name": "fast", "kind": "router", "port": 8080, "models": []},
    {"name": "reasoning", "kind": "distributed", "port": 8081, "models": []},
]


def written(root: Path, version: str, tls: bool, origins: Sequence[str] = ()) -> Path:
    """Everything that a host's nginx would read."""
    etc = root / "etc"
    given = {"gateway_nginx_root": str(etc), "gateway_addresses": ["10.0.0.5"], "gateway_tls": tls}
    given["gateway_cors_origins"] = origins
    names = {"ansible_host": "10.0.0.5", "inventory_hostname": "slurm-ctl"}
    files = render({**given, **names, "_gateway_limits": LIMITS, "_gateway_tiers": TIERS})
    files["nginx.conf"] = MAIN.format(root=root, user="")
    files["herd/upstreams.conf"] = nginx_upstreams.configuration(ENDPOINTS, nginx_upstreams.may_keep(version))
    files["herd/clients.conf"] = nginx_upstreams.clients_configuration(version)
    files["herd/engine-key.conf"] = nginx_upstreams.key_configuration("a-key-of-the-engines")
    for name, text in files.items():
        (etc / name).parent.mkdir(parents=True, exist_ok=True)
        # The lines of a map are no directives, for which that table takes them.
        (etc / name).write_text(re.sub(r'(?m)^(map [^{]+\{)(?:"[^"]*"|[^}"])*\}', r"\1}", text), encoding="utf-8")
    return etc / "nginx.conf"


def complaints(configuration: Path) -> list[str]:
    """What nginx of that time would not take."""
    found: dict[str, Any] = crossplane.parse(str(configuration), strict=True)
    names = {Path(each["file"]).name for each in found["config"]}
    ours = {
        "herd.conf",
        "locations.conf",
        "taken.conf",
        "cors.conf",
        "upstreams.conf",
        "clients.conf",
        "engine-key.conf",
    }
    assert names == {"nginx.conf", *ours}
    return [str(each["error"]) for each in found["errors"]]


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("origins", [[], ["https://chat.example.org"], ["*"]])
def test_nginx_of_el8_supports_all_directives(tmp_path: Path, tls: bool, origins: list[str]) -> None:
    assert complaints(written(tmp_path, "nginx version: nginx/1.14.1", tls, origins)) == []


def test_newer_directives_are_detected(tmp_path: Path) -> None:
    """For newer ones there are directives that this one does not know there, or not at all."""
    (complaint,) = complaints(written(tmp_path / "1.22", "nginx version: nginx/1.22.1", False))
    assert '"keepalive_timeout" directive is not allowed here' in complaint
    found = complaints(written(tmp_path / "1.28", "nginx version: nginx/1.28.0", False))
    assert any('unknown directive "keepalive_min_timeout"' in each for each in found)
