"""Serves the files of `static/`: from memory, compressed, and under a path that changes with their content.

Browsers may keep them for ever. All files share the path, so that a script can import its neighbours.
"""

import gzip
import hashlib
import re
from pathlib import Path
from typing import Any

from litestar import Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

FOLDER = Path(__file__).parent / "static"
KINDS = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".json": "application/json",
}
FILES = {
    str(path.relative_to(FOLDER)): path.read_bytes()
    for path in sorted(FOLDER.rglob("*"))
    if path.is_file() and path.suffix in KINDS
}
_ZIPPED = {name: gzip.compress(content, mtime=0) for name, content in FILES.items()}
DIGEST = hashlib.sha256(b"".join(name.encode() + content for name, content in FILES.items())).hexdigest()[:16]
_FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}


def path_of(name: str) -> str:
    """The path of a file. Raises KeyError for a file that does not exist, when a page is rendered."""
    if name not in FILES:
        raise KeyError(name)
    return f"/static/{DIGEST}/{name}"


@get(["/static/{_digest:str}/{name:path}"], sync_to_thread=False)
def read_static_file(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[bytes]:
    """A file. The digest in the path is not compared: there is one version of each file."""
    name = name.lstrip("/")
    if name not in FILES:
        raise NotFoundException
    kind = KINDS[Path(name).suffix]
    if re.search(r"\bgzip\b(?!\s*;\s*q=0(?:\.0+)?\s*(?:,|$))", request.headers.get("accept-encoding", "")):
        return Response(_ZIPPED[name], media_type=kind, headers={**_FOR_EVER, "Content-Encoding": "gzip"})
    return Response(FILES[name], media_type=kind, headers=_FOR_EVER)
