"""What the Dockerfile puts into the image, worked out without an engine: instructions, copied files, .dockerignore."""

from __future__ import annotations

import fnmatch
import json
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Instruction:
    """One line of a Dockerfile, continued lines joined; `stage` counts from 0."""

    stage: int
    word: str
    rest: str

    def words(self) -> list[str]:
        return json.loads(self.rest) if self.rest.startswith("[") else shlex.split(self.rest)


def instructions() -> list[Instruction]:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    stage, found = -1, []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        word, _, rest = line.strip().partition(" ")
        stage += word == "FROM"
        found.append(Instruction(stage, word, rest.strip()))
    return found


def last_stage() -> list[Instruction]:
    every = instructions()
    return [item for item in every if item.stage == every[-1].stage]


def health_check() -> list[str]:
    """The words of the command with which an engine asks the image's API whether it is ready."""
    (check,) = [item for item in last_stage() if item.word == "HEALTHCHECK"]
    words: list[str] = json.loads(check.rest.partition("CMD ")[2])
    return words


def copies() -> list[tuple[str, str]]:
    """Source in the checkout and target in the image of every COPY of the last stage that is not from another stage."""
    pairs = []
    for item in last_stage():
        if item.word == "COPY" and not item.rest.startswith("--from"):
            *sources, target = item.words()
            pairs += [(source, target) for source in sources]
    return pairs


def is_ignored(path: str) -> bool:
    """Whether .dockerignore keeps a file of the checkout out: the last pattern for it, or a parent, decides."""
    place = PurePosixPath(path)
    candidates = [str(place), *(str(parent) for parent in place.parents if str(parent) != ".")]
    out = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        keep = pattern.startswith("!")
        pattern = pattern.removeprefix("!").rstrip("/")
        spellings = {pattern, pattern.removeprefix("**/")}
        if any(_matches(candidate, spelling) for candidate in candidates for spelling in spellings):
            out = not keep
    return out


def copy_image(target: Path) -> None:
    """Put what the image's /app holds into `target`."""
    for source, place in copies():
        origin = ROOT / source
        files = [origin] if origin.is_file() else [path for path in sorted(origin.rglob("*")) if path.is_file()]
        for file in files:
            if not is_ignored(file.relative_to(ROOT).as_posix()):
                inside = Path(place) / (file.name if origin.is_file() else file.relative_to(origin))
                copy = target / inside
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)


def _matches(path: str, pattern: str) -> bool:
    """As Go's filepath.Match: `*` does not cross a slash."""
    parts, wanted = path.split("/"), pattern.split("/")
    if wanted[0] == "**":
        return fnmatch.fnmatchcase(parts[-1], wanted[-1])
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))
