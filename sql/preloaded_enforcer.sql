--
-- Preloaded: the enforcer, what it counts, and what the reports know of limits.
--
CREATE EXTENSION pg_unblock;
CREATE EXTENSION dblink;

-- The enforcer belongs to no database and holds nothing.
SELECT backend_type, datname, backend_xid, backend_xmin FROM pg_stat_activity WHERE backend_type ~ 'pg_unblock';
SELECT count(*) AS locks FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE backend_type ~ 'pg_unblock';
DO $$
DECLARE
	enforcer int := (SELECT pid FROM pg_stat_activity WHERE backend_type ~ 'pg_unblock');
	statement text;
BEGIN
	FOREACH statement IN ARRAY ARRAY['SELECT unblock.terminate(%s)', 'SELECT unblock.cancel(%s)'] LOOP
		BEGIN
			EXECUTE format(statement, enforcer);
		EXCEPTION WHEN invalid_parameter_value THEN
			RAISE NOTICE '%', replace(SQLERRM, enforcer::text, '###');
		END;
	END LOOP;
END
$$;

-- Settings that only the server's start can change.
SELECT name, setting, context, vartype, min_val, max_val, boot_val, short_desc <> '' AS described
FROM pg_settings WHERE name LIKE 'pg\_unblock.%' AND context = 'postmaster' ORDER BY name COLLATE "C";
SET pg_unblock.history_size = 100;

-- Its figures.
SELECT counter, unit, value >= 0 AND value = round(value) OR unit = 'us' AS plausible FROM unblock.stats;
SELECT bool_and(value >= 0) AS times FROM unblock.stats WHERE unit = 'us';
CREATE TEMP TABLE stats_before AS SELECT * FROM unblock.stats;
CREATE FUNCTION grown(text) RETURNS double precision LANGUAGE sql AS
	'SELECT s.value - b.value FROM unblock.stats s JOIN stats_before b USING (counter) WHERE counter = $1';

-- A reload makes it look at the limits anew.
CREATE FUNCTION turn() RETURNS void LANGUAGE plpgsql AS
$$
DECLARE
	before double precision := (SELECT value FROM unblock.stats WHERE counter = 'turns');
BEGIN
	PERFORM pg_reload_conf();
	FOR i IN 1..1000 LOOP
		EXIT WHEN (SELECT value FROM unblock.stats WHERE counter = 'turns') > before;
		PERFORM pg_sleep(0.01);
	END LOOP;
END
$$;

-- Nothing is acted upon until a limit is set.
SELECT turn();
SELECT severity, finding, remedy FROM unblock.check() WHERE finding ~ 'limit';

-- What waits for a session that has limits.
SELECT format('dbname=%s host=%s port=%s user=%s', current_database(),
	split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_user) AS server \gset
CREATE VIEW next AS
	SELECT next_limit, next_action, due_in > '0' AS due, due_in <= '1h' AS within_the_hour
	FROM unblock.idle_transactions WHERE datname = current_database();
SELECT dblink_connect('victim', :'server');
SELECT dblink_exec('victim', 'BEGIN');
SELECT * FROM next;
SELECT dblink_exec('victim', 'SET pg_unblock.idle_in_transaction_limit = ''1h''');
SELECT * FROM next;
SELECT dblink_exec('victim', 'SET LOCAL pg_unblock.mode = dry_run');
SELECT * FROM next;
SELECT dblink_exec('victim', 'SET LOCAL pg_unblock.mode = off');
SELECT * FROM next;
SELECT turn();
SELECT severity, finding, remedy FROM unblock.check() WHERE finding ~ 'limit';
SELECT dblink_exec('victim', 'COMMIT');
SELECT dblink_exec('victim', 'RESET ALL');

-- It ends a session at its limit. (The fuse counts what earlier runs of this test did.)
ALTER SYSTEM SET pg_unblock.max_actions_per_minute = 0;
SELECT turn();
SELECT dblink_exec('victim', 'SET pg_unblock.idle_in_transaction_limit = ''300ms''');
SELECT t.pid FROM dblink('victim', 'SELECT pg_backend_pid()') t (pid int) \gset
SELECT dblink_exec('victim', 'BEGIN');
DO $$
BEGIN
	FOR i IN 1..1000 LOOP
		EXIT WHEN grown('ends_seen') >= 1;
		PERFORM pg_sleep(0.02);
	END LOOP;
END
$$;
SELECT count(*) FROM pg_stat_activity WHERE pid = :pid;
SELECT grown('terminated') AS terminated, grown('ends_seen') AS ends_seen, grown('looks') > 0 AS looks,
	grown('manual_terminated') AS manual, grown('would_terminate') AS would;
SELECT bool_and(value > 0) AS times FROM unblock.stats WHERE counter IN ('look_time_max', 'snapshot_time_max', 'end_time_last');
SELECT dblink_disconnect('victim');
ALTER SYSTEM RESET pg_unblock.max_actions_per_minute;
SELECT turn();

-- Ended by hand: another counter.
SELECT dblink_connect('victim', :'server');
SELECT t.pid FROM dblink('victim', 'SELECT pg_backend_pid()') t (pid int) \gset
SELECT outcome FROM unblock.terminate(:pid);
SELECT grown('manual_terminated') AS manual, grown('terminated') AS terminated;
SELECT dblink_disconnect('victim');

-- Both are in the history, and soon in its table, of which this is not the database.
SELECT turn(), turn();
SELECT kind, rule, state, outcome, datname = current_database() AS here, usename = current_user AS own,
	asked_by = current_user AS asked, function, limit_ms, measured_ms >= limit_ms AS at_limit, blocked_total, source
FROM unblock.history ORDER BY at DESC, id DESC LIMIT 2;
SELECT count(*) FROM unblock.incident;
SELECT unblock.incident((SELECT id FROM unblock.history ORDER BY at DESC, id DESC LIMIT 1)) ~ '^Incident \w+-\d+: manual_terminate\n' AS text;
SELECT unblock.incident('1-1') IS NULL AS unknown;
SELECT kind, rule, incidents >= 1 AS some FROM unblock.history_summary(now() - interval '1 hour', 'infinity') WHERE rule IS NOT NULL;
SELECT count(*) FROM unblock.history_summary('infinity');
SELECT unblock.incidents_in_memory(NULL);

-- Metrics are told from each other by name and labels.
SELECT count(*) > 20 AS some, count(DISTINCT (name, labels)) = count(*) AS distinct, bool_and(name ~ '^pg_unblock_[a-z_]+$') AS names,
	bool_and(help ~ '\.$') AS help, bool_and(type = 'counter' OR name !~ '_total$') AND bool_and(type = 'gauge' OR name ~ '_total$') AS types,
	bool_and(jsonb_typeof(labels) = 'object') AS labels
FROM unblock.metrics;

DROP FUNCTION grown, turn;
DROP VIEW next;
DROP EXTENSION dblink;
DROP EXTENSION pg_unblock;
