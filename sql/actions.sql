--
-- Actions with arguments that make no sense: a clear error, and nobody is ended.
-- (That they end the right sessions is shown in the isolation specs.)
--
CREATE EXTENSION pg_unblock;

-- Error fields of a statement, without the numbers of processes.
CREATE FUNCTION refused(statement text, OUT code text, OUT message text, OUT detail text, OUT hint text)
LANGUAGE plpgsql AS
$$
BEGIN
	EXECUTE statement;
	message := 'was not refused';
EXCEPTION WHEN others THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	code := SQLSTATE;
	message := regexp_replace(SQLERRM, 'PID \d+', 'PID ###');
END
$$;
CREATE TABLE sessions_before AS
	SELECT pid, backend_start FROM pg_stat_activity
	WHERE datname = current_database() AND backend_type = 'client backend' OR backend_type IN ('checkpointer', 'walwriter');

-- pids that stand for nobody
SELECT * FROM unblock.terminate(0);
SELECT * FROM unblock.terminate(-1);
SELECT * FROM unblock.terminate(-2147483648);
SELECT * FROM unblock.terminate(NULL);
SELECT * FROM unblock.cancel(0);
SELECT * FROM unblock.cancel(-1);
SELECT * FROM unblock.cancel(NULL);
SELECT * FROM unblock.cancel(NULL, now());

-- the caller
SELECT * FROM refused('SELECT unblock.terminate(pg_backend_pid())');
SELECT * FROM refused('SELECT unblock.terminate(pg_backend_pid(), now())');
SELECT * FROM refused('SELECT unblock.cancel(pg_backend_pid())');

-- processes of the server that are no sessions
SELECT backend_type, r.*
FROM pg_stat_activity, refused(format('SELECT unblock.terminate(%s)', pid)) r
WHERE backend_type IN ('checkpointer', 'background writer', 'walwriter', 'autovacuum launcher', 'logical replication launcher')
ORDER BY backend_type;
SELECT backend_type, r.*
FROM pg_stat_activity, refused(format('SELECT unblock.cancel(%s)', pid)) r
WHERE backend_type IN ('checkpointer', 'background writer', 'walwriter', 'autovacuum launcher', 'logical replication launcher')
ORDER BY backend_type;

-- pids of nobody
SELECT * FROM unblock.terminate(2147483647);
SELECT * FROM unblock.terminate(2147483647, now());
SELECT * FROM unblock.terminate(2147483647, NULL, '0');
SELECT * FROM unblock.terminate(2147483647, 'infinity');
SELECT * FROM unblock.cancel(2147483647);
SELECT * FROM unblock.cancel(2147483647, '-infinity');
SELECT * FROM unblock.terminate(pid => 2147483647, xact_start => now(), wait => '1s');

-- how long to wait
SELECT * FROM unblock.terminate(2147483647, wait => NULL);
SELECT * FROM unblock.terminate(2147483647, wait => '-1s');
SELECT * FROM unblock.terminate(2147483647, wait => '-1 microsecond');
SELECT * FROM unblock.terminate(2147483647, wait => '1 day -25 hours');
SELECT * FROM unblock.terminate(2147483647, wait => '178000000 years');
SELECT * FROM unblock.terminate(2147483647, wait => '-178000000 years');
SELECT * FROM unblock.terminate(2147483647, wait => '1 month -29 days -23 hours');

-- how old
SELECT * FROM unblock.terminate_idle(NULL);
SELECT * FROM unblock.terminate_idle('-1s');
SELECT * FROM unblock.terminate_idle('-1 month');
SELECT * FROM unblock.terminate_idle('178000000 years');
SELECT * FROM unblock.terminate_idle('1min', only_blockers => NULL);
SELECT * FROM unblock.terminate_idle('1min', dry_run => NULL);
SELECT * FROM unblock.terminate_idle('1min', database => NULL);
SELECT * FROM unblock.terminate_idle('1min', database => 'no such database');
SELECT * FROM unblock.terminate_idle('1min', database => '');
SELECT * FROM unblock.terminate_idle('100 years');
SELECT * FROM unblock.terminate_idle('1h', true, true, current_database());

-- whose lock, in which mode
SELECT * FROM unblock.clear_path(NULL);
SELECT * FROM refused('SELECT unblock.clear_path(4294967295)');
SELECT * FROM refused('SELECT unblock.clear_path(0)');
SELECT * FROM refused('SELECT unblock.clear_path(''no_such_table'')');
SELECT * FROM unblock.clear_path('pg_class', NULL);
SELECT mode, r.* FROM unnest(ARRAY['ACCESS', '', 'ACCESS EXCLUSIVE MODE', 'SIReadLock']) mode,
	refused(format('SELECT unblock.clear_path(''pg_class'', %L)', mode)) r;
SELECT * FROM unblock.clear_path('pg_class', older_than => NULL);
SELECT * FROM unblock.clear_path('pg_class', older_than => '-1s');
SELECT * FROM unblock.clear_path('pg_class', older_than => '178000000 years');
SELECT * FROM unblock.clear_path('pg_class', dry_run => NULL);
SELECT * FROM sessions_before WHERE pid IN (SELECT pid FROM unblock.clear_path('pg_class', 'Access Exclusive', '100 years', true));

-- The caller is left alone though it is in a transaction, and so is everybody else.
BEGIN;
SELECT * FROM unblock.terminate_idle('0');
LOCK TABLE sessions_before;
SELECT * FROM unblock.clear_path('sessions_before', older_than => '0');
COMMIT;
SELECT count(*) >= 3 AS sessions, count(*) = count(a.pid) AS all_left
FROM sessions_before LEFT JOIN pg_stat_activity a USING (pid, backend_start);

DROP TABLE sessions_before;
DROP FUNCTION refused;
DROP EXTENSION pg_unblock;
