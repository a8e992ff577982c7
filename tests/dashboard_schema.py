"""Whether Grafana's own library knows everything in a dashboard. See .ci/manifests.

Needs the package grafana-foundation-sdk: `python tests/dashboard_schema.py FILE`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

if TYPE_CHECKING:
    from collections.abc import Iterator

# Grafana has these members; the library, which knows the members that all panels and queries share, does not.
KNOWN = {"titleFormat", "definition"}


def find_lost(given: Any, read: Any, place: str = "") -> Iterator[str]:
    """The places of members that the library did not understand."""
    if isinstance(given, dict) and isinstance(read, dict):
        for name, value in given.items():
            if name in read:
                yield from find_lost(value, read[name], f"{place}/{name}")
            elif name not in KNOWN:
                yield f"{place}/{name}"
    elif isinstance(given, list) and isinstance(read, list) and len(given) == len(read):
        for number, (value, other) in enumerate(zip(given, read, strict=True)):
            yield from find_lost(value, other, f"{place}/{number}")
    elif given != read:
        yield place


plugins.register_default_plugins()
dashboard = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
lost = list(find_lost(dashboard, json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))))
sys.exit(f"Grafana does not know {', '.join(lost)}" if lost else 0)
