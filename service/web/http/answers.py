"""Answers: a body, and the headers that prove its decision. Pure: owns no state."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from litestar import Response

from service.web.http.paging import NEXT_CURSOR
from service.web.http.preconditions import etag

if TYPE_CHECKING:
    from service.log.log import Receipt

T = TypeVar("T")


def answered(
    body: T,
    receipt: Receipt,
    *,
    status: int = 200,
    version: int | None = None,
    location: str | None = None,
) -> Response[T]:
    """A response with Decision-Id and Decision-Leaf, and where they apply ETag, Location and, for a body with a
    `next_cursor`, the link to the next page, which the request's frame completes with the filters."""
    headers = {"Decision-Id": str(receipt.uid), "Decision-Leaf": receipt.leaf}
    if version is not None:
        headers["ETag"] = etag(version)
    if location is not None:
        headers["Location"] = location
    if (cursor := getattr(body, "next_cursor", None)) is not None:
        headers[NEXT_CURSOR] = cursor
    return Response(body, status_code=status, headers=headers)
