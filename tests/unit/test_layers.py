"""Imports follow the layers of docs/architecture.md.

core imports the standard library and core. ports import the standard library, requests and core's errors. The agent
imports the standard library and core. Only its gateway and the reader of vLLM's configuration, which have their own
environments, import further libraries. The benchmark's client, which runs on the controller, imports aiohttp.
Modules, action and lookup plugins import ports and core, filters only core. core has no I/O and reads no clock. Within
core, a package imports only packages that precede it in ORDER.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[2] / "plugins"
PREFIX = "ansible_collections.herd.inference.plugins."

#: Modules of the standard library with which code could read or change the system.
WORLD = {
    "asyncio",
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

#: Methods of datetime that read the clock. core imports datetime for its values only.
CLOCK = {"now", "utcnow", "today"}

#: Parts of those modules that only compute values.
PURE = {"urllib.parse"}

#: The prefixes that each layer may import beside the standard library.
ALLOWED = {
    "core": ("core",),
    "agent": ("agent", "core"),
    "yaml reader": ("agent", "core", "yaml"),
    "gateway": ("agent", "core", "aiohttp", "msgspec", "multidict", "prometheus_client"),
    # Beside errors, rules that core or the agent's own transport share.
    "ports": (
        "core.download.identity",
        "core.download.refusals",
        "core.download.retry",
        "core.engine.api_answers",
        "core.errors",
        "core.host.certificate",
        "core.host.unit_syntax",
        "core.vllm.planning.hub_address",
        "ports",
        "requests",
    ),
    "load client": ("aiohttp", "core.benchmark", "core.errors", "ports"),
    "herd_module.py": ("ansible.module_utils.basic", "core.errors"),
    "modules": ("ansible.module_utils", "core", "herd_module", "ports"),
    "filter": ("core",),
    "action": ("ansible", "core", "plugin_utils"),
    "plugin_utils": ("ansible", "core"),
    "lookup": ("ansible", "core", "ports"),
}

#: The packages of core and what each may import beside itself: everything in the rows before its own.
ORDER = (
    {"errors", "text", "timefmt"},
    {"values"},
    {"host", "download"},
    {"models"},
    {"engine"},
    {"placement"},
    {"release", "supervision", "slurm"},
    {"vllm"},
    {"gateway"},
    {"operations"},
    {"benchmark"},
)
ROW = {package: row for row, packages in enumerate(ORDER) for package in packages}


def layer_of(path: Path) -> str:
    parts = path.relative_to(PLUGINS).parts
    if parts[:3] == ("module_utils", "agent", "gateway"):
        return "gateway"
    if parts == ("module_utils", "agent", "vllm", "config_file.py"):
        return "yaml reader"
    if parts == ("module_utils", "ports", "benchmark", "load_client.py"):
        return "load client"
    return parts[1] if parts[0] == "module_utils" else parts[0]


def imports(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield every import at run time: those of TYPE_CHECKING blocks are skipped."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for otherwise in node.orelse:
                yield from imports(ast.Module([otherwise], []))
        else:
            yield from imports(node)


def dotted(path: Path) -> str:
    """Name a file by its path below module_utils/, or else below plugins/: core.slurm.queue."""
    parts = path.relative_to(PLUGINS).with_suffix("").parts
    return ".".join(parts[1:] if parts[0] == "module_utils" else parts)


def is_folder(name: str) -> bool:
    return (PLUGINS / "module_utils" / name.replace(".", "/")).is_dir()


def names(path: Path) -> Iterator[str]:
    """Return a file's imports, one name for each file; our own are shortened to core.x, ports.x and so on."""
    for node in imports(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
            continue
        if node.level:
            base = ".".join([*dotted(path).split(".")[: -node.level], *([node.module] if node.module else [])])
        else:
            assert node.module
            base = node.module.removeprefix(PREFIX).removeprefix("module_utils.")
        if base.split(".")[0] in ("core", "ports", "agent") and is_folder(base):
            yield from (f"{base}.{alias.name}" for alias in node.names)
        else:
            yield base


FILES = sorted(path for path in PLUGINS.rglob("*.py") if layer_of(path) in ALLOWED)


def test_files_of_all_layers_are_found() -> None:
    assert {layer_of(path) for path in FILES} >= {"core", "ports", "modules", "filter"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PLUGINS)))
def test_imports_follow_the_layers(path: Path) -> None:
    layer = layer_of(path)
    for name in names(path):
        top = name.split(".")[0]
        if top in sys.stdlib_module_names:
            assert layer != "core" or name in PURE or top not in WORLD, f"{path.name} in core imports {name}"
            continue
        assert any(name == prefix or name.startswith(prefix + ".") for prefix in ALLOWED[layer]), (
            f"{path.name} in {layer} imports {name}; allowed beside the standard library: {', '.join(ALLOWED[layer])}"
        )


def test_all_our_imports_exist() -> None:
    known = {dotted(path) for path in FILES}
    missing = {
        f"{dotted(path)} imports {name}"
        for path in FILES
        for name in names(path)
        if name.split(".")[0] in ("core", "ports", "agent") and name not in known
    }
    assert not missing


def test_core_and_agent_have_no_import_cycle() -> None:
    graph = {dotted(path): set(names(path)) for path in FILES if layer_of(path) in ("core", "agent", "yaml reader")}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"files import themselves in a circle: {' -> '.join((*above, name))}"
        if name not in done:
            for next_name in graph.get(name, ()):
                visit(next_name, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("path", [path for path in FILES if layer_of(path) == "core"], ids=dotted)
def test_packages_of_core_import_in_order(path: Path) -> None:
    package = dotted(path).split(".")[1]
    assert package in ROW, f"{package} has no place in ORDER"
    for name in names(path):
        other = name.split(".")[1] if name.startswith("core.") else package
        assert other == package or ROW[other] < ROW[package], (
            f"core.{package} imports {name}, which does not precede it in ORDER"
        )


@pytest.mark.parametrize("path", [path for path in FILES if layer_of(path) == "core"], ids=dotted)
def test_core_reads_no_clock(path: Path) -> None:
    calls = {
        node.func.attr
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert not calls & CLOCK, f"{path.name} in core reads the clock"


@pytest.mark.parametrize("path", [path for path in FILES if layer_of(path) == "core"], ids=dotted)
def test_core_has_no_io(path: Path) -> None:
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & {"open", "print", "input", "exec", "eval"}
