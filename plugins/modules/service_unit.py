#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: service_unit
short_description: Write a systemd unit and restart its service if it changed
version_added: 0.1.0
description:
  - Lets systemd check the unit, writes it with its other files, enables it, and starts the service, or restarts it if
    it runs with another text.
  - Leaves out directives that the host's systemd does not know.
  - The environment variable C(HERD_UNIT) of the running process has the digest of the text that it was started with. So
    the next run completes a run that was killed between writing and restarting.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
options:
  name:
    description: Name of the unit with its suffix, or of a template unit (C(NAME@.service)) with O(instances).
    type: str
    required: true
  content:
    description: Text of the unit. C(@HERD_UNIT@) in it is replaced by the digest.
    type: str
    required: true
  files:
    description: Other files of the service by absolute path. A change of one restarts the service.
    type: dict
    default: {}
  triggers:
    description: Values whose change restarts the service.
    type: list
    elements: str
    default: []
  enabled:
    description: Whether the service starts at boot.
    type: bool
    default: true
  restart_reason:
    description: Reason to restart an unchanged service. If empty, there is none.
    type: str
    default: ''
  stop_timeout:
    description:
      - Time limit in seconds for a service that serves its last connections after a stop. After it the module fails and
        starts nothing.
      - With V(0) the module waits for systemd's job.
    type: float
    default: 0
  instances:
    description:
      - Instances of a template unit, of which one serves at a time. The first one starts at boot.
      - Instead of a restart, another instance starts, and the former one stops when the new one is ready. The module
        does not wait for the end of the former one. If the new one does not start, the former one stays.
    type: list
    elements: str
    default: []
  socket:
    description:
      - Text of the socket unit that the O(instances) share (C(NAME.socket) for C(NAME@.service)). It names the first
        instance as its C(Service=).
      - If the text changes, the second instance serves while the socket is started anew, so no request is refused.
    type: str
    default: ''
"""

EXAMPLES = r"""
- name: Run the RPC worker
  herd.inference.service_unit:
    name: llama-rpc.service
    content: "{{ lookup('ansible.builtin.template', 'llama-rpc.service.j2') }}"

- name: Run the gateway, whose instances share one socket
  herd.inference.service_unit:
    name: herd-gateway@.service
    instances: [a, b]
    stop_timeout: 600
    content: "{{ lookup('ansible.builtin.template', 'herd-gateway@.service.j2') }}"
    socket: "{{ lookup('ansible.builtin.template', 'herd-gateway.socket.j2') }}"
"""

RETURN = r"""
action:
  description: Action on the service (V(none), V(start), V(restart) or V(stop) of a surplus instance).
  returned: always
  type: str
  sample: restart
reason:
  description: Reason of the action.
  returned: always
  type: str
  sample: it runs with an older unit
"""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.core.host import unit_syntax
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, file_diff, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports import files, systemd
from ansible_collections.herd.inference.plugins.module_utils.ports.host import processes

#: States of a unit that needs no stop.
ENDED = ("inactive", "failed", "deactivating")


@dataclass(frozen=True)
class Plan:
    """What a service needs.

    :ivar states: present state of each unit.
    :ivar enabled: whether each unit starts at boot.
    """

    states: Mapping[str, systemd.UnitState]
    enabled: Mapping[str, bool]
    action: str
    reason: str
    apply: Callable[[], None]

    def diff(self) -> list[dict[str, str]]:
        """Describe the change of the service; empty for none."""
        if self.action == "none" and all(self.states[name].enabled == self.enabled[name] for name in self.states):
            return []
        words = {True: "enabled", False: "not enabled"}
        was = (f"{name}: {state.active_state}, {words[state.enabled]}\n" for name, state in self.states.items())
        now = (f"{name}: {words[enabled]}\n" for name, enabled in self.enabled.items())
        return [{"before": "".join(was), "after": "".join(now) + f"{self.action} ({self.reason or 'no restart'})\n"}]


def on_this_host(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options without the directives that this host's systemd does not know."""
    version = systemd.version()

    def known(path: str, text: str) -> str:
        is_unit = Path(path).parent == systemd.UNIT_DIRECTORY
        return unit_syntax.supported(text, version) if is_unit else text

    units = {name: unit_syntax.supported(given[name], version) for name in ("content", "socket")}
    return {**given, **units, "files": {path: known(path, text) for path, text in given["files"].items()}}


