"""`python -m verify`, for a copy of this folder."""

from .command import main

main()
