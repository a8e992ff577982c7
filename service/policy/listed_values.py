"""Complains about values that an attribute of the service never has, such as the day `Monday` or, among the caller's
roles, `role:payroll`. Pure: owns no state.

It is applied to proposals. With such a value, expressions and cases would agree with one another, but never with the
service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.places import Complaint
from service.policy.expressions.listed import explain_names, explain_values, with_prefix
from service.policy.toml_places import Complaints

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from service.policy.access_request import Vocabulary
    from service.policy.case_files import Case

# The lists of names that rows write with a prefix, such as `role:payroll`. The lists hold them without it.
NAMES: Final = frozenset({"principal.roles", "principal.groups", "resource.owner.groups"})


def complain_of_values(text: str, vocabulary: Vocabulary, cases: Iterable[Case]) -> list[Complaint]:
    """A complaint for each such value in an expression or a case. `text` is that of the vocabulary."""
    complaints = Complaints(text)
    for (kind, name), expression in sorted(vocabulary.definitions.items(), key=lambda item: item[0]):
        at = ("kinds", kind, "facts", name, "is") if kind else ("request", "facts", name, "is")
        for flaw in [*expression.find_unlisted(_listed(vocabulary, kind)), *expression.find_prefixed(NAMES)]:
            complaints.complain_inside(at, expression.text, flaw)
    found = complaints.found
    for case in cases:
        listed = _listed(vocabulary, case.kind)
        found += [
            Complaint(
                case.file,
                case.defaults.get(name, case.line),
                1,
                f"'{name}' is never '{value}'",
                explain_values(listed[name]),
            )
            for name, value in case.values.items()
            if name in listed and value not in listed[name]
        ]
        found += [
            Complaint(
                case.file,
                case.defaults.get(name, case.line),
                1,
                f"'{name}' never has '{wrong[0]}'",
                explain_names(wrong[:1]),
            )
            for name, value in case.values.items()
            if name in NAMES and isinstance(value, tuple) and (wrong := with_prefix(map(str, value)))
        ]
    # The cases of a file share a wrong default.
    return list(dict.fromkeys(found))


def _listed(vocabulary: Vocabulary, kind: str) -> Mapping[str, Sequence[str]]:
    """The values of the attributes that have one of a few, by name."""
    return {name: known.values for name, known in vocabulary.known_attributes(kind).items() if known.values}
