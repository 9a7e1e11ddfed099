"""`synaptic`: the verbs. Each imports what it needs when it runs, so that `synaptic --help` answers at once."""

import io
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from synaptic_mesh import __version__
from synaptic_mesh.cli.output import Exit, abandon_output, reported, say

MISUSE: Any = typer.BadParameter.__mro__[2]
"""The class above every complaint about a command line (ClickException); typer gives it no name of its own."""

app = typer.Typer(
    name="synaptic",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["--help", "-h"]},
    help="Train and serve many small neural networks together, on machines that do not trust each other.",
)
bench = typer.Typer(
    no_args_is_help=True, help="Measure, next to what people use. Every record names commit and machine."
)
app.add_typer(bench, name="bench")
dag = typer.Typer(no_args_is_help=True, help="Look at the order: what the commit rule decides.")
app.add_typer(dag, name="dag")
ledger = typer.Typer(no_args_is_help=True, help="Look at the state, and check what others say of it.")
app.add_typer(ledger, name="ledger")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object (schemas: docs/cli.md).")]
Backend = Annotated[str, typer.Option("--backend", help="wasm, native, auto or reference; their bits are equal.")]
DropMissing = Annotated[bool, typer.Option("--drop-missing", help="Leave out rows with empty cells.")]
Target = Annotated[str | None, typer.Option(help="CSV column to predict (default: target, label, y or the last).")]
Numeric = Annotated[list[str] | None, typer.Option(help="CSV column to read as numbers (repeatable).")]
Categorical = Annotated[list[str] | None, typer.Option(help="CSV column to read as categories (repeatable).")]
Ignored = Annotated[list[str] | None, typer.Option(help="CSV column to leave out, such as an id (repeatable).")]
RunDirectory = Annotated[Path | None, typer.Option("--run", help="Where model and run record go (default: runs/...).")]


def show_version(is_wanted: bool) -> None:
    """Print the version and end."""
    if is_wanted:
        sys.stdout.write(f"synaptic-mesh {__version__}\n")
        raise typer.Exit


