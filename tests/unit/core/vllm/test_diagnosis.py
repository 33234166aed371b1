# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Troubles are recognised by the lines in tests/fixtures/vllm/messages.txt, which says where each one is from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.slurm import submission
from ansible_collections.herd.inference.plugins.module_utils.core.slurm.queue import Ending
from ansible_collections.herd.inference.plugins.module_utils.core.vllm import diagnosis
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.diagnosis import diagnose
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.symptoms.rule import Rule

ROOT = Path(__file__).parents[4]
LOGS = ROOT / "tests" / "fixtures" / "vllm"
PAGES = ROOT / "docs" / "operations" / "vllm"
MESSAGES = [
    tuple(line.split("|", 3))
    for line in (LOGS / "messages.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]
STARTED = ["Starting GPT-OSS-20B on 2 nodes (8 GPUs)..."]
ARGUMENTS = "0: (APIServer pid=1) INFO 11-29 17:41:02 [utils.py:253] non-default args: {%s}"
UP = "0: (APIServer pid=811) INFO:     Application startup complete."
WORKER_DIED = (
    "1: (MainProcess pid=7) ERROR 11-29 18:20:11 [x.py:316] Worker proc VllmWorker-1 died unexpectedly "
    "(exit code: -9), shutting down executor."
)
ENGINE_DIED = "0: (EngineCore pid=8) ERROR 11-29 18:20:11 [core.py:1390] EngineCore encountered a fatal error."
NO_CLIENTS = (
    "0: (Worker pid=9) torch.distributed.DistStoreError: Timed out after 61 seconds waiting for clients. "
    "1/2 clients joined."
)
KV_CACHE = "max seq len (131072), (24.00 GiB KV cache is needed, which is larger than the available KV cache memory ("
GPU_FULL = "CUDA out of memory. Tried to allocate {} GPU 3 has a total capacity of 79.10 GiB of which {} is free."


def log(name: str) -> list[str]:
    return [line for line in (LOGS / name).read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


def text_of(line: str, *before: str) -> diagnosis.Diagnosis:
    found = diagnose([*STARTED, *before, line])
    assert found is not None
    return found


@pytest.mark.parametrize("number", ["0", "1.2.3", "...", "9" * 400, "٣", "²"])
def test_no_number_in_a_line_ends_the_reading(number: str) -> None:
    # A user's prompt may stand in the log.
    settings = f"'gpu_memory_utilization': {number}, 'max_model_len': {number}, 'max_num_seqs': {number}"
    for *_facts, line in MESSAGES:
        reader = diagnosis.read([*STARTED, ARGUMENTS % settings, re.sub(r"[0-9]+(?:\.[0-9]+)?", number, line)])
        assert isinstance(str(reader.diagnosis()), str)
        assert all(warning.reason for warning in reader.warnings())


@pytest.mark.parametrize(("page", "name", "_source", "line"), MESSAGES, ids=[message[3][:70] for message in MESSAGES])
def test_message_is_recognised(page: str, name: str, _source: str, line: str) -> None:
    found = text_of(line)
    assert (found.name, found.page) == (name, f"{page}.md")
    assert found.reason
    assert found.cure
    assert "?" not in found.reason.replace("is the node down?", "")
    assert not found.reason.endswith(".")
    assert found.rank == (int(line[0]) if line[1] == ":" else None)


@pytest.mark.parametrize(
    ("line", "is_permanent"),
    [
        ("vllm: error: unrecognized arguments: --no-such-flag", True),
        ("vllm: error: argument --port: expected one argument", True),
        ("vllm serve: error: argument --dtype: invalid choice: 'f9' (choose from 'auto', 'half')", True),
        ("  Value error, User-specified max_model_len (4096) is greater than", True),
        ("  Input should be 'auto' or 'fp8' [type=literal_error, input_value='x', input_type=str]", True),
        ("Total number of attention heads (4) must be divisible by tensor parallel size (3).", True),
        ("AssertionError: vocab size (151) must be divisible by world size (2)", True),
        ("huggingface_hub.errors.LocalEntryNotFoundError: Cannot find an appropriate cached snapshot folder", True),
        ("RuntimeError: CUDA error: no kernel image is available for execution on the device", True),
        ("PermissionError: [Errno 13] Permission denied: '/home/x/.triton'", True),
        ("ifa != nullptr. Unable to find address for: nosuch0", True),
        ("NCCL WARN Bootstrap : no socket interface found", True),
        ("expected the interface nosuch0 with an IPv4 address, found eth0, lo: set nccl.socket_ifname", True),
        ("expected an address on the fabric, found none on n1: set nccl.socket_ifname", True),
        ("OSError: [Errno 98] Address already in use", False),
        ("expected port 29501 to be free for the rendezvous of the ranks, found another program on it", False),
        ("torch.OutOfMemoryError: CUDA out of memory.", False),
        ("DistStoreError: Timed out after 61 seconds waiting for clients. 1/2 clients joined.", False),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=12.0.", False),
    ],
)
def test_errors_of_settings_and_of_the_model_are_permanent(line: str, is_permanent: bool) -> None:
    assert text_of(line).is_permanent is is_permanent


def test_first_error_is_kept_where_no_rule_knows_one() -> None:
    lines = [
        *STARTED,
        "0: (APIServer pid=1) WARNING 11-29 17:41:02 [x.py:1] ignored ValueError: no matter",
        "0: Traceback (most recent call last):",
        "0: KeyError: 'something that no rule knows'",
        "0: ValueError: what follows from it",
    ]
    assert diagnosis.read(lines).first_error == "KeyError: 'something that no rule knows'"
    assert diagnosis.read([*lines, *STARTED]).first_error == ""


def test_every_rule_has_a_captured_message() -> None:
    assert {rule.name for rule in diagnosis.RULES} - {name for _page, name, *_rest in MESSAGES} <= {
        # Rare ones, whose texts are those of the sources only.
        "architecture-unsupported", "bus-error", "gpu-broken", "kv-cache-preempted", "model-needs-remote-code",
        "open-files", "quantization-mismatch",
    }  # fmt: skip


@pytest.mark.parametrize("rule", diagnosis.RULES, ids=lambda rule: f"{rule.name}-{rule.words[:20]}")
def test_every_rule_has_a_page(rule: Rule) -> None:
    assert (PAGES / f"{rule.page}.md").is_file()


@pytest.mark.parametrize(
    "name", ["captured/one-node.log", "start-two-nodes-cpu.log", "start-two-nodes-gpu.log", "noise-at-exit.log"]
)
def test_healthy_run_has_no_trouble(name: str) -> None:
    assert diagnose(log(name)) is None


@pytest.mark.parametrize(
    ("settings", "line", "cure"),
    [
        (
            "'max_model_len': 131072",
            f"{KV_CACHE}15.31 GiB). Based on the available memory, the estimated maximum model length is 83602.",
            "set max_model_len to 83600 or less, or raise gpu_memory_utilization from 0.9 to 0.95",
        ),
        (
            "'gpu_memory_utilization': 0.95",
            f"{KV_CACHE}0.31 GiB). Try",
            "set a smaller max_model_len, or use more GPUs; herdctl vllm plan",
        ),
        (
            "",
            "Free memory on device cuda:0 (60.12/79.10 GiB) on startup is less than desired GPU memory utilization "
            "(0.9, 71.19 GiB).",
            "another process uses 19.0 GiB of this GPU: request whole GPUs, and see nvidia-smi on the node; or set "
            "gpu_memory_utilization to 0.75",
        ),
        ("", GPU_FULL.format("2.50 GiB.", "1.25 GiB"), "the weights do not fit: use more GPUs"),
        (
            "",
            "CUDA out of memory occurred when warming up sampler with 256 dummy requests.",
            "set max_num_seqs to 128, or gpu_memory_utilization to 0.85",
        ),
        ("'gpu_memory_utilization': 0.95", "ValueError: No available memory for the cache blocks.", "use more GPUs"),
        (
            "",
            "User-specified max_model_len (4096) is greater than the derived max_model_len "
            "(max_position_embeddings=2048.0 or",
            "set max_model_len (or vllm.max_model_len_default) to 2048 or less",
        ),
    ],
)
def test_cure_names_the_change_that_would_fit(settings: str, line: str, cure: str) -> None:
    assert text_of(line, ARGUMENTS % settings).cure.startswith(cure)


def test_memory_that_runs_out_after_loading_needs_a_smaller_share() -> None:
    line = GPU_FULL.format("800.00 MiB.", "100.00 MiB")
    loaded = "0: (Worker pid=1) INFO 11-29 17:45:41 [g.py:5149] Model loading took 51.20 GiB memory and 258.1 seconds"
    found = text_of(line, ARGUMENTS % "'gpu_memory_utilization': 0.92, 'max_num_seqs': 16", loaded)
    assert found.cure == "set gpu_memory_utilization to 0.89 (from 0.92), or max_num_seqs to 8"
    assert found.reason.startswith("GPU 3 ran out of memory: 800.00 MiB were wanted")


def test_cause_comes_before_what_follows_from_it() -> None:
    lines = [*log("start-two-nodes-cpu.log"), ENGINE_DIED, WORKER_DIED, "srun: First task exited 10s ago"]
    found = diagnose(lines)
    assert found is not None
    assert (found.name, found.rank) == ("worker-died", 1)
    assert "slurm.mem_per_gpu" in found.cure


def test_killed_worker_is_recognised_in_a_captured_log() -> None:
    found = diagnose(log("captured/two-ranks-worker-killed.log"))
    assert found is not None
    assert (found.name, found.rank, found.page) == ("worker-died", 1, "rank-lost.md")


@pytest.mark.parametrize(
    ("name", "expected"), [("job-worker-killed", "worker-died"), ("job-worker-frozen", "rank-frozen")]
)
def test_lost_rank_is_recognised_in_the_captured_log_of_a_job(name: str, expected: str) -> None:
    lines = log(f"captured/{name}.log")
    again = next((number for number, line in enumerate(lines) if "start 2: " in line), len(lines))
    found = diagnose(lines[:again])
    assert found is not None
    assert (found.name, found.rank, found.page) == (expected, 1, "rank-lost.md")


def test_warning_explains_no_end_that_was_asked_for() -> None:
    # The second run of this job was cancelled.
    lines = log("captured/job-worker-killed.log")
    assert [warning.name for warning in diagnosis.read(lines).warnings()] == ["slow-reverse-lookup"]
    assert diagnose(lines) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("option", "unknown-option"),
        ("context", "max-model-len-too-large"),
        ("quantization", "quantization-unknown"),
        ("missing", "model-path-missing"),
    ],
)
def test_refused_start_is_recognised_in_a_captured_log(name: str, expected: str) -> None:
    found = diagnose(log(f"captured/refused-{name}.log"))
    assert found is not None
    assert (found.name, found.is_warning) == (expected, False)


def test_killed_engine_is_named_by_the_wrapper() -> None:
    lines = log("captured/one-node-engine-killed.log")
    found = diagnose(lines)
    assert found is not None
    assert found.page == "rank-lost.md"
    ended = (
        "0: 2026-11-30 03:13:54 herd: rank 0 on c1 ends: rank 0 on c1: VLLM::EngineCore has ended without being asked"
    )
    found = diagnose([*lines, ended])
    assert found is not None
    assert (found.name, found.reason) == (
        "rank-ended",
        "VLLM::EngineCore of rank 0 on c1 has ended without being asked",
    )


def test_start_of_a_run_is_known_by_the_script_of_the_job() -> None:
    again = "2026-11-30 03:00:00 herd: job 12, start 2: m (org/m), fingerprint 0123abcd"
    assert diagnose([*STARTED, NO_CLIENTS, again]) is None
    # The first rank names its run after the other one may have failed.
    named = "0: 2026-11-30 03:00:00 herd: Starting m on 2 nodes (2 GPUs)..."
    found = diagnose([again, NO_CLIENTS, named])
    assert found is not None
    assert found.name == "peer-never-came"


def test_only_the_last_run_counts() -> None:
    assert diagnose([*STARTED, NO_CLIENTS, *STARTED, *log("start-two-nodes-cpu.log")]) is None
    found = diagnose([*STARTED, NO_CLIENTS, *STARTED, ENGINE_DIED])
    assert found is not None
    assert found.name == "engine-died"


def test_error_before_the_api_was_up_explains_no_later_death() -> None:
    denied = "0: (Worker pid=1) ERROR 11-29 18:11:40 [x.py:1] [Errno 13] Permission denied: '/home/u/.triton'"
    found = diagnose([*STARTED, denied, UP, ENGINE_DIED, WORKER_DIED])
    assert found is not None
    assert found.name == "worker-died"


def test_errors_of_a_job_that_was_asked_to_end_are_no_cause() -> None:
    asked = "0: (APIServer pid=811) INFO 11-29 18:20:11 [utils.py:1] [shutdown] API server: shutdown triggered"
    other = "0: (Worker pid=861) ERROR 11-29 18:20:12 [x.py:900] RuntimeError: cancelled"
    assert diagnose([*STARTED, UP, asked, other]) is None


def test_warnings_are_told_of_a_running_job() -> None:
    reader = diagnosis.read([*STARTED, "0: c1:4711:4712 [0] NCCL INFO Using network Socket", UP])
    assert [warning.name for warning in reader.warnings()] == ["nccl-uses-sockets"]
    found = reader.diagnosis()
    assert found is not None
    assert found.is_warning


def test_long_line_with_control_characters_is_cut_and_cleaned() -> None:
    found = text_of(f"0: vllm: error: unrecognized arguments: --x\x1b[2J {'y' * 100_000}")
    assert len(str(found)) < 1000
    assert "\x1b" not in str(found)


@pytest.mark.parametrize(
    ("reason", "restarts", "words", "page", "waits"),
    [
        ("Resources", 0, "its nodes are in use", "job-pending.md", True),
        ("BeginTime", 0, "its earliest start time has not come", "job-pending.md", True),
        ("BeginTime", 1, "Slurm waits two minutes", "job-pending.md", True),
        ("None", 0, "Slurm has not considered it yet", "job-pending.md", True),
        ("Dependency", 0, "an earlier job of this model", "job-pending.md", True),
        ("AssocGrpGRES", 0, "all GPUs", "limit-reached.md", True),
        ("QOSMaxGRESPerJob", 0, "more GPUs than the QoS allows a job", "limit-reached.md", False),
        ("PartitionTimeLimit", 0, "longer than the partition's", "limit-reached.md", False),
        ("JobHeldUser", 0, "it is held", "job-pending.md", False),
        ("SomethingNew", 0, "Slurm says SomethingNew", "job-pending.md", True),
    ],
)
def test_pending_job_is_explained(reason: str, restarts: int, words: str, page: str, waits: bool) -> None:
    found = diagnosis.of_pending(reason, restarts)
    assert words in found.reason
    assert (found.page, found.is_warning) == (page, waits)
    assert (PAGES / page).is_file()


def test_refusal_has_the_words_of_slurm() -> None:
    refusal = submission.parse_refusal("sbatch: error: Batch job submission failed: Invalid qos specification\n")
    assert refusal is not None
    found = diagnosis.of_refusal(refusal)
    assert (found.name, found.page, found.line) == ("refused-qos", "submission-refused.md", "Invalid qos specification")


@pytest.mark.parametrize(
    ("ending", "name", "page"),
    [
        (Ending(state="OUT_OF_MEMORY", elapsed=60, allowed="64G"), "node-out-of-memory", "node-out-of-memory.md"),
        (Ending(state="TIMEOUT", limit="12:00:00"), "time-limit", "time-limit.md"),
        (Ending(state="NODE_FAIL", nodes="c1"), "node-lost", "rank-lost.md"),
        (Ending(state="PREEMPTED", elapsed=60), "preempted", "job-pending.md"),
        (Ending(state="CANCELLED", by="1000"), "cancelled", "job-pending.md"),
        (Ending(state="FAILED", exit_code=1), "peer-never-came", "rendezvous-timeout.md"),
        (Ending(), "peer-never-came", "rendezvous-timeout.md"),
    ],
)
def test_end_is_explained_by_slurm_or_else_by_the_log(ending: Ending, name: str, page: str) -> None:
    found = diagnosis.of_ending("12", ending, diagnosis.read([*STARTED, NO_CLIENTS]))
    assert (found.name, found.page) == (name, page)


def test_end_without_any_trace_says_what_slurm_says() -> None:
    found = diagnosis.of_ending("12", Ending(state="FAILED", exit_code=3, elapsed=9), diagnosis.read([]))
    assert found.reason == "job 12 failed with status 3 after 9 seconds"
    assert "herdctl vllm logs" in found.cure


def test_every_message_of_a_page_is_recognised() -> None:
    for path in sorted(PAGES.glob("*.md")):
        introduction = path.read_text(encoding="utf-8").partition("## ")[0]
        for message in re.findall(r"^- `([^`]+)`", introduction, re.MULTILINE):
            if path.stem in ("job-pending", "limit-reached"):
                assert diagnosis.of_pending(message).page == path.name
            elif path.stem == "submission-refused":
                assert submission.parse_refusal(f"sbatch: error: {message}") is not None
            elif path.stem != "time-limit":
                found = diagnose([message])
                assert found is not None, message
                assert found.page == path.name, message
