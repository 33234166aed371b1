# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""C(herdctl vllm): run a model with vLLM on a Slurm cluster, without any right of an administrator."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import asdict

from ...core.errors import HerdError, RemoteFailureError
from ...core.vllm import cache_cleanup, exit_codes, memory_plan
from ...core.vllm.config_document.findings import InvalidConfigError
from ..common.output import write_error_line, write_result
from ..vllm.control import job_commands, request_commands

_HERE = "the model's key in config.yaml (default: active_model)"


def _run(run: Callable[[argparse.Namespace], int], name: str, arguments: argparse.Namespace) -> int:
    """Run a command. With C(--json), an error is a document too."""
    try:
        return run(arguments)
    except HerdError as error:
        status = exit_codes.FAILED if isinstance(error, RemoteFailureError) else exit_codes.CONFIG
        if arguments.json:
            facts: dict[str, object] = {"error": str(error), "exit_status": status}
            if isinstance(error, InvalidConfigError):
                facts["errors"] = [{"file": error.file, **asdict(finding)} for finding in error.findings]
            write_result(True, facts, "", indent=2)
        write_error_line(f"herdctl vllm {name}: {error}")
        return status
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED
    except BrokenPipeError:
        # The reader has enough, such as head(1). Python would complain again when it closes the output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exit_codes.OK


def _show_commands(parser: argparse.ArgumentParser) -> int:
    """Show the commands to a user who named none."""
    write_error_line(parser.format_help())
    return exit_codes.CONFIG


def _port(text: str) -> int:
    if text.isdigit() and 0 < int(text) < 65536:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a port from 1 to 65535, found {text!r}")


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    text: str,
    statuses: tuple[int, ...],
) -> argparse.ArgumentParser:
    found = commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"Exit status: {exit_codes.explain(*statuses)}.",
    )
    found.add_argument(
        "-c", "--config", default=os.environ.get("HERD_VLLM_CONFIG", ""), metavar="FILE",
        help="configuration (default: config.yaml here, else that of the installation)",
    )  # fmt: skip
    found.add_argument("--json", action="store_true", help="print one JSON document on standard output")
    found.set_defaults(run=lambda arguments: _run(run, name, arguments))
    return found


