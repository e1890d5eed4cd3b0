--
-- What CREATE EXTENSION makes: a change here is a change of the interface.
--
CREATE EXTENSION pg_unblock;
SELECT unblock.version() = extversion AS library_fits FROM pg_extension WHERE extname = 'pg_unblock';

SELECT p.oid::regprocedure AS function, pg_get_function_result(p.oid) AS result, provolatile AS volatile,
	proparallel AS parallel, proisstrict AS strict, prosecdef AS definer, lanname AS language
FROM pg_proc p JOIN pg_language l ON l.oid = prolang
WHERE pronamespace = 'unblock'::regnamespace ORDER BY p.oid::regprocedure::text COLLATE "C";

-- Arguments, with names and defaults.
SELECT proname, pg_get_function_arguments(oid) AS arguments FROM pg_proc
WHERE pronamespace = 'unblock'::regnamespace AND pronargs > 0 AND proname <> 'incidents_in_memory' ORDER BY proname;

-- Columns of the reports.
SELECT attrelid::regclass AS view, attname AS column, format_type(atttypid, atttypmod) AS type
FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
WHERE relnamespace = 'unblock'::regnamespace AND relkind IN ('r', 'v') AND attnum > 0 ORDER BY relname, attnum;
SELECT p AS function, ordinality AS number, name, type::regtype
FROM unnest(ARRAY['unblock.check', 'unblock.terminate', 'unblock.cancel', 'unblock.terminate_idle', 'unblock.clear_path',
	'unblock.locks_held', 'unblock.history_summary']::regproc[]) p
	JOIN pg_proc ON oid = p, unnest(proargnames, proallargtypes, proargmodes) WITH ORDINALITY AS a (name, type, mode)
WHERE mode = 'o' ORDER BY p::text COLLATE "C", ordinality;

-- Each view has the columns of the function of its name, if there is one.
SELECT relname, array_agg(attname::text ORDER BY attnum) = proargnames[pronargs + 1:]
	AND array_agg(atttypid ORDER BY attnum) = proallargtypes[pronargs + 1:] AS same_columns
FROM pg_class c JOIN pg_attribute ON attrelid = c.oid AND attnum > 0
	JOIN pg_proc ON proname = relname AND pronamespace = relnamespace
WHERE relnamespace = 'unblock'::regnamespace AND relkind = 'v' GROUP BY relname, pronargs, proargnames, proallargtypes ORDER BY 1;

-- Incidents are the same in memory and in the table.
SELECT array_agg(attname::text ORDER BY attnum) = proargnames[2:] AND array_agg(atttypid ORDER BY attnum) = proallargtypes[2:]
	AS same_columns
FROM pg_attribute, pg_proc
WHERE attrelid = 'unblock.incident'::regclass AND attnum > 0 AND proname = 'incidents_in_memory'
GROUP BY proargnames, proallargtypes;

-- Every object has a comment, and everybody may use it, but for pause(), resume(), metrics and the table.
-- (From 17 on row types are members too.)
SELECT pg_describe_object(classid, objid, 0) AS without_comment
FROM pg_depend
WHERE refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_unblock') AND deptype = 'e'
	AND classid <> 'pg_type'::regclass AND obj_description(objid, classid::regclass::name) IS NULL;
CREATE ROLE regress_unblock_user;
SELECT count(*) AS objects, count(*) FILTER (WHERE CASE classid
		WHEN 'pg_namespace'::regclass THEN has_schema_privilege('regress_unblock_user', objid, 'USAGE')
		WHEN 'pg_class'::regclass THEN has_table_privilege('regress_unblock_user', objid, 'SELECT')
		WHEN 'pg_proc'::regclass THEN has_function_privilege('regress_unblock_user', objid, 'EXECUTE') END) AS usable
FROM pg_depend
WHERE refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_unblock') AND deptype = 'e'
	AND classid <> 'pg_type'::regclass;
SELECT has_schema_privilege('regress_unblock_user', 'unblock', 'CREATE') AS may_create;

-- The reports answer when nothing is wrong, in a read-only transaction too.
BEGIN READ ONLY;
SELECT count(*) FROM unblock.lock_waits WHERE datname = current_database();
SELECT count(*) FROM unblock.blocking_chains WHERE datname = current_database();
SELECT count(*) FROM unblock.root_blockers WHERE datname = current_database();
SELECT count(*) FROM unblock.idle_transactions WHERE datname = current_database();
SELECT count(*) FROM unblock.blocking_edges WHERE waiter_pid = pg_backend_pid();
SELECT count(*) FROM unblock.horizon WHERE pid = pg_backend_pid() AND xmin IS NULL;
SELECT unblock.graph() ~ '^digraph', unblock.graph('Mermaid') ~ '^flowchart';
SELECT count(*) FROM unblock.tree() WHERE tree ~ current_database();
SELECT count(*) > 0 AS has_findings, bool_and(severity IN ('ok', 'notice', 'warning', 'critical')) AS severities,
	bool_and(finding <> '' AND finding !~ '\.$') AS phrases, bool_and(detail ~ '\.$' OR severity = 'ok') AS sentences
FROM unblock.check();
COMMIT;

-- Arguments that make no sense.
SELECT unblock.graph('svg');
SELECT unblock.graph(NULL);
SELECT * FROM unblock.blocking_edges(-1);
SELECT count(*) FROM unblock.blocking_edges(NULL) WHERE waiter_pid = pg_backend_pid();

-- It goes, comes again, and stays in its schema.
DROP EXTENSION pg_unblock;
SELECT count(*) FROM pg_namespace WHERE nspname = 'unblock';
SET ROLE regress_unblock_user;
CREATE EXTENSION pg_unblock;
RESET ROLE;
CREATE EXTENSION pg_unblock;
SELECT count(*) FROM unblock.lock_waits WHERE datname = current_database();
-- No schema of the user's is needed, and none can take it along when it is dropped.
DROP EXTENSION pg_unblock;
SET search_path = '';
CREATE EXTENSION pg_unblock;
RESET search_path;
SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'pg_unblock';
ALTER EXTENSION pg_unblock SET SCHEMA information_schema;

DROP EXTENSION pg_unblock;
DROP ROLE regress_unblock_user;
