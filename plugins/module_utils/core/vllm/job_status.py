# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status file of a vLLM job: rank 0 writes it to the shared directory, and the login node reads it.

The file changes at least every HEARTBEAT_S seconds while rank 0 lives. A file whose C(updated) is older by
SILENT_AFTER_S belongs to a job that was killed, whatever it says. NFS may show an old file for a minute.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import InvalidInputError
from ..values import finite, number, text, whole

SCHEMA = 1
#: Phases in their order. A job that Slurm has not started has no status file.
STARTING, RENDEZVOUS, LOADING, WARMING, READY = "starting", "rendezvous", "loading", "warming", "ready"
DRAINING, ENDED, FAILED = "draining", "ended", "failed"
PHASES = (STARTING, RENDEZVOUS, LOADING, WARMING, READY, DRAINING, ENDED, FAILED)
#: Phases of a job that has ended or is about to.
OVER = frozenset({ENDED, FAILED})
HEARTBEAT_S, SILENT_AFTER_S = 10.0, 120.0
#: Largest file that is read, in bytes.
LARGEST = 256 * 1024
_MOST_RANKS = 1024
_LONGEST = 4096
_REMEDY = "remove the file; the job writes it again"


@dataclass(frozen=True)
class RankStatus:
    """One rank of the job.

    :ivar state: C(up), C(lost), or another word of the rank's wrapper.
    """

    rank: int
    host: str
    state: str
    detail: str = ""


@dataclass(frozen=True)
class JobStatus:
    """What a running job says about itself.

    :ivar percent: progress until the job is ready; None if unknown.
    :ivar host, address, port: where the API answers; the address is one that the login node reaches.
    :ivar key_file: path of the API key in the shared directory; empty without a key.
    :ivar started, updated: seconds since 1970, by the clock of rank 0's node.
    """

    job_id: str
    model: str
    phase: str
    served_name: str = ""
    reason: str = ""
    percent: int | None = None
    host: str = ""
    address: str = ""
    port: int = 0
    key_file: str = ""
    started: float = 0.0
    updated: float = 0.0
    restarts: int = 0
    log: str = ""
    ranks: tuple[RankStatus, ...] = ()

    @property
    def base_url(self) -> str:
        """Return the address for OpenAI clients; empty before the API has one."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}/v1" if host and self.port else ""

    def is_silent(self, now: float) -> bool:
        """Return whether the file is too old for a living job. A clock that is ahead makes no file old."""
        return self.phase not in OVER and now - self.updated > SILENT_AFTER_S

    def as_data(self) -> dict[str, Any]:
        """Return the document of the status file."""
        return {"schema": SCHEMA, **asdict(self)}


def _rank(data: Any) -> RankStatus:
    if not isinstance(data, Mapping):
        raise InvalidInputError("an object for each rank of a job's status", type(data).__name__, _REMEDY)
    return RankStatus(
        whole(data, "rank", 0, _MOST_RANKS, _REMEDY),
        text(data, "host", 255, _REMEDY),
        text(data, "state", 64, _REMEDY),
        text({"detail": "", **data}, "detail", _LONGEST, _REMEDY),
    )


def parse(document: str) -> JobStatus:
    """Read a status file strictly: types, ranges and lengths.

    :raises InvalidInputError: if it is no status of this schema.
    """
    try:
        data = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError("a job's status in JSON", str(error)[:80], _REMEDY) from error
    if not isinstance(data, Mapping) or data.get("schema") != SCHEMA:
        raise InvalidInputError(f"a job's status of schema {SCHEMA}", "another document", _REMEDY)
    data = {**JobStatus("", "", STARTING).as_data(), **data}
    if data["phase"] not in PHASES:
        raise InvalidInputError(f"a phase among {', '.join(PHASES)}", repr(data["phase"])[:80], _REMEDY)
    ranks = data["ranks"]
    if not isinstance(ranks, (list, tuple)) or len(ranks) > _MOST_RANKS:
        raise InvalidInputError(f"at most {_MOST_RANKS} ranks in a job's status", type(ranks).__name__, _REMEDY)
    percent = finite(data["percent"], 0, 100)
    return JobStatus(
        phase=data["phase"],
        percent=None if percent is None else int(percent),
        port=whole(data, "port", 0, 65535, _REMEDY),
        restarts=whole(data, "restarts", 0, 1 << 31, _REMEDY),
        started=number(data, "started", 0, 1e12, _REMEDY),
        updated=number(data, "updated", 0, 1e12, _REMEDY),
        ranks=tuple(_rank(one) for one in ranks),
        **{
            name: text(data, name, _LONGEST, _REMEDY)
            for name in ("job_id", "model", "served_name", "reason", "host", "address", "key_file", "log")
        },
    )
