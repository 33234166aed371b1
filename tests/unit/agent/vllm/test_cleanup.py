# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""C(herdctl vllm cleanup) shows a plan, removes only with C(--yes), and never leaves its directories."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.vllm.control import caches
from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.vllm import cache_cleanup
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.cache_cleanup import Entry, Removal
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.job import spec as job_spec
from tests.unit.agent.vllm.conftest import MODEL, WorkSpace
from tests.unit.agent.vllm.slurm_double import line
from tests.vllm import two_ranks

DAY = 86400
HUB = ".cache/huggingface/hub"
#: A directory as Triton names them.
TRITON = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567ABCDEFGHIJKLMNOPQRST"


def old(path: Path, text: str = "x") -> Path:
    """Make a file that was last used a year ago, with all directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    long_ago = time.time() - 365 * DAY
    for one in (path, *list(path.parents)[:4]):
        os.utime(one, (long_ago, long_ago))
    return path


@pytest.fixture
def full(work: WorkSpace, home: Path) -> WorkSpace:
    """Caches with models of the configuration and others, compiled graphs, earlier jobs, and files of the user."""
    for name in ("models--openai--gpt-oss-120b", "models--old--model", "version.txt", "datasets--my--data"):
        old(home / HUB / name / "blobs" / "abc")
    old(home / ".cache/vllm/c1/torch_compile_cache/x")
    old(home / ".cache/triton/c1" / TRITON / "kernel.cubin")
    old(home / ".cache/pip/x")
    for name in (
        "jobs/4700/run.json",
        "status/4700.json",
        "logs/gpt_oss_20b_4700.out",
        "logs/notes.txt",
        "jobs/mine/x",
    ):
        old(work.path / name)
    old(work.path / "jobs/gpt-oss-20b-0123abcd.json")
    old(home / "thesis.tex")
    work.slurm.picture()
    return work


def left(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() or path.is_symlink()}


def test_plan_removes_nothing(full: WorkSpace, home: Path) -> None:
    before = left(home) | left(full.path)
    status, out, _err = full.run("cleanup")
    assert status == 0
    assert "repeat with --yes to remove them" in out
    assert left(home) | left(full.path) == before
    assert "models--old--model" in out
    assert "models--openai--gpt-oss-120b" not in out


def test_what_may_go_goes_and_all_else_stays(full: WorkSpace, home: Path) -> None:
    status, data = full.json("cleanup", "--yes")
    assert (status, data["removed"]) == (0, True)
    gone = {Path(entry["path"]).name for entry in data["entries"]}
    assert gone == {
        "models--old--model", "c1", "4700", "4700.json", "gpt_oss_20b_4700.out", "gpt-oss-20b-0123abcd.json",
    }  # fmt: skip
    for kept in (
        home / HUB / "models--openai--gpt-oss-20b", home / HUB / "models--openai--gpt-oss-120b",
        home / HUB / "datasets--my--data", home / ".cache/pip/x", home / "thesis.tex", full.path / "logs/notes.txt",
        full.path / "jobs/mine/x", full.path / "config.yaml",
    ):  # fmt: skip
        assert kept.exists(), kept
    assert full.json("cleanup", "--yes")[1]["entries"] == []


def test_new_files_stay(full: WorkSpace, home: Path) -> None:
    fresh = home / HUB / "models--new--model" / "blobs" / "x"
    fresh.parent.mkdir(parents=True)
    fresh.write_text("x", encoding="utf-8")
    names = [entry["path"] for entry in full.json("cleanup", "--what", "models")[1]["entries"]]
    assert [Path(name).name for name in names] == ["models--old--model"]
    assert len(full.json("cleanup", "--what", "models", "--older-than", "0")[1]["entries"]) == 2


def test_files_of_a_job_in_the_queue_stay(full: WorkSpace) -> None:
    comment = f"herd-vllm:{MODEL}:0123abcd"
    full.slurm.picture(line("4700", f"vllm-{MODEL}", "RUNNING", Comment=comment))
    full.run("status")
    names = [Path(entry["path"]).name for entry in full.json("cleanup", "--yes")[1]["entries"]]
    assert names == ["models--old--model"]
    status, _out, err = full.run("cleanup", "--model", MODEL, "--yes")
    assert status == 2
    assert "herdctl vllm stop" in err


def test_specification_of_a_job_whose_comment_the_site_rewrote_stays(full: WorkSpace) -> None:
    full.slurm.picture(line("4700", f"vllm-{MODEL}", "RUNNING", Comment="billed"))
    full.run("status")
    names = [Path(entry["path"]).name for entry in full.json("cleanup")[1]["entries"]]
    assert names == ["models--old--model"]
    # The launch has remembered the fingerprint.
    old(full.path / "jobs/gpt-oss-20b-99999999.json")
    record = old(full.path / f"jobs/launched-{MODEL}.json")
    record.write_text(json.dumps({"job": "4700", "fingerprint": "0123abcd"}), encoding="utf-8")
    names = [Path(entry["path"]).name for entry in full.json("cleanup")[1]["entries"]]
    assert names == ["models--old--model", "gpt-oss-20b-99999999.json"]


@pytest.mark.parametrize("record", ["[]", "5", "{}", '{"job": "4700"}', "[" * 100_000, "\xff"])
def test_damaged_record_of_a_launch_is_no_fingerprint(full: WorkSpace, record: str) -> None:
    full.slurm.picture(line("4700", f"vllm-{MODEL}", "RUNNING", Comment="billed"))
    full.run("status")
    old(full.path / f"jobs/launched-{MODEL}.json").write_text(record, encoding="latin-1")
    assert [Path(entry["path"]).name for entry in full.json("cleanup")[1]["entries"]] == ["models--old--model"]
    assert full.run("launch", "--no-follow")[0] == 0


def test_model_of_a_job_that_the_configuration_no_longer_has_stays(full: WorkSpace, home: Path, tmp_path: Path) -> None:
    spec = two_ranks.make_spec(tmp_path, tmp_path / "herdctl", model="old", source="old/model")
    old(full.path / "jobs/old-0123abcd.json").write_text(job_spec.write(spec), encoding="utf-8")
    full.slurm.picture(line("4700", "vllm-old", "PENDING", Comment="herd-vllm:old:0123abcd"))
    full.run("status")
    assert full.json("cleanup", "--what", "models")[1]["entries"] == []


def test_named_model_is_removed_whatever_its_age(full: WorkSpace, home: Path) -> None:
    status, data = full.json("cleanup", "--model", MODEL, "--yes")
    assert status == 0
    assert [Path(entry["path"]).name for entry in data["entries"]] == ["models--openai--gpt-oss-20b"]
    assert not (home / HUB / "models--openai--gpt-oss-20b").exists()
    assert (home / HUB / "models--old--model").exists()


def test_link_is_neither_followed_nor_removed(full: WorkSpace, home: Path, tmp_path: Path) -> None:
    outside = old(tmp_path / "outside" / "precious")
    (home / HUB / "models--linked--model").symlink_to(outside.parent)
    inside = home / HUB / "models--old--model" / "link"
    inside.symlink_to(outside.parent)
    assert full.run("cleanup", "--yes", "--older-than", "0")[0] == 0
    assert outside.exists()
    assert (home / HUB / "models--linked--model").is_symlink()


def test_cache_that_is_a_link_to_a_work_space_is_cleaned_there(
    full: WorkSpace, home: Path, tmp_path: Path, change_config: Callable[[str, str], None]
) -> None:
    place = tmp_path / "ws" / "cache"
    model = old(place / "hub" / "models--x--y" / "blobs" / "abc")
    (home / "link").symlink_to(place)
    change_config("models:\n", f"cache:\n  huggingface_cache: {home}/link\nmodels:\n")
    data = full.json("cleanup", "--what", "models")[1]
    assert [entry["path"] for entry in data["entries"]] == [str(place.resolve() / "hub" / "models--x--y")]
    assert model.exists()


def test_directory_with_other_things_is_not_taken_for_triton_s_cache(
    full: WorkSpace, home: Path, change_config: Callable[[str, str], None]
) -> None:
    data = old(home / "data" / "results" / "x")
    kernel = old(home / "data" / TRITON / "kernel.cubin")
    change_config("models:\n", f"cache:\n  triton_cache_dir: {home}/data\nmodels:\n")
    assert full.run("cleanup", "--yes")[0] == 0
    assert data.exists()
    assert not kernel.exists()


@pytest.mark.parametrize(
    "path", ["", "/", "/huggingface", "relative", "/home", "/home/user", "/usr/lib/x", "/etc/herd", "/data/../etc/x/y"]
)
def test_directory_that_is_not_the_users_own_is_refused(path: str) -> None:
    with pytest.raises(InvalidInputError):
        cache_cleanup.check_root("cache.xdg_cache_home", path, "/home/user")


@pytest.mark.parametrize("path", ["/home/user/.cache", "/data/horse/ws/user/cache/", "/scratch/user", "/root/.cache"])
def test_directory_of_the_user_is_taken(path: str) -> None:
    home = "/root" if path.startswith("/root") else "/home/user"
    assert cache_cleanup.check_root("cache.xdg_cache_home", path, home) == path.rstrip("/")


@pytest.mark.parametrize("name", ["../x", "..", "", "a/b"])
def test_name_that_leaves_its_directory_is_not_removed(tmp_path: Path, name: str) -> None:
    (tmp_path / "x").write_text("x", encoding="utf-8")
    root = tmp_path / "cache"
    root.mkdir()
    with pytest.raises(InvalidInputError):
        caches.remove(Removal(Entry(str(root), name, "models", 0, 0.0), ""))
    assert (tmp_path / "x").exists()
