# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the commands of C(herdctl vllm) share: the configuration, the model, and how the user called the program."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ....core.errors import NotFoundError
from ....core.slurm.queue import Job
from ....core.text import text_table
from ....core.vllm.config import Config
from ....core.vllm.job import spec as job_spec
from .. import config_file
from . import user_site
from .observer import Observer
from .slurm_commands import UserSlurm

CONFIG_NAME = "config.yaml"


def config_path(given: str) -> Path:
    """Find the configuration: the given one, else that of the current directory, else that beside the installation."""
    if given:
        return Path(given)
    root = user_site.INSTALLATION
    places = [Path(CONFIG_NAME), root.parent / CONFIG_NAME, root / CONFIG_NAME]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise NotFoundError.plain(
            f"there is no {CONFIG_NAME} in {Path.cwd()}, nor in {root.parent}",
            "go to the work space, or name the file with --config; inventory/capella/config.yaml of the collection is "
            "an example",
        )
    return found


def config_of(arguments: argparse.Namespace) -> Config:
    """Read the configuration."""
    return config_file.load(config_path(arguments.config))


def model_of(arguments: argparse.Namespace, config: Config) -> str:
    model = arguments.model or config.active_model
    config.model(model)
    return model


def observer_of(config: Config) -> Observer:
    return Observer(user_site.work_dir_of(config), UserSlurm())


def program() -> str:
    """Return how the user called this program, for lines to copy."""
    return sys.argv[0] if sys.argv[0].endswith("herdctl") else "herdctl"


def model_of_job(arguments: argparse.Namespace, config: Config, jobs: list[Job]) -> str:
    """Return the model that the user names, or that of the job that the user names."""
    if arguments.model or not arguments.job:
        return model_of(arguments, config)
    name = next((job.name for job in jobs if job.id == arguments.job), "")
    for key in config.models:
        log = observer_of(config).log_of(arguments.job, key)
        if job_spec.job_name(key) == name or log is not None:
            return key
    raise NotFoundError.plain(
        f"job {arguments.job} is no job of a model in {config.file}", "see squeue --me, and herdctl vllm status"
    )


def table(rows: list[dict[str, Any]]) -> str:
    return text_table(rows, list(rows[0])) if rows else "the configuration has no models"
