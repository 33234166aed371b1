# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""C(herdctl samples): record this node's GPUs and fabric for a while, and summarise a recording."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from ...core.benchmark.nodes import node_samples
from ...core.errors import HerdError, InvalidInputError, NotFoundError
from ...core.host import nvidia_smi
from ...core.host.hardware import traffic
from ...core.text import plain
from ..common import gpus, sysfs
from ..common.output import write_line, write_result
from ..common.regular_files import read_regular

EXIT_WELL = 0
#: Seconds that nvidia-smi may take. A lost GPU can hold it up.
GPU_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Clock:
    """The two clocks of a recording, and the pause between its samples."""

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


CLOCK = Clock()


def read_gpus() -> nvidia_smi.GpuReport:
    """Read the GPUs of this node.

    :raises HerdError: if there is none, or nvidia-smi fails.
    """
    if shutil.which("nvidia-smi") is None:
        raise NotFoundError("nvidia-smi on this node", "none", "install the NVIDIA driver if the node has a GPU")
    return gpus.read(timeout_s=GPU_TIMEOUT_S)


class Recorder:
    """Reads the samples of this node. A node without GPUs has samples of its fabric."""

    def __init__(self, interface: str, interval_s: float, tree: sysfs.Sysfs) -> None:
        self._interface, self._sysfs = interface, tree
        counted = traffic.of_interface(interface, tree)
        problem = f"{interface} has no counters of bytes in /sys" if interface else "no interface was named"
        self.header = node_samples.Header(
            interval_s,
            fabric=" + ".join(counted.sources) if counted else "",
            gpu_problem=self._gpu_problem(),
            fabric_problem="" if counted else problem,
        )

    @staticmethod
    def _gpu_problem() -> str:
        try:
            read_gpus()
        except HerdError as error:
            return plain(str(error))
        return ""

    def sample(self, time_s: float, elapsed_s: float) -> str:
        """Return the line of one sample."""
        counted = traffic.of_interface(self._interface, self._sysfs) if self.header.fabric else None
        found: tuple[nvidia_smi.Gpu, ...] = ()
        if not self.header.gpu_problem:
            try:
                found = read_gpus().gpus
            except HerdError:
                # The sample lacks its GPUs, and the next one may have them again.
                found = ()
        return node_samples.sample_line(time_s, elapsed_s, found[: node_samples.MOST_GPUS], counted)


def record(
    recorder: Recorder, emit: Callable[[str], None], seconds: float, interval_s: float, clock: Clock = CLOCK
) -> int:
    """Record until the time or the largest size is reached; return the number of samples.

    A sample that takes longer than the interval delays the next one to the next full interval.
    """
    line = node_samples.header_line(recorder.header)
    emit(line)
    size, count = len(line) + 1, 0
    start = clock.monotonic()
    while True:
        elapsed = clock.monotonic() - start
        line = recorder.sample(clock.wall(), elapsed)
        size += len(line) + 1
        if size > node_samples.MOST_BYTES or count >= node_samples.MOST_SAMPLES:
            return count
        emit(line)
        count += 1
        elapsed = clock.monotonic() - start
        pause = interval_s - elapsed % interval_s
        if elapsed + pause > seconds:
            return count
        clock.sleep(pause)


@contextmanager
def _output(path: str) -> Iterator[TextIO]:
    if not path:
        yield sys.stdout
        return
    try:
        with Path(path).open("x", encoding="utf-8") as stream:
            yield stream
    except FileExistsError as error:
        raise InvalidInputError("--output to name a new file", path, "name another file, or remove this one") from error


def _check(arguments: argparse.Namespace) -> None:
    limits = (
        ("--seconds", arguments.seconds, 0.0, node_samples.MOST_SECONDS),
        ("--interval", arguments.interval, node_samples.LEAST_INTERVAL_S, node_samples.MOST_INTERVAL_S),
    )
    for name, value, least, most in limits:
        if not least <= value <= most:
            raise InvalidInputError(f"{name} from {least:g} to {most:g}", f"{value:g}", f"give another {name}")
    if arguments.seconds / arguments.interval > node_samples.MOST_SAMPLES:
        raise InvalidInputError(
            f"at most {node_samples.MOST_SAMPLES} samples",
            f"{arguments.seconds / arguments.interval:.0f}",
            "give fewer --seconds, or a longer --interval",
        )


def _summarise(arguments: argparse.Namespace) -> int:
    path = Path(arguments.summarise)
    text = read_regular(path, node_samples.MOST_BYTES + (1 << 20)).decode("utf-8", errors="replace")
    recording = node_samples.within(node_samples.parse(text), arguments.since, arguments.until)
    summary = node_samples.summarise(recording)
    lines = [row["text"] for row in node_samples.gpu_verdicts({"this node": summary})]
    lines.append(f"{summary['samples']} samples in {summary['seconds']:g} s")
    write_result(arguments.json, summary, "\n".join(lines))
    return EXIT_WELL


def samples_command(arguments: argparse.Namespace) -> int:
    """Record samples, or summarise a recording."""
    try:
        if arguments.summarise:
            return _summarise(arguments)
        _check(arguments)
        recorder = Recorder(arguments.interface, arguments.interval, sysfs.Sysfs())
        with _output(arguments.output) as stream:

            def emit(line: str) -> None:
                stream.write(f"{line}\n")
                stream.flush()

            count = record(recorder, emit, arguments.seconds, arguments.interval)
        if arguments.output:
            write_line(f"{count} samples in {arguments.output}")
    except OSError as error:
        name = error.filename or arguments.output or arguments.summarise or "standard output"
        raise HerdError(
            f"to read or write {name}", error.strerror or str(error), "mend the disk or its permissions"
        ) from error
    return EXIT_WELL


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe C(herdctl samples)."""
    samples = commands.add_parser(
        "samples",
        description="Record use, memory, power, clock, throttling and temperature of this node's GPUs, and the bytes "
        "of its fabric, as JSON lines. With --summarise, show what a recording holds. "
        "Exit status: 0 done, 2 arguments or files.",
    )
    samples.add_argument("--seconds", type=float, default=60.0, help="(default: %(default)g)")
    samples.add_argument("--interval", type=float, default=1.0, metavar="SECONDS", help="(default: %(default)g)")
    samples.add_argument("--interface", default="", metavar="NAME", help="interface of the fabric, such as ib0")
    samples.add_argument("--output", default="", metavar="FILE", help="a new file (default: standard output)")
    samples.add_argument("--summarise", default="", metavar="FILE", help="summarise this recording instead")
    samples.add_argument("--since", type=float, metavar="UNIX_TIME", help="summarise from this moment")
    samples.add_argument("--until", type=float, metavar="UNIX_TIME", help="summarise until this moment")
    samples.add_argument("--json", action="store_true", help="the summary for programs")
    samples.set_defaults(run=samples_command)
