# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask an engine what it would allocate on each worker, without loading a weight (allocation.cpp).

A start of head and workers takes seconds, this a fraction of one. `make accuracy` compares both for the models that it
starts.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.engine.builds import binaries, unpack
from tests.engine.measure import Case, MeasureError, free_ports
from tests.lab.naming import Places
from tests.lab.sources import SOURCES, ensure

WORKERS = 4
_SOURCE = Path(__file__).with_name("allocation.cpp")


def program(release: str) -> Path:
    """Return the program for a release, which is built if missing or older than its source."""
    place = binaries(release)
    made = place / "herd-allocation"
    if not made.exists() or made.stat().st_mtime < _SOURCE.stat().st_mtime:
        known = {each.release: each for each in SOURCES}
        with tempfile.TemporaryDirectory(prefix="herd-headers-") as work:
            source = unpack(ensure(known[release], Places.of(os.environ).cache / "sources"), Path(work))
            argv = ["g++", "-std=c++17", "-O0", "-w", str(_SOURCE), "-o", str(made), "-rdynamic"]
            argv += [f"-I{source / part}" for part in ("include", "ggml/include", "src")]
            argv += [f"-L{place}", f"-Wl,-rpath,{place}", "-lllama", "-lggml", "-lggml-base", "-lggml-rpc", "-ldl"]
            subprocess.run(argv, check=True)
    return made


@dataclass(frozen=True)
class Allocation:
    """Bytes on one device: weights, caches with recurrent states, and the compute buffer."""

    weights: int
    kept: int
    compute: int


class Engine:
    """A running program, started again after an abort."""

    def __init__(self, program: Path) -> None:
        self.program = program
        self.process: subprocess.Popen[str] | None = None

    def _start(self) -> subprocess.Popen[str]:
        if self.process is None or self.process.poll() is not None:
            argv = [str(self.program), *map(str, free_ports(WORKERS))]
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={"GGML_NO_BACKTRACE": "1"},
            )
        return self.process

    def allocate(self, case: Case, model: Path) -> list[Allocation]:
        """Return the bytes on each worker, then those of the head.

        :raises MeasureError: if the engine refuses the model or these settings, or aborts.
        """
        process = self._start()
        assert process.stdin is not None and process.stdout is not None
        words: Sequence[object] = (
            model, case.context, case.slots, case.ubatch, case.batch, int(case.unified),
            int(case.flash_attention != "off"), case.cache_type, case.value_type or case.cache_type,
            len(case.split), *case.split,
        )  # fmt: skip
        try:
            process.stdin.write(" ".join(map(str, words)) + "\n")
            process.stdin.flush()
        except BrokenPipeError as error:
            raise MeasureError(f"the engine ended before {case}") from error
        answer = process.stdout.readline().split()
        if not answer or answer[0] != "ok":
            if not answer:
                process.wait()
            raise MeasureError(f"the engine {'refuses' if answer else 'aborts at'} {case}")
        sizes = list(map(int, answer[1:]))
        return [Allocation(*sizes[first : first + 3]) for first in range(0, len(sizes), 3)]

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@contextmanager
def engine(program: Path) -> Iterator[Engine]:
    """Run the program during the block."""
    found = Engine(program)
    try:
        yield found
    finally:
        found.stop()
