# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List the engine's flags and variables that change memory, and reject those that no plan sees.

A flag is planned if a setting writes it. The flags and variables are those of common/arg.cpp of b7836 and 0c1e57098;
further variables are read in ggml-cuda.cu, ggml-backend.cpp, llama-kv-cache.cpp and clip.cpp.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ...errors import InvalidInputError
from ..command_line import CommandLine

#: What to do with a flag that no setting writes.
_REMOVE = "remove it: no plan knows its memory"


@dataclass(frozen=True)
class MemoryFlag:
    """A flag of the engine that changes memory.

    :param names: all its names in both releases, separated by blanks.
    :param effect: the memory that it changes.
    :param setting: the setting that is planned and writes the flag; empty if there is none.
    :param variables: its environment variables, separated by blanks.
    """

    names: str
    effect: str
    setting: str = ""
    variables: str = ""

    @property
    def advice(self) -> str:
        """What to write instead."""
        return f"write {self.setting} into the settings" if self.setting else _REMOVE


_VARIABLE = "LLAMA_ARG_"
_NEGATED = "LLAMA_ARG_NO_"


def _flag(names: str, effect: str, setting: str = "", variables: str = "") -> MemoryFlag:
    return MemoryFlag(names, effect, setting, " ".join(_VARIABLE + word for word in variables.split()))


