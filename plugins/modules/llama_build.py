#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: llama_build
short_description: Build one release of llama.cpp into a relocatable tarball with a manifest
version_added: 0.1.0
description:
  - Fetches the source of one commit, compiles it out of tree, and packs programs, libraries and a manifest.
  - The id of a build contains a digest of all of its inputs. If a build of that id exists and its checksum is correct,
    the module does nothing.
  - Replaces files atomically at the end of a build. A failed or killed build leaves the former release unchanged. The
    module waits for a running build of the same id.
  - Its action plugin shows the progress of the compiler about every ten seconds.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
attributes:
  check_mode:
    details: If a build is needed, checks the disk space and the source. Needs no compiler.
requirements:
  - cmake, ninja, a C++ compiler, C(ldd) and C(readelf) on the host
  - git, for sources of kind V(git) and archives that hold a git bundle
  - Python library requests, for a source with a URL
options:
  release:
    description: Entry of the release in the catalogue, as returned by P(herd.inference.release_facts#filter).
    type: dict
    required: true
  source:
    description: Location of the source, as returned by P(herd.inference.release_source#filter).
    type: dict
    required: true
  prefix:
    description: Folder that holds C(build/) and C(dist/).
    type: path
    required: true
  toolchain_file:
    description:
      - File with facts about compiler, cmake, ninja, ccache and CUDA, written by P(herd.inference.toolchain#role).
    type: path
    required: true
  compute_capabilities:
    description: Compute capability of each GPU that runs the build, for example V(7.0). Empty builds without CUDA.
    type: list
    elements: str
    default: []
  every_node_has_gpu:
    description:
      - Whether each node has an NVIDIA driver. If not, the programs are not linked with it, and start on each node.
    type: bool
    default: true
  native:
    description: Whether to compile for the CPU of this host. Requires the same CPU on all nodes.
    type: bool
    default: false
  cmake:
    description: Further options for cmake. Options that the module derives cannot be changed.
    type: dict
    default: {}
  ccache_dir:
    description: Folder of the compiler cache, if the toolchain has ccache.
    type: path
    default: /var/cache/ccache
  jobs:
    description: Number of parallel compilers. V(0) uses the default of ninja, the number of cores plus two.
    type: int
    default: 0
  free_mib:
    description: Free MiB under O(prefix) that a build requires.
    type: int
    default: 1024
  keep:
    description:
      - Number of finished builds to keep besides the requested one, for a rollback without compiling. The same number
        of unfinished builds is kept for their logs.
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
  description: Id of the build. Empty in check mode on a host without a toolchain.
  returned: success
  type: str
  sample: 0c1e57098-cuda70-5f1c20ab
manifest:
  description: Manifest of the build with the checksum of its tarball. Empty before the first build.
  returned: success
  type: dict
  sample: {"id": "0c1e57098-cpu-5f1c20ab", "rpc_protocol": "7.0.0", "tarball": {"size": 25165824}}
reason:
  description: Why a build, or a new pointer to it, is needed. Empty if nothing is needed.
  returned: success
  type: str
  sample: the build does not exist yet
log:
  description: File with the output of the build.
  returned: success
  type: str
  sample: /opt/llama.cpp/build/0c1e57098-cpu-5f1c20ab/build.log
progress_file:
  description: File with the progress of a running build.
  returned: success
  type: str
  sample: /opt/llama.cpp/build/0c1e57098-cpu-5f1c20ab/progress.json
removed:
  description: Finished builds that were removed, or would be removed.
  returned: success
  type: list
  elements: str
ansible_facts:
  description: Facts for the roles that follow.
  returned: success
  type: dict
  contains:
    herd_build_pending:
      description:
        - Whether check mode predicts a build. Later roles then cannot read the future release on the build host.
      type: bool
"""

from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.engine import help_flags
from ansible_collections.herd.inference.plugins.module_utils.core.errors import NotFoundError
from ansible_collections.herd.inference.plugins.module_utils.core.release import build as build_rules
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports import files
from ansible_collections.herd.inference.plugins.module_utils.ports.progress import ProgressFile
from ansible_collections.herd.inference.plugins.module_utils.ports.release import archive as release_archive
from ansible_collections.herd.inference.plugins.module_utils.ports.release import build_tree
from ansible_collections.herd.inference.plugins.module_utils.ports.release import sources as release_sources
from ansible_collections.herd.inference.plugins.module_utils.ports.release.build_store import BuildStore

PENDING = "herd_build_pending"


class Build:
    """One build: its options, its folders and its results."""

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
        # Needed only during the build.
        self.intermediate = [self.work / name for name in ("build", "src", "src.ready", "release", "boot")]

    def unbuilt(self) -> str:
        """Return why the build must be compiled; empty if it exists and its checksum is correct."""
        known = files.read_json(self.description)
        if known is None or not self.tarball.is_file():
            return "the build does not exist yet"
        if files.sha256(self.tarball) != known["tarball"]["sha256"]:
            return f"{self.tarball} is damaged"
        return ""

    def missing(self) -> str:
        """Return why the module must act; empty if the build exists and the release's pointer describes it."""
        reason = self.unbuilt()
        if not reason and files.read_json(self.pointer) != files.read_json(self.description):
            return f"{self.pointer} describes another build"
        return reason

    def _remove_intermediate(self) -> None:
        for path in self.intermediate:
            files.remove(path)

    def run(self) -> dict[str, Any]:
        """Build unless another process has done so, point the release to the build, and return its manifest."""
        self.work.mkdir(parents=True, exist_ok=True)
        with build_tree.build_lock(self.store.build / f"{self.id}.lock"):
            for path in (self.tarball, self.description, self.pointer, self.progress_file):
                files.forget_scratch(path)
            if self.unbuilt():
                progress = ProgressFile(self.progress_file, "steps")
                try:
                    self._build(progress)
                finally:
                    progress.finish()
            # A build that was killed after its last step leaves these files.
            self._remove_intermediate()
            known = files.read_json(self.description) or {}
            files.write_json(self.pointer, known)
            self.store.mark_used(self.id)
            return known

    def surplus(self) -> tuple[list[str], list[str]]:
        """Return the ids of finished builds, and of unfinished ones, that are no longer kept."""
        keep = self.params["keep"]
        return (
            build_rules.prunable(self.id, self.store.finished(), keep),
            build_rules.prunable(self.id, self.store.unfinished(), keep),
        )

    def prune(self) -> None:
        """Remove the builds that are no longer kept."""
        ready, begun = self.surplus()
        for build in ready:
            self.store.remove_finished(build)
        for build in begun:
            self.store.remove_unfinished(build)

    def _build(self, progress: ProgressFile) -> None:
        build_tree.require_space(self.work, self.params["free_mib"], "for the build")
        cache = self.store.build / "sources"
        release = self.work / "release"
        # After a power loss, files with the right names and times may be empty.
        if not build_tree.is_same_boot(self.work / "boot"):
            self._remove_intermediate()
            build_tree.record_boot(self.work / "boot")
        release_sources.prepare(self.source, self.work / "src", cache, self.log, progress.update)
        progress.update("configuring", 0)
        env = build_tree.environment(self.tools, self.params["ccache_dir"], self.work)
        build_tree.configure(self.work, self.options, self.tools, env, self.log)
        targets = self.release["targets"]

        def count(line: str) -> None:
            done = build_rules.ninja_progress(line)
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
        libraries = build_rules.libraries_to_bundle(
            needed,
            [path.name for path in bin_.iterdir()],
        )
        build_tree.bundle_libraries(libraries, bin_)
        build_tree.require_relocatable(
            bin_, build_rules.parse_runpath, build_rules.parse_ldd, build_rules.is_system_library, list(libraries)
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


def check_requirements(params: dict[str, Any], build: str) -> None:
    """Fail if the disk space or the source for a build is missing. Writes nothing."""
    builds = Path(params["prefix"]) / "build"
    build_tree.require_space(builds / build, params["free_mib"], "for the build")
    release_sources.check_available(params["source"], builds / build / "src", builds / "sources")


def result(module: HerdModule) -> dict[str, Any]:
    """Build if needed, and return the module's result."""
    params = module.params
    tools = files.read_json(Path(params["toolchain_file"]))
    if tools is None and not module.check_mode:
        raise NotFoundError.plain(
            f"There are no facts about the compiler in {params['toolchain_file']}",
            "run the role toolchain on this host",
        )
    name = params["release"]["release"]
    if tools is None:
        check_requirements(params, "new")
        return {
            "changed": True,
            "reason": "the toolchain is not installed yet",
            **{"id": "", "manifest": {}, "log": "", "progress_file": "", "removed": []},
            "diff": {"before": "", "after": f"{name}: built when the toolchain is installed\n"},
            "ansible_facts": {PENDING: True},
        }
    build = Build(params, tools)
    before = files.read_json(build.pointer) or {}
    reason = build.missing()
    if reason and module.check_mode:
        check_requirements(params, build.id)
    manifest = before if not reason else {} if module.check_mode else build.run()
    ready, begun = build.surplus()
    if not module.check_mode:
        build.prune()
    return {
        "changed": bool(reason or ready or begun),
        "reason": reason,
        "id": build.id,
        "manifest": manifest,
        "log": str(build.log),
        "progress_file": str(build.progress_file),
        "removed": ready,
        "diff": {
            "before": f"{name}: {before.get('id', 'not built')}\n" + removed_line(ready, begun),
            "after": f"{name}: {build.id}\n",
        },
        "ansible_facts": {PENDING: module.check_mode and bool(reason)},
    }


def removed_line(ready: list[str], begun: list[str]) -> str:
    """Return the line of a diff for builds that are removed."""
    names = sorted({*ready, *begun})
    return f"older builds: {', '.join(names)}\n" if names else ""


def main() -> None:
    run_module(
        result,
        release={"type": "dict", "required": True},
        source={"type": "dict", "required": True},
        prefix={"type": "path", "required": True},
        toolchain_file={"type": "path", "required": True},
        compute_capabilities={"type": "list", "elements": "str", "default": []},
        every_node_has_gpu={"type": "bool", "default": True},
        native={"type": "bool", "default": False},
        cmake={"type": "dict", "default": {}},
        ccache_dir={"type": "path", "default": "/var/cache/ccache"},
        jobs={"type": "int", "default": 0},
        free_mib={"type": "int", "default": 1024},
        keep={"type": "int", "default": 2},
    )


if __name__ == "__main__":
    main()
