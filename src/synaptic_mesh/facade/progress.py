"""How `fit` shows itself: a bar where somebody looks at a terminal or notebook, a line per epoch elsewhere."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SILENT, BAR, LINES = 0, 1, 2


def level(verbose: int | str, console: Console) -> int:
    """Return SILENT, BAR or LINES; "auto" is a bar on a terminal, else silent."""
    if verbose == "auto":
        return BAR if console.is_terminal or console.is_jupyter else SILENT
    return int(verbose)


class FitProgress:
    """Use as a context; `batch` after every batch, `epoch` after every pass."""

    def __init__(self, epochs: int, batches: int, verbose: int | str, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._level = level(verbose, self._console)
        self._epochs = epochs
        self._batches = batches
        columns = (
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[facts]}"),
        )
        self._bar = Progress(*columns, console=self._console, disable=self._level != BAR)
        self._task = self._bar.add_task("", total=epochs * batches, epoch=f"0/{epochs}", facts="")

    def __enter__(self) -> "FitProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def batch(self) -> None:
        """One batch more is done."""
        if self._level == BAR:
            self._bar.advance(self._task)

    def epoch(self, number: int, figures: dict[str, float]) -> None:
        """Epoch `number` (from 1) is done."""
        facts = " - ".join(f"{name}: {value:.4f}" for name, value in figures.items())
        if self._level == BAR:
            self._bar.update(self._task, epoch=f"{number}/{self._epochs}", facts=facts)
        elif self._level == LINES:
            self._console.print(f"epoch {number}/{self._epochs} - {facts}")
