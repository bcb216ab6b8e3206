"""Encoding of single probes as CSV or JSON lines (docs/export.md). Pure.

A row is the time of its slot, fixed text of its path and slot, the RTT, and fixed text of its window. Both formats are
such templates, so a row costs one formatting operation.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, TypeAlias

from leadline.clock import format_iso8601
from leadline.model import Miss, Window
from leadline.wire.probes import PROBE_COLUMNS, ProbeOrigin

#: Text between the minute and the RTT of a row, for every slot of a window.
_SlotTexts: TypeAlias = list[str]


class ProbeFormat(StrEnum):
    """Formats of an export."""

    CSV = "csv"
    JSONL = "jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class PathLabel:
    """Names and origin of a path, as in its rows."""

    agent: str
    target: str
    origin: ProbeOrigin


class ProbeEncoder(ABC):
    """Encodes windows as rows, one per slot; subclasses are the formats."""

    media_type: ClassVar[str]
    #: First line of a file, with its line break; empty if the format has none.
    header: ClassVar[str] = ""
    #: Text before the minute of a row.
    prefix: ClassVar[str] = ""

    def __init__(self) -> None:
        self._slot_texts: dict[tuple[PathLabel, int], _SlotTexts] = {}

    def encode_window(self, label: PathLabel, window: Window) -> str:
        """Return the rows of a window in order of slot, each with its line break."""
        minute = self.prefix + _format_minute(window.start_s)
        slots = self._get_slot_texts(label, window.interval_ms)
        after_rtt = self._format_after_rtt(label, window)
        rows = [f"{minute}{slot}{rtt}{after_rtt}" for slot, rtt in zip(slots, window.rtt_us, strict=True)]
        for miss in window.misses:
            rows[miss.slot] = f"{minute}{slots[miss.slot]}{self._format_miss(label, window, miss)}"
        return "".join(rows)

    def _get_slot_texts(self, label: PathLabel, interval_ms: int) -> _SlotTexts:
        key = label, interval_ms
        texts = self._slot_texts.get(key)
        if texts is None:
            texts = self._slot_texts[key] = [
                self._format_slot(label, slot, _format_second(slot * interval_ms))
                for slot in range(60_000 // interval_ms)
            ]
        return texts

    @abstractmethod
    def _format_slot(self, label: PathLabel, slot: int, second: str) -> str:
        """Return the text between the minute and the RTT."""

    @abstractmethod
    def _format_after_rtt(self, label: PathLabel, window: Window) -> str:
        """Return the text after an RTT."""

    @abstractmethod
    def _format_miss(self, label: PathLabel, window: Window, miss: Miss) -> str:
        """Return the text of a slot without an RTT, from the place of the RTT."""


class CsvEncoder(ProbeEncoder):
    """CSV with a header line. Names and numbers contain nothing that needs quotes."""

    media_type = "text/csv"
    header = ",".join(PROBE_COLUMNS) + "\n"

    def _format_slot(self, label: PathLabel, slot: int, second: str) -> str:
        return f"{second},{label.agent},{label.target},{slot},"

    def _format_after_rtt(self, label: PathLabel, window: Window) -> str:
        return f",,,{self._format_window(label, window)}"

    def _format_miss(self, label: PathLabel, window: Window, miss: Miss) -> str:
        detail = "" if miss.detail is None else miss.detail
        return f",{miss.failure.value},{detail},{self._format_window(label, window)}"

    def _format_window(self, label: PathLabel, window: Window) -> str:
        bound = window.error_bound
        return f"{bound.p50_us},{bound.p99_us},{label.origin.value}\n" if bound else f",,{label.origin.value}\n"


class JsonLinesEncoder(ProbeEncoder):
    """One JSON object a line; a missing value is null."""

    media_type = "application/x-ndjson"
    prefix = '{"time":"'

    def _format_slot(self, label: PathLabel, slot: int, second: str) -> str:
        agent, target = json.dumps(label.agent), json.dumps(label.target)
        return f'{second}","agent":{agent},"target":{target},"slot":{slot},"rtt_us":'

    def _format_after_rtt(self, label: PathLabel, window: Window) -> str:
        return f',"failure":null,"detail":null,{self._format_window(label, window)}'

    def _format_miss(self, label: PathLabel, window: Window, miss: Miss) -> str:
        detail = "null" if miss.detail is None else miss.detail
        return f'null,"failure":"{miss.failure.value}","detail":{detail},{self._format_window(label, window)}'

    def _format_window(self, label: PathLabel, window: Window) -> str:
        bound = window.error_bound
        p50, p99 = (bound.p50_us, bound.p99_us) if bound else ("null", "null")
        return f'"error_p50_us":{p50},"error_p99_us":{p99},"origin":"{label.origin.value}"}}\n'


ENCODERS: dict[ProbeFormat, type[ProbeEncoder]] = {
    ProbeFormat.CSV: CsvEncoder,
    ProbeFormat.JSONL: JsonLinesEncoder,
}


def _format_minute(start_s: int) -> str:
    """Format the start of a window up to its minute: ``2026-11-22T06:00:``."""
    return format_iso8601(start_s).removesuffix("00Z")


def _format_second(offset_ms: int) -> str:
    """Format the rest of the time of a slot: ``07.500Z``."""
    return f"{offset_ms // 1_000:02d}.{offset_ms % 1_000:03d}Z"
