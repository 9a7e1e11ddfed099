"""Writes the performance table of the README from a record, and keeps the record beside the documents.

    make performance      # runs the suite next to its rivals, then this

Refuses a void record: a machine that was not quiet proves nothing. `tests/test_docs.py` compares table and record.
"""

import argparse
import sys
from pathlib import Path

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.bench.markdown import performance_table
from synaptic_mesh.bench.record import from_json

BEGIN, END = "<!-- performance table: tools/performance_table.py -->", "<!-- end of the performance table -->"
KEPT = "docs/records/engine.json"


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
    page = options.readme.read_text()
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        sys.exit(f"{options.readme} has no lines {BEGIN!r} and {END!r}: put them where the table belongs")
    kept = options.readme.parent / KEPT
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(text if text.endswith("\n") else text + "\n")
    options.readme.write_text(f"{head}{begin}\n\n{performance_table(record, KEPT)}\n\n{end}{tail}")


if __name__ == "__main__":
    main()
