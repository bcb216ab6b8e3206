"""JSON documents of single routes: health and the mesh file."""

from __future__ import annotations

from msgspec import Struct


class HealthAnswer(Struct, frozen=True, kw_only=True):
    """All is well."""

    status: str
    version: str


class MeshText(Struct, frozen=True, kw_only=True):
    """The mesh file in force."""

    version: int
    applied_at: int
    applied_at_iso: str
    text: str
