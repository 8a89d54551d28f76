"""How far the artefacts of a cell are: told to the runner that executes the notebook, or drawn in a JupyterLab that a person looks
at; elsewhere (nbval, a script) nothing is said, so that a notebook's outputs hold no times.

    cache.build_all(train_arm, many, progress=Progress("train_arm", len(many)))
"""

from __future__ import annotations

import html
import os
import time
from typing import Any


def told(name: str, done: int, total: int, seconds: float, begun: int = 0) -> str:
    """One line: how many are done, and the time left by those made so far (``begun``: how many there were before).

    >>> told("train_arm", 2, 8, 65.0), told("train_arm", 8, 8, 260.0, 2)
    ('train_arm: 2 of 8, about 3 min 15 s left', 'train_arm: 8 of 8 in 4 min 20 s')
    >>> told("train_arm", 2, 8, 0.0, 2)
    'train_arm: 2 of 8'
    """
    made = done - begun
    if done == total:
        return f"{name}: {done} of {total} in {_spoken(seconds)}"
    left = f", about {_spoken(seconds / made * (total - done))} left" if made else ""
    return f"{name}: {done} of {total}{left}"


def _spoken(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


class Progress:
    """Called with how many of ``total`` artefacts exist; first when none of those missing has been made."""

    def __init__(self, name: str, total: int):
        self.name, self.total = name, total
        self._begun: int | None = None
        self._started = time.monotonic()
        self._shown: Any = None

    def __call__(self, done: int) -> None:
        if self._begun is None:
            self._begun = done
        if log := os.environ.get("REPRISE_PROGRESS"):
            with open(log, "a", encoding="utf-8") as stream:
                stream.write(f"{self.name} {done}/{self.total}\n")
        elif os.environ.get("JPY_SESSION_NAME"):  # Jupyter's server sets it for the kernel of an opened notebook
            self._draw(done)

    def _draw(self, done: int) -> None:
        from IPython.display import HTML, display

        line = told(self.name, done, self.total, time.monotonic() - self._started, self._begun)
        bar = f'<progress value="{done}" max="{self.total}" style="width: 20em"></progress> {html.escape(line)}'
        content = HTML(html.escape(line) if done == self.total else bar)
        if self._shown is None:
            self._shown = display(content, display_id=True)
        else:
            self._shown.update(content)
