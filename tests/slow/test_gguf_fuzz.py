# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fuzz the reader of GGUF headers with mutated files for HERD_FUZZ_SECONDS (default: two minutes)."""

from __future__ import annotations

import os
import time

from tests.slow.conftest import Notes
from tests.unit.gguf_bytes import is_read, mutants


def test_reader_accepts_or_refuses_every_mutated_header(notes: Notes) -> None:
    seed = first = time.time_ns()
    limit = time.monotonic() + float(os.environ.get("HERD_FUZZ_SECONDS", "120"))
    tried = read = 0
    while time.monotonic() < limit:
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
