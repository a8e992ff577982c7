"""Expressions of a policy: CEL in a subset that means the same in Postgres. Pure: no I/O.

Import from outside: `expression` (Expression, Flaw, compile_expression) and `bounds` (Interval).
"""
