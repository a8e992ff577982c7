"""The last check before casbin: policies from which no enforcer may be built. Pure: owns no state.

casbin accepts an empty policy, a misspelt effect or a blank field in silence, and then allows everything or ignores a
deny.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.places import Complaint
from service.policy import casbin_model
from service.policy.access_request import Effect
from service.policy.matching import fact_word, state_words

if TYPE_CHECKING:
    from service.policy.access_request import Rule
    from service.policy.policy_file import Policy


def fence(policy: Policy) -> list[Complaint]:
    """Complaints about everything that casbin would accept and then misread.

    The reader already refuses all of it. This check also covers policies that did not come through the reader.
    """
    complaints = casbin_model.check(policy.model)
    if not policy.rules:
        complaints.append(
            Complaint("policy.csv", 0, 0, "The policy is empty, and casbin may allow everything under it")
        )
    names = set()
    for rule in policy.rules:
        effect: object = rule.effect
        if not isinstance(effect, Effect):
            complaints.append(Complaint("policy.csv", rule.line, 1, "The effect is neither allow nor deny"))
            continue
        columns = row(rule)
        if any(not column.strip() or column != column.strip() or "," in column for column in columns):
            complaints.append(Complaint("policy.csv", rule.line, 1, "A field is blank or holds a comma"))
        if rule.action not in policy.vocabulary.actions.get(rule.kind, ()):
            complaints.append(Complaint("policy.csv", rule.line, 1, "The kind or action is not in the vocabulary"))
        if rule.name in names:
            complaints.append(Complaint("policy.csv", rule.line, 1, f"The rule name '{rule.name}' is used twice"))
        names.add(rule.name)
    return complaints


def row(rule: Rule) -> list[str]:
    """The rule as a row of policy.csv, in casbin's columns."""
    when = " and ".join(fact_word(condition) for condition in rule.when) or "always"
    return [
        rule.effect.value, rule.who, rule.action, state_words(rule), rule.kind, rule.scope, when, rule.name,
    ]  # fmt: skip
