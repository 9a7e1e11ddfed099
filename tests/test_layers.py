"""The order of the packages, written once, and what a core may not touch (ARCHITECTURE.md, "Layers")."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "synaptic_mesh"

# An import points only to a lower number; packages with the same number do not know each other.
LAYERS = {
    "base": 0,
    "identity": 1,
    "engine": 1,
    "consensus": 2,
    "ledger": 2,
    "models": 2,
    "training": 3,
    "collab": 4,
    "interchange": 4,
    "transport": 5,
    "storage": 5,
    "workers": 5,
    "node": 6,
    "facade": 7,
    "sim": 7,
    "bench": 8,
    "demo": 8,
    "cli": 9,
}
# Storage keeps what others hand it as bytes, transport moves it: neither may learn what it means.
EXTRA_BANS = {
    "consensus": {"ledger", "engine"},
    "ledger": {"engine", "consensus"},
    "transport": {"engine", "consensus", "ledger", "models", "training", "collab"},
    "storage": {"engine", "consensus", "ledger", "models", "training", "collab"},
}
CORES = ("base", "identity", "engine", "consensus", "ledger", "models", "collab")
CORE_BANS = {
    "asyncio", "socket", "ssl", "select", "selectors", "threading", "multiprocessing", "subprocess", "concurrent",
    "time", "datetime", "os", "shutil", "tempfile", "signal", "secrets", "uuid", "logging", "pickle", "shelve",
    "lmdb", "zenoh", "wasmtime", "llvmlite", "uvloop", "rich", "typer",
}  # fmt: skip
# A certificate's validity is a pair of dates that the caller passes in.
CORE_EXCEPTIONS = {("identity/certificates.py", "datetime")}


def modules(package: str) -> list[Path]:
    return sorted((SOURCE / package).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            yield node.lineno, node.module or ""


def test_every_package_has_a_layer() -> None:
    found = {p.name for p in SOURCE.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert found == set(LAYERS)


@pytest.mark.parametrize("package", sorted(LAYERS))
def test_imports_point_down(package: str) -> None:
    for path in modules(package):
        for line, name in imports(path):
            parts = name.split(".")
            if parts[0] != "synaptic_mesh" or len(parts) < 2 or parts[1] == package:
                continue
            where = f"{path.relative_to(SOURCE)}:{line}"
            assert LAYERS[parts[1]] < LAYERS[package], f"{where}: {package} may not import {parts[1]}"
            assert parts[1] not in EXTRA_BANS.get(package, set()), f"{where}: {package} may not know {parts[1]}"


@pytest.mark.parametrize("package", CORES)
def test_cores_do_no_io(package: str) -> None:
    for path in modules(package):
        for line, name in imports(path):
            top = name.split(".")[0]
            relative = str(path.relative_to(SOURCE))
            if (relative, top) in CORE_EXCEPTIONS:
                continue
            assert top not in CORE_BANS, f"{relative}:{line}: a core may not import {name}"


@pytest.mark.parametrize("package", CORES)
def test_cores_draw_no_unseeded_randomness(package: str) -> None:
    for path in modules(package):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            owner = node.func.value
            where = f"{path.relative_to(SOURCE)}:{node.lineno}"
            if isinstance(owner, ast.Name) and owner.id == "random":
                assert node.func.attr == "Random", f"{where}: randomness comes from base/seeds.py"
                assert node.args, f"{where}: a generator needs a seed"
            if node.func.attr == "default_rng":
                assert node.args, f"{where}: a numpy generator needs a seed"
            if isinstance(owner, ast.Attribute) and owner.attr == "random":
                assert node.func.attr in {"default_rng", "Generator", "Philox"}, f"{where}: unseeded numpy randomness"


def test_subpackages_reexport_nothing() -> None:
    for package in LAYERS:
        for path in (SOURCE / package).rglob("__init__.py"):
            body = ast.parse(path.read_text()).body
            only_docstring = (
                len(body) == 1 and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
            )
            assert only_docstring, f"{path.relative_to(SOURCE)} holds a docstring and nothing else"
