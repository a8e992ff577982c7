"""The casbin model that the service runs, and the check that model.conf equals it. Pure.

The model is fixed: casbin has effects that allow by default, matchers that run the text of rules as code, and ignores
misspelt columns. The file is in policies/ to be read, not to be edited.
"""

from __future__ import annotations

from service.places import Complaint

FILE = "model.conf"
REQUEST = ("sub", "act", "obj", "scopes", "facts")
COLUMNS = ("eft", "who", "act", "state", "kind", "scope", "when", "rule")
EFFECT = "some(where (p.eft == allow)) && !some(where (p.eft == deny))"
MATCHER = (
    "answers(r.sub, p.who, p.eft) && r.act == p.act && r.obj.kind == p.kind && stands(r.obj.state, p.state)"
    " && granted(r.scopes, p.scope) && holds(r.facts, p.when, p.eft)"
)
MODEL = f"""\
[request_definition]
r = {", ".join(REQUEST)}
[policy_definition]
p = {", ".join(COLUMNS)}
[role_definition]
g = _, _
[policy_effect]
e = {EFFECT}
[matchers]
m = {MATCHER}
"""


def check(text: str) -> list[Complaint]:
    """Complaints unless the text equals MODEL, apart from blank lines, comment lines and runs of spaces."""
    wanted = [line for _, line in _lines(MODEL)]
    found = _lines(text)
    for index, line in enumerate(wanted):
        if index >= len(found):
            return [Complaint(FILE, 0, 0, f"The file ends before '{line}'", "restore the file; the model is fixed")]
        number, given = found[index]
        if given != line:
            message = "The model is fixed: change rows of policy.csv, not the model"
            if "eval(" in given:
                message = "A matcher with eval( would run the text of rows as code"
            return [Complaint(FILE, number, 1, message, f"this line must read: {line}")]
    if len(found) > len(wanted):
        return [Complaint(FILE, found[len(wanted)][0], 1, "This line does not belong to the model", "remove it")]
    return []


def _lines(text: str) -> list[tuple[int, str]]:
    lines = ((number, " ".join(line.split())) for number, line in enumerate(text.split("\n"), start=1))
    return [(number, line) for number, line in lines if line and not line.startswith("#")]
