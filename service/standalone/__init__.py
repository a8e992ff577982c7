"""Modules that run alone: each may be copied into another project, and imports nothing of this one."""
