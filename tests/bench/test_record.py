import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.bench.programs import ProgramCost
from synaptic_mesh.bench.record import (
    SCHEMA_VERSION,
    Bar,
    BenchRecord,
    Calibration,
    Limit,
    Peak,
    Result,
    describe_machine,
    find_commit,
    from_json,
    to_json,
    write_record,
)
from synaptic_mesh.bench.report import format_record
from synaptic_mesh.bench.startup import Startup

RESULT = Result(
    name="gemm 64, per call",
    ours_us=20.0,
    rivals={"numpy": 5.0},
    backend="wasm",
    threads=1,
    exact=True,
    bits="ab",
    vector_bits=128,
    steps=1,
    repeats=15,
    intervals_us={"wasm": [19.0, 21.0], "numpy": [4.0, 6.0]},
    wall_us={"wasm": 22.0, "numpy": 5.5},
    differences={"numpy": 1e-7},
)
RECORD = BenchRecord(
    SCHEMA_VERSION,
    "engine",
    "abc",
    describe_machine(),
    {"repeats": "15"},
    [RESULT],
    [ProgramCost("train", "wasm", 20.0, 1.0, 90.0, 23_000, 1_000_000)],
    Startup(60.0, 190.0, 350.0),
    Peak(50.0, 128, None),
    Calibration(100.0, 101.0, 0.01),
    False,
    {"jax": "not installed"},
    [Bar("gemm 64, per call", "wasm", "numpy", 4.0, 2.8, False)],
    [Limit("import of the package", 60.0, 150.0, "ms", True)],
)


def test_a_record_is_json_with_names_and_comes_back() -> None:
    fields = json.loads(to_json(RECORD))
    assert fields["results"][0]["rivals"] == {"numpy": 5.0}
    assert fields["peak_gflops"] == {
        "mul_add": 50.0,
        "mul_add_bits": 128,
        "fma": None,
        "wasm_mul_add": None,
        "interval": [],
    }
    assert from_json(to_json(RECORD)) == RECORD
    with pytest.raises(LocalError, match="no benchmark record"):
        from_json("{}")


def test_a_record_is_written_or_refused(tmp_path: Path) -> None:
    write_record(RECORD, tmp_path / "record.json")
    assert from_json((tmp_path / "record.json").read_text()) == RECORD
    with pytest.raises(LocalError, match="cannot write"):
        write_record(RECORD, tmp_path / "missing" / "record.json")


def test_versions_are_of_what_is_installed() -> None:
    packages = describe_machine().packages
    assert packages["numpy"]
    assert "" not in packages.values()


def test_a_checkout_names_its_commit() -> None:
    assert find_commit()


def test_people_see_failed_bars_and_who_was_left_out() -> None:
    text = format_record(RECORD)
    assert "bar gemm 64, per call, wasm to numpy: 4.00 <= 2.8: FAILED" in text
    assert "wasm 20.00 [19.00, 21.00]" in text
    assert "numpy 5.00 (0.25)" in text
    assert "jax: not installed" in text
    assert text.index("CONFIG") < text.index("RESULTS")
    assert "VOID" not in text
    assert "limit import of the package: 60.00 ms <= 150 ms: passed" in text
    assert "first prediction of a new model 190 ms" in text


def test_a_record_holds_when_every_promise_does() -> None:
    kept = msgspec.structs.replace(RECORD, bars=[])
    assert kept.holds
    assert not RECORD.holds
    late = msgspec.structs.replace(RECORD.limits[0], passed=False)
    assert not msgspec.structs.replace(kept, limits=[late]).holds


def test_the_table_of_the_readme_is_written_from_what_output_writes(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    readme, kept = tmp_path / "README.md", tmp_path / "docs/records/engine.json"
    readme.write_text((root / "README.md").read_text())
    benchmarks = tmp_path / "docs/benchmarks.md"
    benchmarks.parent.mkdir()
    benchmarks.write_text((root / "docs/benchmarks.md").read_text())
    record = from_json((root / "docs/records/engine.json").read_text())
    slower = [msgspec.structs.replace(record.bars[0], ratio=8.0, passed=False), *record.bars[1:]]
    changed = msgspec.structs.replace(record, commit="c0ffee" + record.commit[6:], bars=slower)
    write_record(changed, tmp_path / "engine.json")
    tool = [sys.executable, str(root / "tools/performance_table.py"), str(tmp_path / "engine.json")]
    subprocess.run([*tool, "--readme", str(readme)], check=True)
    assert from_json(kept.read_text()) == changed
    assert "c0ffee" in readme.read_text()
    assert "| 0.12x | 1.00x | does not hold |" in benchmarks.read_text()
    benchmarks.write_text("no table")
    done = subprocess.run([*tool, "--readme", str(readme)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "benchmarks.md has no lines" in done.stderr
