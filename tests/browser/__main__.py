"""``python -m tests.browser screenshots|pictures``: the pages on the demo's data, as PNG files."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.browser import pictures
from tests.browser.chromium import chromium, why_not
from tests.browser.demo_collector import ROOT, demo_collector, locked_collector
from tests.browser.visitor import Visitor

FOLDER_VARIABLE = "LEADLINE_SCREENSHOTS"
#: What can be taken, and where it is put.
_WHAT = {"screenshots": "build/screenshots", "pictures": "docs/pictures"}


def main() -> int:
    """1 if something went wrong on a page or a picture is too large, 2 without a browser."""
    parser = argparse.ArgumentParser(prog="python -m tests.browser", description=__doc__)
    parser.add_argument("what", choices=_WHAT, help="every page, to look at; or the README's")
    parser.add_argument("--folder", type=Path, help=f"where to put them; {FOLDER_VARIABLE} names one for screenshots")
    args = parser.parse_args()
    if reason := why_not():
        print(reason, file=sys.stderr)
        return 2
    named = os.environ.get(FOLDER_VARIABLE) if args.what == "screenshots" else None
    folder = args.folder or ROOT / (named or _WHAT[args.what])
    taken, faults = _readme(folder) if args.what == "pictures" else _everything(folder)
    for path in taken:
        print(f"{path.stat().st_size:>9,}  {path}")
    large = [path.name for path in taken if args.what == "pictures" and path.stat().st_size > pictures.README_BYTES_MAX]
    faults += [*(f"{name} is larger than {pictures.README_BYTES_MAX:,} bytes" for name in large)]
    print(*faults, sep="\n", file=sys.stderr, end="\n" if faults else "")
    return 1 if faults else 0


def _readme(folder: Path) -> tuple[list[Path], list[str]]:
    """The pictures, and what went wrong on the way."""
    with tempfile.TemporaryDirectory() as data, demo_collector(Path(data)) as url, chromium() as browser:
        visitor = Visitor(browser=browser, origin=url)
        return pictures.readme_pictures(visitor, folder), visitor.faults


def _everything(folder: Path) -> tuple[list[Path], list[str]]:
    with (
        tempfile.TemporaryDirectory() as data,
        tempfile.TemporaryDirectory() as empty,
        demo_collector(Path(data)) as url,
        locked_collector(Path(empty)) as locked,
        chromium() as browser,
    ):
        visitor, stranger = (Visitor(browser=browser, origin=origin) for origin in (url, locked))
        taken = pictures.screenshots(visitor, folder, pictures.EVERYTHING)
        taken += pictures.screenshots(stranger, folder, pictures.LOCKED)
        return taken, [*visitor.faults, *stranger.faults]


if __name__ == "__main__":
    sys.exit(main())
