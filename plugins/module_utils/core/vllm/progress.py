# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Follow the start of vLLM by the lines of its log: the phase, and how much of the start is done.

The lines are those of vLLM 0.19 to 0.33 (C(vllm-project/vllm): v1/worker, v1/engine/core.py, model_loader). The weights
take most of the time. Each other phase has a fixed share, so the percentage never goes back.
"""

from __future__ import annotations

import re

from .job_status import LOADING, READY, RENDEZVOUS, STARTING, WARMING

#: A label of C(srun --label), and the prefix of a process of vLLM.
_PREFIX = re.compile(r"^(?:\d+: )?(?:\([^)]*pid=\d+\) ?)*")
_SHARDS = re.compile(
    r"Loading (?:pt|np_cache|safetensors)[^:]{0,60}:\s+[0-9]{1,3}% Completed \| ([0-9]{1,6})/([0-9]{1,6})(?![0-9])"
)
_GRAPHS = re.compile(r"Capturing CUDA graphs[^:]{0,60}:\s+([0-9]{1,3})%")
#: Beginnings of progress: what the line contains, the phase, the least percentage, and what happens now.
_MARKS = (
    ("non-default args:", STARTING, 2, "vLLM reads its arguments"),
    ("Resolved architecture:", STARTING, 4, "vLLM reads the model's configuration"),
    ("DP group leader:", RENDEZVOUS, 6, "the engine starts its workers"),
    ("headless multiproc executor", RENDEZVOUS, 6, "a further node starts its workers"),
    ("distributed_init_method=", RENDEZVOUS, 8, "the ranks wait for each other"),
    ("is assigned as DP rank", LOADING, 12, "all ranks have met"),
    ("Starting to load model", LOADING, 14, "the weights are being loaded"),
    ("Loading weights took", LOADING, 70, "the weights are loaded"),
    ("Model loading took", WARMING, 72, "the weights are loaded"),
    ("Dynamo bytecode transform", WARMING, 74, "the model is being compiled"),
    ("Compiling a graph", WARMING, 76, "the model is being compiled"),
    ("torch.compile took", WARMING, 82, "the model is compiled"),
    ("KV cache size:", WARMING, 86, "the key-value cache is reserved"),
    ("Graph capturing finished", WARMING, 95, "the CUDA graphs are captured"),
    ("init engine (profile", WARMING, 97, "the engine is up"),
    ("Starting vLLM server on", WARMING, 98, "the API starts"),
    ("Application startup complete", WARMING, 99, "the API is up; a first completion is requested"),
)
_LOAD_FROM, _LOAD_TO = 14, 70
_GRAPH_FROM, _GRAPH_TO = 88, 95


def message(line: str) -> str:
    """Return a line of the log without the rank's label and the process's prefix."""
    return _PREFIX.sub("", line.rstrip("\n"), count=1)


class LoadProgress:
    """The start of one run of a job.

    :ivar phase: a phase of C(job_status).
    :ivar percent: how much of the start is done.
    :ivar detail: what happens now, without a full stop.
    """

    def __init__(self) -> None:
        self.phase = STARTING
        self.percent = 0
        self.detail = "the job has started"

    def feed(self, line: str) -> bool:
        """Take the next line of the log; return whether the progress changed."""
        if found := _SHARDS.search(line):
            share = min(1.0, int(found[1]) / max(1, int(found[2])))
            percent = _LOAD_FROM + round(share * (_LOAD_TO - _LOAD_FROM))
            return self._advance(LOADING, percent, f"weights: {found[1]} of {found[2]} files")
        if found := _GRAPHS.search(line):
            percent = _GRAPH_FROM + round(min(1.0, int(found[1]) / 100) * (_GRAPH_TO - _GRAPH_FROM))
            return self._advance(WARMING, percent, f"CUDA graphs: {found[1]} %")
        for words, phase, percent, detail in _MARKS:
            if words in line:
                return self._advance(phase, percent, detail)
        return False

    def ready(self) -> bool:
        """Note that a completion has been answered; return whether that is new."""
        return self._advance(READY, 100, "the model answers")

    def _advance(self, phase: str, percent: int, detail: str) -> bool:
        """Go forward only: the ranks' lines are interleaved."""
        if percent <= self.percent:
            return False
        self.phase, self.percent, self.detail = phase, percent, detail
        return True
