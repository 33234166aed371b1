# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Partial downloads that are removed, and files that never are."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.models import partial_downloads
from ansible_collections.herd.inference.plugins.module_utils.core.models.partial_downloads import DAY_S, HiddenFile

NOW = 1_790_000_000.0


def hidden(*names: str, days: float = 8) -> list[HiddenFile]:
    return [HiddenFile(name, 100, NOW - days * DAY_S) for name in names]


@pytest.mark.parametrize(
    ("files", "models", "expected"),
    [
        ([], [], {}),
        (
            hidden(".m.gguf.incoming", ".m.gguf.journal", ".m.gguf.written", ".m.gguf.lock", ".m.gguf.progress"),
            [],
            {"m.gguf": {"incoming", "journal", "written", "lock", "progress"}},
        ),
        # It was fetched: what a later fetch left goes, what is known of the model stays.
        (
            hidden(".m.gguf.incoming", ".m.gguf.verified", ".m.gguf.lock", ".m.gguf.progress"),
            ["m.gguf"],
            {"m.gguf": {"incoming"}},
        ),
        (hidden(".m.gguf.verified", ".m.gguf.lock", ".m.gguf.progress"), ["m.gguf"], {}),
        # Its model was removed by hand.
        (hidden(".m.gguf.verified"), ["other.gguf"], {"m.gguf": {"verified"}}),
        # One young file says that the fetch may go on.
        (hidden(".m.gguf.incoming") + hidden(".m.gguf.written", days=6.9), [], {}),
        (hidden(".m.gguf.incoming", days=-3), [], {}),
        # A writer that was killed; not that of a model's own file.
        (hidden(".m.gguf.verified.4711.tmp"), ["m.gguf"], {"m.gguf": {"verified.4711.tmp"}}),
        # Never anything that a fetch does not make.
        (hidden(".bashrc", ".m.gguf", ".m.gguf.incoming.old", ".nfs0001", ".m.gguf.part1of2"), [], {}),
    ],
)
def test_old_partial_downloads_are_removed(
    files: list[HiddenFile], models: list[str], expected: dict[str, set[str]]
) -> None:
    found = partial_downloads.plan(files, models, NOW, 7)
    assert {left.model: {name[len(left.model) + 2 :] for name in left.files} for left in found} == expected
    assert all(left.size == 100 * len(left.files) for left in found)


def test_negative_days_are_refused() -> None:
    assert partial_downloads.plan(hidden(".m.gguf.incoming", days=0.5), [], NOW, 0.4)
    with pytest.raises(InvalidInputError, match="model_store_partial_days"):
        partial_downloads.plan([], [], NOW, -1)
