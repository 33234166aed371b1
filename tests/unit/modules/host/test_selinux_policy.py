# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""selinux_policy against doubles of semodule and semanage, which keep their state and refuse what the real ones do."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.ports.host import selinux
from ansible_collections.herd.inference.plugins.modules import selinux_policy

FIXTURES = Path(__file__).parents[3] / "fixtures" / "selinux"
ROLE = Path(__file__).parents[4] / "roles" / "gateway"
# What both were seen to do, version 3.4, on the policy of which the fixture is.
DOUBLE = """
import json, pathlib, sys
path = pathlib.Path({path!r})
state = json.loads(path.read_text())
words = sys.argv[2:]
base = [line.split(None, 2) for line in pathlib.Path({ports!r}).read_text().splitlines()]
known = {{(protocol, port.strip()) for _type, protocol, ports in base for port in ports.split(",")}}

def fail(text):
    print(text, file=sys.stderr)
    sys.exit(1)

def change():
    state["changes"] += 1
    path.write_text(json.dumps(state))

def semodule():
    if words == ["-lfull"]:
        print("100 accountsd       pp         ")
        for name in state["modules"]:
            print(f"400 {{name:<15}} cil         ")
    elif words[:4] == ["-X", "400", "--cil", "-E"]:
        if words[4] not in state["modules"]:
            fail("semodule:  Failed!")
        pathlib.Path(words[4] + ".cil").write_text(state["modules"][words[4]])
    elif words[0] == "-i":
        text = pathlib.Path(words[1]).read_text()
        if text.count("(") != text.count(")"):
            fail("Unbalanced parenthesis at line 1 of cil\\nsemodule:  Failed!")
        state["modules"][pathlib.Path(words[1]).stem] = text
        change()
    elif words[0] == "-r":
        if not state["modules"].pop(words[1], None):
            fail(f"libsemanage.semanage_direct_remove_key: Unable to remove module {{words[1]}}")
        change()
    else:
        fail(f"semodule: unexpected {{words}}")

def semanage():
    if words[:3] == ["port", "-l", "-n"]:
        for port, name in state["ports"].items():
            print(f"{{name:<30}} tcp      {{port}}")
        if words[3:] != ["-C"]:
            for name, protocol, ports in base:
                print(f"{{name:<30}} {{protocol:<8}} {{ports}}")
        return
    _port, action, _t, name, _p, protocol, port = words
    is_known = (protocol, port) in known or port in state["ports"]
    if action == "-a" and is_known:
        fail(f"ValueError: Port tcp/{{port}} already defined")
    if action == "-m" and not is_known:
        fail(f"ValueError: Port tcp/{{port}} is not defined")
    if action == "-d":
        if port not in state["ports"]:
            fail(f"ValueError: Port tcp/{{port}} is defined in policy, cannot be deleted")
        del state["ports"][port]
    else:
        state["ports"][port] = name
    change()

semodule() if sys.argv[1] == "semodule" else semanage()
"""


