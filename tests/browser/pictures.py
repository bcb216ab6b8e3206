"""Screenshots of all pages, and the pictures of the README."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from tests.browser.pages import PAGES, PROBLEM
from tests.browser.visitor import PHONE, SCHEMES, WIDE, Visitor

#: Device pixels per CSS pixel of a phone.
PHONE_SCALE = 2.0

#: Path of each page, and the height of its picture in CSS pixels from the top of the page.
README = {
    "matrix": ("/?group=europe-simulated&profile=vcf9-stretched-cluster&from=-28d", 1_110),
    "pair": ("/pairs/frankfurt/zurich?from=-7d", 1_060),
    "map": ("/map", 900),
}
README_WIDTH = 1_200
#: Device pixels per CSS pixel; 1.5 is sharp in the README on any screen.
README_SCALE = 1.5
#: The pages have few colours; a palette saves two thirds of the size.
README_COLOURS = 256
#: Every reader of the README loads the pictures.
README_BYTES_MAX = 250_000


#: Path of each page for screenshots, and of those that need a collector with a viewer key.
ALL_PAGES = {**PAGES, "map-world": "/map?group=", "problem": PROBLEM}
LOCKED_PAGES = {"login": "/login"}


def screenshots(visitor: Visitor, folder: Path, pages: Mapping[str, str]) -> list[Path]:
    """Take full-page screenshots, light and dark, on a screen and on a phone; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, path in pages.items():
        for scheme in SCHEMES:
            for size, device, scale in ((WIDE, "screen", 1.0), (PHONE, "phone", PHONE_SCALE)):
                status = 404 if path == PROBLEM else 200
                page = visitor.open(path, scheme=scheme, size=size, scale=scale, status=status)
                files.append(folder / f"{name}-{device}-{scheme}.png")
                page.screenshot(path=files[-1], full_page=True, animations="disabled")
                visitor.close()
    return files


def readme_pictures(visitor: Visitor, folder: Path) -> list[Path]:
    """Take the pictures of the README, light and dark; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, (path, height) in README.items():
        for scheme in SCHEMES:
            page = visitor.open(path, scheme=scheme, size=(README_WIDTH, height), scale=README_SCALE)
            files.append(folder / f"{name}-{scheme}.png")
            page.screenshot(path=files[-1], animations="disabled")
            _reduce_colours(files[-1])
            visitor.close()
    return files


def _reduce_colours(path: Path) -> None:
    with Image.open(path) as picture:
        reduced = picture.convert("RGB").quantize(README_COLOURS, dither=Image.Dither.NONE)
    reduced.save(path, optimize=True)
