"""SQL for people who were merged: the canonical id, all ids of a person, and ids from before an erasure. Pure.

A merge (`merged_person`) changes no stored id: timesheets, records and policy versions keep the old one. So every
comparison of people compares canonical ids on both sides, and a law holds for every id of a person. Ids from before an
erasure (`former_person`) count for laws and denials alone and grant nothing (docs/decisions/0025). Both tables are
tiny, and empty in most installations.
"""

from __future__ import annotations

from typing import Final

# Changes whose laws compare people hold this lock from before their facts until the commit, and a merge exclusively: no
# such change commits about two people who are one by then. It comes after the locks of directory and sheets, and who
# holds it waits for none of them. The functions are called in a SELECT.
_PEOPLE_LOCK: Final = 0x74770020
KEEP_PEOPLE_APART: Final = f"pg_advisory_xact_lock_shared({_PEOPLE_LOCK})"
WAIT_FOR_DECIDED: Final = f"pg_advisory_xact_lock({_PEOPLE_LOCK})"


def canonical_id(person: str) -> str:
    """The canonical id of `person`: their own, unless they were merged into another person. NULL for NULL."""
    merged_into = f"SELECT merged.into_id FROM merged_person AS merged WHERE merged.person_id = {person}"
    return f"coalesce(({merged_into}), {person})"


def all_ids(person: str) -> str:
    """An array of all ids of `person`."""
    canonical = canonical_id(person)
    others = f"SELECT merged.person_id FROM merged_person AS merged WHERE merged.into_id = {canonical}"
    return f"ARRAY(SELECT {canonical} UNION ALL {others})"


def former_ids(person: str) -> str:
    """An array of the ids that the human behind `person` had before an erasure, and those of others who returned from
    the same one; without the ids of `person`. `person` must be a parameter, so that Postgres looks them up once."""
    # The SELECT makes it one lookup a statement; coalesce makes it an array where ANY would take it for rows.
    return f"coalesce((SELECT former_ids_of_person({person})), '{{}}')"


def unknown_if(condition: str) -> str:
    """NULL where the condition holds and false elsewhere: an unknown fact matches every deny and no allow."""
    return f"nullif(coalesce({condition}, false), true)"


def is_caller(column: str) -> str:
    """Whether the caller, :person, is the person in this column. NULL if they were before an erasure: only deny rules
    match."""
    caller = ":person"
    now = f"{caller} IS NOT NULL AND {canonical_id(column)} IS NOT DISTINCT FROM {canonical_id(caller)}"
    return f"(({now}) OR {unknown_if(f'{column} = ANY ({former_ids(caller)})')})"


def returned_people(people: str) -> str:
    """A SELECT of the canonical ids of those who returned after one of `people`, an array, was erased."""
    return f"""
        SELECT {canonical_id("back.person_id")} FROM former_person AS back
        WHERE back.former_id = ANY ({people}) AND statement_timestamp() < back.until
    """
