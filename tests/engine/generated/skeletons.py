# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List keys and tensors of a small model of every architecture, by asking the engine.

    python3 -m tests.engine.generated.skeletons

The engine's own test of all architectures (tests/test-llama-archs.cpp) has a header for each of them, and its loader
knows the tensors that belong to it. A small program prints both. The result is architectures.json, from which
every_architecture.py makes models. Keys that the source of an architecture does not read are left out, as a converter
would.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.engine.builds import binaries, unpack
from tests.lab.naming import Places
from tests.lab.sources import SOURCES, ensure

RELEASE = "0c1e57098"
RESULT = Path(__file__).with_name("architectures.json")

# Keys of a part that the architecture does not have, or that come with the vocabulary.
_FOREIGN = re.compile(r"^tokenizer|posnet|convnext|features_length|pooling_type")
# As many heads of keys as of queries.
_FULL = ("olmoe", "baichuan", "dream", "llada")
# Optional tensors that older releases need.
_KEPT = {
    "qwen35": "attn_qkv",
    "qwen35moe": "attn_qkv",
    "qwen2vl": "attn_[qkv].bias",
    "phi2": "bias$",
    "starcoder2": "bias$",
    "gpt-oss": "bias$",
    "pangu-embedded": "bias$",
    "dream": "attn_[qkv].bias",
    "rwkv6qwen2": "attn_[qkv].bias",
    "phimoe": "bias$",
    "codeshell": "attn_qkv|bias$",
    "starcoder": "attn_qkv|bias$",
}
# Keys that older releases need.
_COMMON = re.compile(r"xielu|layer_norm(_rms)?_epsilon|rope.freq_base_swa")
# With experts too, although the engine's test has none for them.
_MORE_EXPERTS = ("gemma4", "granitehybrid", "jamba", "nemotron_h_moe")
_CREATE = (
    "_ZN18llama_model_loader13create_tensorERK13llama_hparamsPKSt6vectorISt4pairIP19ggml_backen"
    "d_deviceP24ggml_backend_buffer_typeESaIS9_EESD_SD_SD_RK11LLM_TN_IMPLRKSt16initializer_list"
    "IlEi"
)
# Larger dimensions than the engine's test uses, so that the parts of a buffer differ.
_CHANGES = (
    (r"n_vocab = 128;", "n_vocab = 32000;"),
    (r"n_embd  = 256;", "n_embd  = 512;"),
    (r"n_head  = 2;", "n_head  = 8;"),
    (r"n_ff    = 384;", "n_ff    = 1536;"),
    (r"n_layer = 2;", "n_layer = 8;"),
    (r"n_layer = 4; // hparams.n_no_rope", "n_layer = 8; //"),
    (r"n_embd = 128;\s+n_head = 2;\s+n_ff   = 192;\s+n_layer = 5;", "n_layer = 12;"),
    (r"n_embd = 64;\s+n_head = 1;\s+n_ff   = 96;\s+n_layer = 22;", "n_layer = 24;"),
    (r"n_embd = 160;", ""),
    (r"n_head = 4;", ""),
    (r"n_embd = 128;\s+n_head = 1;\s+n_ff   = 192;", ""),
    (r"n_layer = 3;", "n_layer = 8;"),
    (r"n_vocab = 10240;", ""),
    (r"uint32_t n_head_kv = n_head;", 'uint32_t n_head_kv = getenv("FULL") ? n_head : 4;'),
    (r"n_head_kv = [12]; //", "//"),
    (r"il == 1 \? 0 : n_head", "il % 4 != 3 ? 0 : n_head_kv"),
    (
        r"n_head_per_layer\);\s+\}\s+ms.add_kv\(LLM_KV_ATTENTION_HEAD_COUNT_KV",
        "n_head);\n}\nms.add_kv(LLM_KV_ATTENTION_HEAD_COUNT_KV",
    ),
    (r"arch == LLM_ARCH_DEEPSEEK4 \? uint32_t\(1\) : n_head_kv", "one_row(arch) ? uint32_t(1) : n_head_kv"),
    (r"il <= 1 \? 0 : n_ff", "il % 2 ? 0 : n_ff"),
    (r"FULL_ATTENTION_INTERVAL, uint32_t\(2\)", "FULL_ATTENTION_INTERVAL, uint32_t(4)"),
    (r"uint32_t n_ctx = 256;", "uint32_t n_ctx = 131072;"),
    (
        r"SLIDING_WINDOW_PATTERN, uint32_t\(5\)",
        "SLIDING_WINDOW_PATTERN, std::vector<uint32_t>({1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 0})",
    ),
    (r"SHARED_KV_LAYERS,      uint32_t\(0\)", "SHARED_KV_LAYERS, uint32_t(4)"),
    (r"SLIDING_WINDOW,         n_ctx/8", "SLIDING_WINDOW, uint32_t(1024)"),
    (r"TOP_K,        uint32_t\(131072\)", "TOP_K, uint32_t(2048)"),
    (r"EXPERT_FEED_FORWARD_LENGTH, n_ff\)", "EXPERT_FEED_FORWARD_LENGTH, uint32_t(256))"),
    (r"EXPERT_COUNT,               uint32_t\(2\)", "EXPERT_COUNT, uint32_t(16)"),
    (r"EXPERT_USED_COUNT,          uint32_t\(2\)", "EXPERT_USED_COUNT, uint32_t(4)"),
    (r"SSM_INNER_SIZE, .*", "SSM_INNER_SIZE, uint32_t(1024));"),
    (
        r"(ms.add_kv\(LLM_KV_WKV_HEAD_SIZE)",
        "for (auto each : {LLM_KV_ATTENTION_DECAY_LORA_RANK, LLM_KV_ATTENTION_ICLR_LORA_RANK,"
        " LLM_KV_ATTENTION_VALUE_RESIDUAL_MIX_LORA_RANK, LLM_KV_ATTENTION_GATE_LORA_RANK}) {"
        " ms.add_kv(each, uint32_t(64)); }"
        "for (auto each : {LLM_KV_EXPERT_WEIGHTS_SCALE, LLM_KV_EMBEDDING_SCALE}) { ms.add_kv(each, 1.5f); }"
        "ms.add_kv(LLM_KV_ROPE_FREQ_BASE_SWA, 10000.0f); ms.add_kv(LLM_KV_POOLING_TYPE, uint32_t(1));"
        "ms.add_kv(LLM_KV_EXPERT_CHUNK_FEED_FORWARD_LENGTH, uint32_t(256));"
        "if (arch == LLM_ARCH_RWKV6QWEN2 || arch == LLM_ARCH_ARWKV7) {"
        " ms.add_kv(LLM_KV_TOKEN_SHIFT_COUNT, uint32_t(1)); } \\1",
    ),
    (r"std::vector<float>\(\{0.0f, [45].0f\}\)", "std::vector<float>(n_layer, 4.0f)"),
)

