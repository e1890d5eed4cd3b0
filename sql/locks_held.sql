--
-- locks_held() without preloading, of this session. (Of others, with waits: see
-- the TAP test of this name.)
--
CREATE EXTENSION pg_unblock;
CREATE ROLE regress_unblock_user;

-- Rows that only one of the two has. Predicate locks are no locks that anybody waits for.
CREATE FUNCTION differences() RETURNS SETOF text LANGUAGE sql AS
$$
	WITH ours AS MATERIALIZED (
		SELECT locktype, database, relation, mode, granted, fastpath FROM unblock.locks_held(pg_backend_pid())
	), theirs AS MATERIALIZED (
		SELECT locktype, database, relation, mode, granted, fastpath FROM pg_locks
		WHERE pid = pg_backend_pid() AND mode <> 'SIReadLock'
	)
	SELECT 'ours: ' || _ FROM (TABLE ours EXCEPT ALL TABLE theirs) _
	UNION ALL SELECT 'theirs: ' || _ FROM (TABLE theirs EXCEPT ALL TABLE ours) _
$$;
DO
$$
BEGIN
	FOR i IN 1..40 LOOP
		EXECUTE format('CREATE TABLE regress_unblock_%s ()', i);
	END LOOP;
END
$$;

BEGIN ISOLATION LEVEL SERIALIZABLE;
DO
$$
BEGIN
	FOR i IN 1..40 LOOP
		EXECUTE format('TABLE regress_unblock_%s', i);
	END LOOP;
END
$$;
SELECT differences();
LOCK TABLE regress_unblock_1 IN SHARE MODE;
LOCK TABLE regress_unblock_2;
SELECT pg_advisory_xact_lock(42), pg_advisory_xact_lock_shared(4, 2);
SELECT count(*) FILTER (WHERE fastpath) > 0 AS fastpath, count(*) FILTER (WHERE NOT fastpath) > 0 AS main_table
FROM unblock.locks_held(pg_backend_pid()) WHERE lock LIKE 'relation public.regress%';
COMMENT ON ROLE regress_unblock_user IS 'an object lock';
SELECT differences();

-- An ordinary user sees the same, in the same order each time.
SET LOCAL ROLE regress_unblock_user;
SELECT locktype, database = (SELECT oid FROM pg_database WHERE datname = current_database()) AS here,
	relation::regclass, lock, mode, granted, waiters
FROM unblock.locks_held(pg_backend_pid())
WHERE mode <> 'AccessShareLock' AND locktype NOT IN ('virtualxid', 'transactionid') AND lock !~ 'pg_';
ROLLBACK;

-- nobody
SELECT * FROM unblock.locks_held(NULL);
SELECT * FROM unblock.locks_held(-1);
SELECT * FROM unblock.locks_held(2147483647);

DO
$$
BEGIN
	FOR i IN 1..40 LOOP
		EXECUTE format('DROP TABLE regress_unblock_%s', i);
	END LOOP;
END
$$;
DROP FUNCTION differences;
DROP ROLE regress_unblock_user;
DROP EXTENSION pg_unblock;
