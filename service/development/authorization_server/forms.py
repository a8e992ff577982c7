"""Reads the forms out of an HTML page, as a browser would fill and send them. Pure: text in, forms out."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

Attributes = list[tuple[str, str | None]]


@dataclass(frozen=True, slots=True)
class Field:
    """An input or a submit button with a name."""

    name: str
    value: str
    kind: str


@dataclass(slots=True)
class Form:
    """A form and its fields, in the order of the page."""

    action: str
    fields: list[Field] = field(default_factory=list)

    def has(self, kind: str) -> bool:
        return any(one.kind == kind for one in self.fields)

    def values(self, name: str) -> list[str]:
        return [one.value for one in self.fields if one.name == name]


@dataclass(slots=True)
class Page:
    """The forms of a page, and the text of its alerts."""

    forms: list[Form] = field(default_factory=list)
    alert: str = ""


def read_page(html: str) -> Page:
    """The page's forms; whatever is not a form, a field or an alert is passed over."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    reader.page.alert = " ".join(reader.page.alert.split())
    return reader.page


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.page = Page()
        self._form: Form | None = None
        self._alert_tag: str | None = None

    def handle_starttag(self, tag: str, attrs: Attributes) -> None:
        given = {name: value or "" for name, value in attrs}
        if given.get("role") == "alert":
            self._alert_tag = tag
        if tag == "form":
            self._form = Form(given.get("action", ""))
            self.page.forms.append(self._form)
        elif tag in ("input", "button") and self._form is not None and given.get("name") and "disabled" not in given:
            kind = given.get("type", "text" if tag == "input" else "submit").lower()
            self._form.fields.append(Field(given["name"], given.get("value", "on" if kind == "checkbox" else ""), kind))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        if tag == self._alert_tag:
            self._alert_tag = None

    def handle_data(self, data: str) -> None:
        if self._alert_tag is not None:
            self.page.alert += f" {data}"
