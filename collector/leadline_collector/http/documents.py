"""JSON documents of single routes: health and the mesh file."""

from __future__ import annotations

from msgspec import Struct


class HealthResponse(Struct, frozen=True, kw_only=True):
    """Health of the collector: status "ok" and its version."""

    status: str
    version: str


class MeshFileResponse(Struct, frozen=True, kw_only=True):
    """The active mesh file."""

    version: int
    applied_at: int
    applied_at_iso: str
    text: str
