"""What later versions of PostgreSQL added to the structure of a database, and how the catalog shows that it is used.

One line per feature. An older target refuses the statement that pg_dump writes for it, which may be the last one after
hours of copying; so the precheck asks for all of them at once, and only when the target is the older side.  Built-in
functions, types and operator classes need no lines: the source's names are looked up on the target.

What stands inside the text of a function is not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Feature:
    """`found`: SELECT of relation, schema (ids; one of them is 0) and the name of an object that uses the feature.

    The source runs it only if it is of version `since` or later, so it may use what the catalog has from then on.
    `remedy`: how the source can do without. `is_left_out`: a job goes on without it, and says so; the others stop it.
    """

    what: str
    since: int
    found: str
    remedy: str
    is_left_out: bool = False


def _constraints(condition: str) -> str:
    return f"""SELECT k.conrelid, 0::oid, k.conname FROM pg_catalog.pg_constraint k
        JOIN pg_catalog.pg_class t ON t.oid = k.conrelid WHERE {condition}"""


def _columns(condition: str) -> str:
    return f"""SELECT a.attrelid, 0::oid, a.attname FROM pg_catalog.pg_attribute a
        JOIN pg_catalog.pg_class t ON t.oid = a.attrelid
        WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attrelid >= 16384 AND t.relkind IN ('r', 'p', 'f', 'c')
        AND {condition}"""


def _relations(condition: str) -> str:
    return f"SELECT c.oid, 0::oid, ''::name FROM pg_catalog.pg_class c WHERE c.oid >= 16384 AND {condition}"


def _indexes(condition: str) -> str:
    return f"""SELECT x.indrelid, 0::oid, i.relname FROM pg_catalog.pg_index x
        JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid WHERE x.indexrelid >= 16384 AND {condition}"""


def _of_schemas(catalog: str, prefix: str, condition: str) -> str:
    """Objects that belong to no relation; those of extensions come with them."""
    return f"""SELECT 0::oid, o.{prefix}namespace, o.{prefix}name FROM pg_catalog.{catalog} o
        WHERE o.oid >= 16384 AND {condition}
        AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.{catalog}'::regclass
                        AND d.objid = o.oid AND d.deptype = 'e')"""


def _parameters(*names: str) -> str:
    """Of tables, their TOAST tables and indexes."""
    known = " OR ".join(f"p LIKE '{name}=%'" for name in names)
    return f"""
        SELECT coalesce(m.oid, x.indrelid, c.oid), 0::oid, CASE WHEN x.indrelid IS NULL THEN '' ELSE c.relname END
        FROM pg_catalog.pg_class c CROSS JOIN LATERAL unnest(c.reloptions) AS p
        LEFT JOIN pg_catalog.pg_class m ON c.relkind = 't' AND m.reltoastrelid = c.oid
        LEFT JOIN pg_catalog.pg_index x ON x.indexrelid = c.oid
        WHERE c.oid >= 16384 AND ({known})"""


def _expressions(pattern: str) -> str:
    """Objects with an expression or query whose parse tree matches; an older server cannot read its text."""
    return f"SELECT relation, schema, name FROM tree WHERE tree ~ '{pattern}'"


# MAINTAIN without all the rest, which pg_dump writes as ALL. Of a table, or as a default for tables to come.
_MAINTAIN: Final = """
SELECT c.oid, 0::oid, ''::name FROM pg_catalog.pg_class c
CROSS JOIN LATERAL pg_catalog.aclexplode(c.relacl) AS g
WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
GROUP BY c.oid, g.grantor, g.grantee, g.is_grantable
HAVING bool_or(g.privilege_type = 'MAINTAIN') AND count(*) < 8
UNION
SELECT 0::oid, d.defaclnamespace, 'default privileges'::name FROM pg_catalog.pg_default_acl d
CROSS JOIN LATERAL pg_catalog.aclexplode(d.defaclacl) AS g WHERE d.defaclobjtype = 'r'
GROUP BY d.oid, d.defaclnamespace, g.grantee, g.is_grantable
HAVING bool_or(g.privilege_type = 'MAINTAIN') AND count(*) < 8
"""

FEATURES: Final = (
    Feature(
        "virtual generated columns",
        18,
        _columns("a.attgenerated = 'v'"),
        "Drop these columns on the source and add them as STORED",
    ),
    Feature(
        "keys WITHOUT OVERLAPS and with PERIOD",
        18,
        _constraints("k.conperiod AND (k.contype <> 'f' OR k.conparentid = 0)"),
        "Use exclusion constraints on the source instead",
    ),
    Feature(
        "foreign keys NOT VALID on partitioned tables",
        18,
        _constraints(
            "k.contype = 'f' AND t.relkind = 'p' AND k.conparentid = 0 AND NOT k.convalidated AND k.conenforced"
        ),
        "ALTER TABLE ... VALIDATE CONSTRAINT on the source",
    ),
    Feature(
        "constraints NOT ENFORCED",
        18,
        _constraints("NOT k.conenforced AND k.conislocal AND k.conparentid = 0"),
        "",
        is_left_out=True,
    ),
    Feature(
        "NOT NULL constraints NOT VALID",
        18,
        _constraints("k.contype = 'n' AND NOT k.convalidated AND k.conislocal AND k.conrelid <> 0"),
        "ALTER TABLE ... VALIDATE CONSTRAINT on the source to keep them",
        is_left_out=True,
    ),
    Feature(
        "NOT NULL constraints NO INHERIT",
        18,
        _constraints("k.contype = 'n' AND k.connoinherit"),
        "ALTER TABLE ... ALTER CONSTRAINT ... INHERIT on the source",
    ),
    Feature(
        "NOT NULL constraints of a table's own on inherited columns",
        18,
        _constraints(
            """k.contype = 'n' AND k.conislocal AND k.convalidated AND NOT t.relispartition AND EXISTS (
            SELECT 1 FROM pg_catalog.pg_attribute a
            WHERE a.attrelid = k.conrelid AND a.attnum = k.conkey[1] AND NOT a.attislocal)"""
        ),
        "Set the parent's column NOT NULL on the source, or use check constraints",
    ),
    Feature(
        "storage parameters",
        18,
        _parameters("autovacuum_vacuum_max_threshold", "vacuum_max_eager_freeze_failure_rate"),
        "ALTER TABLE ... RESET (...) on the source",
    ),
    Feature("the privilege MAINTAIN", 17, _MAINTAIN, "", is_left_out=True),
    Feature(
        "event triggers on login",
        17,
        "SELECT 0::oid, 0::oid, evtname FROM pg_catalog.pg_event_trigger WHERE evtevent = 'login'",
        "",
        is_left_out=True,
    ),
    Feature(
        "exclusion constraints on partitioned tables",
        17,
        _constraints("k.contype = 'x' AND t.relkind = 'p'"),
        "Put them on the partitions",
    ),
    Feature(
        "collations of the provider builtin",
        17,
        _of_schemas("pg_collation", "coll", "o.collprovider = 'b'"),
        "Use collations of another provider on the source",
    ),
    Feature(
        "JSON_TABLE, JSON_QUERY, JSON_VALUE, JSON_EXISTS, JSON_SCALAR, JSON_SERIALIZE",
        17,
        _expressions(r"\{JSONEXPR |\{JSONCONSTRUCTOREXPR :type [567] "),
        "Write these views and expressions without them",
    ),
    Feature(
        "JSON constructors and IS JSON",
        16,
        _expressions(r"\{JSONISPREDICATE |\{JSONCONSTRUCTOREXPR :type [1234] "),
        "Write these views and expressions without them",
    ),
    Feature(
        "collations with rules",
        16,
        _of_schemas("pg_collation", "coll", "o.collicurules IS NOT NULL"),
        "Use collations without rules on the source",
    ),
    Feature(
        "unique keys with NULLS NOT DISTINCT",
        15,
        _indexes("x.indnullsnotdistinct"),
        "Make these keys without it on the source",
    ),
    Feature(
        "views with security_invoker",
        15,
        _relations("c.relkind = 'v' AND c.reloptions::text LIKE '%security_invoker=%'"),
        "ALTER VIEW ... RESET (security_invoker) on the source if its owner may read for everybody",
    ),
    Feature(
        "foreign keys that set only some columns on delete",
        15,
        _constraints("k.contype = 'f' AND k.conparentid = 0 AND k.confdelsetcols IS NOT NULL"),
        "Make these keys without the list of columns on the source",
    ),
    Feature(
        "numeric with a scale below 0 or above the precision",
        15,
        _columns(
            """a.atttypid IN (1700, 1231) AND a.atttypmod >= 4 AND ((((a.atttypmod - 4) & 2047) # 1024) - 1024)
            NOT BETWEEN 0 AND (a.atttypmod - 4) >> 16 & 65535"""
        ),
        "ALTER TABLE ... ALTER COLUMN ... TYPE numeric on the source",
    ),
    Feature(
        "unlogged sequences",
        15,
        """SELECT c.oid, 0::oid, ''::name FROM pg_catalog.pg_class c
        WHERE c.relkind = 'S' AND c.relpersistence = 'u' AND NOT EXISTS (
            SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass
            AND d.objid = c.oid AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.deptype = 'i')""",
        "ALTER SEQUENCE ... SET LOGGED on the source",
    ),
    Feature(
        "functions with a body of SQL statements (BEGIN ATOMIC, RETURN)",
        14,
        _of_schemas("pg_proc", "pro", "o.prosqlbody IS NOT NULL"),
        "Give their bodies as text on the source",
    ),
    Feature(
        "procedures with OUT parameters",
        14,
        _of_schemas("pg_proc", "pro", "o.prokind = 'p' AND 'o' = ANY (o.proargmodes)"),
        "Make these parameters INOUT on the source",
    ),
    Feature(
        "range types, which have a multirange type from then on",
        14,
        _of_schemas(
            "pg_type",
            "typ",
            "o.oid IN (SELECT r.rngtypid FROM pg_catalog.pg_range r WHERE r.rngmultitypid >= 16384)",
        ),
        "Leave out what uses these types",
    ),
    Feature(
        "columns with a compression method of their own",
        14,
        _columns("a.attcompression <> ''"),
        "ALTER TABLE ... ALTER COLUMN ... SET COMPRESSION default on the source",
    ),
    Feature(
        "extended statistics on expressions",
        14,
        "SELECT s.stxrelid, 0::oid, s.stxname FROM pg_catalog.pg_statistic_ext s WHERE s.stxexprs IS NOT NULL",
        "DROP STATISTICS on the source",
    ),
    Feature(
        "SP-GiST indexes with INCLUDE",
        14,
        _indexes(
            """x.indnatts > x.indnkeyatts
            AND i.relam = (SELECT oid FROM pg_catalog.pg_am WHERE amname = 'spgist')"""
        ),
        "Make these indexes without INCLUDE on the source",
    ),
    Feature(
        "SEARCH, CYCLE and GROUP BY DISTINCT",
        14,
        _expressions(r"\{CTESEARCHCLAUSE |\{CTECYCLECLAUSE |:groupDistinct true"),
        "Write these views without them",
    ),
    Feature(
        "BEFORE triggers for each row of partitioned tables",
        13,
        """SELECT t.oid, 0::oid, g.tgname FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_class t ON t.oid = g.tgrelid
        WHERE t.relkind = 'p' AND NOT g.tgisinternal AND g.tgtype & 3 = 3""",
        "Make these triggers on the partitions",
    ),
    Feature(
        "statistics targets of extended statistics",
        13,
        """SELECT s.stxrelid, 0::oid, s.stxname FROM pg_catalog.pg_statistic_ext s
        WHERE coalesce(s.stxstattarget, -1) >= 0""",
        "ALTER STATISTICS ... SET STATISTICS -1 on the source",
    ),
    Feature(
        "storage parameters",
        13,
        _parameters("autovacuum_vacuum_insert_threshold", "autovacuum_vacuum_insert_scale_factor", "deduplicate_items"),
        "ALTER TABLE or INDEX ... RESET (...) on the source",
    ),
    Feature(
        "indexes with parameters of an operator class",
        13,
        _indexes(
            """EXISTS (SELECT 1 FROM pg_catalog.pg_attribute a
            WHERE a.attrelid = x.indexrelid AND a.attoptions IS NOT NULL)"""
        ),
        "Make these indexes without the parameters on the source",
    ),
    Feature("FETCH FIRST ... WITH TIES", 13, _expressions(":limitOption 1 "), "Write these views without it"),
)

# Every expression and query of the database as the server keeps it, with the relation or schema it belongs to.
_TREES: Final = (
    (12, "SELECT adrelid, 0::oid, ''::name, adbin FROM pg_catalog.pg_attrdef"),
    (12, "SELECT conrelid, 0::oid, conname, conbin FROM pg_catalog.pg_constraint WHERE conbin IS NOT NULL"),
    (12, "SELECT indrelid, 0::oid, ''::name, indexprs FROM pg_catalog.pg_index WHERE indexprs IS NOT NULL"),
    (12, "SELECT indrelid, 0::oid, ''::name, indpred FROM pg_catalog.pg_index WHERE indpred IS NOT NULL"),
    (12, "SELECT ev_class, 0::oid, ''::name, ev_action FROM pg_catalog.pg_rewrite WHERE ev_class >= 16384"),
    (12, "SELECT polrelid, 0::oid, polname, polqual FROM pg_catalog.pg_policy"),
    (12, "SELECT polrelid, 0::oid, polname, polwithcheck FROM pg_catalog.pg_policy"),
    (12, "SELECT tgrelid, 0::oid, tgname, tgqual FROM pg_catalog.pg_trigger WHERE tgqual IS NOT NULL"),
    (12, "SELECT 0::oid, typnamespace, typname, typdefaultbin FROM pg_catalog.pg_type WHERE oid >= 16384"),
    (14, "SELECT stxrelid, 0::oid, stxname, stxexprs FROM pg_catalog.pg_statistic_ext"),
    (14, "SELECT 0::oid, pronamespace, proname, prosqlbody FROM pg_catalog.pg_proc WHERE oid >= 16384"),
)

# What a database uses of the server itself: kind (a table of the catalog), name, and the user of it. Functions that a
# grammar of their own stands for (EXTRACT and the like) have other names in other versions, and are written without.
_BUILT_IN: Final = r"""
    SELECT 'pg_proc', p.proname, t.relation, t.schema, t.name
    FROM tree t CROSS JOIN LATERAL regexp_matches(t.tree,
        '\{FUNCEXPR :funcid (\d+) :funcresulttype \d+ :funcretset \w+ :funcvariadic \w+ :funcformat 0 '
        '|\{AGGREF :aggfnoid (\d+)|\{WINDOWFUNC :winfnoid (\d+)', 'g') AS m(id)
    JOIN pg_catalog.pg_proc p ON p.oid = coalesce(m.id[1], m.id[2], m.id[3])::oid
        AND p.pronamespace = 'pg_catalog'::regnamespace
    UNION
    SELECT 'pg_type', y.typname, a.attrelid, 0::oid, a.attname
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
    JOIN pg_catalog.pg_type y ON y.oid = a.atttypid AND y.typnamespace = 'pg_catalog'::regnamespace
    WHERE a.attrelid >= 16384 AND a.attnum > 0 AND c.relkind IN ('r', 'p', 'f', 'c')
    UNION
    SELECT 'pg_type', y.typname, 0::oid, p.pronamespace, p.proname
    FROM pg_catalog.pg_proc p
    CROSS JOIN LATERAL unnest(p.proargtypes::oid[] || coalesce(p.proallargtypes, '{}') || p.prorettype) AS u(id)
    JOIN pg_catalog.pg_type y ON y.oid = u.id AND y.typnamespace = 'pg_catalog'::regnamespace
    WHERE p.oid >= 16384
    UNION
    SELECT 'pg_opclass', o.opcname, x.indrelid, 0::oid, i.relname
    FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
    CROSS JOIN LATERAL unnest(x.indclass::oid[]) AS u(id)
    JOIN pg_catalog.pg_opclass o ON o.oid = u.id AND o.opcnamespace = 'pg_catalog'::regnamespace
    WHERE x.indexrelid >= 16384
"""

# With each the names that it may be selected by: its own, and those of what it is a partition of.
_USED: Final = """
WITH tree(relation, schema, name, tree) AS MATERIALIZED ({trees})
SELECT u.feature, u.kind, u.built_in, coalesce(cn.nspname, sn.nspname, '') AS schema, c.relname AS relation, u.name,
       CASE WHEN c.relispartition THEN ARRAY(
           SELECT ARRAY[an.nspname, a.relname]::text[] FROM pg_catalog.pg_partition_ancestors(c.oid) x
           JOIN pg_catalog.pg_class a ON a.oid = x.relid JOIN pg_catalog.pg_namespace an ON an.oid = a.relnamespace)
           ELSE ARRAY[ARRAY[cn.nspname, c.relname]::text[]] END AS names
FROM ({found}) AS u(feature, kind, built_in, relation, schema, name)
LEFT JOIN pg_catalog.pg_class c ON c.oid = u.relation LEFT JOIN pg_catalog.pg_namespace cn ON cn.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_namespace sn ON sn.oid = u.schema
WHERE coalesce(cn.nspname, sn.nspname, '') NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'towline')
  AND (u.relation = 0 OR u.relation >= 16384)
  AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass
                  AND d.objid = u.relation AND d.deptype = 'e')
