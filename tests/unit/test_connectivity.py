"""What is said of a database that does not answer: where it was looked for, and nothing of the password."""

from __future__ import annotations

import pytest

from service.connectivity import host_and_port, translate_connection_errors
from service.database import Database
from service.errors import DatabaseUnavailable, Misconfigured

PLACES = {
    "postgresql://timewarden_app:secret-word@db.example:6432/timewarden": "db.example, port 6432",
    "postgresql://timewarden_app:secret-word@db.example/timewarden": "db.example, port 5432",
    "postgresql://db.example/timewarden": "db.example, port 5432",
    "postgresql://a:secret-word@[2001:db8::1]:5433/timewarden": "[2001:db8::1], port 5433",
    "postgresql://a:secret@word@db.example/timewarden": "db.example, port 5432",
    "postgresql://a:secret/word@db.example/timewarden": "the host of TIMEWARDEN_DATABASE_URL",
    "postgresql://a:secret?word@db.example/timewarden": "the host of TIMEWARDEN_DATABASE_URL",
    "postgresql://a:secret#word@db.example/timewarden": "the host of TIMEWARDEN_DATABASE_URL",
    "postgresql://a:sec@ret/word@db.example/timewarden": "the host of TIMEWARDEN_DATABASE_URL",
    "postgresql://a:sec@ret?word@db.example/timewarden": "the host of TIMEWARDEN_DATABASE_URL",
    "postgresql:///timewarden": "the local socket",
    "postgresql://a:secret-word@one:5432,two:5433/timewarden": "any of one:5432,two:5433",
}


@pytest.mark.parametrize(("url", "place"), PLACES.items())
def test_host_and_port_are_named_and_never_the_password(url: str, place: str) -> None:
    assert host_and_port(url) == place


def test_a_database_that_is_away_is_no_reason_to_look_anything_up() -> None:
    with (
        pytest.raises(DatabaseUnavailable, match=r"does not answer at db\.example, port 5432:") as told,
        translate_connection_errors("postgresql://a:secret-word@db.example/timewarden"),
    ):
        raise ConnectionRefusedError
    assert "repeat" not in told.value.public


def test_what_is_wrong_with_the_url_is_no_reason_to_wait() -> None:
    with pytest.raises(Misconfigured, match="check its user, password"), translate_connection_errors("postgresql://x"):
        raise ValueError("secret-word")


@pytest.mark.parametrize("authority", ["a:secret@127.0.0.1:99999", "a:secret@,word@127.0.0.1:1"])
async def test_an_impossible_place_is_a_mistake_in_the_url(authority: str) -> None:
    with pytest.raises(Misconfigured, match="TIMEWARDEN_DATABASE_URL does not open a database") as told:
        await Database(f"postgresql://{authority}/timewarden", size=1, timeout=1.0).open()
    assert "secret" not in str(told.value)
