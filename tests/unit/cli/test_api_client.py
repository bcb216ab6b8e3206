"""The key of the administrator as the command line reads it."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from leadline.errors import ConfigError
from leadline_cli.api_client import read_admin_key


def options(file: Path) -> Namespace:
    return Namespace(admin_key_file=file)


def test_white_space_around_a_key_is_removed(tmp_path: Path) -> None:
    """Editors end a file with a newline."""
    file = tmp_path / "admin.key"
    file.write_bytes(b"  ll_admin_0123456789abcdef\r\n")

    assert read_admin_key(options(file)) == "ll_admin_0123456789abcdef"


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"two words", b"one\ntwo", b"one\x00", "Schlüssel".encode(), b"\xff\xfe", b"k" * 1_025]
)
def test_a_file_without_a_key_is_refused(tmp_path: Path, content: bytes) -> None:
    """The error names the file and never its content, which may be another secret."""
    file = tmp_path / "secret.txt"
    file.write_bytes(content)

    with pytest.raises(ConfigError) as refused:
        read_admin_key(options(file))

    assert "does not contain a key" in str(refused.value)
    assert str(file) in str(refused.value)
    assert "one" not in str(refused.value).replace("one line", "")