ORDER BY 1, 2, 3, 4, 5, 6
"""


def choose_features(source_major: int, target_major: int) -> tuple[Feature, ...]:
    """Those that the source may use and the target does not know. Pure."""
    return tuple(feature for feature in FEATURES if target_major < feature.since <= source_major)


def render_query(features: Sequence[Feature], *, source_major: int) -> str:
    """One row per feature (its number here) and object that uses it; feature -1 is something built into the server."""
    known = [text for since, text in _TREES if since <= source_major]
    trees = " UNION ALL ".join(f"SELECT r, s, n, t::text FROM ({text}) AS x(r, s, n, t)" for text in known)
    found = [f"SELECT {i}, '', ''::name, x.* FROM ({each.found}) AS x" for i, each in enumerate(features)]
    found.append(f"SELECT -1, x.* FROM ({_BUILT_IN}) AS x")
    return _USED.format(trees=trees, found=" UNION ALL ".join(found))


# Which of the built-in names the server does not have.
MISSING: Final = """
SELECT u.kind, u.name FROM unnest($1::text[], $2::text[]) AS u(kind, name)
WHERE CASE u.kind
    WHEN 'pg_proc' THEN NOT EXISTS (SELECT 1 FROM pg_catalog.pg_proc o
                                    WHERE o.proname = u.name AND o.pronamespace = 'pg_catalog'::regnamespace)
    WHEN 'pg_type' THEN NOT EXISTS (SELECT 1 FROM pg_catalog.pg_type o
                                    WHERE o.typname = u.name AND o.typnamespace = 'pg_catalog'::regnamespace)
    ELSE NOT EXISTS (SELECT 1 FROM pg_catalog.pg_opclass o
                     WHERE o.opcname = u.name AND o.opcnamespace = 'pg_catalog'::regnamespace) END
"""
