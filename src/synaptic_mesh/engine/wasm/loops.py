"""Counted loops and small address arithmetic over a `Function`: the shapes every kernel is made of."""

from collections.abc import Iterator
from contextlib import contextmanager

from synaptic_mesh.engine.wasm.function import Function, Local

Bound = int | Local
"""A number known while emitting, or a local that holds it."""


def push(f: Function, bound: Bound) -> None:
    """Push a bound."""
    if isinstance(bound, Local):
        f.get(bound)
    else:
        f.i32(bound)


def advance(f: Function, variable: Local, step: Bound) -> None:
    """variable += step."""
    f.get(variable)
    push(f, step)
    f.emit("i32.add")
    f.set(variable)


@contextmanager
def counted(f: Function, variable: Local, start: Bound, stop: Bound, step: int) -> Iterator[None]:
    """Run the body with variable = start, start + step, ... while variable + step <= stop (so with step 1: below stop).
    Afterwards the variable is the first position not covered. Bounds compare as signed numbers and must stay below 2^31
    together with the step."""
    push(f, start)
    f.set(variable)
    with f.block() as done, f.loop() as again:
        f.get(variable)
        f.i32(step)
        f.emit("i32.add")
        push(f, stop)
        f.emit("i32.gt_s")
        f.br_if(done)
        yield
        advance(f, variable, step)
        f.i32(1)
        f.br_if(again)


@contextmanager
def repeated(f: Function, variable: Local, start: Bound, stop: int, step: int) -> Iterator[None]:
    """Like `counted` for loops known to run at least once: the test stands at the end, one branch per iteration.
    `stop` must be start + a multiple of step."""
    push(f, start)
    f.set(variable)
    with f.loop() as again:
        yield
        advance(f, variable, step)
        f.get(variable)
        f.i32(stop)
        f.emit("i32.lt_s")
        f.br_if(again)


@contextmanager
def stepping(f: Function, variable: Local, stop: Local, step: Bound) -> Iterator[None]:
    """Run the body with variable = 0, step, 2 step, ... while it is below stop. The last body covers what is left."""
    f.i32(0)
    f.set(variable)
    with f.block() as done, f.loop() as again:
        f.get(variable)
        f.get(stop)
        f.emit("i32.ge_s")
        f.br_if(done)
        yield
        advance(f, variable, step)
        f.i32(1)
        f.br_if(again)
