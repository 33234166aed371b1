# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A router does what the collection and its pages say of it: real routers of both releases, with our own presets."""

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
    """A router exactly as the role starts it."""
    keys = build.place / "keys"
    keys.write_text(f"# made once\n{KEY}\n" if build.is_new else f"{KEY}\n", encoding="utf-8")
    words = router_mode.arguments("-", models_max, ("127.0.0.1", 0), str(keys), 600)
    # The harness gives address, port and presets.
    words = words[words.index("--models-max") : words.index("--host")] + words[words.index("--api-key-file") :]
    nowhere = str(build.place / "none")
    environment = {**router_mode.environment(str(keys), nowhere), **added}
    run = build.router(router_mode.presets(offers, build.engine.accepted), *words, environment=environment)
    assert run.healthy(), run.log
    return replace(run, key=KEY)


def child_port(run: RouterRun, model: str) -> int:
    words = run.told(model)
    return int(words[words.index("--port") + 1])


def test_it_offers_what_the_presets_say_and_obeys_them(build: Build) -> None:
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


def test_the_least_recently_used_of_two_makes_room(build: Build) -> None:
    run = start(build, *(offer(build, name) for name in "abc"))
    assert [run.chat(name) for name in "aba"] == [200] * 3
    assert run.chat("c") == 200
    assert run.states() == {"a": "loaded", "b": "unloaded", "c": "loaded"}


def test_what_is_not_there_is_refused(build: Build) -> None:
    run = start(build, offer(build, "a"))
    for body in ({"model": "b"}, {}):
        status, answer = get(run.port, "/v1/chat/completions", {**body, "messages": []}, key=KEY)
        assert status == 400
        assert answer["error"]["type"] == "invalid_request_error"
        assert "not found" in answer["error"]["message"] or "missing" in answer["error"]["message"]
    assert run.states() == {"a": "unloaded"}


def test_a_key_is_asked_for_by_the_router_and_by_each_models_process(build: Build) -> None:
    run = start(build, offer(build, "a"))
    assert run.chat("a") == 200
    body = {"model": "a", "prompt": "x", "n_predict": 1}
    for port in (run.port, child_port(run, "a")):
        assert get(port, "/completion", body)[0] == 401
        assert get(port, "/completion", body, key="another")[0] == 401
        assert get(port, "/completion", body, key=KEY)[0] == 200
    # Only the newer one protects the list of models too.
    assert get(run.port, "/v1/models")[0] == (401 if build.is_new else 200)


def test_without_the_variable_a_models_process_asks_for_no_key(build: Build) -> None:
    """Why the service has LLAMA_ARG_API_KEY_FILE; the older release hands the flag on."""
    keys = build.place / "other-keys"
    keys.write_text(f"{KEY}\n", encoding="utf-8")
    run = build.router(router_mode.presets([offer(build, "a")], build.engine.accepted), "--api-key-file", str(keys))
    assert run.healthy()
    run = replace(run, key=KEY)
    assert run.chat("a") == 200
    status = get(child_port(run, "a"), "/completion", {"prompt": "x", "n_predict": 1})[0]
    assert status == (200 if build.is_new else 401)


def test_an_idle_model_sleeps_and_wakes(build: Build) -> None:
    run = start(build, offer(build, "a", sleep_s=1), offer(build, "b"), offer(build, "c"))
    assert [run.chat(name) for name in "ab"] == [200] * 2
    if not build.is_new:
        # Its router does not learn of it; the model sleeps all the same, and wakes.
        assert run.says("entering sleeping state")
        assert run.chat("a") == 200
        return
    assert run.becomes("a", "sleeping")
    assert run.chat("a") == 200
    assert run.becomes("a", "sleeping")
    # It keeps its place among those in memory.
    assert run.chat("b") == 200
    assert run.chat("c") == 200
    assert run.states() == {"a": "unloaded", "b": "loaded", "c": "loaded"}


def test_who_asks_for_metrics_loads_the_model_unless_told_not_to(build: Build) -> None:
    run = start(build, offer(build, "a"))
    assert get(run.port, "/slots?model=a&autoload=false", key=KEY)[0] == 400
    assert run.states() == {"a": "unloaded"}
    assert get(run.port, "/slots?model=a", key=KEY)[0] == 200
    assert run.states() == {"a": "loaded"}


def streamed(run: RouterRun, model: str, tokens: int, found: list[Any]) -> None:
    """Take a stream to its end, and say how many pieces came and whether it was whole."""
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


def test_a_model_that_answers_is_not_evicted(build: Build) -> None:
    """The newer router lets the newcomer wait; the older one ends the model in the middle of its answer."""
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


def test_a_file_that_cannot_be_loaded_costs_another_model_its_place(build: Build) -> None:
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


def test_a_preset_with_a_key_that_nobody_knows_stops_the_router(build: Build) -> None:
    run = build.router(build.preset("a", "--flash-atn", "on"))
    assert run.ended() == 1
    assert "option 'flash-atn' not recognized in preset 'a'" in run.log
    assert "unknown-flag" in build.guard(["--flash-atn", "on"], "preset")


def test_what_stands_above_the_sections_is_a_model_to_the_older_release(build: Build) -> None:
    """Why our presets have no version at their top."""
    text = "version = 1\n" + build.preset("a", "--ctx-size", "512")
    assert build.router(text).healthy()
    run = build.router("threads = 1\n" + text)
    assert run.healthy()
    assert set(run.states()) == {"a", "default"}


def test_a_client_cannot_make_it_fetch_anything(build: Build) -> None:
    if not build.is_new:
        pytest.skip("it has no such request")
    run = start(build, offer(build, "a"))
    get(run.port, "/models", {"model": "somebody/some-model"}, key=KEY)
    assert run.says("download completed", limit=10) or "failed" in run.log
    assert "failed to resolve commit" in run.log or "failed to" in run.log
    assert run.chat("a") == 200
    assert not list(Path(build.place / "none").rglob("*.gguf"))


def test_a_stop_ends_every_process_in_time(build: Build) -> None:
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
    # An answer that runs is cut, cleanly or not: draining is somebody else's.
    assert not stream.is_alive() and found[0] < 3500
    for port in ports:
        with pytest.raises(OSError, match=r"refused|reset"):
            get(port, "/health", limit=2)
