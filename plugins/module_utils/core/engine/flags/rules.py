# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of the flag guard, from which C(make reference) writes docs/reference/flag-guard.md.

For each rule without C(unshown), tests/engine/test_flag_guard.py runs the engines of both releases, b7836 and
0c1e57098. The source "run" means such a run.
"""

from __future__ import annotations

from . import checks, speculation_checks
from .subject import BENCH, ERROR, HEAD, INFORMATION, PRESET, ROUTER, WARNING, WORKER, Rule

# Command lines and presets of llama-server, and those that load a model.
_SERVERS = (HEAD, ROUTER, PRESET)
_ALL = (*_SERVERS, WORKER)
_MODEL = (HEAD, PRESET)
# Programs with a unit.
_UNITS = (HEAD, ROUTER, WORKER)
_ISSUES = "https://github.com/ggml-org/llama.cpp/issues/"
_PULLS = "https://github.com/ggml-org/llama.cpp/pull/"
_RUN = "run, b7836 and 0c1e57098"
_RUN_NEW = "run, 0c1e57098"
_NEEDS_CUDA = "needs a GPU"
_NEEDS_REPEATS = "needs several starts with saved prompts"

RULES: tuple[Rule, ...] = (
    # Errors of the program's parser.
    Rule(
        "unknown-flag", ERROR, _ALL, "a flag that this build does not know",
        "the head exits with a usage error; the worker exits with status 0, as after success",
        "remove it", _RUN, checks.unknown_flag,
    ),
    Rule(
        "flag-of-another-release", ERROR, _SERVERS, "a flag that only another release accepts",
        "the engine exits with a usage error", "write the flag of this release", _RUN, checks.other_dialect,
    ),
    Rule(
        "removed-flag", ERROR, _SERVERS, "a flag that --help still lists and the engine no longer takes",
        "the engine exits and reports that the argument was removed", "write its replacement",
        "run, 0c1e57098", checks.removed_flag,
    ),
    Rule(
        "unsplit-argument", ERROR, (*_ALL, BENCH), "a flag and its value in one word, with = or a space between them",
        "the engine takes the whole word for a flag, and exits with a usage error", "write two words",
        _RUN, checks.unsplit_argument,
    ),
    Rule(
        "stray-word", ERROR, _ALL, "a word that belongs to no flag", "the engine exits with a usage error",
        "remove it", _RUN, checks.stray_word,
    ),
    Rule(
        "bare-flash-attention", ERROR, _MODEL, "--flash-attn without a value",
        "the engine takes the next word for the value, and exits with a usage error", "write on, off or auto",
        _RUN, checks.bare_flash_attention,
    ),
    Rule(
        "missing-value", ERROR, _ALL, "another flag without the value that it needs",
        "the engine takes the next flag for the value, or exits with a usage error", "write the value behind it",
        _RUN, checks.missing_value,
    ),
    Rule(
        "value-out-of-range", ERROR, _ALL, "a value that the engine rejects or aborts at",
        "a usage error, or an abort after minutes of loading (a negative context, a batch of 0)", "correct it",
        _RUN, checks.value_out_of_range,
    ),
    Rule(
        "repeated-flag", WARNING, _ALL, "a flag that is written twice",
        "the last one counts, and the log calls it deprecated; a short and a long name are not logged",
        "write it once", _RUN, checks.repeated_flag,
    ),
    Rule(
        "plan-overridden", ERROR, _SERVERS, "a second flag for a value of the plan",
        "the engine deviates from the plan, and the checks use wrong values; a second --rpc is added to the first",
        "change the variable from which it is derived", _RUN, checks.plan_overridden,
    ),
    # Secrets, and settings that bypass the guard.
    Rule(
        "secret-in-arguments", ERROR, _SERVERS, "a key or token on the command line",
        "every user of the host can read it in the list of processes and in the unit file",
        "use head_server_api_keys (a file that only the service reads), model_store_token for downloads",
        _RUN, checks.secret_in_arguments,
    ),
    Rule(
        "secret-in-environment", ERROR, (HEAD, ROUTER), "a key or token in the unit's environment",
        "every user of the host can read it in the unit file or through systemd",
        "use head_server_api_keys, or model_store_token for downloads",
        "https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html#Environment",
        checks.secret_in_environment, "systemd shows it, not the engine",
    ),
    Rule(
        "setting-in-environment", ERROR, (HEAD, ROUTER), "a setting in a variable LLAMA_ARG_…",
        "the engine applies it, and no rule of this table sees it", "write it into head_server_settings",
        _RUN, checks.setting_in_environment,
    ),
    Rule(
        "memory-in-environment", ERROR, _UNITS, "a variable that changes the engine's memory",
        "the engine applies it, and the plan is wrong", "remove it",
        "ggml-cuda.cu, ggml-backend.cpp, llama-kv-cache.cpp and clip.cpp of both releases",
        checks.memory_in_environment, _NEEDS_CUDA + " or a projector",
    ),
    Rule(
        "model-from-network", ERROR, _SERVERS, "a model that the engine downloads itself",
        "unverified bytes are served, and every start needs the network",
        "describe the model in herd_models, so that its files are verified", _RUN, checks.model_from_network,
    ),
    Rule(
        "no-port", ERROR, (HEAD, ROUTER), "no port for the API",
        "it is 8080 today, and 9931 in future releases", "give --port",
        _PULLS + "26508; run, b7836 and 0c1e57098", checks.no_port,
    ),
    Rule(
        "tls-by-half", ERROR, (HEAD, ROUTER), "a certificate without its key, or a key without its certificate",
        "the head serves without TLS, and at most one line of its log says so", "give both", _RUN,
        checks.tls_by_half,
    ),
    Rule(
        "tls-not-built", ERROR, (HEAD, ROUTER), "TLS with a build without TLS",
        "the head exits before it loads anything", "set herd_api_tls, and rebuild the release with site.yml", _RUN,
        checks.tls_not_built,
    ),
    # Attention and cache.
    Rule(
        "quantised-v-without-flash-attention", ERROR, _MODEL, "a quantised V cache with flash attention off",
        "after all weights are sent, b7836 crashes (segmentation fault) and 0c1e57098 exits with an error",
        "set flash_attention to on, or cache_type_v to f16", _RUN, checks.quantised_v,
    ),
    Rule(
        "unequal-cache-types", ERROR, _MODEL, "K and V caches of different types on CUDA, flash attention not off",
        "RPC reports support of the pair, but the CUDA worker crashes and the head aborts",
        "make cache_type_k and cache_type_v equal",
        _ISSUES + "14076, " + _ISSUES + "27905; ggml-cuda/fattn.cu of both releases",
        checks.unequal_cache_types, _NEEDS_CUDA + "; CPU workers accept every pair, as the engine's tests show",
    ),
    Rule(
        "cache-type-without-kernel", ERROR, _MODEL, "a cache type without a kernel in CUDA's flash attention",
        "RPC reports support of it, but the CUDA worker crashes and the head aborts", "use f16, q8_0 or q4_0",
        _ISSUES + "27905; ggml-cuda/fattn.cu of both releases",
        checks.cache_type_without_kernel, _NEEDS_CUDA + "; CPU workers accept them, as the engine's tests show",
    ),
    Rule(
        "attention-without-kernel", ERROR, _MODEL, "sizes of heads without a kernel in CUDA's flash attention",
        "RPC reports support of it, but the CUDA worker aborts and takes the head with it",
        "set flash_attention to off and the cache types to f16, or use another model; "
        "docs/reference/attention-kernels.md lists the kernels",
        "ggml-cuda/fattn.cu, fattn-tile.cuh and fattn-mma-f16.cuh of both releases",
        checks.attention_without_kernel, _NEEDS_CUDA,
    ),
    Rule(
        "bf16-on-volta", WARNING, _MODEL, "bf16 weights or cache on a V100",
        "the GPU has no bf16, so the engine converts and multiplies in f32 without tensor cores",
        "use f16 or q8_0", _PULLS + "28846; ggml-cuda.cu of both releases", checks.bf16_on_volta, _NEEDS_CUDA,
    ),
    Rule(
        "volta-code-missing", ERROR, _UNITS, "a build for a V100 that was not compiled for 70",
        "flash attention without tensor cores, or no code for this GPU",
        "compile for 70, alone or beside others", "run of ggml-cuda/common.cuh of both releases",
        checks.volta_code_missing,
    ),
    # Workers.
    Rule(
        "no-device-list", ERROR, (HEAD,), "--rpc without --device",
        "b7836 silently ignores a missing worker and reports healthy",
        "name every device behind --rpc", _RUN, checks.no_device_list,
    ),
    Rule(
        "device-before-rpc", ERROR, (HEAD,), "remote devices before --rpc",
        "the engine does not know them yet, and exits with a usage error", "put --device behind --rpc",
        _RUN, checks.device_before_rpc,
    ),
    Rule(
        "split-and-devices-differ", ERROR, _MODEL, "different numbers of shares and devices",
        "devices without a share silently stay empty, and shares without a device are dropped",
        "give each device one share", _RUN, checks.split_and_devices_differ,
    ),
    Rule(
        "endpoint-malformed", ERROR, (HEAD,), "a worker's address without a port, or an IPv6 one",
        "0c1e57098 aborts; b7836 continues without the worker, or exits", "write ADDRESS:PORT with an IPv4 address",
        _RUN, checks.endpoint_malformed,
    ),
    Rule(
        "endpoint-repeated", ERROR, (HEAD,), "the same worker twice",
        "both are one device, so the second name is invalid", "name each worker once",
        _RUN, checks.endpoint_repeated,
    ),
    Rule(
        "deadlocking-workers", ERROR, (HEAD,), "a number of workers with which this release deadlocks",
        "requests hang for ever while the service looks healthy", "use fewer workers, or another release",
        _ISSUES + "28487", checks.deadlocking_workers,
        "the reported builds differ; 0c1e57098 answered with 2, 3 and 4 CPU workers, so it is a warning there",
    ),
    Rule(
        "prompt-cache-with-rpc", ERROR, (HEAD,), "a prompt cache in RAM together with RPC",
        "saving a slot's prompt can abort the head", "set cache_ram_mib to 0", _ISSUES + "26529",
        checks.prompt_cache_with_rpc,
        "the abort was seen with GPUs; with CPU workers a prompt is saved, as the engine's tests show",
    ),
    Rule(
        "row-split-with-rpc", ERROR, (HEAD,), "--split-mode row together with RPC",
        "0c1e57098 exits, because remote devices have no split buffers; b7836 splits by layers anyway",
        "set split_mode to layer", _PULLS + "24216; run, b7836 and 0c1e57098", checks.row_split_with_rpc,
    ),
    Rule(
        "router-with-rpc", ERROR, _SERVERS, "a router of models together with RPC",
        "a worker serves one client at a time, so the second model hangs silently",
        "give each model workers of its own", _RUN, checks.router_with_rpc,
    ),
    # A router of models.
    Rule(
        "router-of-older-release", ERROR, (ROUTER,), "a router of a release without --load-mode",
        "a file that cannot be loaded keeps its place for ever, its requests hang, and a third model evicts a busy one",
        "use 0c1e57098 for the router, or accept the rule if all files are verified",
        "run, b7836", checks.router_of_older_release,
    ),
    Rule(
        "alias-of-older-release", ERROR, (PRESET,), "an alias in a preset of a release without --load-mode",
        "its router ignores it, so the model is not found under that name",
        "remove the aliases, or use 0c1e57098", _RUN, checks.alias_of_older_release,
    ),
    Rule(
        "preset-reserved", ERROR, (PRESET,), "a preset with an address, port or key of the model",
        "the router removes or overrides it", "set it for the router", _RUN, checks.preset_reserved,
    ),
    Rule(
        "preset-overridden", ERROR, (PRESET,), "a flag in a preset and on the router's command line",
        "the router's value applies to every model", "remove it from one of them", _RUN, checks.preset_overridden,
    ),
    Rule(
        "preset-cut-off", ERROR, (PRESET,), "a value with #, ; or a line break in a preset",
        "the engine takes the rest for a comment", "remove these characters", _RUN, checks.preset_cut_off,
    ),
    # Numbers.
    Rule(
        "slots-divide-context", ERROR, _MODEL, "slots with less context than the settings ask for",
        "a longer request fails with status 400", "multiply the context by the number of slots",
        _RUN, checks.slots_divide_context,
    ),
    Rule(
        "slots-unsaid", WARNING, _MODEL, "no --parallel",
        "four slots share one context, so a request may find it full", "give --parallel",
        _RUN, checks.slots_unsaid,
    ),
    Rule(
        "micro-batch-above-batch", WARNING, _MODEL, "a micro-batch larger than the batch",
        "the engine reduces it to the batch, and the plan is wrong", "make ubatch at most batch",
        _RUN, checks.micro_batch_above_batch,
    ),
    Rule(
        "fitting-is-on", WARNING, _MODEL, "an engine that fits unset arguments to the memory",
        "a plan that is too large starts anyway, with fewer layers on GPUs or less context",
        "give --fit off", _RUN, checks.fitting_is_on,
    ),
    # Speculation and saved slots. No other release was run.
    Rule(
        "draft-without-type", ERROR, _MODEL, "a draft without --spec-type draft-…",
        "the draft is loaded and freed, and the head serves without speculation, without an error",
        "set types of speculation", _RUN_NEW, speculation_checks.draft_without_type,
    ),
    Rule(
        "type-without-draft", ERROR, _MODEL, "a type of draft without --spec-draft-model",
        "the head serves without speculation; only its log says so", "set file of speculation",
        _RUN_NEW, speculation_checks.type_without_draft,
    ),
    Rule(
        "draft-vocabulary-differs", ERROR, _MODEL, "a draft with another vocabulary, by the headers of both files",
        "the head serves without speculation; only its log says so", "use a draft of the model's family",
        _RUN_NEW, speculation_checks.vocabulary_differs,
    ),
    Rule(
        "synthetic-acceptance", ERROR, _MODEL, "--spec-synth-len or --spec-synth-rates",
        "answers are not the model's, because drafted tokens are accepted at random",
        "remove it: it is for benchmarks only", _RUN_NEW, speculation_checks.synthetic_acceptance,
    ),
    Rule(
        "next-tokens-missing", ERROR, _MODEL, "draft-mtp with a model without blocks that predict further tokens",
        "the head exits after all weights are sent", "remove draft-mtp from types of speculation",
        _RUN_NEW, speculation_checks.no_next_tokens,
    ),
    Rule(
        "draft-over-rpc", WARNING, (HEAD,), "a draft on RPC workers",
        "each drafted token costs round trips to the worker: five to twenty times as many segments on the wire",
        "leave device of speculation empty, or set it to none", _RUN_NEW, speculation_checks.draft_over_rpc,
    ),
    Rule(
        "draft-cache-unquantised", WARNING, _MODEL, "a quantised cache of the model, and none told for the draft",
        "the draft's cache is f16, over the whole context", "set cache_type_k and cache_type_v of speculation",
        _RUN_NEW, speculation_checks.draft_cache_unquantised,
    ),
    Rule(
        "slots-saved-with-draft", WARNING, _MODEL, "--slot-save-path with a draft",
        "the draft's cache is not saved, so nothing is accepted after a restore", "remove --slot-save-path",
        "measured with 0c1e57098", speculation_checks.slots_saved_with_draft, _NEEDS_REPEATS,
    ),
    Rule(
        "slots-saved-with-window", WARNING, _MODEL, "--slot-save-path with windowed layers and without --swa-full",
        "a restored slot computes its whole prompt again", "set full_window, or remove --slot-save-path",
        _ISSUES + "26676; measured with 0c1e57098", speculation_checks.slots_saved_with_window, _NEEDS_REPEATS,
    ),
    Rule(
        "speculation-with-split", INFORMATION, (HEAD,), "draft-mtp or draft-dflash with a given split of layers",
        "builds for Windows were reported to become twenty times slower; on Linux with CPU workers it was not seen",
        "compare the rate with and without speculation", _ISSUES + "28218",
        speculation_checks.speculation_with_split, "it was not seen here",
    ),
    Rule(
        "rdma-on-infiniband", WARNING, _UNITS, "RDMA of the engine over native InfiniBand",
        "it works over Ethernet (RoCE) only: no address of the port matches, or the connection fails",
        "remove the variable; TCP over IPoIB is used",
        _PULLS + "20590; ggml-rpc/transport.cpp of 0c1e57098", speculation_checks.rdma_on_infiniband,
        "needs an InfiniBand adapter",
    ),
    # The worker.
    Rule(
        "worker-host-not-ipv4", ERROR, (WORKER,), "a worker that listens on a name or an IPv6 address",
        "it exits, usually with status 0, and never serves", "give the fabric address as an IPv4 literal",
        _RUN, checks.worker_host,
    ),
    Rule(
        "worker-open-to-all", ERROR, (WORKER,), "a worker that listens on every address",
        "every host that reaches it can use it, because the protocol has no authentication", "give the fabric address",
        _RUN, checks.worker_open_to_all,
    ),
    Rule(
        "worker-cache-nowhere", ERROR, (WORKER,), "a tensor cache without a directory",
        "it fills the service user's home; without a home b7836 crashes (segmentation fault)",
        "set LLAMA_CACHE in the unit's environment", _RUN, checks.worker_cache_nowhere,
    ),
    Rule(
        "bench-split-separator", ERROR, (BENCH,), "commas in the split of llama-bench",
        "it runs several times, each with one share", "write / between the shares",
        _ISSUES + "13972; run, b7836 and 0c1e57098", checks.bench_split_separator,
    ),
)  # fmt: skip
