# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine does what the rules of the flag guard say of it: real programs of both releases, words as they are.

HERD_ENGINES names a folder with the builds, RELEASE/bin each; by default engines in the cache.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine.command_line import CommandLine
from ansible_collections.herd.inference.plugins.module_utils.core.engine.flags.rules import RULES
from tests.engine import shown_speculation
from tests.engine.flag_runs import Build, cache, free_port
from tests.engine.shown_rules import ONE, SHOWN, refused, shows
from tests.lab import sources


@shows("quantised-v-without-flash-attention")
def quantised_v(build: Build) -> None:
    words = [*ONE, "--flash-attn", "off", "--cache-type-v", "q8_0"]
    run = build.head(*words)
    assert run.ended() == (1 if build.is_new else -11)
    assert ("quantized V cache" if build.is_new else "V cache quantization requires flash_attn") in run.log
    assert build.guard(["--port", "1", *words]) == ["quantised-v-without-flash-attention"]
    quantised = [*ONE, "--flash-attn", "on", "--cache-type-k", "q8_0", "--cache-type-v", "q8_0"]
    assert build.head(*quantised).healthy()


@shows("volta-code-missing")
def volta_code_missing(build: Build) -> None:
    """The engine's own choice of architecture, cut out of its source and compiled for the host."""
    archive = next(source for source in sources.SOURCES if source.release == build.release)
    text = cuda_header(build, sources.ensure(archive, cache() / "sources"))
    chosen = re.search(r"#ifdef __CUDA_ARCH_LIST__.*?#endif // __CUDA_ARCH_LIST__", text, re.S)
    volta = re.search(r"static bool volta_mma_available.*?\n}", text, re.S)
    assert chosen
    assert volta
    constants = [
        line for line in text.splitlines() if re.match(r"#define GGML_CUDA_CC_(VOLTA|OFFSET_MTHR|IS_NV)", line)
    ]
    program = "\n".join(
        ["#include <cstdio>", *constants, chosen[0], volta[0],
         'int main() { printf("%d %d", volta_mma_available(700), ggml_cuda_highest_compiled_arch(700)); }']
    )  # fmt: skip
    (build.place / "choice.cpp").write_text(program)
    for architectures, said, flagged in (
        ("70", "1 700", False),
        ("70;80", "1 700", False),
        ("60;70;75;86", "1 700", False),
        ("61;75", "0 610", True),
        ("75;80", "0 -1", True),
    ):
        listed = ",".join(f"{found}0" for found in architectures.split(";"))
        target = build.place / "choice"
        subprocess.run(
            ["g++", "-std=c++17", f"-D__CUDA_ARCH_LIST__={listed}", str(build.place / "choice.cpp"), "-o", str(target)],
            check=True,
        )
        assert subprocess.run([str(target)], capture_output=True, text=True, check=True).stdout == said
        assert build.lacks_volta(architectures) is flagged


def cuda_header(build: Build, archive: Path) -> str:
    """ggml-cuda/common.cuh, out of the archive that the release is built from."""
    inside = "ggml/src/ggml-cuda/common.cuh"
    if build.is_new:
        told = ["tar", "-xOf", str(archive), "--wildcards", f"*/vendor/llama.cpp/{inside}"]
        return subprocess.run(told, capture_output=True, text=True, check=True).stdout
    subprocess.run(["tar", "-xf", str(archive), "-C", str(build.place), "package/llama/gitRelease.bundle"], check=True)
    clone = build.place / "clone"
    bundle = build.place / "package/llama/gitRelease.bundle"
    subprocess.run(["git", "clone", "--quiet", "--no-checkout", str(bundle), str(clone)], check=True)
    shown = ["git", "-C", str(clone), "show", f"HEAD:{inside}"]
    return subprocess.run(shown, capture_output=True, text=True, check=True).stdout


@shows("no-device-list")
def no_device_list(build: Build) -> None:
    (there,) = build.workers(1)
    missing = f"127.0.0.1:{free_port()}"
    words = [*ONE, "--rpc", f"{there},{missing}", "--cache-ram", "0"]
    run = build.head(*words)
    if build.is_new:
        assert run.ended() == -6
    else:
        assert run.healthy()
        assert run.answers() == 200
    assert f"Failed to connect to {missing}" in run.log
    assert build.guard(["--port", "1", *words]) == ["no-device-list"]
    if not build.is_new:
        build.stop(run)
    named = build.head(*words, "--device", "RPC0,RPC1")
    assert named.ended() == (-6 if build.is_new else 1)


