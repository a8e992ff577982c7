"""The builder of audit bundles: proof of what the sealed log holds in a range of positions. Reads only; owns no state.

A bundle is JSON Lines (docs/audit-bundle.md is exact): a header `{format, from, to, checkpoint, left, right, start,
pruned}`, then for each position `{position, sealed, uid, leaf, body, columns, texts}`. The header is known before the
first record, so it streams in bounded memory and a broken download goes on at the next position. The builder judges
nothing: of a damaged log it writes what is stored, and `service/standalone/verify.py`, which shares no code, judges.
"""
