"""People who turned out to be one, in SQL: the id that stays, every id they have, and ids from before an erasure.
Pure: owns no state.

A merge of the directory (`merged_person`) ends nothing that an id stands in: sheets, records and versions of the policy
keep it. So whoever compares people compares these, on both sides, and a law holds for every id of a person. Ids from
before an erasure (`former_person`) count for laws and denials alone and grant nothing (docs/decisions/0025). Both
tables are tiny, and most installations have nothing in them.
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


def former_ids(person: str) -> str:
    """An array of the ids that the human behind `person` had before an erasure, with those of others who came back from
    the same one; none of them is an id that `person` has. Looked up once a statement, where `person` is a parameter."""
    # The SELECT has it looked up once, and coalesce makes it an array where ANY would take it for rows.
    return f"coalesce((SELECT former_ids_of_person({person})), '{{}}')"


def unknown_if(condition: str) -> str:
    """NULL where the condition holds and false elsewhere: what is unknown fulfils every deny and no allow."""
    return f"nullif(coalesce({condition}, false), true)"


def returned(people: str) -> str:
    """A SELECT of the ids, as they stay, of whoever came back after one of `people`, an array, was erased."""
    return f"""
        SELECT {survivor("back.person_id")} FROM former_person AS back
        WHERE back.former_id = ANY ({people}) AND statement_timestamp() < back.until
    """
