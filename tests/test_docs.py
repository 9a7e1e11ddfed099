"""What the documents say of files, verbs, options, fields and codes is compared with the program."""

import ast
import html
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer

from synaptic_mesh.bench.ledger_record import SCHEMA_VERSION as LEDGER_VERSION
from synaptic_mesh.bench.ledger_record import LedgerBar, LedgerMachine, LedgerRecord, LoadResult, MemorySample
from synaptic_mesh.bench.markdown import performance_table, promises_table
from synaptic_mesh.bench.programs import ProgramCost
from synaptic_mesh.bench.record import (
    SCHEMA_VERSION,
    Bar,
    BenchRecord,
    Calibration,
    Limit,
    Machine,
    Peak,
    Result,
    from_json,
)
from synaptic_mesh.bench.startup import Startup
from synaptic_mesh.cli.main import app
from synaptic_mesh.cli.output import Exit

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "synaptic_mesh"
README = (ROOT / "README.md").read_text()
CLI = (ROOT / "docs" / "cli.md").read_text()
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
    *sorted((ROOT / "src").rglob("*.md")),
]
BEGIN, END = "<!-- performance table: tools/performance_table.py -->", "<!-- end of the performance table -->"
PROMISES = ("<!-- promises table: tools/performance_table.py -->", "<!-- end of the promises table -->")
KEPT = "docs/records/engine.json"
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
QUOTED_FILE = re.compile(r"`([\w./-]+\.(?:py|md|sh|json|svg|txt|toml|mjs))`")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
# Names of files that the program writes; they are not in the repository.
WRITTEN = {"model.json", "node.toml", "demo.txt", "stride.py"}


# --- links and files


def anchors(page: Path) -> set[str]:
    """The names that a heading can be linked by, as the usual renderers make them."""
    text = FENCE.sub("", page.read_text())
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", LINK.sub("", title).lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), f"{page.name} links to {target}, which does not exist"
        assert not anchor or anchor in anchors(file), f"{page.name} links to {target}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_files_exist(page: Path) -> None:
    for name in QUOTED_FILE.findall(FENCE.sub("", page.read_text())):
        if Path(name).name in WRITTEN:
            continue
        bare = "/" not in name and any(SOURCE.rglob(name))
        assert bare or any((place / name).exists() for place in (ROOT, SOURCE, page.parent)), f"{page.name}: {name}"


def test_every_package_is_described() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    packages = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").is_file()}
    assert set(re.findall(r"^\| `(\w+)/` \|", text, re.MULTILINE)) == packages


def test_decisions_are_numbered_once() -> None:
    numbers = [path.name[:5] for path in sorted((ROOT / "docs" / "decisions").glob("*.md"))]
    assert all(re.fullmatch(r"\d{4}-", number) for number in numbers)
    assert len(numbers) == len(set(numbers))


# --- commands


def commands() -> dict[str, Any]:
    """Every verb by the words that call it."""
    found: dict[str, Any] = {}
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        nested = getattr(command, "commands", {})
        found |= {f"{name} {inner}": verb for inner, verb in nested.items()} or {name: command}
    return found


VERBS = commands()


