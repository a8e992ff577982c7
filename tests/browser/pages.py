"""The pages that test_looks opens, with the person who opens each. Add every new page here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from tests.browser.story_of_weeks import THIS_WEEK


@dataclass(frozen=True, slots=True)
class PageOfConsole:
    """`login`: none for a stranger. `ignored`: rules of axe that do not hold here, each with its reason beside it.
    `link`: the text of a link to follow from the path, for a page whose address has an id."""

    name: str
    login: str | None
    path: str
    ignored: tuple[str, ...] = ()
    link: str = ""


def _week(before: int) -> str:
    return f"/week/{THIS_WEEK - timedelta(weeks=before)}"


PAGES = (
    PageOfConsole("welcome", None, "/"),
    PageOfConsole("session-ended", None, "/sign-in?next=/week&ended=1"),
    PageOfConsole("signed-out", None, "/signed-out"),
    PageOfConsole("week-draft", "ana", _week(0)),
    PageOfConsole("week-submitted", "ana", _week(1)),
    PageOfConsole("week-rejected", "ana", _week(2)),
    PageOfConsole("week-approved", "ana", _week(3)),
    PageOfConsole("week-empty", "ana", _week(-1)),
    PageOfConsole("in-my-name", "ana", "/in-my-name"),
    PageOfConsole("in-my-name-by-me", "ana", "/in-my-name?by=me"),
    PageOfConsole("in-my-name-nothing", "ana", "/in-my-name?client=nobody"),
    PageOfConsole("inbox", "mia", "/inbox"),
    PageOfConsole("inbox-nobody", "mia", "/inbox?who=nobody"),
    PageOfConsole("inbox-empty", "dora", "/inbox?who="),
    PageOfConsole("access", "mia", "/access"),
    PageOfConsole("delegations", "mia", "/delegations"),
    PageOfConsole("decisions", "audrey", "/decisions"),
    PageOfConsole("decisions-none", "audrey", "/decisions?action=lock&outcome=deny"),
    PageOfConsole("export", "audrey", "/export"),
    PageOfConsole("people", "adam", "/directory/people"),
    PageOfConsole("person", "adam", "/directory/people", link="Ana Lima"),
    PageOfConsole("teams", "adam", "/directory/teams"),
    PageOfConsole("team", "adam", "/directory/teams", link="Atlas"),
    PageOfConsole("projects", "adam", "/directory/projects"),
    PageOfConsole("groups", "adam", "/directory/groups"),
    PageOfConsole("import", "adam", "/directory/import"),
    PageOfConsole("refused", "ana", "/directory/teams"),
    PageOfConsole("policies", "paula", "/policies"),
    PageOfConsole("version-first", "paula", "/policies", link="1"),
    PageOfConsole("replays", "paula", "/replays"),
    PageOfConsole("try-form", "paula", "/try"),
    PageOfConsole("health", "adam", "/service"),
    PageOfConsole("no-such-page", "ana", "/nothing"),
)
