"""Files that a command writes: complete or absent, and never over another file without ``--force``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from leadline.errors import ConfigError

#: Name that stands for standard output.
_STANDARD_OUTPUT = Path("-")


def check_output(path: Path, option: str, *, force: bool) -> None:
    """Raise ConfigError if ``write_output`` would refuse the path; call it before work that takes long."""
    if path == _STANDARD_OUTPUT:
        return
    if path.is_dir():
        raise ConfigError(option, f"{path} is a directory; name a file in it")
    if not force and os.path.lexists(path) and not _is_stream(path):
        raise ConfigError(option, f"{path} exists; add --force to replace it, or name another file")


def write_output(path: Path, data: bytes, option: str, *, force: bool) -> None:
    """Write a file under its final name once it is complete on disk; raise ConfigError if that fails.

    ``-`` is standard output. A pipe or a device is written directly. With ``force``, the target of a symbolic link is
    replaced, not the link.
    """
    if path == _STANDARD_OUTPUT:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    check_output(path, option, force=force)
    try:
        if _is_stream(path):
            path.write_bytes(data)
        else:
            _write_atomically(Path(os.path.realpath(path)), data)
    except OSError as error:
        raise ConfigError(option, f"cannot write {path}: {error.strerror}") from error


def _is_stream(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


def _write_atomically(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        _fsync_directory(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
