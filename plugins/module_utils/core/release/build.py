# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What exactly is built, and under which name: a plan made of the inputs alone.

The name of a build holds a digest of everything that can change its bytes. So "is it already there" is a
question about a file name and a checksum, and two clusters with the same inputs speak of the same build.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import InvalidInputError, MismatchError
from .toolchain import architectures, check_architectures, check_compiler

# Raise it when the way a release is put together changes, so that older results are not taken for new ones.
RECIPE = 1
COMMON_OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "CMAKE_BUILD_WITH_INSTALL_RPATH": "ON",
    # Programs find their libraries beside themselves, wherever the release is unpacked.
    "CMAKE_INSTALL_RPATH": "$ORIGIN",
    # RPATH in place of RUNPATH: it also serves the libraries that a brought library needs (cuBLAS's cuBLASLt),
    # and no LD_LIBRARY_PATH of a site can slip another version in between.
    "CMAKE_EXE_LINKER_FLAGS": "-Wl,--disable-new-dtags",
    "CMAKE_SHARED_LINKER_FLAGS": "-Wl,--disable-new-dtags",
    "BUILD_SHARED_LIBS": "ON",
    "GGML_RPC": "ON",
    "GGML_CCACHE": "OFF",
    "LLAMA_BUILD_SERVER": "ON",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_CURL": "OFF",
    "LLAMA_OPENSSL": "OFF",
}
# Chosen by the plan; an operator's llama_build_cmake may not contradict it in silence.
DERIVED_OPTIONS = ("GGML_CUDA", "CMAKE_CUDA_ARCHITECTURES", "CMAKE_CUDA_COMPILER", "CMAKE_C_COMPILER",
                   "CMAKE_CXX_COMPILER", "CMAKE_CUDA_HOST_COMPILER", "GGML_NATIVE", "BUILD_SHARED_LIBS",
                   "CMAKE_INSTALL_RPATH")  # fmt: skip
# What every glibc system has, and OpenSSL, which is the node's own so that it is mended with the node. Everything else
# that a program needs travels with the release.
SYSTEM_LIBRARIES = re.compile(
    r"(linux-vdso|ld-linux-[a-z0-9-]+|libc|libm|libdl|libpthread|librt|libgcc_s|libstdc\+\+|libssl|libcrypto)\.so(\.[0-9]+)*"
)
# Belongs to the driver: must come from the node and never from a toolkit.
DRIVER_LIBRARIES = re.compile(r"lib(cuda|nvidia-ml)\.so(\.[0-9]+)*")
NINJA_STEP = re.compile(r"\[(\d+)/(\d+)\]")


def cmake_options(
    release: Mapping[str, Any],
    toolchain: Mapping[str, Any],
    compute_capabilities: Sequence[str],
    native: bool,
    every_node_has_gpu: bool,
    extra: Mapping[str, str],
) -> dict[str, str]:
    """The options of this build. Raises if compiler, CUDA and GPUs do not fit together."""
    contradicted = sorted(set(extra) & set(DERIVED_OPTIONS))
    if contradicted:
        raise InvalidInputError(
            expected="llama_build_cmake to hold only options that are not derived from the inventory",
            found=", ".join(contradicted),
            remedy="change herd_gpus, llama_build_native or the toolchain variables instead",
        )
    options = {
        **COMMON_OPTIONS,
        "LLAMA_BUILD_NUMBER": str(release.get("build_number") or 0),
        "LLAMA_BUILD_COMMIT": str(release["commit"])[:9],
        "CMAKE_C_COMPILER": str(toolchain["cc"]),
        "CMAKE_CXX_COMPILER": str(toolchain["cxx"]),
        "GGML_NATIVE": "ON" if native else "OFF",
        **{str(name): str(value) for name, value in dict(release.get("cmake") or {}).items()},
    }
    if compute_capabilities:
        options.update(_cuda_options(toolchain, compute_capabilities, every_node_has_gpu))
    return {**options, **{str(name): str(value) for name, value in extra.items()}}


def _cuda_options(
    toolchain: Mapping[str, Any], compute_capabilities: Sequence[str], every_node_has_gpu: bool
) -> dict[str, str]:
    cuda = toolchain.get("cuda")
    archs = architectures(compute_capabilities)
    if not cuda:
        raise MismatchError.plain(
            f"There is no CUDA toolkit on the build host for GPUs of architecture {', '.join(archs)}",
            "let the role toolchain install one, or set toolchain_cuda_root to an installed one",
        )
    check_compiler(str(cuda["version"]), str(toolchain["cc_version"]))
    check_architectures(str(cuda["version"]), archs)
    options = {
        "GGML_CUDA": "ON",
        "CMAKE_CUDA_ARCHITECTURES": ";".join(archs),
        "CMAKE_CUDA_COMPILER": str(cuda["nvcc"]),
        "CMAKE_CUDA_HOST_COMPILER": str(toolchain["cxx"]),
        "CUDAToolkit_ROOT": str(cuda["root"]),
        # Taken if it happens to be on the build host, which no digest of the inputs would show; it only serves several
        # GPUs in one node.
        "GGML_CUDA_NCCL": "OFF",
    }
    # Programs link with our own library, which needs the toolkit's: the linker looks for those only where it is told.
    # Where they are when a program runs is RPATH's matter.
    to_link = f"{COMMON_OPTIONS['CMAKE_EXE_LINKER_FLAGS']} -Wl,-rpath-link,{cuda['library_path']}"
    options["CMAKE_EXE_LINKER_FLAGS"] = to_link
    if not every_node_has_gpu or not cuda.get("driver_library"):
        # Virtual memory management needs libcuda at link time, and afterwards on every node that loads the
        # program, also on one that has no GPU.
        options["GGML_CUDA_NO_VMM"] = "ON"
    else:
        # Where only the toolkit's stub is there, the linker finds libcuda.so.1, its name at run time, nowhere; the
        # programs do not call it themselves.
        options["CMAKE_EXE_LINKER_FLAGS"] = f"{to_link} -Wl,--allow-shlib-undefined"
    return options


