#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module llama_build."""

from __future__ import annotations

DOCUMENTATION = r"""
module: llama_build
short_description: Build one release of llama.cpp into a relocatable tarball with a manifest
version_added: 0.1.0
description:
  - Brings one exact source tree to the host, compiles it out of tree and packs programs, libraries and a manifest.
  - The name of a build holds a digest of all of its inputs. If that build is there and its checksum holds, nothing
    is done.
  - Results are put in place atomically and at the very end, so a build that fails or is killed leaves the former
    release as it was. A build that is already running is waited for.
  - Used through its action plugin, it shows the progress of the compiler about every ten seconds.
author:
  - herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
attributes:
  check_mode:
    details: Checks the disk space and the source when a build is needed. Needs no compiler.
requirements:
  - cmake, ninja, a C++ compiler, C(ldd) and C(readelf) on the host
  - git, for sources of kind V(git) and archives that hold a git bundle
  - requests, for sources with an URL
options:
  release:
    description:
      - The catalogue's entry of the release, as the filter P(herd.inference.release_facts#filter) returns it.
    type: dict
    required: true
  source:
    description:
      - Where the source comes from, as the filter P(herd.inference.release_source#filter) returns it.
    type: dict
    required: true
  prefix:
    description:
      - Folder that holds C(build/) and C(dist/).
    type: path
    required: true
  toolchain_file:
    description:
      - Facts about compiler, cmake, ninja, ccache and CUDA, published by the role P(herd.inference.toolchain#role).
    type: path
    required: true
  compute_capabilities:
    description:
      - Compute capability of every GPU that runs this build, for example V(7.0). Empty for a build without CUDA.
    type: list
    elements: str
    default: []
  every_node_has_gpu:
    description:
      - Whether each node has a driver. If not, the programs are linked without it, so that they start everywhere.
    type: bool
    default: true
  native:
    description:
      - Compile for this very CPU. Only right if the CPUs of all nodes are alike.
    type: bool
    default: false
  cmake:
    description:
      - Further options for cmake, merged over those of the plan. Derived ones cannot be changed here.
    type: dict
    default: {}
  ccache_dir:
    description:
      - Folder of the compiler's cache, used if the toolchain has ccache.
    type: path
    default: /var/cache/ccache
  jobs:
    description:
      - How many compilers run at once. 0 leaves it to ninja, which takes one for each core and two more.
    type: int
    default: 0
  free_mib:
    description:
      - MiB that must be free under O(prefix) before a build begins.
    type: int
    default: 1024
  keep:
    description:
      - How many finished builds besides the wanted one stay on this host, for going back without compiling. The same
        number of unfinished ones is kept for their logs.
    type: int
    default: 2
"""

EXAMPLES = r"""
- name: Build the release of the inventory
  herd.inference.llama_build:
    release: "{{ _llama_build_catalogue | herd.inference.release_facts('0c1e57098') }}"
    source:
      kind: archive
      path: /srv/llama_cpp_python-0.3.36.tar.gz
      url: ""
      sha256: 832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
      inner_path: llama_cpp_python-0.3.36/vendor/llama.cpp
      packing: tree
      commit: 0c1e57098bba43ac29e6e3b677cdceebdd22334f
    prefix: /opt/llama.cpp
    toolchain_file: /opt/llama.cpp/etc/toolchain.json
    compute_capabilities: ["7.0", "7.0", "7.0"]
"""

