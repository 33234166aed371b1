"""State of three hosts after site.yml."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from testinfra.host import Host

from tests.scenarios.testing import ETHERNET, FABRIC, HEAD, NODES, WORKERS

On = Callable[[str], Host]
UNITS = [(HEAD, "llama-head"), *((worker, "llama-rpc") for worker in WORKERS)]


@pytest.mark.parametrize(("name", "unit"), UNITS)
def test_units_run_and_are_enabled(on: On, name: str, unit: str) -> None:
    service = on(name).service(unit)
    assert service.is_running
    assert service.is_enabled


@pytest.mark.parametrize(("name", "unit"), UNITS)
def test_processes_are_not_root(on: On, name: str, unit: str) -> None:
    pid = on(name).check_output(f"systemctl show -p MainPID --value {unit}")
    assert on(name).check_output(f"stat -c %U /proc/{pid}") == "llama"


@pytest.mark.parametrize("name", NODES)
def test_the_user_has_no_shell_and_no_password(on: On, name: str) -> None:
    user = on(name).user("llama")
    assert user.exists
    assert user.group == "llama"
    assert user.shell.endswith("/nologin")
    assert user.password in ("!", "*", "!*", "!!")


@pytest.mark.parametrize("name", WORKERS)
def test_the_rpc_port_is_bound_to_the_fabric_only(on: On, name: str) -> None:
    listening = on(name).check_output("ss -Hltn 'sport = :50052'").splitlines()
    assert [line.split()[3] for line in listening] == [f"{FABRIC[name]}:50052"]


def test_the_head_listens_where_the_inventory_says(on: On) -> None:
    listening = on(HEAD).check_output("ss -Hltn 'sport = :8000'").splitlines()
    assert [line.split()[3] for line in listening] == [f"{ETHERNET[HEAD]}:8000"]


@pytest.mark.parametrize(
    ("path", "owner", "group", "mode"),
    [
        ("/opt/llama.cpp", "root", "root", 0o755),
        ("/opt/llama.cpp/releases", "root", "root", 0o755),
        ("/opt/models", "llama", "llama", 0o755),
        ("/etc/herd", "root", "root", 0o755),
    ],
)
def test_directories_have_the_right_owner(on: On, path: str, owner: str, group: str, mode: int) -> None:
    for name in (HEAD,) if path == "/opt/models" else NODES:
        found = on(name).file(path)
        assert (found.user, found.group, found.mode) == (owner, group, mode), name


def test_keys_are_readable_by_the_service_only(on: On) -> None:
    keys = on(HEAD).file("/etc/herd/head/api-keys")
    assert (keys.user, keys.group, keys.mode) == ("root", "llama", 0o640)
    unit = on(HEAD).file("/etc/systemd/system/llama-head.service").content_string
    for key in keys.content_string.split():
        assert key not in unit
        assert key not in on(HEAD).check_output("ps -eo args")
        assert key not in on(HEAD).check_output("journalctl -q --no-pager")
    # Nor the end of one, which the engine writes when there is only one key.
    assert "api_keys: ****" not in on(HEAD).check_output("journalctl -q --no-pager -u llama-head")


def test_every_node_has_the_identical_release(on: On) -> None:
    ids, hashes = set(), set()
    for name in NODES:
        current = on(name).file("/opt/llama.cpp/current")
        assert current.is_symlink
        ids.add(current.linked_to)
        hashes.add(
            on(name).check_output("cd /opt/llama.cpp/current/ && find . -type f | sort | xargs sha256sum | sha256sum")
        )
    assert len(ids) == 1
    assert len(hashes) == 1


@pytest.mark.parametrize("name", NODES)
def test_the_release_matches_its_manifest(on: On, name: str) -> None:
    host = on(name)
    manifest = json.loads(host.file("/opt/llama.cpp/current/manifest.json").content_string)
    assert host.file("/opt/llama.cpp/current").linked_to.endswith(manifest["id"])
    for path, entry in manifest["files"].items():
        if "sha256" in entry:
            assert host.file(f"/opt/llama.cpp/current/{path}").sha256sum == entry["sha256"], path


@pytest.mark.parametrize(("name", "unit"), UNITS)
def test_units_run_from_the_current_release(on: On, name: str, unit: str) -> None:
    release = on(name).file("/opt/llama.cpp/current").linked_to
    pid = on(name).check_output(f"systemctl show -p MainPID --value {unit}")
    assert on(name).check_output(f"readlink /proc/{pid}/exe").startswith(f"{release}/bin/")
    assert "LD_LIBRARY_PATH" not in on(name).check_output(f"tr '\\0' '\\n' < /proc/{pid}/environ")


def test_the_model_is_complete_and_has_one_copy(on: On) -> None:
    files = on(HEAD).check_output("find /opt/models -type f -size +1M").splitlines()
    assert files == ["/opt/models/lab-llama.gguf"]


@pytest.mark.parametrize("name", WORKERS)
def test_the_head_has_connections_to_every_worker(on: On, name: str) -> None:
    peers = on(HEAD).check_output(f"ss -Htn state established dst {FABRIC[name]}:50052")
    assert peers.strip()


def connects(host: Host, address: str) -> bool:
    return host.run(f"timeout 3 bash -c 'exec 3<>/dev/tcp/{address}/50052'").succeeded


def test_no_other_node_reaches_a_worker(on: On) -> None:
    assert not connects(on("vllm-node3"), FABRIC["vllm-node2"])
    assert not connects(on("vllm-node2"), FABRIC["vllm-node3"])
    assert not connects(on("mirror"), ETHERNET["vllm-node2"])
    assert not connects(on(HEAD), ETHERNET["vllm-node2"])


@pytest.mark.parametrize(("name", "unit"), UNITS)
def test_units_are_sandboxed(on: On, name: str, unit: str) -> None:
    said = on(name).check_output(f"systemd-analyze security --no-pager {unit}")
    match = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
    assert match, said
    assert float(match[1]) <= 2.5


COMPLETION = """
import json, sys, urllib.request
key = open('/etc/herd/head/api-keys').read().split()[0]
body = {'model': 'lab-llama', 'max_tokens': 8, 'messages': [{'role': 'user', 'content': 'Hello'}]}
request = urllib.request.Request(
    'http://%s:8000/v1/chat/completions', json.dumps(body).encode(),
    {'Content-Type': 'application/json', 'Authorization': 'Bearer ' + key})
print(urllib.request.urlopen(request, timeout=120).read().decode())
"""


def test_a_chat_completion(on: On) -> None:
    said = on(HEAD).run("python3 - <<'PYTHON'\n%s\nPYTHON" % (COMPLETION % ETHERNET[HEAD]))
    assert said.succeeded, said.stderr
    answer = json.loads(said.stdout)
    assert answer["choices"][0]["message"]["content"]
    assert answer["usage"]["completion_tokens"] > 0


def test_a_request_without_a_key_is_refused(on: On) -> None:
    said = on(HEAD).run(
        f"curl -s -o /dev/null -w %{{http_code}} http://{ETHERNET[HEAD]}:8000/v1/chat/completions "
        "-H 'Content-Type: application/json' -d '{}'"
    )
    assert said.stdout == "401"
