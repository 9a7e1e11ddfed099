"""What a process and its children use, as the system says."""

import os
import resource
from pathlib import Path

PAGE_BYTES = 4_096
PROC = Path("/proc")


def rss_mb() -> float:
    """Return the resident memory of this process and its children in 10^6 bytes; without /proc, its own peak."""
    if not PROC.is_dir():
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 1e3
    return round(sum(_rss_bytes(pid) for pid in _family(os.getpid())) / 1e6, 1)


def cpu_s() -> float:
    """Return CPU seconds used by this process and its living children."""
    if not PROC.is_dir():
        own = resource.getrusage(resource.RUSAGE_SELF)
        return own.ru_utime + own.ru_stime
    ticks = sum(_cpu_ticks(pid) for pid in _family(os.getpid()))
    return round(ticks / os.sysconf("SC_CLK_TCK"), 3)


def _family(pid: int) -> list[int]:
    found = [pid]
    for task in _entries(PROC / str(pid) / "task"):
        for child in _read(task / "children").split():
            found += _family(int(child))
    return found


def _entries(path: Path) -> list[Path]:
    try:
        return list(path.iterdir())
    except OSError:
        return []  # it has ended


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""  # it has ended


def _rss_bytes(pid: int) -> int:
    fields = _read(PROC / str(pid) / "statm").split()
    return int(fields[1]) * PAGE_BYTES if fields else 0


def _cpu_ticks(pid: int) -> int:
    fields = _read(PROC / str(pid) / "stat").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12]) if fields else 0
