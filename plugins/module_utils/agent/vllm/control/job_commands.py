# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of C(herdctl vllm) about jobs: launch, status, list, plan, stop and cleanup."""

from __future__ import annotations

import argparse
import time
from contextlib import suppress
from dataclasses import replace

from ....core.errors import HerdError, InvalidInputError
from ....core.text import size, text_table
from ....core.vllm import cache_cleanup, exit_codes, memory_plan, model_report
from ....core.vllm.config import Config
from ....core.vllm.job import drain, ports
from ....core.vllm.job import spec as job_spec
from ....core.vllm.model_report import ModelReport
from ....core.vllm.planning import entry as plan_entry
from ...common.output import write_error_line, write_line, write_result
from . import caches, common, launcher, model_facts, user_site
from .progress import ProgressDisplay
from .slurm_commands import RefusedError, UserSlurm


def _say(report: ModelReport) -> None:
    write_line(report.sentence(time.time()))


def launch_command(arguments: argparse.Namespace) -> int:
    """Launch a model and follow it until it answers."""
    config = common.config_of(arguments)
    model = common.model_of(arguments, config)
    options = launcher.LaunchOptions(
        arguments.follow, arguments.replace, arguments.test_only, arguments.plan, arguments.timeout
    )
    display = ProgressDisplay()
    for notice in config.notices:
        display.note(notice.sentence(config.file))
    try:
        result = launcher.Launcher(config, model, UserSlurm(), display, options).run()
    except RefusedError as error:
        is_down = error.refusal.name == "slurm"
        result = launcher.LaunchResult(
            exit_codes.FAILED if is_down else exit_codes.REFUSED, model, problems=[str(error)]
        )
    except KeyboardInterrupt:
        display.close()
        result = launcher.LaunchResult(exit_codes.INTERRUPTED, model)
    if arguments.json:
        write_result(True, result.as_data(), "", indent=2)
        return result.status
    for problem in result.problems:
        write_error_line(f"herdctl vllm launch: {problem}")
    report, command = result.report, f"{common.program()} vllm"
    if report is not None and report.is_ready:
        write_line("\n".join(launcher.ready_lines(report, command)))
    elif report is not None and not result.problems:
        _say(report)
    if result.status in (exit_codes.INTERRUPTED, exit_codes.TIMED_OUT) and report is not None:
        write_line(
            f"job {report.job_id} goes on. Follow it again: {command} launch {model}; end it: {command} stop {model}"
        )
    if result.status == exit_codes.INTERRUPTED and report is None:
        write_line(f"interrupted; {command} status shows whether a job was submitted")
    if arguments.test_only and not result.problems:
        start = result.expected_start or "a time that Slurm does not say"
        write_line(f"{model} would start by {start}; nothing was submitted")
    return result.status


def status_command(arguments: argparse.Namespace) -> int:
    """Show the models that have a job, or one model; 0 if all that are shown are ready."""
    config = common.config_of(arguments)
    observer = common.observer_of(config)
    jobs = observer.slurm.jobs()
    if arguments.model or arguments.job:
        models = [common.model_of_job(arguments, config, jobs)]
    else:
        live = {job.name for job in jobs if job.is_live}
        models = [key for key in config.models if job_spec.job_name(key) in live] or [config.active_model]
    reports = [observer.report(model, jobs, arguments.job) for model in models]
    now = time.time()
    rows = [model_report.row(report, now) for report in reports]
    lines = [text_table(rows, model_report.COLUMNS)]
    lines += [f"\n{report.sentence(now)}" for report in reports if report.cure and not report.is_ready]
    lines += [f"\n{report.model}: {warning}" for report in reports for warning in report.warnings]
    is_ready = all(report.is_ready for report in reports)
    write_result(
        arguments.json,
        {"ready": is_ready, "models": [report.as_data() for report in reports]},
        "\n".join(lines),
        indent=2,
    )
    return exit_codes.OK if is_ready else exit_codes.NOT_READY


def list_command(arguments: argparse.Namespace) -> int:
    """List the models of the configuration, and the state of those that have a job."""
    config = common.config_of(arguments)
    states: dict[str, str] = {}
    with suppress(HerdError):
        observer = common.observer_of(config)
        jobs = observer.slurm.jobs()
        for key in config.models:
            if model_report.newest(jobs, job_spec.job_name(key)):
                states[key] = observer.report(key, jobs).state
    rows = [
        {
            "model": key,
            "nodes": entry.nodes,
            "gpus": entry.gpus,
            "quantization": entry.quantization,
            "context": entry.max_model_len,
            "vision": "yes" if entry.vision else "no",
            "partition": entry.partition,
            "time": entry.time,
            "port": entry.port,
            "state": states.get(key, ""),
            "active": "yes" if key == config.active_model else "",
        }
        for key, entry in config.models.items()
    ]
    write_result(arguments.json, {"active_model": config.active_model, "models": rows}, common.table(rows), indent=2)
    return exit_codes.OK


def _gpu(arguments: argparse.Namespace, config: Config) -> memory_plan.GpuKind:
    if arguments.gpu:
        kinds = memory_plan.GPU_KINDS
        if arguments.gpu not in kinds:
            raise InvalidInputError(f"a GPU among {', '.join(kinds)}", arguments.gpu, "name one of them with --gpu")
        return kinds[arguments.gpu]
    known = user_site.read_facts(user_site.work_dir_of(config)).gpu
    if known is None:
        raise InvalidInputError.plain(
            "the GPUs of this cluster are not known here",
            f"name them with --gpu ({', '.join(memory_plan.GPU_KINDS)}); sinfo -o '%P %G' shows the partitions' GPUs",
        )
    return known


