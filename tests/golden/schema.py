"""The schema as Postgres knows it, in a readable, stable order: columns, constraints, indexes, triggers, rights."""

from __future__ import annotations

import asyncpg

# Tables with their columns.
COLUMNS = """
    SELECT format('%s.%s %s%s%s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
                  CASE WHEN a.attnotnull THEN ' not null' ELSE '' END,
                  coalesce(' ' || CASE a.attgenerated WHEN 's' THEN 'generated ' ELSE 'default ' END
                           || pg_get_expr(d.adbin, d.adrelid), CASE a.attidentity WHEN '' THEN '' ELSE ' identity' END))
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace ORDER BY c.relname, a.attnum
"""
CONSTRAINTS = """
    SELECT format('%s: %s', conrelid::regclass, pg_get_constraintdef(oid)) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace AND contype <> 'n' ORDER BY 1
"""
INDEXES = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
TRIGGERS = "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1"
TABLE_RIGHTS = """
    SELECT format('%s may %s %s', grantee, string_agg(privilege_type, ' ' ORDER BY privilege_type), table_name)
    FROM information_schema.table_privileges WHERE table_schema = 'public' AND grantee <> 'timewarden_owner'
    GROUP BY grantee, table_name ORDER BY 1
"""
COLUMN_RIGHTS = """
    SELECT format('%s may %s %s (%s)', p.grantee, p.privilege_type, p.table_name,
                  string_agg(p.column_name, ' ' ORDER BY p.column_name))
    FROM information_schema.column_privileges p
    WHERE p.table_schema = 'public' AND p.grantee <> 'timewarden_owner' AND NOT EXISTS (
        SELECT FROM information_schema.table_privileges t
        WHERE (t.grantee, t.table_name, t.privilege_type) = (p.grantee, p.table_name, p.privilege_type))
    GROUP BY p.grantee, p.privilege_type, p.table_name ORDER BY 1
"""


async def schema_of(url: str) -> str:
    """One line a fact, under a heading a kind of fact."""
    parts = {
        "Columns": COLUMNS,
        "Constraints": CONSTRAINTS,
        "Indexes": INDEXES,
        "Triggers": TRIGGERS,
        "Rights on tables": TABLE_RIGHTS,
        "Rights on columns": COLUMN_RIGHTS,
    }
    connection = await asyncpg.connect(url)
    try:
        lines: list[str] = []
        for title, query in parts.items():
            lines += [f"## {title}", *(str(row[0]) for row in await connection.fetch(query)), ""]
    finally:
        await connection.close()
    return "\n".join(lines)
