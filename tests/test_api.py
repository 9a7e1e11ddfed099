"""The public names: they load, and each says what it is."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

import synaptic_mesh as sm

SOURCE = Path(__file__).parent.parent / "src" / "synaptic_mesh"
PACKAGES = ("facade", "interchange", "models", "training", "engine/functions")


def public_parts(path: Path) -> list[tuple[str, ast.AST]]:
    """Public classes, functions and methods of a module."""
    found: list[tuple[str, ast.AST]] = []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            found.append((node.name, node))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            methods = [
                method
                for method in node.body
                if isinstance(method, ast.FunctionDef)
                and not method.name.startswith("_")
                and not any(ast.unparse(decorator).endswith(".setter") for decorator in method.decorator_list)
            ]
            found += [(f"{node.name}.{m.name}", m) for m in methods]
    return found


@pytest.mark.parametrize("name", [name for name in sm.__all__ if name != "__version__"])
def test_a_public_name_loads_and_says_what_it_is(name: str) -> None:
    value = getattr(sm, name)
    assert inspect.getdoc(value), name
    module = importlib.import_module(f"synaptic_mesh.{sm._HOMES[name]}")
    assert getattr(module, name) is value
    if inspect.isclass(value):
        for method, function in inspect.getmembers(value, inspect.isfunction):
            if not method.startswith("_"):
                assert inspect.getdoc(function), f"{name}.{method}"


def test_the_names_are_listed_once() -> None:
    assert sorted(sm.__all__) == sorted([*sm._HOMES, "__version__"])
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        sm.nothing  # noqa: B018


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_part_has_a_docstring(package: str) -> None:
    for path in sorted((SOURCE / package).rglob("*.py")):
        for name, node in public_parts(path):
            assert ast.get_docstring(node), f"{path.relative_to(SOURCE)}: {name}"  # type: ignore[arg-type]
