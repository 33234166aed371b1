# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role joins a real Prometheus of this machine, which scrapes doubles; every panel's query returns data."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring import metrics_server

ROOT = Path(__file__).parents[2]
BOARDS = sorted((ROOT / "roles" / "monitoring" / "files" / "dashboards").glob("*.json"))
KEY = "monitoring-test-key-d41d8cd9"
PATIENCE_S = 120


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Site:
    """An inventory whose hosts are this machine, and the Prometheus that an operator runs there."""

    def __init__(self, folder: Path, agent: int, engine: int) -> None:
        self.folder, self.port = folder, free_port()
        self.monitoring = folder / "monitoring"
        self.keys = folder / "api-keys"
        self.keys.write_text(f"{KEY}\nanother\n", encoding="utf-8")
        facts = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "ansible_host": "127.0.0.1",
            "herd_fabric_address": "127.0.0.1",
            "node_agent_port": agent,
            "herd_api_port": engine,
            "herd_model": "big",
            "herd_models": {"big": {"name": "big", "file": "big.gguf"}},
            "herd_tiers": [{"name": "reasoning", "kind": "distributed", "host": "n1", "gateway_port": agent}],
            "head_server_api_key_file": str(self.keys),
            "monitoring_mode": "join",
            "monitoring_unit": "",
            "monitoring_group": "root",
            "monitoring_interval": 1,
            "monitoring_url": f"http://127.0.0.1:{self.port}",
            "monitoring_labels": {"cluster": "test"},
            "monitoring_grafana_provisioning": str(folder / "grafana"),
            "monitoring_grafana_unit": "",
        }
        (folder / "grafana" / "dashboards").mkdir(parents=True)
        groups = ("node_agent", "head_server", "gateway", "monitoring")
        hosts = {"all": {"children": {group: {"hosts": {"n1": {}}} for group in groups}, "vars": facts}}
        self.inventory = folder / "hosts.yml"
        self.inventory.write_text(yaml.safe_dump(hosts), encoding="utf-8")
        self.playbook = folder / "play.yml"
        play = {"hosts": "monitoring", "gather_facts": True, "roles": [{"role": "herd.inference.monitoring"}]}
        self.playbook.write_text(yaml.safe_dump([play]), encoding="utf-8")
        self.process: subprocess.Popen[bytes] | None = None

    def play(self, *more: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        program = str(Path(sys.executable).parent / "ansible-playbook")
        # A variable of the role yields to an extra one alone.
        extra = f"_monitoring_directory={self.monitoring}"
        argv = [program, str(self.playbook), f"--inventory={self.inventory}", "--diff", f"--extra-vars={extra}", *more]
        return subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    def configure(self, jobs: list[Any]) -> None:
        """Write the configuration of the operator, as the page says for Prometheus 2.42."""
        rules = [f"{self.monitoring}/rules/*.yml"]
        found = {"global": {"evaluation_interval": "1s"}, "rule_files": rules, "scrape_configs": jobs}
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(found), encoding="utf-8")

    def start(self) -> None:
        argv = ["prometheus", f"--config.file={self.folder}/prometheus.yml", f"--storage.tsdb.path={self.folder}/data"]
        argv += [f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=error"]
        self.process = subprocess.Popen(argv)
        self.wait(lambda: self.query("vector(1)"))

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=60)

    def reload(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    def query(self, expression: str) -> list[Any]:
        url = f"http://127.0.0.1:{self.port}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return list(json.load(answer)["data"]["result"])
        except OSError:
            return []

    def wait(self, condition: Any) -> None:
        until = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < until
            time.sleep(0.5)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with metrics_server.serving() as agent, metrics_server.serving(KEY) as engine:
        found = Site(tmp_path_factory.mktemp("site"), agent, engine)
        found.configure([])
        try:
            yield found
        finally:
            found.stop()


def test_role_says_what_the_configuration_of_an_operator_lacks(site: Site) -> None:
    site.start()
    done = site.play()
    assert done.returncode != 0
    assert "found no rules of herd.inference" in " ".join(done.stdout.split()), done.stdout
    # The remedy of Prometheus 2.42, or that of a later one.
    remedies = (f"the jobs of {site.monitoring}/scrape.yml", f"scrape_config_files: [{site.monitoring}/scrape.yml]")
    assert any(remedy in " ".join(done.stdout.split()) for remedy in remedies), done.stdout
    assert KEY not in done.stdout + done.stderr


def test_prometheus_loads_rules_and_jobs_that_its_configuration_names(site: Site) -> None:
    jobs = yaml.safe_load((site.monitoring / "scrape.yml").read_text(encoding="utf-8"))["scrape_configs"]
    assert [job["job_name"] for job in jobs] == ["herd_agent", "herd_head_n1", "herd_gateway_n1"]
    site.configure(jobs)
    subprocess.run(["promtool", "check", "config", f"{site.folder}/prometheus.yml"], check=True)
    site.reload()
    site.wait(lambda: site.query("herd:limit:ttft_seconds"))


def test_key_is_for_prometheus_alone(site: Site) -> None:
    path = site.monitoring / "keys" / "herd_head_n1"
    assert path.read_text(encoding="utf-8") == f"{KEY}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o750
    others = [other for other in site.monitoring.rglob("*") if other.is_file() and other != path]
    assert not any(KEY in other.read_text(encoding="utf-8") for other in others)


def test_prometheus_scrapes_all_targets_with_the_labels_of_the_site(site: Site) -> None:
    expected = {"herd_agent", "herd_head", "herd_gateway"}
    site.wait(lambda: {one["metric"]["job"] for one in site.query('up{cluster="test", host="n1"} == 1')} == expected)


def test_alert_fires_by_the_loaded_rules(site: Site) -> None:
    site.wait(lambda: site.query('ALERTS{alertname="HerdNodeHeld"}'))


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: str(path.stem))
def test_query_of_every_panel_returns_data(site: Site, path: Path) -> None:
    for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"].replace("$tier", ".*").replace("$host", ".*")
            site.wait(lambda query=query: site.query(query))


def test_dashboards_are_provisioned_where_grafana_is(site: Site) -> None:
    provider = yaml.safe_load((site.folder / "grafana" / "dashboards" / "herd.yml").read_text(encoding="utf-8"))
    folder = Path(provider["providers"][0]["options"]["path"])
    assert sorted(each.name for each in folder.iterdir()) == [each.name for each in BOARDS]
