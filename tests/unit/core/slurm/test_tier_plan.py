# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans of the inventory's tiers."""

from __future__ import annotations

import json
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.herd.inference.plugins.filter.tier_plan import DEFAULTS, tier_plan
from ansible_collections.herd.inference.plugins.module_utils.core.models.metadata import metadata_of
from ansible_collections.herd.inference.plugins.module_utils.core.slurm import job_spec
from tests.engine.generated.attention import llama
from tests.engine.generated.model import Dense, header_of
from tests.unit.core.engine.flags.flag_lines import NEW

ROOT = Path(__file__).parents[4]
GPU = {"name": "Tesla V100S-PCIE-32GB", "compute_capability": "7.0", "memory_mib": 32768}
PATHS = {
    "prefix": "/opt/llama.cpp",
    "models": "/scratch/ai/models",
    "shared": "/cluster/shared",
    "key_file": "/etc/herd/tiers/api-keys",
    "guard": "/run/herd-guard/guard.sock",
    "cache": "/var/cache/herd/rpc",
}


@cache
def parsed(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def read(path: str) -> Any:
    return deepcopy(parsed(path))


def models(site: str) -> dict[str, Any]:
    if site == "lab_slurm":
        found: dict[str, Any] = read("inventory/lab/group_vars/all/models.yml")["herd_models"]
        return found
    entries = read("inventory/beefcake2/group_vars/all/models.yml")["herd_model_entries"]
    computed = read("inventory/beefcake2/group_vars/all/models_computed.json")["herd_models_computed"]
    return {key: {**entry, **computed.get(key, {})} for key, entry in entries.items()}


def hosts(gpus: int, memory: int) -> dict[str, dict[str, Any]]:
    return {
        f"vasp-0{n}": {
            "ansible_host": f"10.0.0.4{n}",
            "herd_fabric_address": f"10.100.0.4{n}",
            "herd_fabric_interface": "ib0",
            "herd_gpus": [GPU] * gpus,
            "herd_memory_gib": memory,
        }
        for n in (1, 2, 3)
    }


def small_model(name: str, dense: Dense) -> dict[str, dict[str, Any]]:
    """Describe a generated model as an entry of herd_models."""
    metadata = metadata_of(header_of(llama(name, dense)))
    return {name: {"file": f"{name}.gguf", "layers": dense.layers, "metadata": metadata.to_data()}}


#: Attention with 512 values for each head: 0c1e57098 has kernels for it, on a V100 only for a ratio of 4.
WIDE = small_model("wide", Dense(9, 1024, 4, 2, 512, 1536))


def plan(
    site: str, change: Any = None, more: dict[str, dict[str, Any]] | None = None, release: str = "0c1e57098"
) -> dict[str, Any]:
    """Plan the tiers of an inventory after a change, also with more models."""
    tiers = read(f"inventory/{site}/group_vars/all/tiers.yml")["herd_tiers"]
    if change:
        change({tier["name"]: tier for tier in tiers})
    machines = hosts(0, 4) if site == "lab_slurm" else hosts(1, 376)
    entries = {**models(site), **(more or {})}
    return tier_plan(tiers, machines, sorted(machines), entries, release, "llama", 50052, PATHS)


def test_tiers_of_the_documents_are_planned() -> None:
    found = plan("beefcake2_slurm")
    assert found["problems"] == []
    fast, reasoning = found["tiers"]["fast"], found["tiers"]["reasoning"]
    assert fast["limits"] == {
        "memory": "43G", "nodelist": ["vasp-02"], "exclude": [], "account": "", "gres_flags": "enforce-binding",
    }  # fmt: skip
    # 64G was too small. The inventory sets this limit.
    assert reasoning["limits"]["memory"] == "200G"
    assert not any("memory limit" in warning for warning in found["warnings"])
    assert reasoning["data"]["split"] == {"vasp-01": 39, "vasp-03": 41}
    assert "in MiB" in reasoning["table"]


def on_three_nodes(tiers: dict[str, Any]) -> None:
    """Give the tier reasoning all three nodes, as the comment of the inventory says."""
    tiers["reasoning"].pop("hosts")
    tiers["reasoning"].update(nodes=3, split={"vasp-01": 26, "vasp-02": 27, "vasp-03": 27})


def test_both_tiers_of_the_documents_serve_at_once() -> None:
    found = plan("beefcake2_slurm")
    assert found["warnings"] == []
    assert [one["tier"]["gpu_conflict"] for one in found["tiers"].values()] == ["", ""]
    places = {name: one["limits"]["nodelist"] for name, one in found["tiers"].items()}
    assert places == {"fast": ["vasp-02"], "reasoning": ["vasp-01", "vasp-03"]}
    assert found["tiers"]["reasoning"]["data"]["settings"]["context"] == 131072


def test_planned_limit_is_above_the_one_that_was_too_small() -> None:
    limit = plan("beefcake2_slurm", lambda tiers: tiers["reasoning"].update(memory=""))["tiers"]["reasoning"]
    assert limit["limits"]["memory"] == f"{limit['memory_mib'] // 1024}G"
    assert 64 * 1024 < limit["memory_mib"] < 96 * 1024
    # Prompts that the engine keeps come on top.
    settings = {"context": 131072, "cache_type_k": "q4_0", "cache_type_v": "q4_0", "cache_ram_mib": 8192}
    kept = plan("beefcake2_slurm", lambda tiers: tiers["reasoning"].update(memory="", settings=settings))
    assert kept["problems"] == []
    assert kept["tiers"]["reasoning"]["memory_mib"] >= limit["memory_mib"] + 8192


@pytest.mark.parametrize("load_mode", ["mmap", "read", "lock", "lock_read"])
def test_pages_of_the_file_count_in_each_load_mode(load_mode: str) -> None:
    def change(tiers: dict[str, Any]) -> None:
        settings = {**tiers["reasoning"]["settings"], "load_mode": load_mode}
        tiers["reasoning"].update(memory="", settings=settings)

    assert plan("beefcake2_slurm", change)["tiers"]["reasoning"]["memory_mib"] > 64 * 1024


@pytest.mark.parametrize("memory", ["64G", "8G", "5G", "65536"])
def test_limit_below_the_plan_gets_a_warning(memory: str) -> None:
    found = plan("beefcake2_slurm", lambda tiers: tiers["reasoning"].update(memory=memory))
    assert found["problems"] == []
    (warning,) = [text for text in found["warnings"] if "memory limit" in text]
    assert "tier reasoning: its memory limit of" in warning
    assert "Slurm kills a job that reaches" in warning
    assert "Write at least 73G" in warning


def test_planned_limit_fits_on_the_smallest_node() -> None:
    tiers = read("inventory/beefcake2_slurm/group_vars/all/tiers.yml")["herd_tiers"]
    tiers[1]["memory"] = ""
    machines = hosts(1, 376)
    machines["vasp-03"]["herd_memory_gib"] = 64
    found = tier_plan(tiers, machines, sorted(machines), models("beefcake2_slurm"), "0c1e57098", "llama", 50052, PATHS)
    assert found["problems"] == []
    assert found["tiers"]["reasoning"]["limits"]["memory"] == "57G"
    assert any("its smallest node can give it 57G, and it may need 73G" in text for text in found["warnings"])


def test_tiers_with_the_same_gpu_get_a_warning() -> None:
    found = plan("beefcake2_slurm", on_three_nodes)
    (warning,) = found["warnings"]
    assert "the tiers fast and reasoning NEVER SERVE AT THE SAME TIME: each needs a GPU of vasp-02, which has 1" in (
        warning
    )
    for name in ("fast", "reasoning"):
        assert (
            "need the same GPU of vasp-02 and never serve at the same time"
            in found["tiers"][name]["tier"]["gpu_conflict"]
        )


def test_tiers_of_the_lab_have_no_gpu_conflict() -> None:
    found = plan("lab_slurm")
    assert (found["problems"], found["warnings"]) == ([], [])


def test_tiers_of_the_lab_have_the_layout_of_the_documents() -> None:
    keys = ("name", "kind", "nodes", "hosts", "gres", "gateway_port", "job_name", "script")
    layouts = [
        [
            {key: tier.get(key) for key in keys}
            for tier in read(f"inventory/{site}/group_vars/all/tiers.yml")["herd_tiers"]
        ]
        for site in ("lab_slurm", "beefcake2_slurm")
    ]
    assert layouts[0] == layouts[1]


@pytest.mark.parametrize("site", ["lab_slurm", "beefcake2_slurm"])
@pytest.mark.parametrize("tier", ["fast", "reasoning"])
def test_planned_specification_is_readable(site: str, tier: str) -> None:
    data = plan(site)["tiers"][tier]["data"]
    job = job_spec.read_job(json.dumps(data))
    assert job.tier == tier
    assert job.timing.grace == 30
    places = {"fast": {"vasp-02": "10.100.0.42"}, "reasoning": {"vasp-01": "10.100.0.41", "vasp-03": "10.100.0.43"}}
    assert {name: node.fabric for name, node in job.nodes.items()} == places[tier]


def test_router_models_have_the_names_of_their_files() -> None:
    tiers = plan("beefcake2_slurm")["tiers"]
    assert [m["id"] for m in tiers["fast"]["data"]["models"]] == ["strand-rust-coder-14b-q8_0"]
    assert [m["id"] for m in tiers["reasoning"]["data"]["models"]] == ["OR1-Behemoth"]


def test_job_may_run_on_any_of_more_hosts() -> None:
    def anywhere(tiers: dict[str, Any]) -> None:
        tiers["fast"].update(hosts=["vasp-02", "vasp-03"])

    limits = plan("beefcake2_slurm", anywhere)["tiers"]["fast"]["limits"]
    assert (limits["nodelist"], limits["exclude"]) == ([], ["vasp-01"])


@pytest.mark.parametrize(
    ("tier", "change", "words"),
    [
        ("reasoning", {"memory": "2G"}, "Slurm would kill it"),
        ("reasoning", {"memory": "2000"}, "Slurm would kill it"),
        ("reasoning", {"memory": "a lot"}, "a memory limit such as 200G"),
        ("reasoning", {"settings": {"context": 1048576}}, "expected"),
        ("fast", {"settings": {"context": 262144}}, "expected"),
        ("fast", {"models": ["nothing"]}, "models of the tier fast"),
        ("fast", {"models": ["or1-behemoth-q8_0"]}, "expected"),
        ("fast", {"hosts": ["vasp-09"]}, "hosts of the tier fast"),
        ("reasoning", {"nodes": 4}, "at least 4 hosts"),
        ("reasoning", {"models": ["strand-rust-coder-14b-q8_0", "or1-behemoth-q8_0"]}, "expected one model"),
        ("fast", {"nodes": 2}, "a router runs on one"),
        ("fast", {"name": "Fast Tier"}, "small letters"),
        ("fast", {"name": "reasoning"}, "found reasoning twice"),
        ("fast", {"gateway_port": 8081}, "found 8081 twice"),
        ("fast", {"script": "../x"}, "file name"),
        ("fast", {"job_name": "x" * 65}, "expected a job_name of at most 64"),
        ("fast", {"job_name": "llama\n#SBATCH --mem=1G"}, "expected a job_name of at most 64"),
        ("fast", {"job_name": "llama 14b"}, "expected a job_name of at most 64"),
        ("fast", {"job_name": "-llama"}, "expected a job_name of at most 64"),
        ("fast", {"job_name": "llama\u00fc"}, "expected a job_name of at most 64"),
        ("fast", {"job_name": ""}, "expected a job_name of at most 64"),
        ("fast", {"grace": 5}, "at least 15 seconds"),
        ("fast", {"time_limit": "00:20:00"}, "renew_before between"),
        ("fast", {"time_limit": "a while"}, "time limit such as"),
        ("fast", {"settings": {"kontext": 1}}, "settings of the head"),
        ("fast", {"presets": {"nothing": {}}}, "found one of nothing"),
        ("fast", {"presets": {"strand-rust-coder-14b-q8_0": {"context": 1}}}, "found context"),
        ("fast", {"presets": {"strand-rust-coder-14b-q8_0": {"settings": {"kontext": 1}}}}, "settings of the head"),
        ("fast", {"presets": {"strand-rust-coder-14b-q8_0": {"settings": {"context": 262144}}}}, "expected room"),
        ("reasoning", {"presets": {"or1-behemoth-q4_k_m": {}}}, "presets of a router only"),
    ],
)
def test_each_problem_is_one_sentence(tier: str, change: dict[str, Any], words: str) -> None:
    found = plan("beefcake2_slurm", lambda tiers: tiers[tier].update(change))
    assert any(words in problem for problem in found["problems"]), found["problems"]
    assert all("Traceback" not in problem and len(problem) < 700 for problem in found["problems"])


def test_defaults_of_filter_and_role_are_equal() -> None:
    options = read("roles/slurm_tiers/meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    tier = options["slurm_tiers_tiers"]["options"]
    assert {name: facts["default"] for name, facts in tier.items() if "default" in facts} == DEFAULTS


@pytest.mark.parametrize(
    ("change", "is_other"),
    [
        ({}, False),
        ({"enabled": False}, False),
        ({"memory": "300G"}, True),
        ({"settings": {"context": 65536, "cache_type_k": "q4_0", "cache_type_v": "q4_0"}}, True),
        ({"gres": "shard:1"}, True),
        ({"hosts": ["vasp-03", "vasp-01"]}, False),
        ({"account": "other"}, True),
        ({"time_limit": "2-00:00:00"}, True),
        ({"job_name": "llama-72"}, True),
        ({"grace": 40}, True),
    ],
)
def test_fingerprint_covers_the_configuration_of_a_job(change: dict[str, Any], is_other: bool) -> None:
    before = plan("beefcake2_slurm")["tiers"]["reasoning"]
    after = plan("beefcake2_slurm", lambda tiers: tiers["reasoning"].update(change))["tiers"]["reasoning"]
    assert (before["fingerprint"] != after["fingerprint"]) is is_other
    assert after["data"]["fingerprint"] == after["tier"]["fingerprint"] == after["fingerprint"]
    assert job_spec.read_job(json.dumps(after["data"])).fingerprint == after["fingerprint"]


def test_longest_grace_of_its_tiers_applies_to_a_qos() -> None:
    assert plan("beefcake2_slurm")["graces"] == {"ai_opportunistic": 30}
    assert plan("beefcake2_slurm", lambda tiers: tiers["fast"].update(grace=90))["graces"] == {"ai_opportunistic": 90}


def test_specification_of_a_router_has_folder_and_presets() -> None:
    preset = {"aliases": ["strand"], "settings": {"slots": 2}, "load_at_start": True}

    def change(tiers: dict[str, Any]) -> None:
        tiers["fast"].update(presets={"strand-rust-coder-14b-q8_0": preset}, exclude=["notes"])

    found = plan("beefcake2_slurm", change)
    assert found["problems"] == []
    job = job_spec.read_job(json.dumps(found["tiers"]["fast"]["data"]))
    assert (job.folder, job.scan, list(job.exclude), job.rules) == ("/scratch/ai/models", True, ["notes"], "0c1e57098")
    (model,) = job.models
    assert (list(model.aliases), model.settings, model.at_start) == (["strand"], {"slots": 2}, True)
    assert not job_spec.read_job(json.dumps(found["tiers"]["reasoning"]["data"])).scan


def test_plan_without_a_scan_has_only_named_models() -> None:
    limits = plan("beefcake2_slurm", lambda tiers: tiers["fast"].update(scan=False))["tiers"]["fast"]["limits"]
    assert limits["memory"] == "28G"


@pytest.mark.parametrize(
    ("settings", "release", "is_refused"),
    [
        ({}, "0c1e57098", True),
        ({"flash_attention": "on"}, "0c1e57098", True),
        ({"flash_attention": "off"}, "0c1e57098", False),
        ({"flash_attention": "off"}, "b7836", False),
    ],
)
def test_distributed_tier_without_an_attention_kernel_is_refused(
    settings: dict[str, Any], release: str, is_refused: bool
) -> None:
    change = {"models": ["wide"], "settings": settings, "split": {}}
    found = plan("beefcake2_slurm", lambda tiers: tiers["reasoning"].update(change), WIDE, release)
    words = "key heads of 512, value heads of 512 and 2 query heads for each on a GPU of compute capability 7.0"
    assert any(words in text and "attention-without-kernel" in text for text in found["problems"]) is is_refused
    assert bool(found["problems"]) is is_refused
    assert (words in found["text"]) is is_refused


def test_attention_with_a_kernel_is_planned() -> None:
    change = {"models": ["wide"], "settings": {}, "split": {}}
    more = small_model("wide", Dense(9, 1024, 8, 2, 512, 1536))
    assert plan("beefcake2_slurm", lambda tiers: tiers["reasoning"].update(change), more)["problems"] == []
    old = plan("beefcake2_slurm", lambda tiers: tiers["reasoning"].update(change), more, "b7836")
    assert any("4 query heads" in text for text in old["problems"])


@pytest.mark.parametrize(("flash", "key"), [("on", "problems"), ("auto", "warnings")])
def test_router_tier_is_judged_by_the_settings_of_each_model(flash: str, key: str) -> None:
    def change(tiers: dict[str, Any]) -> None:
        tiers["fast"]["models"].append("wide")
        tiers["fast"].update(presets={"wide": {"settings": {"flash_attention": flash}}})

    found = plan("beefcake2_slurm", change, WIDE)
    assert [text for text in found[key] if "tier fast: model wide: " in text and "attention-without-kernel" in text]
    assert not [text for text in found["problems"] if flash == "auto"]


def test_job_of_a_tier_knows_the_attention_of_its_models() -> None:
    found = plan("beefcake2_slurm")["tiers"]
    job = job_spec.read_job(json.dumps(found["reasoning"]["data"]))
    assert [str(shape) for shape in job.models[0].attention] == [
        "key heads of 128, value heads of 128 and 8 query heads for each"
    ]


DRAFT_TIER = {"speculation": {"types": ["draft-simple"], "file": "/scratch/ai/models/small.gguf", "n_max": 4}}


def test_draft_of_a_distributed_tier_is_planned_on_the_heads_gpu() -> None:
    def change(tiers: dict[str, Any], **settings: Any) -> None:
        tiers["reasoning"].update(memory="", split={})
        tiers["reasoning"]["settings"].update(context=65536, **settings)

    more = small_model("small", Dense(4, 1024, 8, 2, 128, 4096, 151936))
    plain = plan("beefcake2_slurm", change, more)
    found = plan("beefcake2_slurm", lambda tiers: change(tiers, **DRAFT_TIER), more)
    assert found["problems"] == []
    tier, without = found["tiers"]["reasoning"], plain["tiers"]["reasoning"]
    assert "CUDA0: " in tier["table"] and "of the total for projector, adapters and speculation" in tier["table"]
    # The file of the draft (at least 100 MiB), its context of 65536 tokens (1 GiB), and a quarter more.
    assert tier["memory_mib"] - without["memory_mib"] >= 1.25 * (1024 + 100) - 1024
    job = job_spec.read_job(json.dumps(tier["data"]))
    head, workers = job_spec.assign_nodes(job, ["vasp-01", "vasp-03"])
    placed = job_spec.devices(job, head, workers, {"vasp-03": 50052})
    argv = job_spec.head_argv(job, "/x/llama-server", NEW, placed, head.address)
    assert argv[argv.index("--spec-draft-model") + 1] == "/scratch/ai/models/small.gguf"
    assert argv[argv.index("--spec-draft-device") + 1] == "CUDA0"
    other = small_model("small", Dense(4, 1024, 8, 2, 128, 4096, 32000))
    (problem,) = plan("beefcake2_slurm", lambda tiers: change(tiers, **DRAFT_TIER), other)["problems"]
    assert "expected a draft with a vocabulary of 151936 tokens" in problem


def test_draft_of_a_tier_without_an_entry_is_refused() -> None:
    found = plan("beefcake2_slurm", lambda tiers: tiers["reasoning"]["settings"].update(DRAFT_TIER))
    assert any("an entry of herd_models with the file small.gguf of the draft" in text for text in found["problems"])
    router = plan("beefcake2_slurm", lambda tiers: tiers["fast"]["settings"].update(DRAFT_TIER))
    assert any("a router takes no draft" in text for text in router["problems"])