def section(title: str) -> str:
    """The text of docs/cli.md below one heading."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", CLI, re.MULTILINE | re.DOTALL)
    assert found is not None, f"docs/cli.md has no section {title!r}"
    return found.group(1)


def options(verb: str) -> set[str]:
    return {name for parameter in VERBS[verb].params for name in parameter.opts if name.startswith("--")}


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_is_documented_and_no_other(verb: str) -> None:
    usage = section(verb)
    assert set(OPTION.findall(usage)) == options(verb)
    assert f"[`{verb}`](#{verb.replace(' ', '-')})" in CLI


def test_exit_codes() -> None:
    rows = re.findall(r"^\| (\d+) \| (\w+) \|", section("Exit codes"), re.MULTILINE)
    assert {name: int(code) for code, name in rows} == {code.name: int(code) for code in Exit}


def shell_lines(text: str) -> Iterator[str]:
    for language, block in FENCE.findall(text):
        if language == "sh":
            block = re.sub(r"<<'(\w+)'.*?^\1$", "", block, flags=re.MULTILINE | re.DOTALL)
            yield from (line.split("#")[0].strip() for line in block.splitlines() if line.strip())


def test_commands_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    checked = 0
    for line in [*shell_lines(README), *re.findall(r"`((?:make|synaptic) [^`]+)`", README)]:
        program, *words = line.split()
        if program == "make":
            assert words[0] in targets, f"README: {line}"
        elif program == "synaptic":
            verb = " ".join(words[:2]) if " ".join(words[:2]) in VERBS else words[0]
            assert verb in VERBS, f"README: {line}"
            arguments = words[len(verb.split()) :]
            if arguments or "`" + line + "`" not in README:
                VERBS[verb].make_context(verb, arguments)  # raises for an option or value that does not exist
        checked += 1
    assert checked > 10
    assert {"make demo", "make test"} <= set(shell_lines("\n".join(README.splitlines()[:20])))


def test_summary_of_the_readme_is_the_picture() -> None:
    picture = html.unescape((ROOT / "docs" / "demo.svg").read_text()).replace("\xa0", " ")
    shown = " ".join(" ".join(re.findall(r"<text[^>]*>([^<]*)</text>", picture)).split())
    (block,) = (block for _, block in FENCE.findall(README) if block.startswith("$ synaptic demo"))
    for line in block.splitlines():
        assert " ".join(line.split()) in shown, f"not in docs/demo.svg, record both anew: {line}"


@pytest.mark.process
def test_python_of_the_readme_runs(tmp_path: Path) -> None:
    blocks = [block for language, block in FENCE.findall(README) if language == "python"]
    assert len(blocks) == 2
    for block in blocks:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", block], cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr


def test_the_performance_table_says_what_its_record_says() -> None:
    table = README.split(BEGIN, 1)[1].split(END, 1)[0].strip()
    record = ROOT / KEPT
    assert table == (performance_table(from_json(record.read_text()), KEPT) if record.exists() else "")
    begin, end = PROMISES
    promises = (ROOT / "docs/benchmarks.md").read_text().split(begin, 1)[1].split(end, 1)[0].strip()
    assert promises == (promises_table(from_json(record.read_text())) if record.exists() else "")


# --- fields


def documented(title: str) -> set[str]:
    """The fields in the table of a section whose second column is a type."""
    table = section(title).split("| field |", 1)[1]
    return set(re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE))


def flatten(value: object, path: str = "") -> Iterator[str]:
    """Names of all fields: a.b for an object, a[].b for objects in an array."""
    if isinstance(value, dict):
        for name, inner in value.items():
            here = f"{path}.{name}" if path else name
            yield here
            yield from flatten(inner, here)
    elif isinstance(value, list):
        for inner in value:
            yield from flatten(inner, f"{path}[]")


def run_json(*arguments: object) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", "from synaptic_mesh.cli.main import main; main()", *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """What the cheap verbs print: for classes, for numbers, and for a damaged run."""
    place = tmp_path_factory.mktemp("docs")
    rows = [f"{n},{n % 3},{'ab'[n % 2]},{3 * n}" for n in range(40)]
    (place / "data.csv").write_text("\n".join(["u,v,kind,size", *rows]))
    found: dict[str, list[dict[str, Any]]] = {"doctor": [run_json("doctor")]}
    for target in ("kind", "size"):
        data, run = place / "data.csv", place / target
        short = ("--model", "linear", "--outer-steps", 1, "--inner-steps", 8)
        found.setdefault("train", []).append(
            run_json("train", "--data", data, "--target", target, *short, "--run", run)
        )
        for verb in ("predict", "evaluate"):
            found.setdefault(verb, []).append(run_json(verb, run, data))
    found["verify"] = [run_json("verify", place / "kind")]
    found["explain"] = [run_json("explain", place / "kind", "--graph", "step", "--native")]
    delta = min((place / "kind" / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    delta.write_bytes(bytes(delta.stat().st_size))
    found["verify"].append(run_json("verify", place / "kind"))
    found["Errors"] = [run_json("verify", place / "nowhere")]
    return found


@pytest.mark.process
@pytest.mark.parametrize("title", ["doctor", "train", "predict", "evaluate", "verify", "explain", "Errors"])
def test_fields_that_are_printed(title: str, results: dict[str, list[dict[str, Any]]]) -> None:
    printed = set()
    for result in results[title]:
        schema = result.pop("schema")
        assert f"`{schema}`" in section(title)
        printed |= {re.sub(r"^backends\.(wasm|reference)\b(?=\.)", "backends.NAME", name) for name in flatten(result)}
    printed = {name for name in printed if not re.match(r"packages\.|backends\.(?!NAME)", name)}
    assert printed == documented(title)


def dictionaries(path: Path) -> list[dict[str, ast.expr]]:
    """Every literal dictionary of a module whose keys are all texts."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Dict):
            keys = [key.value for key in node.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]
            if keys:
                found.append(dict(zip(keys, node.values, strict=False)))
    return found


