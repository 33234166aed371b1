# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The job of each model of the cluster's configuration, in both ways: its script and vLLM's command lines.

C(python -m tests.vllm.golden_jobs) writes the files that the unit tests compare with. Read the difference before you
commit it.
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from ansible_collections.herd.inference.plugins.module_utils.agent.vllm import config_file
from ansible_collections.herd.inference.plugins.module_utils.core.vllm import config
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.job import builder, command, script
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.job import run as job_run
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.job import spec as job_spec

ROOT = Path(__file__).parents[2]
CONFIGURATION = ROOT / "inventory" / "capella" / "config.yaml"
FOLDER = ROOT / "tests" / "fixtures" / "vllm" / "jobs"
_WORK = "/data/horse/ws/kim-vllm"
_HASH = "0123456789ab"
USER_SITE = builder.Site("kim", _WORK, f"{_WORK}/bin/herdctl", f"{_WORK}/venv/{_HASH}", vllm_release="0.32.0")
OPERATOR_SITE = builder.Site(
    user="llama",
    work_dir="/cluster/shared/ai/vllm",
    herdctl="/opt/herd/bin/herdctl",
    venv_dir=f"/opt/vllm/{_HASH}",
    way=job_spec.OPERATOR,
    key_file="/etc/herd/vllm-api-key",
    vllm_release="0.32.0",
    nodes={f"gpu-0{n}": job_spec.HostFacts(f"10.0.0.{n}", f"10.78.0.{n}", "ib0") for n in (1, 2)},
    qos="ai_opportunistic",
    nodelist=("gpu-01", "gpu-02"),
    timing=job_spec.JobTiming(drain=20, settle=3, renew_before=1800),
    is_renewed=True,
    tier="large",
    registry="/cluster/shared/ai/endpoints",
    guard="/run/herd-guard/socket",
)
SITES = {"user": USER_SITE, "operator": OPERATOR_SITE}


def run_of(spec: job_spec.JobSpec) -> job_run.Run:
    """Make a run of a job on nodes with InfiniBand."""
    places = tuple(
        job_run.RankPlace(f"gpu-0{n}", f"10.78.0.{n}", "ib0", f"10.0.0.{n}", ("mlx5_0:1",))
        for n in range(1, spec.nodes + 1)
    )
    return job_run.Run("4711", 0, places, 29922, 29923, spec.port, "ab" * 32)


def text_of(spec: job_spec.JobSpec) -> str:
    """Return the script of a job, and command line and environment of each rank."""
    run, parts = run_of(spec), [script.render(spec)]
    for rank in range(spec.nodes):
        argv = command.rank_command(spec, run, rank, "/tmp/hv4711-x/engine.yaml")
        inherited = {"HOME": "/home/kim", "PATH": "/usr/bin:/bin", "http_proxy": "http://proxy:3128"}
        places = ("/tmp/hv4711-x", spec.key_file, "/opt/herd/lib")
        environment = command.rank_environment(spec, run, rank, inherited, *places)
        parts.append(
            f"# rank {rank} of job 4711\n" + " \\\n  ".join(shlex.join(argv).split(" --")).replace("\n  ", "\n  --")
        )
        parts += [f"{name}={value}" for name, value in sorted(environment.items())]
    return "\n".join(parts) + "\n"


def texts() -> dict[str, str]:
    """Return all files by their names."""
    settings: config.Config = config_file.load(CONFIGURATION)
    found = {}
    for key, entry in settings.models.items():
        for way, site in SITES.items():
            here = replace(site, nodelist=site.nodelist[: entry.nodes])
            found[f"{key}.{way}.txt"] = text_of(builder.build(settings, key, here))
    return found


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in texts().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
