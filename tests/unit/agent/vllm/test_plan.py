# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""C(herdctl vllm plan) uses the files of a model that is here, else the catalogue, else the Hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit import safetensors_bytes as made
from tests.unit.agent.vllm.conftest import CONFIG, ID, WorkSpace
from tests.unit.agent.vllm.test_checkpoint_folder import write
from tests.unit.model_server import ModelServer, Served

H100 = ("--gpu", "h100-80")


def configure(work: WorkSpace, **model: str) -> None:
    """Write a configuration with another model."""
    keys = "\n".join(f"    {key}: {value}" for key, value in model.items())
    text = CONFIG.replace("active_model: gpt-oss-20b", "active_model: mine")
    (work.path / "config.yaml").write_text(f"{text}  mine:\n    port: 8010\n{keys}\n", encoding="utf-8")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    with ModelServer("127.0.0.1").running() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url(""))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        for name, data in made.checkpoint("gpt-oss-20b", files=2).files.items():
            content = data.data if isinstance(data, made.Bytes) else data
            server.files[f"/o/n/resolve/main/{name}"] = Served(content)
        yield server


def test_incomplete_download_leaves_the_facts_to_the_catalogue(work: WorkSpace) -> None:
    status, data = work.json("plan", *H100)
    assert status == 0
    assert data["plans"][0]["source"] == f"catalogue: {ID}"


def test_folder_of_a_model_is_read(work: WorkSpace, tmp_path: Path) -> None:
    write(tmp_path / "m")
    configure(work, path=str(tmp_path / "m"), max_model_len="64")
    status, data = work.json("plan", *H100)
    assert (status, data["plans"][0]["source"]) == (0, str(tmp_path / "m"))


def test_snapshot_in_the_cache_is_read(work: WorkSpace, home: Path) -> None:
    write(home / ".cache/huggingface/hub/models--o--n/snapshots/abc")
    configure(work, huggingface_id="o/n", max_model_len="64")
    status, data = work.json("plan", *H100)
    assert (status, data["fits"]) == (0, True)
    assert data["plans"][0]["source"].endswith("snapshots/abc")


def test_damaged_file_is_named(work: WorkSpace, tmp_path: Path) -> None:
    write(tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").write_bytes(b"<!DOCTYPE html>")
    configure(work, path=str(tmp_path / "m"))
    status, data = work.json("plan", *H100)
    assert status == 2
    assert "begins with {" in data["problems"][0]["error"]


def test_unknown_model_is_read_from_the_hub_if_wanted(work: WorkSpace, hub: ModelServer) -> None:
    configure(work, huggingface_id="o/n")
    status, data = work.json("plan", *H100)
    assert status == 2
    assert "--hub" in data["problems"][0]["error"]
    assert hub.requests == []
    # The server has the headers alone, so the files end early.
    status, data = work.json("plan", "--hub", *H100)
    assert status == 2
    assert "bytes of tensors" in data["problems"][0]["error"]


@pytest.mark.parametrize("token", ["hf_mine\nX-Other: 1", "hf_möglich", "hf mine", "hf_\x7f"])
def test_token_that_no_request_can_carry_is_refused(
    work: WorkSpace, home: Path, hub: ModelServer, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    configure(work, huggingface_id="o/n")
    (home / ".cache/huggingface/token").write_text(token, encoding="utf-8")
    status, data = work.json("plan", "--hub", *H100)
    assert status == 2
    assert "expected a token of printable ASCII in " in data["problems"][0]["error"]
    monkeypatch.setenv("HF_TOKEN", token)
    assert "printable ASCII in HF_TOKEN" in work.json("plan", "--hub", *H100)[1]["problems"][0]["error"]
    assert hub.requests == []


def test_token_of_the_user_is_sent_to_a_gated_model(work: WorkSpace, home: Path, hub: ModelServer) -> None:
    configure(work, huggingface_id="o/n")
    header = made.file(made.entries({"lm_head.weight": ("BF16", [201088, 8])}))
    whole = header.data + bytes(header.size - len(header.data))
    del hub.files["/o/n/resolve/main/model.safetensors.index.json"]
    hub.files["/o/n/resolve/main/model.safetensors"] = Served(whole)
    for served in hub.files.values():
        served.token = "hf_mine"
    status, data = work.json("plan", "--hub", *H100)
    assert status == 2
    assert "gated or private" in data["problems"][0]["error"]
    (home / ".cache/huggingface/token").write_text("hf_mine\n", encoding="ascii")
    status, data = work.json("plan", "--hub", *H100)
    assert (status, data["plans"][0]["source"]) == (0, "o/n")
    assert "hf_mine" not in json.dumps(data)


def test_plan_of_several_nodes_says_that_their_ports_are_open(work: WorkSpace) -> None:
    configure(work, huggingface_id="zai-org/GLM-4.7-FP8", nodes="2", gpus="8")
    notes = work.json("plan", "mine", *H100)[1]["plans"][0]["notes"]
    assert any("The ports between the nodes ask for no secret" in note for note in notes)
    configure(work, huggingface_id="zai-org/GLM-4.7-FP8", gpus="8")
    notes = work.json("plan", "mine", *H100)[1]["plans"][0]["notes"]
    assert not any("ports between" in note for note in notes)


SLURM_CONFIG = Path(__file__).parents[3] / "fixtures/slurm/config-22.05.txt"


def test_plan_says_that_a_preemption_cuts_requests(work: WorkSpace) -> None:
    def notes() -> str:
        return " ".join(work.json("plan", *H100)[1]["plans"][0]["notes"])

    scontrol, answer = work.slurm.bin / "scontrol", work.path / "answer"
    scontrol.write_text(f'#!/bin/sh\n[ "$*" = "show config" ] && cat {answer}\n', encoding="utf-8")
    scontrol.chmod(0o755)
    text = SLURM_CONFIG.read_text(encoding="utf-8")
    answer.write_text(text, encoding="utf-8")
    assert "A preemption cuts running requests: this Slurm announces it to no job" in notes()
    answer.write_text(text.replace("PreemptMode             = REQUEUE", "PreemptMode = OFF"), encoding="utf-8")
    assert "preemption" not in notes()
    for name in ("SlurmctldParameters     = (null)", "PreemptParameters"):
        value = name.split()[0] + " = preempt_send_user_signal"
        changed = text.replace(name, value) if name in text else f"{text}{value}\n"
        answer.write_text(changed, encoding="utf-8")
        assert "preemption" not in notes()
