# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All playbooks on all inventories, without a host: syntax, the hosts of each play, plans, and refusals."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.herd.inference.plugins.module_utils.agent import herdctl
from ansible_collections.herd.inference.plugins.module_utils.core.operations import site_playbooks

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SITES = ("beefcake2", "beefcake2_slurm", "capella", "lab", "lab_slurm", "lab_vllm")
#: Playbooks that others import with variables of theirs, and one that reads files of the controller only.
PARTS = {"check_site", "switch_release", "compare_benchmarks"}
PLAYBOOKS = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml") if path.stem not in PARTS)
#: Refused playbooks whose work is not the operator's there, or that lack hosts.
NO_OTHER = {"check_fabric", "check_models", "lock_models", "monitoring", "tidy"}
PLANNED = ("beefcake2", "beefcake2_slurm", "lab", "lab_slurm")


def ran(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / program), *arguments],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "HERD_LAB": "none"},
        capture_output=True,
        text=True,
        check=False,
    )


def play(name: str, site: str, *more: str) -> subprocess.CompletedProcess[str]:
    path = "site.yml" if name == "site.yml" else f"playbooks/{name}.yml"
    return ran("ansible-playbook", path, f"--inventory=inventory/{site}", *more)


def groups(site: str) -> dict[str, list[str]]:
    """Return the hosts of each group that stands at the top of an inventory, as all our groups do."""
    tree = yaml.safe_load((ROOT / f"inventory/{site}/hosts.yml").read_text(encoding="utf-8"))["all"]["children"]

    def hosts(name: str) -> list[str]:
        group = tree.get(name) or {}
        inner = [host for child in group.get("children") or {} for host in hosts(child)]
        return list(dict.fromkeys([*(group.get("hosts") or {}), *inner]))

    found = {name: hosts(name) for name in tree}
    return {**found, "all": list(dict.fromkeys(host for names in found.values() for host in names))}


def refused(site: str) -> list[str]:
    """List the playbooks that do not serve a site."""
    here = groups(site)
    return [name for name in PLAYBOOKS if site_playbooks.problem(name, here)]


@pytest.mark.parametrize("name", PLAYBOOKS)
def test_first_play_checks_the_site(name: str) -> None:
    """So nothing runs before the refusal, and one run of the check stands for all playbooks."""
    first = yaml.safe_load((ROOT / f"playbooks/{name}.yml").read_text(encoding="utf-8"))[0]
    assert first["ansible.builtin.import_playbook"] == "check_site.yml"
    assert first["vars"] == {"check_site_playbook": name}
    assert "when" not in first


def test_table_of_sites_has_each_playbook() -> None:
    assert set(PLAYBOOKS) == set(site_playbooks.INSTEAD)


@pytest.mark.parametrize("site", SITES)
def test_refusal_is_one_sentence_that_names_what_serves_the_site(site: str) -> None:
    here = groups(site)
    for name in refused(site):
        text = site_playbooks.problem(name, here)
        assert re.fullmatch(rf"{name}\.yml: expected [^:]+, found [^:]+: .+\.", text), text
        remedy = text.split(": ", 2)[2]
        named = [*re.findall(r"playbooks/([a-z_]+)\.yml", remedy), *re.findall(r"\b(site)\.yml", remedy)]
        for other in named:
            assert other in PLAYBOOKS, text
            assert site_playbooks.problem(other, here) == "", text
        commands = re.findall(r"herdctl ([a-z-]+)", remedy)
        assert set(commands) <= set(herdctl.COMMANDS), text
        assert named or commands or name in NO_OTHER, text


@pytest.mark.parametrize("site", SITES)
def test_each_playbook_that_serves_a_site_matches_hosts(site: str) -> None:
    here = groups(site)
    served = [name for name in PLAYBOOKS if not site_playbooks.problem(name, here)]
    paths = [f"playbooks/{name}.yml" for name in served]
    done = ran("ansible-playbook", *paths, f"--inventory=inventory/{site}", "--list-hosts")
    assert done.returncode == 0, done.stdout + done.stderr
    parts = done.stdout.split("playbook: ")[1:]
    assert len(parts) == len(served)
    for name, part in zip(served, parts, strict=True):
        # The first play is the check of the site, which has all hosts.
        plays = part.split("\n  play #")[2:]
        assert any(f"\n      {host}" in text for text in plays for host in here["all"]), (name, part)


@pytest.mark.parametrize("site", SITES)
def test_other_playbook_stops_with_one_sentence(site: str) -> None:
    # Another playbook at each site.
    names = refused(site)
    name = names[SITES.index(site) % len(names)]
    done = play(name, site)
    assert done.returncode != 0
    problem = site_playbooks.problem(name, groups(site))
    assert problem in " ".join(done.stdout.split()).replace("''", "'"), done.stdout + done.stderr
    # No play follows the check.
    assert done.stdout.count("PLAY [") == 1, done.stdout


@pytest.mark.parametrize("site", PLANNED)
def test_plan_is_made_for_each_site(site: str, tmp_path: Path) -> None:
    written = tmp_path / "plan.json"
    done = play("plan", site, "-e", f"plan_file={written}")
    assert done.returncode == 0, done.stdout
    plan: dict[str, Any] = json.loads(written.read_text(encoding="utf-8"))
    assert plan["fits"] is True
    assert "skipping: [" not in done.stdout
    assert done.stdout.count("left") >= 1, done.stdout


def test_format_is_table_or_data() -> None:
    done = play("plan", "beefcake2", "-e", "format=json")
    assert done.returncode != 0
    assert "-e plan_file=PATH" in done.stdout
    assert "tensor_split:" in play("plan", "beefcake2", "-e", "format=data").stdout


def test_measurement_is_refused_for_tiers() -> None:
    done = play("plan", "beefcake2_slurm", "-e", "measure=true")
    assert done.returncode != 0
    assert "Slurm has freed" in done.stdout


def test_beefcake2_is_the_cluster_of_the_documents(tmp_path: Path) -> None:
    written = tmp_path / "plan.json"
    assert play("plan", "beefcake2", "-e", f"plan_file={written}").returncode == 0
    plan = json.loads(written.read_text(encoding="utf-8"))
    assert plan["split"] == {"vllm-node1": 26, "vllm-node2": 27, "vllm-node3": 27}
    variables = json.loads(ran("ansible-inventory", "-i", "inventory/beefcake2", "--list").stdout)["_meta"]["hostvars"]
    head = variables["vllm-node1"]
    assert head["herd_model"] == "or1-behemoth-q8_0"
    entry = head["herd_model_entries"]["or1-behemoth-q8_0"]
    assert (entry["file"], entry["profile"]) == ("OR1-Behemoth.Q8_0.gguf", "q8_0_4k")
    assert {name: (host["ansible_host"], host["herd_fabric_address"]) for name, host in variables.items()} == {
        "vllm-node1": ("10.0.0.31", "10.100.0.31"),
        "vllm-node2": ("10.0.0.32", "10.100.0.32"),
        "vllm-node3": ("10.0.0.33", "10.100.0.33"),
    }
