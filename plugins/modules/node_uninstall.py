#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_uninstall
short_description: Remove everything that this collection has installed on a node
version_added: 0.1.0
description:
  - Stops and removes each unit with the collection's mark, its nftables tables and firewalld rules, its nginx site, the
    releases, configuration and keys, herdctl, caches, and the accounts with their groups.
  - Restarts Prometheus and Alertmanager, which then run with the distribution's configuration.
  - With Slurm, stops the tier manager, then cancels their jobs.
  - Keeps models, unless O(models) names their files, and makes root their owner. Keeps packages, compilers and the
    journal.
  - Removes only what the collection's mark, name or folder identifies.
  - An interrupted run can be repeated. It first waits until the module of the interrupted run has ended on the host.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
options:
  prefix:
    description:
      - Folder of the releases. Removes releases with a manifest, builds, files and links of the roles, and empty
        folders. RV(left) lists the other files.
    type: path
    required: true
  models_dir:
    description: Folder of the models.
    type: path
    required: true
  models:
    description:
      - Files of models to remove, with their shards, verification records and partial downloads. An empty folder is
        removed.
    type: list
    elements: str
    default: []
  user:
    description: Account of the services. Removed only if the role node made it.
    type: str
    required: true
  ports:
    description: TCP ports whose firewalld rules to remove.
    type: list
    elements: int
    default: []
  page:
    description: Page of decision records on the head. Removed with its figures, and with its folder if that is empty.
    type: path
    default: /opt/docs/architecture-decisions.md
  jobs:
    description: Names of Slurm jobs of O(user) to cancel. The module waits until they have ended.
    type: list
    elements: str
    default: []
  shared:
    description:
      - Directory that all hosts of a Slurm cluster share, given on one host only. Removes the scripts and data of the
        jobs, the registry of endpoints, the logs of the jobs, and empty folders.
    type: path
  nginx_root:
    description:
      - Folder of nginx's configuration. The module tests the configuration without the collection's files before it
        removes them, then reloads nginx, which keeps running.
    type: path
    default: /etc/nginx
  nginx_unit:
    description: Name of nginx's unit.
    type: str
    default: nginx.service
  gateway_user:
    description: Account of the gateway. Removed only if the role gateway made it.
    type: str
    default: herd-gateway
"""

EXAMPLES = r"""
- name: Remove everything but the models
  herd.inference.node_uninstall:
    prefix: /opt/llama.cpp
    models_dir: /opt/models
    user: llama
    ports: [50052, 50061, 8000]
    jobs: [llama-14b, llama-72b]
    shared: /cluster/shared
"""

RETURN = r"""
removed:
  description: What was removed, or would be removed, in this order.
  returned: always
  type: list
  elements: str
  sample: [unit herd-agent.service, rules inet herd_rpc, folder /etc/herd, user llama]
left:
  description: Remaining files in the folders of the releases and of the models.
  returned: always
  type: list
  elements: str
  sample: [/opt/models/lab-llama.gguf]
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.core.host import firewalld as firewalld_rules
from ansible_collections.herd.inference.plugins.module_utils.core.host.paths import is_system
from ansible_collections.herd.inference.plugins.module_utils.core.operations import uninstall as uninstall_rules
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports import files
from ansible_collections.herd.inference.plugins.module_utils.ports.operations import uninstall as rests
from ansible_collections.herd.inference.plugins.module_utils.ports.release import archive as release_archive


def is_ours(path: Path) -> bool:
    """Return whether an entry below the prefix with a name of the collection also has its content."""
    if path.parent.name == "releases" and not path.name.startswith("."):
        manifest = path / release_archive.MANIFEST
        return manifest.is_file() and uninstall_rules.is_release(path.name, files.read_json(manifest))
    if path.parent.name == "dist" and not uninstall_rules.PREFIX_ENTRIES["dist"].fullmatch(path.name):
        return path.suffix == ".json" and uninstall_rules.is_pointer(path.name, files.read_json(path))
    return True


def below(prefix: Path) -> Iterator[rests.Leftover]:
    """Find the collection's entries below the prefix, whose folders may hold other files."""
    yield from rests.paths(rests.links_into(prefix, prefix / "releases", uninstall_rules.PREFIX_LINKS))
    for path in rests.below(prefix, uninstall_rules.PREFIX_ENTRIES, is_ours):
        whole = path.parent.name == "releases" and not path.name.startswith(".")
        yield from rests.releases([path]) if whole else rests.paths(iter([path]))


