# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/remove.yml finds everything that the role gateway writes, also on a site without Slurm."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.herd.inference.plugins.module_utils.core.operations import uninstall
from ansible_collections.herd.inference.plugins.module_utils.ports.operations import uninstall as rests

ROOT = Path(__file__).parents[3]
ROLE = ROOT / "roles" / "gateway"


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


VALUES = {**load(ROLE / "defaults" / "main.yml"), **load(ROLE / "vars" / "main.yml")}


def resolved(text: str) -> str:
    """Replace the names of variables by their values."""
    for name, value in VALUES.items():
        text = text.replace("{{ " + name + " }}", str(value))
    return text


def steps(tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for task in tasks:
        yield task
        yield from steps(task.get("block", []))


def written() -> list[tuple[str, str]]:
    """List path and template of each file and folder that the role writes; the template is empty without one."""
    found = []
    for path in sorted((ROLE / "tasks").glob("*.yml")):
        for task in steps(load(path)):
            for module, given in task.items():
                if not isinstance(given, dict) or "." not in module:
                    continue
                names = ("dest", "path", "certificate_path", "key_path", "record", "root")
                found += [(resolved(str(given[name])), str(given.get("src", ""))) for name in names if name in given]
                found += [(resolved(str(name)), "") for name in given.get("files", {})]
    return found


def content(template: str, dest: str) -> str:
    if template:
        return (ROLE / "templates" / template).read_text(encoding="utf-8")
    (task,) = [
        each["ansible.builtin.copy"]
        for path in (ROLE / "tasks").glob("*.yml")
        for each in steps(load(path))
        if resolved(str(each.get("ansible.builtin.copy", {}).get("dest", ""))) == dest
    ]
    return str(task["content"])


def test_role_writes_files() -> None:
    paths = [path for path, _template in written()]
    assert {"/etc/herd/gateway.json", "/etc/sysctl.d/50-herd-gateway.conf", "/etc/logrotate.d/herd-gateway"} <= set(
        paths
    )
    assert {"/etc/herd/gateway/engine-keys", "/etc/herd/gateway/tls.key", "/opt/herd/gateway-venv"} <= set(paths)


@pytest.mark.parametrize(("path", "template"), written())
def test_each_file_of_the_role_is_found_by_the_removal(path: str, template: str) -> None:
    if any(path == folder or path.startswith(f"{folder}/") for folder in uninstall.FOLDERS):
        return
    if path in ("/opt/herd/current", "/etc/nginx"):
        # Another role's, and nginx's own: the module nginx_site writes there.
        return
    if path.startswith("conf.d/"):
        assert uninstall.is_ours((ROLE / "templates" / f"{Path(path).name}.j2").read_text(encoding="utf-8"))
        return
    assert any(fnmatch(path.lstrip("/"), place) for place in rests.PLACES), path
    assert uninstall.is_ours(content(template, path)), path


def test_units_and_account_of_the_role_are_found_by_the_removal() -> None:
    for template in ("herd-gateway@.service.j2", "herd-gateway.socket.j2"):
        assert uninstall.is_ours((ROLE / "templates" / template).read_text(encoding="utf-8"))
    users = [
        task["ansible.builtin.user"] for task in load(ROLE / "tasks" / "install.yml") if "ansible.builtin.user" in task
    ]
    assert [user["comment"] for user in users] == [uninstall.GATEWAY_ACCOUNT]
    assert VALUES["gateway_nginx_log"] == uninstall.NGINX_LOGS


def test_removal_takes_the_gateway_of_a_site_without_slurm() -> None:
    plays = load(ROOT / "playbooks" / "remove.yml")
    announced = next(play for play in plays if play.get("name") == "Announce the removal")
    given = announced["tasks"][0]["herd.inference.node_uninstall"]
    # The tiers are those of the inventory, whatever runs their engines.
    assert "map(attribute='gateway_port')" in given["ports"]
    assert "if 'gateway' in group_names" in given["ports"]
    assert {"nginx_root", "nginx_unit", "gateway_user"} <= set(given)
    hosts = " ".join(str(play.get("hosts")) for play in plays)
    for group in ("gateway", "node", "head_server"):
        assert f"'{group}'" in hosts
