# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Routers of both releases behave as the collection and its documentation say, with the collection's presets."""

from __future__ import annotations

import http.client
import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine import arguments as engine_arguments
from ansible_collections.herd.inference.plugins.module_utils.core.engine import router_mode
from tests.engine.flag_runs import Build, RouterRun, get

KEY = "key-of-this-test"


def offer(build: Build, name: str, **facts: Any) -> router_mode.Offer:
    settings = engine_arguments.merged(
        {"context": 4096, "threads": 1, "batch": 512, "extra_arguments": ["--no-warmup"], **facts.pop("settings", {})}
    )
    return router_mode.Offer(name, str(build.model), settings, **facts)


def start(build: Build, *offers: router_mode.Offer, models_max: int = 2, **added: str) -> RouterRun:
    """Start a router as the role does."""
    keys = build.place / "keys"
    keys.write_text(f"# made once\n{KEY}\n" if build.is_new else f"{KEY}\n", encoding="utf-8")
    words = router_mode.arguments("-", models_max, ("127.0.0.1", 0), str(keys), 600)
    # The harness adds address, port and presets.
    words = words[words.index("--models-max") : words.index("--host")] + words[words.index("--api-key-file") :]
    nowhere = str(build.place / "none")
    environment = {**router_mode.environment(str(keys), nowhere), **added}
    run = build.router(router_mode.presets(offers, build.engine.accepted), *words, environment=environment)
    assert run.healthy(), run.log
    return replace(run, key=KEY)


def child_port(run: RouterRun, model: str) -> int:
    words = run.told(model)
    return int(words[words.index("--port") + 1])


def test_router_offers_and_applies_presets(build: Build) -> None:
    aliases = ("fast", "task:fix") if build.is_new else ()
    run = start(build, offer(build, "a", aliases=aliases), offer(build, "b", settings={"slots": 2, "context": 256}))
    assert run.states() == {"a": "unloaded", "b": "unloaded"}
    assert [run.chat(name) for name in ("a", "b", *aliases)] == [200] * (2 + len(aliases))
    for path in ("/slots?model=b", "/v1/models"):
        assert get(run.port, path, key=KEY)[0] == 200
    slots = get(run.port, "/slots?model=b", key=KEY)[1]
    assert [slot["n_ctx"] for slot in slots] == [256, 256]
    expected = {state.id: state.state for state in router_mode.states({"data": list(run.models().values())})}
    assert expected == {"a": "loaded", "b": "loaded"}


def test_least_recently_used_model_is_evicted(build: Build) -> None:
    run = start(build, *(offer(build, name) for name in "abc"))
    assert [run.chat(name) for name in "aba"] == [200] * 3
    assert run.chat("c") == 200
    assert run.states() == {"a": "loaded", "b": "unloaded", "c": "loaded"}


def test_unknown_model_is_rejected(build: Build) -> None:
    run = start(build, offer(build, "a"))
    for body in ({"model": "b"}, {}):
        status, answer = get(run.port, "/v1/chat/completions", {**body, "messages": []}, key=KEY)
        assert status == 400
        assert answer["error"]["type"] == "invalid_request_error"
        assert "not found" in answer["error"]["message"] or "missing" in answer["error"]["message"]
    assert run.states() == {"a": "unloaded"}


def test_router_and_model_processes_require_key(build: Build) -> None:
    run = start(build, offer(build, "a"))
    assert run.chat("a") == 200
    body = {"model": "a", "prompt": "x", "n_predict": 1}
    for port in (run.port, child_port(run, "a")):
        assert get(port, "/completion", body)[0] == 401
        assert get(port, "/completion", body, key="another")[0] == 401
        assert get(port, "/completion", body, key=KEY)[0] == 200
    # Only the newer release protects the list of models.
    assert get(run.port, "/v1/models")[0] == (401 if build.is_new else 200)


def test_model_process_without_variable_requires_no_key(build: Build) -> None:
    """The reason for LLAMA_ARG_API_KEY_FILE in the service. The older release passes the flag on."""
    keys = build.place / "other-keys"
    keys.write_text(f"{KEY}\n", encoding="utf-8")
    run = build.router(router_mode.presets([offer(build, "a")], build.engine.accepted), "--api-key-file", str(keys))
    assert run.healthy()
    run = replace(run, key=KEY)
    assert run.chat("a") == 200
    status = get(child_port(run, "a"), "/completion", {"prompt": "x", "n_predict": 1})[0]
    assert status == (200 if build.is_new else 401)


def test_idle_model_sleeps_and_wakes(build: Build) -> None:
    run = start(build, offer(build, "a", sleep_s=1), offer(build, "b"), offer(build, "c"))
    assert [run.chat(name) for name in "ab"] == [200] * 2
    if not build.is_new:
        # The older router does not report it; the model sleeps and wakes anyway.
        assert run.says("entering sleeping state")
        assert run.chat("a") == 200
        return
    assert run.becomes("a", "sleeping")
    assert run.chat("a") == 200
    assert run.becomes("a", "sleeping")
    # It counts as in memory.
    assert run.chat("b") == 200
    assert run.chat("c") == 200
    assert run.states() == {"a": "unloaded", "b": "loaded", "c": "loaded"}


