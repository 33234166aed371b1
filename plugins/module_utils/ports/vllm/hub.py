# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open the files of a checkpoint on the Hugging Face Hub, in ranges, or in a local folder (requests)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from ...core.download.refusals import RefusedError
from ...core.errors import NotFoundError
from ...core.vllm.planning import hub_address
from ..download.http_client import HttpClient
from ..models.gguf_source import FileSource, RemoteSource, open_file


class HubFolder:
    """A repository of the Hub, or of a server with the same paths.

    :param endpoint: address of the server; a mirror may stand in for the Hub.
    :param token: of an account that has accepted the model's terms; only the endpoint's host gets it.
    """

    def __init__(
        self,
        huggingface_id: str,
        revision: str = "main",
        token: str | None = None,
        endpoint: str = hub_address.HUB,
        timeout: float = 60.0,
    ) -> None:
        self._base = hub_address.folder_url(huggingface_id, revision, endpoint)
        self.name = huggingface_id
        self._client = HttpClient(token=token, trusted=(endpoint,), timeout=timeout, connections=2)

    @contextlib.contextmanager
    def open(self, file: str) -> Iterator[RemoteSource]:
        """Open a file for reads at offsets."""
        try:
            yield RemoteSource(self._client, f"{self._base}/{quote(file)}", f"{file} of {self.name}")
        except RefusedError as error:
            if error.refusal is None:
                raise
            raise hub_address.denied(self.name, error.refusal) from None


class LocalFolder:
    """A folder on this host."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path

    @contextlib.contextmanager
    def open(self, file: str) -> Iterator[FileSource]:
        """Open a file for reads at offsets."""
        if "/" in file or file.startswith("."):
            raise NotFoundError(f"a plain file name in {self.name}", repr(file)[:80], "check the checkpoint's index")
        with open_file(self._path / file) as source:
            yield source
