"""Two e-mail addresses are one if they are equal in Postgres's lower case, also where Python's differs: for a capital I
with a dot, and for a capital sigma at the end of a word."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from service.authorization.enforcement.person_references import PersonReference
from service.errors import Conflict, InvalidField

if TYPE_CHECKING:
    from uuid import UUID

    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
ADDRESSES = ("\u0130rem@example.com", "\u039d\u0399\u039a\u039f\u03a3@example.com", "Eve@example.com")
HEADER = "record,email,name,issuer,subject,team,parent,valid_from,valid_to"


async def add(house: House, address: str) -> UUID:
    return (await house.directory.add_person(house.administrator(), "Somebody", address)).value.id


async def import_rows(house: House, *rows: str) -> list[str]:
    raw = "\n".join((HEADER, *rows)).encode()
    return [row.outcome for row in (await house.imports.load(house.administrator(), raw)).value]


async def in_lower_case(house: House, address: str) -> str:
    found: str = await house.owner.fetchval("SELECT lower($1::text)", address)
    return found


@pytest.mark.parametrize("address", ADDRESSES, ids=ascii)
async def test_a_person_is_found_by_an_address_in_any_case(house: House, address: str) -> None:
    person = await add(house, address)
    for given in (address, await in_lower_case(house, address)):
        reference = PersonReference(email=given)
        assert await house.gate.find_people([reference]) == {reference: frozenset({person})}
        assert [
            found.id for found in (await house.directory.people(house.administrator(), email=given)).value.items
        ] == [person]
        with pytest.raises(Conflict):
            await add(house, given)


@pytest.mark.parametrize("address", ADDRESSES, ids=ascii)
async def test_an_import_finds_a_person_by_an_address_in_any_case(house: House, address: str) -> None:
    lower = await in_lower_case(house, address)
    assert await import_rows(house, f"person,{address},Eve,,,,,,", f"member,{lower},,,,east,,,") == ["created"] * 2
    for given in (address, lower):
        assert (
            await import_rows(house, f"person,{given},Eve,,,,,,", f"member,{address},,,,east,,,") == ["unchanged"] * 2
        )
    assert await house.count("person WHERE email IS NOT NULL") == 1
    with pytest.raises(InvalidField, match="is repeated"):
        await import_rows(house, f"person,{address},Eve,,,,,,", f"person,{lower},Eve,,,,,,")
