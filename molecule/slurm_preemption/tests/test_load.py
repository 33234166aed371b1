# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Under load every request is answered, cut with a word, or refused with a reason, whatever takes the tier away."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.lab.kept_tiers import Kept
from tests.lab.slurm import CONTROLLER, GATEWAY, JOB_NAMES, TESTER, until

LOADER = Path(__file__).parents[3] / "tests" / "lab" / "tier_load.py"
HONEST = {"whole", "refused", "told"}
CLIENTS = 3


def put_load(cluster: Kept, seconds: float) -> list[dict[str, Any]]:
    """Load on both tiers from a host that is no node; what became of every request."""
    addresses = " ".join(url.removeprefix("http://") for url in GATEWAY.values())
    cluster.sure("mirror", f"cat > /tmp/tier_load.py <<'END'\n{LOADER.read_text(encoding='utf-8')}\nEND\n")
    command = f"echo {TESTER} | python3 /tmp/tier_load.py {seconds:g} {CLIENTS} {addresses}"
    found: list[dict[str, Any]] = json.loads(cluster.sure("mirror", command, timeout=seconds + 120))
    return found


def through_the_gateway(cluster: Kept) -> None:
    """Both tiers answer there."""
    for tier in JOB_NAMES:
        until(f"the gateway to know of {tier}", lambda at=tier: cluster.chat_at(at, tokens=1).status == 200, 30)


def faults(found: list[dict[str, Any]]) -> Counter[str]:
    """What nobody may see."""
    return Counter(one["what"] for one in found if one["what"] not in HONEST)


def test_work_that_comes_first_cuts_nobody(ready: Kept) -> None:
    through_the_gateway(ready)
    jobs = {name: ready.tier(name)["job_id"] for name in JOB_NAMES}
    with ThreadPoolExecutor(1) as other:
        load = other.submit(put_load, ready, 70.0)
        time.sleep(12)
        ready.vasp(20, "--time=2")
        found = load.result()
    kinds = Counter(one["what"] for one in found)
    print(dict(kinds))
    assert not faults(found), kinds
    assert kinds["whole"] >= CLIENTS
    assert kinds["refused"] >= CLIENTS
    for name, job in jobs.items():
        stops = _time_of(ready, job, "stopping after ")
        first = min(
            one["began"] for one in found
            if one["what"] == "refused" and one["address"] in GATEWAY[name]
        )  # fmt: skip
        # The log has whole seconds.
        assert first < stops + 1, f"{name}: the processes stopped before the gateway refused"
    for name in JOB_NAMES:
        ready.wait(name, "ready", 240)
    through_the_gateway(ready)


def _time_of(cluster: Kept, job: str, text: str) -> float:
    lines = [line for line in cluster.log(job).splitlines() if text in line]
    moment = lines[-1][:19]
    return float(cluster.sure(CONTROLLER, f"date -d '{moment}' +%s"))


def cancel(cluster: Kept) -> None:
    cluster.sure(CONTROLLER, f"scancel {cluster.tier('fast')['job_id']}")


def restart_slurm(cluster: Kept) -> None:
    cluster.sure(CONTROLLER, "systemctl restart slurmctld slurmdbd")


def kill_engine(cluster: Kept) -> None:
    cluster.sure("vasp-02", "pkill -KILL -f '[/]llama-server'")


def kill_manager(cluster: Kept) -> None:
    cluster.sure(CONTROLLER, "systemctl kill -s KILL herd-tiers.service")


@pytest.mark.parametrize("trouble", [cancel, restart_slurm, kill_engine, kill_manager], ids=lambda one: one.__name__)
def test_trouble_under_load_is_told_honestly(ready: Kept, trouble: Callable[[Kept], None]) -> None:
    through_the_gateway(ready)
    with ThreadPoolExecutor(1) as other:
        load = other.submit(put_load, ready, 25.0)
        time.sleep(8)
        trouble(ready)
        found = load.result()
    kinds = Counter(one["what"] for one in found)
    print(dict(kinds))
    assert not faults(found), kinds
    assert kinds["whole"] >= CLIENTS
    for name in JOB_NAMES:
        ready.wait(name, "ready", 150)
