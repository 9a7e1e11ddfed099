"""What `fit` returns: the figures of every pass over the data."""

import html
from collections.abc import Mapping

import msgspec


class History(msgspec.Struct):
    """history["loss"][i] belongs to epoch[i]; epochs count from 0, and from where the last fit ended."""

    epoch: list[int] = msgspec.field(default_factory=list)
    history: dict[str, list[float]] = msgspec.field(default_factory=dict)
    stopped_early: bool = False

    def add(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Add the figures of one epoch."""
        self.epoch.append(epoch)
        for name, value in figures.items():
            self.history.setdefault(name, []).append(value)

    def __getitem__(self, name: str) -> list[float]:
        return self.history[name]

    def __repr__(self) -> str:
        last = ", ".join(f"{name} {values[-1]:.4f}" for name, values in self.history.items() if values)
        return f"History({len(self.epoch)} epochs{': ' if last else ''}{last})"

    def _repr_html_(self) -> str:
        """A table for notebooks: the last ten epochs."""
        names = list(self.history)
        head = "".join(f"<th>{html.escape(name)}</th>" for name in ("epoch", *names))
        shown = range(max(0, len(self.epoch) - 10), len(self.epoch))
        rows = "".join(
            f"<tr><td>{self.epoch[i] + 1}</td>"
            + "".join(f"<td>{self.history[name][i]:.4f}</td>" for name in names if i < len(self.history[name]))
            + "</tr>"
            for i in shown
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
