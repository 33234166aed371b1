# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GPUs of herd_gpus: the environment variables that limit a service to them, and their compute capabilities.

herd_gpus lists the GPUs of a host that the herd uses. On a host with further GPUs every entry has an C(id): the index
or UUID that nvidia-smi prints.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import InvalidInputError

_ID = re.compile(r"[0-9]{1,2}|(GPU|MIG)-[0-9A-Za-z/-]{4,60}")


def capabilities(gpus: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """List the compute capabilities of GPUs, each once."""
    return tuple(sorted({str(gpu["compute_capability"]) for gpu in gpus if gpu.get("compute_capability")}))


def environment(gpus: Sequence[Mapping[str, Any]], host: str = "this host") -> dict[str, str]:
    """Return the variables that name the GPUs of a process; none if the entries have no ids.

    :raises InvalidInputError: if an id is malformed, missing or used twice.
    """
    ids = [str(gpu["id"]) for gpu in gpus if gpu.get("id") is not None]
    if not ids:
        return {}
    wrong = [found for found in ids if not _ID.fullmatch(found)]
    if len(ids) != len(gpus) or len(set(ids)) != len(ids) or wrong:
        raise InvalidInputError(
            f"an id of its own for every entry of herd_gpus of {host}, or for none",
            f"{len(gpus)} entries with the ids {', '.join(ids)}",
            "give each its index or UUID from nvidia-smi -L, or leave all ids out if the host has no other GPU",
        )
    # By default CUDA counts the fastest GPU first; nvidia-smi counts by slot.
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(ids)}
