"""The questions that auditors ask, over a generated log, each with the index that answers it: for plans and figures."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import md5
from uuid import UUID

from service.log.record import Kind
from service.log.record_query import DECISIONS, RecordFilters

JUNE = datetime(2026, 6, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question: its words, filters and kinds, and the ends of the names of indexes that its plan may read from."""

    words: str
    filters: RecordFilters
    kinds: tuple[Kind, ...] = DECISIONS
    indexes: tuple[str, ...] = ()
    # How many blocks of 8 KB a page may touch in a log of a hundred thousand records.
    blocks: int = 1_500


def named(what: str) -> UUID:
    """An id as the generated log makes it."""
    return UUID(md5(what.encode(), usedforsecurity=False).hexdigest())


LATER = JUNE + timedelta(days=7)
RESOURCE = ("resource_id_decided_at_id_idx", "returned_idx")


def questions(number: int = 4711) -> tuple[Asked, ...]:
    """All of them, about the person of this number, from 0 to 4,999."""
    person, leader = named(f"person{number}"), named(f"person{number // 10 * 10}")
    sheet = str(named(f"sheet{number * 50 + 7}"))
    return (
        Asked("everything, newest first", RecordFilters(), (), ("decided_at_id_idx",)),
        Asked("every access to a sheet", RecordFilters(resource=sheet), (), RESOURCE),
        Asked(
            "every access to a sheet in some days", RecordFilters(resource=sheet, since=JUNE, until=LATER), (), RESOURCE
        ),
        Asked(
            "the whole story of a sheet",
            RecordFilters(history=sheet),
            (Kind.DECISION, Kind.CHANGE),
            (*RESOURCE, "uid_idx"),
        ),
        Asked(
            "all denials of a person",
            RecordFilters(persons=(person,), outcome="deny"),
            DECISIONS,
            ("person_id_decided_at_id_idx1",),
        ),
        Asked("everything that a person did", RecordFilters(persons=(person,)), (), ("person_id_decided_at_id_idx",)),
        Asked(
            "all approvals by a leader",
            RecordFilters(persons=(leader,), action="approve", outcome="allow"),
            DECISIONS,
            ("person_id_decided_at_id_idx1",),
        ),
        Asked(
            "approvals as a delegate",
            RecordFilters(rule="approve-as-delegate"),
            DECISIONS,
            ("expr_decided_at_id_idx", "rules_idx"),
        ),
        Asked("what delegates did for a delegator", RecordFilters(on_behalf_of=(leader,)), (), ("decided_at_id_idx2",)),
        Asked(
            "attempts to approve one's own hours",
            RecordFilters(rule="never-own-hours", action="approve", outcome="deny"),
            DECISIONS,
            ("expr_decided_at_id_idx", "rules_idx"),
        ),
        Asked(
            "changes after an approval",
            RecordFilters(after_approval=True),
            (Kind.CHANGE,),
            ("kind_decided_at_id_idx",),
            # Nearly none here, so it looks at every change.
            15_000,
        ),
        Asked("all changes that took place", RecordFilters(applied=True), DECISIONS, ("decided_at_id_idx3",)),
        Asked("all changes that did not", RecordFilters(applied=False), DECISIONS, ("outcome_decided_at_id_idx",)),
        Asked(
            "what was allowed and not carried out",
            RecordFilters(outcome="allow", applied=False),
            DECISIONS,
            ("outcome_decided_at_id_idx",),
        ),
        Asked(
            "approvals taken back",
            RecordFilters(action="reopen", applied=True),
            DECISIONS,
            ("action_decided_at_id_idx",),
        ),
        Asked(
            "everything under a policy version",
            RecordFilters(policy_version=3),
            DECISIONS,
            ("policy_version_decided_at_id_idx",),
        ),
        Asked("everything that a client did", RecordFilters(client="web"), (), ("_decided_at_id_idx",)),
        Asked(
            "everything that a rare client did", RecordFilters(client="rare-job"), (), ("client_id_decided_at_id_idx",)
        ),
        Asked("all denials", RecordFilters(outcome="deny"), DECISIONS, ("decided_at_id_idx1",)),
        Asked("denials for a rare reason", RecordFilters(reason="law"), DECISIONS, ("reason_decided_at_id_idx",)),
        Asked(
            "all about an owner's hours",
            RecordFilters(owners=(person,)),
            (),
            ("owner_id_decided_at_id_idx", "person_id_decided_at_id_idx"),
        ),
        Asked(
            "what became of a request",
            RecordFilters(request_id=named(f"request{number}").hex),
            (),
            ("request_id_idx",),
        ),
        Asked("changes of the policy", RecordFilters(), (Kind.POLICY,), ("kind_decided_at_id_idx",)),
        Asked(
            "what was done to tokens",
            RecordFilters(resource_kind="token"),
            DECISIONS,
            ("resource_kind_decided_at_id_idx",),
        ),
        Asked("a week last summer", RecordFilters(since=JUNE, until=LATER), DECISIONS, ("decided_at_id_idx",)),
    )
