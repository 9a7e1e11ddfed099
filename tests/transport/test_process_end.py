"""A process that has had links ends, whatever the network library's threads are at."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.process

BUSY = """
import sys, threading, time, zenoh
from synaptic_mesh.transport.process_end import end_process
settings = '{mode: "peer", listen: {endpoints: ["tcp/127.0.0.1:0"]}, scouting: {multicast: {enabled: false}}}'
session = zenoh.open(zenoh.Config.from_json5(settings))
def work():
    while True:
        session.put("a/b", bytes(1_000))
        session.info.links()
for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.3)  # the threads are to be inside the library by now
sys.stdout.write("last words")
end_process(int(sys.argv[1]))
"""


@pytest.mark.parametrize("status", [0, 3])
def test_threads_inside_the_library_do_not_keep_a_process(status: int) -> None:
    """With `sys.exit` this one never ends: taking the interpreter apart waits for threads that wait for it."""
    done = subprocess.run([sys.executable, "-c", BUSY, str(status)], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (status, "last words", "")


def test_a_reader_that_has_gone_does_not_matter() -> None:
    code = "import sys\nfrom synaptic_mesh.transport.process_end import end_process\nprint(1)\nend_process(5)"
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}  # what was written waits for the flush
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment)
    assert child.stdout is not None
    child.stdout.close()
    assert child.wait(20) == 5