class Host:
    """A host with SELinux."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.state_path = folder, folder / "state.json"
        self.record = folder / "etc" / "selinux.json"
        self.put(modules={}, ports={})
        (folder / "double.py").write_text(
            DOUBLE.format(path=str(self.state_path), ports=str(FIXTURES / "ports.txt")), encoding="utf-8"
        )
        for name in ("semodule", "semanage"):
            program = folder / name
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I {folder}/double.py {name} "$@"\n')
            program.chmod(0o755)

    def put(self, **state: Any) -> None:
        self.state_path.write_text(json.dumps({**state, "changes": 0}), encoding="utf-8")

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.state_path.read_text(encoding="utf-8"))
        return found

    def run(self, check_mode: bool = False, **given: Any) -> dict[str, Any]:
        params: dict[str, Any] = {"name": "herd_gateway", "content": "(rules)\n", "ports": [8080, 8081]}
        params |= {"good_types": ["http_cache_port_t"], "state": "present"}
        return selinux_policy.reconcile({**params, "record": str(self.record), **given}, check_mode)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(tmp_path)
    (tmp_path / "enforce").write_text("1")
    monkeypatch.setattr(selinux, "STATE", tmp_path / "enforce")
    monkeypatch.setattr(selinux, "SEMODULE", str(tmp_path / "semodule"))
    monkeypatch.setattr(selinux, "SEMANAGE", str(tmp_path / "semanage"))
    # Files of tests are the user's own.
    monkeypatch.setattr("os.chown", lambda *_words: None)
    return made


def test_a_second_run_changes_nothing(host: Host) -> None:
    foreseen = host.run(check_mode=True)
    assert host.state["changes"] == 0
    assert not host.record.exists()
    first = host.run()
    assert first == foreseen
    assert first["commands"] == [["-m", "-t", "http_port_t", "-p", "tcp", "8081"]]
    assert host.state == {"modules": {"herd_gateway": "(rules)\n"}, "ports": {"8081": "http_port_t"}, "changes": 2}
    assert first["diff"] == {
        "before": {"module": [], "ports": {"8080": "http_cache_port_t", "8081": "transproxy_port_t"}},
        "after": {"module": ["(rules)"], "ports": {"8080": "http_cache_port_t", "8081": "http_port_t"}},
    }
    second = host.run()
    assert (second["changed"], second["diff"]["before"]) == (False, second["diff"]["after"])
    assert host.state["changes"] == 2


def test_other_rules_replace_the_former_ones(host: Host) -> None:
    host.run()
    assert host.run(content="(more)\n")["module"] == "install"
    assert host.state["modules"] == {"herd_gateway": "(more)\n"}


def test_absent_removes_only_the_own_types(host: Host) -> None:
    host.put(modules={"theirs": "(theirs)"}, ports={"9443": "http_port_t"})
    host.run(ports=[8080, 8081, 9443])
    told = host.run(check_mode=True, state="absent")
    gone = host.run(state="absent")
    assert gone == told
    assert host.state["modules"] == {"theirs": "(theirs)"}
    assert host.state["ports"] == {"9443": "http_port_t"}
    assert not host.run(state="absent")["changed"]


def test_a_changed_port_restores_the_former_one(host: Host) -> None:
    host.run()
    assert host.run(ports=[8080, 9001])["changed"]
    assert host.state["ports"] == {"9001": "http_port_t"}
    assert json.loads(host.record.read_text(encoding="utf-8")) == {"ports": [9001]}


@pytest.mark.parametrize("after", [0, 1])
def test_a_killed_run_converges(host: Host, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    done: list[object] = []

    def killed(*_words: object) -> None:
        raise KeyboardInterrupt

    real = selinux.change_port

    def change(words: Any) -> None:
        if len(done) == after:
            raise KeyboardInterrupt
        done.append(words)
        real(words)

    monkeypatch.setattr(selinux, "change_port", change)
    monkeypatch.setattr(selinux, "install_module", killed)
    with pytest.raises(KeyboardInterrupt):
        host.run()
    monkeypatch.undo()
    for name, value in (("STATE", "enforce"), ("SEMODULE", "semodule"), ("SEMANAGE", "semanage")):
        monkeypatch.setattr(selinux, name, type(getattr(selinux, name))(host.folder / value))
    monkeypatch.setattr("os.chown", lambda *_words: None)
    assert host.run()["changed"]
    assert not host.run()["changed"]
    host.run(state="absent")
    assert (host.state["modules"], host.state["ports"]) == ({}, {})


def test_nothing_is_run_without_selinux(host: Host, tmp_path: Path) -> None:
    (tmp_path / "enforce").unlink()
    (tmp_path / "semodule").unlink()
    assert host.run() == {"changed": False, "enabled": False, "module": "", "commands": []}


def test_check_mode_predicts_the_changes_of_a_bare_host(host: Host, tmp_path: Path) -> None:
    (tmp_path / "semanage").unlink()
    assert host.run(check_mode=True)["changed"]
    assert not host.run(state="absent")["changed"]
    with pytest.raises(HerdError, match="semanage"):
        host.run()


def test_rejected_rules_are_an_error_with_the_output_of_semodule(host: Host) -> None:
    with pytest.raises(HerdError, match="Unbalanced parenthesis"):
        host.run(content="(rules", ports=[])
    assert host.state["modules"] == {}