def test_fields_of_the_demo() -> None:
    (result,) = (each for each in dictionaries(SOURCE / "demo" / "main_job.py") if "broken_promises" in each)
    printed = set(result)
    for name, value in result.items():
        if isinstance(value, ast.ListComp) and isinstance(value.elt, ast.Dict):
            printed |= {f"{name}[].{ast.literal_eval(key)}" for key in value.elt.keys if key is not None}
    assert printed == documented("demo")
    assert "`synaptic.demo/1`" in section("demo")


def test_fields_of_checkpoints() -> None:
    found = dictionaries(SOURCE / "cli" / "ledger.py")
    (described,) = (set(each) for each in found if "state_root" in each)
    assert described | {"node"} == documented("ledger checkpoint")
    assert all(set(each) == documented("ledger verify") for each in found if "holds" in each)
    for verb in ("checkpoint", "verify"):
        assert f"`synaptic.ledger.{verb}/1`" in section(f"ledger {verb}")


def test_fields_of_a_benchmark() -> None:
    def names(kind: type[msgspec.Struct], prefix: str = "") -> set[str]:
        return {prefix + name for name in kind.__struct_fields__}

    printed = names(BenchRecord) - {"schema"}
    printed |= names(Machine, "machine.") | names(Result, "results[].") | names(Bar, "bars[].")
    printed |= names(Limit, "limits[].") | names(Startup, "startup.")
    printed |= names(ProgramCost, "programs[].") | names(Peak, "peak_gflops.") | names(Calibration, "calibration.")
    assert printed == documented("bench engine")
    assert f"`synaptic.bench.engine/{SCHEMA_VERSION}`" in section("bench engine")


def test_fields_of_the_ledger_benchmark() -> None:
    def names(kind: type[msgspec.Struct], prefix: str = "") -> set[str]:
        return {prefix + name for name in kind.__struct_fields__}

    parts = {"machine.": LedgerMachine, "loads[].": LoadResult, "soak[].": MemorySample, "bars[].": LedgerBar}
    printed = names(LedgerRecord).union(*[names(kind, prefix) for prefix, kind in parts.items()])
    assert printed == documented("bench ledger")
    assert f"`synaptic.bench.ledger/{LEDGER_VERSION}`" in section("bench ledger")


def test_lines_of_a_journal() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", section("Journal of a node"), re.MULTILINE)
    table = {kind: set(re.findall(r"`(\w+)`", fields)) for kind, fields in rows if kind != "kind"}
    lines: dict[str, set[str]] = {}
    for module in ("node/journal.py", "demo/child.py"):
        for line in dictionaries(SOURCE / module):
            kind = line.pop("kind", None)
            if isinstance(kind, ast.Constant):
                lines.setdefault(str(kind.value), set()).update(line)
    assert set(lines) == set(table)
    lines["job"] |= {"rows", "loss", "accuracy", "reason"}
    assert lines == table
