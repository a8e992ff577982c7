"""A module of routes as the application sees it: its title, its links and its handlers. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class NavigationLink:
    """A link in the navigation, shown to people who may do one of `actions` to a resource of this kind; always, if
    `kind` is empty."""

    title: str
    path: str
    kind: str = ""
    actions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Room:
    """The pages for one kind of reader. `done`: the sentences that its pages show after
    `visit.redirect(path, done=...)`."""

    title: str
    links: Sequence[NavigationLink]
    handlers: Sequence[Any]
    done: Mapping[str, str] = field(default_factory=dict)
