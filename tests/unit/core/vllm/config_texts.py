# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts of configurations for the tests of vLLM's jobs."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.herd.inference.plugins.module_utils.agent.vllm import config_file
from ansible_collections.herd.inference.plugins.module_utils.core.vllm import config
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.config import Config
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.config_document.findings import (
    InvalidConfigError,
)

SAMPLE = Path(__file__).parents[4] / "inventory" / "capella" / "config.yaml"
FILE = "config.yaml"
#: The least that a configuration has.
LEAST = {
    "active_model": "m",
    "slurm": "{account: a}",
    "models": "{m: {huggingface_id: o/n, port: 8000}}",
}
VARIABLES = {"HOME": "/home/jane", "USER": "jane", "EMPTY": ""}


def text(**sections: str) -> str:
    """Write a configuration: the least one with other values for its top-level keys, each as YAML."""
    return "".join(f"{name}: {value}\n" for name, value in {**LEAST, **sections}.items())


def with_value(path: str, value: str) -> str:
    """Write the least configuration with one more key, on a line of its own."""
    section, _dot, name = path.rpartition(".")
    if section == "models.*":
        model = {"huggingface_id": "o/n", "port": "8000", name: value}
        return text(models="\n  m:\n" + "".join(f"    {key}: {word}\n" for key, word in model.items()))
    if not section:
        return text(**{name: value})
    keys = {**({"account": "a"} if section == "slurm" else {}), name: value}
    return text(**{section: "".join(f"\n  {key}: {word}" for key, word in keys.items())})


def parse(document: str) -> Config:
    """Parse a configuration."""
    return config.parse(config_file.parse(document, FILE), VARIABLES)


def errors(document: str) -> list[str]:
    """Parse a wrong configuration, and return the sentence of each error."""
    try:
        parse(document)
    except InvalidConfigError as error:
        return [finding.sentence(FILE) for finding in error.findings]
    return []
