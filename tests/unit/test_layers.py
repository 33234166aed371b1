"""The directions of dependence of docs/architecture.md, held with ast.

core imports the standard library and core; ports the standard library, requests and core's errors; modules
and action plugins import ports and core; filters only core. Nothing under core touches the world.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[2] / "plugins"
PREFIX = "ansible_collections.herd.inference.plugins."

#: Modules of the standard library with which code could look at, or change, the world.
WORLD = {
    "asyncio",
    "datetime",
    "fcntl",
    "glob",
    "http",
    "io",
    "multiprocessing",
    "os",
    "pathlib",
    "random",
    "selectors",
    "shutil",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "urllib",
}

#: Parts of those that only work on values.
PURE = {"urllib.parse"}

#: What each layer may import beside the standard library, as prefixes.
ALLOWED = {
    "core": ("core",),
    "ports": ("core.errors", "ports", "requests"),
    "modules": ("ansible.module_utils", "core", "ports"),
    "filter": ("core",),
    "action": ("ansible", "core", "plugin_utils"),
    "plugin_utils": ("ansible", "core"),
}


def layer_of(path: Path) -> str:
    parts = path.relative_to(PLUGINS).parts
    return parts[1] if parts[0] == "module_utils" else parts[0]


def imports(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Every import that happens when the program runs: TYPE_CHECKING blocks do not."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for otherwise in node.orelse:
                yield from imports(ast.Module([otherwise], []))
        else:
            yield from imports(node)


def names(path: Path) -> Iterator[str]:
    """What a file imports, with our own parts shortened to core.x, ports.x and so on."""
    layer = layer_of(path)
    for node in imports(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif node.level:
            package = {1: layer, 2: ""}[node.level]
            base = ".".join(filter(None, (package, node.module)))
            yield from ([base] if node.module else [f"{base}.{alias.name}" for alias in node.names])
        else:
            assert node.module
            shortened = node.module.removeprefix(PREFIX).removeprefix("module_utils.")
            if shortened in ("core", "ports"):
                yield from (f"{shortened}.{alias.name}" for alias in node.names)
            else:
                yield shortened


FILES = sorted(path for path in PLUGINS.rglob("*.py") if layer_of(path) in ALLOWED)


def test_there_are_files_to_look_at() -> None:
    assert {layer_of(path) for path in FILES} >= {"core", "ports", "modules", "filter"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PLUGINS)))
def test_imports_go_one_way(path: Path) -> None:
    layer = layer_of(path)
    for name in names(path):
        top = name.split(".")[0]
        if top in sys.stdlib_module_names:
            assert layer != "core" or name in PURE or top not in WORLD, f"{path.name} in core imports {name}"
            continue
        assert any(name == prefix or name.startswith(prefix + ".") for prefix in ALLOWED[layer]), (
            f"{path.name} in {layer} imports {name}; allowed beside the standard library: {', '.join(ALLOWED[layer])}"
        )


def test_core_has_no_circle() -> None:
    graph = {
        path.stem: {name.split(".")[1] for name in names(path) if name.startswith("core.")}
        for path in FILES
        if layer_of(path) == "core"
    }
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"core imports itself in a circle: {' -> '.join((*above, name))}"
        if name not in done:
            for next_name in graph.get(name, ()):
                visit(next_name, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("path", [path for path in FILES if layer_of(path) == "core"], ids=lambda path: path.stem)
def test_core_opens_nothing(path: Path) -> None:
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & {"open", "print", "input", "exec", "eval"}
