"""The plan of a build: options, name, and what travels with the release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.core.release import build as build_rules

FIXTURES = Path(__file__).parents[3] / "fixtures" / "toolchain"
CUDA = {
    "root": "/usr/local/cuda-12.2",
    "nvcc": "/usr/local/cuda-12.2/bin/nvcc",
    "version": "12.2.140",
    "driver_library": "/usr/lib64/libcuda.so.1",
    "library_path": "/usr/local/cuda-12.2/lib64:/usr/local/cuda-12.2/targets/x86_64-linux/lib",
}
TOOLS: dict[str, Any] = {
    "cc": "/usr/bin/gcc",
    "cxx": "/usr/bin/g++",
    "cc_version": "12.2.0",
    "cc_identity": "gcc (Debian 12.2.0-14+deb12u1) 12.2.0",
    "cuda": None,
}
RELEASE: dict[str, Any] = {
    "release": "0c1e57098",
    "commit": "0c1e57098bba43ac29e6e3b677cdceebdd22334f",
    "build_number": 11312,
    "rpc_protocol": "7.0.0",
    "programs": {"head": "llama-server", "worker": "ggml-rpc-server"},
    "targets": ["llama-server", "ggml-rpc-server"],
    "cmake": {"LLAMA_USE_PREBUILT_UI": "OFF"},
    "dialect": {"load_mode": ["--load-mode"]},
    "advisories": [],
    "defects": [],
}
SOURCE = {"kind": "archive", "sha256": "a" * 64, "inner_path": "x", "path": "/srv/x.tar.gz", "commit": "0c1e"}


def options(
    tools: dict[str, Any] | None = None,
    gpus: tuple[str, ...] = (),
    native: bool = False,
    every: bool = True,
    extra: dict[str, str] | None = None,
) -> dict[str, str]:
    return build_rules.cmake_options(RELEASE, tools or TOOLS, gpus, native, every, extra or {})


def test_a_build_without_gpus_has_no_cuda_options() -> None:
    found = options()
    assert found["GGML_RPC"] == "ON"
    assert found["GGML_NATIVE"] == "OFF"
    assert found["LLAMA_USE_PREBUILT_UI"] == "OFF"
    assert found["CMAKE_INSTALL_RPATH"] == "$ORIGIN"
    assert "GGML_CUDA" not in found
    assert build_rules.backend(found) == "cpu"


def test_volta_is_compiled_for_architecture_70_only() -> None:
    found = options({**TOOLS, "cuda": CUDA}, ("7.0", "7.0"))
    assert found["CMAKE_CUDA_ARCHITECTURES"] == "70"
    assert found["CMAKE_CUDA_HOST_COMPILER"] == "/usr/bin/g++"
    assert found["CMAKE_CUDA_COMPILER"] == "/usr/local/cuda-12.2/bin/nvcc"
    assert "GGML_CUDA_NO_VMM" not in found
    assert found["GGML_CUDA_NCCL"] == "OFF"
    assert "--allow-shlib-undefined" in found["CMAKE_EXE_LINKER_FLAGS"]
    assert "--disable-new-dtags" in found["CMAKE_EXE_LINKER_FLAGS"]
    assert f"-rpath-link,{CUDA['library_path']}" in found["CMAKE_EXE_LINKER_FLAGS"]
    assert build_rules.backend(found) == "cuda70"


@pytest.mark.parametrize(
    ("cuda", "every"), [(CUDA, False), ({**CUDA, "driver_library": None}, True)], ids=["mixed herd", "no libcuda"]
)
def test_a_build_without_a_driver_does_not_link_it(cuda: dict[str, Any], every: bool) -> None:
    found = options({**TOOLS, "cuda": cuda}, ("7.0",), every=every)
    assert found["GGML_CUDA_NO_VMM"] == "ON"
    assert "--allow-shlib-undefined" not in found["CMAKE_EXE_LINKER_FLAGS"]
    assert f"-rpath-link,{CUDA['library_path']}" in found["CMAKE_EXE_LINKER_FLAGS"]


@pytest.mark.parametrize(
    ("tools", "gpus", "extra", "words"),
    [
        (TOOLS, ("7.0",), {}, "no CUDA toolkit on the build host"),
        ({**TOOLS, "cuda": {**CUDA, "version": "13.0.88"}}, ("7.0",), {}, "not support Volta"),
        ({**TOOLS, "cuda": CUDA, "cc_version": "13.1.0"}, ("7.0",), {}, "gcc 12 or older"),
        (TOOLS, (), {"GGML_NATIVE": "ON"}, "GGML_NATIVE"),
    ],
)
def test_incompatible_inputs_are_rejected(
    tools: dict[str, Any], gpus: tuple[str, ...], extra: dict[str, str], words: str
) -> None:
    with pytest.raises(HerdError, match=words):
        options(tools, gpus, extra=extra)


def name(**changes: Any) -> str:
    tools = {**TOOLS, **changes.get("tools", {})}
    release = {**RELEASE, **changes.get("release", {})}
    source = {**SOURCE, **changes.get("source", {})}
    return build_rules.build_id(release, source, tools, options(tools, extra=changes.get("extra")))


def test_the_same_inputs_give_the_same_id() -> None:
    assert name() == name()
    assert name().startswith("0c1e57098-cpu-")


@pytest.mark.parametrize(
    "change",
    [
        {"tools": {"cc_identity": "gcc (Debian 12.2.0-14+deb12u2) 12.2.0"}},
        {"tools": {"cxx": "/usr/bin/g++-12"}},
        {"source": {"sha256": "b" * 64}},
        {"release": {"commit": "f" * 40}},
        {"release": {"targets": ["llama-server", "ggml-rpc-server", "llama-cli"]}},
        {"extra": {"GGML_OPENMP": "OFF"}},
    ],
)
def test_other_inputs_give_another_id(change: dict[str, Any]) -> None:
    assert name(**change) != name()


@pytest.mark.parametrize(
    "change", [{"source": {"path": "/elsewhere/x.tar.gz"}}, {"tools": {"ccache": None, "env": {"PATH": "/bin"}}}]
)
def test_inputs_without_effect_do_not_change_the_id(change: dict[str, Any]) -> None:
    assert name(**change) == name()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("[12/238] Linking CXX shared library bin/libggml-base.so.0.25.3\n", (12, 238)),
        ("[238/238] Linking CXX executable bin/ggml-rpc-server\n", (238, 238)),
        ("ninja: Entering directory `build'\n", None),
        ("FAILED: [code=1] x.o\n", None),
    ],
)
def test_ninja_progress_reads_done_and_total(line: str, expected: tuple[int, int] | None) -> None:
    assert build_rules.ninja_progress(line) == expected


def test_libraries_of_the_system_are_not_bundled() -> None:
    needed = build_rules.parse_ldd((FIXTURES / "ldd-llama-server.txt").read_text(encoding="utf-8"))
    assert needed["libstdc++.so.6"] == "/lib/x86_64-linux-gnu/libstdc++.so.6"
    own = [library for library in needed if library.startswith(("libggml", "libllama", "libmtmd"))]
    assert build_rules.libraries_to_bundle(needed, own) == {"libgomp.so.1": "/opt/build/bin/libgomp.so.1"}


@pytest.mark.parametrize(
    ("needed", "bring"),
    [
        ({"libcuda.so.1": None, "libcublas.so.12": "/c/libcublas.so.12"}, {"libcublas.so.12": "/c/libcublas.so.12"}),
        ({"libcudart.so.12": "/c/libcudart.so.12"}, {"libcudart.so.12": "/c/libcudart.so.12"}),
        ({"libc.so.6": "/lib/libc.so.6", "ld-linux-x86-64.so.2": "/lib64/ld"}, {}),
    ],
)
def test_the_cuda_runtime_is_bundled_and_the_driver_is_not(
    needed: dict[str, str | None], bring: dict[str, str]
) -> None:
    assert build_rules.libraries_to_bundle(needed, []) == bring


def test_openssl_is_not_bundled() -> None:
    needed = {"libssl.so.3": "/lib/libssl.so.3", "libcrypto.so.3": "/lib/libcrypto.so.3"}
    assert build_rules.libraries_to_bundle(needed, []) == {}
    build_rules.require_tls({"LLAMA_OPENSSL": "ON"}, needed)


def test_a_build_that_lacks_required_tls_is_rejected() -> None:
    build_rules.require_tls({"LLAMA_OPENSSL": "OFF"}, {})
    with pytest.raises(HerdError, match="cmake did not find OpenSSL 3"):
        build_rules.require_tls({"LLAMA_OPENSSL": "ON"}, {"libc.so.6": "/lib/libc.so.6"})


def test_a_missing_library_is_an_error() -> None:
    with pytest.raises(HerdError, match=r"The build host has no libcurl.so.4"):
        build_rules.libraries_to_bundle({"libcurl.so.4": None}, [])


@pytest.mark.parametrize("fixture", ["readelf-rpath.txt", "readelf-runpath.txt"])
def test_runpath(fixture: str) -> None:
    assert build_rules.parse_runpath((FIXTURES / fixture).read_text(encoding="utf-8")) == "$ORIGIN"


def test_manifest() -> None:
    found = build_rules.manifest(
        RELEASE, SOURCE, TOOLS, options(), {"llama-server": ["--port"]}, {"bin/b": {"size": 1}, "bin/a": {"link": "b"}}
    )
    assert found["id"] == name()
    assert found["programs"]["worker"] == "ggml-rpc-server"
    assert list(found["files"]) == ["bin/a", "bin/b"]
    assert "path" not in found["source"]
    assert found["cuda"] is None
