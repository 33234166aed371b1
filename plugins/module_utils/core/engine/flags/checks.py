# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks of the flag guard, one for each rule of C(rules), whose texts describe them.

A check yields a hit for each place where a command line breaks the rule.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Collection, Iterator, Mapping

from ..command_line import Argument
from . import attention_kernels, memory_flags
from . import values as flag_values
from .dialects import removed, translation
from .subject import ERROR, WARNING, WORKER, Hit, Subject

# Flags of the plan. A second one would invalidate the plan, the worker readiness check and the role's checks.
PLANNED = (
    "--model", "--host", "--port", "--api-key-file", "--rpc", "--device", "--tensor-split", "--split-mode",
    "--n-gpu-layers",
)  # fmt: skip
# Flags that a router sets for its models or removes from presets.
ROUTERS_OWN = (
    "--host", "--port", "--api-key-file", "--ssl-cert-file", "--ssl-key-file", "--models-dir", "--models-max",
    "--models-preset", "--models-autoload", "--no-models-autoload",
)  # fmt: skip
_SECRET_VARIABLES = ("LLAMA_API_KEY", "HF_TOKEN")
_UNQUANTISED = ("f32", "f16", "bf16")
# Cache types with a CUDA kernel of flash attention in every release.
_CUDA_KERNELS = ("f16", "q8_0", "q4_0")
_VOLTA = 70


def _present(*names: str) -> Callable[[Subject], Iterator[Hit]]:
    """Make the check for flags that must not occur."""
    return lambda subject: (Hit(name) for name in names if subject.line.has(name))


def _flags(subject: Subject) -> Iterator[Argument]:
    """List the flags that are single words, as the engine expects them."""
    for argument in subject.line.arguments:
        if argument.flag and not _unsplit(argument.flag):
            yield argument


def _unsplit(flag: str) -> bool:
    return "=" in flag or bool(re.search(r"\s", flag))


def unsplit_argument(subject: Subject) -> Iterator[Hit]:
    for argument in subject.line.arguments:
        if argument.flag and _unsplit(argument.flag):
            flag, value = re.split(r"[=\s]+", argument.flag, maxsplit=1)
            yield Hit(f"{flag} and its value in one word", f"write two words: {flag}, then {value or 'the value'}")


def _near(flag: str, accepted: Collection[str]) -> str:
    near = difflib.get_close_matches(flag, sorted(accepted), n=1, cutoff=0.5)
    return f"write {near[0]}, the nearest that this build accepts" if near else ""


def unknown_flag(subject: Subject) -> Iterator[Hit]:
    accepted = subject.engine.accepted
    for argument in _flags(subject):
        if argument.flag not in accepted and not translation(argument.flag, argument.value, accepted):
            yield Hit(argument.flag, _near(argument.flag, accepted))


def other_dialect(subject: Subject) -> Iterator[Hit]:
    accepted = subject.engine.accepted
    for argument in _flags(subject):
        if argument.flag not in accepted:
            instead = translation(argument.flag, argument.value, accepted)
            if instead:
                yield Hit(" ".join(filter(None, (argument.flag, argument.value))), instead)


def removed_flag(subject: Subject) -> Iterator[Hit]:
    for argument in _flags(subject):
        instead = removed(argument.flag, subject.engine.accepted)
        if argument.flag in subject.engine.accepted and instead:
            yield Hit(argument.flag, instead)


def stray_word(subject: Subject) -> Iterator[Hit]:
    for argument in subject.line.arguments:
        if not argument.flag:
            yield Hit(repr(argument.value))


def bare_flash_attention(subject: Subject) -> Iterator[Hit]:
    if any(argument.value is None for argument in subject.line.all("--flash-attn")):
        yield Hit("--flash-attn without a value")


def _values(subject: Subject) -> Mapping[str, Callable[[str], str]]:
    return flag_values.WORKER if subject.program == WORKER else flag_values.HEAD


def missing_value(subject: Subject) -> Iterator[Hit]:
    needing = {*_values(subject), *(("--host", "--device") if subject.program == WORKER else PLANNED)}
    for argument in _flags(subject):
        if argument.name in needing - {"--flash-attn"} and argument.value is None:
            yield Hit(f"{argument.flag} without a value")


