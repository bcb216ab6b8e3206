"""The spool's one door to the file system: a flat directory of files, as a port and as the real thing.

It translates and does not decide. tests/chaos/crashing_files.py implements the same port and loses power.
Every method may raise OSError; where more can happen the docstring says so.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Protocol

from leadline.errors import UnavailableError

LOCK_NAME = "lock"


class FileSystem(Protocol):
    """What a spool needs of a file system. A name is a file directly in the directory; a handle is an open file."""

    def acquire_lock(self) -> bool:
        """Make the directory if it is missing and hold it alone; False when we hold it already.

        True again means that the directory was removed and made anew. UnavailableError when another process holds it.
        """
        ...

    def release_lock(self) -> None:
        """Let the directory go."""
        ...

    def list_names(self) -> list[str]:
        """The names of the files, in any order."""
        ...

    def get_size(self, name: str) -> int:
        """Bytes from the beginning of the file to its end."""
        ...

    def read_at(self, name: str, offset: int, size: int) -> bytes:
        """At most ``size`` bytes from ``offset``; fewer where the file ends."""
        ...

    def create(self, name: str) -> int:
        """A handle on a new, empty file; FileExistsError when there is one. In the directory, but not yet durably."""
        ...

    def open_existing(self, name: str) -> int:
        """A handle on an existing file, at its beginning: what is written replaces what is there."""
        ...

    def write(self, handle: int, data: bytes) -> None:
        """Write behind what this handle wrote last. After an error any part of it may be in the file."""
        ...

    def truncate(self, handle: int, size: int) -> None:
        """Cut the file to ``size`` bytes."""
        ...

    def fdatasync(self, handle: int) -> None:
        """Make the file's bytes and size durable. After an error they never will be through this handle."""
        ...

    def close(self, handle: int) -> None:
        """Give the handle back; promises nothing about durability."""
        ...

    def is_same_file(self, name: str, handle: int) -> bool:
        """Whether the name in the directory still means the file of the handle."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Replace ``new`` by ``old`` in one step. Not durable until ``fsync_dir``."""
        ...

    def unlink(self, name: str) -> None:
        """Remove a file. Not durable until ``fsync_dir``."""
        ...

    def fsync_dir(self) -> None:
        """Make the names of the directory durable."""
        ...

    def get_free_bytes(self) -> int:
        """What the file system has left for this process."""
        ...


class DirectoryFileSystem:
    """The port on a real directory; files are for their owner only."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock: int | None = None

    def acquire_lock(self) -> bool:
        if self._lock is not None and self.is_same_file(LOCK_NAME, self._lock):
            return False
        self.release_lock()
        self._make_directory()
        lock = os.open(self._directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
            os.close(lock)
            raise UnavailableError(
                f"the spool {self._directory} is in use by process {holder or 'unknown'}: two agents cannot share one; "
                "stop the other, or give this one a state directory of its own"
            ) from None
        except OSError:
            os.close(lock)
            raise
        os.ftruncate(lock, 0)
        os.pwrite(lock, b"%d\n" % os.getpid(), 0)
        self._lock = lock
        return True

    def release_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _make_directory(self) -> None:
        """Make it and what is missing above it, each name durable in its parent."""
        missing = [path for path in (self._directory, *self._directory.parents) if not path.exists()]
        for path in reversed(missing):
            path.mkdir(mode=0o700)
            _fsync_directory(path.parent)

    def list_names(self) -> list[str]:
        return [path.name for path in self._directory.iterdir()]

    def get_size(self, name: str) -> int:
        return (self._directory / name).stat().st_size

    def read_at(self, name: str, offset: int, size: int) -> bytes:
        with (self._directory / name).open("rb", buffering=0) as file:
            return _read_fully(file.fileno(), offset, size)

    def create(self, name: str) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        return os.open(self._directory / name, flags, 0o600)

    def open_existing(self, name: str) -> int:
        return os.open(self._directory / name, os.O_WRONLY | os.O_CLOEXEC)

    def write(self, handle: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]

    def truncate(self, handle: int, size: int) -> None:
        os.ftruncate(handle, size)

    def fdatasync(self, handle: int) -> None:
        os.fdatasync(handle)

    def close(self, handle: int) -> None:
        os.close(handle)

    def is_same_file(self, name: str, handle: int) -> bool:
        try:
            return os.path.samestat((self._directory / name).stat(), os.fstat(handle))
        except FileNotFoundError:
            return False

    def rename(self, old: str, new: str) -> None:
        (self._directory / old).rename(self._directory / new)

    def unlink(self, name: str) -> None:
        (self._directory / name).unlink()

    def fsync_dir(self) -> None:
        _fsync_directory(self._directory)

    def get_free_bytes(self) -> int:
        status = os.statvfs(self._directory)
        return status.f_bavail * status.f_frsize


def _read_fully(descriptor: int, offset: int, size: int) -> bytes:
    """All of it, also where one call gives less."""
    data = os.pread(descriptor, size, offset)
    while 0 < len(data) < size:
        more = os.pread(descriptor, size - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


def _fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
