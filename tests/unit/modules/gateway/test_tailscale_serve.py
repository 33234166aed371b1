# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""tailscale_serve against a double of tailscale that checks its arguments and keeps its state."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError, InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.gateway import tailscale as rules
from ansible_collections.herd.inference.plugins.module_utils.ports.gateway.tailscale import Tailscale
from ansible_collections.herd.inference.plugins.modules import tailscale_serve

# That of the lab's hosts.
DOUBLE = Path(__file__).parents[3] / "lab" / "recipes" / "tailnet" / "files" / "usr" / "lib" / "tailscale" / "double.py"
NAME = "slurm-ctl.tailc46cd0.ts.net"
BOTH = {"/": "http://127.0.0.1:8080", "/reasoning/": "http://127.0.0.1:8081"}


class Double:
    """The double's state, and the module on top of it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "state.json"
        self.program = folder / "tailscale"
        source = DOUBLE
        self.program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I "{source}" "$@"\n', encoding="utf-8")
        self.program.chmod(0o755)
        self.put({})

    def put(self, config: dict[str, Any], **more: Any) -> None:
        state = {"name": NAME, "backend": "Running", "daemon": True, "config": config, **more}
        self.path.write_text(json.dumps(state), encoding="utf-8")

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        return found

    def handlers(self, port: int = 443) -> dict[str, str]:
        web = self.state["config"].get("Web", {}).get(f"{NAME}:{port}", {})
        return {path: handler["Proxy"] for path, handler in web.get("Handlers", {}).items()}

    def run(self, check_mode: bool = False, **given: Any) -> dict[str, Any]:
        params = {"mounts": BOTH, "https_port": 443, "exclusive": False, "state": "present", **given}
        return tailscale_serve.reconcile(params, Tailscale(str(self.program)), check_mode)


@pytest.fixture
def double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Double:
    made = Double(tmp_path)
    monkeypatch.setenv("TAILSCALE_DOUBLE", str(made.path))
    return made


def web(handlers: Any, port: int = 443, **more: Any) -> dict[str, Any]:
    return {"TCP": {str(port): {"HTTPS": True}}, "Web": {f"{NAME}:{port}": {"Handlers": handlers}}, **more}


def test_it_serves_both_tiers_and_a_second_run_changes_nothing(double: Double) -> None:
    first = double.run()
    assert first["changed"]
    assert (first["name"], first["address"], first["url"]) == (NAME, "100.101.102.103", f"https://{NAME}/")
    assert first["diff"] == {
        "before": {"mounts": {}, "funnel": False},
        "after": {"mounts": BOTH, "funnel": False},
    }
    assert double.handlers() == BOTH
    second = double.run()
    assert (second["changed"], second["commands"]) == (False, [])
    assert second["diff"]["before"] == second["diff"]["after"]
    assert double.state["changes"] == 2


def test_check_mode_shows_the_plan_and_changes_nothing(double: Double) -> None:
    told = double.run(check_mode=True)
    assert double.handlers() == {}
    assert told["diff"] == double.run()["diff"]


def test_only_paths_that_differ_are_set(double: Double) -> None:
    double.put(web({"/": {"Proxy": BOTH["/"]}, "/reasoning/": {"Proxy": "http://127.0.0.1:9"}}))
    assert double.run()["commands"] == [
        ["serve", "--bg", "--yes", "--https=443", "--set-path=/reasoning/", "http://127.0.0.1:8081"]
    ]
    assert double.handlers() == BOTH


def test_a_trailing_slash_makes_no_difference(double: Double) -> None:
    double.put(web({"/": {"Proxy": BOTH["/"]}, "/reasoning": {"Proxy": BOTH["/reasoning/"]}}))
    assert not double.run()["changed"]


def test_other_paths_stay_unless_exclusive(double: Double) -> None:
    double.put(web({"/notes": {"Text": "hello"}, "/": {"Path": "/srv"}}))
    result = double.run()
    assert result["diff"]["before"]["mounts"] == {"/": "path /srv", "/notes": "text hello"}
    assert set(double.state["config"]["Web"][f"{NAME}:443"]["Handlers"]) == {"/", "/notes", "/reasoning/"}
    assert double.run(exclusive=True)["commands"] == [["serve", "--yes", "--https=443", "--set-path=/notes", "off"]]
    assert double.handlers() == BOTH


def test_absent_removes_only_the_given_paths(double: Double) -> None:
    double.run()
    # What leads elsewhere by now is somebody else's.
    assert not double.run(mounts={"/reasoning": "http://127.0.0.1:9000"}, state="absent")["changed"]
    double.run(mounts={"/reasoning": BOTH["/reasoning/"]}, state="absent")
    assert double.handlers() == {"/": BOTH["/"]}
    assert not double.run(mounts={"/reasoning": BOTH["/reasoning/"]}, state="absent")["changed"]
    double.run(mounts={"/": BOTH["/"]}, state="absent")
    assert double.state["config"] == {}


def test_funnel_is_closed(double: Double) -> None:
    handlers = {path: {"Proxy": target} for path, target in BOTH.items()}
    double.put(web(handlers, AllowFunnel={f"{NAME}:443": True}))
    result = double.run()
    assert result["diff"]["before"]["funnel"] is True
    assert result["diff"]["after"]["funnel"] is False
    assert "AllowFunnel" not in double.state["config"]
    assert not double.run()["changed"]


def test_other_ports_stay(double: Double) -> None:
    double.run()
    result = double.run(https_port=8443, mounts={"/": "http://127.0.0.1:8080"})
    assert result["url"] == f"https://{NAME}:8443/"
    assert (double.handlers(443), double.handlers(8443)) == (BOTH, {"/": "http://127.0.0.1:8080"})


def test_a_port_with_tcp_forwarding_is_refused(double: Double) -> None:
    double.put({"TCP": {"443": {"TCPForward": "127.0.0.1:22"}}})
    with pytest.raises(InvalidInputError, match="plain TCP forwarding"):
        double.run()
    assert "changes" not in double.state


@pytest.mark.parametrize("check_mode", [False, True])
def test_a_port_of_a_foreground_command_is_refused(double: Double, check_mode: bool) -> None:
    session = web({"/": {"Proxy": "http://127.0.0.1:3000"}}, AllowFunnel={f"{NAME}:443": True})
    double.put({"Foreground": {"1f9a": session}})
    with pytest.raises(InvalidInputError, match="a foreground command that uses it"):
        double.run(check_mode=check_mode)
    assert "changes" not in double.state
    # It has that port only; and there is nothing of ours to take out.
    assert double.run(https_port=8443)["changed"]
    assert not double.run(state="absent")["changed"]
    assert double.state["config"]["Foreground"] == {"1f9a": session}


def test_tailnet_services_are_ignored(double: Double) -> None:
    there = "svc-llm.tailc46cd0.ts.net:443"
    service = {"TCP": {"443": {"HTTPS": True}}, "Web": {there: {"Handlers": {"/": {"Proxy": BOTH["/"]}}}}}
    double.put({"Services": {"svc:llm": service}})
    first = double.run()
    assert first["diff"]["before"]["mounts"] == {}
    assert double.handlers() == BOTH
    assert not double.run()["changed"]
    double.run(state="absent")
    assert double.state["config"] == {"Services": {"svc:llm": service}}


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"daemon": False}, "tailscaled; it doesn't appear to be running"),
        ({"backend": "NeedsLogin"}, "found state NeedsLogin"),
        ({"backend": "Stopped"}, "run: tailscale up"),
        ({"name": ""}, "name none"),
    ],
)
def test_a_machine_without_a_tailnet_is_an_error(double: Double, state: dict[str, Any], said: str) -> None:
    double.put({}, **state)
    with pytest.raises(HerdError) as caught:
        double.run()
    assert said in str(caught.value)


def test_a_missing_program_is_an_error(tmp_path: Path) -> None:
    params = {"mounts": BOTH, "https_port": 443, "exclusive": False, "state": "present"}
    with pytest.raises(HerdError, match="not installed on this machine"):
        tailscale_serve.reconcile(params, Tailscale(str(tmp_path / "none")), False)


@pytest.mark.parametrize(
    ("mounts", "port"),
    [
        ({"reasoning": "http://127.0.0.1:1"}, 443),
        ({"/a//b": "http://127.0.0.1:1"}, 443),
        ({"/../b": "http://127.0.0.1:1"}, 443),
        ({"/a b": "http://127.0.0.1:1"}, 443),
        ({"/": "8080"}, 443),
        ({"/": "http://10.0.0.9:80"}, 443),
        ({"/": "http://127.0.0.1:99999"}, 443),
        ({"/": "--help"}, 443),
        ({"/a": "http://127.0.0.1:1", "/a/": "http://127.0.0.1:2"}, 443),
        ({"/": "http://127.0.0.1:1"}, 0),
    ],
)
def test_invalid_mounts_are_refused_before_any_command(double: Double, mounts: dict[str, str], port: int) -> None:
    with pytest.raises(InvalidInputError):
        double.run(mounts=mounts, https_port=port)
    assert "changes" not in double.state


@pytest.mark.parametrize("text", ["", "{", "[]", '{"Web": 3}', json.dumps(web(["/"]))])
def test_invalid_output_is_an_error(text: str) -> None:
    with pytest.raises(HerdError):
        rules.read_served(text, rules.Machine(NAME, ""), 443)


def test_null_and_an_empty_object_mean_nothing_served() -> None:
    for text in ("null", "{}"):
        assert rules.read_served(text, rules.Machine(NAME, ""), 443) == rules.Served()
