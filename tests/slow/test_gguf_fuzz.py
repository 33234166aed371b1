# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fuzz the reader of GGUF headers, and what is behind it, for HERD_FUZZ_SECONDS of processor time each.

The default of two minutes for each of three tests takes some ten minutes on a busy machine.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ansible_collections.herd.inference.plugins.module_utils.agent.slurm import model_discovery
from ansible_collections.herd.inference.plugins.module_utils.core.engine import arguments as engine_arguments
from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.core.models import header_keys
from ansible_collections.herd.inference.plugins.module_utils.core.models.gguf import ArraySummary, Header, Tensor, Value
from ansible_collections.herd.inference.plugins.module_utils.core.models.metadata import from_data, metadata_of
from ansible_collections.herd.inference.plugins.module_utils.core.placement import from_inventory, router_models
from ansible_collections.herd.inference.plugins.module_utils.core.placement.router_fit import RouterHost, RouterModel
from ansible_collections.herd.inference.plugins.module_utils.core.slurm import job_spec
from tests.engine.generated.model import header_of
from tests.engine.models import models
from tests.models import gguf_writer
from tests.slow.conftest import Notes
from tests.unit.core.engine.flags.flag_lines import NEW
from tests.unit.core.slurm.test_job_models import job as router_job
from tests.unit.gguf_bytes import is_read, mutant, mutants

GPU = {"name": "Tesla V100S-PCIE-32GB", "memory_mib": 32768}
SETTINGS = engine_arguments.merged({"context": 4096})
FACTS = {"w1": {"gpus": [GPU], "memory_gib": 64, "port": 50052}, "head": {"gpus": [GPU], "memory_gib": 64}}
VALUES: tuple[Value, ...] = (
    0, 1, 2, 3, 7, 8, 32, 64, 255, 512, 513, 4096, 65536, 1 << 20, 1 << 24, (1 << 31) - 1, 1 << 32, 1 << 63, -1, -2,
    1.0, 1e308, float("nan"), float("inf"), True, "", "8", (), (0,), (1, 2, 3), (-1,) * 9, ArraySummary("int32", 5000),
)  # fmt: skip


def seconds() -> float:
    return float(os.environ.get("HERD_FUZZ_SECONDS", "120"))


def test_reader_accepts_or_refuses_every_mutated_header(notes: Notes) -> None:
    seed = first = time.time_ns()
    limit = time.process_time() + seconds()
    tried = read = 0
    while time.process_time() < limit:
        for data in mutants(seed, 500):
            try:
                read += is_read(data)
            except BaseException as error:
                error.add_note(f"seed {seed}, file {data!r}")
                raise
            tried += 1
        seed += 1
    notes.add(f"{tried} files from seed {first}: {read} read, {tried - read} refused")
    assert 0 < read < tried


def mutated(headers: list[Header], chance: random.Random) -> Header:
    """Change numbers and tensors of a model's header."""
    header = chance.choice(headers)
    metadata, tensors = dict(header.metadata), list(header.tensors)
    architecture = str(metadata["general.architecture"])
    for _change in range(chance.choice((1, 1, 2, 4))):
        how = chance.randrange(8)
        name = f"{architecture}.{chance.choice((*header_keys.KEYS, *header_keys.FRACTIONS))}"
        if how == 0:
            metadata.pop(name, None)
        elif how == 1:
            layers = metadata.get(f"{architecture}.block_count")
            count = layers if isinstance(layers, int) and 0 < layers < 600 else 9
            metadata[name] = tuple(chance.choice((0, 1, 2, 8)) for _layer in range(count))
        elif how == 2:
            del tensors[chance.randrange(len(tensors))]
        elif how == 3:
            at = chance.randrange(len(tensors))
            shape = tuple(chance.choice((1, 2, 64, 512, 1 << 20)) for _each in range(chance.choice((1, 2, 3, 4))))
            tensors[at] = replace(tensors[at], shape=shape)
        elif how == 4:
            tensors.append(
                Tensor(chance.choice(("blk.0", "blk.x.y", "v.a", "blk.600.attn_q.weight")), "f16", (8,), 0, 16)
            )
        else:
            metadata[name] = chance.choice(VALUES)
    return replace(header, metadata=metadata, tensors=tuple(tensors))


