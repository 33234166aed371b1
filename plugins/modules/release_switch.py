#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: release_switch
short_description: Make an installed release the current one
version_added: 0.1.0
description:
  - Verifies each file of the release, then points C(current) to it in one step. The former release becomes
    C(previous).
  - A switch of several nodes may be killed after some links have changed. So it has three steps on each node.
    O(state=begun) writes a record to C(switch.json) before a service stops, O(state=switched) changes the link, and
    O(state=proved) removes the record after the service has answered. M(herd.inference.release_info) returns the record
    as C(changing). The record names the release of a rollback.
  - Downloads nothing, so it takes a second or two. Restarts no services; the roles that run them follow C(current).
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
attributes:
  check_mode:
    details: Verifies the release.
options:
  prefix:
    description: Folder that holds C(releases/) and C(current).
    type: path
    required: true
  id:
    description: Id of the release, as returned in RV(herd.inference.release_info#module:releases).
    type: str
    required: true
  state:
    description: Step of the switch.
    type: str
    choices: [begun, switched, proved]
    default: switched
  former:
    description: Id of the former release, for O(state=begun). May be empty.
    type: str
    default: ""
  rollback:
    description:
      - Whether the switch is a rollback, for O(state=begun). After a killed rollback, the next rollback goes to O(id)
        again. After a killed upgrade, it goes to O(former).
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Record the rollback before the head stops
  herd.inference.release_switch:
    prefix: /opt/llama.cpp
    id: b7836-cuda70-11aa22bb
    former: 0c1e57098-cuda70-5f1c20ab
    rollback: true
    state: begun

- name: Switch to the former release
  herd.inference.release_switch:
    prefix: /opt/llama.cpp
    id: b7836-cuda70-11aa22bb
"""

RETURN = r"""
previous:
  description: Id of the release that was current before, or empty.
  returned: success
  type: str
  sample: 0c1e57098-cuda70-5f1c20ab
"""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.errors import MismatchError, NotFoundError
from ansible_collections.herd.inference.plugins.module_utils.core.release import switch as release_switch
from ansible_collections.herd.inference.plugins.module_utils.core.release.install import BUILD_ID, release_ids
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports.release.store import ReleaseStore


def require_whole(store: ReleaseStore, release: str) -> None:
    """Fail if a release is not installed, or if its files differ from its manifest."""
    manifest = store.manifest(release) if BUILD_ID.fullmatch(release) else None
    if manifest is None:
        raise NotFoundError(
            expected=f"release {release} on this node",
            found=f"only {', '.join(release_ids(store.installed())) or 'none'}",
            remedy="choose a release that each node has, or set herd_release and run site.yml, which installs it",
        )
    problems = store.problems(manifest)
    if problems:
        raise MismatchError(
            expected=f"release {release} as it was installed",
            found="; ".join(problems[:5]),
            remedy="set herd_release to it and run site.yml, which installs it again",
        )


def lines(current: str, note: Mapping[str, str] | None) -> str:
    """Return the state of a node for a diff."""
    known = release_switch.read_record(note)
    said = f"from {known['from'] or 'none'} to {known['to']}" if known else "damaged"
    return f"current: {current or 'none'}\n" + (f"unfinished switch: {said}\n" if note is not None else "")


def result(module: HerdModule) -> dict[str, Any]:
    """Take the step if needed, and return the module's result."""
    store, wanted, state = ReleaseStore(Path(module.params["prefix"])), module.params["id"], module.params["state"]
    with nullcontext() if module.check_mode else store.locked():
        if state != "proved":
            require_whole(store, wanted)
        current, note = store.current() or "", (store.pending_switch() or {}) if store.switch_record.exists() else None
        goal, noted, former = current, note, store.previous() or ""
        known = release_switch.read_record(note)
        if state == "begun":
            before = known.get("previous") or former
            noted = release_switch.new_record(module.params["former"], wanted, module.params["rollback"], before)
        elif state == "proved":
            noted = None
            # After a rollback, the failed release is no target of a rollback.
            former = known["previous"] if known and known["to"] != wanted else former
        else:
            goal = wanted
        if not module.check_mode:
            if former != (store.previous() or ""):
                store.set_previous(former)
            if noted != note:
                store.end_switch() if noted is None else store.begin_switch(noted)
            if goal != current:
                store.switch(goal)
    return {
        "changed": (goal, noted) != (current, note),
        "previous": store.previous() or "",
        "diff": {"before": lines(current, note), "after": lines(goal, noted)},
    }


def main() -> None:
    run_module(
        result,
        prefix={"type": "path", "required": True},
        id={"type": "str", "required": True},
        state={"type": "str", "choices": ["begun", "switched", "proved"], "default": "switched"},
        former={"type": "str", "default": ""},
        rollback={"type": "bool", "default": False},
    )


if __name__ == "__main__":
    main()
