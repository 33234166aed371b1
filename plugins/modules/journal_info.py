#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: journal_info
short_description: Read the journals of a node's services in a window of time, without secrets
version_added: 0.1.0
description:
  - Returns the last lines of the journals of the collection's units on a node, and of nginx in front of the gateway.
  - Replaces the words of files that not all users can read, and everything that looks like a key, a token, a password
    or a private key.
  - Changes nothing.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
attributes:
  diff_mode:
    support: none
options:
  units:
    description:
      - Logs of Slurm jobs are V(jobs), those of one job V(job-41), and one of them V(job-41/head).
      - Units to read, by the short names V(head), V(worker), V(router), V(agent), V(gateway), V(tiers), V(guard) and
        V(nginx), or by their names in systemd. If empty, all.
    type: list
    elements: str
    default: []
  since:
    description: Start of the window, in the syntax and time zone of C(journalctl --since) on the node.
    type: str
    default: -15min
  before:
    description: End of the window, in the same syntax. If empty, now.
    type: str
    default: ''
  job_logs:
    description:
      - Folders with the logs of Slurm jobs. The end of each of the newest logs is read, 2 MiB at most.
      - The runtime and vLLM write local times. The lines of an engine have its age, and the last one that of its file.
    type: list
    elements: path
    default: []
  lines:
    description: Largest number of lines, from 1 to 5000. The last lines of the window are kept.
    type: int
    default: 500
"""

EXAMPLES = r"""
- name: Read what head and agent said in the last hour
  herd.inference.journal_info:
    units: [head, agent]
    since: -1h
  register: journal
"""

RETURN = r"""
lines:
  description: Lines in the order of their times, with C(time) in microseconds since 1970, C(unit) and C(text).
  returned: always
  type: list
  elements: dict
  sample: [{time: 1795350000000000, unit: herd-agent.service, text: the head serves}]
cut:
  description: Whether earlier lines of the window were left out.
  returned: always
  type: bool
  sample: false
"""

import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.operations import cluster_log, job_log, redaction
from ansible_collections.herd.inference.plugins.module_utils.core.operations import uninstall as uninstall_rules
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports import commands
from ansible_collections.herd.inference.plugins.module_utils.ports.operations import bundle

#: Seconds after which journalctl is killed. A disk with a large journal is slow.
PATIENCE_S = 60.0


def local_time(parts: Sequence[int]) -> float:
    """Return the seconds since 1970 of a local time on this host.

    :raises ValueError: for a date that does not exist, which C(mktime) takes.
    """
    year, month, day, hour, minute, second = parts
    checked = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
    return time.mktime((*checked.timetuple()[:6], 0, 0, -1))


def job_records(given: dict[str, Any], wanted: Sequence[str]) -> list[dict[str, Any]]:
    """Read the lines of jobs' logs in the window, ordered by time."""
    now, today = time.time(), time.localtime()[:3]
    since = job_log.moment(given["since"], now, today, local_time) if given["since"] else 0.0
    until = job_log.moment(given["before"], now, today, local_time) if given["before"] else now
    found: list[dict[str, Any]] = []
    for folder in map(Path, given["job_logs"]):
        for path in bundle.newest_logs(folder, lambda name: name.isdigit() or job_log.unit_of(name)):
            unit = job_log.unit_of(str(path.relative_to(folder)))
            text = bundle.read_end(path) if unit and job_log.is_wanted(unit, wanted) else None
            if text is not None:
                changed = path.stat().st_mtime
                lines = job_log.timed(text, changed, time.localtime(changed).tm_year, local_time)
                found += job_log.records(unit, lines, since, until)
    return sorted(found, key=lambda record: record["time"])


def result(module: HerdModule) -> dict[str, Any]:
    """Read the journals and the logs of jobs, and return the module's result."""
    given = module.params
    if not 1 <= given["lines"] <= cluster_log.MOST_LINES:
        raise InvalidInputError(f"1 to {cluster_log.MOST_LINES} lines", str(given["lines"]), "choose another number")
    jobs = [name for name in given["units"] if job_log.is_job(name)]
    named = [name for name in given["units"] if name not in jobs]
    secrets = bundle.known_secrets(redaction.secrets_in)
    units = cluster_log.chosen(bundle.service_units(uninstall_rules.is_ours), named) if named or not jobs else []
    records = job_records(given, jobs) if given["job_logs"] and (jobs or not named) else []
    found = cluster_log.last(records, secrets, given["lines"])
    return cluster_log.merged(found, journal(given, units, secrets), given["lines"]) if units else found


def journal(given: dict[str, Any], units: Sequence[str], secrets: Sequence[str]) -> dict[str, Any]:
    """Read the journals of these units in the window."""
    argv = cluster_log.journal_command(units, given["since"], given["before"], given["lines"])
    answer = commands.run(argv, timeout=PATIENCE_S)
    if answer.rc:
        raise InvalidInputError(
            "a window of time that journalctl accepts, such as -15min or 2026-11-30 10:00",
            answer.complaint,
            "correct since or before (logs_since, logs_until)",
        )
    return cluster_log.read_journal(answer.out, secrets, given["lines"])


def main() -> None:
    run_module(
        result,
        units={"type": "list", "elements": "str", "default": []},
        since={"type": "str", "default": "-15min"},
        before={"type": "str", "default": ""},
        job_logs={"type": "list", "elements": "path", "default": []},
        lines={"type": "int", "default": 500},
    )


if __name__ == "__main__":
    main()