_PROLOGUE = """
static bool one_row(const llm_arch arch) {
    switch (arch) {
        case LLM_ARCH_DEEPSEEK2: case LLM_ARCH_DEEPSEEK32: case LLM_ARCH_GLM_DSA: case LLM_ARCH_DOTS3NOTE:
        case LLM_ARCH_HY_V4: case LLM_ARCH_MISTRAL4: case LLM_ARCH_DEEPSEEK4: return true;
        default: return false;
    }
}
"""

_EPILOGUE = """
#include "../src/llama-model.h"
#include "../src/llama-model-loader.h"
#include <dlfcn.h>
// Takes the place of the library's function, to leave out optional tensors that few files have.
struct ggml_tensor * llama_model_loader::create_tensor(
        const llama_hparams & hparams, const buft_list_t * cpu, const buft_list_t * input, const buft_list_t * output,
        const buft_list_t * layer, const LLM_TN_IMPL & tn, const std::initializer_list<int64_t> & ne, int flags) {
    static const std::regex rare(
        "^cls|[.](bias|scale|input_scale|lora_a|lora_b)$|attn_qkv|gate_up_exps|rope_f|nextn[.](embed|shared_head_head)");
    const char * kept = getenv("KEPT");
    if (kept && std::regex_search(tn.str(), std::regex(kept))) { flags &= ~TENSOR_NOT_REQUIRED; }
    static const std::regex needed("ssm_.*bias|exp_probs_b");
    const bool is_rare = std::regex_search(tn.str(), rare) && !std::regex_search(tn.str(), needed);
    if ((flags & TENSOR_NOT_REQUIRED) && is_rare) { return nullptr; }
    using Real = ggml_tensor * (*)(llama_model_loader *, const llama_hparams &, const buft_list_t *,
        const buft_list_t *, const buft_list_t *, const buft_list_t *, const LLM_TN_IMPL &,
        const std::initializer_list<int64_t> &, int);
    static const Real real = (Real) dlsym(RTLD_NEXT, REAL_NAME);
    return real(this, hparams, cpu, input, output, layer, tn, ne, flags);
}
static void no_data(struct ggml_tensor *, void *) {}
static void print_kv(struct gguf_context * g, int64_t i) {
    const auto kind = gguf_get_kv_type(g, i);
    printf("key %s ", gguf_get_key(g, i));
    switch (kind) {
        case GGUF_TYPE_UINT32: printf("%u\\n", gguf_get_val_u32(g, i)); break;
        case GGUF_TYPE_FLOAT32: printf("float %.9g\\n", gguf_get_val_f32(g, i)); break;
        case GGUF_TYPE_BOOL: printf("%s\\n", gguf_get_val_bool(g, i) ? "true" : "false"); break;
        case GGUF_TYPE_ARRAY: {
            const auto of = gguf_get_arr_type(g, i);
            const size_t n = gguf_get_arr_n(g, i);
            printf("array %d", int(of));
            for (size_t k = 0; k < n && n <= 64; k++) {
                if (of == GGUF_TYPE_UINT32) { printf(" %u", ((const uint32_t *) gguf_get_arr_data(g, i))[k]); }
                if (of == GGUF_TYPE_FLOAT32) { printf(" %.9g", ((const float *) gguf_get_arr_data(g, i))[k]); }
            }
            printf("\\n");
        } break;
        default: printf("other\\n");
    }
}
int main(int argc, char ** argv) {
    const llm_arch arch = llm_arch_from_string(argv[1]);
    const bool moe = std::string(argv[2]) == "moe";
    if (std::string(argv[2]) == "kinds") {
        printf("%d %d\\n", int(moe_mandatory(arch)), int(moe_implemented(arch)));
        return 0;
    }
    gguf_context_ptr g = get_gguf_ctx(arch, moe);
    for (int64_t i = 0; i < gguf_get_n_kv(g.get()); i++) { print_kv(g.get(), i); }
    llama_model_params params = llama_model_default_params();
    params.progress_callback = silent_model_load_progress;
    llama_model_ptr model(llama_model_init_from_user(g.get(), no_data, nullptr, params));
    if (!model) { return 1; }
    for (const auto & it : model->tensors_by_name) {
        const auto * t = it.second;
        printf("tensor %s", it.first.c_str());
        for (int d = 0; d < ggml_n_dims(t); d++) { printf(" %lld", (long long) t->ne[d]); }
        printf("\\n");
    }
    return 0;
}
"""


