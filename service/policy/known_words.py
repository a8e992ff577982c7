"""The words that the code supplies for its resources. A vocabulary may declare these, and relations as paths. Pure.

A deny rule on a word that no code computes would look like protection and never apply. So a new state or fact is added
here together with the code that supplies it.
"""

from __future__ import annotations

from service.policy.paths import DEFAULT_PATHS, NATIVE_RELATIONS

# Seeing the names beside the ids in what the caller may read. No request is decided by it alone, so no record has it.
SEE_NAMES = "see_names"
# Reading the decisions about oneself: what was done in one's name, and by others with what is one's own.
REVIEW = "review"
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
            SEE_NAMES,
        }
    ),
    "me": frozenset({"read", REVIEW, SEE_NAMES}),
    "log": frozenset({"read", "hold", SEE_NAMES}),
    "policy": frozenset({"read", "propose", "activate", "replay", "simulate", SEE_NAMES}),
    "directory": frozenset({"read", "manage", "erase", SEE_NAMES}),
    "project": frozenset({"read"}),
    "delegation": frozenset({"read", "grant", "end", SEE_NAMES}),
    "access_request": frozenset({"request", "read", "grant", "decline", "withdraw", "end", SEE_NAMES}),
    "token": frozenset({"read", "revoke", SEE_NAMES}),
}
# The action of the pending approvals list in the log. No rule can name it: the rules for `approve` decide the list.
LIST_APPROVALS = "list-approvals"
# Every action that a record can have, by kind.
RECORDED_ACTIONS = {kind: actions - {SEE_NAMES} for kind, actions in ACTIONS.items()}
RECORDED_ACTIONS["timesheet"] |= {LIST_APPROVALS}
STATES = {
    "timesheet": frozenset({"draft", "submitted", "approved", "rejected", "locked"}),
    "policy": frozenset({"proposed", "active", "retired"}),
    "access_request": frozenset({"open", "granted", "declined", "withdrawn", "ended"}),
}
# Relations that the code computes, and those with a path that need not be declared. A vocabulary may declare others.
RELATIONS = {kind: native | DEFAULT_PATHS.get(kind, {}).keys() for kind, native in NATIVE_RELATIONS.items()}
FACTS = {"timesheet": frozenset({"acted_for_owner", "locked_by_asker"})}
# These facts of a row are unknown only where they hold through an id from before an erasure.
FACTS_ABOUT_PEOPLE = frozenset[str]().union(*FACTS.values())
# Words of an older release, with their new names. A version that uses an old word cannot be read.
RENAMED = {("kind", "deputy"): "delegation", ("relation", "deputy"): "delegate"}
# A vocabulary may add request facts with a `max_age`: they compare the age of the sign-in with it.
REQUEST_FACTS = frozenset({"mfa", "agent"})
# Those of them that another sign-in can make true.
SIGN_IN_FACTS = frozenset({"mfa"})

# The state in which a resource begins. Actions that create a resource are decided in this state only.
FIRST_STATES = {("timesheet", "create"): frozenset({"draft"}), ("access_request", "request"): frozenset({"open"})}
_OPEN = frozenset({"draft", "rejected"})
_WAITING = frozenset({"submitted"})
_APPROVED = frozenset({"approved"})
# The states from which an action can start. From others it ends in `wrong-state`, even if a policy allows it.
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
    ("access_request", "grant"): frozenset({"open"}),
    ("access_request", "decline"): frozenset({"open"}),
    ("access_request", "withdraw"): frozenset({"open"}),
    ("access_request", "end"): frozenset({"granted"}),
}
# Actions that are also useful in other states: an upload that runs twice learns that its rows are already stored.
ALLOWED_IN_ANY_STATE = frozenset({("timesheet", "upload")})
# Actions that are decided about the kind, without a row, and so without a state.
WITHOUT_A_ROW = frozenset({("policy", "propose"), ("policy", "simulate")})
# Relations that no caller can have when the action is decided, because there is no row yet.
RELATIONS_WITHOUT_A_ROW = {
    ("policy", "propose"): frozenset({"proposer"}),
    ("policy", "simulate"): frozenset({"proposer"}),
    ("delegation", "grant"): frozenset({"delegate"}),
}
# Actions that only clients acting for themselves may take.
CLIENT_ACTIONS = frozenset({("timesheet", "upload")})

# The actions that the safety laws are about. A vocabulary without them is refused: the laws could not be checked.
LAW_ACTIONS = (
    ("timesheet", "approve"),
    ("policy", "propose"),
    ("policy", "activate"),
    ("log", "read"),
)
OWNER = "owner"
PROPOSER = "proposer"
REQUESTER = "requester"
DELEGATE = "delegate"
AGENT = "agent"
ACTED_FOR_OWNER = "acted_for_owner"
LOCKED_BY_ASKER, LOCKED = "locked_by_asker", "locked"
