#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module release_switch."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_switch
short_description: Make an installed release the current one
version_added: 0.2.0
description:
  - Holds every file of the release against its manifest, then points C(current) to it in one step. What was current
    until now becomes C(previous).
  - A change of several nodes may be killed when some links have moved and others have not. So it has three steps on
    each node; O(state=begun) notes it in C(switch.json) before anything stops, O(state=switched) moves the link, and
    O(state=proved) removes the note when the service has answered. While the note is there,
    M(herd.inference.release_info) returns it as C(changing), and it says where to go back to.
  - Nothing is fetched, so it takes a second or two. Services are not touched; the roles that run them follow
    C(current).
author:
  - herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
attributes:
  check_mode:
    details: Verifies the release.
options:
  prefix:
    description:
      - Folder that holds C(releases/) and C(current).
    type: path
    required: true
  id:
    description:
      - Id of the release, as RV(herd.inference.release_info#module:releases) has it.
    type: str
    required: true
  state:
    description: The step.
    type: str
    choices: [begun, switched, proved]
    default: switched
  former:
    description: Id of the release that is left, for O(state=begun); empty if there is none.
    type: str
    default: ""
  rollback:
    description:
      - Whether this is a way back, for O(state=begun). One that is killed goes to O(id) again when a rollback is asked
        for, and a change forward that is killed goes back to O(former).
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Note that these nodes go back, before the head stops
  herd.inference.release_switch:
    prefix: /opt/llama.cpp
    id: b7836-cuda70-11aa22bb
    former: 0c1e57098-cuda70-5f1c20ab
    rollback: true
    state: begun

- name: Go back
  herd.inference.release_switch:
    prefix: /opt/llama.cpp
    id: b7836-cuda70-11aa22bb
"""

RETURN = r"""
previous:
  description: Id of the release that was current before; empty if there was none.
  returned: success
  type: str
  sample: 0c1e57098-cuda70-5f1c20ab
"""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError, MismatchError, NotFoundError
from ansible_collections.herd.inference.plugins.module_utils.core.release import switch as release_switch
from ansible_collections.herd.inference.plugins.module_utils.core.release.install import BUILD_ID, ours
from ansible_collections.herd.inference.plugins.module_utils.ports.release.store import ReleaseStore


def require_whole(store: ReleaseStore, release: str) -> None:
    """Refuse a release that is not there, or not as it was installed."""
    manifest = store.manifest(release) if BUILD_ID.fullmatch(release) else None
    if manifest is None:
        raise NotFoundError(
            expected=f"release {release} on this node",
            found=f"only {', '.join(ours(store.installed())) or 'none'}",
            remedy="choose one that every node has, or set herd_release and run site.yml, which installs it",
        )
    problems = store.problems(manifest)
    if problems:
        raise MismatchError(
            expected=f"release {release} as it was installed",
            found="; ".join(problems[:5]),
            remedy="set herd_release to it and run site.yml, which installs it anew",
        )


def lines(current: str, note: Mapping[str, str] | None) -> str:
    """The state of a node for a diff."""
    known = release_switch.note(note)
    said = f"from {known['from'] or 'none'} to {known['to']}" if known else "damaged"
    return f"current: {current or 'none'}\n" + (f"change not proved yet: {said}\n" if note is not None else "")


def result(module: AnsibleModule) -> dict[str, Any]:
    """Look, and take the step if it is not taken yet."""
    store, wanted, state = ReleaseStore(Path(module.params["prefix"])), module.params["id"], module.params["state"]
    with nullcontext() if module.check_mode else store.alone():
        if state != "proved":
            require_whole(store, wanted)
        current, note = store.current() or "", (store.noted() or {}) if store.note.exists() else None
        goal, noted, former = current, note, store.previous() or ""
        known = release_switch.note(note)
        if state == "begun":
            before = known.get("previous") or former
            noted = release_switch.begun(module.params["former"], wanted, module.params["rollback"], before)
        elif state == "proved":
            noted = None
            # It went back: what did not come up is nothing to go back to.
            former = known["previous"] if known and known["to"] != wanted else former
        else:
            goal = wanted
        if not module.check_mode:
            if former != (store.previous() or ""):
                store.remember(former)
            if noted != note:
                store.end() if noted is None else store.begin(noted)
            if goal != current:
                store.switch(goal)
    return {
        "changed": (goal, noted) != (current, note),
        "previous": store.previous() or "",
        "diff": {"before": lines(current, note), "after": lines(goal, noted)},
    }


def main() -> None:
    """Read the arguments, switch, answer."""
    module = AnsibleModule(
        argument_spec={
            "prefix": {"type": "path", "required": True},
            "id": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["begun", "switched", "proved"], "default": "switched"},
            "former": {"type": "str", "default": ""},
            "rollback": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**result(module))
    except HerdError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
