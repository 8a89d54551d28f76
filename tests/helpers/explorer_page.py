"""What tests do on a page of the explorer, and ask of it."""

from __future__ import annotations

from browser import Browser


def places(browser: Browser, panel: int = 0) -> list[list[float]]:
    """Where each row lies in the window."""
    return browser.value(
        f"""(() => {{ const p = panels[{panel}], box = p.over.getBoundingClientRect(), k = box.width / p.over.width
        return [...Array(view.total).keys()].map((i) => p.place(i).map((v, a) => v * k + (a ? box.top : box.left))) }})()"""
    )


def lasso(browser: Browser, low, high) -> None:
    """A rectangle around the rows whose places lie in it."""
    (x0, y0), (x1, y1) = low, high
    corners = [(x0, y0), ((x0 + x1) / 2, y0), (x1, y0), (x1, y1), ((x0 + x1) / 2, y1), (x0, y1), (x0, y0 + 1)]
    browser.drag(corners)


def chosen(browser: Browser) -> list[int]:
    return browser.value("state.chosen")
