"""The README's pictures: the gallery and the explorer as a browser shows them (`make pages`; needs a Chromium).

.venv/bin/python tests/helpers/screenshots.py
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from browser import PROGRAM, Browser

from lib.workflow import gallery, paths

PAGES = paths.ROOT / "pages"
SEEN = "(one) => one.getBoundingClientRect().top < innerHeight"
COLOURS = 255  # enough for flat pages, and half the bytes


def _save(browser: Browser, name: str) -> None:
    """What the window shows, as a small PNG."""
    from PIL import Image

    shown = browser.screenshot(PAGES / name)
    held = io.BytesIO()
    Image.open(shown).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(held, "PNG", optimize=True)
    paths.write(shown, held.getvalue())
    print(f"{paths.relative(shown)}: {len(held.getvalue()) / 1e3:.0f} kB")


def main() -> int:
    """Write ``pages/gallery.png`` and ``pages/explorer.png``."""
    if PROGRAM is None:
        print("no Chromium here (Debian: apt-get install chromium); the pictures stay as they are")
        return 0
    with Browser(1000, 760) as browser:
        browser.open(gallery.current())
        browser.until(f"[...document.images].filter({SEEN}).every((one) => one.complete)")
        _save(browser, "gallery.png")
        browser.open(PAGES / "brgsa_full.mini.html")
        browser.until("document.documentElement.dataset.ready")
        browser.value("choose(rowsWith('nodule').slice(0, 40))")
        _save(browser, "explorer.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
