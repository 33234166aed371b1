"""A router of models on a node, as its clients and its host see it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from testinfra.host import Host

from tests.scenarios.testing import ETHERNET

On = Callable[[str], Host]
NODE = "vllm-node2"
URL = f"http://{ETHERNET[NODE]}:8080"
OFFERED = {"lab-llama", "second", "third"}
KEYS = "/etc/herd/router/api-keys"


@pytest.fixture(scope="module")
def key(on: On) -> str:
    return on(NODE).check_output(f"grep -v '^#' {KEYS} | head -n1")


Ask = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module")
def ask(on: On, key: str) -> Ask:
    """Return a function that sends a request from a host outside the cluster and returns status and body."""

    def request(path: str, body: dict[str, Any] | None = None, given: str | None = None) -> tuple[int, Any]:
        data = f"-d '{json.dumps(body)}'" if body is not None else ""
        said = on("mirror").check_output(
            f"echo 'Authorization: Bearer {key if given is None else given}' | "
            f"curl -sS --max-time 120 -w '\\n%{{http_code}}' -H @/dev/stdin {data} '{URL}{path}'"
        )
        answer, status = said.rsplit("\n", 1)
        return int(status), json.loads(answer) if answer.startswith("{") else answer

    return request


def chat(ask: Ask, model: str) -> int:
    body = {"model": model, "max_tokens": 2, "messages": [{"role": "user", "content": "Hello"}]}
    return ask("/v1/chat/completions", body)[0]


def states(ask: Ask) -> dict[str, str]:
    return {model["id"]: model["status"]["value"] for model in ask("/models")[1]["data"]}


def await_states(ask: Ask, wanted: dict[str, str], limit: float = 60) -> dict[str, str]:
    """Return the models' states once they include the wanted ones, or when the time is up."""
    end = time.monotonic() + limit
    found = states(ask)
    while not wanted.items() <= found.items() and time.monotonic() < end:
        time.sleep(0.5)
        found = states(ask)
    return found


def children(on: On) -> dict[str, int]:
    """Map each model to the port of its process."""
    words = on(NODE).check_output("pgrep -u llama -a llama-server")
    found = {}
    for line in words.splitlines():
        argv = line.split()
        if "--alias" in argv and "127.0.0.1" in argv:
            found[argv[argv.index("--alias") + 1]] = int(argv[argv.index("--port") + 1])
    return found


def test_router_offers_only_complete_models(ask: Ask) -> None:
    """A truncated model, a file that is not a model and a multimodal projector are not offered."""
    assert set(states(ask)) == OFFERED
    status, answer = ask("/v1/chat/completions", {"model": "cut", "messages": []})
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    assert "not found" in answer["error"]["message"]


def test_third_model_evicts_the_least_recently_used(ask: Ask) -> None:
    assert [chat(ask, model) for model in ("second", "third", "second", "fast")] == [200] * 4
    found = states(ask)
    assert found["third"] == "unloaded"
    assert {found["second"], found["lab-llama"]} <= {"loaded", "sleeping"}


def test_alias_selects_its_model(ask: Ask) -> None:
    status, answer = ask("/completion", {"model": "task:fix", "prompt": "fn main", "n_predict": 2})
    assert status == 200
    assert answer["model"] in ("lab-llama", "task:fix")
    assert states(ask)["lab-llama"] == "loaded"


def test_idle_model_frees_its_memory_and_wakes_on_a_request(on: On, ask: Ask) -> None:
    assert chat(ask, "second") == 200
    awake = int(on(NODE).check_output("pgrep -u llama -f 'alias second' | head -n1 | xargs ps -o rss= -p"))
    assert await_states(ask, {"second": "sleeping"})["second"] == "sleeping"
    asleep = int(on(NODE).check_output("pgrep -u llama -f 'alias second' | head -n1 | xargs ps -o rss= -p"))
    assert asleep < awake / 2, (awake, asleep)
    # Reading the states does not wake it.
    assert ask("/models")[0] == 200
    assert states(ask)["second"] == "sleeping"
    assert chat(ask, "second") == 200


