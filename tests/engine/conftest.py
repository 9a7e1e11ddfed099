"""Lets the test modules of this directory and below import what they share: random graphs."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
