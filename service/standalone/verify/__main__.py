"""`python -m verify`, where only this folder was copied."""

from .command import main

main()
