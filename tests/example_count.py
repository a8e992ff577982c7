"""How many examples a law is tried with: `make test` takes the number beside it, `make test-long` many more.

`pytest --hypothesis-profile=long` chooses the long tier, in every worker. Profiles are registered in conftest.py.
"""

from __future__ import annotations

import hypothesis

LONG = "long"
TIMES = 10


def example_count(usual: int, *, uncut: int | None = None) -> int:
    """`usual`, or ten times as many in the long tier. `uncut`: what was usual before laws were cut to fit the time of
    `make test`; the long tier multiplies that."""
    if hypothesis.settings.get_current_profile_name() == LONG:
        return TIMES * (uncut or usual)
    return usual
