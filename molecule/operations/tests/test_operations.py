# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator does, one after the other on the same cluster, and that no secret is seen by anybody meanwhile."""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.lab.playbooks import CLIENT, Operator, Run, give_key, keys, load, pid, search, ssh, state, status_of
from tests.lab.testing import HEAD, NODES, WORKERS

TOKEN = "hf_CanaryOfTheHubToken0123456789"
GIVEN = "canary-of-a-given-api-key-0123456789"
# Every key that there has been, by what it is.
SECRETS: dict[str, str] = {"token": TOKEN, "given key": GIVEN}


def remember_keys() -> list[str]:
    """Keep what must not be found anywhere."""
    found = keys()
    SECRETS.update({f"key {key[:7]}": key for key in found})
    return found


def said_before_changes(run: Run) -> None:
    """It has said what it will do, before the first change."""
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


LOOKING = ["status", "ask", "plan", "preflight", "check_models", "check_fabric"]


@pytest.mark.parametrize("name", LOOKING)
def test_what_only_looks(operator: Operator, name: str) -> None:
    run = operator.play(f"playbooks/{name}.yml", "--diff")
    assert run.calm, run.output


def measure_fabric(operator: Operator, least_gbps: float) -> Run:
    limits = {"good": 2 * least_gbps, "acceptable": least_gbps, "critical": least_gbps}
    words = [f"node_bandwidth_{name}_gbps={value}" for name, value in limits.items()]
    words += ["bandwidth=true", "node_bandwidth_seconds=2"]
    return operator.play("playbooks/check_fabric.yml", *(part for word in words for part in ("-e", word)))


def test_the_fabric_is_measured(operator: Operator) -> None:
    """With the real iperf3, over what carries the lab's fabric: between processors of this machine."""
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
def test_a_check_changes_nothing(operator: Operator, name: str, more: tuple[str, ...], tmp_path: Path) -> None:
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


def test_a_drain_cuts_no_answer(operator: Operator) -> None:
    with load(GIVEN) as requests:
        run = operator.play("playbooks/drain.yml")
        assert run.rc == 0, run.output
        said_before_changes(run)
        assert pid() == 0
    assert requests
    # Those that came afterwards have been told so; none of those that ran was cut.
    assert {request["error"] for request in errors(requests)} == {"status 503"}, errors(requests)
    assert operator.play("playbooks/drain.yml").calm
    assert status_of(GIVEN) == 503
    run = operator.play("playbooks/start.yml")
    assert run.rc == 0, run.output
    assert status_of(GIVEN) == 200


def test_a_drained_restart(operator: Operator) -> None:
    before = [pid(), *(pid("llama-rpc.service", worker) for worker in WORKERS)]
    run = operator.play("playbooks/restart.yml", "-e", "restart_drained=true")
    assert run.rc == 0, run.output
    said_before_changes(run)
    after = [pid(), *(pid("llama-rpc.service", worker) for worker in WORKERS)]
    assert not set(before) & set(after)
    assert status_of(GIVEN) == 200


def test_a_rotation_under_load_drops_no_request(operator: Operator) -> None:
    old = keys()[0]
    # The given keys are not given any more: the key in use stays, and is the first of a row.
    assert operator.play("site.yml", "--tags", "head").rc == 0
    assert remember_keys()[0] == old == GIVEN
    head = pid()
    with load(old) as requests:
        run = operator.play("playbooks/rotate_key.yml", "--diff")
        assert run.rc == 0, run.output
        said_before_changes(run)
        new = remember_keys()[0]
        assert new != old
        # No restart was needed for it, and both are accepted.
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
    # The one client that keeps its connection may meet the end of it once.
    assert again <= 1
    assert operator.play("playbooks/rotate_key.yml", "-e", "rotate_key_finish=true").calm


def test_a_rotation_that_was_killed_converges(operator: Operator) -> None:
    old = keys()[0]
    assert operator.play("playbooks/rotate_key.yml").rc == 0
    new = remember_keys()[0]
    # While the head is being stopped: the clients wait, and nothing runs.
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


def test_an_upgrade_to_the_same_release_does_nothing(operator: Operator) -> None:
    run = operator.play("playbooks/upgrade.yml")
    assert run.calm, run.output
    said_before_changes(run)


def test_a_rollback_needs_somewhere_to_go(operator: Operator) -> None:
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


def test_a_bundle_has_what_is_needed(bundle: dict[str, str]) -> None:
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
    """Where these secrets can be read: in what playbooks said, in the support bundle, on the nodes."""
    texts = {("controller", f"output {name}"): text for name, text in operator.outputs.items()}
    texts.update({("controller", f"bundle {name}"): text for name, text in bundle.items()})
    there = {(*where, name) for where, text in texts.items() for name, secret in secrets.items() if secret in text}
    return {(host, name, place) for host, place, name in there} | search(secrets)


def test_no_secret_is_seen_anywhere(operator: Operator, bundle: dict[str, str]) -> None:
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


def test_what_is_planted_is_found(operator: Operator, tmp_path: Path) -> None:
    assert ssh(HEAD, PLANT).returncode == 0
    try:
        operator.outputs["planted"] = f"ok: [{HEAD}] => {PLANTED}"
        found = {place for _host, _name, place in seen(operator, {"planted": PLANTED}, {"planted": PLANTED})}
        assert found == {
            *("output planted", "bundle planted", "journal", "process"),
            *("/etc/systemd/system/planted.service", "/opt/llama.cpp/dist/planted", "/etc/herd/planted"),
        }
        # What a guarded file holds is taken out of a bundle, wherever it is.
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


def test_remove_asks_first(operator: Operator) -> None:
    before = state()
    run = operator.play("playbooks/remove.yml")
    assert run.rc != 0
    assert "expected -e remove_confirmed=true" in run.output
    assert state() == before


def test_remove_leaves_nothing_but_the_models(operator: Operator) -> None:
    # Killed in the middle, it goes on when it runs again.
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


def test_remove_takes_models_if_it_is_asked_to(operator: Operator) -> None:
    run = operator.play("playbooks/remove.yml", "-e", "remove_confirmed=true", "-e", "remove_models=true")
    assert run.rc == 0, run.output
    assert ssh(HEAD, "ls -d /opt/models 2>&1").returncode != 0
    assert ssh(CLIENT, "rm -f /run/key /run/load.py").returncode == 0
