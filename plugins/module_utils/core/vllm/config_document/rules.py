# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules between the values of the configuration, and notices about keys that vLLM does not have."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ...errors import InvalidInputError, NotFoundError
from ..config_keys import MASTER_PORT_SPAN, MOST_GPUS_PER_NODE
from . import findings
from .findings import Report
from .reader import Document

#: Attention heads of the largest model, many times over.
_MOST_HEADS = 65536
#: Sentences about keys of the document that stand for something else.
_MAPPED = {
    "nccl.blocksize": "NCCL has no block size; the value sets the size of its buffers (NCCL_BUFFSIZE).",
    "distributed.rdzv_backend": "vLLM has no choice of rendezvous; its ranks always meet at a store that torch calls "
    "c10d.",
    "distributed.rdzv_timeout": "vLLM calls it --distributed-timeout-seconds; the value is passed under that name.",
}


def check(document: Document, report: Report) -> None:
    """Check the values that were read, and add notices.

    A value with an error of its own is absent, and takes part in no check.
    """
    for path, text in _MAPPED.items():
        if path in document.lines:
            report.notice(document.lines[path], path, text)
    scripts = [f"models.{key}.job_script" for key, model in document.models.items() if model.get("job_script")]
    if scripts:
        report.notice(
            document.lines.get(scripts[0], 1),
            scripts[0] if len(scripts) == 1 else f"job_script of {len(scripts)} models",
            "the file is not used; one template writes every job's script.",
        )
    _check_active(document, report)
    for key, model in document.models.items():
        _check_model(key, model, document, report)
    _check_files(document, report)
    _check_ports(document, report)


def unknown_model(key: str, models: Collection[str]) -> NotFoundError:
    """Make the error for a model that the configuration does not have."""
    near = findings.nearest(key, models)
    known = findings.both(sorted(models)[:20]) or "none"
    remedy = f"write {near}, the nearest one" if near else "name one of them, or add the model"
    return NotFoundError(f"a key of models ({known})", key, remedy)


def tensor_parallel_sizes(heads: int, kv_heads: int) -> list[int]:
    """List the numbers of GPUs over which vLLM can split a model.

    vLLM shares the attention heads equally. It shares the key-value heads equally too, or copies each to as many GPUs.
    """
    return [
        count
        for count in range(1, min(heads, _MOST_HEADS) + 1)
        if heads % count == 0 and (kv_heads % count == 0 or count % max(1, kv_heads) == 0)
    ]


def tensor_parallel_problem(tensor_parallel: int, heads: int, kv_heads: int) -> tuple[str, str] | None:
    """Check that a model can be split over so many GPUs; return the problem and the remedy, or None."""
    possible = tensor_parallel_sizes(heads, kv_heads)
    if tensor_parallel in possible or heads < 1:
        return None
    lower = [count for count in possible if count < tensor_parallel][-2:]
    upper = [count for count in possible if count > tensor_parallel][:1]
    return (
        f"{tensor_parallel} GPUs cannot share {heads} attention heads and {kv_heads} key-value heads equally",
        f"write {findings.either([str(count) for count in lower + upper])}",
    )


def _check_active(document: Document, report: Report) -> None:
    active = document.sections[""].get("active_model")
    if active is not None and document.models and active not in document.models:
        error = unknown_model(active, document.models)
        report.error(document.lines.get("active_model", 1), "active_model", error)


def _check_model(key: str, model: Mapping[str, Any], document: Document, report: Report) -> None:
    path, line = f"models.{key}", document.lines.get(f"models.{key}", 1)
    if model.get("huggingface_id") == "" and model.get("path") == "":
        error = InvalidInputError.plain("the model has no weights", "add huggingface_id, or path for a local directory")
        report.error(line, path, error)
    gpus, nodes = model.get("gpus"), model.get("nodes")
    if gpus and nodes:
        problem = _node_problem(gpus, nodes)
        if problem:
            line = document.lines.get(f"{path}.gpus", document.lines.get(f"{path}.nodes", line))
            report.error(line, f"{path}.gpus", problem)


def _node_problem(gpus: int, nodes: int) -> InvalidInputError | None:
    if gpus % nodes:
        counts = [str(count) for count in (gpus - gpus % nodes, gpus - gpus % nodes + nodes) if count]
        return InvalidInputError(
            "gpus, the GPUs of all nodes together, as a multiple of nodes",
            f"{gpus} with nodes {nodes}",
            f"write {findings.either(counts)}, or change nodes",
        )
    if gpus // nodes > MOST_GPUS_PER_NODE:
        return InvalidInputError(
            f"at most {MOST_GPUS_PER_NODE} GPUs on each node", f"{gpus // nodes}", "correct gpus, or write more nodes"
        )
    return None


def _check_files(document: Document, report: Report) -> None:
    """Report models whose logs and status files would have the same name."""
    files: dict[str, str] = {}
    for key in document.models:
        other = files.setdefault(key.lower().replace("_", "-"), key)
        if other != key:
            error = InvalidInputError.plain(
                f"its files have the names of those of {other}", "rename one; case, - and _ make no difference"
            )
            report.error(document.lines.get(f"models.{key}", 1), f"models.{key}", error)


def _check_ports(document: Document, report: Report) -> None:
    users: dict[int, str] = {}
    base = document.sections["distributed"].get("master_port_base")
    for key, model in document.models.items():
        port = model.get("port")
        if port is None:
            continue
        path = f"models.{key}.port"
        line = document.lines.get(path, 1)
        if port in users:
            other = f"models.{users[port]}.port"
            error = InvalidInputError.plain(
                f"port {port} is that of {users[port]} too (line {document.lines.get(other, 1)})",
                f"write a free one such as {_free_port(document)}",
            )
            report.error(line, path, error)
        users.setdefault(port, key)
        if base is not None and base <= port < base + MASTER_PORT_SPAN:
            error = InvalidInputError(
                f"a port outside {base} to {base + MASTER_PORT_SPAN - 1}, the ports of distributed.master_port_base",
                str(port),
                "change one of the two",
            )
            report.error(line, path, error)


def _free_port(document: Document) -> int:
    taken = {model.get("port") for model in document.models.values()}
    return next(port for port in range(8000, 65535) if port not in taken)