def test_router_and_model_processes_reject_requests_without_a_key(on: On, ask: Ask) -> None:
    assert chat(ask, "second") == 200
    for given in ("", "a-guess"):
        assert ask("/v1/models", given=given)[0] == 401
        assert ask("/v1/chat/completions", {"model": "second", "messages": []}, given=given)[0] == 401
    ports = children(on)
    assert ports
    for port in ports.values():
        said = on(NODE).check_output(
            "setpriv --reuid=nobody --clear-groups curl -s -o /dev/null -w '%{http_code}' -d '{\"prompt\": \"x\"}' "
            f"http://127.0.0.1:{port}/completion"
        )
        assert said == "401"


def test_only_the_routers_port_is_reachable_from_outside(on: On) -> None:
    """The models' processes listen on the loopback interface."""
    said = on(NODE).check_output("ss -Hltnp | grep llama-server")
    addresses = {line.split()[3] for line in said.splitlines()}
    outside = {address for address in addresses if not address.startswith("127.0.0.1:")}
    assert outside == {f"{ETHERNET[NODE]}:8080"}


def test_sandbox_is_as_strict_as_documented(on: On) -> None:
    said = on(NODE).check_output("systemd-analyze security --no-pager llama-router.service | tail -n1")
    assert float(said.split(":")[1].split()[0]) <= 1.4


def test_key_is_not_readable_by_others(on: On, key: str) -> None:
    node = on(NODE)
    assert node.file(KEYS).mode == 0o640
    for command in (
        "ps -eo args",
        "systemctl show llama-router.service",
        "cat /etc/systemd/system/llama-router.service /etc/herd/router/presets.ini",
        "journalctl -u llama-router.service --no-pager",
    ):
        assert key not in node.check_output(command), command


def test_next_request_restarts_a_killed_model_process(on: On, ask: Ask) -> None:
    assert chat(ask, "second") == 200
    before = on(NODE).check_output("systemctl show -p MainPID --value llama-router")
    on(NODE).check_output("pgrep -u llama -f 'alias second' | head -n1 | xargs kill -9")
    assert await_states(ask, {"second": "unloaded"}, 10)["second"] == "unloaded"
    assert chat(ask, "second") == 200
    assert on(NODE).check_output("systemctl show -p MainPID --value llama-router") == before


def test_killed_router_restarts_and_leaves_no_model_process(on: On, ask: Ask) -> None:
    assert chat(ask, "second") == 200
    node = on(NODE)
    before = node.check_output("systemctl show -p MainPID --value llama-router")
    models = node.check_output("pgrep -u llama -f -- '--alias (second|third|lab-llama)' | tr '\\n' ' '").split()
    node.check_output(f"kill -9 {before}")
    end = time.monotonic() + 60
    while time.monotonic() < end:
        said = node.run("systemctl show -p MainPID --value llama-router").stdout.strip()
        if said not in ("0", before) and node.run(f"curl -sf {URL}/health").rc == 0:
            break
        time.sleep(0.5)
    assert chat(ask, "second") == 200
    still = node.check_output("pgrep -u llama llama-server | tr '\\n' ' '").split()
    assert not set(models) & set(still)


def settled(on: On) -> str:
    """Return the agent's log of the last minute, once the agent sees the router serve again."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        # The command exits with 1 while the cluster is not healthy.
        told = json.loads(on(NODE).run("herdctl status --json").stdout)["nodes"][NODE]["heartbeat"]["router"]
        if (told["health"], told["supervision"]) == ("ok", "watching"):
            break
        time.sleep(0.5)
    return on(NODE).check_output("journalctl -u herd-agent --since=-60s --output=cat --no-pager")


def start_request(on: On, key: str, model: str) -> None:
    """Send a long request from a host outside the cluster. Its HTTP status is written to /tmp/stream."""
    body = json.dumps({"model": model, "prompt": "x", "n_predict": 500, "ignore_eos": True})
    on("mirror").check_output(
        f"rm -f /tmp/stream; (echo 'Authorization: Bearer {key}' | curl -s --max-time 60 -H @/dev/stdin -o /dev/null "
        f"-w '%{{http_code}}' -d '{body}' {URL}/completion > /tmp/asked 2>&1; mv /tmp/asked /tmp/stream) "
        "</dev/null >/dev/null 2>&1 &"
    )
    time.sleep(1.5)


def status_of_request(on: On) -> str:
    return on("mirror").check_output(
        "timeout 40 sh -c 'until test -s /tmp/stream; do sleep 0.2; done'; cat /tmp/stream"
    )


def test_hung_model_process_is_killed_and_reloaded_by_the_next_request(on: On, ask: Ask, key: str) -> None:
    """The process hangs during a response. The router's /health still reports success."""
    assert chat(ask, "second") == 200
    router = on(NODE).check_output("systemctl show -p MainPID --value llama-router")
    start_request(on, key, "second")
    on(NODE).check_output("pgrep -u llama -f 'alias second' | head -n1 | xargs kill -STOP")
    begin = time.monotonic()
    assert ask("/health")[0] == 200
    # The waiting client gets an error, and the next request succeeds, once the agent has noticed and ended the process.
    assert status_of_request(on) == "500"
    assert time.monotonic() - begin < 20
    assert chat(ask, "second") == 200
    assert "unloading the model second" in settled(on)
    assert on(NODE).check_output("systemctl show -p MainPID --value llama-router") == router


