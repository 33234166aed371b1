"""playbooks/remove.yml removes the router from its host. This file runs last in its scenario."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from testinfra.host import Host

from tests.scenarios.playbooks import Operator

On = Callable[[str], Host]
NODE = "vllm-node2"
LEFT = r"""
ls -d /etc/herd /opt/herd /opt/llama.cpp /run/herd /var/cache/herd 2>/dev/null
find /usr/local/bin -xtype l
ls /etc/systemd/system/*herd* /etc/systemd/system/*llama* 2>/dev/null
nft list tables | grep herd_
getent passwd llama
pgrep -af '[l]lama-server|[h]erdctl'
ss -Hltn '( sport = :8080 )'
"""


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Operator:
    return Operator(tmp_path_factory.mktemp("playbooks"))


def test_only_the_models_remain(on: On, operator: Operator) -> None:
    options = ("--inventory", "molecule/router/inventory", "-e", "remove_confirmed=true")
    run = operator.play("playbooks/remove.yml", *options)
    assert run.rc == 0, run.output
    assert "unit llama-router.service" in run.output
    assert on(NODE).run(LEFT).stdout == ""
    assert "/opt/models/second.gguf" in on(NODE).check_output("ls /opt/models/*.gguf")
    assert operator.play("playbooks/remove.yml", *options).calm
