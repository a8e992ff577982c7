"""Names the errors of Redis for people, without the values that their texts hold. Pure."""

from __future__ import annotations

import re
from typing import Final

from redis.exceptions import ResponseError

# The word with which Redis begins to say why it refuses a command. Before version 7 it stands behind ERR and the place
# in the script if a script ran the command.
REFUSED: Final = re.compile(r"(?:Error running script [^:]*: (?:@user_script: ?\d+: )+-?)?([A-Z]{3,})\b")


def name_error(error: Exception) -> str:
    """Redis's own word for why it refuses a command, such as OOM, WRONGTYPE or NOPERM; the class of any other error."""
    if isinstance(error, ResponseError):
        if word := REFUSED.match(str(error)):
            return word[1]
        if error.status_code:
            return error.status_code
    return type(error).__name__
