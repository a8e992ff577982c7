"""Which environment variables may begin with TIMEWARDEN: a misspelt one is an error, not a default in silence. Pure.

Settings are the fields of `settings`; this module knows the variables that others read, and those that Kubernetes puts
into a container for each Service of its namespace.
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
# Read by commands (`service/commands`), beside the settings.
OF_COMMANDS: Final = frozenset({"TIMEWARDEN_STATE", "TIMEWARDEN_API", "TIMEWARDEN_TOKEN"})
# Of roles.sql, docker-compose.yml with its .env, and docs/examples/policy-ci.yml: not read by service or commands.
OF_DEPLOYMENTS: Final = frozenset(
    {
        *(f"TIMEWARDEN_{role}_PASSWORD" for role in ("OWNER", "APP", "KEEPER", "AUDITOR")),
        "TIMEWARDEN_DATABASE",
        "TIMEWARDEN_PACKAGE",
        "TIMEWARDEN_CLIENT_ID",
        "TIMEWARDEN_CLIENT_SECRET",
    }
)
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_OF_KUBERNETES: Final = re.compile(
    r"(?P<service>TIMEWARDEN(_[A-Z0-9_]+?)??)_"
    r"(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
SERVICE_LINK: Final = re.compile(r"(tcp|udp|sctp)://")
MAX_TOLD: Final = 10


def refuse_unknown_variables(environment: Mapping[str, str], of_settings: Callable[[], Collection[str]]) -> None:
    """Raise Misconfigured that names each variable that nothing reads, and the one that was probably meant.
    `of_settings` is asked only when needed, since settings are slow to load."""
    given = [name for name in environment if name.upper().startswith(_NAME)]
    others = OF_COMMANDS | OF_DEPLOYMENTS
    unread = [name for name in given if name.upper() not in others and not _is_of_kubernetes(name, environment)]
    if not unread:
        return
    known = others | set(of_settings())
    unknown = sorted(name for name in unread if name.upper() not in known)
    if unknown:
        told = "; ".join(_complaint(name, known) for name in unknown[:MAX_TOLD])
        raise Misconfigured(f"{told}; docs/settings.md lists all of them")


def _is_of_kubernetes(name: str, environment: Mapping[str, str]) -> bool:
    """Whether it belongs to a Service, of which Kubernetes always tells host and port too."""
    match = _OF_KUBERNETES.fullmatch(name)
    if match is None or name == "TIMEWARDEN_PORT":
        return False
    return all(f"{match['service']}_SERVICE_{part}" in environment for part in ("HOST", "PORT"))


def _complaint(name: str, known: Collection[str]) -> str:
    near = get_close_matches(name.upper(), known, n=1, cutoff=0.75)
    return f"{printable(name, 100)} is no setting" + (f" (did you mean {near[0]}?)" if near else "")
