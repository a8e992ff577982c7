"""timewarden-verify: is the audit log intact? Imports nothing of the service and nothing but `cryptography`.

It trusts the keys that it is given and nothing else, needs no database, and shares no code with what it judges: the
service generates trees by recursion, this package folds and verifies them iteratively. It runs alone: as a copy of this
folder (`python -m verify`), or as the one file that `timewarden audit verifier` writes. Python 3.11 or newer.
"""

# The project's; `timewarden-verify --version` says it.
VERSION = "0.1.0"
