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
  - Nothing is fetched, so it takes a second or two. Services are not touched; the roles that run them follow
    C(current).
author:
  - herd.inference contributors (@herd-inference)
attributes:
  check_mode:
    description: Verifies the release and says whether the link would move.
    support: full
  diff_mode:
    description: Shows where the link points before and after.
    support: full
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
"""

EXAMPLES = r"""
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

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.inference.plugins.module_utils.core.errors import (
    HerdError,
    MismatchError,
    NotFoundError,
)
from ansible_collections.herd.inference.plugins.module_utils.core.release_plan import BUILD_ID, ours
from ansible_collections.herd.inference.plugins.module_utils.ports.release_store import ReleaseStore


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


def result(module: AnsibleModule) -> dict[str, Any]:
    """Look, and move the link if it points elsewhere."""
    store, wanted = ReleaseStore(Path(module.params["prefix"])), module.params["id"]
    with nullcontext() if module.check_mode else store.alone():
        require_whole(store, wanted)
        current = store.current() or ""
        if current != wanted and not module.check_mode:
            store.switch(wanted)
    return {
        "changed": current != wanted,
        "previous": store.previous() or "",
        "diff": {"before": f"current: {current or 'none'}\n", "after": f"current: {wanted}\n"},
    }


def main() -> None:
    """Read the arguments, switch, answer."""
    module = AnsibleModule(
        argument_spec={"prefix": {"type": "path", "required": True}, "id": {"type": "str", "required": True}},
        supports_check_mode=True,
    )
    try:
        module.exit_json(**result(module))
    except HerdError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