RETURN = r"""
id:
  description: Name of the build; empty in check mode on a host that has no toolchain yet.
  returned: success
  type: str
  sample: 0c1e57098-cuda70-5f1c20ab
manifest:
  description: What the build says about itself, with the checksum of its tarball; empty if it is not built yet.
  returned: success
  type: dict
  sample: {"id": "0c1e57098-cpu-5f1c20ab", "rpc_protocol": "7.0.0", "tarball": {"size": 25165824}}
reason:
  description: Why a build is needed, or has to be named as the good one again; empty if nothing is.
  returned: success
  type: str
  sample: there is no such build yet
log:
  description: File with the whole output of the build.
  returned: success
  type: str
  sample: /opt/llama.cpp/build/0c1e57098-cpu-5f1c20ab/build.log
progress_file:
  description: File in which a running build says how far it is.
  returned: success
  type: str
  sample: /opt/llama.cpp/build/0c1e57098-cpu-5f1c20ab/progress.json
removed:
  description: Finished builds that were removed, or would be.
  returned: success
  type: list
  elements: str
  sample: []
ansible_facts:
  description: Facts for the roles that follow.
  returned: success
  type: dict
  contains:
    herd_build_pending:
      description:
        - Whether this is check mode and a build would be made or published. Then the release that is to come is not
          the one that lies on the build host, and whoever looks there must know that.
      type: bool
      sample: false
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.inference.plugins.module_utils.core.engine import help_flags
from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError, NotFoundError
from ansible_collections.herd.inference.plugins.module_utils.core.release import build as build_rules
from ansible_collections.herd.inference.plugins.module_utils.ports import files
from ansible_collections.herd.inference.plugins.module_utils.ports.progress import ProgressFile
from ansible_collections.herd.inference.plugins.module_utils.ports.release import archive as release_archive
from ansible_collections.herd.inference.plugins.module_utils.ports.release import build_tree
from ansible_collections.herd.inference.plugins.module_utils.ports.release import sources as release_sources
from ansible_collections.herd.inference.plugins.module_utils.ports.release.build_store import BuildStore

PENDING = "herd_build_pending"


class Build:
    """One build: its plan, its folder, and what is there of it."""

    def __init__(self, params: dict[str, Any], tools: dict[str, Any]) -> None:
        self.params, self.tools = params, tools
        self.release, self.source = params["release"], params["source"]
        self.options = build_rules.cmake_options(
            self.release,
            tools,
            params["compute_capabilities"],
            params["native"],
            params["every_node_has_gpu"],
            params["cmake"],
        )
        self.id = build_rules.build_id(self.release, self.source, tools, self.options)
        self.store = BuildStore(Path(params["prefix"]))
        self.dist, self.work = self.store.dist, self.store.build / self.id
        self.log, self.progress_file = self.work / "build.log", self.work / "progress.json"
        self.tarball, self.description = self.dist / f"{self.id}.tar.gz", self.dist / f"{self.id}.json"
        self.pointer = self.dist / f"{self.release['release']}.json"
        # What is only needed while building.
        self.intermediate = [self.work / name for name in ("build", "src", "src.ready", "release", "boot")]

    def unbuilt(self) -> str:
        """Why the compiler has something to do; empty if the build is there and whole."""
        known = files.read_json(self.description)
        if known is None or not self.tarball.is_file():
            return "there is no such build yet"
        if files.sha256(self.tarball) != known["tarball"]["sha256"]:
            return f"{self.tarball} is damaged"
        return ""

    def missing(self) -> str:
        """Why there is something to do; empty if the build is there, whole, and the release's newest."""
        reason = self.unbuilt()
        if not reason and files.read_json(self.pointer) != files.read_json(self.description):
            return f"{self.pointer} describes another build"
        return reason

    def _remove_intermediate(self) -> None:
        for path in self.intermediate:
            files.remove(path)

    def run(self) -> dict[str, Any]:
        """Build, unless somebody else did so while this process waited for its turn; name it the release's newest."""
        self.work.mkdir(parents=True, exist_ok=True)
        with build_tree.exclusive(self.store.build / f"{self.id}.lock"):
            for path in (self.tarball, self.description, self.pointer, self.progress_file):
                files.forget_scratch(path)
            if self.unbuilt():
                progress = ProgressFile(self.progress_file, "steps")
                try:
                    self._build(progress)
                finally:
                    progress.finish()
            # A build that was killed between its last files left these behind.
            self._remove_intermediate()
            known = files.read_json(self.description) or {}
            files.write_json(self.pointer, known)
            self.store.use(self.id)
            return known

    def surplus(self) -> tuple[list[str], list[str]]:
        """Builds to give up: finished ones, and folders of begun ones."""
        keep = self.params["keep"]
        return (
            build_rules.surplus(self.id, self.store.ready(), keep),
            build_rules.surplus(self.id, self.store.begun(), keep),
        )

    def tidy(self) -> None:
        """Give up the builds that nobody goes back to."""
        ready, begun = self.surplus()
        for build in ready:
            self.store.give_up_ready(build)
        for build in begun:
            self.store.give_up_begun(build)

    def _build(self, progress: ProgressFile) -> None:
        build_tree.require_space(self.work, self.params["free_mib"], "for the build")
        cache = self.store.build / "sources"
        release = self.work / "release"
        # Half of what a machine wrote before it lost power may be empty files with the right names and times.
        if not build_tree.same_boot(self.work / "boot"):
            self._remove_intermediate()
            build_tree.note_boot(self.work / "boot")
        release_sources.prepare(self.source, self.work / "src", cache, self.log, progress.update)
        progress.update("configuring", 0)
        env = build_tree.environment(self.tools, self.params["ccache_dir"], self.work)
        build_tree.configure(self.work, self.options, self.tools, env, self.log)
        targets = self.release["targets"]

        def count(line: str) -> None:
            done = build_rules.step(line)
            if done:
                progress.update("compiling", *done)

        build_tree.compile_targets(self.work, targets, self.params["jobs"], self.tools, env, self.log, on_line=count)
        progress.update("packing", 0)
        build_tree.collect(self.work / "build" / "bin", targets, release / "bin")
        self._pack(release, targets)

    def _pack(self, release: Path, targets: list[str]) -> None:
        bin_ = release / "bin"
        library_path = (self.tools.get("cuda") or {}).get("library_path", "")
        needed = build_tree.needed(bin_, build_rules.parse_ldd, {"LD_LIBRARY_PATH": library_path})
        build_rules.require_tls(self.options, needed)
        libraries = build_rules.libraries_to_bring(
            needed,
            [path.name for path in bin_.iterdir()],
        )
        build_tree.bring(libraries, bin_)
        build_tree.require_relocatable(
            bin_, build_rules.parse_runpath, build_rules.parse_ldd, build_rules.from_system, list(libraries)
        )
        stub = (self.tools.get("cuda") or {}).get("driver_library")
        texts = build_tree.help_texts(bin_, targets, stub)
        flags = {program: help_flags.accepted_flags(text) for program, text in texts.items()}
        for program in (self.release["programs"]["head"], self.release["programs"]["worker"]):
            if not flags.get(program):
                raise NotFoundError.plain(
                    f"{program} --help prints no flags",
                    f"look at the end of {self.log}, and run the program under {bin_} by hand",
                )
        manifest = build_rules.manifest(
            self.release, self.source, self.tools, self.options, flags, release_archive.measure(release)
        )
        files.write_json(release / release_archive.MANIFEST, manifest)
        self.dist.mkdir(parents=True, exist_ok=True)
        manifest["tarball"] = release_archive.pack(release, self.id, self.tarball)
        files.write_json(self.description, manifest)


