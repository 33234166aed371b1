"""Argument specs and defaults of every role agree in both directions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = sorted(path for path in (Path(__file__).parents[2] / "roles").iterdir() if path.is_dir())


def load(path: Path) -> dict[str, Any]:
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.exists() else {}


def options(role: Path) -> dict[str, dict[str, Any]]:
    specs = load(role / "meta" / "argument_specs.yml")["argument_specs"]
    return {name: option for entry in specs.values() for name, option in entry.get("options", {}).items()}


def is_literal(value: Any) -> bool:
    return "{{" not in str(value)


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_defaults_and_options_match(role: Path) -> None:
    required = {name for name, option in options(role).items() if option.get("required")}
    assert set(options(role)) - required == set(load(role / "defaults" / "main.yml"))


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_documented_defaults_equal_the_real_ones(role: Path) -> None:
    defaults = load(role / "defaults" / "main.yml")
    for name, option in options(role).items():
        if name in defaults and is_literal(defaults[name]):
            assert "default" in option or defaults[name] is None, f"{name}: the spec lacks its default"
        if "default" in option:
            assert option["default"] == defaults[name], name


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_variable_names_begin_with_the_name_of_their_role(role: Path) -> None:
    assert all(name.startswith(f"{role.name}_") for name in load(role / "defaults" / "main.yml"))
    assert all(name.startswith(f"_{role.name}_") for name in load(role / "vars" / "main.yml"))


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_options_are_described(role: Path) -> None:
    for name, option in options(role).items():
        assert option.get("description"), name
        assert option.get("type"), name


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_main_only_imports_the_phases_in_order(role: Path) -> None:
    phases = ["preflight.yml", "install.yml", "configure.yml", "service.yml", "verify.yml"]
    tasks: Any = load(role / "tasks" / "main.yml")
    assert all(set(task) <= {"name", "ansible.builtin.import_tasks", "when", "tags"} for task in tasks)
    imported = [phases.index(task["ansible.builtin.import_tasks"]) for task in tasks]
    assert imported == sorted(imported)
