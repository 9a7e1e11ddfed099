"""However the main job ends, its processes end with it, in order."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from attack_mesh import WAIT_S, wait_until

from synaptic_mesh.base.errors import ResourceError
from synaptic_mesh.cli.output import Exit
from synaptic_mesh.storage.directory import DirectoryLock

pytestmark = pytest.mark.process
NODES = 5


def is_free(log: Path) -> bool:
    """Whether no process holds this log: the lock falls with its holder."""
    try:
        DirectoryLock(log).release()
    except ResourceError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_no_node_outlives_the_demo(number: signal.Signals, tmp_path: Path) -> None:
    # Whoever runs the tests in the background has SIGINT ignored, and children inherit that.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from synaptic_mesh.cli.main import main; main()"
    )
    command = [sys.executable, "-c", code, "demo", "--outer-steps", "50", "--json", "--run", str(tmp_path / "run")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as demo:
        # A node opens its log, and takes its lock, once it can read its files and hear signals.
        wait_until(lambda: len(list(tmp_path.glob("run/nodes/*/log/data.mdb"))) == NODES, "five open logs")
        demo.send_signal(number)
        out, errors = demo.communicate(timeout=WAIT_S)
    for log in tmp_path.glob("run/nodes/*/log"):
        wait_until(lambda log=log: is_free(log), f"{log} is free")
    if number is signal.SIGKILL:
        assert demo.returncode == -signal.SIGKILL
    else:
        assert demo.returncode == Exit.INTERRUPTED
        assert json.loads(out)["exit_code"] == Exit.INTERRUPTED
        assert errors.endswith("synaptic: interrupted before it was done\n")
    complaints = {path.parent.name: path.read_text() for path in tmp_path.glob("run/nodes/*/stderr.txt")}
    assert complaints == dict.fromkeys(complaints, "")
