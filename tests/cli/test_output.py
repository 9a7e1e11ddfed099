"""How a verb ends when it cannot go on: one sentence, one JSON object, the code of its kind."""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from synaptic_mesh import __version__
from synaptic_mesh.base.errors import InvariantBroken, LocalError, PeerError, ResourceError
from synaptic_mesh.cli import output
from synaptic_mesh.cli.main import app, prepare_streams
from synaptic_mesh.cli.output import PIPE_COLUMNS, Exit, Screen, console, reported

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


def synaptic(
    *arguments: str, stdout: int | None = subprocess.PIPE, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "synaptic_mesh", *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


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
def test_an_output_that_takes_nothing_is_reported(json_flag: tuple[str, ...], tmp_path: Path) -> None:
    drawn = tmp_path / "drawn.json"
    drawn.write_text('{"n": 1, "blocks": [["A1", ["A0"]]]}')
    with open("/dev/full", "w") as full:
        done = synaptic("dag", "decide", str(drawn), *json_flag, stdout=full.fileno())
    assert done.returncode == Exit.RESOURCE
    assert done.stderr == "synaptic: the output cannot be read or written: No space left on device\n"


@pytest.mark.process
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_help_ends_in_order_on_a_full_disk() -> None:
    with open("/dev/full", "w") as full:
        done = synaptic("--help", stdout=full.fileno())
    assert done.returncode == Exit.RESOURCE
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.process
@pytest.mark.skipif(os.name != "posix", reason="closed by a shell")
def test_closed_streams_swallow_what_is_written() -> None:
    command = f"{sys.executable} -m synaptic_mesh --version >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], timeout=60, check=False).returncode == Exit.OK


def test_a_reader_that_has_gone_is_no_broken_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "abandon_output", lambda: None)  # it is pytest's here
    read, write = os.pipe()
    os.close(read)
    screen = Screen(file=os.fdopen(write, "w"))
    with pytest.raises(typer.Exit) as end, reported(False):
        screen.print("to nobody")
    assert end.value.exit_code == Exit.RESOURCE
    with contextlib.suppress(BrokenPipeError):
        screen.file.close()


def test_rows_for_no_terminal_hold_a_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert console(False).width == PIPE_COLUMNS
    monkeypatch.setenv("COLUMNS", "70")
    assert console(False).width == 70


def test_pipes_get_utf_8_and_closed_streams_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding="ascii"))
    monkeypatch.setattr(sys, "stderr", None)
    prepare_streams()
    sys.stdout.write("\u20ac \udcff")
    sys.stdout.flush()
    assert out.getvalue() == b"\xe2\x82\xac \\udcff"
    with sys.stderr as stream:
        assert stream.writable()


def test_the_version_is_that_of_the_package() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"synaptic-mesh {__version__}\n"
