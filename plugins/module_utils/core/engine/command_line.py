# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse a command line of the engine as the engine does (common/arg.cpp).

The engine compares whole words, so C(--flag=value) is an unknown flag. Underscores in a long flag equal hyphens. A flag
with a value takes the next word, whatever it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Short and alternative names of the flags that rules check.
SYNONYMS = {
    "-a": "--alias",
    "-b": "--batch-size",
    "-c": "--ctx-size",
    "-cram": "--cache-ram",
    "-ctk": "--cache-type-k",
    "-ctkd": "--spec-draft-type-k",
    "-ctvd": "--spec-draft-type-v",
    "-ctv": "--cache-type-v",
    "-dev": "--device",
    "-devd": "--spec-draft-device",
    "-fa": "--flash-attn",
    "-fit": "--fit",
    "-hf": "--hf-repo",
    "-hfr": "--hf-repo",
    "-hft": "--hf-token",
    "-kvu": "--kv-unified",
    "-lm": "--load-mode",
    "-lv": "--log-verbosity",
    "-m": "--model",
    "-md": "--spec-draft-model",
    "-mg": "--main-gpu",
    "-mu": "--model-url",
    "-ngl": "--n-gpu-layers",
    "-ngld": "--spec-draft-ngl",
    "-np": "--parallel",
    "-sm": "--split-mode",
    "-t": "--threads",
    "-tb": "--threads-batch",
    "-to": "--timeout",
    "-ts": "--tensor-split",
    "-ub": "--ubatch-size",
    "--cache-type-k-draft": "--spec-draft-type-k",
    "--cache-type-v-draft": "--spec-draft-type-v",
    "--device-draft": "--spec-draft-device",
    "--gpu-layers": "--n-gpu-layers",
    "--gpu-layers-draft": "--spec-draft-ngl",
    "--model-draft": "--spec-draft-model",
    "--n-gpu-layers-draft": "--spec-draft-ngl",
    "--verbosity": "--log-verbosity",
}
# Some short flags mean something else to the worker.
WORKER_SYNONYMS = {"-t": "--threads", "-d": "--device", "-H": "--host", "-p": "--port", "-c": "--cache"}
# Flags of the head without a value that an operator is likely to write.
SWITCHES = frozenset(
    {
        "--check-tensors", "--cont-batching", "--cpu-moe", "--direct-io", "--embedding", "--embeddings", "--jinja",
        "--kv-unified", "--metrics", "--mlock", "--mmap", "--no-cont-batching", "--no-context-shift", "--no-direct-io",
        "--no-host", "--no-jinja", "--no-kv-offload", "--no-kv-unified", "--no-mmap", "--no-models-autoload",
        "--no-perf", "--no-repack", "--no-slots", "--no-ui", "--no-warmup", "--no-webui", "--offline", "--perf",
        "--props", "--rerank", "--reranking", "--reuse-port", "--slots", "--swa-full", "--verbose",
        "-cb", "-cmoe", "-dio", "-e", "-nkvo", "-nocb", "-no-kvu", "-nr", "-v",
    }
)  # fmt: skip
_WORKER_SWITCHES = frozenset({"--cache", "--help", "-h"})


def value_of(arguments: Sequence[str], *flags: str) -> str:
    """Return the value of the first of these flags in a process's command line; empty if there is none."""
    for flag in flags:
        if flag in arguments[:-1]:
            return arguments[arguments.index(flag) + 1]
    return ""


@dataclass(frozen=True)
class Argument:
    """A flag and its value, None for a bare flag. A stray word has an empty flag.

    :param flag: as it was written, underscores as hyphens.
    :param name: the flag's long name.
    """

    flag: str
    name: str
    value: str | None


def _is_flag(word: str) -> bool:
    return word.startswith("-") and len(word) > 1 and not word[1].isdigit()


def _spelled(word: str) -> str:
    return word.replace("_", "-") if word.startswith("--") else word


class CommandLine:
    """The arguments of a command line in their order."""

    def __init__(self, words: Sequence[str], worker: bool = False) -> None:
        self.words = [str(word) for word in words]
        self._synonyms = WORKER_SYNONYMS if worker else SYNONYMS
        switches = _WORKER_SWITCHES if worker else SWITCHES
        found: list[Argument] = []
        for word in self.words:
            if _is_flag(word):
                flag = _spelled(word)
                found.append(Argument(flag, self._synonyms.get(flag, flag), None))
            elif found and found[-1].flag and found[-1].value is None and found[-1].name not in switches:
                found[-1] = Argument(found[-1].flag, found[-1].name, word)
            else:
                found.append(Argument("", "", word))
        self.arguments = found

    def all(self, name: str) -> list[Argument]:
        """List the arguments of this name."""
        return [argument for argument in self.arguments if argument.name == name]

    def has(self, name: str) -> bool:
        """Return whether the flag occurs."""
        return bool(self.all(name))

    def value(self, name: str, default: str = "") -> str:
        """Return the last value, which is the one that counts."""
        values = [argument.value for argument in self.all(name) if argument.value is not None]
        return values[-1] if values else default

    def number(self, name: str, default: int) -> int:
        """Return the value as an integer, or the default if it is none. A rule of its own reports bad values."""
        try:
            return int(self.value(name, str(default)))
        except ValueError:
            return default

    def parts(self, name: str) -> list[str]:
        """List the comma-separated parts of all values of this flag."""
        values = [argument.value for argument in self.all(name) if argument.value]
        return [part for value in values for part in value.split(",") if part]

    def position(self, name: str) -> int:
        """Return the index of the flag's first occurrence; -1 if there is none."""
        return next((index for index, argument in enumerate(self.arguments) if argument.name == name), -1)
