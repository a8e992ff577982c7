"""Example queries of auditors over a generated log, each with the indexes that answer it: for plans and benchmarks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import md5
from typing import Any
from uuid import UUID

from service.log.record import Kind
from service.log.record_query import ANY_ACTOR, DECISIONS, RecordFilters

JUNE = datetime(2026, 6, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ExampleQuery:
    """A query: its title, filters and kinds, and suffixes of the indexes that its plan may use."""

    words: str
    filters: RecordFilters
    kinds: tuple[Kind, ...] = DECISIONS
    indexes: tuple[str, ...] = ()
    # How many 8 KB blocks a page may read in a log of 100,000 records.
    blocks: int = 1_500


def id_of(what: str) -> UUID:
    """An id of the generated log."""
    return UUID(md5(what.encode(), usedforsecurity=False).hexdigest())


LATER = JUNE + timedelta(days=7)
RESOURCE = ("resource_id_decided_at_idx", "returned_idx")


# Of a person: what they asked for, what is theirs, and what is about them.
OWN = (
    "person_id_decided_at_idx",
    "person_id_decided_at_id_idx1",
    "owner_id_decided_at_id_idx",
    "resource_id_decided_at_idx",
)


def concerned(person: UUID, **more: Any) -> RecordFilters:
    """Decisions about this person, who was another one before a merge."""
    return RecordFilters(concerned=(person, id_of("merged")), **more)


def example_queries(number: int = 4711) -> tuple[ExampleQuery, ...]:
    """All example queries, about the person with this number, 0 to 4,999."""
    person, leader = id_of(f"person{number}"), id_of(f"person{number // 10 * 10}")
    sheet = str(id_of(f"sheet{number * 50 + 7}"))
    return (
        ExampleQuery("everything, newest first", RecordFilters(), (), ("decided_at_id_idx",)),
        ExampleQuery("every access to a sheet", RecordFilters(resource=sheet), (), RESOURCE),
        ExampleQuery(
            "every access to a sheet in some days", RecordFilters(resource=sheet, since=JUNE, until=LATER), (), RESOURCE
        ),
        ExampleQuery(
            "the history of a sheet",
            RecordFilters(history=sheet),
            (Kind.DECISION, Kind.CHANGE),
            (*RESOURCE, "uid_idx"),
        ),
        ExampleQuery(
            "a person's week",
            RecordFilters(sheets=(UUID(sheet), id_of(f"sheet{number * 50 + 8}"))),
            DECISIONS,
            (*RESOURCE, "uid_idx"),
        ),
        ExampleQuery(
            "all denials of a person",
            RecordFilters(persons=(person,), outcome="deny"),
            DECISIONS,
            ("person_id_decided_at_id_idx1",),
        ),
        ExampleQuery(
            "everything that a person did", RecordFilters(persons=(person,)), (), ("person_id_decided_at_idx",)
        ),
        ExampleQuery("what was done in a person's name, and with what is theirs", concerned(person), DECISIONS, OWN),
        ExampleQuery("what others did with what is a person's", concerned(person, by_others=True), DECISIONS, OWN),
        ExampleQuery(
            "changes in the name of a leader, through an app",
            concerned(leader, by_others=False, client="web", without_reads=True),
            DECISIONS,
            OWN,
        ),
        ExampleQuery(
            "all approvals by a leader",
            RecordFilters(persons=(leader,), action="approve", outcome="allow"),
            DECISIONS,
            ("person_id_decided_at_id_idx1",),
        ),
        ExampleQuery(
            "approvals as a delegate",
            RecordFilters(rule="approve-as-delegate"),
            DECISIONS,
            ("rules_decided_at_idx", "rules_idx"),
        ),
        ExampleQuery(
            "everything that a frequent rule allowed",
            RecordFilters(rule="read-own"),
            DECISIONS,
            ("decided_at_id_idx", "rules_idx"),
        ),
        ExampleQuery(
            "what delegates did for a delegator", RecordFilters(on_behalf_of=(leader,)), (), ("decided_at_id_idx2",)
        ),
        ExampleQuery(
            "attempts to approve own hours",
            RecordFilters(rule="never-own-hours", action="approve", outcome="deny"),
            DECISIONS,
            ("rules_decided_at_idx", "rules_idx"),
        ),
        ExampleQuery(
            "changes after an approval",
            RecordFilters(after_approval=True),
            (Kind.CHANGE,),
            ("kind_decided_at_id_idx",),
            # Nearly no change matches, so it reads every change.
            15_000,
        ),
        ExampleQuery("all applied changes", RecordFilters(applied=True), DECISIONS, ("decided_at_id_idx3",)),
        ExampleQuery(
            "all changes that were not applied", RecordFilters(applied=False), DECISIONS, ("outcome_decided_at_id_idx",)
        ),
        ExampleQuery(
            "allowed changes that were not applied",
            RecordFilters(outcome="allow", applied=False),
            DECISIONS,
            ("outcome_decided_at_id_idx",),
        ),
        ExampleQuery(
            "reopened sheets",
            RecordFilters(action="reopen", applied=True),
            DECISIONS,
            ("action_decided_at_id_idx",),
        ),
        ExampleQuery(
            "everything under a policy version",
            RecordFilters(policy_version=3),
            DECISIONS,
            ("policy_version_decided_at_idx",),
        ),
        ExampleQuery(
            "everything that a client did",
            RecordFilters(client="web"),
            (),
            ("_decided_at_id_idx", "client_id_decided_at_idx"),
        ),
        ExampleQuery(
            "everything that a rare client did", RecordFilters(client="rare-job"), (), ("client_id_decided_at_idx",)
        ),
        ExampleQuery(
            "everything that an actor did",
            RecordFilters(actor="scheduler"),
            (),
            ("actors_decided_at_id_idx", "actors_idx"),
        ),
        ExampleQuery(
            "what actors did in a person's name",
            RecordFilters(persons=(person,), actor=ANY_ACTOR),
            (),
            ("person_id_decided_at_idx", "decided_at_id_idx4"),
        ),
        ExampleQuery("all denials", RecordFilters(outcome="deny"), DECISIONS, ("decided_at_id_idx1",)),
        ExampleQuery(
            "denials for a rare reason", RecordFilters(reason="law"), DECISIONS, ("reason_decided_at_id_idx",)
        ),
        ExampleQuery(
            "everything about an owner's hours",
            RecordFilters(owners=(person,)),
            (),
            ("owner_id_decided_at_id_idx", "person_id_decided_at_idx"),
        ),
        ExampleQuery(
            "the records of a request",
            RecordFilters(request_id=id_of(f"request{number}").hex),
            (),
            ("request_id_idx",),
        ),
        ExampleQuery("changes of the policy", RecordFilters(), (Kind.POLICY,), ("kind_decided_at_id_idx",)),
        ExampleQuery(
            "revocations of tokens",
            RecordFilters(resource_kind="token"),
            DECISIONS,
            ("resource_kind_decided_at_id_idx",),
        ),
        ExampleQuery("a week last summer", RecordFilters(since=JUNE, until=LATER), DECISIONS, ("decided_at_id_idx",)),
    )