def plan_command(arguments: argparse.Namespace) -> int:
    """Show whether a model fits on its GPUs, and what would fit."""
    config = common.config_of(arguments)
    gpu = _gpu(arguments, config)
    models = list(config.models) if arguments.all else [common.model_of(arguments, config)]
    plans, problems, text = [], [], []
    preemption = drain.preemption_note(UserSlurm().configuration())
    for model in models:
        try:
            plan = plan_entry.plan_entry(config, model, gpu, model_facts.known(config, model, arguments.hub))
        except HerdError as error:
            problems.append({"model": model, "error": str(error)})
            text.append(f"{model}: {error}")
            continue
        entry = config.model(model)
        notes = (*plan.notes, ports.OPEN_TO_OTHERS if entry.nodes > 1 else "", preemption)
        plan = replace(plan, notes=tuple(filter(None, notes)))
        plans.append(plan)
        gpus = f"{entry.gpus} x {gpu.name}"
        text.append(
            "\n".join([f"{model} on {gpus}: {'fits' if plan.fits else 'does not fit'}", *map(_indent, plan.lines())])
        )
    fits = all(plan.fits for plan in plans) and not problems
    write_result(
        arguments.json,
        {"gpu": gpu.name, "fits": fits, "plans": [plan.as_dict() for plan in plans], "problems": problems},
        "\n".join(text),
        indent=2,
    )
    if problems and not plans:
        return exit_codes.CONFIG
    return exit_codes.OK if fits else exit_codes.DOES_NOT_FIT


def _indent(line: str) -> str:
    return f"  {line}"


def stop_command(arguments: argparse.Namespace) -> int:
    """Let a model finish its requests and end; 0 if no job of it is left."""
    config = common.config_of(arguments)
    slurm = UserSlurm()
    jobs = slurm.jobs()
    model = common.model_of_job(arguments, config, jobs)
    live = [job.id for job in jobs if job.name == job_spec.job_name(model) and job.is_live]
    ids = [job_id for job_id in live if not arguments.job or job_id == arguments.job]
    done: dict[str, str] = {}
    is_gone = True
    for job_id in ids:
        done[job_id], gone = launcher.stop(slurm, job_id, arguments.timeout, arguments.now, write_error_line)
        is_gone = is_gone and gone
    facts = {"model": model, "jobs": done, "changed": bool(done), "gone": is_gone}
    words = {"cancelled": "was cancelled", "finishing": "has finished" if is_gone else "finishes its requests"}
    text = ", ".join(f"job {job_id} {words[what]}" for job_id, what in done.items()) or f"{model} does not run"
    if done and not is_gone:
        text += f"; it still runs after {arguments.timeout:g} s"
    write_result(arguments.json, facts, text, indent=2)
    return exit_codes.OK if is_gone else exit_codes.TIMED_OUT


def cleanup_command(arguments: argparse.Namespace) -> int:
    """Show which caches and files of earlier jobs may go, and remove them with C(--yes)."""
    config = common.config_of(arguments)
    work_dir = user_site.work_dir_of(config)
    kinds = cache_cleanup.KINDS if arguments.what == "all" else (arguments.what,)
    named = [config.model(key) for key in arguments.remove_model or ()]
    observer = common.observer_of(config)
    live = [job for job in observer.slurm.jobs() if job.is_live and job.name.startswith(job_spec.job_name(""))]
    busy = [entry for key, entry in config.models.items() if any(job.name == job_spec.job_name(key) for job in live)]
    folders = {cache_cleanup.model_folder(entry.huggingface_id) for entry in config.models.values()}
    kept = {cache_cleanup.model_folder(entry.huggingface_id) for entry in busy}
    # A job may run a model that the configuration has no more.
    kept |= {cache_cleanup.model_folder(spec.source) for job in live if (spec := observer.spec_of(job))}
    wanted = {cache_cleanup.model_folder(entry.huggingface_id) for entry in named}
    if in_use := sorted(wanted & kept):
        raise InvalidInputError.plain(f"a job uses {', '.join(in_use)}", "stop it first: herdctl vllm stop")
    entries = caches.scan(config, work_dir, dict.fromkeys(("models",) if named else kinds))
    plan = cache_cleanup.plan(
        entries,
        time.time(),
        arguments.older_than * cache_cleanup.DAY_S,
        kept_models=(folders | kept) - wanted,
        live_jobs={job.id for job in live},
        live_specs={observer.fingerprint_of(job) for job in live},
        named_models=wanted,
    )
    removed = []
    if arguments.yes:
        for removal in plan:
            caches.remove(removal)
            removed.append(removal.path)
    total = sum(removal.entry.size for removal in plan)
    facts = {
        "removed": bool(arguments.yes),
        "bytes": total,
        "entries": [
            {"path": one.path, "bytes": one.entry.size, "kind": one.entry.kind, "reason": one.reason} for one in plan
        ],
    }
    rows = [{"size": size(one.entry.size), "path": one.path, "why": one.reason} for one in plan]
    end = f"{size(total)} removed" if arguments.yes else f"{size(total)} in all; repeat with --yes to remove them"
    text = f"{common.table(rows)}\n{end}" if rows else f"nothing is older than {arguments.older_than:g} days and unused"
    write_result(arguments.json, facts, text, indent=2)
    return exit_codes.OK
