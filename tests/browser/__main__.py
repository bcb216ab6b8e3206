"""``python -m tests.browser screenshots|pictures``: the pages on the demo's data, as PNG files."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.browser import pictures
from tests.browser.chromium import chromium, why_not
from tests.browser.demo_collector import ROOT, demo_collector
from tests.browser.visitor import Visitor

FOLDER_VARIABLE = "LEADLINE_SCREENSHOTS"
_WHAT = {
    "screenshots": (pictures.screenshots, "build/screenshots"),
    "pictures": (pictures.readme_pictures, "docs/pictures"),
}


def main() -> int:
    """1 if something went wrong on a page or a picture is too large, 2 without a browser."""
    parser = argparse.ArgumentParser(prog="python -m tests.browser", description=__doc__)
    parser.add_argument("what", choices=_WHAT, help="every page, to look at; or the README's")
    parser.add_argument("--folder", type=Path, help=f"where to put them; {FOLDER_VARIABLE} names one for screenshots")
    args = parser.parse_args()
    if reason := why_not():
        print(reason, file=sys.stderr)
        return 2
    take, default = _WHAT[args.what]
    named = os.environ.get(FOLDER_VARIABLE) if args.what == "screenshots" else None
    folder = args.folder or ROOT / (named or default)
    with tempfile.TemporaryDirectory() as data, demo_collector(Path(data)) as url, chromium() as browser:
        visitor = Visitor(browser=browser, origin=url)
        taken = take(visitor, folder)
        visitor.close()
    for path in taken:
        print(f"{path.stat().st_size:>9,}  {path}")
    large = [path.name for path in taken if args.what == "pictures" and path.stat().st_size > pictures.README_BYTES_MAX]
    faults = [*visitor.faults, *(f"{name} is larger than {pictures.README_BYTES_MAX:,} bytes" for name in large)]
    print(*faults, sep="\n", file=sys.stderr, end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
