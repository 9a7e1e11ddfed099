"""Runs the real `synaptic demo` in a terminal of its own and keeps its last screen: as the picture in the README and as
the text below it, so that both come from one run.

    .venv/bin/python tools/record_demo.py --svg docs/demo.svg --readme README.md

Run it again whenever the output of the demo changes.
"""

import argparse
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS, ROWS = 100, 26
MARGIN = 2
"""Columns that the picture has beside the screen, for viewers whose font is a little wider than stated."""
READ_BYTES = 1 << 16
CONTROL = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])")
# The default template fetches fonts from the network; a picture in a repository must be complete by itself.
SVG_FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
    <style>
    .{unique_id}-matrix {{
        font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace;
        font-size: {char_height}px;
        line-height: {line_height}px;
        font-variant-east-asian: full-width;
    }}
    .{unique_id}-title {{
        font-size: 18px;
        font-weight: bold;
        font-family: ui-sans-serif, system-ui, Arial, sans-serif;
    }}
    {styles}
    </style>
    <defs>
    <clipPath id="{unique_id}-clip-terminal">
      <rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
    </clipPath>
    {lines}
    </defs>
    {chrome}
    <g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
    {backgrounds}
    <g class="{unique_id}-matrix">
    {matrix}
    </g>
    </g>
</svg>
"""


def main() -> int:
    """Record one run; return the exit status of the demo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--readme", type=Path, help="replace the block of this page that begins with the command")
    arguments = parser.parse_args()
    command = ["synaptic", "demo", "--seed", str(arguments.seed)]
    with tempfile.TemporaryDirectory() as directory:
        output, status = run_in_terminal(command, Path(directory))
    screen = ["$ " + " ".join(command), *last_screen(output)]
    if arguments.svg is not None:
        arguments.svg.write_text(to_svg(screen))
    plain = "\n".join(Text.from_ansi(line).plain.rstrip() for line in screen) + "\n"
    if arguments.readme is not None:
        arguments.readme.write_text(with_summary(arguments.readme.read_text(), plain))
    sys.stdout.write(plain)
    return status


def run_in_terminal(command: list[str], directory: Path) -> tuple[str, int]:
    """Run a command of this environment in a pseudo-terminal; return all it wrote, control sequences included."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    program = Path(sys.executable).with_name(command[0])
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": str(ROWS)}
    process = subprocess.Popen(
        [program, *command[1:]], cwd=directory, env=environment, stdin=slave, stdout=slave, stderr=slave
    )
    os.close(slave)
    written = bytearray()
    try:
        while data := os.read(master, READ_BYTES):
            written += data
    except OSError:
        pass  # Linux says "input/output error" where others say "end of file"
    finally:
        os.close(master)
    return written.decode(), process.wait()


def last_screen(output: str) -> list[str]:
    """Return the lines that remain, with their colours: what was moved over or erased is gone.

    Knows what rich's live display uses: carriage return, line feed, cursor up, erase line; it always rewrites whole
    lines. Raises ValueError for anything else, rather than draw something that no terminal showed.
    """
    lines: list[str] = [""]
    at = row = 0
    while at < len(output):
        control = CONTROL.match(output, at)
        if control is not None:
            arguments, name = control.groups()
            if name == "A":
                row -= int(arguments or 1)
            elif name == "K":
                lines[row] = ""
            elif name == "m":
                lines[row] += control.group()
            elif name not in "hl":
                raise ValueError(f"the output has the control sequence {control.group()!r}, which is not drawn")
            at = control.end()
            continue
        character = output[at]
        at += 1
        if character == "\n":
            row += 1
            if row == len(lines):
                lines.append("")
        elif character != "\r":
            lines[row] += character
    while lines and not Text.from_ansi(lines[-1]).plain.strip():
        lines.pop()
    return lines


def with_summary(page: str, plain: str) -> str:
    """Return the page with its block replaced by the command and the summary, which begins after the blank line."""
    command, summary = plain.partition("\n")[0], plain.rpartition("\n\n")[2]
    block = f"```\n{command}\n{summary}```\n"
    page, count = re.subn(r"^```\n\$ synaptic demo.*?^```\n", lambda _: block, page, flags=re.MULTILINE | re.DOTALL)
    if count != 1:
        raise ValueError(f"the page has {count} blocks that begin with '$ synaptic demo' instead of one")
    return page


def to_svg(lines: list[str]) -> str:
    """Return the lines as a picture of a terminal. Equal lines give equal bytes."""
    console = Console(record=True, width=COLUMNS + MARGIN, file=io.StringIO(), force_terminal=True)
    for line in lines:
        console.print(Text.from_ansi(line), soft_wrap=True)
    return console.export_svg(title="synaptic demo", code_format=SVG_FORMAT, unique_id="demo")


if __name__ == "__main__":
    sys.exit(main())
