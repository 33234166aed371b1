"""Exposure of the collection's units, as computed by systemd on the hosts (docs/reference/exposure.md)."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from testinfra.host import Host

from tests.scenarios.tables import rows
from tests.scenarios.testing import HEAD, NODES, WORKERS

On = Callable[[str], Host]
HIGHEST = 2.5
LIMITS = {row["unit"]: float(row["without GPU"]) for row in rows("exposure.md") if row["without GPU"] != "-"}


def ours(host: Host) -> set[str]:
    """Return the names of the collection's services."""
    said = host.check_output("grep -l 'herd.inference' /etc/systemd/system/*.service")
    return {line.rsplit("/", 1)[-1] for line in said.splitlines()}


@pytest.mark.parametrize("name", NODES)
def test_each_unit_is_below_its_exposure_limit(on: On, name: str) -> None:
    host = on(name)
    units = ours(host)
    assert {"herd-agent.service", "llama-head.service" if name == HEAD else "llama-rpc.service"} <= units
    each = "; ".join(f"systemd-analyze security --no-pager {unit}" for unit in sorted(units))
    said = re.findall(r"Overall exposure level for (\S+): ([0-9.]+)", host.check_output(each))
    found = {unit: float(level) for unit, level in said}
    assert set(found) == units
    assert {unit: level for unit, level in found.items() if level > min(HIGHEST, LIMITS.get(unit, HIGHEST))} == {}


@pytest.mark.parametrize(
    ("name", "unit"),
    [(HEAD, "llama-head"), (HEAD, "herd-rpc-client"), *((worker, "herd-rpc-firewall") for worker in WORKERS)],
)
def test_a_sandboxed_unit_works(on: On, name: str, unit: str) -> None:
    assert on(name).service(unit).is_running
    assert "Failed" not in on(name).check_output(f"journalctl -q --no-pager -b -o cat -u {unit} | grep -i nft || true")
