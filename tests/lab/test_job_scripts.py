# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Slurm accepts the recorded job script of each model of vLLM, in both ways.

One host has the controller and its accounting. Its nodes are in the cloud, so Slurm plans with them and starts none.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.test_lab import lab, on
from tests.vllm import golden_jobs

pytestmark = pytest.mark.lab

NAME = f"v{os.getpid()}"
HOST = """
binds = ["{scripts}:/srv/scripts:ro"]
[hosts.slurm-ctl]
eth = "10.0.0.5"
layers = ["slurm"]
"""
#: Two nodes with four GPUs each, as the largest models need them.
NODES = """
ResumeProgram=/bin/true
SuspendProgram=/bin/true
SuspendTime=86400
NodeName=gpu-[01-02] CPUs=64 RealMemory=770000 Gres=gpu:h100:4 State=CLOUD
PartitionName=capella Nodes=gpu-[01-02] MaxTime=7-00:00:00 State=UP Default=YES
"""
SET_UP = """
set -eu
chmod 0666 /dev/null
sed -i '/^NodeName=/d; /^PartitionName=/d' /etc/slurm/slurm.conf
cat /srv/scripts/nodes.conf >> /etc/slurm/slurm.conf
echo 'NodeName=gpu-[01-02] Name=gpu Type=h100 Count=4' > /etc/slurm/gres.conf
useradd --uid 2003 --create-home kim
sacctmgr -i -Q add account p_scads_pathology Organization=scads
sacctmgr -i -Q add qos ai_opportunistic Priority=100
sacctmgr -i -Q add user kim Account=p_scads_pathology
sacctmgr -i -Q add user llama Account=p_scads_pathology
sacctmgr -i -Q modify user llama set qos+=ai_opportunistic
# The controller reads the nodes and all of the accounting when it starts.
systemctl restart slurmctld
"""
#: The user of each way.
USERS = {"user": "kim", "operator": "llama"}


def until(command: str, limit_s: float = 120) -> None:
    """Wait until a command on the host succeeds."""
    deadline = time.monotonic() + limit_s
    while (done := on("slurm-ctl", "sh", "-c", command, name=NAME, check=False)).returncode:
        assert time.monotonic() < deadline, f"{command}: {done.stdout}{done.stderr}"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Start the controller, with the accounts that the scripts name; return the folder of the scripts."""
    folder = tmp_path_factory.mktemp("scripts")
    folder.chmod(0o755)
    for name, text in golden_jobs.texts().items():
        (folder / name).write_text(text.partition("\n# rank 0 of job")[0] + "\n", encoding="utf-8")
    (folder / "nodes.conf").write_text(NODES, encoding="utf-8")
    (folder / "set-up").write_text(SET_UP, encoding="utf-8")
    (folder / "lab.toml").write_text(HOST.format(scripts=folder), encoding="utf-8")
    try:
        lab("up", "--config", str(folder / "lab.toml"), name=NAME)
        until("systemctl is-active lab-slurm-accounts")
        on("slurm-ctl", "sh", "/srv/scripts/set-up", name=NAME)
        until("runuser -u llama -- sbatch --test-only -A p_scads_pathology -q ai_opportunistic --wrap true")
        until("runuser -u kim -- sbatch --test-only -A p_scads_pathology --wrap true")
        yield folder
    finally:
        lab("down", name=NAME)


def answers(names: list[str], options: str = "") -> dict[str, str]:
    """Ask Slurm about all scripts, in one shell."""
    asked = [f"runuser -u {USERS[name.split('.')[-2]]} -- sbatch --test-only {options}" for name in names]
    commands = [f"echo '{name} '$({ask} /srv/scripts/{name} 2>&1)" for name, ask in zip(names, asked, strict=True)]
    said = on("slurm-ctl", "sh", "-c", f"cd /; {'; '.join(commands)}", name=NAME).stdout
    return dict(line.split(" ", 1) for line in said.splitlines())


def test_slurm_accepts_the_job_of_each_model_in_both_ways(slurm: Path) -> None:
    names = sorted(path.name for path in slurm.glob("*.txt"))
    assert len(names) == 18
    found = answers(names)
    for name in names:
        start = re.fullmatch(
            r"sbatch: Job \d+ to start at \S+ using (\d+) processors on nodes (\S+) in partition capella", found[name]
        )
        assert start, found[name]
        spec = (slurm / name).read_text(encoding="utf-8")
        nodes, cpus = (
            int(re.findall(rf"^#SBATCH --{key}=(\d+)$", spec, re.M)[0]) for key in ("nodes", "cpus-per-task")
        )
        assert int(start[1]) == nodes * cpus
        assert (start[2] == "gpu-[01-02]") == (nodes == 2)


def test_slurm_refuses_what_the_cluster_lacks(slurm: Path) -> None:
    """The scripts are read: Slurm compares their values with its nodes, accounts and qualities of service."""
    name = "glm-4.7.user.txt"
    for option, says in (
        ("--gpus-per-node=8", "Requested node configuration is not available"),
        ("--account=vasp", "Invalid account or account/partition combination specified"),
        ("--qos=ai_opportunistic", "Invalid qos specification"),
        ("--partition=alpha", "invalid partition specified: alpha"),
    ):
        assert says in answers([name], option)[name]