def in_common(shared: Path, going: set[str]) -> Iterator[rests.Leftover]:
    """Find the collection's files in the shared directory, which may hold other files."""
    yield from rests.shared(
        shared, uninstall_rules.SHARED_ENTRIES, uninstall_rules.SHARED_SCRIPTS, uninstall_rules.our_scripts
    )
    yield from rests.empty_folders((shared / name for name in uninstall_rules.SHARED_FOLDERS), going)


def kept(folder: Path, going: set[str]) -> Iterator[str]:
    """Name what remains in a folder and in the collection's folders within it."""
    for name in rests.entries(folder):
        path = folder / name
        if str(path) in going or name.startswith("."):
            continue
        inner = rests.entries(path) if name in uninstall_rules.PREFIX_ENTRIES and not path.is_symlink() else []
        yield from [str(path / other) for other in inner if str(path / other) not in going] or [str(path)]


def ordered(given: dict[str, Any], going: set[str]) -> Iterator[rests.Leftover]:
    """Find what to remove, in the order of removal: units first, accounts last.

    :param going: paths found so far, which check mode does not remove.
    """
    prefix, models_dir = Path(given["prefix"]), Path(given["models_dir"])
    models = uninstall_rules.model_files(rests.entries(models_dir), given["models"])

    def rules(listed: list[str]) -> tuple[str, ...]:
        return tuple(rule for port in given["ports"] for rule in firewalld_rules.change([], listed, port).remove)

    page = Path(given["page"])
    # The page has a mark, its figures have not. An interrupted run may have removed the page alone.
    is_theirs = page.is_file() and not uninstall_rules.is_ours(rests.beginning(page))
    measured = [] if is_theirs else [page.with_suffix(".json")]

    yield from rests.written_files(uninstall_rules.is_ours, page)
    yield from rests.jobs(given["user"], given["jobs"])
    yield from rests.nginx_site(Path(given["nginx_root"]), given["nginx_unit"], uninstall_rules.is_ours)
    yield from rests.tables(uninstall_rules.our_tables)
    yield from rests.firewalld_rules(rules)
    logs = Path(uninstall_rules.NGINX_LOGS)
    ours = [*map(Path, uninstall_rules.FOLDERS), *logs.parent.glob(f"{logs.name}*")]
    ours += [models_dir / name for name in models]
    yield from rests.paths(chain(rests.links(uninstall_rules.LINKS, Path("/opt/herd")), measured, ours))
    yield from below(prefix)
    if given["shared"]:
        yield from in_common(Path(given["shared"]), going)
    # Folders of the operating system stay, even if they are empty.
    shared = [] if is_system(str(prefix)) else [*(prefix / n for n in uninstall_rules.PREFIX_ENTRIES if n), prefix]
    yield from rests.empty_folders(iter([*shared, models_dir, page.parent]), going)
    yield from rests.owned(models_dir, given["user"], going)
    yield from rests.accounts(given["user"], uninstall_rules.ACCOUNT)
    yield from rests.accounts(given["gateway_user"], uninstall_rules.GATEWAY_ACCOUNT)


def result(module: HerdModule) -> dict[str, Any]:
    """Remove everything, and return the module's result."""
    given = module.params
    removed: list[str] = []
    going: set[str] = set()
    try:
        for name in ("prefix", "models_dir"):
            uninstall_rules.check_prefix(given[name])
        with rests.alone():
            for rest in ordered(given, going):
                if not module.check_mode:
                    rest.remove()
                removed.append(f"{rest.kind} {rest.name}")
                going.update([rest.name] if rest.kind in ("file", "folder") else [])
    except HerdError as error:
        module.fail_json(msg=str(error), removed=removed)
    except OSError as error:
        module.fail_json(
            msg=f"{error.filename} cannot be removed ({error.strerror}): fix the cause and run the playbook again.",
            removed=removed,
        )
    folders = (Path(given["prefix"]), Path(given["models_dir"]))
    left = [path for folder in folders for path in kept(folder, going)]
    diff = {"before": "".join(f"{line}\n" for line in removed), "after": ""} if removed else {}
    return {"changed": bool(removed), "removed": removed, "left": left, "diff": diff}


def main() -> None:
    run_module(
        result,
        prefix={"type": "path", "required": True},
        models_dir={"type": "path", "required": True},
        models={"type": "list", "elements": "str", "default": []},
        user={"type": "str", "required": True},
        ports={"type": "list", "elements": "int", "default": []},
        page={"type": "path", "default": "/opt/docs/architecture-decisions.md"},
        jobs={"type": "list", "elements": "str", "default": []},
        shared={"type": "path"},
        nginx_root={"type": "path", "default": "/etc/nginx"},
        nginx_unit={"type": "str", "default": "nginx.service"},
        gateway_user={"type": "str", "default": "herd-gateway"},
    )


if __name__ == "__main__":
    main()
