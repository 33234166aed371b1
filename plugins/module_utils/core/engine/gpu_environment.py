# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory's herd_gpus means for a service: which GPUs it sees, and their device nodes.

herd_gpus lists the GPUs of a host that the herd uses. Where that is not all of them, every entry has an
C(id), index or UUID as nvidia-smi prints them. This one fact drives what the process sees, what the gate
expects and how the layers are placed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InvalidInputError

NODES_UNIT = "herd-gpu.service"
_ID = re.compile(r"[0-9]{1,2}|(GPU|MIG)-[0-9A-Za-z/-]{4,60}")


def environment(gpus: Sequence[Mapping[str, Any]], host: str = "this host") -> dict[str, str]:
    """Say which GPUs a process sees; nothing when it is all of them."""
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
    # CUDA would count the fastest first otherwise; nvidia-smi counts by slot.
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(ids)}


def nodes_unit() -> str:
    """Write the unit that makes the device nodes before a service starts.

    A service's own sandbox lets it use these nodes and make none, and systemd reads which nodes there are
    when the service starts: nvidia-uvm, which nothing loads at boot, would be missing from its list.
    """
    return """\
# Written by Ansible (herd.inference).
[Unit]
Description=Device nodes of NVIDIA GPUs for llama.cpp
After=nvidia-persistenced.service systemd-modules-load.service

[Service]
Type=oneshot
RemainAfterExit=yes
# As root, nvidia-smi makes the node of every GPU, and nvidia-modprobe those of unified memory.
ExecStart=-/usr/bin/nvidia-smi -L
ExecStart=/usr/bin/nvidia-modprobe -c 0 -u

# root with what that takes: to load the driver, and to make device nodes and give them to the driver's group.
CapabilityBoundingSet=CAP_SYS_MODULE CAP_MKNOD CAP_CHOWN
AmbientCapabilities=
NoNewPrivileges=yes
PrivateNetwork=yes
IPAddressDeny=any
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
UMask=0022
MemoryDenyWriteExecute=yes
ProtectKernelLogs=yes
ProtectKernelTunables=yes
ProtectProc=invisible
PrivateMounts=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictAddressFamilies=AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service @module mknod mknodat
SystemCallErrorNumber=EPERM
"""


def unit_files(gpus: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Name the files that belong to a service on these GPUs."""
    return {f"/etc/systemd/system/{NODES_UNIT}": nodes_unit()} if gpus else {}
