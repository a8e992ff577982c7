"""Refuses unknown environment variables that begin with TIMEWARDEN, so that a misspelt setting is an error. Pure.

`settings` has the settings; this module has the variables of commands and deployments, and recognises those that
Kubernetes sets in a container for each Service of its namespace.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from service.errors import Misconfigured
from service.places import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

PREFIX: Final = "TIMEWARDEN_"
_NAME: Final = PREFIX.removesuffix("_")
# Read by commands (`service/commands`), in addition to settings.
COMMAND_VARIABLES: Final = frozenset({"TIMEWARDEN_STATE", "TIMEWARDEN_API", "TIMEWARDEN_TOKEN"})
# Read by roles.sql, docker-compose.yml and docs/examples/policy-ci.yml, not by the service.
DEPLOYMENT_VARIABLES: Final = frozenset(
    {
        *(f"TIMEWARDEN_{role}_PASSWORD" for role in ("OWNER", "APP", "KEEPER", "AUDITOR")),
        "TIMEWARDEN_DATABASE",
        "TIMEWARDEN_PACKAGE",
        "TIMEWARDEN_CLIENT_ID",
        "TIMEWARDEN_CLIENT_SECRET",
    }
)
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_KUBERNETES_VARIABLE: Final = re.compile(
    r"(?P<service>TIMEWARDEN(_[A-Z0-9_]+?)??)_"
    r"(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
SERVICE_LINK: Final = re.compile(r"(tcp|udp|sctp)://")
MAX_LISTED: Final = 10


def refuse_unknown_variables(environment: Mapping[str, str], of_settings: Callable[[], Collection[str]]) -> None:
    """Raise Misconfigured that names each unknown variable, and the variable that was probably meant. `of_settings` is
    called only if necessary, since settings are slow to load."""
    given = [name for name in environment if name.upper().startswith(_NAME)]
    others = COMMAND_VARIABLES | DEPLOYMENT_VARIABLES
    unread = [name for name in given if name.upper() not in others and not _is_of_kubernetes(name, environment)]
    if not unread:
        return
    known = others | set(of_settings())
    unknown = sorted(name for name in unread if name.upper() not in known)
    if unknown:
        complaints = "; ".join(_complaint(name, known) for name in unknown[:MAX_LISTED])
        raise Misconfigured(f"{complaints}; docs/settings.md lists all of them")


def _is_of_kubernetes(name: str, environment: Mapping[str, str]) -> bool:
    """Whether the variable belongs to a Service, for which Kubernetes always sets host and port too."""
    match = _KUBERNETES_VARIABLE.fullmatch(name)
    if match is None or name == "TIMEWARDEN_PORT":
        return False
    return all(f"{match['service']}_SERVICE_{part}" in environment for part in ("HOST", "PORT"))


def _complaint(name: str, known: Collection[str]) -> str:
    near = get_close_matches(name.upper(), known, n=1, cutoff=0.75)
    return f"{printable(name, 100)} is no setting" + (f" (did you mean {near[0]}?)" if near else "")
