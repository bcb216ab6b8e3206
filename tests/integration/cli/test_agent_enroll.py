"""Enrolment of an agent on the command line."""

from __future__ import annotations

import subprocess
import sys

WITHOUT = """
import sys
sys.modules["cryptography"] = None
from leadline_cli.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def test_without_the_extra_the_error_names_it() -> None:
    """``--sign`` fails before the token is used; nobody is asked."""
    words = ["agent", "enroll", "http://127.0.0.1:9", "--token-file", "-", "--sign"]
    done = subprocess.run([sys.executable, "-c", WITHOUT, *words], input="t" * 20, capture_output=True, text=True)

    assert done.returncode == 2
    assert "pip install 'leadline[signing]'" in done.stderr
    assert "Traceback" not in done.stderr
