"""File system port of the spool (one flat directory of files) and its implementation on a real directory.

It contains no policy. tests/chaos/crashing_files.py implements the same port and simulates power loss.
Every method may raise OSError; docstrings list other exceptions.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Protocol

from leadline.errors import UnavailableError

LOCK_NAME = "lock"


class FileSystem(Protocol):
    """File operations of a spool. A name is a file in the directory; a handle is an open file."""

    def acquire_lock(self) -> bool:
        """Create the directory if it is missing and lock it; return False if this process already has the lock.

        A later True means that the directory was removed and recreated. Raise UnavailableError if another process has
        the lock.
        """
        ...

    def release_lock(self) -> None:
        """Release the lock of the directory."""
        ...

    def list_names(self) -> list[str]:
        """Return the file names, in any order."""
        ...

    def get_size(self, name: str) -> int:
        """Return the size of the file in bytes."""
        ...

    def read_at(self, name: str, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``; fewer at the end of the file."""
        ...

    def create(self, name: str) -> int:
        """Create an empty file and return its handle. The name is not durable until ``fsync_dir``.

        Raise FileExistsError if the file exists.
        """
        ...

    def open_existing(self, name: str) -> int:
        """Open an existing file at offset 0 for overwriting; return its handle."""
        ...

    def write(self, handle: int, data: bytes) -> None:
        """Write after the last write of this handle. After an error, any part of ``data`` may be in the file."""
        ...

    def truncate(self, handle: int, size: int) -> None:
        """Truncate the file to ``size`` bytes."""
        ...

    def fdatasync(self, handle: int) -> None:
        """Make the bytes and the size of the file durable. After an error, do not retry with this handle."""
        ...

    def close(self, handle: int) -> None:
        """Close the handle. Gives no durability."""
        ...

    def is_same_file(self, name: str, handle: int) -> bool:
        """Return whether the name still refers to the file of the handle."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Rename ``old`` to ``new`` atomically, replacing it. Not durable until ``fsync_dir``."""
        ...

    def unlink(self, name: str) -> None:
        """Remove a file. Not durable until ``fsync_dir``."""
        ...

    def fsync_dir(self) -> None:
        """Make the names of the directory durable."""
        ...

    def get_free_bytes(self) -> int:
        """Return the bytes that this process can still write to the file system."""
        ...


class DirectoryFileSystem:
    """``FileSystem`` on a real directory. Only the owner can access the files."""

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
            owner_pid = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
            os.close(lock)
            raise UnavailableError(
                f"the spool {self._directory} is in use by process {owner_pid or 'unknown'}; two agents cannot share a "
                "spool: stop the other agent, or use a separate state directory"
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
        """Create the directory and its missing parents; sync each name in its parent."""
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
    """Read ``size`` bytes or up to the end of the file, with several calls if needed."""
    data = os.pread(descriptor, size, offset)
    while 0 < len(data) < size:
        chunk = os.pread(descriptor, size - len(data), offset + len(data))
        if not chunk:
            break
        data += chunk
    return data


def _fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