def digest(content: str, others: dict[str, str], triggers: list[str]) -> str:
    """Return a digest of the unit, its other files and the triggers."""
    parts = [content, *(f"{path}\0{others[path]}" for path in sorted(others)), *triggers]
    return hashlib.sha256("\0\0".join(parts).encode()).hexdigest()[:16]


def runs_with(state: systemd.UnitState) -> str:
    """Return the digest that a unit's process was started with; empty if none runs."""
    return processes.environment_of(state.pid).get("HERD_UNIT", "") if state.pid else ""


def next_action(
    state: systemd.UnitState, found: str, wanted: str, restart_reason: str, is_edited: bool = False
) -> tuple[str, str]:
    """Return the action that the service needs, and its reason.

    :param found: the digest that its process was started with.
    :param is_edited: whether the unit's file was changed by hand. The process may run with that text, and have the
        digest of the former one.
    """
    if state.active_state not in ("active", "activating", "reloading"):
        return "start", f"it is {state.active_state}"
    if state.pid and found != wanted:
        return "restart", "it runs with an older unit"
    if state.pid and is_edited:
        return "restart", "its unit was changed by hand"
    if state.active_state == "activating" and not state.pid:
        return "restart", "it is between two attempts to start"
    if restart_reason:
        return "restart", restart_reason
    return "none", ""


def write(names: list[str], texts: dict[str, str], stale: list[str], needs_reload: bool) -> None:
    """Write the files that differ, once systemd accepts the units, and reload the unit files."""
    for name in names if stale else []:
        systemd.verify(name, texts[str(systemd.UNIT_DIRECTORY / name)])
    for path in stale:
        files.atomic_write(Path(path), texts[path])
    if stale or needs_reload:
        systemd.reload()


def act(name: str, action: str, timeout_s: float) -> None:
    """Start or restart the service."""
    if action == "start":
        systemd.start(name)
    elif action == "restart" and timeout_s:
        systemd.restart_within(name, timeout_s)
    elif action == "restart":
        systemd.restart(name)


def next_instance(states: Mapping[str, systemd.UnitState], current: Collection[str]) -> tuple[str, list[str]]:
    """Return the instance to start (empty for none), and the instances to stop.

    :param current: the instances that run with the wanted text.
    """
    serving = [unit for unit, state in states.items() if state.active_state in ("active", "reloading")]
    up_to_date = [unit for unit in serving if unit in current]
    # An instance that still serves its last connections is the last choice: the start would wait for them.
    free = [unit for unit in states if unit not in serving]
    free.sort(key=lambda unit: states[unit].active_state == "deactivating")
    kept = (up_to_date or free or serving[-1:])[0]
    surplus = [unit for unit, state in states.items() if unit != kept and state.active_state not in ENDED]
    return "" if up_to_date else kept, surplus


def change_instance(started: str, stopped: list[str], timeout_s: float) -> None:
    """Start an instance, and stop the others when it is ready."""
    if started:
        try:
            systemd.restart_within(started, timeout_s)
        except HerdError:
            # systemd would try again for ever, beside the former instance.
            if stopped:
                systemd.stop(started, wait=False)
            raise
    for unit in stopped:
        systemd.stop(unit, wait=False)


def renew_socket(socket: str, units: Sequence[str], timeout_s: float) -> None:
    """Start a socket anew, while an instance serves that keeps the former one open.

    systemd starts no socket while its service runs, and that service is the first instance.
    """
    first, second = units[:2]
    if systemd.show(first).active_state not in ENDED:
        if systemd.show(socket).active_state == "active":
            change_instance(second, [first], timeout_s)
        else:
            # Without a socket, nothing else can serve.
            systemd.stop(first, wait=False)
    systemd.settle(first, timeout_s)
    systemd.restart(socket, first)
    for unit in units[1:]:
        if systemd.show(unit).active_state not in ENDED:
            systemd.stop(unit, wait=False)


