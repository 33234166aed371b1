# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the operator's playbooks one after the other on one cluster, and check that they reveal no secret."""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.playbooks import CLIENT, Operator, Run, give_key, keys, load, pid, search, ssh, state, status_of
from tests.scenarios.testing import HEAD, NODES, WORKERS

TOKEN = "hf_CanaryOfTheHubToken0123456789"
GIVEN = "canary-of-a-given-api-key-0123456789"
# All former and present keys by name.
SECRETS: dict[str, str] = {"token": TOKEN, "given key": GIVEN}


def remember_keys() -> list[str]:
    """Record secrets that no output may contain."""
    found = keys()
    SECRETS.update({f"key {key[:7]}": key for key in found})
    return found


def said_before_changes(run: Run) -> None:
    """Check that a playbook has announced its actions before the first change."""
    said = run.output.find("TASK [Show what ")
    assert said >= 0, run.output
    changed = re.search(r"^changed: ", run.output, re.MULTILINE)
    assert changed is None or said < changed.start(), run.output


def test_site_with_given_secrets(operator: Operator, tmp_path: Path) -> None:
    remember_keys()
    vault = tmp_path / "vault.yml"
    vault.write_text(json.dumps({"head_server_api_keys": [GIVEN], "model_store_token": TOKEN}))
    run = operator.play("site.yml", "--diff", "-e", f"@{vault}")
    assert run.rc == 0, run.output
    assert (status_of(GIVEN), status_of("another")) == (200, 401)
    remember_keys()


LOOKING = ["status", "ask", "plan", "logs", "preflight", "check_models", "check_fabric"]


@pytest.mark.parametrize("name", LOOKING)
def test_info_playbooks_change_nothing(operator: Operator, name: str) -> None:
    run = operator.play(f"playbooks/{name}.yml", "--diff")
    assert run.calm, run.output


def measure_fabric(operator: Operator, least_gbps: float) -> Run:
    limits = {"good": 2 * least_gbps, "acceptable": least_gbps, "critical": least_gbps}
    words = [f"node_bandwidth_{name}_gbps={value}" for name, value in limits.items()]
    words += ["bandwidth=true", "node_bandwidth_seconds=2"]
    return operator.play("playbooks/check_fabric.yml", *(part for word in words for part in ("-e", word)))


def test_check_fabric_measures_the_bandwidth(operator: Operator) -> None:
    """iperf3 measures the lab's fabric, which is within this machine."""
    run = measure_fabric(operator, 0.01)
    assert run.rc == 0, run.output
    measured = [float(rate) for rate in re.findall(r'"gbps": ([0-9.]+)', run.output)]
    assert len(set(measured)) >= 2 * len(WORKERS)
    assert min(measured) > 0.01
    run = measure_fabric(operator, 100_000)
    assert run.rc != 0
    assert re.search(r"expected .*Gb/s", run.output), run.output
    for worker in WORKERS:
        assert ssh(worker, "pgrep -x iperf3; ss -Hltn sport = :50064").stdout == ""


CHECKED = [
    ("stop", ()),
    ("start", ()),
    ("restart", ()),
    ("drain", ()),
    ("rotate_key", ("-e", "rotate_key_finish=true")),
    ("remove", ("-e", "remove_models=true")),
    ("collect", ()),
]


@pytest.mark.parametrize(("name", "more"), CHECKED, ids=[" ".join([name, *more[1:]]) for name, more in CHECKED])
def test_check_mode_changes_nothing(operator: Operator, name: str, more: tuple[str, ...], tmp_path: Path) -> None:
    before = state()
    run = operator.play(f"playbooks/{name}.yml", "--check", "--diff", "-e", f"collect_dir={tmp_path}", *more)
    assert run.rc == 0, run.output
    said_before_changes(run)
    assert state() == before


def test_stop_and_start(operator: Operator) -> None:
    run = operator.play("playbooks/stop.yml")
    said_before_changes(run)
    assert run.changed == dict.fromkeys(NODES, 1), run.output
    assert [pid(), *(pid("llama-rpc.service", worker) for worker in WORKERS)] == [0, 0, 0]
    assert operator.play("playbooks/stop.yml").calm
    run = operator.play("playbooks/start.yml")
    said_before_changes(run)
    assert run.rc == 0, run.output
    assert status_of(GIVEN) == 200
    assert operator.play("playbooks/start.yml").calm


