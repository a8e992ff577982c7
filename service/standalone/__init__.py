"""Standalone modules: each can be copied into another project and imports nothing of this one."""
