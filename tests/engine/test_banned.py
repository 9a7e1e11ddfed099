"""Exact code does not call what rounds as it likes: libm, library sums, products and transcendentals."""

import ast
from pathlib import Path

import pytest

ENGINE = Path(__file__).parents[2] / "src" / "synaptic_mesh" / "engine"
SOURCES = sorted(ENGINE.rglob("*.py"))

NUMPY_BANNED = {
    *("sum", "nansum", "mean", "average", "var", "std", "median", "prod", "cumsum", "cumprod", "trace"),
    *("dot", "vdot", "inner", "matmul", "einsum", "tensordot", "kron", "convolve", "correlate", "linalg", "fft"),
    *("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "power", "float_power", "tanh", "sinh", "cosh"),
    *("sin", "cos", "tan", "arctan", "arctan2", "hypot", "cbrt", "logaddexp", "reciprocal"),
    *("maximum", "minimum", "fmax", "fmin", "bincount", "histogram", "clip", "interp", "random"),
}
UFUNC_METHODS = {"reduce", "accumulate", "reduceat", "at", "outer"}
MATH_BANNED = {
    "exp",
    "log",
    "log2",
    "log10",
    "log1p",
    "pow",
    "tanh",
    "sin",
    "cos",
    "tan",
    "fsum",
    "hypot",
    "erf",
    "sumprod",
}


def banned_uses(tree, name):
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner, attribute = node.value.id, node.attr
            functions = {"np": NUMPY_BANNED, "numpy": NUMPY_BANNED, "math": MATH_BANNED}.get(owner, set())
            if attribute in functions:
                yield f"{name}:{node.lineno} {owner}.{attribute}"
        if isinstance(node, ast.Attribute) and node.attr in UFUNC_METHODS and ast.unparse(node).startswith("np."):
            yield f"{name}:{node.lineno} {ast.unparse(node)}"
        if isinstance(node, ast.ImportFrom) and node.module in ("numpy", "math"):
            yield f"{name}:{node.lineno} from {node.module} import hides what is called"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_engine_sources_are_clean(path):
    assert list(banned_uses(ast.parse(path.read_text()), path.name)) == []


EXACT = [
    *(
        ENGINE / f"{name}.py"
        for name in ("reference", "polynomials", "powers", "trigonometry", "threefry", "initializers")
    ),
    *sorted((ENGINE / "executors").glob("*.py")),
]


@pytest.mark.parametrize("path", EXACT, ids=lambda path: path.name)
def test_no_operator_hides_a_banned_function(path):
    """`a @ b`, `a ** b` and `array.sum()` are library calls too."""
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, ast.MatMult), f"{path.name}: @"
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
            assert isinstance(node.left, ast.Constant), f"{path.name}:{node.lineno}: power of a variable"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            method = node.func.attr in ("sum", "mean", "dot", "prod", "cumsum", "var", "std")
            integers = ast.unparse(node.func) == "math.prod"  # over extents
            assert integers or not method, f"{path.name}:{node.lineno}: .{node.func.attr}()"


@pytest.mark.parametrize(
    "code",
    ["np.sum(x)", "numpy.dot(a, b)", "np.maximum(a, b)", "math.exp(x)", "np.add.reduce(x)", "from numpy import exp"],
)
def test_the_scan_sees(code):
    assert list(banned_uses(ast.parse(code), "x.py"))
