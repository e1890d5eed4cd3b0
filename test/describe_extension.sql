-- All that the extension has made in a database, as the catalogs tell it, without what differs between two
-- databases of one server (OIDs).
WITH member AS (
	SELECT classid, objid, pg_describe_object(classid, objid, 0) AS what
	FROM pg_depend
	WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
		AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_unblock'))
SELECT concat_ws(': ', what, obj_description(objid, classid::regclass::name)) FROM member
UNION ALL
SELECT concat_ws(': ', what, 'owner and rights', nspowner::regrole, nspacl)
FROM member JOIN pg_namespace n ON (classid, objid) = ('pg_namespace'::regclass, n.oid)
UNION ALL
SELECT concat_ws(': ', what, 'owner and rights', proowner::regrole, proacl, pg_get_functiondef(p.oid))
FROM member JOIN pg_proc p ON (classid, objid) = ('pg_proc'::regclass, p.oid)
UNION ALL
SELECT concat_ws(': ', what, 'owner and rights', relowner::regrole, relacl, relkind, relpersistence, reloptions,
	CASE relkind WHEN 'v' THEN pg_get_viewdef(c.oid) END)
FROM member JOIN pg_class c ON (classid, objid) = ('pg_class'::regclass, c.oid)
UNION ALL
SELECT concat_ws(': ', what, 'column', attnum, attname, format_type(atttypid, atttypmod), attnotnull, attacl,
	pg_get_expr(adbin, adrelid), col_description(attrelid, attnum))
FROM member JOIN pg_attribute ON (classid, objid) = ('pg_class'::regclass, attrelid)
	LEFT JOIN pg_attrdef ON (adrelid, adnum) = (attrelid, attnum)
WHERE attnum > 0
UNION ALL
SELECT concat_ws(': ', what, 'index', pg_get_indexdef(indexrelid))
FROM member JOIN pg_index ON (classid, objid) = ('pg_class'::regclass, indrelid)
UNION ALL
SELECT concat_ws(': ', what, 'constraint', conname, pg_get_constraintdef(c.oid))
FROM member JOIN pg_constraint c ON (classid, objid) = ('pg_class'::regclass, conrelid)
UNION ALL
SELECT concat_ws(': ', 'dumped', configured.relation::regclass, condition)
FROM pg_extension, unnest(extconfig, extcondition) AS configured(relation, condition)
WHERE extname = 'pg_unblock'
UNION ALL
SELECT concat_ws(': ', 'extension', extname, extversion, extowner::regrole, extrelocatable, extnamespace::regnamespace)
FROM pg_extension WHERE extname = 'pg_unblock'
ORDER BY 1;
