# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the models on the node of a router's job, when it starts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ...core.engine import router_mode
from ...core.errors import HerdError, InvalidInputError, NotFoundError
from ...core.models import ids as model_ids
from ...core.models import metadata_reader
from ...core.placement import router_models
from ...core.slurm import job_models, job_spec


class _Source:
    """A model's open file; only the requested bytes are read."""

    def __init__(self, path: Path, handle: int) -> None:
        self._handle, self.name, self.size = handle, str(path), os.fstat(handle).st_size

    def read(self, offset: int, length: int) -> bytes:
        """Read bytes at an offset; fewer at the end of the file."""
        return os.pread(self._handle, length, offset)


@contextmanager
def _opened(name: str) -> Iterator[_Source]:
    path = Path(name)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise NotFoundError(f"a model at {path}", "no such file", "fetch it again") from error
    except OSError as error:
        raise InvalidInputError(f"a file that can be read at {path}", str(error.strerror), "mend its mode") from error
    try:
        yield _Source(path, handle)
    finally:
        os.close(handle)


def _read(folder: Path, file: str) -> router_models.ModelFile:
    path = folder / file
    try:
        return router_models.ModelFile(file, metadata_reader.metadata_of_files(str(path.parent), path.name, _opened))
    except (HerdError, OSError, ValueError) as error:
        return router_models.ModelFile(file, problem=str(error))


def with_discovered(job: job_spec.JobSpec, here: str, log: Callable[[str], None]) -> job_spec.JobSpec:
    """Add the models that a router's job finds on this node."""
    if job.kind != job_spec.ROUTER or not job.scan:
        return job
    folder = Path(job.folder)
    try:
        paths = [*folder.iterdir(), *folder.glob("*/*")]
        listed = [path.relative_to(folder).as_posix() for path in paths if path.is_file()]
    except OSError as error:
        log(f"warning: only the named models are offered: {folder} cannot be read: {error.strerror}")
        return job
    limit = os.environ.get("SLURM_MEM_PER_NODE", "")
    for file, problem in router_models.misnamed(listed).items():
        log(f"warning: {file} is not offered: {problem}")
    models = router_mode.models_among(listed)
    found = [_read(folder, file) for file in models if model_ids.file_id(file) not in job.exclude]
    offered, notes = job_models.offered(job, job.nodes[here], found, f"{limit}M" if limit.isdigit() else "")
    for note in notes:
        log(f"warning: {note}")
    log(f"offers {', '.join(model.id for model in offered)}")
    return replace(job, models=offered)
