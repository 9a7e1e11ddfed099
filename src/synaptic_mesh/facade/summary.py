"""A network as a table: layers, the shapes they give, and how many numbers they train."""

import html
import io
import math

import msgspec
from rich.console import Console
from rich.table import Table

from synaptic_mesh.models.network_graphs import ForwardGraph


class Line(msgspec.Struct, frozen=True):
    """One layer."""

    name: str
    kind: str
    shape: tuple[int, ...]
    """Of one row of its result."""
    parameters: int


class Summary(msgspec.Struct, frozen=True):
    """Printed, it is a table; `lines` and the counts are for programs."""

    row: tuple[int, ...]
    lines: tuple[Line, ...]
    parameters: int
    state: int

    def __str__(self) -> str:
        table = Table(title=f"rows of {self.row}", title_justify="left")
        for name in ("layer", "kind", "gives"):
            table.add_column(name)
        table.add_column("parameters", justify="right")
        for line in self.lines:
            table.add_row(line.name, line.kind, str(line.shape), f"{line.parameters:,}")
        text = io.StringIO()
        Console(file=text, width=100).print(table)
        return (
            text.getvalue() + f"{self.parameters:,} parameters are trained, {self.state:,} numbers of state are kept\n"
        )

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(line.name)}</td><td>{html.escape(line.kind)}</td><td>{line.shape}</td>"
            f"<td>{line.parameters:,}</td></tr>"
            for line in self.lines
        )
        head = "<tr><th>layer</th><th>kind</th><th>gives</th><th>parameters</th></tr>"
        return f"<table>{head}{rows}</table><p>{self.parameters:,} parameters are trained</p>"


def summarize(shape: ForwardGraph, row: tuple[int, ...], kind: str) -> Summary:
    """Return the summary; a network that is a function is one line, with all parameters."""
    total = sum(parameter.size for parameter in shape.parameters.values())
    lines = []
    for name, layer, result in shape.trail:
        inside = [p.size for full, p in shape.parameters.items() if full.startswith(f"{name}/")]
        lines.append(Line(name, layer, result[1:], sum(inside)))
    if not lines:
        scores = shape.graph.nodes[shape.graph.outputs["scores"]].shape
        lines.append(Line(kind, "function", scores[1:], total))
    return Summary(row, tuple(lines), total, sum(math.prod(value.shape) for value in shape.state.values()))
