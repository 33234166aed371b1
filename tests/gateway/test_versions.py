# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nginx as old as EL8's first one understands what the role writes.

That one, 1.14, is not to be had everywhere. nginx's own table of directives of its days is: crossplane 0.4.5, which its
makers published in the summer of 1.14, knows each directive with the places and the number of arguments it may have.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import crossplane
import pytest

from tests.gateway.harness import MAIN, nginx_program, render

TIERS = [
    {"name": "fast", "kind": "router", "port": 8080, "models": []},
    {"name": "reasoning", "kind": "distributed", "port": 8081, "models": []},
]


SITES: list[list[str]] = [[], ["https://chat.example.org"], ["*"]]


def written(root: Path, tls: bool = False, origins: Sequence[str] = ()) -> Path:
    """Everything that a host's nginx would read."""
    etc = root / "etc"
    given = {"gateway_nginx_root": str(etc), "gateway_addresses": ["10.0.0.5"], "gateway_tls": tls}
    given["gateway_cors_origins"] = origins
    names = {"ansible_host": "10.0.0.5", "inventory_hostname": "slurm-ctl"}
    files = render({**given, **names, "_gateway_tiers": TIERS})
    files["nginx.conf"] = MAIN.format(root=root, user="")
    for name, text in files.items():
        (etc / name).parent.mkdir(parents=True, exist_ok=True)
        # The lines of a map are no directives, for which that table takes them.
        (etc / name).write_text(re.sub(r"(?m)^(map [^{]+\{).*(?:\n .*)*\n\}", r"\1}", text), encoding="utf-8")
    return etc / "nginx.conf"


def complaints(configuration: Path) -> list[str]:
    """What nginx of that time would not take."""
    found: dict[str, Any] = crossplane.parse(str(configuration), strict=True)
    assert {Path(each["file"]).name for each in found["config"]} == {"nginx.conf", "herd.conf"}
    return [str(each["error"]) for each in found["errors"]]


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("origins", SITES)
def test_nginx_of_el8_supports_all_directives(tmp_path: Path, tls: bool, origins: list[str]) -> None:
    assert complaints(written(tmp_path, tls, origins)) == []


@pytest.mark.parametrize("origins", SITES)
def test_nginx_of_this_machine_accepts_the_site(tmp_path: Path, origins: list[str]) -> None:
    given = {
        "gateway_nginx_root": str(tmp_path),
        "gateway_addresses": ["127.0.0.1"],
        "gateway_cors_origins": origins,
        "gateway_socket": f"{tmp_path}/gateway.sock",
        "gateway_nginx_log": f"{tmp_path}/nginx.log",
        "_gateway_tiers": TIERS,
    }
    (tmp_path / "etc" / "conf.d").mkdir(parents=True)
    (tmp_path / "etc" / "conf.d" / "herd.conf").write_text(render(given)["conf.d/herd.conf"], encoding="utf-8")
    (tmp_path / "etc" / "nginx.conf").write_text(MAIN.format(root=tmp_path, user=""), encoding="utf-8")
    command = [nginx_program(), "-q", "-t", "-p", str(tmp_path), "-c", str(tmp_path / "etc" / "nginx.conf")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_newer_directives_are_detected(tmp_path: Path) -> None:
    """For newer ones there are directives that this one does not know there, or not at all."""
    configuration = written(tmp_path)
    site = tmp_path / "etc" / "conf.d" / "herd.conf"
    site.write_text(site.read_text(encoding="utf-8") + "keepalive_min_timeout 75s;\n", encoding="utf-8")
    assert any('unknown directive "keepalive_min_timeout"' in each for each in complaints(configuration))