def value_out_of_range(subject: Subject) -> Iterator[Hit]:
    table = _values(subject)
    for argument in _flags(subject):
        if argument.name in table and argument.value is not None:
            wanted = table[argument.name](argument.value)
            if wanted:
                yield Hit(f"{argument.flag} {argument.value}", f"write {wanted}")


def repeated_flag(subject: Subject) -> Iterator[Hit]:
    for name in dict.fromkeys(argument.name for argument in _flags(subject)):
        several = subject.line.all(name)
        if len(several) > 1 and name not in PLANNED:
            values = " and ".join(argument.value or "nothing" for argument in several)
            yield Hit(f"{name} {len(several)} times, with {values}")


def plan_overridden(subject: Subject) -> Iterator[Hit]:
    for name in PLANNED:
        if len(subject.line.all(name)) > 1:
            yield Hit(f"{name} a second time")


model_from_network = _present("--hf-repo", "--model-url", "--docker-repo", "-dr")
preset_reserved = _present(*ROUTERS_OWN)
secret_in_arguments = _present("--api-key", "--hf-token")


def secret_in_environment(subject: Subject) -> Iterator[Hit]:
    for name in _SECRET_VARIABLES:
        if name in (subject.environment or {}):
            yield Hit(f"the variable {name}")


def setting_in_environment(subject: Subject) -> Iterator[Hit]:
    for name in subject.environment or {}:
        if name.startswith("LLAMA_ARG_"):
            yield Hit(f"the variable {name}")


def memory_in_environment(subject: Subject) -> Iterator[Hit]:
    for name, effect, _advice in memory_flags.variables_in(subject.environment or {}):
        if not name.startswith("LLAMA_ARG_"):
            yield Hit(f"the variable {name}, which changes {effect}")


def no_port(subject: Subject) -> Iterator[Hit]:
    if not subject.line.has("--port"):
        yield Hit("no --port")


def tls_by_half(subject: Subject) -> Iterator[Hit]:
    certificate, key = subject.line.has("--ssl-cert-file"), subject.line.has("--ssl-key-file")
    if certificate != key:
        yield Hit("--ssl-cert-file without --ssl-key-file" if certificate else "--ssl-key-file without --ssl-cert-file")


def tls_not_built(subject: Subject) -> Iterator[Hit]:
    if subject.line.has("--ssl-cert-file") and subject.line.has("--ssl-key-file") and not subject.engine.tls:
        yield Hit("--ssl-cert-file and --ssl-key-file, with a release that was built without OpenSSL")


def _attention(subject: Subject) -> str:
    return subject.line.value("--flash-attn", "auto")


def _has_cuda_kernels(subject: Subject) -> bool:
    return subject.engine.cuda and _attention(subject) != "off"


def _caches(subject: Subject) -> Iterator[tuple[str, str, str]]:
    """List the types of the caches for keys and values: of the model, and of a draft that has its own."""
    line = subject.line
    yield "", line.value("--cache-type-k", "f16"), line.value("--cache-type-v", "f16")
    if line.has("--spec-draft-model") or "draft-mtp" in line.parts("--spec-type"):
        yield " of the draft", line.value("--spec-draft-type-k", "f16"), line.value("--spec-draft-type-v", "f16")


def quantised_v(subject: Subject) -> Iterator[Hit]:
    for whose, _k_type, v_type in _caches(subject):
        if _attention(subject) == "off" and v_type not in _UNQUANTISED:
            yield Hit(f"a V cache{whose} of {v_type} with flash attention off")


def _kernels(subject: Subject) -> tuple[tuple[str, ...], bool]:
    """Return the cache types with a CUDA kernel, and whether other types and pairs are converted."""
    told = subject.engine.dialect.get("cuda_attention") or {}
    return tuple(told.get("kernels", _CUDA_KERNELS)), told.get("others") == "converted"


def _cache_hit(found: str, instead: str, is_converted: bool) -> Hit:
    if not is_converted:
        return Hit(found, instead, ERROR)
    slow = "flash attention has no kernel for them, and slowly converts the whole cache to f16 for every token"
    return Hit(found, instead, WARNING, slow)


def unequal_cache_types(subject: Subject) -> Iterator[Hit]:
    for whose, k_type, v_type in _caches(subject):
        if _has_cuda_kernels(subject) and k_type != v_type:
            found = f"K cache {k_type} and V cache {v_type}{whose} with flash attention {_attention(subject)}"
            yield _cache_hit(found, "", _kernels(subject)[1])