def compile_program(source: Path, work: Path) -> Path:
    """Build the program that prints keys and tensors."""
    text = (source / "tests/test-llama-archs.cpp").read_text()
    for pattern, new in _CHANGES:
        text, count = re.subn(pattern, new, text)
        if not count:
            raise SystemExit(f"skeletons: the engine's test has no {pattern!r}; look at its new text")
    text = text.replace("int main(", "int unused_main(").replace(
        "static gguf_context_ptr get_gguf_ctx", _PROLOGUE + "static gguf_context_ptr get_gguf_ctx"
    )
    place = source / "tests" / "skeletons.cpp"
    place.write_text(text + _EPILOGUE.replace("REAL_NAME", json.dumps(_CREATE)))
    found = binaries(RELEASE)
    argv = [
        "g++",
        "-std=c++17",
        "-O0",
        "-w",
        *(f"-I{source / part}" for part in ("include", "ggml/include", "common", "src", "vendor")),
    ]
    argv += [str(place), "-o", str(work / "skeletons"), f"-L{found}", f"-Wl,-rpath,{found}"]
    subprocess.run([*argv, "-rdynamic", "-ldl", "-lllama-common", "-lllama", "-lggml", "-lggml-base"], check=True)
    return work / "skeletons"


def run(program: Path, *arguments: str, full: bool = False) -> str | None:
    """Return what the program prints; None if the engine refuses the model."""
    environment = {**os.environ, **({"FULL": "1"} if full else {}), "GGML_NO_BACKTRACE": "1"}
    if arguments[0] in _KEPT:
        environment["KEPT"] = _KEPT[arguments[0]]
    done = subprocess.run(
        [program, *arguments], capture_output=True, text=True, env=environment, check=False, timeout=120
    )
    if done.returncode:
        print(arguments, done.returncode, done.stderr.strip()[-400:], file=sys.stderr)
    return done.stdout if done.returncode == 0 else None


def key_names(source: Path) -> dict[str, str]:
    """Return the keys of a header, with %s for the architecture, by the engine's constants."""
    text = (source / "src/llama-arch.cpp").read_text()
    return {found[1]: found[2] for found in re.finditer(r'\{\s*(LLM_KV_\w+),\s*"([^"]+)"', text)}


def classes(source: Path) -> dict[str, str]:
    """Return the engine's class of each architecture."""
    constants = {
        found[2]: found[1]
        for found in re.finditer(r'\{\s*(LLM_ARCH_\w+),\s*"([^"]+)"', (source / "src/llama-arch.cpp").read_text())
    }
    text = (source / "src/llama-model.cpp").read_text()
    made: dict[str, str] = {}
    pending: list[str] = []
    for found in re.finditer(r"case (LLM_ARCH_\w+):|return new (llama_model_\w+)", text):
        pending = [*pending, found[1]] if found[1] else pending
        if found[2]:
            made |= dict.fromkeys(pending, found[2])
            pending = []
    return {name: made[constant] for name, constant in constants.items() if constant in made}


