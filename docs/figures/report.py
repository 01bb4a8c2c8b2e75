"""Photographs a report for the page on reports: `python -m docs.figures.report`, which writes `report.png`.

A short run on handwritten digits; the picture is taken by Chromium, without a window. Not concerned with the report.
"""

import subprocess
import tempfile
from pathlib import Path

from PIL import Image

import perceivers as pv

PLACE = Path(__file__).with_suffix(".png")
WINDOW, HEIGHT = (900, 2200), 1350  # taken, and kept
STEPS = 250


def photograph(page: Path, place: Path = PLACE) -> Path:
    """The upper part of a page as a small picture. Raises CalledProcessError where Chromium fails."""
    with tempfile.TemporaryDirectory() as folder:
        taken = Path(folder) / "taken.png"
        window = f"--window-size={WINDOW[0]},{WINDOW[1]}"
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", window, f"--screenshot={taken}"]
        subprocess.run(["chromium", *options, page.resolve().as_uri()], check=True, capture_output=True)
        with Image.open(taken) as picture:
            picture.convert("RGB").crop((0, 0, WINDOW[0], HEIGHT)).quantize(64).save(place, optimize=True)
    return place


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as run:
        photograph(pv.fit("sample:digits", steps=STEPS, out=run).report)