def _add_endpoint(command: argparse.ArgumentParser) -> None:
    command.add_argument("--model", default="", help="model's key, or its name in the API with --host")
    command.add_argument("--host", default="", help="host or address (default: that of the running model)")
    command.add_argument("--port", type=_port, default=0, help="default: that of the running model")
    command.add_argument("--key-file", default="", metavar="FILE", help="file with the API key, mode 0600")


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe C(herdctl vllm)."""
    vllm = commands.add_parser(
        "vllm", description="Run a model with vLLM as a Slurm job of yours. Start with: plan, launch, query."
    )
    what = vllm.add_subparsers(dest="what", metavar="COMMAND")
    vllm.set_defaults(run=lambda _arguments: _show_commands(vllm))
    codes = exit_codes
    launch = _add(
        what, "launch", job_commands.launch_command,
        "submit a model's job unless it runs, and follow it until it answers",
        (codes.OK, codes.FAILED, codes.CONFIG, codes.NOT_READY, codes.REFUSED, codes.TIMED_OUT, codes.DOES_NOT_FIT,
         codes.INTERRUPTED),
    )  # fmt: skip
    launch.add_argument("model", nargs="?", default="", help=_HERE)
    launch.add_argument("--no-follow", dest="follow", action="store_false", help="return when the job is submitted")
    launch.add_argument(
        "--no-replace", dest="replace", action="store_false", help="leave a job with another configuration"
    )
    launch.add_argument(
        "--no-plan", dest="plan", action="store_false", help="submit a model that does not fit by the plan"
    )
    launch.add_argument("--test-only", action="store_true", help="check everything and ask Slurm, but submit nothing")
    launch.add_argument("--timeout", type=float, default=0.0, metavar="SECONDS", help="follow for so long")
    show = _add(
        what, "status", job_commands.status_command, "show the state of the models, and the cure of troubles",
        (codes.OK, codes.CONFIG, codes.NOT_READY),
    )  # fmt: skip
    show.add_argument("model", nargs="?", default="", help="the model's key (default: all that have a job)")
    show.add_argument("--job", default="", metavar="NUMBER")
    logs = _add(what, "logs", request_commands.logs_command, "show the end of a model's log", (codes.OK, codes.CONFIG))
    logs.add_argument("model", nargs="?", default="", help=_HERE)
    logs.add_argument("--job", default="", metavar="NUMBER", help="the log of this job")
    logs.add_argument("--rank", type=int, default=None, help="only the lines of this rank")
    logs.add_argument("-n", "--lines", type=int, default=50)
    logs.add_argument("--grep", default="", metavar="REGEX", help="only the lines that match")
    logs.add_argument("-f", "--follow", action="store_true", help="show lines as they come, until the job ends")
    ask = _add(
        what, "query", request_commands.query_command, "ask the model, and print the answer as it comes",
        (codes.OK, codes.FAILED, codes.CONFIG, codes.NOT_READY, codes.INTERRUPTED),
    )  # fmt: skip
    _add_endpoint(ask)
    ask.add_argument("--prompt", required=True, help="the question; - reads standard input")
    ask.add_argument("--max-tokens", type=int, default=512)
    ask.add_argument("--temperature", type=float, default=None)
    ask.add_argument("--timeout", type=float, default=300.0, metavar="SECONDS", help="longest silence")
    show_metrics = _add(
        what, "metrics", request_commands.metrics_command, "show requests, cache, tokens and times of a running model",
        (codes.OK, codes.FAILED, codes.CONFIG, codes.NOT_READY),
    )  # fmt: skip
    _add_endpoint(show_metrics)
    show_metrics.add_argument("--interval", type=float, default=1.0, metavar="SECONDS", help="measure for so long")
    show_metrics.add_argument("--timeout", type=float, default=10.0, metavar="SECONDS")
    _add(what, "list", job_commands.list_command, "list the models of the configuration", (codes.OK, codes.CONFIG))
    plan = _add(
        what, "plan", job_commands.plan_command, "show whether a model fits on its GPUs, and what would fit",
        (codes.OK, codes.CONFIG, codes.DOES_NOT_FIT),
    )  # fmt: skip
    plan.add_argument("model", nargs="?", default="", help=_HERE)
    plan.add_argument("--all", action="store_true", help="plan all models")
    plan.add_argument("--hub", action="store_true", help="read the facts of a model that is not here from the Hub")
    plan.add_argument("--gpu", default="", metavar="KIND", help=f"one of {', '.join(memory_plan.GPU_KINDS)}")
    stop = _add(
        what, "stop", job_commands.stop_command, "let a model finish its requests and end",
        (codes.OK, codes.CONFIG, codes.TIMED_OUT),
    )  # fmt: skip
    stop.add_argument("model", nargs="?", default="", help=_HERE)
    stop.add_argument("--job", default="", metavar="NUMBER")
    stop.add_argument("--now", action="store_true", help="cancel it without waiting for its requests")
    stop.add_argument("--timeout", type=float, default=180.0, metavar="SECONDS", help="wait for so long")
    cleanup = _add(
        what, "cleanup", job_commands.cleanup_command, "show which caches and files of earlier jobs may go",
        (codes.OK, codes.CONFIG),
    )  # fmt: skip
    cleanup.add_argument("--what", choices=("all", *cache_cleanup.KINDS), default="all")
    cleanup.add_argument(
        "--model", dest="remove_model", action="append", metavar="KEY", help="remove the files of this model"
    )
    cleanup.add_argument("--older-than", type=float, default=30.0, metavar="DAYS", help="keep what was used since")
    cleanup.add_argument("--yes", action="store_true", help="remove what is shown")