@shows("device-before-rpc")
def device_before_rpc(build: Build) -> None:
    (there,) = build.workers(1)
    words = [*ONE, "--device", "RPC0", "--rpc", there, "--cache-ram", "0"]
    refused(build, "device-before-rpc", words, "invalid device: RPC0")
    refused(build, "device-before-rpc", [*ONE, "--device", "RPC0"], "invalid device: RPC0")


@shows("split-and-devices-differ")
def split_and_devices_differ(build: Build) -> None:
    endpoints = ",".join(build.workers(2))
    trace = ["--log-verbosity", "4"] if build.is_new else []
    for split in ("1", "0,0,1"):
        words = [*ONE, "--rpc", endpoints, "--device", "RPC0,RPC1", "--cache-ram", "0", "--tensor-split", split]
        run = build.head(*words, *trace)
        assert run.healthy(), run.log
        used = set(re.findall(r"RPC(\d)\[?.*model buffer size", run.log))
        assert len(used) < 2, run.log
        build.stop(run)
        assert build.guard(["--port", "1", *words]) == ["split-and-devices-differ"]


@shows("endpoint-malformed")
def endpoint_malformed(build: Build) -> None:
    bare = [*ONE, "--rpc", "127.0.0.1", "--cache-ram", "0"]
    run = build.head(*bare)
    assert (run.ended() == -6) if build.is_new else run.healthy()
    assert "Failed to parse endpoint: 127.0.0.1" in run.log
    six = [*ONE, "--rpc", "[::1]:50052", "--cache-ram", "0"]
    assert build.head(*six).ended() == (-6 if build.is_new else 1)
    for words in (bare, six):
        assert "endpoint-malformed" in build.guard(["--port", "1", *words, "--device", "RPC0"])
    # A name is one that the head can look up; only the worker cannot.
    (there,) = build.workers(1)
    named = [*ONE, "--rpc", there.replace("127.0.0.1", "localhost"), "--device", "RPC0", "--cache-ram", "0"]
    assert build.head(*named).healthy()
    assert build.guard(["--port", "1", *named]) == []


@shows("endpoint-repeated")
def endpoint_repeated(build: Build) -> None:
    (there,) = build.workers(1)
    words = [*ONE, "--rpc", f"{there},{there}", "--device", "RPC0,RPC1", "--cache-ram", "0"]
    refused(build, "endpoint-repeated", words, "invalid device: RPC1")


@shows("row-split-with-rpc")
def row_split_with_rpc(build: Build) -> None:
    words = [*ONE, "--rpc", ",".join(build.workers(2)), "--device", "RPC0,RPC1", "--cache-ram", "0"]
    run = build.head(*words, "--split-mode", "row")
    if build.is_new:
        assert run.ended() == 1
        assert "does not support split buffers" in run.log
    else:
        assert run.healthy()
    assert build.guard(["--port", "1", *words, "--split-mode", "row"]) == ["row-split-with-rpc"]


@shows("router-with-rpc")
def router_with_rpc(build: Build) -> None:
    """What a router's second child meets: a worker that has its client."""
    (there,) = build.workers(1)
    words = [*ONE, "--rpc", there, "--device", "RPC0", "--cache-ram", "0"]
    first = build.head(*words)
    assert first.healthy()
    second = build.head(*words)
    assert not second.healthy(limit=4)
    assert second.process.poll() is None
    assert "rror" not in second.log
    assert build.guard(["--port", "1", *words, "--models-dir", "/m"]) == ["router-with-rpc"]


@shows("router-of-older-release")
def router_of_older_release(build: Build) -> None:
    """What a broken file and a third model do; a newer router gives up on the one and waits for the other."""
    whole, broken = build.preset("whole", *ONE), build.preset("broken", *ONE, model=build.broken())
    run = build.router(f"{whole}\n{broken}", "--models-max", "1")
    assert run.healthy()
    if build.is_new:
        assert run.chat("broken") == 500
        assert run.chat("whole") == 200
    else:
        with pytest.raises(OSError, match="timed out"):
            run.chat("broken", limit=4)
        assert run.states()["broken"] == "loading"
        # A place for ever: with one, no other model is served any more.
        with pytest.raises(OSError, match="timed out"):
            run.chat("whole", limit=4)
    expected = [] if build.is_new else ["router-of-older-release"]
    assert build.guard(["--port", "1", "--models-max", "1"], "router") == expected


