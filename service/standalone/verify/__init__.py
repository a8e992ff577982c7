"""timewarden-verify: checks whether the audit log is intact. Its only dependency is `cryptography`.

It trusts only the keys that it is given, needs no database, and shares no code with the service: the service generates
trees by recursion, this package folds and verifies them iteratively. It runs as a copy of this folder (`python -m
verify`), or as the single file that `timewarden audit verifier` writes. Python 3.11 or newer.
"""

# The version of the project, shown by `timewarden-verify --version`.
VERSION = "0.1.0"
