"""The small laws of the house, checked by a machine instead of a review comment."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
LINES_MAX = 600
FUNCTION_LINES_MAX = 80
REPOSITORY_BYTES_MAX = 20 << 20
FILE_BYTES_MAX = 512 << 10


def tracked() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listing.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT / "src")))
def test_source_file(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert text.count("\n") <= LINES_MAX, f"{path} is longer than {LINES_MAX} lines: look for the second noun inside it"
    assert ast.get_docstring(tree), f"{path} has no docstring"
    assert path.name not in {"utils.py", "helpers.py", "misc.py", "common.py"}, f"{path}: a module is one noun"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= FUNCTION_LINES_MAX, f"{path}:{node.lineno} {node.name} has {length} lines"
        if isinstance(node, ast.ExceptHandler) and all(isinstance(part, ast.Pass) for part in node.body):
            kind = ast.unparse(node.type) if node.type else "everything"
            assert kind not in {"everything", "Exception", "BaseException"}, f"{path}:{node.lineno} swallows {kind}"
        if isinstance(node, ast.Assert):
            raise AssertionError(f"{path}:{node.lineno}: use invariant(), `python -O` removes assert")
    unfinished = re.search(r"\b(TODO|FIXME|XXX|placeholder|not implemented yet)\b", text, re.IGNORECASE)
    assert unfinished is None, f"{path}: {unfinished and unfinished.group()}: finish it or file an issue"


@pytest.mark.parametrize("path", TESTS, ids=lambda p: str(p.relative_to(ROOT / "tests")))
def test_tests_neither_sleep_nor_read_clocks(path: Path) -> None:
    clocks = {"time", "monotonic", "perf_counter", "process_time", "thread_time", "time_ns", "monotonic_ns"}
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner = node.func.value
        if not isinstance(owner, ast.Name):
            continue
        where = f"{path}:{node.lineno}"
        if node.func.attr == "sleep" and owner.id in {"time", "asyncio"}:
            zero = len(node.args) == 1 and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0
            assert zero, f"{where}: a test waits for a condition, it does not sleep"
        if owner.id == "time" and node.func.attr in clocks:
            raise AssertionError(f"{where}: benchmarks live in bench/, tests do not read clocks")


def test_nothing_large_is_tracked() -> None:
    sizes = {path: path.stat().st_size for path in tracked()}
    assert sum(sizes.values()) < REPOSITORY_BYTES_MAX
    for path, size in sizes.items():
        assert size < FILE_BYTES_MAX, f"{path} has {size} bytes"


def test_lock_names_no_download_address() -> None:
    text = (ROOT / "lock.txt").read_text()
    assert "--hash=sha256:" in text
    assert not re.search(r"https?://|file:|--index-url|--find-links", text)


def test_text_has_no_emoji() -> None:
    emoji = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf]")
    for path in tracked():
        if path.suffix in {".md", ".py", ".toml", ".js", ".html", ".css", ".sh"}:
            found = emoji.search(path.read_text(errors="replace"))
            assert found is None, f"{path}: {found and found.group()!r}"
