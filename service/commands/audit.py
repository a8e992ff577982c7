"""`timewarden audit`: the log. Each subcommand stands in a module of its own and is loaded only when it is called."""

from __future__ import annotations

import rich_click as click

from service.commands.groups import LazyGroup

# Subcommand to the module that holds it under its own name.
COMMANDS = {
    "search": "audit_search",
    "history": "audit_search",
    "show": "audit_show",
    "explain": "audit_show",
    "hold": "audit_hold",
    "replay": "audit_replay",
    "export": "audit_export",
    "proof": "audit_proof",
    "consistency": "audit_proof",
    "verify": "audit_verify",
    "verifier": "audit_verify",
    "erase": "audit_erase",
    "partition": "audit_retention",
    "retain": "audit_retention",
    "key": "audit_key",
    "new-epoch": "audit_epoch",
}


@click.group(cls=LazyGroup, modules=lambda: COMMANDS)
def audit() -> None:
    """Records, proofs and keys of the decision log."""
