"""People who turned out to be one: which id of theirs stays, and which they have. SQL only. Pure: owns no state.

A merge of the directory (`merged_person`) ends nothing that an id stands in: sheets, records and versions of the policy
keep it. So whoever compares people compares these, on both sides, and a law holds for every id of a person. The table
is tiny, and most installations have nothing in it.
"""

from __future__ import annotations


def survivor(person: str) -> str:
    """The id that stays of `person`: their own, unless they were merged into another. NULL of NULL."""
    found = f"SELECT merged.into_id FROM merged_person AS merged WHERE merged.person_id = {person}"
    return f"coalesce(({found}), {person})"


def ids(person: str) -> str:
    """An array of every id that `person` has."""
    stays = survivor(person)
    others = f"SELECT merged.person_id FROM merged_person AS merged WHERE merged.into_id = {stays}"
    return f"ARRAY(SELECT {stays} UNION ALL {others})"
