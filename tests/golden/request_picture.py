"""docs/pictures/request-*.svg: the functions that one request passes, from its token to its answer.

tests/integration/test_request_picture.py approves a sheet and checks that the functions are called in this order.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from tests.golden.picture_svg import PALETTES, Box, Drawing

TITLE = "One request, approve, from its token to its answer"
TOP, ROW_HEIGHT = 76, 36


@dataclass(frozen=True, slots=True)
class Step:
    """A function that the request passes, what it does, and the answers with which the request may end there."""

    module: str
    function: str
    does: str
    refuses: str = ""
    # Whether what runs is a function that `function` returned earlier.
    is_factory: bool = False

    def is_call_of(self, module: str, qualified_name: str) -> bool:
        """Whether a traced call is this step."""
        if self.is_factory:
            return module == self.module and qualified_name.startswith(f"{self.function}.<locals>.")
        return (module, qualified_name) == (self.module, self.function)


BEFORE = [
    Step("service.identity.tokens", "Tokens.verify", "verify the access token", "401"),
    Step("service.web.http.preconditions", "read_if_match", "read If-Match", "400"),
    Step("service.timesheets.actions", "Timesheets.approve", "start the use case"),
    Step("service.authorization.enforcement.gate", "Gate.change", "open a transaction"),
]
INSIDE = [
    Step("service.timesheets.store", "lock", "lock the sheet", is_factory=True),
    Step(
        "service.authorization.enforcement.relationships", "Relationships.of_row", "read the facts of caller and sheet"
    ),
    Step("service.authorization.engine.engine", "Snapshot.decide", "decide by the active policy", "403, 404"),
    Step("service.web.http.preconditions", "parse_if_match", "compare the version", "412, 428", is_factory=True),
    Step("service.timesheets.timesheet", "approve", "change the state", "409"),
    Step("service.timesheets.store", "save", "store the sheet"),
    Step("service.log.log", "Log.append", "record decision and change"),
]
AFTER = [Step("service.web.http.responses", "make_response", "answer with ETag and Decision-Id")]
STEPS = [*BEFORE, *INSIDE, *AFTER]


def draw_request(palette: str) -> str:
    """The picture as SVG; raises AttributeError for a function that does not exist."""
    bottom = TOP + len(STEPS) * ROW_HEIGHT
    drawing = Drawing(1000, bottom + 76, TITLE, PALETTES[palette])
    drawing.text(24, 38, "POST /v1/timesheets/{timesheet_id}/approve", code=True, bold=True)
    drawing.text(24, 60, 'Authorization: Bearer ...   If-Match: "7"', size=12, ink="faint", code=True)
    frame_top = TOP + len(BEFORE) * ROW_HEIGHT - 2
    frame = Box(52, frame_top, 924, len(INSIDE) * ROW_HEIGHT + 2)
    drawing.box(frame, fill="page", line="accent", dashed=True)
    drawing.text(frame.right - 12, frame.bottom - 12, "one transaction", anchor="end", size=12, ink="accent")
    drawing.arrow((36, TOP - 6), (36, bottom + 14))
    for number, step in enumerate(STEPS):
        _draw_step(drawing, TOP + number * ROW_HEIGHT + ROW_HEIGHT / 2, step)
    drawing.text(24, bottom + 36, '200   ETag: "8"   Decision-Id   Decision-Leaf', code=True, bold=True)
    later = (
        "Later: the sealer adds the records to the tree, the keeper signs a checkpoint, the relay publishes the event."
    )
    drawing.text(24, bottom + 60, later, size=12, ink="faint")
    return drawing.svg()


def _draw_step(drawing: Drawing, y: float, step: Step) -> None:
    found = import_module(step.module)
    for name in step.function.split("."):
        found = getattr(found, name)
    drawing.dot(36, y)
    drawing.text(72, y + 4, step.does)
    drawing.text(330, y + 4, step.function, code=True, bold=True)
    path = step.module.removeprefix("service.").replace(".", "/")
    drawing.text(520, y + 4, f"{path}.py", size=12, ink="faint", code=True)
    if step.refuses:
        drawing.text(960, y + 4, f"or {step.refuses}", anchor="end", ink="bad")
