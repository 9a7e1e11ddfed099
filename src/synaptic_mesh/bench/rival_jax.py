"""The same work in jax on one CPU thread: jax.jit per call, and jax.lax.scan over all steps when the data stays in
place. The suite's environment keeps XLA to one thread before jax is imported."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.bench.cases import Case, Mode
from synaptic_mesh.bench.contestant import Prepared
from synaptic_mesh.bench.networks import NetworkWork
from synaptic_mesh.bench.networks_jax import jax_logits
from synaptic_mesh.bench.workload import PARAMETERS, RATE, Kind, Workload


class Entry:
    """jax.jit, or a jitted lax.scan."""

    name = "jax"

    def prepare(self, case: Case) -> Prepared | None:
        """Return the case ready to be run."""
        if case.work.kind is Kind.TRAIN:
            return _train(case)
        if isinstance(case.work, NetworkWork):
            placed = {name: jnp.asarray(array) for name, array in case.work.parameters().items()}
            return _pure(case, jax_logits(case.work.network), [placed], list(case.work.inputs().values()))
        parameters = [jnp.asarray(case.work.parameters()[name]) for name in PARAMETERS[: 4 * bool(case.work.rows)]]
        inputs = list(case.work.inputs().values())
        function = _product if case.work.kind is Kind.GEMM else _logits
        return _pure(case, function, parameters, inputs)


def _pure(case: Case, function: Callable[..., Any], parameters: list[Any], inputs: list[Array]) -> Prepared:
    outputs: list[Any] = []
    jitted = jax.jit(function)
    if case.mode is Mode.CALL:

        def call() -> None:
            outputs[:] = [np.asarray(jitted(*parameters, *inputs))]

        return Prepared(call, lambda: {"output": outputs[0]})
    if case.steps == 1:
        placed = [jnp.asarray(array) for array in inputs]

        def once() -> None:
            outputs[:] = [jitted(*parameters, *placed).block_until_ready()]

        return Prepared(once, lambda: {"output": np.asarray(outputs[0])})
    return _scan(case, function, parameters, inputs)


def _scan(case: Case, function: Callable[..., Any], parameters: list[Any], inputs: list[Array]) -> Prepared:
    """Each step takes a copy of the first input of its own, or XLA would compute one step for all."""
    outputs: list[Any] = []
    stacked = jnp.asarray(np.stack([inputs[0]] * case.steps))
    rest = [jnp.asarray(array) for array in inputs[1:]]

    def scan(stacked: Any) -> Any:
        first = jnp.zeros(jax.eval_shape(function, *parameters, stacked[0], *rest).shape)
        return jax.lax.scan(lambda _, x: (function(*parameters, x, *rest), None), first, stacked)[0]

    scanned = jax.jit(scan)

    def run() -> None:
        outputs[:] = [scanned(stacked).block_until_ready()]

    return Prepared(run, lambda: {"output": np.asarray(outputs[0])})


def _train(case: Case) -> Prepared:
    inputs = case.work.inputs()
    state = {name: jnp.asarray(array) for name, array in case.work.parameters().items()}
    held: list[Any] = [state, 0.0]
    step = _step_of(case.work)
    if case.mode is Mode.CALL:
        jitted = jax.jit(step, donate_argnums=0)

        def call() -> None:
            held[0], loss = jitted(held[0], inputs["x"], inputs["y"])
            held[1] = float(loss)

        return Prepared(call, partial(_results, held))
    x, y = jnp.asarray(inputs["x"]), jnp.asarray(inputs["y"])

    def scan(state: Any, x: Any, y: Any) -> Any:
        after, losses = jax.lax.scan(lambda state, _: step(state, x, y), state, None, length=case.steps)
        return after, losses[-1]

    scanned = jax.jit(scan, donate_argnums=0)

    def run() -> None:
        held[0], loss = scanned(held[0], x, y)
        held[1] = float(loss)

    return Prepared(run, partial(_results, held))


def _results(held: list[Any]) -> dict[str, Array]:
    return {"loss": np.array(held[1], np.float32), **{name: np.asarray(value) for name, value in held[0].items()}}


def _product(a: Any, b: Any) -> Any:
    return a @ b


def _logits(w1: Any, b1: Any, w2: Any, b2: Any, x: Any) -> Any:
    return jnp.maximum(x @ w1 + b1, 0) @ w2 + b2


def _named_logits(state: dict[str, Any], x: Any) -> Any:
    return _logits(**state, x=x)


def _step_of(work: Workload | NetworkWork) -> Callable[..., Any]:
    """Return step(parameters, x, y) -> (parameters, loss)."""
    logits = jax_logits(work.network) if isinstance(work, NetworkWork) else _named_logits

    def loss_of(state: dict[str, Any], x: Any, y: Any) -> Any:
        shares = jax.nn.log_softmax(logits(state, x))
        return -jnp.take_along_axis(shares, y[:, None], axis=1).mean()

    def step(state: dict[str, Any], x: Any, y: Any) -> Any:
        loss, gradient = jax.value_and_grad(loss_of)(state, x, y)
        return {name: value - RATE * gradient[name] for name, value in state.items()}, loss

    return step
