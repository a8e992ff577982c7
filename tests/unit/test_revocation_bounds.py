"""`issued_before` of a revocation: a time that cannot be converted to UTC is an invalid field, no internal error."""

from __future__ import annotations

from datetime import datetime

import pytest

from service.authorization.enforcement.token_revocation import RevocationKind, RevocationRequest, _check_request
from service.errors import InvalidField


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00"])
def test_a_moment_at_the_ends_of_the_calendar_is_named(moment: str) -> None:
    with pytest.raises(InvalidField, match="issued_before"):
        _check_request(RevocationRequest(RevocationKind.CLIENT, "hours-app", None, datetime.fromisoformat(moment)))
