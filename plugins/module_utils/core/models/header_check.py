# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check a model's header as a whole: its architecture, its numbers, and their relation to the tensor table.

What is refused here, the engine refuses too, in every pinned release. What only one release refuses is in
core/placement/engine_limits.py. Companions of a
model (projector, adapter, importance matrix, vocabulary, draft) lie beside it under any name, so the header tells.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from ..errors import InvalidInputError
from . import header_keys
from .engine_architectures import ARCHITECTURES, TENSORS
from .gguf import ArraySummary, Header, Tensor
from .gguf_types import padded
from .header_keys import REMEDY

#: Most problems of one file that are reported.
MOST = 20
_ARCHITECTURE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_BLOCK = re.compile(r"blk\.([0-9]{1,6})\.(.+)", re.DOTALL)
#: Prefixes of an encoder and a decoder, each with layers of its own.
_STACK = re.compile(r"(enc\.|dec\.)?blk\.([0-9]{1,6})\..+", re.DOTALL)
#: Prefixes of the layers of architectures that have others than one row of C(blk.N).
_STACKS: Mapping[str, tuple[str, ...]] = {"t5": ("enc.", "dec."), "t5encoder": ("enc.",), "wavtokenizer-dec": ()}
#: Keys of the width of the embeddings, for architectures whose embedding_length is that of the output.
_WIDTHS: Mapping[str, str] = {"wavtokenizer-dec": "features_length"}
_KNOWN_TENSORS = frozenset().union(*TENSORS.values())
_KNOWN_ARCHITECTURES = frozenset().union(*ARCHITECTURES.values())
_INDEX = re.compile(r"\.[0-9]+(?=\.|$)")
#: Tensors of a vision or audio tower, as in files for other programs.
_TOWER = re.compile(r"(v|a|mm|mm_model|vision|audio|resampler|v_model)\.")
#: Architectures whose keys and values are one matrix each for all heads (create_tensor_qkv in src/llama-model.cpp).
_PLAIN_ATTENTION = frozenset((
    "llama", "mistral3", "qwen2", "qwen2moe", "qwen3", "qwen3moe", "gemma", "gemma2", "gemma3", "gpt-oss", "granite",
    "granitemoe", "olmo2", "command-r", "cohere2", "starcoder2", "internlm2", "exaone", "exaone4", "glm4", "glm4moe",
    "nemotron", "smollm3", "seed_oss", "hunyuan-dense", "ernie4_5", "llama4", "stablelm",
))  # fmt: skip
#: Fewest layers with a cache that others share: one with a window and one without.
_FEWEST_SOURCES = 2
#: Keys without which no plan can be computed, beside those that each release requires of an architecture.
_NEEDED = ("block_count", "embedding_length")

#: general.type of files that are no models.
_TYPES: Mapping[str, str] = {
    "adapter": "an adapter (LoRA)",
    "imatrix": "an importance matrix",
    "mmproj": "a projector for pictures or sound",
    "vocab": "a vocabulary without weights",
}
_COMPANIONS: Mapping[str, str] = {
    "clip": "a projector for pictures or sound",
    "controlvector": "a control vector",
    "eagle3": "a draft model",
    "dflash": "a draft model",
    "gemma4-assistant": "a draft model",
}
_EMBEDDING = (
    "bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "jina-bert-v2", "jina-bert-v3", "eurobert",
    "gemma-embedding", "llama-embed", "t5encoder",
)  # fmt: skip
_SPEECH = ("wavtokenizer-dec", "qwen3tts", "pockettts")


def require(header: Header) -> None:
    """Raise the first error of a header of which no plan can be computed, or which no release would load."""
    for error in errors_of(header):
        raise error


def problems(header: Header) -> list[str]:
    """List everything in a header that cannot be, as sentences.

    Of a companion of a model, which has keys of its own, only the general parts are checked.
    """
    return [*header.problems, *refusals(header)]


