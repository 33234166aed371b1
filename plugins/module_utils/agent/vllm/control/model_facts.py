# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the facts about a configured model: in its folder, in the Hub's cache, or on the Hub."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ....core.errors import HerdError, NotFoundError
from ....core.vllm.config import Config
from ....core.vllm.planning import checkpoint, hub_address
from ....core.vllm.planning.checkpoint import Checkpoint
from ...common.output import write_error_line
from .. import checkpoint_folder, hub

_LONGEST_TOKEN = 200
_OTHER_WEIGHTS = (".bin", ".gguf", ".pt", ".pth")


def huggingface_home(config: Config) -> Path:
    """Return the directory of Hugging Face's cache, as the job uses it."""
    xdg = config.cache.xdg_cache_home or str(Path.home() / ".cache")
    return Path(config.cache.huggingface_cache or f"{xdg}/huggingface")


def known(config: Config, key: str, ask_hub: bool = False) -> Checkpoint | None:
    """Read the facts of a model on this host, else those on the Hub if wanted; None leaves them to the catalogue.

    HF_ENDPOINT names another server, and HF_TOKEN a token, as for Hugging Face's own programs.

    :raises HerdError: if a file is damaged, or the Hub refuses it.
    """
    entry = config.model(key)
    folder = Path(entry.path) if entry.path else checkpoint_folder.find(huggingface_home(config) / "hub", entry.source)
    if folder is not None:
        # A download that is not complete says nothing about the sizes.
        with suppress(NotFoundError):
            return checkpoint_folder.read(folder)
    if not ask_hub or entry.path:
        return None
    name = entry.huggingface_id

    def report(done: int, total: int) -> None:
        if total > 1 and done % 20 == 0:
            write_error_line(f"{name}: {done} of {total} files read")

    endpoint = os.environ.get("HF_ENDPOINT", "") or hub_address.HUB
    return hub.read(name, _token(huggingface_home(config)), endpoint=endpoint, report=report)


def folder_of(config: Config, key: str) -> Path | None:
    """Return the folder of a model on this host: its path, else its snapshot in the Hub's cache; None without one."""
    entry = config.model(key)
    if entry.path:
        return Path(entry.path) if (Path(entry.path) / checkpoint.CONFIG).is_file() else None
    return checkpoint_folder.find(huggingface_home(config) / "hub", entry.source)


def missing_file(folder: Path) -> str:
    """Say which file of weights is missing, for example after an interrupted download; empty if none is."""
    try:
        checkpoint_folder.read(folder)
    except NotFoundError as error:
        # vLLM also loads weights in other formats, of which no index tells the files.
        is_other = any(path.suffix in _OTHER_WEIGHTS for path in folder.iterdir())
        return "" if is_other and not (folder / checkpoint.INDEX).exists() else str(error)
    except HerdError:
        # The plan says what is wrong with it.
        pass
    return ""


def _token(home: Path) -> str | None:
    """Return the user's token: of the environment, else as C(hf auth login) keeps it."""
    if token := os.environ.get("HF_TOKEN", "").strip():
        return token
    with suppress(OSError, UnicodeDecodeError):
        return (home / "token").read_text(encoding="ascii")[:_LONGEST_TOKEN].strip() or None
    return None
