"""Types met by several threads at once."""

from __future__ import annotations

import subprocess
import sys

import pytest

THREADS = """
import sys, threading
sys.setswitchinterval(1e-7)
from leadline.wire import codec, control
from leadline.limits.catalogue import load_catalogue
from leadline.mesh.parser import parse_mesh
from leadline_cli.commands.demo import build_mesh_toml
text, together = build_mesh_toml(), threading.Barrier(8)
plan = codec.encode(control.Plan(agent="a", site="b", mesh_version=1, targets=[]))
def meet():
    together.wait()
    parse_mesh(text)
    codec.decode(plan, control.Plan)
    load_catalogue()
threads = [threading.Thread(target=meet) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


@pytest.mark.parametrize("_", range(6))
def test_threads_may_meet_a_type_at_once(_: int) -> None:
    """Without turns more than half of these processes crash."""
    found = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, check=False, timeout=60)

    assert (found.returncode, found.stderr) == (0, b"")
