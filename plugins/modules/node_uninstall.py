#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove from a node what this collection has put there."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_uninstall
short_description: Remove units, rules, files and the account that this collection has made on a node
version_added: 0.2.0
description:
  - Stops and removes every unit that says of itself that this collection wrote it, our tables of nftables, our rules
    of firewalld, what nginx was told of the gateway, the releases, configuration and keys, the node's own program,
    caches, and the accounts with their groups.
  - Where Slurm runs, the jobs of the tiers are cancelled first, after their manager has stopped.
  - Models stay, and belong to root from then on, unless O(models) names their files. Packages, compilers and the
    journal stay.
  - Nothing is removed that does not say, by its text, its name or its place, that it is ours. One that was interrupted
    goes on when it runs again.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
options:
  prefix:
    description:
      - Folder of the releases. Only releases with a manifest, builds, and files and links that the roles make in it go,
        and its folders if nothing else is in them. What somebody else has put there is named in RV(left).
    type: path
    required: true
  models_dir:
    description: Folder of the models.
    type: path
    required: true
  models:
    description:
      - Files of models that go too, with their shards and what a fetch keeps beside them; the folder if nothing else is
        in it.
    type: list
    elements: str
    default: []
  user:
    description: The account. It stays if it is not the one that the role node made.
    type: str
    required: true
  ports:
    description: TCP ports that firewalld was told to let through.
    type: list
    elements: int
    default: []
  page:
    description: The page of decisions on the head. Its figures go with it, and its folder if nothing else is in it.
    type: path
    default: /opt/docs/architecture-decisions.md
  jobs:
    description: Names of jobs of O(user) in Slurm, which are cancelled; the module waits for their end.
    type: list
    elements: str
    default: []
  shared:
    description:
      - Directory that all hosts of a Slurm cluster share, for the one host on which what is in it goes. The scripts of
        the jobs with their data, the registry of endpoints and the jobs' logs go, and our folders if nothing else is in
        them.
    type: path
  nginx_root:
    description:
      - The directory of nginx's configuration. nginx is asked first whether it can do without what is ours, and then
        reloaded, which cuts no connection of others; it goes on running.
    type: path
    default: /etc/nginx
  nginx_unit:
    description: nginx's unit.
    type: str
    default: nginx.service
  gateway_user:
    description: The account of the gateway's service. It stays if it is not the one that the role gateway made.
    type: str
    default: herd-gateway
"""

EXAMPLES = r"""
- name: Leave nothing behind but the models
  herd.inference.node_uninstall:
    prefix: /opt/llama.cpp
    models_dir: /opt/models
    user: llama
    ports: [50052, 50061, 8000]

- name: Take the tiers off a Slurm cluster's controller
  herd.inference.node_uninstall:
    prefix: /opt/llama.cpp
    models_dir: /opt/models
    user: llama
    ports: [8080, 8081]
    jobs: [llama-14b, llama-72b]
    shared: /cluster/shared
"""

RETURN = r"""
removed:
  description: What went, in this order; in check mode, what would.
  returned: always
  type: list
  elements: str
  sample: [unit herd-agent.service, rules inet herd_rpc, folder /etc/herd, user llama]
left:
  description: What is in the folders of the releases and of the models and stays.
  returned: always
  type: list
  elements: str
  sample: [/opt/models/lab-llama.gguf]
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.core.host import firewalld as firewalld_rules
from ansible_collections.herd.inference.plugins.module_utils.core.host.paths import is_system
from ansible_collections.herd.inference.plugins.module_utils.core.operations import uninstall as uninstall_rules
from ansible_collections.herd.inference.plugins.module_utils.ports import files
from ansible_collections.herd.inference.plugins.module_utils.ports.operations import uninstall as rests
from ansible_collections.herd.inference.plugins.module_utils.ports.release import archive as release_archive


def is_ours(path: Path) -> bool:
    """Whether something with one of our names below the prefix is ours by what it says."""
    if path.parent.name == "releases" and not path.name.startswith("."):
        manifest = path / release_archive.MANIFEST
        return manifest.is_file() and uninstall_rules.is_release(path.name, files.read_json(manifest))
    if path.parent.name == "dist" and not uninstall_rules.PREFIX_ENTRIES["dist"].fullmatch(path.name):
        return path.suffix == ".json" and uninstall_rules.is_pointer(path.name, files.read_json(path))
    return True


def below(prefix: Path) -> Iterator[rests.Leftover]:
    """Find what is ours below the prefix, whose folders may hold what somebody else has put there."""
    yield from rests.paths(rests.links_into(prefix, prefix / "releases", uninstall_rules.PREFIX_LINKS))
    for path in rests.below(prefix, uninstall_rules.PREFIX_ENTRIES, is_ours):
        whole = path.parent.name == "releases" and not path.name.startswith(".")
        yield from rests.releases([path]) if whole else rests.paths(iter([path]))


