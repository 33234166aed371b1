"""A release change includes the router: upgrade, rollback and automatic rollback. The new release has TLS.

The other release is the same source built with OpenSSL (herd_api_tls).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from testinfra.host import Host

from tests.scenarios.playbooks import Operator, Run
from tests.scenarios.testing import ETHERNET, HEAD, NODES

On = Callable[[str], Host]
NODE = "vllm-node2"
ADDRESS = ETHERNET[NODE]
TLS = {"herd_api_tls": True, "head_server_tls_generate": True, "fast_router_tls_generate": True}
# The same build with TLS unused, so that nodes can return to the release without TLS.
BUILT = {"llama_build_tls": True}
UNITS = {HEAD: "llama-head", "vllm-node2": "llama-router", "vllm-node3": "llama-rpc"}
DROP_IN = "/etc/systemd/system/llama-router.service.d/sabotage.conf"


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Operator:
    return Operator(tmp_path_factory.mktemp("playbooks"))


def play(operator: Operator, name: str, *more: str, given: dict[str, bool] | None = None) -> Run:
    more += ("--extra-vars", json.dumps(given)) if given else ()
    return operator.play(f"playbooks/{name}.yml", "--inventory", "molecule/router/inventory", *more)


def releases(on: On) -> set[str]:
    """Return the releases that the nodes run: one, unless a node differs."""
    found = set()
    for host, unit in UNITS.items():
        found.add(
            on(host).check_output(f"readlink /proc/$(systemctl show -p MainPID --value {unit})/exe").split("/")[-3]
        )
    return found | {on(host).check_output("basename $(readlink /opt/llama.cpp/current)") for host in NODES}


def status(on: On, url: str, more: str = "", path: str = "/v1/models") -> str:
    key = on(NODE).check_output("grep -v '^#' /etc/herd/router/api-keys | head -n1")
    curl = f"curl -s -m 90 -o /dev/null -w '%{{http_code}}' {more} -H @/dev/stdin {url}{path}"
    return on(NODE).run(f"echo 'Authorization: Bearer {key}' | {curl}").stdout


def chat(on: On, url: str, more: str = "") -> str:
    body = json.dumps({"model": "fast", "max_tokens": 2, "messages": [{"role": "user", "content": "Hello"}]})
    return status(on, url, f"{more} -d '{body}'", "/v1/chat/completions")


PLAIN, SAFE = f"http://{ADDRESS}:8080", f"https://{ADDRESS}:8080"
TRUSTED = "--cacert /etc/herd/router.crt"


def test_router_is_upgraded_and_serves_tls(on: On, operator: Operator) -> None:
    (before,) = releases(on)
    # A build with OpenSSL needs its headers.
    assert play(operator, "site", "--tags", "toolchain", given=TLS).rc == 0
    run = play(operator, "upgrade", given=TLS)
    assert run.rc == 0, run.output
    (after,) = releases(on)
    assert after != before
    assert chat(on, SAFE, TRUSTED) == "200"
    # Requests without TLS, without the router's certificate or without a key fail.
    assert status(on, PLAIN) == "000"
    assert status(on, SAFE) == "000"
    assert on(NODE).run(f"curl -s -o /dev/null -w '%{{http_code}}' {TRUSTED} {SAFE}/v1/models").stdout == "401"
    # herdctl trusts the router's certificate. The models' processes serve without TLS.
    assert "made a token" in on(NODE).check_output("herdctl probe")
    assert "lab-llama" in on(NODE).check_output("herdctl models")
    argv = on(NODE).check_output("pgrep -u llama -af 'alias lab-llama' | head -n1")
    assert "--ssl" not in argv
    assert on(NODE).file("/etc/herd/router/tls.key").mode == 0o640
    assert play(operator, "upgrade", given=TLS).calm


def test_certificate_names_the_router_and_the_agent_trusts_it(on: On) -> None:
    told = json.loads(on(NODE).check_output("herdctl status --json"))["nodes"][NODE]["heartbeat"]["router"]
    assert (told["health"], told["supervision"]) == ("ok", "watching")
    names = on(NODE).check_output("openssl x509 -in /etc/herd/router.crt -noout -ext subjectAltName")
    assert f"IP Address:{ADDRESS}" in names


def test_status_playbook_shows_the_router(on: On, operator: Operator, tmp_path: Path) -> None:
    """The router serves with TLS. The playbook reads the certificate's path from the router's command line."""

    def row() -> dict[str, str]:
        run = play(operator, "status", "--extra-vars", f"status_file={tmp_path}/status.json")
        assert run.rc == 0, run.output
        rows = json.loads((tmp_path / "status.json").read_text(encoding="utf-8"))["nodes"]
        (found,) = [each for each in rows if each["role"] == "fast_router"]
        return dict(found)

    (release,) = releases(on)
    there = row()
    assert (there["host"], there["unit"], there["release"]) == (NODE, "active (running)", release)
    assert "of 3 models in memory" in there["note"]
    on(NODE).check_output("systemctl stop llama-router")
    try:
        assert row()["unit"] == "inactive (dead)"
    finally:
        on(NODE).check_output("systemctl start llama-router")


def test_router_is_rolled_back(on: On, operator: Operator) -> None:
    (safe,) = releases(on)
    run = play(operator, "rollback")
    assert run.rc == 0, run.output
    (plain,) = releases(on)
    assert plain != safe
    assert chat(on, PLAIN) == "200"


def test_failed_router_start_rolls_all_nodes_back(on: On, operator: Operator) -> None:
    (before,) = releases(on)
    previous = on(NODE).check_output("basename $(readlink /opt/llama.cpp/previous)")
    # A router of the other release does not start.
    refuse = f"ExecStartPre=/bin/sh -c '! grep -q releases/{previous} /etc/systemd/system/llama-router.service'"
    on(NODE).check_output(f"mkdir -p {Path(DROP_IN).parent}; printf '[Service]\\n%s\\n' \"{refuse}\" > {DROP_IN}")
    on(NODE).check_output("systemctl daemon-reload")
    try:
        run = play(operator, "upgrade", given=BUILT)
        assert run.rc != 0
        assert f"The service runs {before} again and answers" in run.output
    finally:
        on(NODE).check_output(f"rm -r {Path(DROP_IN).parent}; systemctl daemon-reload")
    assert releases(on) == {before}
    assert on(NODE).check_output("basename $(readlink /opt/llama.cpp/previous)") == previous
    assert chat(on, PLAIN) == "200"


# Refuse and cut ssh for 100 seconds. The fabric and the worker stay up.
STOP_SSH = "systemd-run --quiet sh -c 'systemctl stop ssh.socket ssh; pkill -KILL sshd; sleep 100; systemctl start ssh'"


def test_unreachable_node_rolls_all_nodes_back(on: On, operator: Operator) -> None:
    """The node's worker still runs the former release, and the new head would accept it."""
    (before,) = releases(on)
    log = operator.folder / f"{len(operator.outputs):02}-upgrade.log"

    def stop_ssh() -> None:
        until = time.monotonic() + 400
        while time.monotonic() < until:
            if log.exists() and "TASK [Stop the head, which" in log.read_text(encoding="utf-8", errors="replace"):
                on("vllm-node3").run(STOP_SSH)
                return
            time.sleep(0.1)

    stopping = threading.Thread(target=stop_ssh)
    stopping.start()
    run = play(operator, "upgrade", given=BUILT)
    stopping.join()
    assert run.rc != 0
    assert "vllm-node3: expected every node to switch to" in run.output
    assert f"The service runs {before} again and answers" in run.output
    assert chat(on, PLAIN) == "200"
    time.sleep(100)
    assert releases(on) == {before}
    # The node still has its record of the change. The next playbook removes it.
    run = play(operator, "rollback")
    assert run.rc == 0, run.output
    (now,) = releases(on)
    assert now == before
