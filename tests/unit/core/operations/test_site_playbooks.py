# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which playbooks serve a site, and the sentence of the others."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.operations import site_playbooks

SITES = {
    site_playbooks.HEAD: {"head_server": ["a"], "fast_router": [], "model_store": ["a"], "monitoring": ["a"]},
    site_playbooks.ROUTERS: {"fast_router": ["a"], "model_store": ["a"], "monitoring": ["a"]},
    site_playbooks.TIERS: {"slurm_controller": ["c"], "slurm_nodes": ["a"], "model_store": ["c"], "monitoring": ["c"]},
    site_playbooks.VLLM: {"vllm_slurm": ["login"]},
}


@pytest.mark.parametrize("playbook", sorted(site_playbooks.INSTEAD))
@pytest.mark.parametrize("kind", sorted(SITES))
def test_each_playbook_serves_a_site_or_names_the_way(playbook: str, kind: str) -> None:
    found = site_playbooks.problem(playbook, SITES[kind])
    instead = site_playbooks.INSTEAD[playbook].get(kind)
    if instead is None:
        assert found == ""
    else:
        assert found.startswith(f"{playbook}.yml: expected ")
        assert found.endswith(f": {instead}.")
    assert site_playbooks.problem(playbook, {}), "a site without groups is served by none"


def test_site_of_several_kinds_is_served_if_one_of_them_is() -> None:
    assert site_playbooks.problem("vllm", {**SITES["tiers"], **SITES["vllm"]}) == ""
    assert site_playbooks.problem("slurm", {**SITES["tiers"], **SITES["vllm"]}) == ""
    assert "run playbooks/slurm.yml" in site_playbooks.problem("site", {**SITES["tiers"], **SITES["vllm"]})


def test_playbook_without_hosts_to_work_on_is_refused() -> None:
    tiers_of_vllm = {"slurm_controller": ["c"], "vllm_slurm": ["login"]}
    assert "expected hosts in the group model_store" in site_playbooks.problem("check_models", tiers_of_vllm)
    assert "found none: add the hosts that run Prometheus" in site_playbooks.problem("monitoring", tiers_of_vllm)
    assert site_playbooks.problem("collect", tiers_of_vllm) == ""


def test_unknown_playbook_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"core/operations/site_playbooks[.]py"):
        site_playbooks.problem("other", SITES["head"])
