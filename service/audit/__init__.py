"""The use cases of auditors: search the log, count, export, prove. Reads only; owns no state.

Import from outside: `search`, `summary`, `people`, `time_range`, `bundle`, `export_formats`, `published_log`
(checkpoint, tiles, proofs).
"""