def backend(options: Mapping[str, str]) -> str:
    """C(cpu), or C(cuda70) and the like."""
    if options.get("GGML_CUDA") != "ON":
        return "cpu"
    return "cuda" + "_".join(options["CMAKE_CUDA_ARCHITECTURES"].split(";"))


def build_id(
    release: Mapping[str, Any],
    source: Mapping[str, Any],
    toolchain: Mapping[str, Any],
    options: Mapping[str, str],
) -> str:
    """Release, backend, and eight digits that stand for all inputs."""
    inputs = {
        "recipe": RECIPE,
        "commit": release["commit"],
        "source": {name: source.get(name) for name in ("kind", "commit", "sha256", "inner_path")},
        "targets": list(release["targets"]),
        "options": dict(options),
        "compiler": {name: toolchain.get(name) for name in ("cc", "cxx", "cc_version", "cc_identity")},
        "cuda": toolchain.get("cuda") if backend(options) != "cpu" else None,
    }
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
    return f"{release['release']}-{backend(options)}-{digest[:8]}"


def surplus(wanted: str, builds: Sequence[str], keep: int) -> list[str]:
    """Builds to give up.

    :param builds: ids, the one that was not used for the longest time first.
    :param keep: how many besides the wanted one stay, for going back without compiling.
    """
    others = [build for build in builds if build != wanted]
    return others[: max(0, len(others) - keep)]


def step(line: str) -> tuple[int, int] | None:
    """(done, total) from a line of ninja, such as C([12/238] Building CXX object ...)."""
    found = NINJA_STEP.match(line)
    return (int(found.group(1)), int(found.group(2))) if found else None


def libraries_to_bring(needed: Mapping[str, str | None], own: Iterable[str]) -> dict[str, str]:
    """Of the libraries that C(ldd) lists (name to path), those that must travel with the release.

    :param own: names of files that are in the release already.
    """
    mine = set(own)
    bring: dict[str, str] = {}
    lost: list[str] = []
    for name, path in sorted(needed.items()):
        if name in mine or from_system(name):
            continue
        if path is None:
            lost.append(name)
        else:
            bring[name] = path
    if lost:
        raise MismatchError(
            expected="every library that the built programs need to be in the release or part of the system",
            found=f"{', '.join(lost)} nowhere",
            remedy="install the package that holds it on the build host, then build again",
        )
    return bring


def require_tls(options: Mapping[str, str], needed: Iterable[str]) -> None:
    """cmake builds without TLS, and only warns, where it does not find OpenSSL."""
    if options.get("LLAMA_OPENSSL") == "ON" and not any(name.startswith("libssl.so") for name in needed):
        raise MismatchError.plain(
            "The built programs do not support TLS (herd_api_tls): cmake did not find OpenSSL 3 on the build host",
            "run the role toolchain, which installs it, or set OPENSSL_ROOT_DIR in llama_build_cmake",
        )


def from_system(name: str) -> bool:
    """Whether a library is expected on every node and must not travel with the release."""
    return bool(SYSTEM_LIBRARIES.fullmatch(name) or DRIVER_LIBRARIES.fullmatch(name))


def parse_ldd(text: str) -> dict[str, str | None]:
    """Library name to path (None where it was not found), from what C(ldd) prints."""
    found: dict[str, str | None] = {}
    for line in text.splitlines():
        match = re.match(r"\s+(\S+) => (not found|\S+)", line)
        if match:
            found[match.group(1)] = None if match.group(2) == "not found" else match.group(2)
    return found


def parse_runpath(readelf: str) -> str | None:
    """The run path of a program or library, from what C(readelf -d) prints."""
    found = re.search(r"\((?:RUNPATH|RPATH)\)\s+Library r(?:un)?path: \[(.*)\]", readelf)
    return found.group(1) if found else None


def manifest(
    release: Mapping[str, Any],
    source: Mapping[str, Any],
    toolchain: Mapping[str, Any],
    options: Mapping[str, str],
    flags: Mapping[str, list[str]],
    files: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """What a release says about itself. Holds nothing that differs between two equal builds."""
    cuda = toolchain.get("cuda")
    has_cuda = backend(options) != "cpu"
    named = {program: program for program in release["targets"]}
    named.update(release["programs"])
    return {
        "schema": 1,
        "id": build_id(release, source, toolchain, options),
        "release": release["release"],
        "commit": release["commit"],
        "backend": backend(options),
        "source": {name: source[name] for name in ("kind", "commit", "sha256", "inner_path") if source.get(name)},
        "cmake": dict(sorted(options.items())),
        "compiler": {"cc": toolchain["cc"], "cxx": toolchain["cxx"], "version": toolchain["cc_version"]},
        "cuda": (
            {"version": cuda["version"], "architectures": options["CMAKE_CUDA_ARCHITECTURES"].split(";")}
            if has_cuda and cuda
            else None
        ),
        "rpc_protocol": release["rpc_protocol"],
        "programs": named,
        "dialect": release["dialect"],
        "flags": dict(flags),
        "files": {name: dict(facts) for name, facts in sorted(files.items())},
        "advisories": list(release["advisories"]),
        "defects": list(release["defects"]),
    }
