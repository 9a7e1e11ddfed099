"""`synaptic bench`: measurements beside what people use."""

import json
import sys
from pathlib import Path

import msgspec

from synaptic_mesh.bench.engine_suite import Settings, run_engine_suite
from synaptic_mesh.bench.ledger_record import SCHEMA_VERSION as LEDGER_VERSION
from synaptic_mesh.bench.ledger_report import format_ledger
from synaptic_mesh.bench.ledger_suite import LedgerSettings, run_ledger_suite
from synaptic_mesh.bench.record import SCHEMA_VERSION, to_json, write_record
from synaptic_mesh.bench.report import format_record
from synaptic_mesh.cli.output import Exit, console, emit


def run_engine(settings: Settings, output: Path | None, as_json: bool) -> int:
    """Run the engine suite; return PROMISE_FAILED when a bar does not hold on this machine."""
    record = run_engine_suite(settings)
    if output is not None:
        write_record(record, output)
    if as_json:
        fields = json.loads(to_json(record))
        emit("bench.engine", {name: value for name, value in fields.items() if name != "schema"}, True, SCHEMA_VERSION)
    else:
        sys.stdout.write(format_record(record) + "\n")
    return Exit.OK if record.holds else Exit.PROMISE_FAILED


def run_ledger(settings: LedgerSettings, output: Path | None, as_json: bool) -> int:
    """Run the ledger suite; return PROMISE_FAILED when a bar does not hold on this machine."""
    record = run_ledger_suite(settings, console(as_json=True).print)
    if output is not None:
        output.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
    if as_json:
        emit("bench.ledger", msgspec.to_builtins(record), True, LEDGER_VERSION)
    else:
        sys.stdout.write(format_ledger(record) + "\n")
    return Exit.OK if record.holds else Exit.PROMISE_FAILED
