"""Writes the tables of the README and of docs/benchmarks.md from a record, and keeps the record beside the documents.

    make performance      # runs the suite next to its rivals, then this

Refuses a void record: a machine that was not quiet proves nothing. `tests/test_docs.py` compares table and record.
"""

import argparse
import sys
from pathlib import Path

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.bench.markdown import performance_table, promises_table
from synaptic_mesh.bench.record import from_json

BEGIN, END = "<!-- performance table: tools/performance_table.py -->", "<!-- end of the performance table -->"
PROMISES, PROMISES_END = "<!-- promises table: tools/performance_table.py -->", "<!-- end of the promises table -->"
KEPT = "docs/records/engine.json"
BENCHMARKS = "docs/benchmarks.md"


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=Path, help="what `synaptic bench engine --output` wrote")
    parser.add_argument("--readme", type=Path, default=Path("README.md"))
    options = parser.parse_args()
    text = options.record.read_text()
    try:
        record = from_json(text)
    except LocalError as error:
        sys.exit(f"{options.record} is no record: {error}")
    if record.void:
        sys.exit(f"{options.record} is void: the calibration loop spread by {record.calibration.spread:.1%}")
    benchmarks = options.readme.parent / BENCHMARKS
    pages = {
        options.readme: replaced(options.readme, BEGIN, END, performance_table(record, KEPT)),
        benchmarks: replaced(benchmarks, PROMISES, PROMISES_END, promises_table(record)),
    }
    kept = options.readme.parent / KEPT
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(text if text.endswith("\n") else text + "\n")
    for path, page in pages.items():
        path.write_text(page)


def replaced(path: Path, begin: str, end: str, table: str) -> str:
    """Return the page with another table between its two lines."""
    if not path.exists():
        sys.exit(f"{path} does not exist: the page that gets a table has to be there")
    head, found_begin, rest = path.read_text().partition(begin)
    _, found_end, tail = rest.partition(end)
    if not found_begin or not found_end:
        sys.exit(f"{path} has no lines {begin!r} and {end!r}: put them where the table belongs")
    return f"{head}{begin}\n\n{table}\n\n{end}{tail}"


if __name__ == "__main__":
    main()