def planned(header: Header) -> bool:
    """Plan a header for a group and for a router, as roles and jobs do; False if it is refused."""
    try:
        metadata = from_data(metadata_of(header).to_data())
    except HerdError:
        return False
    for release in ("b7836", "0c1e57098"):
        group = from_inventory.InventoryGroup(["w1"], "head", FACTS).group()
        try:
            plan = from_inventory.planner_of(metadata, SETTINGS, group, release).plan()
            assert all(device.total >= 0 for device in plan.devices)
        except HerdError:
            pass
        # A model that was found never stops a router.
        machine = RouterHost("vasp-02", [GPU], 64)
        router_models.plan([RouterModel("m", metadata, SETTINGS, False)], machine, 2, release)
    return True


def headers() -> Iterator[Header]:
    for model in models():
        yield header_of(model)


def test_plan_and_router_accept_or_refuse_every_mutated_model(notes: Notes) -> None:
    seed = first = time.time_ns()
    limit = time.process_time() + seconds()
    known = list(headers())
    tried = read = 0
    slowest = 0.0
    while time.process_time() < limit:
        header = mutated(known, random.Random(seed))
        start = time.process_time()
        try:
            read += planned(header)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        slowest = max(slowest, time.process_time() - start)
        tried += 1
        seed += 1
    notes.add(f"{tried} models from seed {first}: {read} planned, {tried - read} refused, slowest {slowest:.1f} s")
    assert 0 < read < tried


FOLDER_SIZE = 3


def small_files() -> list[tuple[bytes, int]]:
    """Return the header of each model without a vocabulary, and the bytes of its weights."""
    found = []
    for model in models():
        fields = [field for field in model.fields() if b"tokenizer." not in field[:64]]
        found.append((gguf_writer.header(fields, model.tensors), gguf_writer.data_size(model.tensors)))
    return found


def write(path: Path, header: bytes, weights: int) -> None:
    """Write a file whose weights are a hole."""
    with path.open("wb") as stream:
        stream.write(header)
        stream.truncate(len(header) + weights)


def test_router_job_starts_with_every_folder_of_mutated_files(notes: Notes, tmp_path: Path) -> None:
    """The job reads the folder, plans what it finds, and builds the router's command line and presets."""
    seed = first = time.time_ns()
    limit = time.process_time() + seconds()
    files = small_files()
    tier = replace(router_job(), folder=str(tmp_path), scan=True)
    here, node = next(iter(tier.nodes.items()))
    program = "llama-server"
    named = {model.id for model in tier.models}
    tried = offered = 0
    slowest = 0.0
    while time.process_time() < limit:
        chance = random.Random(seed)
        for number in range(FOLDER_SIZE):
            header, weights = chance.choice(files)
            write(tmp_path / f"m{number}.gguf", mutant(header, len(header), chance), weights)
        release = chance.choice(("b7836", "0c1e57098"))
        manifest = {"id": release, "programs": {"head": program}, "flags": {program: sorted(NEW)}}
        start = time.process_time()
        try:
            job = model_discovery.with_discovered(replace(tier, rules=release), here, lambda _text: None)
            job_spec.router_line(job, f"/x/{program}", manifest, node, "/x/models.ini")
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        assert named <= {model.id for model in job.models}, f"seed {seed}"
        slowest = max(slowest, time.process_time() - start)
        offered += len(job.models) - len(named)
        tried += FOLDER_SIZE
        seed += 1
    notes.add(f"{tried} files of jobs from seed {first}: {offered} offered, slowest folder {slowest:.1f} s")
    assert 0 < offered < tried
