"""Optimizers for whole batches that use the sign of the slope or a parabola through two slopes: iRPROP- and Quickprop.

Both need the gradient of the same rows in every step; on small drawn batches their memory of the last slope misleads.
"""

from collections.abc import Mapping

import msgspec
import numpy as np

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.engine.adaptive import sign_of
from synaptic_mesh.engine.ir import Shape
from synaptic_mesh.engine.optimizers import Tensors, zeros_like
from synaptic_mesh.engine.trace import Tensor, maximum, minimum, where


class IRpropMinus(msgspec.Struct, frozen=True):
    """A step d for each element: x 1.2 while the slope keeps its sign, x 0.5 and no move when it turns.

    s = g * g_last; d = min(d up, d_max) if s > 0, max(d down, d_min) if s < 0; g = 0 if s < 0; p = p - sign(g) d.
    Igel and Huesken 2000, "Improving the Rprop learning algorithm", iRPROP-.
    """

    first_step: float = 0.1
    increase: float = 1.2
    decrease: float = 0.5
    step_min: float = 1e-6
    step_max: float = 50.0

    def initial_state(self, parameters: Mapping[str, Shape]) -> dict[str, Array]:
        """Steps "d/<parameter>" of first_step, last slopes "g/<parameter>" of zero."""
        steps = {f"d/{name}": np.full(shape, self.first_step, np.float32) for name, shape in parameters.items()}
        return {**steps, **zeros_like(parameters, "g")}

    def update(self, parameters: Tensors, gradient: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
        """Steps first, then the parameters."""
        moved: Tensors = {}
        after: Tensors = {}
        for name, parameter in parameters.items():
            g, d = gradient[name], state[f"d/{name}"]
            agreement = sign_of(g) * sign_of(state[f"g/{name}"])  # of signs: a product of small slopes underflows
            longer = minimum(d * self.increase, self.step_max)
            shorter = maximum(d * self.decrease, self.step_min)
            d = where(agreement > 0.0, longer, where(agreement < 0.0, shorter, d))
            g = where(agreement < 0.0, 0.0, g)
            moved[name] = parameter - sign_of(g) * d
            after[f"d/{name}"], after[f"g/{name}"] = d, g
        return moved, after


class Quickprop(msgspec.Struct, frozen=True):
    """Jump to the lowest point of the parabola through the last two slopes, at most `growth` times the last step.

    Fahlman 1988, "Faster-learning variations on back-propagation", in the form of libfann 2.2 with slope s = -g:
    after a step above +0.001: t = (lr s if s > 0 else 0) + (growth t if s > shrink s_last else t s / (s_last - s)),
    shrink = growth / (1 + growth); after one below -0.001 with both comparisons turned; else t = lr s. A parabola
    without curvature moves nothing. p = p + t within +-weight_max.
    """

    learning_rate: float = 0.1
    growth: float = 1.75
    weight_decay: float = 0.0001
    weight_max: float = 1500.0

    def initial_state(self, parameters: Mapping[str, Shape]) -> dict[str, Array]:
        """Last steps "t/<parameter>" and last slopes "s/<parameter>", zero."""
        return {**zeros_like(parameters, "t"), **zeros_like(parameters, "s")}

    def update(self, parameters: Tensors, gradient: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
        """Steps first, then the parameters."""
        moved: Tensors = {}
        after: Tensors = {}
        for name, parameter in parameters.items():
            slope = -(gradient[name] + parameter * self.weight_decay)
            step = self._step(slope, state[f"s/{name}"], state[f"t/{name}"])
            moved[name] = minimum(maximum(parameter + step, -self.weight_max), self.weight_max)
            after[f"t/{name}"], after[f"s/{name}"] = step, slope
        return moved, after

    def _step(self, slope: Tensor, last_slope: Tensor, last_step: Tensor) -> Tensor:
        linear = slope * self.learning_rate
        nearest = last_slope * (self.growth / (1.0 + self.growth))
        difference = last_slope - slope
        parabola = where(difference == 0.0, 0.0, last_step * slope / difference)
        longest = last_step * self.growth
        rising = where(slope > 0.0, linear, 0.0) + where(slope > nearest, longest, parabola)
        falling = where(slope < 0.0, linear, 0.0) + where(slope < nearest, longest, parabola)
        return where(last_step > 0.001, rising, where(last_step < -0.001, falling, linear))