@app.callback()
def every(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that stand before a verb."""
    del version


@app.command()
def demo(
    seed: Annotated[int, typer.Option(help="Keys, data split, parameters and batches derive from it.")] = 1,
    outer_steps: Annotated[int, typer.Option(min=2, max=200, help="Outer steps of the job.")] = 12,
    run: RunDirectory = None,
    as_json: Json = False,
) -> None:
    """Four validators and a lying worker, five processes over mutual TLS, train a digits classifier."""
    from synaptic_mesh.cli import demo as verb

    with reported(as_json):
        raise typer.Exit(verb.run(seed, outer_steps, run, as_json))


@app.command()
def train(
    data: Annotated[str, typer.Option(help="digits, FILE.csv or FILE.npz")],
    target: Target = None,
    model: Annotated[str, typer.Option(help="mlp:SIZES, linear, or FILE.py, which is EXECUTED.")] = "mlp:64,64",
    task: Annotated[str | None, typer.Option(help="classify or regress (default: by the target's type).")] = None,
    outer_steps: Annotated[int | None, typer.Option(min=1, max=10_000, help="Outer steps.")] = None,
    inner_steps: Annotated[int | None, typer.Option(min=1, max=10_000, help="Optimizer steps per outer step.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, max=65_536, help="Rows per optimizer step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Inner learning rate.")] = None,
    optimizer: Annotated[
        str | None,
        typer.Option(help="sgd, momentum, nesterov, adagrad, rmsprop, adam, adamw, lion, irprop-, quickprop."),
    ] = None,
    numeric: Numeric = None,
    categorical: Categorical = None,
    ignore: Ignored = None,
    drop_missing: DropMissing = False,
    seed: Annotated[int, typer.Option(help="Data split, parameters and batches derive from it.")] = 1,
    backend: Backend = "wasm",
    run: RunDirectory = None,
    as_json: Json = False,
) -> None:
    """Train a model in an in-process mesh of one: the same job code, but nobody audits it."""
    from synaptic_mesh.cli import train as verb

    request = verb.Request(
        data=data,
        target=target,
        model=model,
        task=task,
        outer_steps=outer_steps,
        inner_steps=inner_steps,
        batch=batch,
        learning_rate=learning_rate,
        optimizer=optimizer,
        numeric=tuple(numeric or ()),
        categorical=tuple(categorical or ()),
        ignored=tuple(ignore or ()),
        drop_missing=drop_missing,
        seed=seed,
        backend=backend,
    )
    with reported(as_json):
        raise typer.Exit(verb.run(request, run, as_json))


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="A model's or run's directory, or its .safetensors file.")],
    inputs: Annotated[str, typer.Argument(metavar="INPUT", help="FILE.csv, FILE.npz or digits.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write CSV here, not to the terminal.")] = None,
    drop_missing: DropMissing = False,
    backend: Backend = "wasm",
    as_json: Json = False,
) -> None:
    """Predict every row of INPUT: CSV, or JSON with --json."""
    from synaptic_mesh.cli import predict as verb

    with reported(as_json):
        raise typer.Exit(verb.run(model, inputs, output, drop_missing, backend, as_json))


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="A model's or run's directory, or its .safetensors file.")],
    data: Annotated[str, typer.Argument(help="FILE.csv or FILE.npz with inputs and target, or digits.")],
    drop_missing: DropMissing = False,
    backend: Backend = "wasm",
    as_json: Json = False,
) -> None:
    """Score a model on labelled rows."""
    from synaptic_mesh.cli import evaluate as verb

    with reported(as_json):
        raise typer.Exit(verb.run(model, data, drop_missing, backend, as_json))


@app.command()
def verify(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    backend: Backend = "wasm",
    as_json: Json = False,
) -> None:
    """Execute a finished run again from its record and compare every committed root."""
    from synaptic_mesh.cli import verify as verb

    with reported(as_json):
        raise typer.Exit(verb.run(run, backend, as_json))


@app.command()
def explain(
    model: Annotated[Path, typer.Argument(help="A model's or run's directory, or its .safetensors file.")],
    graph: Annotated[str, typer.Option(help="predict, or step: the training step of a run directory.")] = "predict",
    rows: Annotated[int, typer.Option(help="Rows predicted at once.")] = 1,
    wat: Annotated[bool, typer.Option("--wat", help="Print the whole generated WebAssembly text.")] = False,
    loops: Annotated[bool, typer.Option("--loops", help="Print the loop nests of all kernels too.")] = False,
    native: Annotated[bool, typer.Option("--native", help="Print the machine code for this processor too.")] = False,
    as_json: Json = False,
) -> None:
    """Show what is inside a model: graph, memory plan, generated WebAssembly, sizes."""
    from synaptic_mesh.cli import explain as verb

    with reported(as_json):
        raise typer.Exit(verb.run(model, graph, rows, wat, loops, native, as_json))


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check this machine: versions, which backends pass the golden vectors, disk and clock."""
    from synaptic_mesh.cli import doctor as verb

    with reported(as_json):
        raise typer.Exit(verb.run(as_json))


@dag.command("show")
def dag_show(
    directory: Annotated[
        Path | None, typer.Argument(help="A node's directory, or a run's with nodes/ (default: the newest in runs/).")
    ] = None,
    node: Annotated[str, typer.Option(help="Which of a run's nodes (default: its sponsor, or the first).")] = "",
    rounds: Annotated[int, typer.Option(min=1, max=1_000, help="Newest rounds to draw.")] = 24,
    as_json: Json = False,
) -> None:
    """Draw the recent DAG of a node from its log, also while it runs."""
    from synaptic_mesh.cli import dag as verb

    with reported(as_json):
        raise typer.Exit(verb.show(directory, node, rounds, as_json))


@dag.command("decide")
def dag_decide(
    file: Annotated[Path, typer.Argument(help="A drawn DAG in JSON, or - for standard input (docs/cli.md).")],
    as_json: Json = False,
) -> None:
    """Print what the committer decides on a drawn DAG: JSON either way, with --json its schema too."""
    from synaptic_mesh.cli import dag as verb

    with reported(as_json):
        raise typer.Exit(verb.decide(file, as_json))


@ledger.command("checkpoint")
def ledger_checkpoint(
    directory: Annotated[
        Path | None, typer.Argument(help="A node's directory, or a run's with nodes/ (default: the newest in runs/).")
    ] = None,
    node: Annotated[str, typer.Option(help="Which of a run's nodes (default: its sponsor, or the first).")] = "",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write it to this file too.")] = None,
    as_json: Json = False,
) -> None:
    """Print the newest state that a quorum of validators signed, from a node's log, also while it runs."""
    from synaptic_mesh.cli import ledger as verb

    with reported(as_json):
        raise typer.Exit(verb.show(directory, node, output, as_json))


@ledger.command("verify")
def ledger_verify(
    file: Annotated[Path, typer.Argument(help="A checkpoint that `ledger checkpoint --output` wrote.")],
    genesis: Annotated[Path, typer.Option(help="The network's genesis file.")],
    as_json: Json = False,
) -> None:
    """Check the signatures of a checkpoint against a genesis file; nothing else is needed or asked."""
    from synaptic_mesh.cli import ledger as verb

    with reported(as_json):
        raise typer.Exit(verb.verify(file, genesis, as_json))


@bench.command("engine")
def bench_engine(
    quick: Annotated[bool, typer.Option("--quick", help="Fewer repetitions, no torch.compile.")] = False,
    case: Annotated[list[str] | None, typer.Option(help="Only cases whose name contains this (repeatable).")] = None,
    backend: Annotated[str, typer.Option(help="wasm or native (default: each that opens).")] = "",
    core_type: Annotated[str, typer.Option(help="OPENBLAS_CORETYPE for numpy, for example Haswell.")] = "",
    threads: Annotated[int, typer.Option(min=1, max=64, help="Of ours in the largest products.")] = 2,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the record here too.")] = None,
    as_json: Json = False,
) -> None:
    """The exact engine next to numpy, torch, onnxruntime and jax where installed, interleaved, one thread."""
    from synaptic_mesh.bench.engine_suite import Settings
    from synaptic_mesh.cli import bench as verb

    with reported(as_json):
        settings = Settings(quick, tuple(case or ()), backend, core_type, threads=threads)
        raise typer.Exit(verb.run_engine(settings, output, as_json))


@bench.command("ledger")
def bench_ledger(
    validators: Annotated[int, typer.Option(min=1, max=16, help="Validator processes.")] = 4,
    seconds: Annotated[float, typer.Option(min=1, help="Length of one load.")] = 8.0,
    soak: Annotated[float, typer.Option(min=0, help="Then half load for this many seconds, watching memory.")] = 0.0,
    round_delay: Annotated[int | None, typer.Option(min=1, max=1_000, help="Least ms between own blocks.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Short loads: saturation and half of it.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the record here too.")] = None,
    as_json: Json = False,
) -> None:
    """Transfers through real validator processes: mutual TLS, fsync on, client processes, loads up to saturation."""
    from synaptic_mesh.bench.ledger_suite import ledger_settings
    from synaptic_mesh.cli import bench as verb

    with reported(as_json):
        settings = ledger_settings(validators, seconds, soak, round_delay, is_quick=quick)
        raise typer.Exit(verb.run_ledger(settings, output, as_json))


def main() -> None:
    """Entry point. An interrupt ends with code 130 and one sentence; with --json a misused option is an object too."""
    as_json = "--json" in sys.argv[1:]
    prepare_streams()
    signal.signal(signal.SIGTERM, end_in_order)
    try:
        if not as_json:
            app()
        raise SystemExit(app(standalone_mode=False))
    except MISUSE as error:
        say(" ".join(error.format_message().split()), Exit.USAGE, as_json)
        raise SystemExit(Exit.USAGE) from None
    except (KeyboardInterrupt, typer.Abort):
        raise SystemExit(Exit.INTERRUPTED) from None
    except OSError as error:  # of help: what a verb meets is reported in `reported`
        abandon_output()
        say(f"the output cannot be written: {error.strerror or error}", Exit.RESOURCE, False)
        raise SystemExit(Exit.RESOURCE) from None


def prepare_streams() -> None:
    """Files and pipes get UTF-8, in which data files are read too; a terminal gets escapes for what it cannot show. A
    stream that was closed (`>&-`) swallows what is written to it.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))
        elif isinstance(stream, io.TextIOWrapper):
            encoding = stream.encoding if stream.isatty() else "utf-8"
            stream.reconfigure(encoding=encoding, errors="backslashreplace")


def end_in_order(_number: int, frame: FrameType | None) -> None:
    """SIGTERM does what Ctrl-C does, also where Ctrl-C is ignored: in the background of a shell script."""
    interrupt = signal.getsignal(signal.SIGINT)
    if not callable(interrupt):
        raise KeyboardInterrupt
    interrupt(signal.SIGINT, frame)
