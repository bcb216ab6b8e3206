"""An agent as it was under wire version 1, frozen: what it sends and what it reads must work for ever.

It shares no code with the product, so that a change of ``leadline.wire`` cannot change it, and is never edited: the
next version's agent gets a file of its own when there is a version after it.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

TIMEOUT_S = 10


@dataclass(slots=True, kw_only=True)
class AgentV1:
    """One agent and its place at a collector on this machine."""

    port: int
    epoch: str = "00000000000000000000000000000001"
    name: str = ""
    key: str = ""
    seq: int = 0
    mesh_version: int = 0
    #: Bodies that no digest came back for.
    unsent: list[bytes] = field(default_factory=list)

    def enrol(self, token: str, agent: str) -> None:
        """Exchange a token for a key."""
        status, answer = self._ask("POST", "/api/v1/enroll", json.dumps({"token": token, "agent": agent}).encode())
        assert status == 200, answer
        self.name, self.key = answer["agent"], answer["key"]

    def plan(self) -> Sequence[Mapping[str, Any]]:
        """What is to be measured; keys it does not know are passed over."""
        status, answer = self._ask("GET", "/api/v1/plan")
        assert status == 200, answer
        assert answer["agent"] == self.name
        self.mesh_version = answer["mesh_version"]
        names = ("name", "site", "address", "interval_ms", "timeout_ms", "payload_bytes", "dscp", "dont_fragment")
        return [{name: target[name] for name in names} for target in answer["targets"]]

    def seal(self, sealed_at_us: int, monotonic_us: int, series: Sequence[Mapping[str, Any]]) -> None:
        """Close a batch."""
        document = {
            "v": 1,
            "agent": self.name,
            "epoch": self.epoch,
            "seq": self.seq,
            "mesh_version": self.mesh_version,
            "sealed_at_us": sealed_at_us,
            "monotonic_us": monotonic_us,
            "series": series,
        }
        self.seq += 1
        self.unsent.append(gzip.compress(json.dumps(document).encode(), mtime=0))

    def send(self) -> list[int]:
        """Post what is there, once each; the statuses. Only our digest takes a batch off the list."""
        statuses, kept = [], []
        for body in self.unsent:
            status, answer = self._ask("POST", "/api/v1/batches", body)
            statuses.append(status)
            if status == 200 and answer["digest"] == hashlib.sha256(body).hexdigest():
                assert isinstance(answer["duplicate"], bool)
                self.mesh_version = answer["mesh_version"]
            else:
                kept.append(body)
        self.unsent = kept
        return statuses

    def _ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        if path.endswith("/batches"):
            headers |= {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()