def keys_read(source: Path) -> dict[str, set[str]]:
    """Return the constants of the keys that each class reads while it loads."""
    text = "\n".join(path.read_text() for path in sorted((source / "src/models").glob("*.cpp")))
    bases = dict(re.findall(r"struct (llama_model_\w+) : public (\w+)", (source / "src/models/models.h").read_text()))
    own = {
        found[1]: set(re.findall(r"LLM_KV_\w+", found[2]))
        for found in re.finditer(r"void (llama_model_\w+)::load_arch_hparams.*?\n\{?(.*?)\n\}", text, re.DOTALL)
    }
    common = re.search(
        r"void llama_model_base::load_hparams.*?\n\}", (source / "src/llama-model.cpp").read_text(), re.DOTALL
    )
    assert common
    found: dict[str, set[str]] = {}
    for name in bases:
        holder = name
        while holder not in own and holder in bases:
            holder = bases[holder]
        found[name] = own.get(holder, set()) | set(re.findall(r"LLM_KV_\w+", common[0]))
    return found


def parse(text: str, architecture: str, wanted: set[str]) -> dict[str, Any]:
    """Convert the program's output to keys and tensors."""
    keys: dict[str, Any] = {}
    tensors: dict[str, list[int]] = {}
    for line in text.splitlines():
        kind, name, *rest = line.split()
        if kind == "tensor":
            tensors[name] = [int(each) for each in rest]
        elif kind == "key" and _is_read(name, wanted) and rest[0] != "other":
            keys[name.removeprefix(f"{architecture}.")] = _value(rest)
    return {"keys": keys, **_by_layer(tensors)}


def _is_read(name: str, wanted: set[str]) -> bool:
    return not _FOREIGN.search(name) and (name in wanted or _COMMON.search(name) is not None)


def _value(words: list[str]) -> Any:
    if words[0] == "float":
        return float(words[1])
    if words[0] == "array":
        return [float(each) if words[1] == "6" else int(each) for each in words[2:]]
    return words[0] == "true" if words[0] in ("true", "false") else int(words[0])


def _by_layer(tensors: dict[str, list[int]]) -> dict[str, Any]:
    """Write equal layers once."""
    layers: dict[int, list[str]] = {}
    rest: list[str] = []
    for name, dims in tensors.items():
        found = re.fullmatch(r"blk[.](\d+)[.](.+)", name)
        text = " ".join((found[2] if found else name, *map(str, dims)))
        (layers.setdefault(int(found[1]), []) if found else rest).append(text)
    ordered = [layers.get(number, []) for number in range(max(layers, default=-1) + 1)]
    kinds = [list(each) for each in dict.fromkeys(map(tuple, ordered))]
    return {"rest": rest, "kinds": kinds, "layers": [kinds.index(each) for each in ordered]}


def main() -> int:
    cache = Places.of(os.environ).cache
    known = {each.release: each for each in SOURCES}
    with tempfile.TemporaryDirectory(prefix="herd-skeletons-") as place:
        source = unpack(ensure(known[RELEASE], cache / "sources"), Path(place))
        program = compile_program(source, Path(place))
        found = collect(source, program)
    RESULT.write_text(
        "{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(each)}" for name, each in found.items()) + "\n}\n"
    )
    return 0


def collect(source: Path, program: Path) -> dict[str, Any]:
    """Ask the program for every architecture, dense and with experts."""
    constants, read, made = key_names(source), keys_read(source), classes(source)
    found: dict[str, Any] = {}
    for name, owner in made.items():
        answer = run(program, name, "kinds") or "0 0"
        mandatory, implemented = (word == "1" for word in answer.split())
        wanted = {constants[each].replace("%s", name) for each in read.get(owner, set()) if each in constants}
        for kind in ("dense", "moe"):
            if (kind == "dense" and mandatory) or (kind == "moe" and not implemented and name not in _MORE_EXPERTS):
                continue
            text = (None if name in _FULL else run(program, name, kind)) or run(program, name, kind, full=True)
            if text:
                found[f"{name}-{kind}" if kind == "moe" and not mandatory else name] = {
                    "architecture": name,
                    **parse(text, name, wanted),
                }
            else:
                print(f"skeletons: the engine refuses {name} ({kind})", file=sys.stderr)
    return found


if __name__ == "__main__":
    sys.exit(main())
