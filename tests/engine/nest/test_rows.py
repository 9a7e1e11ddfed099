"""Kernels of short rows against the reference, bit for bit: rows that fill vectors or do not, any number of columns."""

import numpy as np
import pytest
from kernel_checks import check, values_for
from random_graphs import differing_steps, outcome

from synaptic_mesh.engine.autodiff import gradients
from synaptic_mesh.engine.backend import Backend, StepInvalid
from synaptic_mesh.engine.composites import cross_entropy, log_softmax, softmax
from synaptic_mesh.engine.functions.movement import flip, narrow
from synaptic_mesh.engine.lowering import lower
from synaptic_mesh.engine.nest.text import format_loops
from synaptic_mesh.engine.optimizers import SGD, training_step
from synaptic_mesh.engine.passes import simplify
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.trace import Tensor, exp, f32, i32, matmul, one_hot, trace, where
from synaptic_mesh.workers.native_runtime import NativeBackend, host_profiles
from synaptic_mesh.workers.wasm_runtime import WasmBackend

ROWS = (1, 4, 19)
COLUMNS = (2, 3, 4, 10, 16)


@pytest.fixture(scope="module")
def backends() -> list[Backend]:
    pytest.importorskip("llvmlite")
    return [WasmBackend(), *(NativeBackend(profile=profile) for profile in host_profiles())]


@pytest.mark.parametrize("columns", COLUMNS)
def test_softmax_loss_and_gradient(backends: list[Backend], columns: int) -> None:
    def build(x: Tensor, y: Tensor, w: Tensor) -> dict[str, Tensor]:
        loss = cross_entropy(x * w, y)
        dx, dw = gradients(loss, [x, w])
        return {"loss": loss, "dx": dx, "dw": dw}

    for rows in ROWS:
        check(backends, build, {"x": f32(rows, columns), "y": i32(rows), "w": f32(rows, columns)}, below=2)


@pytest.mark.parametrize("columns", [2, 4, 7])
def test_rows_are_read_any_way(backends: list[Backend], columns: int) -> None:
    def build(x: Tensor, t: Tensor, s: Tensor, r: Tensor, i: Tensor) -> dict[str, Tensor]:
        turned, sparse = t.transpose(), narrow(s, 1, 0, columns, 2)
        total = (x * turned + sparse).sum(1)
        return {
            "all": softmax(x * turned) + r.reshape(1, columns).repeat(0, 1).reshape(columns).repeat(0, x.shape[0]),
            "back": flip(x, 1) * (flip(x, 1).max(1) + total).repeat(1, columns),
            "down": (flip(x, 0) - x).sum(1),
            "whole": (i + one_hot_integers(i)).sum(1),
            "mask": where(x < total.repeat(1, columns), x, turned).max(1),
        }

    def one_hot_integers(i: Tensor) -> Tensor:
        return i * i

    for rows in (1, 3, 21):
        shapes = {"x": f32(rows, columns), "t": f32(columns, rows), "s": f32(rows, 2 * columns), "r": f32(columns)}
        check(backends, build, {**shapes, "i": i32(rows, columns)})


@pytest.mark.parametrize("rows", [1, 5, 16])
def test_axes_in_front_are_rows_too(backends: list[Backend], rows: int) -> None:
    def build(x: Tensor, b: Tensor) -> dict[str, Tensor]:
        return {"y": log_softmax(x) * b.repeat(1, 3), "s": exp(x).sum(2)}

    check(backends, build, {"x": f32(rows, 3, 4), "b": f32(rows, 4)})


@pytest.mark.parametrize("columns", [1, 4, 10])
def test_products_with_few_columns(backends: list[Backend], columns: int) -> None:
    def build(a: Tensor, t: Tensor, w: Tensor, v: Tensor, c: Tensor) -> dict[str, Tensor]:
        bias = w[0].repeat(0, a.shape[0])
        return {
            "rows": a @ w,
            "flat": c - (a @ w) * 0.5,
            "soft": softmax(a @ w + bias) if columns > 1 else a @ w + bias,
            "left": matmul(t, w, transpose_left=True) + c,
            "right": matmul(a, v, transpose_right=True) * c + bias,
            "both": matmul(t, v, transpose_left=True, transpose_right=True),
        }

    for rows, sizes in ((1, (6,)), (2, (1, 35)), (4, (6,)), (37, (1, 35))):
        for k in sizes:
            shapes = {"a": f32(rows, k), "t": f32(k, rows), "w": f32(k, columns), "v": f32(columns, k)}
            check(backends, build, {**shapes, "c": f32(rows, columns)})


