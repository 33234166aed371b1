# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write what each pinned release can load, from its sources: architectures, their required keys, names of tensors.

Usage: python -m tools.engine_architectures b7836=FOLDER 0c1e57098=FOLDER, with the unpacked sources of each release.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TARGET = Path(__file__).parents[1] / "plugins/module_utils/core/models/engine_architectures.py"
HEAD = '''\
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List what each pinned release of the engine can load.

tools/engine_architectures.py writes this file from the sources of the releases: names of architectures and tensors from
src/llama-arch.cpp; required keys from load_hparams of src/llama-model.cpp and from src/models/. Do not edit it.
"""

from __future__ import annotations

from collections.abc import Mapping


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _table(text: str) -> Mapping[str, frozenset[str]]:
    """Read lines of a name and the keys that the release requires for it."""
    return {line.split()[0]: frozenset(line.split()[1:]) for line in text.strip().splitlines()}


'''
# Architectures that the engine names but loads only as a companion of a model.
_NO_MODEL = frozenset(("clip",))
# A call without the argument "required", which is true by default.
_REQUIRED = re.compile(r"ml\.(?:get_key|get_arr|get_arr_n)\((LLM_KV_\w+),\s*[\w.\[\]]+\)")
_REQUIRED_ARRAY = re.compile(r"ml\.get_key_or_arr\((LLM_KV_\w+),\s*[\w.]+,\s*[\w.()]+\)")


@dataclass(frozen=True)
class Sources:
    """The sources of one release."""

    folder: Path

    def text(self, name: str) -> str:
        return (self.folder / "src" / name).read_text(encoding="utf-8")

    def table(self, name: str) -> dict[str, str]:
        """Read a table of src/llama-arch.cpp: enumerators and their texts."""
        text = self.text("llama-arch.cpp")
        begin = text.index(f"{name} = {{")
        return dict(re.findall(r'\{\s*(LLM_\w+),\s*"([^"]*)"', text[begin : text.index("\n};", begin)]))

    def required(self) -> dict[str, set[str]]:
        """Return the required keys of each architecture, by enumerator."""
        if (self.folder / "src" / "models" / "llama.cpp").read_text(encoding="utf-8").count("load_arch_hparams"):
            return self._of_classes()
        return self._of_cases()

    def _of_cases(self) -> dict[str, set[str]]:
        """Read the cases of load_hparams in src/llama-model.cpp."""
        text = self.text("llama-model.cpp")
        begin = text.index("void llama_model::load_hparams")
        body = text[begin : text.index('throw std::runtime_error("unsupported model architecture")', begin)]
        body = body[body.index("// arch-specific KVs") :]
        pieces = re.split(r"\n {8}case (LLM_ARCH_\w+):", body)
        found: dict[str, set[str]] = {}
        below: set[str] = set()
        for name, block in reversed(list(zip(pieces[1::2], pieces[2::2]))):
            # A case without a break continues in the next one.
            falls = not re.search(r"^ {12}(\} ?)?break;", block, re.MULTILINE)
            found[name] = below = set(_unconditional(block)) | (below if falls else set())
        return found

    def _of_classes(self) -> dict[str, set[str]]:
        """Read the classes of src/models, and which class each architecture has."""
        header, found = self.text("models/models.h"), {}
        bodies: dict[str, set[str]] = {}
        for file in sorted((self.folder / "src" / "models").glob("*.cpp")):
            for name, body in re.findall(
                r"void (\w+)::load_arch_hparams\([^)]*\) \{(.*?)\n\}", file.read_text(encoding="utf-8"), re.S
            ):
                bodies[name] = set(_unconditional(f"{{{body}}}"))
        parents = dict(re.findall(r"struct (\w+) : public (\w+)", header))
        mapping = re.findall(r"case (LLM_ARCH_\w+):\s*return new (\w+)\(", self.text("llama-model.cpp"))
        for architecture, name in mapping:
            owner = name
            while owner not in bodies and owner in parents:
                owner = parents[owner]
            found[architecture] = bodies.get(owner, set())
        return found


def _unconditional(block: str) -> Iterator[str]:
    """Yield the keys that a block reads in each case: at its own depth, and not as a condition."""
    depth = 0
    for line in re.sub(r"//[^\n]*", "", block).splitlines():
        plain = line.strip()
        if depth == 1 and plain.startswith("ml.") and "||" not in plain:
            match = _REQUIRED.match(plain) or _REQUIRED_ARRAY.match(plain)
            if match:
                yield match[1]
        depth += line.count("{") - line.count("}")


def tables(folder: Path) -> tuple[dict[str, list[str]], list[str]]:
    """Return the required keys by architecture, and the names of tensors without C(blk.N.)."""
    sources = Sources(folder)
    keys = {name: text.split(".", 1)[-1] for name, text in sources.table("LLM_KV_NAMES").items() if text[:3] == "%s."}
    names = sources.table("LLM_ARCH_NAMES")
    found = {
        names[name]: sorted(keys[key] for key in required if key in keys)
        for name, required in sources.required().items()
        if name in names and names[name] not in _NO_MODEL
    }
    tensors = {re.sub(r"^blk\.%d\.", "", name) for name in sources.table("LLM_TENSOR_NAMES").values()}
    return dict(sorted(found.items())), sorted(tensors)


def written(releases: dict[str, Path]) -> str:
    """Return the text of the file."""
    found = {release: tables(folder) for release, folder in releases.items()}
    text = HEAD + "#: Required keys, without the architecture's name, by release and architecture.\n"
    text += "ARCHITECTURES: Mapping[str, Mapping[str, frozenset[str]]] = {\n"
    for release, (architectures, _tensors) in found.items():
        lines = [" ".join((name, *keys)) for name, keys in architectures.items()]
        text += f'    "{release}": _table("""\n' + "\n".join(map(_wrapped, lines)) + '\n"""),\n'
    text += "}  # fmt: skip\n\n"
    text += "#: Names of tensors, without C(blk.N.) and their suffix, by release.\n"
    text += "TENSORS: Mapping[str, frozenset[str]] = {\n"
    for release, (_architectures, tensors) in found.items():
        lines = textwrap.wrap(" ".join(tensors), 110, break_on_hyphens=False, break_long_words=False)
        text += f'    "{release}": _words("""\n' + "\n".join(lines) + '\n"""),\n'
    return text + "}  # fmt: skip\n"


def _wrapped(line: str) -> str:
    """Break a long line; a backslash at its end joins the lines in the text again."""
    return " \\\n".join(textwrap.wrap(line, 112, break_on_hyphens=False, break_long_words=False))


if __name__ == "__main__":
    TARGET.write_text(written({key: Path(value) for key, _sign, value in (a.partition("=") for a in sys.argv[1:])}))
