# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each command of the tutorial of vLLM, in an empty home without Slurm: it works, or one sentence says what to do."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.unit.agent.vllm.test_installed import at_home, fresh, installed

ROOT = Path(__file__).parents[4]
PAGE = ROOT / "docs" / "tutorial-vllm.md"
#: Programs of the cluster and of the operating system, which are no part of the collection.
FOREIGN = ("sacctmgr", "sinfo", "ls", "quota", "git", "cd")
#: What a command says without Slurm, without GPUs and before the installation.
SAYS = {
    "bin/herdctl vllm list": (0, "gpt-oss-20b"),
    "bin/herdctl vllm plan": (2, "the GPUs of this cluster are not known here: name them with --gpu"),
    "bin/herdctl vllm launch": (2, "an environment with vLLM, found no bin/vllm in .*: run playbooks/vllm.yml"),
    "./run.sh": (2, "an environment with vLLM, found no bin/vllm in .*: run playbooks/vllm.yml"),
    "bin/herdctl vllm query": (2, "run this on a login node of the Slurm cluster"),
    "bin/herdctl vllm status": (2, "run this on a login node of the Slurm cluster"),
    "bin/herdctl vllm logs": (2, "has no log in .*: see herdctl vllm status"),
    "bin/herdctl vllm stop": (2, "run this on a login node of the Slurm cluster"),
    "bin/herdctl vllm cleanup": (2, "run this on a login node of the Slurm cluster"),
}
#: Commands of the collection's clone, and what they need: a target of make, a folder, a playbook.
OF_THE_CLONE = {
    "make setup": ("Makefile", r"^setup:"),
    "cp -r inventory/capella inventory/mine": ("inventory/capella/config.yaml", "active_model:"),
    ".venv/bin/ansible-playbook playbooks/vllm.yml -i inventory/mine -e vllm_slurm_launch=false": (
        "roles/vllm_slurm/defaults/main.yml",
        r"^vllm_slurm_launch:",
    ),
}

__all__ = ["fresh", "installed"]


def commands() -> list[str]:
    """Return the commands of the page's consoles, without comments, each once."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    found = [re.sub(r"\s+#.*", "", line.partition("$ ")[2]).strip() for line in lines if re.match(r"(login)?\$ ", line)]
    return list(dict.fromkeys(found))


def name_of(command: str) -> str:
    """Return the program of a command, with the subcommand of herdctl."""
    words = shlex.split(command)
    return " ".join(words[:3]) if words[0] == "bin/herdctl" else words[0]


def test_each_command_of_the_tutorial_is_tried() -> None:
    assert len(commands()) > len(SAYS)
    for command in commands():
        is_ours = name_of(command) in SAYS or command in OF_THE_CLONE
        assert is_ours or command.split()[0] in FOREIGN, command


@pytest.mark.parametrize("command", [command for command in commands() if name_of(command) in SAYS])
def test_command_of_the_tutorial_says_what_to_do(fresh: Path, tmp_path: Path, command: str) -> None:
    program, *arguments = shlex.split(command)
    expected, words = SAYS[name_of(command)]
    status, text = at_home(tmp_path / "home", fresh / program, *arguments)
    assert status == expected, text
    assert re.search(words, text), text
    if status:
        # Notices about keys of the configuration begin with its file and line.
        errors = [line for line in text.splitlines() if line and not re.match(r"\S+config\.yaml:[0-9]+: ", line)]
        assert len(errors) == 1, text


@pytest.mark.parametrize("command", OF_THE_CLONE)
def test_command_of_the_clone_finds_what_it_names(command: str) -> None:
    assert command in commands()
    file, words = OF_THE_CLONE[command]
    assert re.search(words, (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)


def test_files_that_the_tutorial_edits_exist() -> None:
    edited = re.findall(r"^\| `([a-z_/]+\.ya?ml)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(edited) == 3
    for name in edited:
        assert (ROOT / "inventory" / "capella" / name).is_file()
