"""A build host gets a CUDA toolkit, or an error names the missing part. nvcc and pip are doubles."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from tests.lab.process import LabError
from tests.scenarios import cuda

FIXTURES = Path(__file__).parents[2] / "fixtures" / "toolchain"


def toolkit(root: Path, *parts: str, version: str = "13.0", archs: str = "compute_80\\ncompute_75\\n") -> Path:
    """Make a toolkit with a double of nvcc and empty files."""
    for folder in ("bin", "include", "lib64"):
        (root / folder).mkdir(parents=True)
    nvcc = root / "bin" / "nvcc"
    said = FIXTURES / f"nvcc-{version}.txt"
    nvcc.write_text(f"#!/bin/sh\ncase $1 in --version) cat {said};; *) printf '{archs}';; esac\n")
    nvcc.chmod(0o755)
    for name in parts:
        header, library = cuda.NEEDS[name]
        (root / "include" / header).touch()
        (root / "lib64" / library).touch()
    return root


def env(tmp_path: Path, root: Path) -> dict[str, str]:
    return {"HERD_CUDA_ROOT": str(root), "HERD_CACHE": str(tmp_path / "cache"), "PATH": "/nowhere"}


def test_complete_toolkit_is_used_unchanged(tmp_path: Path) -> None:
    root = toolkit(tmp_path / "cuda", "the CUDA runtime", "cuBLAS", version="12.2", archs="compute_50\\ncompute_70\\n")
    assert cuda.find(env(tmp_path, root)) == cuda.Toolkit(str(root), "12.2.140", "5.0")
    assert not (tmp_path / "cache").exists()


def test_cublas_is_added_to_a_copy_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = toolkit(tmp_path / "cuda", "the CUDA runtime")
    calls: list[tuple[str, str]] = []

    def pip(name: str, wanted: str, to: Path) -> Path:
        calls.append((name, wanted))
        wheel = to / "nvidia_cublas-13.0.2.14-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("nvidia/cu13/include/cublas_v2.h", "header")
            archive.writestr("nvidia/cu13/lib/libcublas.so.13", "library")
            archive.writestr("nvidia_cublas-13.0.2.14.dist-info/METADATA", "not for a toolkit")
        return wheel

    monkeypatch.setattr(cuda, "fetch", pip)
    for _each in range(2):
        found = cuda.find(env(tmp_path, root))
    assert calls == [("nvidia-cublas", "13.0.*")]
    assert (found.version, found.lowest) == ("13.0.88", "7.5")
    assert found.completed_with.startswith("nvidia_cublas-13.0.2.14")
    copy = Path(found.root)
    assert copy.parent == tmp_path / "cache" / "cuda"
    assert cuda.missing(copy) == []
    assert (copy / "lib64" / "libcublas.so").resolve().read_text() == "library"
    assert not list(copy.rglob("METADATA"))
    # The machine's own toolkit is not changed.
    assert cuda.missing(root) == ["cuBLAS"]
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


def test_error_names_the_missing_part_when_pip_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_args: object) -> Path:
        raise LabError("no route")

    monkeypatch.setattr(cuda, "fetch", no_network)
    root = toolkit(tmp_path / "cuda", "the CUDA runtime", version="12.4")
    with pytest.raises(LabError, match=r"without cuBLAS.*libcublas-dev.*nvidia-cublas-cu12==12\.4\.\*.*no route"):
        cuda.find(env(tmp_path, root))
    assert not list((tmp_path / "cache" / "cuda").iterdir())


def test_compiler_alone_is_not_accepted_as_a_toolkit(tmp_path: Path) -> None:
    root = toolkit(tmp_path / "cuda")
    with pytest.raises(LabError, match=r"incomplete CUDA toolkit.*lacks the CUDA runtime and cuBLAS"):
        cuda.find(env(tmp_path, root))


def test_missing_toolkit_is_reported_without_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HERD_CUDA_ROOT", str(tmp_path / "none"))
    assert cuda.main() == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["usable"] is False
    assert "expected bin/nvcc" in answer["missing"]


def test_lowest_architecture_is_the_lowest_number() -> None:
    listed = (FIXTURES / "nvcc-13.0-list-gpu-arch.txt").read_text(encoding="utf-8")
    assert cuda.lowest_of(listed) == "7.5"
    assert cuda.lowest_of("compute_100\ncompute_90\ncompute_121\n") == "9.0"


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("12.2.140", ("nvidia-cublas-cu12", "12.2.*")),
        ("13.0.88", ("nvidia-cublas", "13.0.*")),
    ],
)
def test_package_name_follows_the_toolkit_version(version: str, expected: tuple[str, str]) -> None:
    assert cuda.package(version) == expected
