# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The flag guard's table. docs/reference/flag-guard.md is made of it (make reference).

A rule without C(unshown) has a test of its id in tests/engine/test_flag_guard.py, which runs the real engine of
both releases; "run" as a source means such a run. The releases are b7836 and 0c1e57098.
"""

from __future__ import annotations

from . import checks
from .subject import BENCH, ERROR, HEAD, PRESET, ROUTER, WARNING, WORKER, Rule

# llama-server, whatever it does; and what says how a model is loaded, on a command line or in a preset.
_SERVERS = (HEAD, ROUTER, PRESET)
_ALL = (*_SERVERS, WORKER)
_MODEL = (HEAD, PRESET)
# What stands in a unit.
_UNITS = (HEAD, ROUTER, WORKER)
_ISSUES = "https://github.com/ggml-org/llama.cpp/issues/"
_PULLS = "https://github.com/ggml-org/llama.cpp/pull/"
_RUN = "run, b7836 and 0c1e57098"
_NEEDS_CUDA = "needs a GPU"

RULES: tuple[Rule, ...] = (
    # What the program's parser refuses.
    Rule(
        "unknown-flag", ERROR, _ALL, "a flag that this build does not know",
        "the head exits with a usage error; the worker exits with status 0, as if all were well",
        "remove it", _RUN, checks.unknown_flag,
    ),
    Rule(
        "flag-of-another-release", ERROR, _SERVERS, "a flag that only another release has, under this name",
        "the engine exits with a usage error", "write this release's own", _RUN, checks.other_dialect,
    ),
    Rule(
        "removed-flag", ERROR, _SERVERS, "a flag that --help still lists and the engine no longer takes",
        "the engine exits and says that the argument has been removed", "write what replaced it",
        "run, 0c1e57098", checks.removed_flag,
    ),
    Rule(
        "unsplit-argument", ERROR, (*_ALL, BENCH), "a flag and its value in one word, with = or a space between them",
        "the engine looks the whole word up as a flag, and exits with a usage error", "make two words of it",
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
        "value-out-of-range", ERROR, _ALL, "a value that the engine refuses or dies of",
        "a usage error, or an abort after minutes of loading (a negative context, a batch of 0)", "correct it",
        _RUN, checks.value_out_of_range,
    ),
    Rule(
        "repeated-flag", WARNING, _ALL, "a flag that is written twice",
        "the last one counts, and the log calls it deprecated; a short and a long name are not even logged",
        "write it once", _RUN, checks.repeated_flag,
    ),
    Rule(
        "plan-overridden", ERROR, _SERVERS, "a second flag for what the plan has decided",
        "the engine does something else than was planned, and the checks look at the wrong place; "
        "a second --rpc is added to the first",
        "change the variable from which it is derived", _RUN, checks.plan_overridden,
    ),
    # Secrets, and settings that go past the guard.
    Rule(
        "secret-in-arguments", ERROR, _SERVERS, "a key or token on the command line",
        "every user of the host reads it in the list of processes, and everybody in the unit file",
        "use head_server_api_keys (a file that only the service reads), model_store_token for downloads",
        _RUN, checks.secret_in_arguments,
    ),
    Rule(
        "secret-in-environment", ERROR, (HEAD, ROUTER), "a key or token in the unit's environment",
        "every user of the host reads it in the unit file, or asks systemd for it",
        "use head_server_api_keys, or model_store_token for downloads",
        "https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html#Environment",
        checks.secret_in_environment, "it is systemd that shows it, not the engine",
    ),
    Rule(
        "setting-in-environment", ERROR, (HEAD, ROUTER), "a setting in a variable LLAMA_ARG_…",
        "the engine obeys it where no rule of this table sees it", "write it into head_server_settings",
        _RUN, checks.setting_in_environment,
    ),
    Rule(
        "model-from-network", ERROR, _SERVERS, "the engine is to fetch the model itself",
        "bytes that nobody verified are served, and every start needs the network",
        "describe the model in herd_models, whose files are verified", _RUN, checks.model_from_network,
    ),
    Rule(
        "no-port", ERROR, (HEAD, ROUTER), "no port for the API",
        "it is 8080 today, and 9931 in releases to come", "give --port",
        _PULLS + "26508; run, b7836 and 0c1e57098", checks.no_port,
    ),
    Rule(
        "tls-by-half", ERROR, (HEAD, ROUTER), "a certificate without its key, or a key without its certificate",
        "the head serves without TLS, and says so in one line of its log at most", "give both", _RUN,
        checks.tls_by_half,
    ),
    Rule(
        "tls-not-built", ERROR, (HEAD, ROUTER), "TLS with a build that has none",
        "the head exits before it loads anything", "set herd_api_tls, and let site.yml build the release anew", _RUN,
        checks.tls_not_built,
    ),
    # Attention and cache.
    Rule(
        "quantised-v-without-flash-attention", ERROR, _MODEL, "a quantised V cache with flash attention off",
        "after all weights were sent, b7836 ends with a segmentation fault and 0c1e57098 with an error",
        "set flash_attention to on, or cache_type_v to f16", _RUN, checks.quantised_v,
    ),
    Rule(
        "unequal-cache-types", ERROR, _MODEL, "K and V caches of different types on CUDA, flash attention not off",
        "RPC claims to support the pair, and the CUDA worker crashes and takes the head down",
        "make cache_type_k and cache_type_v equal",
        _ISSUES + "14076, " + _ISSUES + "27905; ggml-cuda/fattn.cu of both releases",
        checks.unequal_cache_types, _NEEDS_CUDA + "; CPU workers take every pair, which the engine's tests show",
    ),
    Rule(
        "cache-type-without-kernel", ERROR, _MODEL, "a type of cache for which CUDA's flash attention has no kernel",
        "RPC claims to support it, and the CUDA worker crashes and takes the head down", "use f16, q8_0 or q4_0",
        _ISSUES + "27905; ggml-cuda/fattn.cu of both releases",
        checks.cache_type_without_kernel, _NEEDS_CUDA + "; CPU workers take them, which the engine's tests show",
    ),
    Rule(
        "bf16-on-volta", WARNING, _MODEL, "bf16 weights or cache on a V100",
        "the GPU has no bf16: the engine converts, and multiplies in f32 without tensor cores",
        "use f16 or q8_0", _PULLS + "28846; ggml-cuda.cu of both releases", checks.bf16_on_volta, _NEEDS_CUDA,
    ),
    Rule(
        "volta-code-missing", ERROR, _UNITS, "a build for a V100 that was not compiled for 70",
        "no tensor cores in flash attention, or no code at all",
        "compile for 70; others beside it do no harm", "run of ggml-cuda/common.cuh of both releases",
        checks.volta_code_missing,
    ),
    # Workers.
    Rule(
        "no-device-list", ERROR, (HEAD,), "--rpc without --device",
        "b7836 ignores a missing worker in silence and says that it is healthy",
        "name every device behind --rpc", _RUN, checks.no_device_list,
    ),
    Rule(
        "device-before-rpc", ERROR, (HEAD,), "remote devices named before --rpc",
        "the engine does not know them yet, and exits with a usage error", "put --device behind --rpc",
        _RUN, checks.device_before_rpc,
    ),
    Rule(
        "split-and-devices-differ", ERROR, _MODEL, "another number of shares than of devices",
        "devices without a share stay empty and shares without a device go lost, without a word",
        "give each device one share", _RUN, checks.split_and_devices_differ,
    ),
    Rule(
        "endpoint-malformed", ERROR, (HEAD,), "a worker's address without a port, or an IPv6 one",
        "0c1e57098 aborts; b7836 goes on without the worker, or exits", "write ADDRESS:PORT with an IPv4 address",
        _RUN, checks.endpoint_malformed,
    ),
    Rule(
        "endpoint-repeated", ERROR, (HEAD,), "the same worker twice",
        "it is one device, and the second name is an invalid one", "name each worker once",
        _RUN, checks.endpoint_repeated,
    ),
    Rule(
        "deadlocking-workers", ERROR, (HEAD,), "as many workers as deadlock this release, by the catalogue",
        "requests hang for ever while everything looks well", "use fewer workers, or another release",
        _ISSUES + "28487", checks.deadlocking_workers,
        "the reported builds are not those at hand; 0c1e57098 answered with 2, 3 and 4 CPU workers, which makes it "
        "a warning there",
    ),
    Rule(
        "prompt-cache-with-rpc", ERROR, (HEAD,), "a prompt cache in RAM together with RPC",
        "saving a slot's prompt can abort the head", "set cache_ram_mib to 0", _ISSUES + "26529",
        checks.prompt_cache_with_rpc,
        "the abort was seen with GPUs; CPU workers let a prompt be saved, which the engine's tests show",
    ),
    Rule(
        "row-split-with-rpc", ERROR, (HEAD,), "--split-mode row together with RPC",
        "0c1e57098 exits, since remote devices have no split buffers; b7836 splits by layers all the same",
        "set split_mode to layer", _PULLS + "24216; run, b7836 and 0c1e57098", checks.row_split_with_rpc,
    ),
    Rule(
        "router-with-rpc", ERROR, _SERVERS, "a router of models together with RPC",
        "a worker serves one client at a time: the second model hangs without a word",
        "give each model workers of its own", _RUN, checks.router_with_rpc,
    ),
    # A router of models.
    Rule(
        "router-of-older-release", ERROR, (ROUTER,), "a router of a release without --load-mode",
        "a file that cannot be loaded keeps its place for ever, whoever asks for it waits for ever, and a third model "
        "ends one that is answering", "use 0c1e57098 for the router, or accept the rule where all files are verified",
        "run, b7836", checks.router_of_older_release,
    ),
    Rule(
        "alias-of-older-release", ERROR, (PRESET,), "an alias in a preset of a release without --load-mode",
        "its router does not read it: the model is not found under that name",
        "leave the aliases out, or use 0c1e57098", _RUN, checks.alias_of_older_release,
    ),
    Rule(
        "preset-reserved", ERROR, (PRESET,), "a preset that says where or for whom the model listens",
        "the router takes it out or overrides it", "set it for the router", _RUN, checks.preset_reserved,
    ),
    Rule(
        "preset-overridden", ERROR, (PRESET,), "a flag in a preset that the router has on its own command line",
        "the router's counts, for every model", "take it out of one of them", _RUN, checks.preset_overridden,
    ),
    Rule(
        "preset-cut-off", ERROR, (PRESET,), "a value with # or ; or a line's end in a preset",
        "the engine takes the rest for a comment", "write it without them", _RUN, checks.preset_cut_off,
    ),
    # Numbers.
    Rule(
        "slots-divide-context", ERROR, _MODEL, "slots that leave each less context than was asked for",
        "a longer request is refused with status 400", "give as many times the context as there are slots",
        _RUN, checks.slots_divide_context,
    ),
    Rule(
        "slots-unsaid", WARNING, _MODEL, "no --parallel",
        "there are four slots which share one context, so that a request may find it full", "give --parallel",
        _RUN, checks.slots_unsaid,
    ),
    Rule(
        "micro-batch-above-batch", WARNING, _MODEL, "a micro-batch larger than the batch",
        "it is made as small as the batch, and what was planned for it is wrong", "make ubatch at most batch",
        _RUN, checks.micro_batch_above_batch,
    ),
    Rule(
        "fitting-is-on", WARNING, _MODEL, "the engine fits unset arguments to the memory",
        "a plan that is too large starts all the same, with fewer layers on GPUs or less context",
        "give --fit off", _RUN, checks.fitting_is_on,
    ),
    # The worker's own.
    Rule(
        "worker-host-not-ipv4", ERROR, (WORKER,), "a worker that listens on a name or an IPv6 address",
        "it exits, with status 0 as a rule, and is never up", "give the fabric address as an IPv4 literal",
        _RUN, checks.worker_host,
    ),
    Rule(
        "worker-open-to-all", ERROR, (WORKER,), "a worker that listens on every address",
        "whoever reaches the host uses it: the protocol has no authentication", "give the fabric address",
        _RUN, checks.worker_open_to_all,
    ),
    Rule(
        "worker-cache-nowhere", ERROR, (WORKER,), "a tensor cache without a directory",
        "it fills the service user's home; without a home b7836 ends with a segmentation fault",
        "set LLAMA_CACHE in the unit's environment", _RUN, checks.worker_cache_nowhere,
    ),
    Rule(
        "bench-split-separator", ERROR, (BENCH,), "commas in the split of llama-bench",
        "it takes them for several runs, each with one share", "write / between the shares",
        _ISSUES + "13972; run, b7836 and 0c1e57098", checks.bench_split_separator,
    ),
)  # fmt: skip