@shows("alias-of-older-release")
def alias_of_older_release(build: Build) -> None:
    words = [*ONE, "--alias", "first,task:fix"]
    run = build.router(build.preset("whole", *words))
    assert run.healthy()
    assert run.chat("task:fix") == (200 if build.is_new else 400)
    assert build.guard(words, "preset") == ([] if build.is_new else ["alias-of-older-release"])


@shows("preset-reserved")
def preset_reserved(build: Build) -> None:
    run = build.router(build.preset("whole", *ONE, "--host", "0.0.0.0", "--port", "1"))
    assert run.healthy()
    assert run.chat("whole") == 200
    words = run.told("whole")
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert words[words.index("--port") + 1] != "1"
    assert build.guard([*ONE, "--host", "0.0.0.0"], "preset") == ["preset-reserved"]


@shows("preset-overridden")
def preset_overridden(build: Build) -> None:
    run = build.router(build.preset("whole", *ONE), "--ctx-size", "256")
    assert run.healthy()
    words = run.told("whole")
    assert words[words.index("--ctx-size") + 1] == "256"
    above = CommandLine(["--ctx-size", "256"])
    assert build.guard(ONE, "preset", above=above) == ["preset-overridden"]


@shows("preset-cut-off")
def preset_cut_off(build: Build) -> None:
    for value in ("on;off", "on#off"):
        run = build.router(build.preset("whole", *ONE, "--flash-attn", value))
        assert run.healthy()
        words = run.told("whole")
        assert words[words.index("--flash-attn") + 1] == "on"
        assert "preset-cut-off" in build.guard([*ONE, "--flash-attn", value], "preset")


@shows("slots-divide-context")
def slots_divide_context(build: Build) -> None:
    words = ["--ctx-size", "1024", "--parallel", "4", "--fit", "off"]
    run = build.head(*words)
    assert run.healthy()
    assert run.contexts() == [256] * 4
    assert run.answers("hello " * 300) == 400
    assert build.guard(["--port", "1", *words], context=1024) == ["slots-divide-context"]
    whole = build.head("--ctx-size", "4096", "--parallel", "4", "--fit", "off")
    assert whole.healthy()
    assert whole.contexts() == [1024] * 4


@shows("slots-unsaid")
def slots_unsaid(build: Build) -> None:
    words = ["--ctx-size", "512", "--fit", "off"]
    run = build.head(*words)
    assert run.healthy()
    assert run.contexts() == [512] * 4
    assert build.guard(["--port", "1", *words]) == ["slots-unsaid"]


@shows("micro-batch-above-batch")
def micro_batch_above_batch(build: Build) -> None:
    words = [*ONE, "--batch-size", "128", "--ubatch-size", "512"]
    run = build.head(*words, *(["--log-verbosity", "4"] if build.is_new else []))
    assert run.healthy()
    assert re.search(r"n_ubatch\s+= 128\b", run.log), run.log
    assert build.guard(["--port", "1", *words]) == ["micro-batch-above-batch"]


@shows("fitting-is-on")
def fitting_is_on(build: Build) -> None:
    said = "fit_params" if build.is_new else "params_fit"
    trace = ["--log-verbosity", "4"] if build.is_new else []
    (there,) = build.workers(1)
    words = ["--ctx-size", "512", "--parallel", "1", "--rpc", there, "--device", "RPC0", "--cache-ram", "0"]
    unsaid = build.head(*words, *trace)
    assert unsaid.healthy()
    assert said in unsaid.log, unsaid.log
    build.stop(unsaid)
    off = build.head(*words, *trace, "--fit", "off")
    assert off.healthy()
    assert said not in off.log
    assert build.guard(["--port", "1", *words]) == ["fitting-is-on"]


@shows("worker-host-not-ipv4")
def worker_host_not_ipv4(build: Build) -> None:
    for host, status in (("localhost", 0), ("256.1.1.1", 0), ("::1", 0 if build.is_new else -6)):
        words = ["-H", host, "-p", str(free_port())]
        run = build.worker(*words)
        assert run.ended() == status, run.log
        assert "worker-host-not-ipv4" in build.guard(words, "worker")


