#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: router_plan
short_description: Plan which models a router offers, and whether the largest fit together
version_added: 0.1.0
description:
  - Reads the headers of the named models and, with O(scan), of every other GGUF file of a folder. Checks that the
    largest O(models_max) of them fit together on the GPUs and in the memory of this host. A file that does not fit or
    is incomplete is left out with the reason, unless it is named.
  - Composes the router's command line and the preset of each model for the installed release, and inspects both with
    the flag guard (C(docs/reference/flag-guard.md)). An error fails the module, a warning is shown.
  - Changes nothing.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment:
  - herd.inference.attributes.info_module
  - herd.inference.engine_options
  - herd.inference.engine_options.server
  - herd.inference.engine_options.gpus
attributes:
  check_mode:
    details: Without an installed release or a folder of models, RV(pending) is true.
options:
  release:
    description: The engine's release, which determines the rules of allocation.
    type: str
    required: true
  name:
    description: Name of this host in the plan.
    type: str
    required: true
  models:
    description:
      - The named models by their keys in O(entries), in the order of the offer. Each may have C(settings) (over
        O(settings)), C(aliases) (further ids for clients) and C(load_at_start) (whether the router loads it at its
        start).
    type: dict
    default: {}
  entries:
    description: Entries of C(herd_models), with C(file), and C(metadata) for a file that does not exist yet.
    type: dict
    default: {}
  folder:
    description: Folder of the models' files.
    type: path
    required: true
  scan:
    description: Whether the other models of O(folder) and its folders are offered too.
    type: bool
    default: true
  exclude:
    description: Ids of models of the folder that are not offered.
    type: list
    elements: str
    default: []
  settings:
    description: Settings of every model, as in C(head_server_settings).
    type: dict
    default: {}
  models_max:
    description: Most models in memory at the same time. The least recently used one is evicted.
    type: int
    default: 2
  sleep_idle_seconds:
    description: Idle seconds after which a model releases its memory until the next request. V(0) is never.
    type: int
    default: 0
  stop_seconds:
    description: Seconds before a model's process is killed at a stop.
    type: int
    default: 10
  booked_mib:
    description: MiB of each GPU that the layers of the head's model take on this host.
    type: list
    elements: float
    default: []
  reserve_mib:
    description: MiB that stay free on each GPU.
    type: int
    default: 0
  memory_gib:
    description: Memory of this host in GiB. V(0) reads it from the host.
    type: float
    default: 0
  memory_max:
    description: Memory limit of the service, such as V(64G); empty for none.
    type: str
    default: ''
  timeout_s:
    description: Longest silence of a connection in seconds, including the time to load a model.
    type: int
    default: 600
  preset_file:
    description: File of the presets.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Plan the router
  herd.inference.router_plan:
    prefix: /opt/llama.cpp
    release: 0c1e57098
    name: vasp-02
    folder: /scratch/ai/models
    models:
      strand-rust-coder-14b-q8_0: {aliases: [strand-rust-coder]}
    entries: "{{ herd_models }}"
    settings: {context: 8192, batch: 512, cache_type_k: q8_0, cache_type_v: q8_0}
    gpus: [{name: Tesla V100S-PCIE-32GB, memory_mib: 32768, compute_capability: "7.0"}]
    listen_address: 10.0.0.42
    listen_port: 8080
    api_key_file: /etc/herd/router/api-keys
    preset_file: /etc/herd/router/presets.ini
"""

RETURN = r"""
pending:
  description: Whether the release or the folder does not exist yet, which only check mode accepts.
  returned: always
  type: bool
release:
  description: Id of the release.
  returned: always
  type: str
  sample: 0c1e57098-cuda70-1a2b3c4d
argv:
  description: Command line with the program's path in the release.
  returned: always
  type: list
  elements: str
  sample: [/opt/llama.cpp/releases/0c1e57098-cuda70-1a2b3c4d/bin/llama-server, --models-max, "2"]
offers:
  description: Id, path and aliases of the offered models.
  returned: always
  type: list
  elements: dict
  sample: [{id: strand-rust-coder-14b-q8_0, path: /m/strand-rust-coder-14b-q8_0.gguf, aliases: []}]
left_out:
  description: Reasons by id of models that are not offered.
  returned: always
  type: dict
files:
  description: Files of the service by path, the presets among them.
  returned: always
  type: dict
  sample: {/etc/herd/router/presets.ini: "[strand-rust-coder-14b-q8_0]"}
environment:
  description: Variables of the service.
  returned: always
  type: dict
  sample: {LLAMA_ARG_API_KEY_FILE: /etc/herd/router/api-keys}
plan:
  description:
    - C(fits), C(problems), C(remedies) and C(warnings) in words, C(models) with bytes, C(largest) by id, C(together)
      and C(free) in bytes of each device, C(memory) with C(least) and C(comfortable) in bytes, and C(table) as text.
  returned: always
  type: dict
  sample: {fits: true, largest: [strand-rust-coder-14b-q8_0]}
