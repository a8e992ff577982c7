"""The decision point (PDP): an immutable snapshot of a version, asked through casbin, and its explanations. Pure.

Import from outside: `engine`, `explanation`, `row_conditions` (rules as conditions of a list).
"""
