"""The user under which PostgreSQL runs. It refuses user id 0 and ids without an account, so these start it as another.

Changes nothing outside the server's folder: no account is added, and the modes of parent folders stay. Owns no state.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from functools import cache
from typing import TYPE_CHECKING, Literal

from service.development.processes import Account, LocalServerFailed

if TYPE_CHECKING:
    from pathlib import Path

RootMethod = Literal["automatic", "namespace", "nobody"]

# The server sees itself as nobody, but outside the namespace its files belong to root, so private folders work.
NAMESPACE = ("unshare", "--user", "--map-user=65534", "--map-group=65534", "--")


def account_for(home: Path, binaries: Path, method: RootMethod = "automatic") -> Account:
    """The account for a server with its files in `home`. Changes the owner of `home` if needed.

    Raises LocalServerFailed if no account can be used; it says what to do.
    """
    if os.geteuid() != 0:
        return Account() if _has_account(os.geteuid()) else _account_in_namespace()
    owner = home.stat()
    if owner.st_uid != 0 and method == "automatic":
        # The data belong to an ordinary user, or to nobody since an earlier start. They stay with that user.
        return _check_access(Account(uid=owner.st_uid, gid=owner.st_gid), home, binaries)
    if method != "nobody" and can_make_namespaces():
        return Account(prefix=NAMESPACE)
    nobody = pwd.getpwnam("nobody")
    account = _check_access(Account(uid=nobody.pw_uid, gid=nobody.pw_gid), home.parent, binaries)
    _change_owner(home, nobody.pw_uid, nobody.pw_gid)
    return account


@cache
def can_make_namespaces() -> bool:
    """Whether the system allows user namespaces; many containers do not."""
    if shutil.which(NAMESPACE[0]) is None:
        return False
    answer = subprocess.run([*NAMESPACE, "id", "-u"], capture_output=True, text=True, check=False)
    return answer.returncode == 0 and answer.stdout.strip() == "65534"


def _has_account(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _account_in_namespace() -> Account:
    if not can_make_namespaces():
        raise LocalServerFailed(
            f"PostgreSQL needs an account, user id {os.geteuid()} has none, and this system allows no user namespace. "
            "Start as a user that is listed in /etc/passwd."
        )
    return Account(prefix=NAMESPACE)


def _check_access(account: Account, folder: Path, binaries: Path) -> Account:
    probe = subprocess.run(  # type: ignore[call-overload]  # user and group come as a dict
        ["/bin/sh", "-c", 'cd "$0" && "$1" --version', str(folder), str(binaries / "postgres")],
        capture_output=True,
        check=False,
        cwd="/",
        **account.arguments(),
    )
    if probe.returncode == 0:
        return account
    raise LocalServerFailed(
        f"PostgreSQL refuses to run as root, this system allows no user namespace, and user id {account.uid} cannot "
        f"enter {folder} or {binaries}. Start as an ordinary user, or move this folder to a place that every user can "
        "enter, for example below /opt."
    )


def _change_owner(home: Path, uid: int, gid: int) -> None:
    os.chown(home, uid, gid)
    for folder, names, files in os.walk(home):
        for name in (*names, *files):
            os.chown(os.path.join(folder, name), uid, gid, follow_symlinks=False)  # noqa: PTH118 - os.walk gives strings
