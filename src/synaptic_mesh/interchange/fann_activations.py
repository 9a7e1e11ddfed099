"""The activation functions of libfann 2.2 by number (fann_data.h, fann_activation.h), of s = sum * steepness.

FANN's sigmoid is 1 / (1 + e^-2s): the usual one at steepness 1/2. Its symmetric form is tanh(s).
"""

from collections.abc import Callable, Sequence

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions.elementwise import cos, sin
from synaptic_mesh.engine.trace import Tensor, exp, maximum, minimum, sigmoid, tanh, where

LINEAR, SIGMOID, SIGMOID_SYMMETRIC = 0, 3, 5
_NEAR = (-2.64665246009826660156, -1.47221946716308593750, -0.549306154251098632812)
_FAR = (0.549306154251098632812, 1.47221934795379638672, 2.64665293693542480469)
_SYMMETRIC_NEAR = (-2.64665293693542480469, -1.47221934795379638672, -0.549306154251098632812)
STEPS = (
    (*_NEAR, *_FAR),
    (0.00499999988824129104614, 0.0500000007450580596924, 0.25, 0.75, 0.949999988079071044922, 0.995000004768371582031),
)
SYMMETRIC_STEPS = (
    (*_SYMMETRIC_NEAR, *_FAR),
    (-0.990000009536743164062, -0.899999976158142089844, -0.5, 0.5, 0.899999976158142089844, 0.990000009536743164062),
)


def activate(function: int, s: Tensor) -> Tensor:
    """Return the function's values. Raises LocalError for one that libfann has no formula for."""
    if function not in FUNCTIONS:
        raise LocalError(
            f"FANN activation function {function} is not known; there are {', '.join(map(str, FUNCTIONS))}"
        )
    return FUNCTIONS[function](s)


def _step(low: float) -> Callable[[Tensor], Tensor]:
    return lambda s: where(s < 0.0, low, s.builder.constant(1.0, s.shape))


def _stepwise(points: tuple[Sequence[float], Sequence[float]], low: float) -> Callable[[Tensor], Tensor]:
    """Straight lines between six points; `low` before the first and 1 after the last, as libfann computes them."""
    at, value = points

    def build(s: Tensor) -> Tensor:
        found = s.builder.constant(1.0, s.shape)
        for i in reversed(range(5)):
            slope = (value[i + 1] - value[i]) / (at[i + 1] - at[i])
            found = where(s < at[i + 1], (s - at[i]) * slope + value[i], found)
        return where(s < at[0], low, found)

    return build


def _gaussian(s: Tensor) -> Tensor:
    return exp(-(s * s))


FUNCTIONS: dict[int, Callable[[Tensor], Tensor]] = {
    LINEAR: lambda s: s,
    1: _step(0.0),
    2: _step(-1.0),
    SIGMOID: lambda s: sigmoid(s + s),
    4: _stepwise(STEPS, 0.0),
    SIGMOID_SYMMETRIC: tanh,
    6: _stepwise(SYMMETRIC_STEPS, -1.0),
    7: _gaussian,
    8: lambda s: _gaussian(s) * 2.0 - 1.0,
    10: lambda s: (s * 0.5) / (abs(s) + 1.0) + 0.5,
    11: lambda s: s / (abs(s) + 1.0),
    12: lambda s: minimum(maximum(s, 0.0), 1.0),
    13: lambda s: minimum(maximum(s, -1.0), 1.0),
    14: sin,
    15: cos,
    16: lambda s: sin(s) * 0.5 + 0.5,
    17: lambda s: cos(s) * 0.5 + 0.5,
}
"""9, the stepwise gaussian, is declared in libfann and computes nothing there."""