def foresee(params: dict[str, Any], build: str) -> None:
    """Stop where a build would fail for want of room or of its source; writes nothing."""
    builds = Path(params["prefix"]) / "build"
    build_tree.require_space(builds / build, params["free_mib"], "for the build")
    release_sources.foresee(params["source"], builds / build / "src", builds / "sources")


def result(module: AnsibleModule) -> dict[str, Any]:
    """Plan, build if needed, and say what there is."""
    params = module.params
    tools = files.read_json(Path(params["toolchain_file"]))
    if tools is None and not module.check_mode:
        raise NotFoundError(
            expected=f"facts about the compiler in {params['toolchain_file']}",
            found="no such file",
            remedy="run the role toolchain on this host first",
        )
    name = params["release"]["release"]
    answer: dict[str, Any] = {
        "id": "",
        "manifest": {},
        "log": "",
        "progress_file": "",
        "removed": [],
    }
    if tools is None:
        foresee(params, "new")
        reason = "there is no toolchain yet"
        diff = {"before": "", "after": f"{name}: built when a toolchain is there\n"}
        return {**answer, "changed": True, "reason": reason, "diff": diff, "ansible_facts": {PENDING: True}}
    build = Build(params, tools)
    before = files.read_json(build.pointer) or {}
    reason = build.missing()
    if reason and module.check_mode:
        foresee(params, build.id)
    manifest = before if not reason else {} if module.check_mode else build.run()
    ready, begun = build.surplus()
    if not module.check_mode:
        build.tidy()
    return {
        **answer,
        "changed": bool(reason or ready or begun),
        "reason": reason,
        "id": build.id,
        "manifest": manifest,
        "log": str(build.log),
        "progress_file": str(build.progress_file),
        "removed": ready,
        "diff": {
            "before": f"{name}: {before.get('id', 'not built')}\n" + kept(ready, begun),
            "after": f"{name}: {build.id}\n",
        },
        "ansible_facts": {PENDING: module.check_mode and bool(reason)},
    }


def kept(ready: list[str], begun: list[str]) -> str:
    """For a diff: what is there now and will not be."""
    names = sorted({*ready, *begun})
    return f"older builds: {', '.join(names)}\n" if names else ""


def main() -> None:
    """Read the arguments, build, answer."""
    module = AnsibleModule(
        argument_spec={
            "release": {"type": "dict", "required": True},
            "source": {"type": "dict", "required": True},
            "prefix": {"type": "path", "required": True},
            "toolchain_file": {"type": "path", "required": True},
            "compute_capabilities": {"type": "list", "elements": "str", "default": []},
            "every_node_has_gpu": {"type": "bool", "default": True},
            "native": {"type": "bool", "default": False},
            "cmake": {"type": "dict", "default": {}},
            "ccache_dir": {"type": "path", "default": "/var/cache/ccache"},
            "jobs": {"type": "int", "default": 0},
            "free_mib": {"type": "int", "default": 1024},
            "keep": {"type": "int", "default": 2},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**result(module))
    except HerdError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