def service(given: dict[str, Any], wanted: str, is_edited: bool, check_mode: bool) -> Plan:
    """Plan for a unit of one service."""
    name, timeout_s = given["name"], given["stop_timeout"]
    state = systemd.settle(name, timeout_s) if timeout_s and not check_mode else systemd.show(name)
    action, reason = next_action(state, runs_with(state), wanted, given["restart_reason"], is_edited)
    return Plan({name: state}, {name: given["enabled"]}, action, reason, lambda: act(name, action, timeout_s))


def socket_of(given: dict[str, Any]) -> str:
    """Return the name of the socket unit that the instances share; empty if they have none."""
    return given["name"].replace("@.service", ".socket") if given["socket"] else ""


def instances(given: dict[str, Any], wanted: str, stale: list[str], is_edited: bool) -> Plan:
    """Plan for a template unit."""
    units = [given["name"].replace("@.", f"@{instance}.") for instance in given["instances"]]
    socket, timeout_s = socket_of(given), given["stop_timeout"]
    states = {unit: systemd.show(unit) for unit in units}
    shared = systemd.show(socket) if socket else systemd.UnitState()

    def is_current(state: systemd.UnitState) -> bool:
        # An instance that is older than its socket has the former one.
        return not is_edited and runs_with(state) == wanted and state.since_monotonic >= shared.since_monotonic

    started, stopped = next_instance(states, [unit for unit, state in states.items() if is_current(state)])
    action, reason = "none", ""
    if started:
        action, reason = ("restart", "it runs with an older unit") if stopped else ("start", "no instance runs")
    elif stopped:
        action, reason = "stop", "two instances run"
    enabled = {unit: given["enabled"] and unit == units[0] for unit in units}
    path = systemd.UNIT_DIRECTORY / socket
    has_socket = not socket or shared.active_state == "active"
    is_older = bool(socket) and has_socket and (str(path) in stale or systemd.started_before(shared, path))
    if is_older:
        action, reason = "restart", "its socket has an older unit"
    elif not has_socket and action == "none":
        action, reason = "start", f"its socket is {shared.active_state}"

    def apply() -> None:
        if has_socket:
            change_instance(started, stopped, timeout_s)
        if is_older or not has_socket:
            renew_socket(socket, units, timeout_s)

    if socket:
        states[socket], enabled[socket] = shared, given["enabled"]
    return Plan(states, enabled, action, reason, apply)


def result(module: HerdModule) -> dict[str, Any]:
    """Write the unit, bring the service to it, and return the module's result."""
    given = on_this_host(module.params)
    wanted = digest(given["content"], given["files"], given["triggers"])
    unit = str(systemd.UNIT_DIRECTORY / given["name"])
    texts = {unit: given["content"].replace("@HERD_UNIT@", wanted), **given["files"]}
    names = [given["name"], *filter(None, [socket_of(given)])]
    texts.update({str(systemd.UNIT_DIRECTORY / name): given["socket"] for name in names[1:]})
    before = {path: files.read_text(Path(path)) for path in texts}
    stale = [path for path in texts if before[path] != texts[path]]
    is_edited = unit in stale and before[unit] != ""
    if given["instances"]:
        plan = instances(given, wanted, stale, is_edited)
    else:
        plan = service(given, wanted, is_edited, module.check_mode)
    if not module.check_mode:
        write(names, texts, stale, any(state.needs_reload for state in plan.states.values()))
        for name, enabled in plan.enabled.items():
            if plan.states[name].enabled != enabled:
                systemd.enable(name) if enabled else systemd.disable(name)
        plan.apply()
    diff = [file_diff(path, before[path], texts[path]) for path in stale]
    diff += plan.diff()
    return {"changed": bool(diff), "action": plan.action, "reason": plan.reason, "diff": diff}


def main() -> None:
    run_module(
        result,
        name={"type": "str", "required": True},
        content={"type": "str", "required": True},
        files={"type": "dict", "default": {}},
        triggers={"type": "list", "elements": "str", "default": []},
        enabled={"type": "bool", "default": True},
        restart_reason={"type": "str", "default": ""},
        stop_timeout={"type": "float", "default": 0},
        instances={"type": "list", "elements": "str", "default": []},
        socket={"type": "str", "default": ""},
    )


if __name__ == "__main__":
    main()