def in_common(shared: Path, going: set[str]) -> Iterator[rests.Leftover]:
    """Find what is ours in the directory that hosts share, which may hold what somebody else has put there."""
    yield from rests.shared(
        shared, uninstall_rules.SHARED_ENTRIES, uninstall_rules.SHARED_SCRIPTS, uninstall_rules.our_scripts
    )
    yield from rests.empty((shared / name for name in uninstall_rules.SHARED_FOLDERS), going)


def kept(folder: Path, going: set[str]) -> Iterator[str]:
    """Name what is in a folder and stays, of our own folders what is in them."""
    for name in rests.entries(folder):
        path = folder / name
        if str(path) in going or name.startswith("."):
            continue
        inner = rests.entries(path) if name in uninstall_rules.PREFIX_ENTRIES and not path.is_symlink() else []
        yield from [str(path / other) for other in inner if str(path / other) not in going] or [str(path)]


def ordered(given: dict[str, Any], going: set[str]) -> Iterator[rests.Leftover]:
    """Find what is left, in the order in which it goes: what runs first, the account last.

    :param going: paths of this order so far, which a check finds where they were.
    """
    prefix, models_dir = Path(given["prefix"]), Path(given["models_dir"])
    models = uninstall_rules.model_files(rests.entries(models_dir), given["models"])

    def rules(listed: list[str]) -> tuple[str, ...]:
        return tuple(rule for port in given["ports"] for rule in firewalld_rules.change([], listed, port).remove)

    page = Path(given["page"])
    # The page says whose it is, its figures cannot; it may be gone already, if a run was interrupted.
    is_theirs = page.is_file() and not uninstall_rules.is_ours(rests.beginning(page))
    measured = [] if is_theirs else [page.with_suffix(".json")]

    yield from rests.written_files(uninstall_rules.is_ours, page)
    yield from rests.jobs(given["user"], given["jobs"])
    root = Path(given["nginx_root"])
    yield from rests.nginx_site(root, given["nginx_unit"], uninstall_rules.NGINX_FILES, uninstall_rules.is_ours)
    yield from rests.tables(uninstall_rules.our_tables)
    yield from rests.firewalld_rules(rules)
    ours = [*map(Path, rests.FOLDERS), *(models_dir / m for m in models)]
    yield from rests.paths(chain(rests.links(Path("/opt/herd")), measured, ours))
    yield from below(prefix)
    if given["shared"]:
        yield from in_common(Path(given["shared"]), going)
    # The folders of a system that has none of its own in them are still the system's.
    shared = [] if is_system(str(prefix)) else [*(prefix / n for n in uninstall_rules.PREFIX_ENTRIES if n), prefix]
    yield from rests.empty(iter([*shared, models_dir, page.parent]), going)
    yield from rests.owned(models_dir, given["user"], going)
    yield from rests.accounts(given["user"], uninstall_rules.ACCOUNT)
    yield from rests.accounts(given["gateway_user"], uninstall_rules.GATEWAY_ACCOUNT)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "prefix": {"type": "path", "required": True},
            "models_dir": {"type": "path", "required": True},
            "models": {"type": "list", "elements": "str", "default": []},
            "user": {"type": "str", "required": True},
            "ports": {"type": "list", "elements": "int", "default": []},
            "page": {"type": "path", "default": "/opt/docs/architecture-decisions.md"},
            "jobs": {"type": "list", "elements": "str", "default": []},
            "shared": {"type": "path"},
            "nginx_root": {"type": "path", "default": "/etc/nginx"},
            "nginx_unit": {"type": "str", "default": "nginx.service"},
            "gateway_user": {"type": "str", "default": "herd-gateway"},
        },
        supports_check_mode=True,
    )
    given = module.params
    removed: list[str] = []
    going: set[str] = set()
    try:
        for name in ("prefix", "models_dir"):
            uninstall_rules.check_prefix(given[name])
        for rest in ordered(given, going):
            if not module.check_mode:
                rest.remove()
            removed.append(f"{rest.kind} {rest.name}")
            going.update([rest.name] if rest.kind in ("file", "folder") else [])
    except HerdError as error:
        module.fail_json(msg=str(error), removed=removed)
    except OSError as error:
        module.fail_json(
            msg=f"expected to remove {error.filename}, found {error.strerror}: mend that and run it again.",
            removed=removed,
        )
    folders = (Path(given["prefix"]), Path(given["models_dir"]))
    left = [path for folder in folders for path in kept(folder, going)]
    diff = {"before": "".join(f"{line}\n" for line in removed), "after": ""} if removed else {}
    module.exit_json(changed=bool(removed), removed=removed, left=left, diff=diff)


if __name__ == "__main__":
    main()
