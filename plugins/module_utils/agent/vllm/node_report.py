# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Report a node before vLLM starts on it: its addresses, adapters and ports, and what would stop the start."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import struct
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ...core.errors import HerdError, InvalidInputError
from ...core.host.hardware import adapters as hardware
from ...core.vllm import environment
from ...core.vllm.job import command as rank_command
from ...core.vllm.job import ports
from ...core.vllm.job import run as job_run
from ...core.vllm.job import spec as job_spec
from ..common import gpus, sysfs
from ..supervisor import local_state
from . import job_files, leftovers

#: The kernel's description of this host's devices.
SYS = sysfs.Sysfs()
#: The number of Linux of the request for an interface's address.
_SIOCGIFADDR = 0x8915
#: An address for documentation. The kernel says from which address it would send there, and sends nothing.
_ELSEWHERE = ("192.0.2.1", 9)
#: Seconds from which a reverse look-up counts as slow, and for which it is watched.
_SLOW_S, _LOOKUP_S = 1.0, 4.0
_GPU_S = 20.0


def interface_address(name: str) -> str:
    """Return the IPv4 address of an interface; empty if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as query:
        try:
            answer = fcntl.ioctl(query.fileno(), _SIOCGIFADDR, struct.pack("256s", name[:15].encode()))
        except OSError:
            return ""
    return socket.inet_ntoa(answer[20:24])


def outward_address() -> str:
    """Return the address of the default route; empty without one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ELSEWHERE)
        except OSError:
            return ""
        return str(probe.getsockname()[0])


def _interface_of(address: str) -> str:
    return next((name for name in SYS.names("class/net") if address and interface_address(name) == address), "")


def infiniband_interface() -> str:
    """Return the first InfiniBand interface that is up and has an address."""
    return next((name for name in hardware.infiniband_interfaces(SYS) if interface_address(name)), "")


def fabric(spec: job_spec.JobSpec, host: str) -> tuple[str, str]:
    """Choose interface and address of the fabric: of the inventory, of the configuration, or the best of the node.

    :raises InvalidInputError: if the configured interface has no address here.
    """
    facts = spec.hosts.get(host, job_spec.HostFacts())
    if facts.fabric:
        return facts.interface or _interface_of(facts.fabric), facts.fabric
    wanted = facts.interface or spec.interface
    if wanted:
        address = interface_address(wanted)
        if not address:
            there = ", ".join(name for name in SYS.names("class/net") if interface_address(name))
            raise InvalidInputError(
                f"the interface {wanted} with an IPv4 address", f"{there or 'no interface'}", "set nccl.socket_ifname"
            )
        return wanted, address
    address = outward_address()
    name = infiniband_interface() or _interface_of(address)
    return name, (interface_address(name) if name else address)


def client_address(spec: job_spec.JobSpec, host: str, fabric_address: str) -> str:
    """Return the address where clients reach this node: of the inventory, or of its default route."""
    facts = spec.hosts.get(host, job_spec.HostFacts())
    return facts.address or outward_address() or fabric_address


def ports_in_use(spec: job_spec.JobSpec) -> tuple[int, ...]:
    """List the ports in use on any address, among those that the job may take.

    Sockets without an owner are what the kernel keeps of closed connections. A server may take their ports, so that a
    requeued job has its former address.
    """
    base = spec.master_port_base
    wanted = {*range(base, base + ports.SPAN), *range(spec.port, spec.port + spec.ports)}
    return tuple(sorted({one.local_port for one in local_state.sockets() if one.inode and one.local_port in wanted}))


def check_folders(folders: Sequence[str]) -> None:
    """Make folders of caches, and check that files can be made there.

    :raises InvalidInputError: for the first folder that is not writable.
    """
    for folder in folders:
        try:
            Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = Path(folder) / f".herd-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise InvalidInputError(
                f"a writable cache folder {folder}",
                error.strerror or str(error),
                "set cache.xdg_cache_home and cache.triton_cache_dir to folders that you may write",
            ) from error


def check_gpus(spec: job_spec.JobSpec) -> None:
    """Check that the job has its GPUs on this node, and that they and their driver can run its release of vLLM.

    A missing or broken nvidia-smi is vLLM's to report.

    :raises HerdError: if they cannot, or if they are too few.
    """
    program = shutil.which("nvidia-smi")
    if spec.device != job_spec.CUDA or not program:
        return
    if spec.vllm_release:
        report = None
        with suppress(HerdError):
            report = gpus.read_with_capabilities(program, _GPU_S)
        if report is not None:
            environment.check_node(spec.vllm_release, report, spec.gpus_per_node)
    visible = [one for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one]
    count = len(visible) or spec.gpus_per_node
    if count < spec.gpus_per_node:
        raise InvalidInputError(
            f"{spec.gpus_per_node} GPUs of the job on this node",
            str(count),
            "see nvidia-smi and the node's GRES in Slurm",
        )


def _reverse_lookup(address: str) -> str:
    """Say whether the look-up of an address's name is slow; empty if it is not.

    The ranks listen on IPv6 sockets, and look up the mapped form, which a line of the IPv4 form does not answer.
    """
    began, ended = time.monotonic(), threading.Event()

    def look() -> None:
        with suppress(OSError):
            socket.getnameinfo((f"::ffff:{address}", 0), 0)
        ended.set()

    threading.Thread(target=look, daemon=True).start()
    ended.wait(_LOOKUP_S)
    took = time.monotonic() - began
    if took < _SLOW_S:
        return ""
    return (
        f"the name of {address} is not found within {took:.0f} s, and each connection of the ranks waits for it: ask "
        f"the administrators for a line '::ffff:{address} NAME' in /etc/hosts, or for the address in the reverse zone"
    )


def _clean() -> list[str]:
    notes = []
    if orphans := leftovers.kill_orphans():
        notes.append(f"killed orphans of an earlier start: {', '.join(orphans[:8])}")
        # Their sockets close with them.
        time.sleep(0.5)
    if freed := leftovers.clean_shared_memory():
        notes.append(f"removed {freed >> 20} MiB of shared memory that no process uses")
    if folders := leftovers.clean_scratch():
        notes.append(f"removed {folders} scratch folders of ended jobs")
    return notes


def report(spec: job_spec.JobSpec, rank: int, host: str) -> job_run.NodeReport:
    """Clean up after killed runs, and report this node."""
    found = job_run.NodeReport(rank, host, notes=tuple(_clean()))
    try:
        interface, address = fabric(spec, host)
        home = os.environ.get("HOME", spec.work_dir)
        folders = rank_command.cache_folders(spec, home, host)
        found = replace(
            found,
            address=address,
            interface=interface,
            client=client_address(spec, host, address),
            adapters=hardware.active_infiniband(SYS) if spec.device == job_spec.CUDA else (),
            taken=ports_in_use(spec),
        )
        check_folders([folder for name, folder in folders.items() if name != "HF_HOME"])
        if not os.access(spec.vllm, os.X_OK):
            raise InvalidInputError(
                f"the program {spec.vllm} on this node",
                "none",
                "put paths.venv_dir on a file system that all nodes share",
            )
        job_files.read_key(Path(spec.key_file))
        check_gpus(spec)
    except (HerdError, OSError) as error:
        return replace(found, problem=str(error))
    if spec.nodes > 1 and (note := _reverse_lookup(found.address)):
        found = replace(found, notes=(*found.notes, note))
    return found
