# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan a build from its inputs: the options of cmake, the id and the manifest.

The id contains a digest of all inputs that can change the build. So a file name and a checksum tell whether a build
exists, and two clusters with the same inputs have the same id.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import InvalidInputError, MismatchError
from .toolchain import architectures, check_architectures, check_compiler

# Increment this number if the packing of a release changes, so that ids of older builds do not match.
RECIPE = 1
COMMON_OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "CMAKE_BUILD_WITH_INSTALL_RPATH": "ON",
    # Programs load their libraries from their own folder, wherever the release is unpacked.
    "CMAKE_INSTALL_RPATH": "$ORIGIN",
    # RPATH instead of RUNPATH: it also applies to the dependencies of bundled libraries (cuBLASLt of cuBLAS), and
    # precedes LD_LIBRARY_PATH.
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
# Derived from the inventory, so llama_build_cmake must not contain them.
DERIVED_OPTIONS = ("GGML_CUDA", "CMAKE_CUDA_ARCHITECTURES", "CMAKE_CUDA_COMPILER", "CMAKE_C_COMPILER",
                   "CMAKE_CXX_COMPILER", "CMAKE_CUDA_HOST_COMPILER", "GGML_NATIVE", "BUILD_SHARED_LIBS",
                   "CMAKE_INSTALL_RPATH")  # fmt: skip
# Libraries of each glibc system, and OpenSSL, which gets its security updates from the node's distribution. All other
# libraries are bundled with the release.
SYSTEM_LIBRARIES = re.compile(
    r"(linux-vdso|ld-linux-[a-z0-9-]+|libc|libm|libdl|libpthread|librt|libgcc_s|libstdc\+\+|libssl|libcrypto)\.so(\.[0-9]+)*"
)
# Libraries of the driver, which must come from the node and never from a toolkit.
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
    """Return the options of cmake.

    :raises MismatchError: if compiler, CUDA and GPUs are incompatible.
    """
    contradicted = sorted(set(extra) & set(DERIVED_OPTIONS))
    if contradicted:
        raise InvalidInputError(
            expected="llama_build_cmake without options that are derived from the inventory",
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
        # cmake would use an installed NCCL, which the digest of the inputs does not show. NCCL only serves several GPUs
        # in one node.
        "GGML_CUDA_NCCL": "OFF",
    }
    # Programs link with the release's own library, which needs the toolkit's libraries. The linker searches for those
    # only in this path; at run time, RPATH applies.
    to_link = f"{COMMON_OPTIONS['CMAKE_EXE_LINKER_FLAGS']} -Wl,-rpath-link,{cuda['library_path']}"
    options["CMAKE_EXE_LINKER_FLAGS"] = to_link
    if not every_node_has_gpu or not cuda.get("driver_library"):
        # Virtual memory management links with libcuda, which must then exist on each node, even without a GPU.
        options["GGML_CUDA_NO_VMM"] = "ON"
    else:
        # With the toolkit's stub alone, the linker does not find libcuda.so.1. The programs do not call it themselves.
        options["CMAKE_EXE_LINKER_FLAGS"] = f"{to_link} -Wl,--allow-shlib-undefined"
    return options


def backend(options: Mapping[str, str]) -> str:
    """Return the name of the backend, such as C(cpu) or C(cuda70)."""
    if options.get("GGML_CUDA") != "ON":
        return "cpu"
    return "cuda" + "_".join(options["CMAKE_CUDA_ARCHITECTURES"].split(";"))


def build_id(
    release: Mapping[str, Any],
    source: Mapping[str, Any],
    toolchain: Mapping[str, Any],
    options: Mapping[str, str],
) -> str:
    """Return the id of a build: release, backend, and the first eight digits of the digest of all inputs."""
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


def prunable(wanted: str, builds: Sequence[str], keep: int) -> list[str]:
    """Return the ids of builds that are no longer kept.

    :param builds: ids, least recently used first.
    :param keep: number of builds to keep besides the wanted one, for a rollback without compiling.
    """
    others = [build for build in builds if build != wanted]
    return others[: max(0, len(others) - keep)]


def ninja_progress(line: str) -> tuple[int, int] | None:
    """Read the done and total steps from a line of ninja, such as C([12/238] Building CXX object ...)."""
    found = NINJA_STEP.match(line)
    return (int(found.group(1)), int(found.group(2))) if found else None


def libraries_to_bundle(needed: Mapping[str, str | None], own: Iterable[str]) -> dict[str, str]:
    """Return the libraries to bundle with the release, as paths by name.

    :param needed: the result of parse_ldd.
    :param own: names of files of the release.
    """
    mine = set(own)
    bundled: dict[str, str] = {}
    lost: list[str] = []
    for name, path in sorted(needed.items()):
        if name in mine or is_system_library(name):
            continue
        if path is None:
            lost.append(name)
        else:
            bundled[name] = path
    if lost:
        raise MismatchError.plain(
            f"The build host has no {', '.join(lost)}, which the built programs need",
            "install the package that contains it on the build host, then build again",
        )
    return bundled


def require_tls(options: Mapping[str, str], needed: Iterable[str]) -> None:
    """Check that a build with TLS links with OpenSSL: cmake only warns if it does not find it."""
    if options.get("LLAMA_OPENSSL") == "ON" and not any(name.startswith("libssl.so") for name in needed):
        raise MismatchError.plain(
            "The built programs do not support TLS (herd_api_tls): cmake did not find OpenSSL 3 on the build host",
            "run the role toolchain, which installs it, or set OPENSSL_ROOT_DIR in llama_build_cmake",
        )


def is_system_library(name: str) -> bool:
    """Return whether each node has a library, so that the release must not bundle it."""
    return bool(SYSTEM_LIBRARIES.fullmatch(name) or DRIVER_LIBRARIES.fullmatch(name))


def parse_ldd(text: str) -> dict[str, str | None]:
    """Read paths by library name from the output of C(ldd); None for a library that it did not find."""
    found: dict[str, str | None] = {}
    for line in text.splitlines():
        match = re.match(r"\s+(\S+) => (not found|\S+)", line)
        if match:
            found[match.group(1)] = None if match.group(2) == "not found" else match.group(2)
    return found


def parse_runpath(readelf: str) -> str | None:
    """Read the run path of a program or library from the output of C(readelf -d)."""
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
    """Return the manifest of a release. It is the same for two builds with the same id."""
    cuda = toolchain.get("cuda")
    has_cuda = backend(options) != "cpu"
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
        "programs": {**{program: program for program in release["targets"]}, **release["programs"]},
        "dialect": release["dialect"],
        "flags": dict(flags),
        "files": {name: dict(facts) for name, facts in sorted(files.items())},
        "advisories": list(release["advisories"]),
        "defects": list(release["defects"]),
    }
