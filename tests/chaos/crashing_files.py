"""In-memory ``FileSystem`` with simulated power loss: page cache and disk are separate.

Effects of a crash that POSIX allows and that a kill -9 cannot show:
* Bytes written since the last sync: each 512-byte sector is on disk or not, in any combination. A file that grew may
  have its new size with zeros, or its old size.
* Names created, renamed or removed since the last sync of the directory: each change is on disk or not. Syncing a file
  does not sync its name.
* After a failed sync the kernel marks the pages as clean: the next sync succeeds without writing them (as on Linux; see
  the PostgreSQL community's "fsyncgate" of 2018). They may be on disk or not, regardless of later syncs.

Within one process, all writes are visible at once.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from random import Random

SECTOR_BYTES = 512


class PowerLossError(Exception):
    """Power loss at this operation, before it had any effect."""


@dataclass(frozen=True, slots=True)
class _Write:
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class _Truncation:
    size: int


_Change = _Write | _Truncation


@dataclass(slots=True)
class _Inode:
    """One inode: visible content, durable content, and changes that a crash may keep."""

    cached: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    unsynced: list[_Change] = field(default_factory=list)
    #: Changes of a failed sync; later syncs do not write them.
    unsyncable: list[_Change] = field(default_factory=list)

    def change(self, change: _Change) -> None:
        _apply(self.cached, change)
        self.unsynced.append(change)

    def sync(self) -> None:
        for change in self.unsynced:
            _apply(self.durable, change)
        self.unsynced = []

    def fail_sync(self) -> None:
        self.unsyncable += self.unsynced
        self.unsynced = []

    def after_crash(self, rng: Random) -> _Inode:
        """Return a random state that a crash may leave."""
        data = bytearray(self.durable)
        mode = rng.choice(("none", "all", "prefix", "any"))
        changes = [*self.unsyncable, *self.unsynced]
        if mode == "none":
            changes = []
        elif mode == "prefix":
            changes = changes[: rng.randint(0, len(changes))]
        elif mode == "any":
            changes = [change for change in changes if rng.random() < 0.7]
        for index, change in enumerate(changes):
            torn = mode == "any" or (mode == "prefix" and index == len(changes) - 1)
            _apply(data, change) if not torn else _tear(data, change, rng)
        return _Inode(cached=data, durable=bytearray(data))


def _apply(data: bytearray, change: _Change) -> None:
    if isinstance(change, _Truncation):
        del data[change.size :]
        return
    end = change.offset + len(change.data)
    if len(data) < end:
        data.extend(bytes(end - len(data)))
    data[change.offset : end] = change.data


def _tear(data: bytearray, change: _Change, rng: Random) -> None:
    """Apply a random part of the sectors of a change, or only its size."""
    if isinstance(change, _Truncation):
        _apply(data, change)
        return
    end = change.offset + len(change.data)
    if len(data) < end and rng.random() < 0.8:
        data.extend(bytes(end - len(data)))
    probability = rng.choice((0.0, 0.5, 0.9))
    for sector in range(change.offset // SECTOR_BYTES * SECTOR_BYTES, end, SECTOR_BYTES):
        first, last = max(sector, change.offset), min(sector + SECTOR_BYTES, end, len(data))
        if first < last and rng.random() < probability:
            data[first:last] = change.data[first - change.offset : last - change.offset]


_Names = dict[str, _Inode]
#: (name, new inode of the name); None if the name was removed.
_Renaming = tuple[tuple[str, _Inode | None], ...]


class CrashingFiles:
    """``FileSystem`` in memory. Tests set its attributes to inject faults."""

    def __init__(self, names: _Names | None = None) -> None:
        self._names: _Names = dict(names or {})
        self._durable_names: _Names = dict(names or {})
        self._unsynced_names: list[_Renaming] = []
        self._open: dict[int, tuple[_Inode, int]] = {}
        self._next_handle = 3
        self._locked = False
        #: Number of disk operations so far.
        self.operations = 0
        #: Operation number of the power loss; None for no power loss.
        self.power_loss_at: int | None = None
        #: Errno by operation number; such an operation fails without effect.
        self.failures: dict[int, int] = {}
        #: Total size limit of all files in bytes; None for no limit.
        self.capacity: int | None = None
        self.read_only = False
        #: Called before each operation, to check the effect of a crash at that time.
        self.on_operation: Callable[[], None] | None = None

    # -- interface for tests --

    def after_crash(self, rng: Random) -> CrashingFiles:
        """Return a random disk state that a crash may leave now."""
        names = dict(self._durable_names)
        mode = rng.choice(("none", "all", "prefix", "any"))
        keep = rng.randint(0, len(self._unsynced_names))
        for index, renaming in enumerate(self._unsynced_names):
            if mode == "all" or (mode == "prefix" and index < keep) or (mode == "any" and rng.random() < 0.5):
                _rename(names, renaming)
        files = {id(file): file.after_crash(rng) for file in names.values()}
        crashed = type(self)({name: files[id(file)] for name, file in names.items()})
        crashed.capacity = self.capacity
        return crashed

    def after_kill(self) -> CrashingFiles:
        """Return the disk after a kill -9: all written data, synced or not."""
        callback, self.on_operation = self.on_operation, None
        survivor = deepcopy(self)
        self.on_operation = callback
        survivor._open, survivor._locked = {}, False
        survivor.power_loss_at, survivor.failures, survivor.operations = None, {}, 0
        return survivor

    def content(self, name: str) -> bytearray:
        """Return the bytes of a file, to read or to damage in place; the damage is durable."""
        file = self._names[name]
        file.durable = file.cached
        return file.cached

    def remove_directory(self) -> None:
        """Remove all names, like ``rm -rf``; open files stay usable."""
        self._names, self._durable_names, self._unsynced_names = {}, {}, []
        self._locked = False

    @property
    def used_bytes(self) -> int:
        """Total size of all files."""
        return sum(len(file.cached) for file in self._names.values())

    # -- FileSystem --

    def acquire_lock(self) -> bool:
        if self._locked:
            return False
        if self.read_only:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        self._locked = True
        return True

    def release_lock(self) -> None:
        self._locked = False

    def list_names(self) -> list[str]:
        return list(self._names)

    def get_size(self, name: str) -> int:
        return len(self._file(name).cached)

    def read_at(self, name: str, offset: int, size: int) -> bytes:
        return bytes(self._file(name).cached[offset : offset + size])

    def create(self, name: str) -> int:
        self._operate(changes=True)
        if name in self._names:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        return self._handle(self._rename_file(((name, _Inode()),)))

    def open_existing(self, name: str) -> int:
        self._operate(changes=True)
        return self._handle(self._file(name))

    def write(self, handle: int, data: bytes) -> None:
        self._operate(changes=True)
        file, position = self._open[handle]
        fits = len(data)
        if self.capacity is not None:
            growth = max(0, position + len(data) - len(file.cached))
            fits -= max(0, growth - max(0, self.capacity - self.used_bytes))
        if fits:
            file.change(_Write(position, data[:fits]))
            self._open[handle] = (file, position + fits)
        if fits < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def truncate(self, handle: int, size: int) -> None:
        self._operate(changes=True)
        self._open[handle][0].change(_Truncation(size))

    def fdatasync(self, handle: int) -> None:
        file = self._open[handle][0]
        try:
            self._operate()
        except OSError:
            file.fail_sync()
            raise
        file.sync()

    def close(self, handle: int) -> None:
        del self._open[handle]

    def is_same_file(self, name: str, handle: int) -> bool:
        return self._names.get(name) is self._open[handle][0]

    def rename(self, old: str, new: str) -> None:
        self._operate(changes=True)
        self._rename_file(((new, self._file(old)), (old, None)))

    def unlink(self, name: str) -> None:
        self._operate(changes=True)
        self._file(name)
        self._rename_file(((name, None),))

    def fsync_dir(self) -> None:
        self._operate()
        self._durable_names, self._unsynced_names = dict(self._names), []

    def get_free_bytes(self) -> int:
        return 1 << 40 if self.capacity is None else max(0, self.capacity - self.used_bytes)

    def _operate(self, *, changes: bool = False) -> None:
        self.operations += 1
        if self.power_loss_at is not None and self.operations >= self.power_loss_at:
            raise PowerLossError
        if self.on_operation is not None:
            self.on_operation()
        code = self.failures.get(self.operations)
        if changes and self.read_only:
            code = errno.EROFS
        if code is not None:
            raise OSError(code, os.strerror(code))

    def _file(self, name: str) -> _Inode:
        if name not in self._names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return self._names[name]

    def _handle(self, file: _Inode) -> int:
        self._next_handle += 1
        self._open[self._next_handle] = (file, 0)
        return self._next_handle

    def _rename_file(self, renaming: _Renaming) -> _Inode:
        _rename(self._names, renaming)
        self._unsynced_names.append(renaming)
        file = renaming[0][1]
        return file if file is not None else _Inode()


def _rename(names: _Names, renaming: _Renaming) -> None:
    for name, file in renaming:
        if file is None:
            names.pop(name, None)
        else:
            names[name] = file
