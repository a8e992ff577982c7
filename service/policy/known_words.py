"""The words that this code can supply for the resources it owns; a vocabulary may declare these and no others. Pure.

A rule on a relation that nothing computes would look like protection and protect nothing (a deny on it never applies),
so a new relation, state or fact is added here together with the code that supplies it.
"""

from __future__ import annotations

ACTIONS = {
    "timesheet": frozenset(
        {
            "read",
            "create",
            "edit",
            "delete",
            "submit",
            "withdraw",
            "approve",
            "reject",
            "reopen",
            "lock",
            "unlock",
            "upload",
        }
    ),
    "me": frozenset({"read"}),
    "log": frozenset({"read", "hold"}),
    "policy": frozenset({"read", "propose", "activate", "replay", "simulate"}),
    "directory": frozenset({"read", "manage", "erase"}),
    "project": frozenset({"read"}),
    "delegation": frozenset({"read", "grant", "end"}),
    "token": frozenset({"read", "revoke"}),
}
# What the log calls the list of pending approvals. No rule can name it: the list is decided by the rules for `approve`.
LIST_APPROVALS = "list-approvals"
# By kind, every action that a record can have.
RECORDED_ACTIONS = {**ACTIONS, "timesheet": ACTIONS["timesheet"] | {LIST_APPROVALS}}
STATES = {
    "timesheet": frozenset({"draft", "submitted", "approved", "rejected", "locked"}),
    "policy": frozenset({"proposed", "active", "retired"}),
}
RELATIONS = {
    "timesheet": frozenset({"owner", "manager", "delegate", "fallback", "importer"}),
    "delegation": frozenset({"delegator", "delegate"}),
    "policy": frozenset({"proposer"}),
}
FACTS = {"timesheet": frozenset({"acted_for_owner", "locked_by_asker"})}
# Words that an older release knew by another name, with what they name. A version that uses one cannot be read.
RENAMED = {("kind", "deputy"): "delegation", ("relation", "deputy"): "delegate"}
# Besides these, any request fact with a `max_age` is known: it is the age of the sign-in against that bound.
REQUEST_FACTS = frozenset({"mfa"})

# Of what does not exist yet, an action is asked only in the state in which it would begin.
FIRST_STATES = {("timesheet", "create"): frozenset({"draft"})}
_OPEN = frozenset({"draft", "rejected"})
_WAITING = frozenset({"submitted"})
_APPROVED = frozenset({"approved"})
# From other states the action is answered with `wrong-state`, however a policy decides.
STARTS = {
    ("timesheet", "edit"): _OPEN,
    ("timesheet", "upload"): _OPEN,
    ("timesheet", "delete"): _OPEN,
    ("timesheet", "submit"): _OPEN,
    ("timesheet", "withdraw"): _WAITING,
    ("timesheet", "approve"): _WAITING,
    ("timesheet", "reject"): _WAITING,
    ("timesheet", "reopen"): _APPROVED,
    ("timesheet", "lock"): _APPROVED,
    ("timesheet", "unlock"): frozenset({"locked"}),
}
# Where it is allowed in other states, a job that runs twice learns that all of it was there already.
ADDED_TO_WHATEVER_STATE = frozenset({("timesheet", "upload")})
# Asked of the kind alone: there is no thing yet, or it is not looked at, so it is in no state.
WITHOUT_A_ROW = frozenset({("policy", "propose"), ("policy", "simulate")})
# Nobody is this yet to what the action would make, or to what it does not look at.
NOBODY_YET = {
    ("policy", "propose"): frozenset({"proposer"}),
    ("policy", "simulate"): frozenset({"proposer"}),
    ("delegation", "grant"): frozenset({"delegate"}),
}
# Only for clients that act for themselves, whatever a policy says; and what only persons can be to a timesheet.
OF_CLIENTS = frozenset({("timesheet", "upload")})
OF_PERSONS = frozenset({"owner", "manager", "delegate", "fallback"})

# What the safety laws speak of. A vocabulary without these words is refused, because the laws could not be checked.
LAW_ACTIONS = (
    ("timesheet", "approve"),
    ("policy", "propose"),
    ("policy", "activate"),
    ("log", "read"),
)
OWNER = "owner"
PROPOSER = "proposer"
DELEGATE = "delegate"
ACTED_FOR_OWNER = "acted_for_owner"
LOCKED_BY_ASKER, LOCKED = "locked_by_asker", "locked"
