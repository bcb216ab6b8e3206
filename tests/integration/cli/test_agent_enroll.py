"""Enrolment of an agent on the command line."""

from __future__ import annotations

import subprocess
import sys

SCRIPT_WITHOUT_CRYPTOGRAPHY = """
import sys
sys.modules["cryptography"] = None
from leadline_cli.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def test_missing_extra_is_in_the_error() -> None:
    """``--sign`` without the package fails before any request, so the token stays unused."""
    arguments = ["agent", "enroll", "http://127.0.0.1:9", "--token-file", "-", "--sign"]
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT_WITHOUT_CRYPTOGRAPHY, *arguments], input="t" * 20, capture_output=True, text=True
    )

    assert process.returncode == 2
    assert "pip install 'leadline[signing]'" in process.stderr
    assert "Traceback" not in process.stderr
