# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of herdctl imports the modules of its command only, so a broken one affects no other command."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent import herdctl as program
from tests.installed import install_herdctl
from tests.unit.agent.conftest import run_herdctl, run_inside

LOADED = """
import json
bare = len(sys.modules)
from herd.agent import herdctl
try:
    status = herdctl.main(sys.argv[2:])
except SystemExit as ended:
    status = ended.code
print(json.dumps({"status": status, "modules": sorted(sys.modules), "added": len(sys.modules) - bare}))
"""


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installed tree whose gateway cannot be imported."""
    herdctl = install_herdctl(tmp_path_factory.mktemp("broken"))
    module = herdctl.parents[1] / "lib" / "herd" / "agent" / "gateway" / "app.py"
    module.write_text("raise RuntimeError('half\\nwritten')\n", encoding="utf-8")
    return herdctl


@pytest.mark.parametrize("module", sorted({module for module, _text in program.COMMANDS.values()}))
def test_table_names_the_commands_of_each_module(module: str) -> None:
    commands = argparse.ArgumentParser().add_subparsers()
    expected = {name for name, (where, _text) in program.COMMANDS.items() if where == module}
    program.load(min(expected)).add_command(commands)
    assert set(commands.choices) == expected


def test_documented_programs_stand_for_commands() -> None:
    assert set(program.PROGRAMS.values()) <= set(program.COMMANDS)


def test_help_lists_all_commands_and_imports_none(herdctl: Path) -> None:
    text, _end, found = run_inside(herdctl, LOADED, "--help").rpartition('{"status": 0')
    # Before Python 3.13, argparse begins a new line after a long name.
    assert all(f"\n    {name}" in text for name in program.COMMANDS)
    modules = json.loads('{"status": 0' + found)["modules"]
    assert [name for name in modules if name.startswith("herd.")] == [
        "herd.agent",
        "herd.agent.common",
        "herd.agent.common.output",
        "herd.agent.herdctl",
        "herd.core",
        "herd.core.errors",
    ]


def test_stop_engine_imports_little(herdctl: Path) -> None:
    found = json.loads(run_inside(herdctl, LOADED, "stop-engine", "--seconds", "1"))
    assert found["status"] == 0
    modules = set(found["modules"])
    assert not modules & {"asyncio", "http.client", "socket", "ssl", "subprocess"}
    ours = {name for name in modules if name.startswith("herd.")}
    assert not {name for name in ours if ".gateway" in name or ".slurm" in name or ".supervis" in name}
    assert found["added"] <= 40, sorted(modules)


def test_wait_for_workers_imports_no_server(herdctl: Path) -> None:
    found = run_inside(herdctl, LOADED, "wait-for-workers", "--help").rpartition('{"status": 0')[2]
    modules = set(json.loads('{"status": 0' + found)["modules"])
    assert "herd.agent.supervisor.heartbeat_client" in modules
    assert not modules & {"asyncio", "http.server", "subprocess", "xml.etree.ElementTree"}


@pytest.mark.parametrize("arguments", [["--help"], ["stop-engine", "--seconds", "1"], ["select-model", "--help"]])
def test_commands_work_beside_a_broken_module(broken: Path, arguments: list[str]) -> None:
    done = run_herdctl(broken, *arguments)
    assert (done.returncode, done.stderr) == (0, "")


def test_command_of_a_broken_module_gives_one_line(broken: Path) -> None:
    done = run_herdctl(broken, "gateway")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "herdctl gateway: expected the program's module herd.agent.gateway.app, found RuntimeError: half written: "
        "run the role node_agent on this host, which installs the program.\n"
    )


def test_unknown_command_is_rejected(herdctl: Path) -> None:
    done = run_herdctl(herdctl, "gate")
    assert done.returncode == 2
    assert "invalid choice: 'gate'" in done.stderr
