# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find out where and for whom a vLLM job is built: the user's work space, its environment, and optional facts.

C(site.json) in the work space holds facts that only the site knows: the kind of GPU, addresses of nodes, more options.
Without it, a job finds out on its nodes what it needs.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ....core.errors import InvalidInputError, NotFoundError
from ....core.values import invalid, text, whole
from ....core.vllm.config import Config
from ....core.vllm.job import spec as job_spec
from ....core.vllm.job.builder import Site
from ....core.vllm.memory_plan import GpuKind, gpu_kind
from ...common.regular_files import read_regular
from . import slurm_commands

SCHEMA, LARGEST = 1, 256 * 1024


def installation_of(file: Path) -> Path:
    """Return the root of the installation of this file: its links lead to the current version.

    A job names the program through the links, so that it outlives the removal of an old version.
    """
    # Below a version: lib/herd/agent/vllm/control/user_site.py.
    version = file.resolve().parents[5]
    return version.parents[1] if version.parent.name == "versions" else version


INSTALLATION = installation_of(Path(__file__))
_REMEDY = "correct site.json, or run playbooks/vllm.yml, which writes it"
_WORDS = ("vllm_release", "device", "qos", "gres", "constraint", "reservation")
_LISTS = ("missing", "nodelist", "exclude")
_NUMBERS = {"ports": (1, 64), "requeues": (0, 100)}
_KNOWN = {"schema", "gpu", "nodes", "environment", "drain", "is_renewed", *_WORDS, *_LISTS, *_NUMBERS}
_HOST = ("address", "fabric", "interface")


@dataclass(frozen=True)
class SiteFacts:
    """The facts of C(site.json).

    :ivar gpu: the GPUs of the partition; None if unknown.
    """

    values: Mapping[str, Any]
    drain: int | None = None
    gpu: GpuKind | None = None


def work_dir_of(config: Config) -> Path:
    """Return the work space: C(paths.work_dir), else the directory of the configuration."""
    return Path(config.paths.work_dir or Path(config.file).resolve().parent).resolve()


def _object(data: Any, where: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise invalid(f"an object as {where}", data, _REMEDY)
    return data


def _words(data: Mapping[str, Any], key: str) -> tuple[str, ...]:
    listed = data[key]
    if not isinstance(listed, list) or not all(isinstance(word, str) for word in listed):
        raise invalid(f"a list of words as {key}", listed, _REMEDY)
    return tuple(listed)


def parse_facts(document: str) -> SiteFacts:
    """Read C(site.json) strictly.

    :raises InvalidInputError: for a wrong or unknown value.
    """
    try:
        data = _object(json.loads(document), "the document")
    except (ValueError, RecursionError) as error:
        raise InvalidInputError("site.json to be JSON", str(error)[:80], _REMEDY) from error
    if data.get("schema") != SCHEMA:
        raise invalid(f"schema {SCHEMA}", data.get("schema"), _REMEDY)
    if unknown := sorted(set(data) - _KNOWN):
        raise InvalidInputError(f"keys among {', '.join(sorted(_KNOWN))}", unknown[0], _REMEDY)
    values: dict[str, Any] = {key: text(data, key, 255, _REMEDY) for key in _WORDS if key in data}
    values.update({key: _words(data, key) for key in _LISTS if key in data})
    values.update({key: whole(data, key, *limits, _REMEDY) for key, limits in _NUMBERS.items() if key in data})
    if "is_renewed" in data:
        if not isinstance(data["is_renewed"], bool):
            raise invalid("true or false as is_renewed", data["is_renewed"], _REMEDY)
        values["is_renewed"] = data["is_renewed"]
    if "environment" in data:
        variables = _object(data["environment"], "environment")
        values["environment"] = {name: text(variables, name, 4096, _REMEDY) for name in variables}
    if "nodes" in data:
        values["nodes"] = {
            name: job_spec.HostFacts(
                **{part: text(_object(host, name), part, 255, _REMEDY) for part in _HOST if part in host}
            )
            for name, host in _object(data["nodes"], "nodes").items()
        }
    gpu = None
    if "gpu" in data:
        found = _object(data["gpu"], "gpu")
        # Written without quotes, it is a number.
        capability = text(
            {"compute_capability": str(found.get("compute_capability"))}, "compute_capability", 8, _REMEDY
        )
        gpu = gpu_kind(text(found, "name", 80, _REMEDY), whole(found, "memory_mib", 1, 1 << 24, _REMEDY), capability)
    return SiteFacts(values, whole(data, "drain", 0, 3600, _REMEDY) if "drain" in data else None, gpu)


def read_facts(work_dir: Path) -> SiteFacts:
    """Read C(site.json) of a work space; no facts without the file."""
    path = work_dir / "site.json"
    try:
        return parse_facts(read_regular(path, LARGEST).decode("utf-8", "replace"))
    except FileNotFoundError:
        return SiteFacts({})
    except OSError as error:
        raise InvalidInputError(f"a readable file {path}", error.strerror or str(error), _REMEDY) from error


def venv_of(config: Config, work_dir: Path) -> Path:
    """Find the environment with vLLM: that of the configuration, of the work space, or of the shell.

    The path is without links, so that a switch of the environment changes no job that waits or runs.

    :raises NotFoundError: if there is none.
    """
    if config.paths.venv_dir:
        places = [Path(config.paths.venv_dir)]
    else:
        program = shutil.which("vllm")
        active = os.environ.get("VIRTUAL_ENV")
        places = [work_dir / "venv" / "current", *([Path(active)] if active else [])]
        places += [Path(program).parent.parent] if program else []
    for place in places:
        if (place / "bin" / "vllm").is_file():
            return place.resolve()
    raise NotFoundError(
        "an environment with vLLM",
        f"no bin/vllm in {', '.join(map(str, places))}",
        "run playbooks/vllm.yml, which installs it, or set paths.venv_dir",
    )


def build(config: Config, facts: SiteFacts) -> Site:
    """Build the site of a user's jobs.

    :raises HerdError: if the environment or the program is missing.
    """
    work_dir = work_dir_of(config)
    herdctl = INSTALLATION / "bin" / "herdctl"
    if not herdctl.is_file():
        raise NotFoundError(
            f"the program {herdctl}, which the job calls", "none", "run playbooks/vllm.yml, which installs it"
        )
    site = Site(
        user=slurm_commands.user_name(),
        work_dir=str(work_dir),
        herdctl=str(herdctl),
        venv_dir=str(venv_of(config, work_dir)),
        **facts.values,
    )
    return site if facts.drain is None else replace(site, timing=replace(site.timing, drain=facts.drain))