FLAGS: tuple[MemoryFlag, ...] = (
    # Cache and batches.
    _flag("-c --ctx-size", "the cache's cells", "context", "CTX_SIZE"),
    _flag("-np --parallel", "the slots that share or divide the cache", "slots", "N_PARALLEL"),
    _flag("-b --batch-size", "the batch, and rows of the output", "batch", "BATCH"),
    _flag("-ub --ubatch-size", "the micro-batch, to which compute buffers are proportional", "ubatch", "UBATCH"),
    _flag("-ctk --cache-type-k", "bytes of a key", "cache_type_k", "CACHE_TYPE_K"),
    _flag("-ctv --cache-type-v", "bytes of a value", "cache_type_v", "CACHE_TYPE_V"),
    _flag("-fa --flash-attn", "scores and masks", "flash_attention", "FLASH_ATTN"),
    _flag(
        "-kvu --kv-unified -no-kvu --no-kv-unified", "streams of the cache", "unified_cache",
        "KV_UNIFIED",
    ),
    _flag("--kv-unified-per-slot", "the context of a slot", "context and unified_cache", "KV_UNIFIED_PER_SLOT"),
    _flag("--swa-full", "cells of windowed layers", "full_window", "SWA_FULL"),
    _flag("-cram --cache-ram", "prompts that the head keeps in memory", "cache_ram_mib", "CACHE_RAM"),
    _flag(
        "-ctxcp --ctx-checkpoints --swa-checkpoints", "checkpoints in the head's memory", "", "CTX_CHECKPOINTS",
    ),
    _flag("-cms --checkpoint-min-step", "checkpoints in the head's memory", "", "CHECKPOINT_MIN_SPACING_NT"),
    _flag(
        "--cache-idle-slots --no-cache-idle-slots", "prompts that the head keeps in memory", "",
        "CACHE_IDLE_SLOTS",
    ),
    _flag(
        "--context-shift --no-context-shift", "a copy of the keys in single precision when the cache is shifted", "",
        "CONTEXT_SHIFT",
    ),
    _flag("--cache-reuse", "a copy of the keys in single precision when the cache is shifted", "", "CACHE_REUSE"),
    _flag(
        "-kvo --kv-offload -nkvo --no-kv-offload", "the place of the cache, and copies of inputs", "",
        "KV_OFFLOAD",
    ),
    # Weights and their places.
    _flag("-m --model", "the model", "the model's entry of herd_models", "MODEL"),
    _flag("-mu --model-url", "the model", "the model's entry of herd_models", "MODEL_URL"),
    _flag("-dr --docker-repo", "the model", "the model's entry of herd_models", "DOCKER_REPO"),
    _flag("-hf -hfr --hf-repo", "the model", "the model's entry of herd_models", "HF_REPO"),
    _flag("-hff --hf-file", "the model", "the model's entry of herd_models", "HF_FILE"),
    _flag("--rpc", "the devices", "the group rpc_worker of the inventory", "RPC"),
    _flag("-dev --device", "the devices", "the groups and herd_gpus of the inventory", "DEVICE"),
    _flag("-ts --tensor-split", "layers on devices", "head_server_tensor_split", "TENSOR_SPLIT"),
    _flag("-sm --split-mode", "the place of weights", "split_mode", "SPLIT_MODE"),
    _flag("-mg --main-gpu", "the place of weights", "", "MAIN_GPU"),
    _flag("-ngl --gpu-layers --n-gpu-layers", "layers on devices", "gpu_layers", "N_GPU_LAYERS"),
    _flag("-ot --override-tensor", "the place of weights", "", "OVERRIDE_TENSOR"),
    _flag("-cmoe --cpu-moe", "the place of experts", "", "CPU_MOE"),
    _flag("-ncmoe --n-cpu-moe", "the place of experts", "", "N_CPU_MOE"),
    _flag("-ncffn --n-cpu-ffn", "the place of feed-forward blocks", "", "N_CPU_FFN"),
    _flag("-lm --load-mode", "the head's copy of the weights", "load_mode", "LOAD_MODE"),
    _flag("--mlock", "the head's copy of the weights", "load_mode", "MLOCK"),
    _flag("--mmap --no-mmap", "the head's copy of the weights", "load_mode", "MMAP"),
    _flag(
        "-dio --direct-io -ndio --no-direct-io", "the head's copy of the weights", "load_mode", "DIO",
    ),
    _flag("-lzm --lazy-mode", "tensors that the head keeps in memory", "", "LAZY_MODE"),
    _flag("--repack -nr --no-repack", "a second copy of weights on a processor", "", "REPACK"),
    _flag("--no-host", "buffers of weights on the host", "", "NO_HOST"),
    _flag("--op-offload --no-op-offload", "copies of weights on a device for large batches"),
    _flag("--override-kv", "the model's dimensions"),
    _flag("-fit --fit", "everything that is not set", "nothing, as placement is planned", "FIT"),
    _flag("-fitt --fit-target", "everything that is not set", "", "FIT_TARGET"),
    _flag("-fitc --fit-ctx", "the context", "context", "FIT_CTX"),
    # Further models.
    _flag("-mm --mmproj", "a projector on the first device", "projector", "MMPROJ"),
    _flag("-mmu --mmproj-url", "a projector on the first device", "projector", "MMPROJ_URL"),
    _flag(
        "--mmproj-auto --no-mmproj --no-mmproj-auto", "a projector on the first device", "projector",
        "MMPROJ_AUTO",
    ),
    _flag(
        "--mmproj-offload --no-mmproj-offload", "the place of the projector", "projector",
        "MMPROJ_OFFLOAD",
    ),
    _flag("-mmdev --mmproj-device", "the place of the projector", "projector"),
    _flag("--image-min-tokens", "the projector's compute buffer", "", "IMAGE_MIN_TOKENS"),
    _flag("--image-max-tokens", "the projector's compute buffer", "", "IMAGE_MAX_TOKENS"),
    _flag("--mtmd-batch-max-tokens", "the projector's compute buffer", "", "MTMD_BATCH_MAX_TOKENS"),
    _flag("--lora", "an adapter beside each layer", "adapters"),
    _flag("--lora-scaled", "an adapter beside each layer", "adapters"),
    _flag("--control-vector", "a vector beside each layer"),
    _flag("--control-vector-scaled", "a vector beside each layer"),
    _flag("--control-vector-layer-range", "a vector beside each layer"),
    _flag("-mv --model-vocoder", "a second model"),
    _flag("-hfv -hfrv --hf-repo-v", "a second model", "", "HF_REPO_V"),
    _flag("-hffv --hf-file-v", "a second model", "", "HF_FILE_V"),
    # Speculation.
    _flag(
        "-md --model-draft --spec-draft-model", "a second model with a cache of its own", "speculation",
        "MODEL_DRAFT SPEC_DRAFT_MODEL",
    ),
    _flag(
        "--spec-draft-hf -hfd -hfrd --hf-repo-draft", "a second model with a cache of its own", "speculation",
        "HFD_REPO SPEC_DRAFT_HF_REPO",
    ),
    _flag("--spec-type", "rows of the output, and a second model", "speculation", "SPEC_TYPE"),
    _flag("--spec-default", "rows of the output", "speculation"),
    _flag("--draft --draft-n --draft-max --spec-draft-n-max", "rows of the output", "speculation",
          "DRAFT_MAX SPEC_DRAFT_N_MAX"),
    _flag("-cd --ctx-size-draft", "the draft's cache", "speculation", "CTX_SIZE_DRAFT"),
    _flag("-devd --device-draft --spec-draft-device", "the place of the draft", "speculation"),
    _flag(
        "-ngld --gpu-layers-draft --n-gpu-layers-draft --spec-draft-ngl", "the place of the draft", "speculation",
        "N_GPU_LAYERS_DRAFT",
    ),
    _flag(
        "-ctkd --cache-type-k-draft --spec-draft-type-k", "the draft's cache", "speculation",
        "CACHE_TYPE_K_DRAFT SPEC_DRAFT_CACHE_TYPE_K",
    ),
    _flag(
        "-ctvd --cache-type-v-draft --spec-draft-type-v", "the draft's cache", "speculation",
        "CACHE_TYPE_V_DRAFT SPEC_DRAFT_CACHE_TYPE_V",
    ),
    _flag("-otd --override-tensor-draft --spec-draft-override-tensor", "the place of the draft"),
    _flag("-cmoed --cpu-moe-draft --spec-draft-cpu-moe", "the place of the draft", "",
          "CPU_MOE_DRAFT SPEC_DRAFT_CPU_MOE"),
    _flag(
        "-ncmoed --n-cpu-moe-draft --spec-draft-n-cpu-moe --spec-draft-ncmoe", "the place of the draft", "",
        "N_CPU_MOE_DRAFT SPEC_DRAFT_N_CPU_MOE",
    ),
    _flag(
        "--spec-draft-backend-sampling --no-spec-draft-backend-sampling", "the draft's compute buffer", "",
        "SPEC_DRAFT_BACKEND_SAMPLING",
    ),
    _flag("--spec-ngram-mod-n-max", "rows of the output", "speculation"),
    _flag("--spec-ngram-mod-n-min", "rows of the output", "speculation"),
    _flag("--spec-ngram-mod-n-match", "the head's table", "speculation"),
    _flag("--spec-ngram-simple-size-n", "the head's table", "speculation"),
    _flag("--spec-ngram-simple-size-m", "rows of the output", "speculation"),
    _flag("--spec-ngram-map-k-size-n", "the head's table", "speculation"),
    _flag("--spec-ngram-map-k-size-m", "rows of the output", "speculation"),
    _flag("--spec-ngram-map-k4v-size-n", "the head's table", "speculation"),
    _flag("--spec-ngram-map-k4v-size-m", "rows of the output", "speculation"),
    _flag("-lcs --lookup-cache-static", "a table in the head's memory"),
    _flag("-lcd --lookup-cache-dynamic", "a table in the head's memory"),
    # Other graphs.
    _flag("--embedding --embeddings", "an output for every token of the micro-batch", "", "EMBEDDINGS"),
    _flag("--rerank --reranking", "an output for every token of the micro-batch", "", "RERANKING"),
    _flag("--pooling", "an output for every token of the micro-batch", "", "POOLING"),
    _flag("-bs --backend-sampling", "samplers in the compute buffer", "", "BACKEND_SAMPLING"),
    # Models with settings of their own.
    *(
        _flag(names, "the model and its context", "the model's entry of herd_models")
        for names in (
            "--embd-gemma-default", "--fim-qwen-1.5b-default", "--fim-qwen-3b-default", "--fim-qwen-7b-default",
            "--fim-qwen-7b-spec", "--fim-qwen-14b-spec", "--fim-qwen-30b-default", "--gpt-oss-20b-default",
            "--gpt-oss-120b-default", "--vision-gemma-4b-default", "--vision-gemma-12b-default",
        )
    ),
    *(
        _flag(names, "the models in memory", "the role of the router", variables)
        for names, variables in (
            ("--models-dir", "MODELS_DIR"), ("--models-preset", "MODELS_PRESET"), ("--models-max", "MODELS_MAX"),
            ("--models-autoload --no-models-autoload", "MODELS_AUTOLOAD"),
        )
    ),
)  # fmt: skip
#: Other variables that change memory, with their effect.
VARIABLES: Mapping[str, str] = {
    "GGML_CUDA_ALLREDUCE": "buffers of tensor parallelism",
    "GGML_CUDA_CUBLAS_COMPUTE_TYPE": "scratch memory of matrix products",
    "GGML_CUDA_DEVICES": "the devices",
    "GGML_CUDA_ENABLE_UNIFIED_MEMORY": "the place of all buffers",
    "GGML_CUDA_NO_PINNED": "the head's pinned memory",
    "GGML_CUDA_REGISTER_HOST": "the head's pinned memory",
    "GGML_OP_OFFLOAD_MIN_BATCH": "copies of weights on a device",
    "LLAMA_ATTN_ROT_DISABLE": "rotation matrices of a quantised cache",
    "MTMD_BACKEND_DEVICE": "the place of the projector",
}
_BY_NAME = {name: flag for flag in FLAGS for name in flag.names.split()}
_BY_VARIABLE = {name: flag for flag in FLAGS for name in flag.variables.split()}


