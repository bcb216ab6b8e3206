"""Pictures of the pages: of every one for a person to look at, and the few that the README shows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from tests.browser.pages import PAGES, PROBLEM
from tests.browser.visitor import PHONE, SCHEMES, WIDE, Visitor

#: A phone has about as many dots to a pixel; a screen has one.
PHONE_SCALE = 2.0

#: Name -> address and height in CSS pixels: what of the page is in the picture, from its top.
README = {
    "matrix": ("/?group=europe-simulated&profile=vcf9-stretched-cluster&from=-28d", 1_110),
    "pair": ("/pairs/frankfurt/zurich?from=-7d", 1_060),
    "map": ("/map", 900),
}
README_WIDTH = 1_200
#: One and a half dots to a pixel stay sharp in the README's column on any screen.
README_SCALE = 1.5
#: The pages have few colours, and lines of them: a third of the bytes.
README_COLOURS = 256
#: Everybody who opens the README loads them.
README_BYTES_MAX = 250_000


#: Name -> address of everything that a person looks at, and of what only one without a key sees.
EVERYTHING = {**PAGES, "map-world": "/map?group=", "problem": PROBLEM}
LOCKED = {"login": "/login"}


def screenshots(visitor: Visitor, folder: Path, pages: Mapping[str, str]) -> list[Path]:
    """Pages, as long as they are, light and dark, on a screen and on a phone; where they were put."""
    folder.mkdir(parents=True, exist_ok=True)
    taken = []
    for name, path in pages.items():
        for scheme in SCHEMES:
            for size, where, scale in ((WIDE, "screen", 1.0), (PHONE, "phone", PHONE_SCALE)):
                status = 404 if path == PROBLEM else 200
                page = visitor.open(path, scheme=scheme, size=size, scale=scale, status=status)
                taken.append(folder / f"{name}-{where}-{scheme}.png")
                page.screenshot(path=taken[-1], full_page=True, animations="disabled")
                visitor.close()
    return taken


def readme_pictures(visitor: Visitor, folder: Path) -> list[Path]:
    """The README's pictures, light and dark; where they were put."""
    folder.mkdir(parents=True, exist_ok=True)
    taken = []
    for name, (path, height) in README.items():
        for scheme in SCHEMES:
            page = visitor.open(path, scheme=scheme, size=(README_WIDTH, height), scale=README_SCALE)
            taken.append(folder / f"{name}-{scheme}.png")
            page.screenshot(path=taken[-1], animations="disabled")
            _shrink(taken[-1])
            visitor.close()
    return taken


def _shrink(path: Path) -> None:
    with Image.open(path) as picture:
        few = picture.convert("RGB").quantize(README_COLOURS, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
