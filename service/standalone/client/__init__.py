"""A typed client of the Timewarden API: `async with Timewarden(url, token) as api: await api.me()`.

Copy this folder into any project, or install the wheel that `make clients` builds of it. It needs httpx2 and msgspec
only; `timewarden_client.dpop`, the key of bound tokens, needs cryptography. The wheel also has
`timewarden_client.sync`, the same without `async`, which is made from these files.
"""

from .api import Timewarden
from .directory_shapes import (
    Delegation,
    Group,
    GroupMember,
    Membership,
    Person,
    Project,
    ProjectLead,
    RequestedAccess,
    Role,
    Team,
)
from .problems import Busy, Conflict, Denied, Invalid, NotFound, Problem, Stale, TokenRefused, Unauthenticated
from .proofs import ProofSigner, make_proof
from .shapes import (
    Access,
    ApiResult,
    Batch,
    Decision,
    Entry,
    Explanation,
    GivenApproval,
    HoursReport,
    Me,
    OwnDecision,
    PendingApproval,
    PolicyTexts,
    PolicyVersion,
    Receipt,
    Reminded,
    Replay,
    Sort,
    State,
    Timesheet,
    Uploaded,
    UploadRow,
)
from .tokens import Tokens, client_credentials, refreshing

VERSION = "0.1.0"

__all__ = [
    "VERSION",
    "Access",
    "ApiResult",
    "Batch",
    "Busy",
    "Conflict",
    "Decision",
    "Delegation",
    "Denied",
    "Entry",
    "Explanation",
    "GivenApproval",
    "Group",
    "GroupMember",
    "HoursReport",
    "Invalid",
    "Me",
    "Membership",
    "NotFound",
    "OwnDecision",
    "PendingApproval",
    "Person",
    "PolicyTexts",
    "PolicyVersion",
    "Problem",
    "Project",
    "ProjectLead",
    "ProofSigner",
    "Receipt",
    "Reminded",
    "Replay",
    "RequestedAccess",
    "Role",
    "Sort",
    "Stale",
    "State",
    "Team",
    "Timesheet",
    "Timewarden",
    "TokenRefused",
    "Tokens",
    "Unauthenticated",
    "UploadRow",
    "Uploaded",
    "client_credentials",
    "make_proof",
    "refreshing",
]
