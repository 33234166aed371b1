# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a change of release goes, as tables."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.release import switch as release_switch
from ansible_collections.herd.inference.plugins.module_utils.core.release.switch import NodeRelease

OLD, NEW, OTHER = "b7836-cpu-11aa22bb", "0c1e57098-cpu-5f1c20ab", "b7760-cpu-22bb33cc"
UP = release_switch.new_record(OLD, NEW, is_rollback=False)
BACK = release_switch.new_record(NEW, OLD, is_rollback=True)
HEAD, WORKER = "llama-head.service", "llama-rpc.service"


def node(unit: str, current: str, runs: str = "", previous: str = "", noted: Any = None) -> NodeRelease:
    running = [{"release": runs, "unit": unit, "pid": 1, "name": "x"}] if runs else []
    running.append({"release": OTHER, "unit": "", "pid": 2, "name": "started by hand"})
    look = {"current": current, "previous": previous, "running": running, "changing": noted or {}}
    return NodeRelease(look, [unit])


@pytest.mark.parametrize(
    ("head", "worker", "needed"),
    [
        (node(HEAD, NEW, NEW), node(WORKER, NEW, NEW), False),
        (node(HEAD, NEW), node(WORKER, NEW, NEW), True),
        (node(HEAD, NEW, NEW), node(WORKER, NEW), True),
        (node(HEAD, NEW, OLD), node(WORKER, NEW, NEW), True),
        (node(HEAD, NEW, NEW), node(WORKER, NEW, OLD), True),
        (node(HEAD, NEW, NEW), node(WORKER, OLD, NEW), True),
        (node(HEAD, NEW, NEW), node(WORKER, NEW, NEW, noted=UP), True),
        (node(HEAD, OLD, OLD), node(WORKER, OLD, OLD), True),
    ],
)
def test_a_switch_is_needed_unless_all_nodes_run_the_target(
    head: NodeRelease, worker: NodeRelease, needed: bool
) -> None:
    assert release_switch.plan([head, worker], NEW)["needed"] is needed


@pytest.mark.parametrize(
    ("head", "worker", "wanted", "to", "former"),
    [
        # Nothing was killed.
        (node(HEAD, OLD), node(WORKER, OLD), NEW, NEW, OLD),
        (node(HEAD, NEW, previous=OLD), node(WORKER, NEW), "", OLD, NEW),
        (node(HEAD, ""), node(WORKER, ""), NEW, NEW, ""),
        (node(HEAD, NEW), node(WORKER, NEW), NEW, NEW, ""),
        (node(HEAD, NEW), node(WORKER, NEW), "", "", NEW),
        # An upgrade was, in any state: again, back, elsewhere.
        (node(HEAD, NEW, previous=OLD, noted=UP), node(WORKER, NEW, noted=UP), NEW, NEW, OLD),
        (node(HEAD, OLD, previous=OTHER, noted=UP), node(WORKER, NEW, noted=UP), NEW, NEW, OLD),
        (node(HEAD, OLD, previous=OTHER, noted=UP), node(WORKER, NEW, noted=UP), "", OLD, NEW),
        (node(HEAD, NEW, previous=OLD, noted=UP), node(WORKER, OLD, noted=UP), "", OLD, NEW),
        (node(HEAD, NEW, previous=OLD, noted=UP), node(WORKER, NEW, noted=UP), OTHER, OTHER, OLD),
        # Only a worker still has the note.
        (node(HEAD, NEW, NEW, previous=OLD), node(WORKER, NEW, NEW, noted=UP), NEW, NEW, OLD),
        # A rollback was: the link previous names the bad one by then.
        (node(HEAD, OLD, previous=NEW, noted=BACK), node(WORKER, OLD, previous=NEW, noted=BACK), "", OLD, NEW),
        (node(HEAD, OLD, previous=NEW, noted=BACK), node(WORKER, NEW, previous=OLD, noted=BACK), "", OLD, NEW),
        (node(HEAD, OLD, previous=NEW, noted=BACK), node(WORKER, OLD, noted=BACK), NEW, NEW, OLD),
        # A malformed record is ignored.
        (node(HEAD, NEW, previous=OLD, noted={"to": "../x"}), node(WORKER, NEW), "", OLD, NEW),
    ],
)
def test_target_and_origin_of_a_switch(
    head: NodeRelease, worker: NodeRelease, wanted: str, to: str, former: str
) -> None:
    found = release_switch.plan([head, worker], wanted)
    assert (found["to"], found["from"]) == (to, former)
