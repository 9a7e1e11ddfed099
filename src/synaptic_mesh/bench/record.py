"""What a benchmark leaves behind: one JSON object that says where and on what every figure was measured."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from synaptic_mesh.base.codec import Record
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.bench.programs import ProgramCost
from synaptic_mesh.bench.startup import Startup

T = TypeVar("T")
SCHEMA_VERSION = 3
PACKAGES = ("synaptic-mesh", "numpy", "wasmtime", "llvmlite", "torch", "onnxruntime", "jax", "jaxlib")


class Machine(Record):
    """Where a benchmark ran."""

    processor: str
    system: str
    python: str
    packages: dict[str, str]


class Result(Record):
    """One case on one of our backends, with the rivals that ran in turn with it. Times are CPU microseconds of a step,
    medians; `intervals_us` holds the ends of their 95 % intervals and `wall_us` the medians of wall time, both by
    contestant, ours under the backend's name. `bits`: digest of our results, equal on every exact backend.
    `differences`: how far a rival's results are from ours, relative to the largest value of a result. `share_of_peak`:
    of a product on one thread, what it reaches of the backend's ceiling measured in turn with it."""

    name: str
    ours_us: float
    rivals: dict[str, float]
    backend: str
    threads: int
    exact: bool
    bits: str
    vector_bits: int
    steps: int
    repeats: int
    intervals_us: dict[str, list[float]]
    wall_us: dict[str, float]
    differences: dict[str, float]
    share_of_peak: float | None = None


class Peak(Record):
    """The most that one core does in f32, in 10^9 operations a second: products and sums by separate instructions in
    equal numbers, as exact code needs them, and fused; null where nothing here can emit such code. `wasm_mul_add`: at
    128 bits in wasmtime. Medians of samples before, between and after the cases; `interval`: the 95 % interval of
    `mul_add`."""

    mul_add: float
    mul_add_bits: int
    fma: float | None
    wasm_mul_add: float | None = None
    interval: list[float] = msgspec.field(default_factory=list)


class Calibration(Record):
    """The loop that never changes, before and after. `spread`: the difference over the smaller."""

    before_us: float
    after_us: float
    spread: float


class Bar(Record):
    """A promise about a result: our CPU time is at most `ratio_max` times the rival's. `ceiling`: why no exact code
    could keep it on this machine, when the measured ceiling says so."""

    name: str
    backend: str
    rival: str
    ratio: float
    ratio_max: float
    passed: bool
    ceiling: str = ""


class Limit(Record):
    """A promise about a figure of ours alone: `value` is at most `limit`, both in `unit`."""

    name: str
    value: float
    limit: float
    unit: str
    passed: bool


class BenchRecord(Record):
    """One run of one suite. `left_out`: backends and rivals that did not take part, with the reason. `void`: the
    machine was not quiet, so nothing should be concluded. `startup`: null when only some cases were asked for."""

    schema: int
    suite: str
    commit: str
    machine: Machine
    settings: dict[str, str]
    results: list[Result]
    programs: list[ProgramCost]
    startup: Startup | None
    peak_gflops: Peak
    calibration: Calibration
    void: bool
    left_out: dict[str, str]
    bars: list[Bar]
    limits: list[Limit]

    @property
    def holds(self) -> bool:
        """True when every bar and limit holds."""
        return all(bar.passed for bar in self.bars) and all(limit.passed for limit in self.limits)


def describe_machine() -> Machine:
    """Return processor, system and the versions of what was measured."""
    packages = {name: _version(name) for name in PACKAGES}
    present = {name: text for name, text in packages.items() if text}
    return Machine(_processor(), platform.platform(), platform.python_version(), present)


def find_commit() -> str:
    """Return the commit of this checkout, marked when files differ from it; or "unknown" outside a checkout."""
    here = Path(__file__).parent
    try:
        head = _git(here, "rev-parse", "HEAD")
        return head + ("-changed" if _git(here, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def to_json(record: BenchRecord) -> str:
    """Return the record as a JSON object, keys in the order of the fields."""
    return msgspec.json.format(msgspec.json.encode(_plain(record)), indent=2).decode()


def from_json(text: str) -> BenchRecord:
    """Return the record that `to_json` wrote. Raises LocalError for anything else."""
    try:
        return _from_plain(BenchRecord, msgspec.json.decode(text))
    except (msgspec.MsgspecError, KeyError, TypeError) as error:
        raise LocalError(f"this is no benchmark record: {error}") from None


def write_record(record: BenchRecord, path: Path) -> None:
    """Write the record's JSON to `path`. Raises LocalError when it cannot."""
    try:
        path.write_text(to_json(record) + "\n")
    except OSError as error:
        raise LocalError(f"cannot write the record {path}: {error.strerror}") from None


def _plain(value: object) -> object:
    """Records are arrays in canonical bytes; people get objects with names."""
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _from_plain(kind: type[T], value: object) -> T:
    """The inverse of `_plain`: objects back into arrays in the order of the fields, then checked against `kind`."""
    return msgspec.convert(_arrays(kind, value), kind)


def _arrays(kind: Any, value: Any) -> Any:
    """Return `value` with every object that stands for a Record turned into the list of its fields."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = get_type_hints(kind)
        return [_arrays(hints[name], value[name]) for name in kind.__struct_fields__]
    if get_origin(kind) is UnionType:  # a Record or null
        return value if value is None else _arrays(get_args(kind)[0], value)
    if get_origin(kind) is list:
        return [_arrays(get_args(kind)[0], item) for item in value]
    return value


def _git(directory: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(directory), *arguments], capture_output=True, check=True, text=True)
    return done.stdout.strip()


def has_cpu_flag(flag: str) -> bool:
    """True when the system lists `flag` among the processor's features; False where it lists none."""
    return any(flag in line.split() for line in _cpu_lines("flags"))


def _version(package: str) -> str:
    """Return the version of an installed package, else ""."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    names = _cpu_lines("model name")
    return names[0].split(":", 1)[1].strip() if names else platform.processor()


def _cpu_lines(start: str) -> list[str]:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            return [line for line in file if line.startswith(start)]
    except OSError:
        return []
