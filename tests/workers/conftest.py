"""Lets the test modules of this directory import what they share with those of the engine: random graphs."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "engine"))