def cache_type_without_kernel(subject: Subject) -> Iterator[Hit]:
    kernels, others = _kernels(subject)
    for cache_type in dict.fromkeys(kind for _whose, *kinds in _caches(subject) for kind in kinds):
        if _has_cuda_kernels(subject) and cache_type not in kernels and cache_type != "f32":
            # The only cache type that cannot be converted.
            converted = others and cache_type != "iq4_nl"
            yield _cache_hit(f"a cache of {cache_type} on CUDA", f"use one of {', '.join(kernels)}", converted)


def attention_without_kernel(subject: Subject) -> Iterator[Hit]:
    if not _has_cuda_kernels(subject):
        return
    is_newer = "--load-mode" in subject.engine.accepted
    # Without workers, the engine itself finds out under auto, and computes without flash attention.
    is_found_out = _attention(subject) == "auto" and not subject.has_rpc
    for shape in attention_kernels.without_kernel(subject.attention, is_newer, subject.has_volta):
        where = " on a GPU of compute capability 7.0" if subject.has_volta else ""
        otherwise = "the engine computes without flash attention, and the plan is wrong" if is_found_out else ""
        yield Hit(f"{shape}{where}", "", WARNING if is_found_out else "", otherwise)


def bf16_on_volta(subject: Subject) -> Iterator[Hit]:
    if not subject.has_volta:
        return
    for whose, *types in _caches(subject):
        for name, cache_type in zip("KV", types):
            if cache_type == "bf16":
                yield Hit(f"a {name} cache{whose} of bf16 on a GPU of compute capability 7.0", "set it to f16 or q8_0")
    if "bf16" in subject.model_types:
        yield Hit("a model with bf16 weights on a GPU of compute capability 7.0", "use one in F16 or Q8_0")


def volta_code_missing(subject: Subject) -> Iterator[Hit]:
    architectures = sorted(int(found) for found in subject.engine.architectures if found.isdigit())
    if not subject.has_volta or not architectures or _VOLTA in architectures:
        return
    older = [found for found in architectures if found < _VOLTA]
    listed = ";".join(map(str, architectures))
    yield Hit(
        f"CMAKE_CUDA_ARCHITECTURES={listed} for GPUs of compute capability 7.0",
        otherwise=(
            f"they run code for {older[-1]}, without tensor cores in flash attention"
            if older
            else "the build has no code at all that they can run"
        ),
    )


def no_device_list(subject: Subject) -> Iterator[Hit]:
    if subject.has_rpc and not subject.line.has("--device"):
        yield Hit("--rpc without --device")


def device_before_rpc(subject: Subject) -> Iterator[Hit]:
    rpc, device = subject.line.position("--rpc"), subject.line.position("--device")
    remote = [name for name in subject.line.parts("--device") if name.startswith("RPC")]
    if remote and rpc < 0:
        yield Hit(f"{remote[0]} in --device without --rpc", "name the workers with --rpc first")
    elif rpc > device >= 0:
        yield Hit("--device before --rpc")


def split_and_devices_differ(subject: Subject) -> Iterator[Hit]:
    split, devices = subject.line.value("--tensor-split"), subject.line.parts("--device")
    shares = len(re.split(r"[,/]", split)) if split else 0
    if shares and devices and shares != len(devices):
        yield Hit(f"{shares} shares for {len(devices)} devices")


def _endpoint_problem(endpoint: str) -> str:
    host, colon, port = endpoint.rpartition(":")
    if not colon or not port.isdigit() or not 1 <= int(port) <= 65535:
        return "no port from 1 to 65535"
    if ":" in host or "[" in host:
        return "an IPv6 address"
    return "" if host else "no address"


def endpoint_malformed(subject: Subject) -> Iterator[Hit]:
    for endpoint in subject.line.parts("--rpc"):
        problem = _endpoint_problem(endpoint)
        if problem:
            yield Hit(f"the worker {endpoint} with {problem}")


def endpoint_repeated(subject: Subject) -> Iterator[Hit]:
    endpoints = subject.line.parts("--rpc")
    for endpoint in dict.fromkeys(endpoints):
        if endpoints.count(endpoint) > 1:
            yield Hit(f"the worker {endpoint} {endpoints.count(endpoint)} times")


