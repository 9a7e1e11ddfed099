"""Einsum as movements, products and sums."""

import math
from collections.abc import Sequence

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.trace import Tensor, matmul
from synaptic_mesh.interchange.onnx_values import Call, Value


def einsum(call: Call) -> Value:
    """Return the node's result. Raises LocalError as `contract`."""
    return call.result(contract(call.get("equation"), [call.floats(i) for i in range(len(call.inputs))]))


def contract(equation: str, tensors: Sequence[Tensor]) -> Tensor:
    """Return the einsum of one or more tensors, from the first on. Raises LocalError for a diagonal."""
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(tensors) or not tensors:
        raise LocalError(f"einsum {text!r} does not fit {len(tensors)} operands")
    terms = [_without_dots(term, tensor) for term, tensor in zip(terms, tensors, strict=True)]
    letters = "".join(terms)
    if any(len(set(term)) != len(term) for term in terms):
        raise LocalError(f"einsum {text!r} takes a diagonal, which is not computed")
    dots = "".join(sorted({letter for letter in letters if letter.isdigit()}))
    found = dots + "".join(sorted(c for c in set(letters) if letters.count(c) == 1 and not c.isdigit()))
    wanted = right.replace("...", dots) if arrow else found
    total, term = tensors[0], terms[0]
    for i in range(1, len(tensors)):
        later = set(wanted).union(*terms[i + 1 :])
        kept = "".join(sorted((set(term) | set(terms[i])) & later)) if i + 1 < len(tensors) else wanted
        total, term = _product(total, term, tensors[i], terms[i], kept), kept
    return total if len(tensors) > 1 else _arranged(total, term, wanted)


def _without_dots(term: str, x: Tensor) -> str:
    """Digits stand for the axes of an ellipsis, counted from the last."""
    if "..." not in term:
        return term
    count = len(x.shape) - (len(term) - 3)
    return term.replace("...", "".join(str(count - 1 - i) for i in range(count)))


def _arranged(x: Tensor, term: str, wanted: str) -> Tensor:
    """Sum what is not wanted, the last axis first, and put the rest in order."""
    for axis in reversed(range(len(term))):
        if term[axis] not in wanted:
            x, term = x.sum(axis), term[:axis] + term[axis + 1 :]
    return x.transpose(*(term.index(letter) for letter in wanted)) if len(term) > 1 else x


def _product(a: Tensor, left: str, b: Tensor, right: str, wanted: str) -> Tensor:
    """One batched matrix product: letters of both that stay are the batch, those that go are summed."""
    both = [letter for letter in left if letter in right]
    batch = [letter for letter in both if letter in wanted]
    inner = [letter for letter in both if letter not in wanted]
    rows = [letter for letter in left if letter not in right and letter in wanted]
    columns = [letter for letter in right if letter not in left and letter in wanted]
    extents = {**dict(zip(left, a.shape, strict=True)), **dict(zip(right, b.shape, strict=True))}
    a = _arranged(a, left, "".join(batch + rows + inner))
    b = _arranged(b, right, "".join(batch + inner + columns))

    def size(letters: list[str]) -> int:
        return math.prod(extents[letter] for letter in letters)

    product = matmul(
        a.reshape(size(batch), size(rows), size(inner)), b.reshape(size(batch), size(inner), size(columns))
    )
    order = batch + rows + columns
    found = product.reshape(*(extents[letter] for letter in order))
    return found.transpose(*(order.index(letter) for letter in wanted)) if len(order) > 1 else found