def test_metrics_request_loads_model_unless_autoload_is_off(build: Build) -> None:
    run = start(build, offer(build, "a"))
    assert get(run.port, "/slots?model=a&autoload=false", key=KEY)[0] == 400
    assert run.states() == {"a": "unloaded"}
    assert get(run.port, "/slots?model=a", key=KEY)[0] == 200
    assert run.states() == {"a": "loaded"}


def streamed(run: RouterRun, model: str, tokens: int, found: list[Any]) -> None:
    """Read a stream to its end. Return the number of pieces and whether it was complete."""
    connection = http.client.HTTPConnection("127.0.0.1", run.port, timeout=60)
    body = {"model": model, "prompt": "x", "n_predict": tokens, "stream": True, "ignore_eos": True}
    connection.request("POST", "/completion", json.dumps(body), {"Authorization": f"Bearer {KEY}"})
    answer = connection.getresponse()
    pieces = 0
    try:
        for raw in answer:
            pieces += raw.startswith(b"data:")
            found[:] = [pieces, b'"stop":true' in raw or b'"stopped_limit":true' in raw or b"[DONE]" in raw]
    except (http.client.HTTPException, OSError):
        found[:] = [pieces, False]


def test_answering_model_is_not_evicted(build: Build) -> None:
    """The newer router delays the new request. The older one stops the model in the middle of its answer."""
    run = start(build, offer(build, "a"), offer(build, "b"), models_max=1)
    assert run.chat("a") == 200
    found: list[Any] = []
    stream = threading.Thread(target=streamed, args=(run, "a", 3500, found))
    stream.start()
    while not found and stream.is_alive():
        stream.join(0.01)
    assert run.chat("b") == 200
    stream.join(60)
    assert not stream.is_alive()
    pieces = found[0]
    assert (pieces >= 3000) is build.is_new, found
    assert run.states() == {"a": "unloaded", "b": "loaded"}


def test_broken_file_evicts_another_model(build: Build) -> None:
    if not build.is_new:
        pytest.skip("an older router hangs on it, which the rule router-of-older-release shows")
    broken = replace(offer(build, "broken"), path=str(build.broken()))
    run = start(build, offer(build, "a"), offer(build, "b"), broken)
    assert [run.chat(name) for name in "ab"] == [200] * 2
    status, answer = get(run.port, "/v1/chat/completions", {"model": "broken", "messages": []}, key=KEY)
    assert status == 500
    assert answer["error"]["message"] == "model name=broken failed to load"
    states = router_mode.states({"data": list(run.models().values())})
    assert {state.id: (state.state, state.exit_code) for state in states} == {
        "a": ("unloaded", None),
        "b": ("loaded", None),
        "broken": ("unloaded", 1),
    }
    assert "exiting due to model loading error" in run.log
    assert run.chat("a") == 200


def test_preset_with_unknown_key_stops_router(build: Build) -> None:
    run = build.router(build.preset("a", "--flash-atn", "on"))
    assert run.ended() == 1
    assert "option 'flash-atn' not recognized in preset 'a'" in run.log
    assert "unknown-flag" in build.guard(["--flash-atn", "on"], "preset")


def test_older_release_offers_text_above_sections_as_model(build: Build) -> None:
    """The reason why presets have no version at their top."""
    text = "version = 1\n" + build.preset("a", "--ctx-size", "512")
    assert build.router(text).healthy()
    run = build.router("threads = 1\n" + text)
    assert run.healthy()
    assert set(run.states()) == {"a", "default"}


def test_client_cannot_trigger_download(build: Build) -> None:
    if not build.is_new:
        pytest.skip("it has no such request")
    run = start(build, offer(build, "a"))
    get(run.port, "/models", {"model": "somebody/some-model"}, key=KEY)
    assert run.says("download completed", limit=10) or "failed" in run.log
    assert "failed to resolve commit" in run.log or "failed to" in run.log
    assert run.chat("a") == 200
    assert not list(Path(build.place / "none").rglob("*.gguf"))


def test_stop_ends_every_process_in_time(build: Build) -> None:
    run = start(build, offer(build, "a", stop_s=2), offer(build, "b", stop_s=2))
    assert [run.chat(name) for name in "ab"] == [200] * 2
    ports = [child_port(run, name) for name in "ab"]
    found: list[Any] = []
    stream = threading.Thread(target=streamed, args=(run, "a", 3500, found))
    stream.start()
    while not found and stream.is_alive():
        stream.join(0.01)
    run.process.terminate()
    assert run.ended(limit=10) == 0
    stream.join(10)
    # A running answer is cut, cleanly or not: the role drains the router before a stop.
    assert not stream.is_alive() and found[0] < 3500
    for port in ports:
        with pytest.raises(OSError, match=r"refused|reset"):
            get(port, "/health", limit=2)
