"""``python -m tests.browser screenshots|pictures``: PNG files of the pages with demo data."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.browser import pictures
from tests.browser.chromium import chromium, unavailable_reason
from tests.browser.demo_collector import ROOT, demo_collector, locked_collector
from tests.browser.visitor import Visitor

FOLDER_VARIABLE = "LEADLINE_SCREENSHOTS"
#: Default folder of each kind of picture.
_DEFAULT_FOLDERS = {"screenshots": "build/screenshots", "pictures": "docs/pictures"}


def main() -> int:
    """Return 1 after a fault on a page or with a picture that is too large, 2 without a browser."""
    parser = argparse.ArgumentParser(prog="python -m tests.browser", description=__doc__)
    parser.add_argument("what", choices=_DEFAULT_FOLDERS, help="all pages, or the pictures of the README")
    parser.add_argument("--folder", type=Path, help=f"output folder; for screenshots also {FOLDER_VARIABLE}")
    args = parser.parse_args()
    if reason := unavailable_reason():
        print(reason, file=sys.stderr)
        return 2
    env_folder = os.environ.get(FOLDER_VARIABLE) if args.what == "screenshots" else None
    folder = args.folder or ROOT / (env_folder or _DEFAULT_FOLDERS[args.what])
    files, faults = _take_readme_pictures(folder) if args.what == "pictures" else _take_screenshots(folder)
    for path in files:
        print(f"{path.stat().st_size:>9,}  {path}")
    large = [path.name for path in files if args.what == "pictures" and path.stat().st_size > pictures.README_BYTES_MAX]
    faults += [*(f"{name} is larger than {pictures.README_BYTES_MAX:,} bytes" for name in large)]
    print(*faults, sep="\n", file=sys.stderr, end="\n" if faults else "")
    return 1 if faults else 0


def _take_readme_pictures(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the files and the faults on the pages."""
    with tempfile.TemporaryDirectory() as data, demo_collector(Path(data)) as url, chromium() as browser:
        visitor = Visitor(browser=browser, origin=url)
        return pictures.readme_pictures(visitor, folder), visitor.faults


def _take_screenshots(folder: Path) -> tuple[list[Path], list[str]]:
    with (
        tempfile.TemporaryDirectory() as data,
        tempfile.TemporaryDirectory() as empty,
        demo_collector(Path(data)) as url,
        locked_collector(Path(empty)) as locked,
        chromium() as browser,
    ):
        visitor, anonymous_visitor = (Visitor(browser=browser, origin=origin) for origin in (url, locked))
        files = pictures.screenshots(visitor, folder, pictures.ALL_PAGES)
        files += pictures.screenshots(anonymous_visitor, folder, pictures.LOCKED_PAGES)
        return files, [*visitor.faults, *anonymous_visitor.faults]


if __name__ == "__main__":
    sys.exit(main())