def errors(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [request for request in requests if request["error"]]


def test_a_drain_interrupts_no_answer(operator: Operator) -> None:
    with load(GIVEN) as requests:
        run = operator.play("playbooks/drain.yml")
        assert run.rc == 0, run.output
        said_before_changes(run)
        assert pid() == 0
    assert requests
    # New requests were rejected with an explanation, and no running answer was interrupted.
    assert {request["error"] for request in errors(requests)} == {"status 503"}, errors(requests)
    assert operator.play("playbooks/drain.yml").calm
    assert status_of(GIVEN) == 503
    run = operator.play("playbooks/start.yml")
    assert run.rc == 0, run.output
    assert status_of(GIVEN) == 200


def test_a_restart_with_a_drain_interrupts_no_answer(operator: Operator) -> None:
    before = [pid(), *(pid("llama-rpc.service", worker) for worker in WORKERS)]
    run = operator.play("playbooks/restart.yml", "-e", "restart_drained=true")
    assert run.rc == 0, run.output
    said_before_changes(run)
    after = [pid(), *(pid("llama-rpc.service", worker) for worker in WORKERS)]
    assert not set(before) & set(after)
    assert status_of(GIVEN) == 200


def test_a_rotation_under_load_drops_no_request(operator: Operator) -> None:
    old = keys()[0]
    # Without given keys, the key in use stays and is the first.
    assert operator.play("site.yml", "--tags", "head").rc == 0
    assert remember_keys()[0] == old == GIVEN
    head = pid()
    with load(old) as requests:
        run = operator.play("playbooks/rotate_key.yml", "--diff")
        assert run.rc == 0, run.output
        said_before_changes(run)
        new = remember_keys()[0]
        assert new != old
        # Without a restart, both keys are accepted.
        assert pid() == head
        assert (status_of(old), status_of(new)) == (200, 200)
        assert operator.play("playbooks/rotate_key.yml").calm
        give_key(new)
        run = operator.play("playbooks/rotate_key.yml", "--diff", "-e", "rotate_key_finish=true")
        assert run.rc == 0, run.output
        remember_keys()
        assert pid() != head
    assert (status_of(old), status_of(new)) == (401, 200)
    longest = max(request["seconds"] for request in requests)
    again = sum(1 for request in requests if request["again"])
    print(
        f"{len(requests)} requests, {len(errors(requests))} failed, {again} asked again, {longest:.1f} s at the longest"
    )
    assert len(requests) > 10
    assert errors(requests) == []
    # The client with a persistent connection may see its end once.
    assert again <= 1
    assert operator.play("playbooks/rotate_key.yml", "-e", "rotate_key_finish=true").calm


def test_a_killed_rotation_converges(operator: Operator) -> None:
    old = keys()[0]
    assert operator.play("playbooks/rotate_key.yml").rc == 0
    new = remember_keys()[0]
    # The playbook is killed while the head stops and the clients wait.
    finish = ("-e", "rotate_key_finish=true")
    operator.play_and_kill(
        "playbooks/rotate_key.yml", *finish, after="TASK [herd.inference.head_server : Stop the head"
    )
    run = operator.play("playbooks/rotate_key.yml", *finish)
    assert run.rc == 0, run.output
    assert remember_keys()[0] == new
    assert (status_of(old), status_of(new)) == (401, 200)
    assert ssh(HEAD, "systemctl is-active herd-queue").stdout.strip() in ("inactive", "deactivating")
    assert operator.play("site.yml", "--tags", "head", "--check").calm


def test_an_upgrade_to_the_current_release_changes_nothing(operator: Operator) -> None:
    run = operator.play("playbooks/upgrade.yml")
    assert run.calm, run.output
    said_before_changes(run)


def test_a_rollback_fails_without_a_previous_release(operator: Operator) -> None:
    run = operator.play("playbooks/rollback.yml")
    assert run.rc != 0
    assert "expected a former release on this node" in run.output


@pytest.fixture(scope="module")
def bundle(operator: Operator, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("bundle")
    run = operator.play("playbooks/collect.yml", "-e", f"collect_dir={folder}/bundle")
    assert run.calm, run.output
    said_before_changes(run)
    assert (folder / "bundle").stat().st_mode & 0o777 == 0o700
    found: dict[str, str] = {}
    for host in NODES:
        with tarfile.open(folder / "bundle" / f"{host}.tar.gz") as archive:
            for entry in archive.getmembers():
                content = archive.extractfile(entry)
                assert content is not None
                found[entry.name] = content.read().decode()
    return found


def test_a_bundle_contains_the_diagnostics(bundle: dict[str, str]) -> None:
    assert "llama-server" in bundle[f"{HEAD}/system/processes.txt"]
    assert "--api-key-file" in bundle[f"{HEAD}/units/llama-head.service.txt"]
    assert (
        "api_keys" in bundle[f"{HEAD}/journal/llama-head.service.txt"]
        or bundle[f"{HEAD}/journal/llama-head.service.txt"]
    )
    for host in NODES:
        assert "ib0" in bundle[f"{host}/network/routes.txt"]
        assert json.loads(bundle[f"{host}/herd/status.json"])["nodes"][HEAD]["seen"] == "heartbeat"
        assert json.loads(bundle[f"{host}/herd/manifest.json"])["id"]
    for worker in WORKERS:
        assert "ActiveState=active" in bundle[f"{worker}/units/llama-rpc.service.state.txt"]
        assert "herd_rpc" in bundle[f"{worker}/network/firewall.txt"]
    assert ssh(HEAD, "ls -A /root | grep herd-support").stdout == ""


def seen(operator: Operator, bundle: dict[str, str], secrets: dict[str, str]) -> set[tuple[str, str, str]]:
    """Return the places of these secrets in the output of playbooks, in the support bundle and on the nodes."""
    texts = {("controller", f"output {name}"): text for name, text in operator.outputs.items()}
    texts.update({("controller", f"bundle {name}"): text for name, text in bundle.items()})
    there = {(*where, name) for where, text in texts.items() for name, secret in secrets.items() if secret in text}
    return {(host, name, place) for host, place, name in there} | search(secrets)


def test_no_output_contains_a_secret(operator: Operator, bundle: dict[str, str]) -> None:
    assert len(SECRETS) > 6
    assert len(operator.outputs) > 20
    assert seen(operator, bundle, SECRETS) == set()


PLANTED = "planted-secret-0123456789"
PLANT = f"""
logger {PLANTED}
printf '# herd.inference\\n# {PLANTED}\\n[Service]\\nExecStart=/bin/true\\n' >/etc/systemd/system/planted.service
echo {PLANTED} >/opt/llama.cpp/dist/planted
echo {PLANTED} >/etc/herd/planted && chmod 644 /etc/herd/planted
echo {PLANTED} >/etc/herd/head/planted && chmod 600 /etc/herd/head/planted
setsid sh -c 'sleep 120; : {PLANTED}' </dev/null >/dev/null 2>&1 &
systemctl daemon-reload
"""


def test_planted_secrets_are_found(operator: Operator, tmp_path: Path) -> None:
    assert ssh(HEAD, PLANT).returncode == 0
    try:
        operator.outputs["planted"] = f"ok: [{HEAD}] => {PLANTED}"
        found = {place for _host, _name, place in seen(operator, {"planted": PLANTED}, {"planted": PLANTED})}
        assert found == {
            *("output planted", "bundle planted", "journal", "process"),
            *("/etc/systemd/system/planted.service", "/opt/llama.cpp/dist/planted", "/etc/herd/planted"),
        }
        # The words of a protected file are replaced everywhere in a bundle.
        run = operator.play("playbooks/collect.yml", "-e", f"collect_dir={tmp_path}/bundle")
        assert run.rc == 0, run.output
        with tarfile.open(tmp_path / "bundle" / f"{HEAD}.tar.gz") as archive:
            unit = archive.extractfile(f"{HEAD}/units/planted.service.txt")
            assert unit is not None
            assert "# [left out]" in unit.read().decode()
    finally:
        del operator.outputs["planted"]
        ssh(
            HEAD,
            "rm -f /etc/systemd/system/planted.service /opt/llama.cpp/dist/planted /etc/herd/planted "
            "/etc/herd/head/planted; systemctl daemon-reload",
        )


LEFT = r"""
ls -d /etc/herd /opt/herd /opt/llama.cpp /run/herd /var/lib/herd /var/cache/herd /opt/docs /usr/local/bin/herdctl \
  /usr/local/bin/llama-* 2>/dev/null
grep -l -s 'herd.inference' -r /etc/systemd /etc/tmpfiles.d /etc/sysctl.d
systemctl list-units --all --plain --no-legend 'llama-*' 'herd-*'
systemctl list-unit-files --no-legend 'llama-*' 'herd-*'
nft list tables | grep herd
getent passwd llama; getent group llama
pgrep -a llama-server; pgrep -a rpc-server; pgrep -f /opt/herd
find / -xdev \( -nouser -o -nogroup \) -not -path '/proc/*' -print
"""


def test_remove_requires_a_confirmation(operator: Operator) -> None:
    before = state()
    run = operator.play("playbooks/remove.yml")
    assert run.rc != 0
    assert "expected -e remove_confirmed=true" in run.output
    assert state() == before


def test_remove_keeps_only_the_models(operator: Operator) -> None:
    # A killed run is repeated.
    operator.play_and_kill(
        "playbooks/remove.yml", "-e", "remove_confirmed=true", after="TASK [Remove the head's services"
    )
    run = operator.play("playbooks/remove.yml", "-e", "remove_confirmed=true", "--diff")
    assert run.rc == 0, run.output
    said_before_changes(run)
    for host in NODES:
        assert ssh(host, LEFT).stdout == "", host
    models = ssh(HEAD, "stat -c '%n %U %a' /opt/models/*.gguf").stdout.split()
    assert models == ["/opt/models/lab-llama.gguf", "root", "640"]
    run = operator.play("playbooks/remove.yml", "-e", "remove_confirmed=true")
    assert run.calm, run.output


def test_remove_deletes_models_on_request(operator: Operator) -> None:
    run = operator.play("playbooks/remove.yml", "-e", "remove_confirmed=true", "-e", "remove_models=true")
    assert run.rc == 0, run.output
    assert ssh(HEAD, "ls -d /opt/models 2>&1").returncode != 0
    assert ssh(CLIENT, "rm -f /run/key /run/load.py").returncode == 0
