"""Is a proposed policy good, and what does it change? Laws, cases, diffs and shadowed rules, in a process of their own.

Pure apart from that process. Import from outside: `examination` (build a version), `check_worker`, `diff`, `trial`.
"""