findings:
  description: Warnings and accepted findings of the flag guard.
  returned: always
  type: list
  elements: dict
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.engine import arguments as engine_arguments
from ansible_collections.herd.inference.plugins.module_utils.core.engine import gpu_environment, router_mode
from ansible_collections.herd.inference.plugins.module_utils.core.engine.flags import attention_kernels
from ansible_collections.herd.inference.plugins.module_utils.core.engine.flags import guard as flag_guard
from ansible_collections.herd.inference.plugins.module_utils.core.engine.flags import subject as flag_subject
from ansible_collections.herd.inference.plugins.module_utils.core.errors import (
    HerdError,
    NotFoundError,
)
from ansible_collections.herd.inference.plugins.module_utils.core.models import ids as model_ids
from ansible_collections.herd.inference.plugins.module_utils.core.models import metadata_reader
from ansible_collections.herd.inference.plugins.module_utils.core.placement import from_inventory as inventory_placement
from ansible_collections.herd.inference.plugins.module_utils.core.placement import (
    router_fit,
    router_inventory,
    router_models,
)
from ansible_collections.herd.inference.plugins.module_utils.herd_module import (
    ENGINE_OPTIONS,
    SERVER_OPTIONS,
    HerdModule,
    run_module,
)
from ansible_collections.herd.inference.plugins.module_utils.ports.host import memory
from ansible_collections.herd.inference.plugins.module_utils.ports.models import folder as model_folder
from ansible_collections.herd.inference.plugins.module_utils.ports.models.gguf_source import open_file
from ansible_collections.herd.inference.plugins.module_utils.ports.release import manifest as release_manifest


def named_models(given: dict[str, Any]) -> list[dict[str, Any]]:
    """List the named models with their entries of the inventory."""
    found = []
    for key, told in given["models"].items():
        entry = router_inventory.entry_of(key, told, given["entries"])
        wanted = dict(told or {})
        found.append(
            {
                "file": str(entry["file"]),
                "metadata": entry.get("metadata") or {},
                "settings": wanted.get("settings") or {},
                "aliases": [str(alias) for alias in wanted.get("aliases") or ()],
                "load_at_start": bool(wanted.get("load_at_start")),
                "named": True,
            }
        )
    return found


def candidates(given: dict[str, Any]) -> tuple[list[dict[str, Any]], list[str], dict[str, str]]:
    """List the named models, further files of the folder, and the reasons for files with other names."""
    named = named_models(given)
    files = {model["file"] for model in named}
    # In check mode before the first run, the folder does not exist yet.
    is_there = not given["check_mode"] or Path(given["folder"]).exists()
    listed = model_folder.listed(Path(given["folder"])) if given["scan"] and is_there else []
    kept = [file for file in listed if file not in files and model_ids.file_id(file) not in given["exclude"]]
    return named, router_mode.models_among(kept), router_models.misnamed(kept)


def entry_of(model: dict[str, Any], given: dict[str, Any]) -> router_fit.RouterModel:
    """Read a model's metadata from its file, or from the inventory if the file does not exist yet."""
    path = Path(given["folder"]) / model["file"]
    settings = engine_arguments.merged(given["settings"], model["settings"])
    try:
        metadata = metadata_reader.metadata_of_files(str(path.parent), path.name, lambda name: open_file(Path(name)))
    except NotFoundError:
        if not given["check_mode"]:
            raise
        return router_fit.RouterModel(
            model_ids.file_id(path.name), inventory_placement.metadata_in(model), settings, model["named"]
        )
    return router_fit.RouterModel(model_ids.file_id(path.name), metadata, settings, model["named"])


def read(given: dict[str, Any]) -> tuple[list[tuple[dict[str, Any], router_fit.RouterModel]], dict[str, str]]:
    """Read all candidates. Return those that can be offered, and the reasons for the others."""
    engine_arguments.merged(given["settings"])
    named, files, left_out = candidates(given)
    entries = [(model, entry_of(model, given)) for model in named]
    names = {name for model, entry in entries for name in (entry.id, *model["aliases"])}
    chosen, problems = router_models.select([found_file(file, given) for file in files], names)
    for one in chosen:
        model = {"file": one.file, "aliases": [], "settings": {}, "load_at_start": False, "named": False}
        settings = engine_arguments.merged(given["settings"])
        entries.append((model, router_fit.RouterModel(one.id, one.metadata, settings, False)))
    return entries, {**left_out, **problems}


def found_file(file: str, given: dict[str, Any]) -> router_models.ModelFile:
    """Read a file that was found in the folder."""
    path = Path(given["folder"]) / file
    try:
        metadata = metadata_reader.metadata_of_files(str(path.parent), path.name, lambda name: open_file(Path(name)))
    except (HerdError, OSError) as error:
        return router_models.ModelFile(file, problem=str(error))
    return router_models.ModelFile(file, metadata)


