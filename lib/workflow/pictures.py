"""What a run draws: each figure once, shown in the notebook and saved as PNG and JSON under the exhibit's name.

run.dots("Loss terms", {"18 findings": {"nce": [0.7, 0.8], "shuffled": [0.5, 0.4]}}, chance=0.5)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lib.workflow import papers, paths


class Pictures:
    """The drawing half of a run (:class:`lib.workflow.session.Run`), which says of what exhibit."""

    paper: papers.Paper
    exhibit: str
    profile: str
    judged: dict[str, dict[str, Any]]

    def figure(self, spec: Mapping[str, Any]) -> None:
        """Draw and show a figure, save its PNG and the JSON of every plotted number, print a line that never changes."""
        drawn = self._draw(spec, paths.figure)
        series = [one for panel in spec["panels"] for one in panel["series"]]
        print(f"figure {self.paper.slug}/{self.exhibit}: {len(spec['panels'])} panels, {len(series)} series")
        self._show(drawn)

    def outcomes(self) -> None:
        """Draw what the outcomes so far rest on: effect beside control, replicate by replicate, with zero and margin."""
        from lib import figures

        if not self.judged:
            return  # a profile without verdicts
        panels = {f"{claim}: {one['outcome']}": {claim: one} for claim, one in self.judged.items()}
        drawn = self._draw(figures.paired("", panels, y="treatment − baseline"), paths.outcomes)
        print(f"outcomes {self.paper.slug}/{self.exhibit}: {', '.join(self.judged)}")
        self._show(drawn)

    def _draw(self, spec: Mapping[str, Any], place: Callable[..., Path]):
        from lib import drawing

        drawn = drawing.draw(spec)
        where = {"slug": self.paper.slug, "exhibit": self.exhibit, "profile": self.profile, "root": paths.output_root()}
        drawing.save(drawn, spec, png=place(**where, suffix="png"), json=place(**where, suffix="json"))
        return drawn

    @staticmethod
    def _show(drawn) -> None:
        from IPython.display import display

        display(drawn)  # here and not by the cell's value, which a closing semicolon would hide

    def dots(self, title: str, panels: Mapping[str, Any], **options: Any) -> None:
        """Every replicate a dot: ``{panel: {arm: values}}`` (:func:`lib.figures.dots`)."""
        self._figure("dots", title, panels, options)

    def lines(self, title: str, panels: Mapping[str, Any], **options: Any) -> None:
        """Points joined, with a band: ``{panel: {arm: points x replicates}}`` (:func:`lib.figures.lines`)."""
        self._figure("lines", title, panels, options)

    def scatter(self, title: str, panels: Mapping[str, Any], **options: Any) -> None:
        """Clouds: ``{panel: {arm: points x 2}}`` (:func:`lib.figures.scatter`)."""
        self._figure("scatter", title, panels, options)

    def heat(self, title: str, panels: Mapping[str, Any], **options: Any) -> None:
        """A coloured table a panel: ``{panel: {row: {column: values}}}`` (:func:`lib.figures.heat`)."""
        self._figure("heat", title, panels, options)

    def forest(self, title: str, panels: Mapping[str, Any], **options: Any) -> None:
        """An interval a row: ``{panel: {arm: (mean, low, high)}}`` (:func:`lib.figures.forest`)."""
        self._figure("forest", title, panels, options)

    def dumbbells(self, title: str, panels: Mapping[str, Any], **options: Any) -> None:
        """Values that belong together: ``{panel: {row: {"printed": .., "ours": ..}}}`` (:func:`lib.figures.dumbbells`)."""
        self._figure("dumbbells", title, panels, options)

    def images(self, title: str, panels: Mapping[str, Any], **options: Any) -> None:
        """Pictures side by side: ``{panel: {name: (image, overlay)}}`` (:func:`lib.figures.images`)."""
        self._figure("images", title, panels, options)

    def _figure(self, kind: str, title: str, panels: Mapping[str, Any], options: dict[str, Any]) -> None:
        from lib import figures

        self.figure(getattr(figures, kind)(title, panels, **options))