def refusals(header: Header) -> list[str]:
    """List the reasons why the engine would refuse a model, as sentences; none for a companion of a model."""
    found: list[str] = []
    if companion(header.metadata, len(header.tensors)):
        return found
    for number, error in enumerate(errors_of(header)):
        if number == MOST:
            found.append(f"more than {MOST} problems; the others are not listed.")
            break
        found.append(str(error))
    return found


def spare_bytes(header: Header) -> int:
    """Return the bytes of one file behind its last tensor and that tensor's padding; 0 for none."""
    return max(0, header.file_size - padded(header.data_end, header.alignment))


def length_difference(header: Header, is_joined: bool) -> int:
    """Return the bytes that one file has too many, or as a negative number, those that it lacks.

    :param is_joined: whether the file was joined from parts, and so must end where its header says. The engine ignores
        bytes at the end of other files.
    """
    if not header.is_whole:
        return header.file_size - header.data_end
    return spare_bytes(header) if is_joined else 0


def errors_of(header: Header) -> Iterator[InvalidInputError]:
    """Yield the errors of a header; those that later checks depend on end the search."""
    beside = companion(header.metadata, len(header.tensors))
    if beside:
        yield InvalidInputError("a model for answers", beside, "choose a language model's file")
        return
    error = architecture_error(header.metadata.get("general.architecture"))
    if error:
        yield error
        return
    architecture = str(header.metadata["general.architecture"])
    found = list(_key_errors(header, architecture))
    yield from found
    if found:
        return
    yield from _relation_errors(header, architecture)
    yield from _tensor_errors(header, architecture)


def architecture_error(value: object) -> InvalidInputError | None:
    """Return the error of a name that cannot be an architecture's; None without one."""
    if value is None or value == "":
        return InvalidInputError("a GGUF file with general.architecture", "none", "choose a language model's file")
    if not isinstance(value, str) or not _ARCHITECTURE.fullmatch(value):
        return InvalidInputError(
            "general.architecture as a word of letters, digits, dots, hyphens and underscores",
            f"general.architecture of {str(value)[:64]!r}",
            REMEDY,
        )
    return None


def _key_errors(header: Header, architecture: str) -> Iterator[InvalidInputError]:
    """Yield errors of single keys: missing ones, types and ranges."""
    metadata = header.metadata
    count = metadata.get(f"{architecture}.block_count")
    layers = count if isinstance(count, int) else 0
    releases = [keys[architecture] for keys in ARCHITECTURES.values() if architecture in keys]
    required = frozenset.intersection(*releases) if releases else frozenset[str]()
    for key in (*_NEEDED, *sorted(required & set(header_keys.KEYS))):
        if f"{architecture}.{key}" not in metadata:
            yield InvalidInputError(
                f"{architecture}.{key} in the file's header", f"none ({key})", "choose a language model's file"
            )
    for key in (*header_keys.KEYS, *header_keys.FRACTIONS):
        name = f"{architecture}.{key}"
        if name in metadata:
            try:
                header_keys.check(architecture, key, metadata[name], layers, header.types.get(name, ""))
            except InvalidInputError as error:
                yield error
                if key == "block_count":
                    return


def _largest(header: Header, name: str, default: int = 0) -> int:
    """Return a checked number, or the largest one of an array."""
    value = header.metadata.get(name, default)
    if isinstance(value, tuple):
        return max((int(entry) for entry in value), default=0)
    return int(value) if isinstance(value, (int, float)) else default