def test_hung_router_is_restarted(on: On, ask: Ask, key: str) -> None:
    assert chat(ask, "second") == 200
    router = on(NODE).check_output("systemctl show -p MainPID --value llama-router")
    start_request(on, key, "second")
    on(NODE).check_output(f"kill -STOP {router}")
    begin = time.monotonic()
    # The client's connection closes without a status.
    assert status_of_request(on) == "000"
    assert time.monotonic() - begin < 20
    assert "restarting the router" in settled(on)
    assert on(NODE).check_output("systemctl show -p MainPID --value llama-router") != router
    assert chat(ask, "second") == 200


def test_agent_neither_wakes_nor_unloads_a_sleeping_model(on: On, ask: Ask) -> None:
    """The agent checks the router for half a minute."""
    assert chat(ask, "second") == 200
    assert await_states(ask, {"second": "sleeping"})["second"] == "sleeping"
    before = on(NODE).check_output("pgrep -u llama -f 'alias second' | head -n1")
    for _each in range(30):
        assert states(ask)["second"] == "sleeping"
        time.sleep(1)
    assert on(NODE).check_output("pgrep -u llama -f 'alias second' | head -n1") == before


def test_stop_completes_responses_and_refuses_new_connections(on: On, ask: Ask, key: str) -> None:
    assert chat(ask, "third") == 200
    start_request(on, key, "third")
    on(NODE).check_output("(herdctl stop-router --json --timeout 60 > /run/stopped) </dev/null >/dev/null 2>&1 &")
    time.sleep(1.5)
    # 7: the connection was refused.
    assert on("mirror").run(f"curl -s --max-time 5 {URL}/health").rc == 7
    assert status_of_request(on) == "200"
    on(NODE).check_output("timeout 20 sh -c 'until test -s /run/stopped; do sleep 0.2; done'")
    assert json.loads(on(NODE).check_output("cat /run/stopped"))["cut"] == 0
    assert on(NODE).check_output("systemctl is-active llama-router || true") == "inactive"
    assert "herd_router" not in on(NODE).check_output("nft list tables")
    # The agent does not start a router that was stopped on purpose.
    time.sleep(3)
    assert on(NODE).check_output("systemctl is-active llama-router || true") == "inactive"
    on(NODE).check_output("systemctl start llama-router")
    settled(on)
    assert chat(ask, "third") == 200


def test_restart_under_load_keeps_its_time_limit(on: On, ask: Ask, key: str) -> None:
    assert chat(ask, "third") == 200
    on("mirror").check_output(
        f"(echo 'Authorization: Bearer {key}' | curl -sN --max-time 60 -H @/dev/stdin "
        '-d \'{"model": "third", "prompt": "x", "n_predict": 900, "stream": true, "ignore_eos": true}\' '
        f"{URL}/completion > /tmp/stream 2>&1; echo $? > /tmp/stream.rc) </dev/null >/dev/null 2>&1 &"
    )
    time.sleep(1)
    begin = time.monotonic()
    on(NODE).check_output("systemctl restart llama-router")
    assert time.monotonic() - begin < 4 + 10
    assert on(NODE).check_output("systemctl show -p Result --value llama-router") == "success"
    assert chat(ask, "third") == 200
    # The client's stream has ended.
    on("mirror").check_output("timeout 20 sh -c 'until test -s /tmp/stream.rc; do sleep 0.2; done'")
