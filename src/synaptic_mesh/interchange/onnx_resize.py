"""ONNX's Resize (and Upsample): nearest, linear and cubic, with every way to map coordinates."""

import math
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.trace import Tensor, where
from synaptic_mesh.interchange import resampling
from synaptic_mesh.interchange.onnx_shapes import Handler, axis_of
from synaptic_mesh.interchange.onnx_values import Call, Value


class Line(msgspec.Struct, frozen=True):
    """One axis: extents before and after, the scale, and the part of it that tf_crop_and_resize takes."""

    extent: int
    size: int
    scale: float
    start: float = 0.0
    end: float = 1.0


def _half_pixel(at: Array, line: Line) -> Array:
    return (at + 0.5) / line.scale - 0.5


def _half_pixel_symmetric(at: Array, line: Line) -> Array:
    adjustment = line.size / (line.scale * line.extent)
    center = line.extent / 2
    return center * (1 - adjustment) + (at + 0.5) / line.scale - 0.5


def _align_corners(at: Array, line: Line) -> Array:
    """The node tests take the extent before it is rounded down."""
    reach = line.extent * line.scale - 1
    return at * ((line.extent - 1) / reach) if line.size > 1 else np.zeros_like(at)


def _crop(at: Array, line: Line) -> Array:
    if line.size == 1:
        return np.full_like(at, 0.5 * (line.start + line.end) * (line.extent - 1))
    return line.start * (line.extent - 1) + at * (line.end - line.start) * (line.extent - 1) / (line.size - 1)


PLACES: dict[str, Callable[[Array, Line], Array]] = {
    "half_pixel": _half_pixel,
    "half_pixel_symmetric": _half_pixel_symmetric,
    "pytorch_half_pixel": lambda at, line: _half_pixel(at, line) if line.size > 1 else np.zeros_like(at),
    "align_corners": _align_corners,
    "asymmetric": lambda at, line: at / line.scale,
    "tf_half_pixel_for_nn": lambda at, line: (at + 0.5) / line.scale,
    "tf_crop_and_resize": _crop,
}
ROUNDINGS: dict[str, Callable[[Array], Array]] = {
    "round_prefer_floor": lambda at: np.ceil(at - 0.5),
    "round_prefer_ceil": lambda at: np.floor(at + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _resize(call: Call) -> Value:
    x = call.floats() if call.kind() not in ("int32", "int64", "uint8", "int8") else call.tensor()
    mode, how = call.get("mode", "nearest"), call.get("coordinate_transformation_mode", "half_pixel")
    if how not in PLACES:
        raise LocalError(f"coordinate_transformation_mode {how!r} is not known")
    outside: list[tuple[int, Array]] = []
    for axis, line in _lines(call, x.shape):
        places = PLACES[how](np.arange(line.size, dtype=np.float64), line)
        if how == "tf_crop_and_resize":
            outside.append((axis, (places < 0) | (places > line.extent - 1)))
        x = resampling.resample(x, axis, _taps(call, mode, places, line))
    return call.result(_extrapolated(call, x, outside))


def _taps(call: Call, mode: str, places: Array, line: Line) -> resampling.Taps:
    reach = max(1.0 / line.scale, 1.0) if call.get("antialias", 0) else 1.0
    excluded = bool(call.get("exclude_outside", 0))
    if mode == "nearest":
        rounding = ROUNDINGS[call.get("nearest_mode", "round_prefer_floor")]
        return resampling.nearest_taps(rounding(places), line.extent)
    if mode == "linear":
        inside = places if excluded or reach > 1 else np.clip(places, 0, line.extent - 1)
        return resampling.linear_taps(inside, line.extent, reach)
    if mode != "cubic":
        raise LocalError(f"mode {mode!r} is not known")
    coefficient = call.get("cubic_coeff_a", resampling.CUBIC)
    return resampling.cubic_taps(places, line.extent, coefficient, reach, exclude_outside=excluded)


def _extrapolated(call: Call, x: Tensor, outside: Sequence[tuple[int, Array]]) -> Tensor:
    for axis, mask in outside:
        if mask.any():
            shape = [len(mask) if i == axis else 1 for i in range(len(x.shape))]
            wide = x.builder.array(mask.astype(np.int32)).reshape(*shape).broadcast_to(x.shape)
            x = where(wide == 1, float(call.get("extrapolation_value", 0.0)), x)
    return x


def _lines(call: Call, shape: tuple[int, ...]) -> list[tuple[int, Line]]:
    """The axes that are resized, the last first."""
    chosen = call.get("axes") or range(len(shape))
    axes = [axis_of(axis, len(shape)) for axis in chosen]
    extents = [shape[axis] for axis in axes]
    regions = [0.0] * len(axes) + [1.0] * len(axes)
    if call.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        regions = [float(v) for v in call.static(1).reshape(-1)]
    sizes, scales = _sizes(call, extents)
    lines = [
        (axis, Line(extents[i], sizes[i], scales[i], regions[i], regions[i + len(axes)])) for i, axis in enumerate(axes)
    ]
    is_crop = call.get("coordinate_transformation_mode") == "tf_crop_and_resize"
    return [each for each in reversed(lines) if is_crop or each[1].size != each[1].extent or each[1].scale != 1]


def _sizes(call: Call, extents: Sequence[int]) -> tuple[list[int], list[float]]:
    at = 1 if call.op == "Upsample" or call.opset < 11 else 2
    if call.has(at) and call.static(at).size:
        scales = [float(scale) for scale in call.static(at).reshape(-1)]
        _check(scales, extents)
        return [math.floor(extent * scale) for extent, scale in zip(extents, scales, strict=True)], scales
    wanted = call.integers(3)
    _check(wanted, extents)
    policy = call.get("keep_aspect_ratio_policy", "stretch")
    scales = [size / extent for size, extent in zip(wanted, extents, strict=True)]
    if policy == "stretch":
        return wanted, scales
    scale = min(scales) if policy == "not_larger" else max(scales)
    return [math.floor(scale * extent + 0.5) for extent in extents], [scale] * len(extents)


def _check(given: Sequence[float], extents: Sequence[int]) -> None:
    if len(given) != len(extents) or min(given, default=1) <= 0 or 0 in extents:
        raise LocalError(f"scales or sizes {list(given)} do not fit extents {list(extents)}")


RESIZE: dict[str, Handler] = {"Resize": _resize, "Upsample": _resize}