def flag_named(name: str) -> MemoryFlag | None:
    """Return the flag of any of its names; None if it does not change memory."""
    return _BY_NAME.get(name)


def flags_in(words: Sequence[str]) -> list[tuple[str, MemoryFlag]]:
    """List the flags in words of a command line that change memory, as they are written."""
    found = []
    for argument in CommandLine(words).arguments:
        name = argument.flag.split("=")[0].split(" ")[0]
        if name in _BY_NAME:
            found.append((name, _BY_NAME[name]))
    return found


def variables_in(names: Iterable[str]) -> list[tuple[str, str, str]]:
    """List the variables among these names that change memory, each with its effect and the advice."""
    found = []
    for name in names:
        # The engine reads each variable under a second name, too.
        flag = _BY_VARIABLE.get(name) or _BY_VARIABLE.get(name.replace(_NEGATED, _VARIABLE, 1))
        if flag:
            found.append((name, flag.effect, flag.advice))
        elif name in VARIABLES:
            found.append((name, VARIABLES[name], _REMOVE))
    return found


def require_planned(words: Sequence[str]) -> None:
    """Reject further arguments that change memory, because the plan would not see them."""
    found = flags_in(words)
    if found:
        raise InvalidInputError(
            "extra_arguments that change no memory, because no plan sees them",
            ", ".join(f"{name} ({flag.effect})" for name, flag in found),
            "; ".join(dict.fromkeys(f"{name}: {flag.advice}" for name, flag in found)),
        )


def require_planned_variables(environment: Iterable[str]) -> None:
    """Reject variables that change memory, because the plan would not see them."""
    found = variables_in(environment)
    if found:
        raise InvalidInputError(
            "an environment that changes no memory, because no plan sees it",
            ", ".join(f"{name} ({effect})" for name, effect, _advice in found),
            "; ".join(f"{name}: {advice}" for name, _effect, advice in found),
        )
