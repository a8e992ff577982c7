"""Is a proposed policy good, and what does it change? Laws, cases, diffs, redundancy, in a process of their own.

Pure apart from that process. Import from outside: `policy_check` (build a version), `policy_aside`, `policy_diff`.
"""
