"""Every example of docs/guide runs, page by page, in a directory of its own."""

import re
from pathlib import Path

import pytest

GUIDE = Path(__file__).parent.parent / "docs" / "guide"
PAGES = sorted(page for page in GUIDE.glob("*.md") if "```python" in page.read_text())
FENCE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "guide"}
    for block in FENCE.findall(page.read_text()):
        needed = re.match(r"# needs (\w+)\n", block)
        if needed:
            try:
                __import__(needed.group(1))
            except ImportError:
                continue
        exec(compile(block, str(page), "exec"), names)


def test_there_are_pages() -> None:
    assert {"quickstart", "layers", "optimizers", "interchange"} <= {page.stem for page in PAGES}