def _relation_errors(header: Header, architecture: str) -> Iterator[InvalidInputError]:
    """Yield contradictions between keys."""

    def number(key: str, default: int = 0) -> int:
        return _largest(header, f"{architecture}.{key}", default)

    layers, extra = number("block_count"), number("nextn_predict_layers")
    yield from _layer_count_errors(header, architecture, layers)
    if extra >= layers:
        yield InvalidInputError(
            f"{architecture}.nextn_predict_layers below the block_count {layers}",
            f"nextn_predict_layers of {extra}",
            REMEDY,
        )
    experts, used = number("expert_count"), number("expert_used_count")
    if used > experts:
        yield InvalidInputError(
            f"{architecture}.expert_used_count of at most the expert_count {experts}",
            f"expert_used_count of {used}",
            REMEDY,
        )
    heads, width = number("attention.head_count"), number("embedding_length")
    for key in ("attention.key_length", "attention.value_length"):
        if heads and not number(key, width // heads):
            yield InvalidInputError(
                f"heads of at least one element ({architecture}.{key}, or else embedding_length {width} divided by "
                f"head_count {heads})",
                f"{key} of 0",
                REMEDY,
            )
    for error in _head_errors(header, architecture, layers):
        yield error
        return
    if number("attention.kv_lora_rank") and not heads:
        yield InvalidInputError(
            f"{architecture}.attention.head_count beside kv_lora_rank", f"head_count of {heads}", REMEDY
        )


def _layer_count_errors(header: Header, architecture: str, layers: int) -> Iterator[InvalidInputError]:
    """Yield counts of layers that contradict the block_count, for architectures whose engine relates them."""

    def number(key: str, default: int = 0) -> int:
        return _largest(header, f"{architecture}.{key}", default)

    if architecture == "hrm_text":
        stack, high, low = (number(f"hrm.{key}") for key in ("layers_per_stack", "h_cycles", "l_cycles"))
        passes = high * (low + 1)
        if layers != stack * passes:
            yield InvalidInputError(
                f"hrm_text.block_count of {stack * passes}: hrm.layers_per_stack {stack} x hrm.h_cycles {high} "
                f"x (hrm.l_cycles {low} + 1)",
                f"block_count of {layers}",
                REMEDY,
            )
    # The engine gives devices and caches to as many layers as the block_count says (t5.cpp, gemma4.cpp).
    for name, key, most in (
        ("t5", "decoder_block_count", layers),
        ("gemma4", "attention.shared_kv_layers", max(layers - _FEWEST_SOURCES, 0)),
    ):
        if architecture == name and number(key) > most:
            yield InvalidInputError(
                f"{name}.{key} of at most {most} beside the block_count {layers}",
                f"{key} of {number(key)}",
                REMEDY,
            )


def _by_layer(header: Header, name: str, layers: int, default: Sequence[int]) -> Sequence[int]:
    value = header.metadata.get(name)
    if value is None:
        return default
    return [int(entry) for entry in value] if isinstance(value, tuple) else [_largest(header, name)] * layers


def _head_errors(header: Header, architecture: str, layers: int) -> Iterator[InvalidInputError]:
    """Yield layers whose queries cannot share their keys and values."""
    heads = _by_layer(header, f"{architecture}.attention.head_count", layers, [0] * layers)
    kv_heads = _by_layer(header, f"{architecture}.attention.head_count_kv", layers, heads)
    for layer, (queries, keys) in enumerate(zip(heads, kv_heads)):
        if queries and keys and queries % keys:
            yield InvalidInputError(
                f"{architecture}.attention.head_count_kv to divide the head_count {queries} of layer {layer}",
                f"head_count_kv of {keys}",
                REMEDY,
            )


def _tensor_errors(header: Header, architecture: str) -> Iterator[InvalidInputError]:
    """Yield contradictions between keys and the tensor table."""
    layers = _largest(header, f"{architecture}.block_count")
    tensors = {tensor.name: tensor for tensor in header.tensors}
    yield from _block_errors(header, architecture, layers)
    yield from _expert_errors(header, architecture, layers)
    yield from _foreign_tensors(header, architecture)
    yield from _embedding_errors(header, architecture, tensors)
    if architecture in _PLAIN_ATTENTION:
        yield from _attention_errors(header, architecture, layers, tensors)


def _block_errors(header: Header, architecture: str, layers: int) -> Iterator[InvalidInputError]:
    """Yield layers that the header does not count, or that have no tensors."""
    stacks = _STACKS.get(architecture, ("",))
    present: dict[str, set[int]] = {stack: set() for stack in stacks}
    for tensor in header.tensors:
        block = _STACK.fullmatch(tensor.name)
        if block is None and (tensor.name == "blk" or tensor.name.startswith("blk.")):
            yield InvalidInputError(
                "names of a layer's tensors as blk.NUMBER.NAME", f"the tensor {tensor.name!r}", REMEDY
            )
            return
        if block:
            present.setdefault(block[1] or "", set()).add(int(block[2]))
    for stack, numbers in present.items():
        count, trunk, source = _stored(header, architecture, stack, layers)
        expected = f"tensors of {{}} layers, as {architecture}.{source} says"
        if numbers and max(numbers) >= count:
            yield InvalidInputError(expected.format(count), f"tensors of layer {stack}blk.{max(numbers)}", REMEDY)
            return
        missing = (
            layer for layer in range(trunk) if layer not in numbers and not _is_empty(header, architecture, layer)
        )
        for layer in missing:
            yield InvalidInputError(
                expected.format(trunk),
                f"none of layer {stack}blk.{layer}",
                "fetch the whole model, or choose another file",
            )
            return


def _stored(header: Header, architecture: str, stack: str, layers: int) -> tuple[int, int, str]:
    """Return how many layers of a stack may have tensors, how many must, and the key that says so with its value."""
    if architecture == "hrm_text":
        # All passes through a low and a high stack use the same tensors, and each pass counts in the block_count.
        each = _largest(header, "hrm_text.hrm.layers_per_stack")
        return 2 * each, 2 * each, f"hrm.layers_per_stack of {each}"
    if stack == "dec.":
        count = _largest(header, f"{architecture}.decoder_block_count", layers)
        return count, count, f"decoder_block_count of {count}"
    return layers, layers - _largest(header, f"{architecture}.nextn_predict_layers"), f"block_count of {layers}"


def _expert_errors(header: Header, architecture: str, layers: int) -> Iterator[InvalidInputError]:
    """Yield the first layer that has experts, of which the header says that none is used."""
    used = _by_layer(header, f"{architecture}.expert_used_count", layers, [0] * layers)
    for tensor in header.tensors:
        block = _BLOCK.fullmatch(tensor.name)
        if block and "_exps." in tensor.name and int(block[1]) < layers and not used[int(block[1])]:
            yield InvalidInputError(
                f"{architecture}.expert_used_count of at least 1 for {tensor.name}", "expert_used_count of 0", REMEDY
            )
            return


def _is_empty(header: Header, architecture: str, layer: int) -> bool:
    """Return whether the header says that a layer has neither heads nor a feed-forward block."""
    heads = header.metadata.get(f"{architecture}.attention.head_count")
    inner = header.metadata.get(f"{architecture}.feed_forward_length")
    given = [value for value in (heads, inner) if isinstance(value, tuple)]
    return len(given) == 2 and not any(value[layer] for value in given)


def _foreign_tensors(header: Header, architecture: str) -> Iterator[InvalidInputError]:
    """Yield the tensors that no release knows; the engine loads a file only if it knows all of them."""
    foreign = [tensor.name for tensor in header.tensors if _is_foreign(tensor.name, architecture)]
    if not foreign:
        return
    remedy = REMEDY
    if _TOWER.match(foreign[0]):
        remedy = (
            "fetch the model without its vision or audio tower; the engine reads that from a file of its own (mmproj)"
        )
    more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
    yield InvalidInputError(
        f"tensors that the engine knows for {architecture}", f"the tensor {foreign[0]}{more}", remedy
    )


def _is_foreign(name: str, architecture: str) -> bool:
    if _TOWER.match(name):
        return True
    if architecture not in _KNOWN_ARCHITECTURES:
        return False
    block = _BLOCK.fullmatch(name)
    plain = _INDEX.sub(".%d", block[2] if block else name)
    # The last word is a suffix such as weight, bias or scale; some names have none.
    return plain not in _KNOWN_TENSORS and plain.rpartition(".")[0] not in _KNOWN_TENSORS


def _embedding_errors(header: Header, architecture: str, tensors: Mapping[str, Tensor]) -> Iterator[InvalidInputError]:
    embeddings = tensors.get("token_embd.weight")
    if embeddings is None:
        yield InvalidInputError(
            "a file with token_embd.weight, as every language model has",
            f"{len(header.tensors)} tensors without it",
            "name the model's first shard, or another file",
        )
        return
    key = _WIDTHS.get(architecture, "embedding_length")
    width = _largest(header, f"{architecture}.{key}")
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    count = tokens.length if isinstance(tokens, ArraySummary) else 0
    if len(embeddings.shape) != 2 or embeddings.shape[0] != width or count not in (0, embeddings.shape[1]):
        yield InvalidInputError(
            f"token_embd.weight of {width} ({key}) x {count or 'the number of tokens'} weights",
            f"token_embd.weight of {' x '.join(map(str, embeddings.shape))}",
            REMEDY,
        )


def _attention_errors(
    header: Header, architecture: str, layers: int, tensors: Mapping[str, Tensor]
) -> Iterator[InvalidInputError]:
    """Yield the first layer whose queries, keys or values have another size than the heads in the header."""
    heads = _by_layer(header, f"{architecture}.attention.head_count", layers, [0] * layers)
    kv_heads = _by_layer(header, f"{architecture}.attention.head_count_kv", layers, heads)
    width = _largest(header, f"{architecture}.embedding_length")
    default = width // max(*heads, 1)
    for name, key, count in (
        ("attn_q", "attention.key_length", heads),
        ("attn_k", "attention.key_length", kv_heads),
        ("attn_v", "attention.value_length", kv_heads),
    ):
        size = _largest(header, f"{architecture}.{key}", default)
        sizes = {size, _largest(header, f"{architecture}.{key}_swa", size)}
        for layer in range(layers):
            tensor = tensors.get(f"blk.{layer}.{name}.weight")
            if tensor is None or not kv_heads[layer] or not heads[layer]:
                continue
            if not any(tensor.shape[1:] == (count[layer] * each,) for each in sizes):
                yield InvalidInputError(
                    f"blk.{layer}.{name}.weight for {count[layer]} heads of {size} ({key})",
                    f"one of {' x '.join(map(str, tensor.shape))}",
                    REMEDY,
                )
                return


def companion(metadata: Mapping[str, object], tensors: int) -> str:
    """Return what a file is that accompanies a model; empty for a model.

    :param tensors: number of tensors in the file.
    """
    kind, architecture = metadata.get("general.type"), metadata.get("general.architecture")
    if kind in _TYPES:
        return _TYPES[str(kind)]
    if architecture in _COMPANIONS:
        return _COMPANIONS[str(architecture)]
    if "adapter.type" in metadata:
        return _TYPES["adapter"]
    if "imatrix.chunk_count" in metadata:
        return _TYPES["imatrix"]
    return _TYPES["vocab"] if not tensors and "tokenizer.ggml.model" in metadata else ""


def purpose(metadata: Mapping[str, object]) -> str:
    """Return what a model is for that does not generate text; empty for a model that does."""
    architecture = metadata.get("general.architecture")
    if architecture in _SPEECH:
        return "a model for speech"
    # A model that pools its outputs gives one vector or one score for a text.
    pooling = metadata.get(f"{architecture}.pooling_type")
    if architecture in _EMBEDDING or (isinstance(pooling, int) and pooling > 0):
        return "an embedding or reranking model"
    return ""