@shows("worker-open-to-all")
def worker_open_to_all(build: Build) -> None:
    words = ["-H", "0.0.0.0", "-p", str(free_port())]
    run = build.worker(*words)
    assert run.listening()
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    assert any(row[1] == f"00000000:{run.port:04X}" and row[3] == "0A" for row in rows)
    assert build.guard(words, "worker") == ["worker-open-to-all"]


@shows("worker-cache-nowhere")
def worker_cache_nowhere(build: Build) -> None:
    words = ["-H", "127.0.0.1", "-p", str(free_port()), "-c"]
    homeless = build.worker(*words, environment={"PATH": os.environ["PATH"]})
    if build.is_new:
        # It finds the home in the list of users, and fills that.
        build.stop(homeless)
    else:
        assert homeless.ended() == -11
    at_home = build.worker(*words[:3], str(free_port()), "-c")
    assert at_home.listening()
    assert (build.place / ".cache" / "llama.cpp" / "rpc").is_dir()
    told = build.worker(*words[:3], str(free_port()), "-c", environment={"LLAMA_CACHE": str(build.place / "tensors")})
    assert told.listening()
    assert (build.place / "tensors" / "rpc").is_dir()
    assert build.guard(words, "worker", environment={}) == ["worker-cache-nowhere"]


@shows("bench-split-separator")
def bench_split_separator(build: Build) -> None:
    (there,) = build.workers(1)
    rows = [line for line in build.bench("--rpc", there, "-ts", "1,1").splitlines() if "pp8" in line]
    assert len(rows) == 2
    assert not any("1.00/1.00" in row for row in rows)
    assert "1.00/1.00" in build.bench("--rpc", there, "-ts", "1/1")
    assert build.guard(["-ts", "1,1"], "bench") == ["bench-split-separator"]


@pytest.mark.parametrize("rule", list(SHOWN))
def test_engine_behaves_as_rule_says(rule: str, build: Build) -> None:
    SHOWN[rule](build)


def test_cpu_workers_accept_cache_types_that_cuda_rejects(build: Build) -> None:
    """So the rules about pairs and types of caches leave them alone."""
    workers = ["--rpc", ",".join(build.workers(2)), "--device", "RPC0,RPC1", "--cache-ram", "0"]
    for k_type, v_type in (("q8_0", "f16"), ("q8_0", "q4_0"), ("q5_1", "q5_1"), ("bf16", "bf16")):
        words = [*ONE, *workers, "--flash-attn", "on", "--cache-type-k", k_type, "--cache-type-v", v_type]
        run = build.head(*words)
        assert run.healthy(), run.log
        assert run.answers() == 200
        build.stop(run)
        assert build.guard(["--port", "1", *words]) == []


def test_three_and_four_cpu_workers_answer(build: Build) -> None:
    for count in (3, 4):
        names = ",".join(f"RPC{index}" for index in range(count))
        run = build.head(*ONE, "--rpc", ",".join(build.workers(count)), "--device", names, "--cache-ram", "0")
        assert run.healthy(), run.log
        assert [run.answers() for _each in range(5)] == [200] * 5


def test_every_rule_is_shown_or_gives_reason() -> None:
    assert SHOWN["draft-over-rpc"] is shown_speculation.draft_over_rpc
    unshown = {rule.id for rule in RULES if rule.unshown}
    assert set(SHOWN) | unshown == {rule.id for rule in RULES}
    assert not set(SHOWN) & unshown


def test_cpu_workers_save_a_prompt(build: Build) -> None:
    """What the rule prompt-cache-with-rpc says of them: the abort that it is about was seen with GPUs."""
    workers = ["--rpc", ",".join(build.workers(2)), "--device", "RPC0,RPC1", "--cache-ram", "64"]
    words = ["--ctx-size", "2048", "--parallel", "1", "--fit", "off", *workers]
    run = build.head(*words, *(["--log-verbosity", "4"] if build.is_new else []))
    assert run.healthy()
    for word in ("river", "stone", "light", "river"):
        assert run.answers(f"{word} " * 500) == 200
    assert "updating prompt cache" in run.log
    assert build.guard(["--port", "1", *words]) == ["prompt-cache-with-rpc"]
