"""How a verb ends when it cannot go on: one sentence, one JSON object, the code of its kind."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from synaptic_mesh.base.errors import InvariantBroken, LocalError, PeerError, ResourceError
from synaptic_mesh.cli.output import Exit, reported

ENDS = [
    (LocalError("a"), Exit.BAD_INPUT),
    (PeerError("b"), Exit.PEER),
    (ResourceError("c"), Exit.RESOURCE),
    (OSError(28, "No space left on device", "out.csv"), Exit.RESOURCE),
    (MemoryError(), Exit.RESOURCE),
    (InvariantBroken("d"), Exit.BUG),
    (ZeroDivisionError("e\nf"), Exit.BUG),
    (KeyboardInterrupt(), Exit.INTERRUPTED),
]


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(("error", "code"), ENDS, ids=lambda value: type(value).__name__)
def test_every_error_is_one_sentence_and_one_object(
    error: BaseException, code: Exit, as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as end, reported(as_json):
        raise error
    out, errors = capsys.readouterr()
    assert end.value.exit_code == code
    assert len(errors.splitlines()) == 1
    assert errors.startswith("synaptic: ")
    if as_json:
        assert json.loads(out) == {"schema": "synaptic.error/1", "error": errors[10:-1], "exit_code": code}
    else:
        assert out == ""


def test_a_fault_says_where(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), reported(False):
        raise ZeroDivisionError("by nought")
    assert "ZeroDivisionError at test_output.py:" in capsys.readouterr().err


def synaptic(*arguments: str, stdout: int | None = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    code = "from synaptic_mesh.cli.main import main; main()"
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60, check=False)


MISUSES = [
    ("train", "--bogus"),
    ("train",),
    ("frob",),
    ("train", "--data", "digits", "--batch", "0"),
    ("demo", "--outer-steps", "1"),
]


@pytest.mark.process
@pytest.mark.parametrize("arguments", MISUSES, ids=" ".join)
def test_a_misused_command_line_is_an_object_with_json(arguments: tuple[str, ...]) -> None:
    done = synaptic(*arguments, "--json")
    assert done.returncode == Exit.USAGE
    assert json.loads(done.stdout)["exit_code"] == Exit.USAGE
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.process
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("json_flag", [(), ("--json",)], ids=["text", "json"])
def test_an_output_that_takes_nothing_is_reported(json_flag: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        done = synaptic("doctor", *json_flag, stdout=full.fileno())
    assert done.returncode == Exit.RESOURCE
    assert done.stderr == "synaptic: the output cannot be read or written: No space left on device\n"
