"""Complains about comments in expressions, such as `resource.minutes > 2400 // 60`: a division was meant. Pure.

It is applied to proposals. A stored version may have such comments: it can be older than this check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.policy.toml_places import Complaints

if TYPE_CHECKING:
    from service.places import Complaint
    from service.policy.access_request import Vocabulary


def complain_of_comments(text: str, vocabulary: Vocabulary) -> list[Complaint]:
    """A complaint for each expression with a comment. `text` is that of the vocabulary."""
    expressions = {
        ("kinds", kind, "facts", name, "is") if kind else ("request", "facts", name, "is"): expression
        for (kind, name), expression in vocabulary.definitions.items()
    }
    if vocabulary.approval is not None:
        expressions["kinds", "timesheet", "approval", "complete"] = vocabulary.approval
    complaints = Complaints(text)
    for at, expression in sorted(expressions.items(), key=lambda item: item[0]):
        for flaw in expression.find_comments():
            complaints.complain_inside(at, expression.text, flaw)
    return complaints.found