def deadlocking_workers(subject: Subject) -> Iterator[Hit]:
    workers = len(set(subject.line.parts("--rpc")))
    for defect in subject.engine.defects:
        limit = defect.get("workers_from")
        if limit and workers >= int(limit):
            confirmed = defect.get("seen_here", True)
            yield Hit(
                f"{workers} workers with a release of defect {defect.get('id')}",
                f"use fewer than {limit} workers, or another release",
                ERROR if confirmed else WARNING,
                str(defect.get("means", "")),
            )


def slots_divide_context(subject: Subject) -> Iterator[Hit]:
    total, slots = subject.line.number("--ctx-size", 0), subject.line.number("--parallel", -1)
    if slots < 1 or subject.line.has("--kv-unified"):
        slots = 1
    if subject.context and total > 0 and total // slots < subject.context:
        yield Hit(
            f"{total} cells of context over {slots} slots, where {subject.context} each were asked for",
            f"give --ctx-size {subject.context * slots}",
        )


def slots_unsaid(subject: Subject) -> Iterator[Hit]:
    if subject.line.number("--parallel", -1) == -1:
        yield Hit("no --parallel")


def prompt_cache_with_rpc(subject: Subject) -> Iterator[Hit]:
    if subject.has_rpc and "--cache-ram" in subject.engine.accepted:
        size = subject.line.value("--cache-ram", "8192 by default")
        if size != "0":
            yield Hit(f"a prompt cache of {size} MiB in RAM together with RPC")


def row_split_with_rpc(subject: Subject) -> Iterator[Hit]:
    if subject.has_rpc and subject.line.value("--split-mode", "layer") == "row":
        # Releases without --load-mode accept it and split by layers anyway.
        refused = "--load-mode" in subject.engine.accepted
        yield Hit("--split-mode row with RPC", severity=ERROR if refused else WARNING)


def router_with_rpc(subject: Subject) -> Iterator[Hit]:
    router = next((name for name in ("--models-dir", "--models-preset") if subject.line.has(name)), "")
    if subject.has_rpc and router:
        yield Hit(f"{router} with --rpc")


def router_of_older_release(subject: Subject) -> Iterator[Hit]:
    if subject.engine.accepted and "--load-mode" not in subject.engine.accepted:
        yield Hit("a router of this release")


def alias_of_older_release(subject: Subject) -> Iterator[Hit]:
    if subject.engine.accepted and "--load-mode" not in subject.engine.accepted and subject.line.has("--alias"):
        yield Hit(f"--alias {subject.line.value('--alias')}")


def preset_overridden(subject: Subject) -> Iterator[Hit]:
    above = {argument.name for argument in subject.above.arguments} if subject.above else set()
    for name in dict.fromkeys(argument.name for argument in _flags(subject)):
        if name in above and name not in ROUTERS_OWN:
            yield Hit(name)


def preset_cut_off(subject: Subject) -> Iterator[Hit]:
    for word in subject.line.words:
        if re.search(r"[#;\r\n]", word):
            yield Hit(repr(word))


def micro_batch_above_batch(subject: Subject) -> Iterator[Hit]:
    batch, micro = subject.line.number("--batch-size", 2048), subject.line.number("--ubatch-size", 512)
    if micro > batch > 0:
        yield Hit(f"--ubatch-size {micro} above --batch-size {batch}")


def fitting_is_on(subject: Subject) -> Iterator[Hit]:
    if "--fit" in subject.engine.accepted and subject.line.value("--fit", "on") not in flag_values.OFF:
        yield Hit("--fit on" if subject.line.has("--fit") else "no --fit off")


def worker_host(subject: Subject) -> Iterator[Hit]:
    host = subject.line.value("--host")
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        yield Hit(f"-H {host}" if host else "no -H")


def worker_open_to_all(subject: Subject) -> Iterator[Hit]:
    if subject.line.value("--host") == "0.0.0.0":  # the address that is looked for
        yield Hit("-H 0.0.0.0")


def worker_cache_nowhere(subject: Subject) -> Iterator[Hit]:
    if subject.line.has("--cache") and subject.environment is not None and not subject.environment.get("LLAMA_CACHE"):
        yield Hit("-c without the variable LLAMA_CACHE")


def bench_split_separator(subject: Subject) -> Iterator[Hit]:
    split = subject.line.value("--tensor-split")
    if "," in split:
        yield Hit(f"-ts {split}", f"write {split.replace(',', '/')}")
