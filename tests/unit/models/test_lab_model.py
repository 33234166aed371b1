# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's model is valid for an independent reader, always has the same bytes, and matches the inventory.

The engine's vocabulary is not in this repository, so most tests use a small one of the same form, written
with the reference implementation (gguf). The real one is read from the cached sources, if they exist.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import gguf
import pytest
import yaml

from ansible_collections.herd.inference.plugins.module_utils.core.models.metadata import from_data
from tests.models import lab_model
from tests.models.gguf_writer import ALIGNMENT
from tests.models.lab_model import LAB, TINY, Vocabulary

ROOT = Path(__file__).parents[3]
WORDS = ["<unk>", "<s>", "</s>", "\u2581hello", "\u2581wor1d", "\u2581a", "ville", ".", "<0x0A>"]


@pytest.fixture(scope="module")
def vocabulary_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vocabulary") / "small.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("llama")
    writer.add_token_list(WORDS)
    writer.add_token_scores([-float(index) for index in range(len(WORDS))])
    writer.add_token_types([2, 3, 3, 1, 1, 1, 1, 1, 6])
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_chat_template("not this one")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def vocabulary(vocabulary_file: Path) -> Vocabulary:
    return lab_model.read_vocabulary(vocabulary_file.read_bytes())


def test_independent_reader_finds_the_written_fields_and_tensors(vocabulary: Vocabulary, tmp_path: Path) -> None:
    facts: dict[str, Any] = lab_model.write(TINY, vocabulary, tmp_path)
    whole = tmp_path / "whole.gguf"
    whole.write_bytes(b"".join((tmp_path / part["file"]).read_bytes() for part in facts["parts"]))
    reader = gguf.GGUFReader(whole)

    def content(name: str) -> Any:
        field = reader.get_field(name)
        assert field is not None, name
        return field.contents()

    assert content("llama.block_count") == TINY.layers
    assert content("tokenizer.ggml.tokens") == WORDS
    assert content("tokenizer.ggml.eos_token_id") == 2
    assert content("tokenizer.chat_template") == lab_model.CHAT_TEMPLATE
    assert len(reader.tensors) == 3 + 9 * TINY.layers
    last = reader.tensors[-1]
    assert last.data_offset + last.n_bytes <= facts["size"] < last.data_offset + last.n_bytes + ALIGNMENT
    output = next(tensor for tensor in reader.tensors if tensor.name == "output.weight")
    speaks = [bool(row.any()) for row in output.data]
    assert speaks == [word in ("\u2581hello", "\u2581a", ".") for word in WORDS]
    for tensor in reader.tensors:
        if tensor.tensor_type == gguf.GGMLQuantizationType.F16 and tensor.name != "output.weight":
            assert 0.3 < tensor.data.astype("float32").std() * float(tensor.shape[0]) ** 0.5 < 3


def test_facts_describe_the_parts(vocabulary: Vocabulary, tmp_path: Path) -> None:
    facts: dict[str, Any] = lab_model.write(TINY, vocabulary, tmp_path)
    assert facts == json.loads((tmp_path / "tiny-llama.json").read_text())
    contents = [(tmp_path / part["file"]).read_bytes() for part in facts["parts"]]
    assert [len(content) for content in contents] == [part["size"] for part in facts["parts"]]
    assert [hashlib.sha256(content).hexdigest() for content in contents] == [p["sha256"] for p in facts["parts"]]
    assert hashlib.sha256(b"".join(contents)).hexdigest() == facts["sha256"]
    assert facts["parts"][0]["size"] % 2 == 1


def test_generated_bytes_never_change(vocabulary: Vocabulary) -> None:
    """If this fails, every published checksum of the lab's model is wrong too."""
    digest = hashlib.sha256()
    for piece in lab_model.generate(TINY, vocabulary):
        digest.update(piece)
    assert digest.hexdigest() == "0c25a2503711ce17bb407e62c083ab8e967875659d3aa499d757c4cb8e29cf3a"


def test_foreign_vocabulary_is_refused(vocabulary_file: Path) -> None:
    with pytest.raises(ValueError, match="expected the vocabulary with sha256"):
        lab_model.load_vocabulary(vocabulary_file)


def test_lab_inventory_names_a_model_of_the_right_dimensions() -> None:
    facts = inventory_facts()
    assert (facts["name"], facts["layers"]) == (LAB.name, LAB.layers)
    assert sum(part["size"] for part in facts["source"]["parts"]) == facts["size"]
    assert len(facts["source"]["parts"]) == LAB.parts


def test_lab_inventory_matches_the_generated_model() -> None:
    """Compare the generator's last facts with the inventory; generate the model if the sources exist."""
    vocab = os.environ.get("HERD_VOCAB")
    made = lab_model.cache_dir() / lab_model.key(LAB) / "lab-llama.json"
    if not made.exists() and not vocab:
        pytest.skip("the lab's model is not on this machine; HERD_VOCAB names the engine's vocabulary or source")
    if not made.exists():
        lab_model.cached(LAB, Path(str(vocab)))
    facts, written = inventory_facts(), json.loads(made.read_text())
    parts = [
        {"file": p["url"].rsplit("/", 1)[1], "size": p["size"], "sha256": p["sha256"]} for p in facts["source"]["parts"]
    ]
    del facts["metadata"]
    assert {**facts, "parts": parts} == {**written, "source": facts["source"]}


def test_lab_inventory_holds_the_metadata_of_the_model() -> None:
    """Compare all metadata but the header's length, since the vocabulary is not in this repository."""
    metadata = from_data(inventory_facts()["metadata"])
    assert (metadata.architecture, len(metadata.layers), metadata.width) == (
        "llama",
        LAB.layers,
        LAB.width,
    )
    assert metadata.file_size == inventory_facts()["size"]
    assert {(layer.heads, layer.kv_heads, layer.inner) for layer in metadata.layers} == {
        (LAB.heads, LAB.kv_heads, LAB.feed_forward)
    }
    weights = sum(layer.weights for layer in metadata.layers) + metadata.output + metadata.local
    assert metadata.file_size == metadata.header + weights


def inventory_facts() -> dict[str, Any]:
    path = ROOT / "inventory" / "lab" / "group_vars" / "all" / "models.yml"
    facts: dict[str, Any] = yaml.safe_load(path.read_text())["herd_models"]["lab-llama"]
    return facts
