"""Lets the test modules of this directory import what they share: small graphs, and random ones with the tests of the
engine."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "engine")]