def offers_of(
    given: dict[str, Any], entries: list[tuple[dict[str, Any], router_fit.RouterModel]], plan: dict[str, Any]
) -> list[router_mode.Offer]:
    """Compose the offers: all models that are not left out, on the devices of the plan."""
    placed = {model["id"]: model for model in plan["models"]}
    return [
        router_mode.Offer(
            entry.id,
            f"{given['folder'].rstrip('/')}/{model['file']}",
            entry.settings,
            tuple(model["aliases"]),
            given["sleep_idle_seconds"],
            given["stop_seconds"],
            model["load_at_start"],
            tuple(placed.get(entry.id, {}).get("devices", ())),
            tuple(placed.get(entry.id, {}).get("split", ())),
            attention_kernels.shapes_of(entry.metadata.to_data()) if entry.metadata else (),
        )
        for model, entry in entries
        if entry.id not in plan["left_out"]
    ]


def plan_router(given: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Plan the router. Return the result and warnings."""
    found = release_manifest.needed_manifest(Path(given["prefix"]), given["check_mode"])
    entries, left_out = read(given)
    machine = router_fit.RouterHost(
        given["name"],
        given["gpus"],
        given["memory_gib"] or memory.total_bytes() / (1 << 30),
        reserve_mib=given["reserve_mib"],
        memory_max=given["memory_max"],
        booked_mib=given["booked_mib"],
    )
    plan = router_models.plan([entry for _model, entry in entries], machine, given["models_max"], given["release"])
    offers = offers_of(given, entries, plan)
    is_pending = found is None or (given["check_mode"] and not offers)
    if not is_pending:
        router_mode.require_distinct(offers)
    argv = router_mode.arguments(
        given["preset_file"],
        given["models_max"],
        (given["listen_address"], given["listen_port"]),
        given["api_key_file"],
        given["timeout_s"],
        (given["tls"].get("certificate") or "", given["tls"].get("key") or ""),
    )
    findings: list[flag_subject.Finding] = []
    warnings = [f"{name} is not offered: {reason}" for name, reason in {**left_out, **plan["left_out"]}.items()]
    program, directory, accepted = "llama-server", Path(given["prefix"]) / "current", frozenset[str]()
    if found is not None:
        directory, program = found[0], found[1]["programs"]["head"]
        engine = flag_subject.engine_of(found[1], program)
        accepted = engine.accepted
        capabilities = gpu_environment.capabilities(given["gpus"])
        added = {str(name): str(value) for name, value in given["environment"].items()}
        # In check mode, the release to be built may have what the installed one lacks.
        rules = given["accepted_rules"] + (["tls-not-built"] if given["check_mode"] else [])
        findings = router_mode.findings(offers, argv, engine, rules, capabilities, added)
        warnings += flag_guard.require_clean(findings, "the router")
    presets = router_mode.presets(offers, accepted) if offers else ""
    result = {
        "pending": is_pending,
        "release": found[1]["id"] if found else "",
        "argv": [str(directory / "bin" / program), *argv],
        "offers": [{"id": offer.id, "path": offer.path, "aliases": list(offer.aliases)} for offer in offers],
        "left_out": {**left_out, **plan["left_out"]},
        "files": {given["preset_file"]: presets},
        "environment": {
            **router_mode.environment(given["api_key_file"]),
            **gpu_environment.environment(given["gpus"], given["name"]),
            **given["environment"],
        },
        "plan": plan,
        "findings": [asdict(finding) for finding in findings],
    }
    return result, warnings + plan["warnings"]


def result(module: HerdModule) -> dict[str, Any]:
    """Plan the router, warn, and return the module's result."""
    planned, warnings = plan_router({**module.params, "check_mode": module.check_mode})
    for warning in warnings:
        module.warn(warning)
    return planned


def main() -> None:
    run_module(
        result,
        release={"type": "str", "required": True},
        name={"type": "str", "required": True},
        models={"type": "dict", "default": {}},
        entries={"type": "dict", "default": {}},
        folder={"type": "path", "required": True},
        scan={"type": "bool", "default": True},
        exclude={"type": "list", "elements": "str", "default": []},
        settings={"type": "dict", "default": {}},
        models_max={"type": "int", "default": 2},
        sleep_idle_seconds={"type": "int", "default": 0},
        stop_seconds={"type": "int", "default": 10},
        gpus={"type": "list", "elements": "dict", "default": []},
        booked_mib={"type": "list", "elements": "float", "default": []},
        reserve_mib={"type": "int", "default": 0},
        memory_gib={"type": "float", "default": 0},
        memory_max={"type": "str", "default": ""},
        timeout_s={"type": "int", "default": 600},
        preset_file={"type": "path", "required": True},
        **ENGINE_OPTIONS,
        **SERVER_OPTIONS,
    )


if __name__ == "__main__":
    main()
