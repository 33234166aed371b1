# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of C(herdctl vllm) about a running model: logs, query and metrics."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ....core.engine import api_answers
from ....core.errors import HerdError, InvalidInputError, NotFoundError
from ....core.text import terminal_text
from ....core.vllm import exit_codes, metrics, model_report
from ....core.vllm.job import spec as job_spec
from ....core.vllm.model_report import ModelReport
from ...common.output import write, write_error_line, write_line, write_result
from .. import config_file, job_files
from . import common, launcher, log_files, query, user_site
from .observer import Observer


def logs_command(arguments: argparse.Namespace) -> int:
    """Show the end of a model's log, and follow it."""
    config = common.config_of(arguments)
    observer = common.observer_of(config)
    job_id, model = arguments.job, ""
    if not job_id:
        model = common.model_of(arguments, config)
        with suppress(HerdError):
            job = model_report.newest(observer.slurm.jobs(), job_spec.job_name(model))
            job_id = job.id if job else ""
        job_id = job_id or observer.last_job_of(model)
    path = observer.log_of(job_id, model) if job_id else None
    if path is None and not (arguments.follow and job_id and model):
        of = f"job {job_id}" if job_id else model
        raise NotFoundError.plain(f"{of} has no log in {observer.work_dir / 'logs'} yet", "see herdctl vllm status")
    path = path or observer.work_dir / "logs" / job_spec.log_name(model, job_id)
    selection = log_files.Selection(arguments.rank, _pattern(arguments.grep))
    lines = log_files.last(path, arguments.lines, selection) if path.exists() else []
    if arguments.json:
        write_result(True, {"job_id": job_id, "log": str(path), "lines": lines}, "", indent=2)
        return exit_codes.OK
    for line in lines:
        write_line(line)
    if arguments.follow:
        with suppress(KeyboardInterrupt):
            for line in log_files.follow(path, selection, _is_over(observer, job_id)):
                write_line(line)
    return exit_codes.OK


def _pattern(given: str) -> re.Pattern[str] | None:
    try:
        return re.compile(given, re.IGNORECASE) if given else None
    except re.error as error:
        raise InvalidInputError("a regular expression as --grep", f"{given!r} ({error})", "correct it") from error


def _is_over(observer: Observer, job_id: str) -> Callable[[], bool]:
    """Return a function that says whether a job has left the queue. It asks Slurm every ten seconds."""
    state = {"asked": time.monotonic(), "over": 0.0}

    def over() -> bool:
        if time.monotonic() - state["asked"] >= launcher.QUEUE_S:
            state["asked"] = time.monotonic()
            with suppress(HerdError):
                state["over"] = float(not any(job.id == job_id and job.is_live for job in observer.slurm.jobs()))
        return bool(state["over"])

    return over


def _endpoint(arguments: argparse.Namespace) -> tuple[query.Endpoint, str]:
    """Return the API that the user names, else that of the running model, and the model's name there."""
    if arguments.host:
        if not arguments.port:
            raise InvalidInputError("a --port with --host", "none", "name the port that herdctl vllm status shows")
        return query.Endpoint(arguments.host, arguments.port, _key_for(arguments)), arguments.model
    config = common.config_of(arguments)
    observer = common.observer_of(config)
    model = common.model_of(arguments, config)
    report = observer.report(model, observer.slurm.jobs())
    if not report.address or not report.port:
        raise NotReadyError(report)
    key_file = arguments.key_file or report.key_file
    key = _read_key(Path(key_file)) if key_file else ""
    return query.Endpoint(report.address, arguments.port or report.port, key), report.served_name


def _key_for(arguments: argparse.Namespace) -> str:
    """Return the key for a host that the user names: of the given file, else of the work space if it has one."""
    if arguments.key_file:
        return _read_key(Path(arguments.key_file))
    try:
        path = common.config_path(arguments.config)
    except NotFoundError:
        return ""
    key_file = user_site.work_dir_of(config_file.load(path)) / "api-key"
    return _read_key(key_file) if key_file.exists() else ""


def _read_key(path: Path) -> str:
    return job_files.read_key(path, is_own=True, remedy="launch the model first, or name another --key-file")


class NotReadyError(HerdError):
    """The model does not answer yet."""

    def __init__(self, report: ModelReport) -> None:
        super().__init__("", report.sentence(time.time()), "launch it, or wait: herdctl vllm launch follows it")
        self.report = report


def query_command(arguments: argparse.Namespace) -> int:
    """Send a prompt, and print the answer as it comes."""
    prompt = sys.stdin.read() if arguments.prompt == "-" else arguments.prompt
    try:
        endpoint, name = _endpoint(arguments)
    except NotReadyError as error:
        return _not_ready(arguments, "query", error)
    return _ask(arguments, endpoint, name, prompt)


def _not_ready(arguments: argparse.Namespace, command: str, error: NotReadyError) -> int:
    if arguments.json:
        write_result(True, {"error": str(error), "exit_status": exit_codes.NOT_READY}, "", indent=2)
    write_error_line(f"herdctl vllm {command}: {error}")
    return exit_codes.NOT_READY


def _ask(arguments: argparse.Namespace, endpoint: query.Endpoint, name: str, prompt: str) -> int:
    began = time.monotonic()
    body: dict[str, Any] = {
        "model": name or query.first_model(endpoint, arguments.timeout),
        "max_tokens": arguments.max_tokens,
        "messages": [{"role": "user", "content": prompt}],
    }
    if arguments.temperature is not None:
        body["temperature"] = arguments.temperature
    found: dict[str, Any] = {"text": "", "reasoning": "", "finish": "", "usage": None}
    first = 0.0
    for piece in query.chat(endpoint, body, arguments.timeout):
        if piece.text or piece.reasoning:
            first = first or time.monotonic() - began
        found["text"] += piece.text
        found["reasoning"] += piece.reasoning
        found["finish"] = piece.finish or found["finish"]
        found["usage"] = piece.usage or found["usage"]
        if not arguments.json:
            write(terminal_text(piece.text))
    took = time.monotonic() - began
    count = api_answers.used_tokens(found["usage"], "completion_tokens")
    rate = round((count - 1) / (took - first), 2) if count > 1 and took > first else None
    facts = {"first_token_s": round(first, 3), "seconds": round(took, 3), "tokens_per_second": rate}
    write_result(arguments.json, {**found, **facts, "model": body["model"]}, "", indent=2)
    if not arguments.json:
        if not found["text"] and found["reasoning"]:
            write_error_line("the model only reasoned; allow more tokens with --max-tokens")
        rest = f", {rate:g} tokens a second" if rate else ""
        write_error_line(f"[{count} tokens, the first after {first:.2f} s{rest}]")
    return exit_codes.OK


def metrics_command(arguments: argparse.Namespace) -> int:
    """Show requests, cache, tokens and times of a running model."""
    try:
        endpoint, _name = _endpoint(arguments)
    except NotReadyError as error:
        return _not_ready(arguments, "metrics", error)
    found, rate = metrics.parse(query.get(endpoint, "/metrics", arguments.timeout)), None
    if arguments.interval > 0:
        before = found
        time.sleep(arguments.interval)
        found = metrics.parse(query.get(endpoint, "/metrics", arguments.timeout))
        rate = found.rate(before, arguments.interval)
    data = {**found.as_data(), "generated_tokens_per_second": rate}
    write_result(arguments.json, data, metrics.text(found, rate), indent=2)
    return exit_codes.OK
