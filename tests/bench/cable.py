"""Direct link between two network namespaces, for rates beyond the capacity of the emulated WAN.

The far end replies for 10.78.0.0/16, the targets of the benchmark. There is no delay: the kernel delivers the request
and the reply within the send call, on the core of the sender, so that this cost counts as CPU time of the tool.
"""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from tests.network.namespaces import Namespace
from tests.network.wan import RUN_TIMEOUT_S

TARGETS = "10.78.0.0/16"
_DEVICE = "cable"
_MAC = "02:00:00:00:00:78"


class Cable:
    """The link, as a context manager. Needs root."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._near, self._far = Namespace(), Namespace()
            stack.callback(self._near.close)
            stack.callback(self._far.close)
            self._connect()
            self._cleanup = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._cleanup.close()

    def run(self, argv: list[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        """Run a command at the near end and capture its output as text."""
        return _run(self._near, argv, **options)

    def _connect(self) -> None:
        ends = f"{_DEVICE} address {_MAC}"
        _run_ip(self._near, f"link add {ends} type veth peer name {ends} netns {self._far.path}")
        for end, address in ((self._near, "10.77.0.1/16"), (self._far, "10.77.1.1/16")):
            _run_ip(end, "link set lo up", f"link set {_DEVICE} arp off up", f"addr add {address} dev {_DEVICE}")
        _run_ip(self._near, f"route add {TARGETS} via 10.77.1.1 dev {_DEVICE}")
        _run_ip(self._far, f"route add local {TARGETS} dev lo")
        with self._near.enter():
            Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 2147483647")


def compute_address(number: int) -> str:
    """Return the address of a target by its number, 0 to 65,279; .0 and .255 are not used."""
    high, low = divmod(number, 254)
    return f"10.78.{high}.{low + 1}"


def _run_ip(space: Namespace, *lines: str) -> None:
    _run(space, ["ip", "-batch", "-"], input="\n".join(lines), check=True)


def _run(space: Namespace, argv: list[str], **options: Any) -> subprocess.CompletedProcess[Any]:
    options = {"capture_output": True, "text": True, "timeout": RUN_TIMEOUT_S} | options
    with space.enter():
        return subprocess.run(argv, check=options.pop("check", False), **options)