def test_a_product_with_few_columns_reads_masks_from_memory(backends: list[Backend]) -> None:
    """A mask that another kernel has stored; seed 11,818 of the long suite."""

    def build(a: Tensor, b: Tensor, c: Tensor) -> dict[str, Tensor]:
        mask = c > 0.25
        return {"kept": where(mask, a @ b, 0.0), "front": where(mask, c, 1.0), "sums": where(mask, c, 2.0).sum(0)}

    check(backends, build, {"a": f32(32, 16), "b": f32(16, 4), "c": f32(32, 4)})


def test_a_product_of_an_empty_sum_is_zero(backends: list[Backend]) -> None:
    check(backends, lambda a, b: a @ b + 1.0, {"a": f32(20, 0), "b": f32(0, 2)})


@pytest.mark.parametrize(("rows", "bad"), [(1, 0), (3, 2), (16, 15), (21, 20)])
def test_an_index_out_of_range_makes_the_step_invalid(backends: list[Backend], rows: int, bad: int) -> None:
    graph = trace(lambda x, y: (exp(x) * one_hot(y, 4)).sum(1), {"x": f32(rows, 4), "y": i32(rows)})
    values = values_for(graph, 0)
    for backend in backends:
        program = backend.compile(graph)
        program(values)
        for wrong in (4, -1, -(1 << 31)):
            labels = values["y"].copy()
            labels[bad] = wrong
            with pytest.raises(StepInvalid, match="index"):
                program({**values, "y": labels})
        program(values)


def test_every_element_of_a_checked_output_is_looked_at(backends: list[Backend]) -> None:
    for rows, columns in ((1, 4), (5, 3), (17, 2)):
        graph = trace(lambda x: x + x.max(1).repeat(1, x.shape[1]), {"x": f32(rows, columns)}, checked=("output",))
        for at in range(rows * columns):
            x = np.ones((rows, columns), np.float32)
            x.flat[at] = np.nan
            for backend in backends:
                with pytest.raises(StepInvalid, match="finite"):
                    backend.compile(graph)({"x": x})
                backend.compile(graph)({"x": np.ones_like(x)})


def test_every_element_of_a_checked_product_is_looked_at(backends: list[Backend]) -> None:
    for rows, columns in ((16, 4), (21, 2), (17, 3)):
        specs = {"a": f32(rows, 1), "b": f32(1, columns), "c": f32(rows, columns)}
        graph = trace(lambda a, b, c: c - a @ b, specs, checked=("output",))
        programs = [backend.compile(graph) for backend in backends]
        values = values_for(graph, 0) | {name: np.ones(spec.shape, np.float32) for name, spec in specs.items()}
        for at in range(rows * columns):
            c = values["c"].copy()
            c.flat[at] = np.inf
            for program in programs:
                with pytest.raises(StepInvalid, match="finite"):
                    program({**values, "c": c})
        for program in programs:
            program(values)


def test_a_parameter_of_a_row_is_updated_in_place(backends: list[Backend]) -> None:
    def loss(p: dict[str, Tensor], b: dict[str, Tensor]) -> Tensor:
        return cross_entropy(b["x"] + p["b"].repeat(0, 1), b["y"])

    graph = training_step(loss, {"b": f32(4)}, {"x": f32(1, 4), "y": i32(1)}, SGD(0.1))
    simplified = simplify(graph)
    assert lower(simplified, lambda *_: 0).copies_last == ()
    values = values_for(graph, 3)
    expected = outcome(ReferenceBackend(), graph, values)
    for backend in backends:
        assert differing_steps(expected, outcome(backend, graph, values)) == []


def test_the_loop_nest_is_text() -> None:
    graph = simplify(trace(softmax, {"x": f32(8, 4)}))
    text = format_loops(graph, lower(graph, lambda *_: 0))
    assert "rows_0 (8, 4)" in text
    assert "lanes 0 2 4 6 of" in text
