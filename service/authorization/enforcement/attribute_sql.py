"""SQL of attributes: those that the directory holds as JSON, and those of the caller and the sign-in. Pure.

`attribute_values` reads the same in Python. Every expression is NULL for a missing value and for one of another type
than the vocabulary declares. None raises an error, for any JSON: CASE keeps Postgres from converting what it could not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.authorization.enforcement.attribute_values import GROUPS, ID, PROJECTS_LED, TEAMS, TIMESTAMP
from service.authorization.enforcement.caller_values import (
    CLAIMED,
    CLIENT,
    KIND,
    NOW,
    ROLES,
    SIGN_IN_AGE,
    SIGNED_IN_AT,
    WEEKDAY,
)
from service.authorization.enforcement.merged_people import canonical_id
from service.policy.attributes import MAX_INT, WEEKDAYS, AttributeType

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_LISTS: Final[Mapping[AttributeType, AttributeType]] = {
    AttributeType.STRINGS: AttributeType.STRING,
    AttributeType.INTS: AttributeType.INT,
    AttributeType.BOOLS: AttributeType.BOOL,
}
_IN_ORDER: Final = {AttributeType.STRING: ' COLLATE "C"', AttributeType.INT: "", AttributeType.BOOL: ""}
_ARRAYS: Final = {AttributeType.STRING: "text[]", AttributeType.INT: "bigint[]", AttributeType.BOOL: "boolean[]"}


def read_member(document: str, name: str, wanted: AttributeType) -> str:
    """The value of a member of a JSON object. `name` is a checked word of a vocabulary, perhaps dotted."""
    if wanted in _LISTS:
        return _read_list(f"({document} -> '{name}')", _LISTS[wanted])
    return _read_value(f"({document} -> '{name}')", wanted)


def collect_members(documents: str, name: str, wanted: AttributeType) -> str:
    """A list, in order, of the different values that a member has in the objects of a JSON array. Objects without the
    member add nothing, so the list may be empty; it is never missing."""
    element = _LISTS[wanted]
    member = f"(held.document -> '{name}')"
    value = f"{_read_value(member, element)}{_IN_ORDER[element]}"
    return f"""
        ARRAY(SELECT DISTINCT {value} AS held FROM jsonb_array_elements({documents}) AS held (document)
              WHERE {value} IS NOT NULL ORDER BY 1)
    """


def within_limits(time: str) -> str:
    """A time, or NULL for one that no attribute may have, such as infinity."""
    return f"(CASE WHEN {time} >= '1900-01-01Z'::timestamptz AND {time} < '2190-01-01Z'::timestamptz THEN {time} END)"


def caller_column(name: str, wanted: AttributeType) -> str:
    """SQL of an attribute of the caller or the sign-in, with the parameter `:asker`."""
    if name == NOW:
        return "statement_timestamp()"
    if name == WEEKDAY:
        days = ", ".join(f"'{day}'" for day in WEEKDAYS)
        return f"(ARRAY[{days}])[extract(isodow FROM statement_timestamp() AT TIME ZONE 'UTC')::integer]"
    if name == SIGN_IN_AGE:
        signed_in_at = read_member(":asker", SIGNED_IN_AT, AttributeType.INT)
        now = "floor(extract(epoch FROM statement_timestamp()))::bigint"
        return f"(CASE WHEN {signed_in_at} IS NOT NULL THEN greatest(0, {now} - {signed_in_at}) END)"
    return read_member(":asker", name, wanted)


def complete_asker(token: str, asked: Collection[str], person: str = "$1::uuid") -> str:
    """SQL of the whole `:asker`, where the statement itself finds what the directory holds of the caller, `person`:
    `token` is JSON of what the token says."""
    held = {GROUPS: "held -> 'groups'", TEAMS: "held -> 'teams'", PROJECTS_LED: "held -> 'projects_led'"}
    held[ID] = f"to_jsonb({canonical_id(person)})"
    held[ROLES] = f"""
        to_jsonb(ARRAY(SELECT jsonb_array_elements_text({token} -> '{ROLES}') COLLATE "C" UNION
                       SELECT role COLLATE "C" FROM person_role WHERE person_id = {canonical_id(person)}
                           AND valid_from <= statement_timestamp() AND statement_timestamp() < valid_to ORDER BY 1))
    """
    of_code = {CLIENT, KIND}
    members = [f"'{name}', {held[name]}" for name in sorted(asked) if name in held]
    members += [
        f"'{name}', held -> 'attributes' -> '{name.removeprefix('principal.')}'"
        for name in sorted(asked)
        if name.startswith("principal.") and name not in held and name not in of_code
    ]
    directory = f"jsonb_strip_nulls(jsonb_build_object({', '.join(members)}))"
    # OFFSET 0 keeps Postgres from computing it wherever it is read.
    held_by_directory = f"SELECT caller_attributes({person}) AS held OFFSET 0"
    claimed = f"coalesce({token} -> '{CLAIMED}', '{{}}')"
    return f"SELECT {token} || {directory} || {claimed} AS value FROM ({held_by_directory}) AS known OFFSET 0"


def _read_value(json: str, wanted: AttributeType) -> str:
    text = f"({json} #>> '{{}}')"
    match wanted:
        case AttributeType.STRING:
            return f"(CASE jsonb_typeof({json}) WHEN 'string' THEN {text} END)"
        case AttributeType.BOOL:
            return f"(CASE jsonb_typeof({json}) WHEN 'boolean' THEN {text}::boolean END)"
        case AttributeType.INT:
            is_int = f"{text} ~ '^-?[0-9]{{1,16}}$'"
            in_bounds = f"abs({text}::bigint) <= {MAX_INT}"
            return (
                f"(CASE jsonb_typeof({json}) WHEN 'number' THEN"
                f" CASE WHEN {is_int} THEN CASE WHEN {in_bounds} THEN {text}::bigint END END END)"
            )
        case _:
            month = f"make_date(substr({text}, 1, 4)::integer, substr({text}, 6, 2)::integer, 1)"
            last_day = f"extract(day FROM {month} + interval '1 month - 1 day')"
            return (
                f"(CASE jsonb_typeof({json}) WHEN 'string' THEN CASE WHEN {text} ~ '^{TIMESTAMP}$' THEN"
                f" CASE WHEN substr({text}, 9, 2)::integer <= {last_day} THEN {text}::timestamptz END END END)"
            )


def _read_list(json: str, element: AttributeType) -> str:
    """A list, in order and without repetitions; missing if any element is of another type."""
    value = f"{_read_value('item.json', element)}{_IN_ORDER[element]}"
    array = _ARRAYS[element]
    return f"""
        (CASE jsonb_typeof({json}) WHEN 'array' THEN (
            SELECT CASE WHEN count(*) = count({value})
                        THEN coalesce(array_agg(DISTINCT {value} ORDER BY {value}), '{{}}'::{array}) END
            FROM jsonb_array_elements(CASE jsonb_typeof({json}) WHEN 'array' THEN {json} ELSE '[]' END)
                AS item (json)) END)
    """
