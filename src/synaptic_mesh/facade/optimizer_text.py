"""Optimizers as text: the rule's name and its settings, nested for clipping and weight decay."""

from typing import Any

import msgspec

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.adaptive import Adagrad, Adam, Lion, RMSprop
from synaptic_mesh.engine.gradient_rules import ClipByGlobalNorm, ClipByValue, WeightDecay
from synaptic_mesh.engine.optimizers import SGD, AdamW, Momentum, Nesterov, Optimizer
from synaptic_mesh.engine.resilient import IRpropMinus, Quickprop

RULES: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (SGD, Momentum, Nesterov, Adagrad, RMSprop, Adam, AdamW, Lion, IRpropMinus, Quickprop)
}
WRAPPERS: dict[str, type[Any]] = {kind.__name__: kind for kind in (ClipByGlobalNorm, ClipByValue, WeightDecay)}
DEPTH_MAX = 8


def encode_optimizer(optimizer: Optimizer) -> str | None:
    """Return the optimizer as JSON, or None for a rule that is not ours."""
    plain = _to_plain(optimizer)
    return None if plain is None else msgspec.json.encode(plain).decode()


def decode_optimizer(text: str) -> Optimizer:
    """Return the optimizer that `encode_optimizer` wrote. Raises LocalError when the text is something else."""
    try:
        return _from_plain(msgspec.json.decode(text), DEPTH_MAX)
    except (msgspec.MsgspecError, KeyError, TypeError, RecursionError) as error:
        raise LocalError(f"the optimizer's description cannot be read: {error}") from None


def _to_plain(optimizer: Optimizer) -> dict[str, Any] | None:
    name = type(optimizer).__name__
    if name in RULES:
        return {"rule": name, **msgspec.to_builtins(optimizer)}
    if name not in WRAPPERS:
        return None
    inner = _to_plain(optimizer.optimizer)  # type: ignore[attr-defined]
    settings = {field: getattr(optimizer, field) for field in WRAPPERS[name].__struct_fields__ if field != "optimizer"}
    return None if inner is None else {"rule": name, **settings, "optimizer": inner}


def _from_plain(plain: dict[str, Any], depth: int) -> Optimizer:
    settings = dict(plain)
    name = settings.pop("rule")
    if name in WRAPPERS and depth:
        inner = _from_plain(settings.pop("optimizer"), depth - 1)
        wrapped: Optimizer = WRAPPERS[name](inner, **settings)
        return wrapped
    rule: Optimizer = msgspec.convert(settings, type=RULES[name])
    return rule
