"""Settings of the collector: precedence, refused values, and error messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from leadline.errors import ConfigError
from leadline_collector.config import is_loopback, read_config, read_key_digest


def test_an_option_overrides_its_variable_and_a_variable_the_default() -> None:
    """Database and data directory come from an option, a variable or the default."""
    assert read_config({}, {"HOME": "/h"}).data_dir == Path("/h/.local/share/leadline")
    assert read_config({}, {"HOME": "/h", "XDG_DATA_HOME": "/x"}).data_dir == Path("/x/leadline")
    assert read_config({}, {"LEADLINE_DATA_DIR": "/v"}).database.database == "/v/leadline.sqlite"
    assert read_config({"data_dir": Path("/o")}, {"LEADLINE_DATA_DIR": "/v"}).data_dir == Path("/o")
    config = read_config({"database_url": "sqlite:////o.sqlite"}, {"LEADLINE_DATABASE_URL": "postgresql://v/v"})
    assert config.database.database == "/o.sqlite"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_uses_psycopg(scheme: str) -> None:
    """All common URL schemes select the same driver."""
    config = read_config({}, {"LEADLINE_DATABASE_URL": f"{scheme}://u@h/n", "HOME": "/h"})

    assert config.database.drivername == "postgresql+psycopg"


@pytest.mark.parametrize(
    ("options", "variables", "key"),
    [
        ({"port": 65_536}, {}, "--port"),
        ({"tls_cert": Path("c")}, {}, "--tls-cert"),
        ({"tls_key": Path("k")}, {}, "--tls-cert"),
        ({"host": "0.0.0.0"}, {}, "--host"),
        ({"host": "collector.example"}, {}, "--host"),
        ({"host": "0.0.0.0", "behind_proxy": True}, {}, "--viewer-key-file"),
        ({"viewer_key_file": Path("v"), "open_reading": True}, {}, "--open-reading"),
        ({"key_ttl_s": 3_599}, {}, "--key-ttl"),
        ({}, {"LEADLINE_DATABASE_URL": "mysql://h/n"}, "LEADLINE_DATABASE_URL"),
        ({}, {"LEADLINE_DATABASE_URL": "nonsense"}, "LEADLINE_DATABASE_URL"),
        ({}, {"LEADLINE_DATABASE_URL": "sqlite://"}, "LEADLINE_DATABASE_URL"),
    ],
)
def test_a_wrong_setting_is_named(options: dict[str, Any], variables: dict[str, str], key: str) -> None:
    """The error contains the option or variable."""
    with pytest.raises(ConfigError) as error:
        read_config(options, {"HOME": "/h"} | variables)
    assert error.value.key == key


@pytest.mark.parametrize("tls", [{"behind_proxy": True}, {"tls_cert": Path("c"), "tls_key": Path("k")}])
def test_a_public_address_is_accepted_with_tls(tls: dict[str, Any]) -> None:
    """TLS of the collector or of a proxy; and reading needs a key or is explicitly open."""
    for reading in ({"open_reading": True}, {"viewer_key_file": Path("v")}):
        assert read_config({"host": "0.0.0.0"} | tls | reading, {"HOME": "/h"}).host == "0.0.0.0"


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("::", False), ("a.example", False)],
)
def test_loopback_is_detected(host: str, expected: bool) -> None:
    """Loopback addresses are those that other machines cannot reach."""
    assert is_loopback(host) is expected


def test_a_password_is_not_in_the_text_of_the_settings() -> None:
    """``repr`` of the settings contains no secret."""
    config = read_config({}, {"LEADLINE_DATABASE_URL": "postgresql://u:secret@h/n", "HOME": "/h"})

    assert "secret" not in repr(config)


def test_a_short_key_is_refused(tmp_path: Path) -> None:
    """Fifteen characters are too few, sixteen are not."""
    file = tmp_path / "key"
    file.write_text("x" * 16 + "\n")
    assert len(read_key_digest("--viewer-key-file", file)) == 32

    file.write_text("x" * 15)
    with pytest.raises(ConfigError, match="--viewer-key-file"):
        read_key_digest("--viewer-key-file", file)


def test_the_password_of_the_database_comes_from_a_file(tmp_path: Path) -> None:
    """It is added to the URL without the trailing newline; a password in the URL has precedence."""
    (tmp_path / "password").write_text("p@ss/word\n")
    file = {"LEADLINE_DATABASE_PASSWORD_FILE": str(tmp_path / "password"), "HOME": "/h"}

    passwords = [
        read_config({}, file | {"LEADLINE_DATABASE_URL": url}).database.password
        for url in ("postgresql://u@h/n", "postgresql://u:own@h/n", "sqlite:////x.sqlite")
    ]

    assert passwords == ["p@ss/word", "own", None]


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_a_password_file_without_a_password_is_named(tmp_path: Path, content: str | None) -> None:
    """The error is clearer than the server's refusal of an empty password."""
    if content is not None:
        (tmp_path / "password").write_text(content)

    with pytest.raises(ConfigError) as error:
        read_config(
            {"database_url": "postgresql://u@h/n"},
            {"LEADLINE_DATABASE_PASSWORD_FILE": str(tmp_path / "password"), "HOME": "/h"},
        )
    assert error.value.key == "LEADLINE_DATABASE_PASSWORD_FILE"
