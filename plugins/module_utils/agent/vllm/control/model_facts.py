# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the facts about a configured model: in its folder, in the Hub's cache, or on the Hub."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from ....core.errors import HerdError, InvalidInputError, NotFoundError
from ....core.vllm.config import Config
from ....core.vllm.job import builder
from ....core.vllm.job import spec as job_spec
from ....core.vllm.planning import checkpoint, hub_address
from ....core.vllm.planning.checkpoint import Checkpoint
from ...common.output import write_error_line
from ...common.regular_files import read_regular
from .. import checkpoint_folder, hub

_LONGEST_TOKEN = 4096
_OTHER_WEIGHTS = (".bin", ".gguf", ".pt", ".pth")


def cache_folders(config: Config) -> job_spec.CacheFolders:
    """Return the directories of caches, as the job uses them."""
    return builder.cache_folders(config).completed(str(Path.home()))


def huggingface_home(config: Config) -> Path:
    """Return the directory of Hugging Face's cache, as the job uses it."""
    return Path(cache_folders(config).huggingface)


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
    """Return the user's token: of the environment, else as C(hf auth login) keeps it.

    :raises InvalidInputError: if it is none, so that no request could carry it.
    """
    place, token = "HF_TOKEN", os.environ.get("HF_TOKEN", "").strip()
    if not token:
        place = str(home / "token")
        with suppress(OSError):
            token = read_regular(Path(place), _LONGEST_TOKEN).decode("utf-8", "replace").strip()
    if token and not re.fullmatch(r"[!-~]+", token):
        raise InvalidInputError(f"a token of printable ASCII in {place}", "another text", "log in again: hf auth login")
    return token or None
