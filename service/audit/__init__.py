"""What auditors do with the log: search, summary, export, proof. Reads only; owns no state.

Import from outside: `search`, `summary`, `people`, `periods`, `bundle`, `export_formats`, `published` (tiles, proof).
"""
