-- What the observer asks. The reference is pg_blocking_pids() and, for modes
-- and for the names of prepared transactions, pg_locks.

CREATE EXTENSION pg_unblock;

-- Whether one of the busy sessions, or a parallel worker, is not waiting for a lock: the graph may still
-- change. A leader counts as waiting while it waits for workers; they are looked at themselves.
CREATE FUNCTION unsettled(busy int[]) RETURNS boolean LANGUAGE plpgsql AS
$$
DECLARE
	waiting int[] := ARRAY(SELECT pid FROM pg_lock_status() WHERE NOT granted);
BEGIN
	RETURN EXISTS (
		WITH process AS MATERIALIZED (SELECT * FROM pg_stat_get_activity(NULL))
		SELECT FROM process
		WHERE (pid = ANY (busy) OR backend_type = 'parallel worker')
		  AND pid <> ALL (waiting)
		  AND NOT (pid = ANY (busy) AND wait_event_type = 'IPC'
			   AND EXISTS (SELECT FROM process worker WHERE worker.leader_pid = process.pid))
	);
END
$$;

-- Who waits, and for whom.
CREATE FUNCTION reference() RETURNS jsonb LANGUAGE sql AS
$$
	WITH waiting AS MATERIALIZED (SELECT DISTINCT pid FROM pg_locks WHERE NOT granted)
	SELECT coalesce(jsonb_agg(jsonb_build_array(pid, pg_blocking_pids(pid)) ORDER BY pid), '[]') FROM waiting
$$;

-- All that is to be compared, or null if the graph moved meanwhile.
CREATE FUNCTION picture(busy int[]) RETURNS jsonb LANGUAGE plpgsql AS
$$
DECLARE
	before jsonb := reference();
	found jsonb;
BEGIN
	IF unsettled(busy) THEN
		RETURN NULL;
	END IF;
	SELECT jsonb_build_object(
		'reference', before,
		'edges', (SELECT jsonb_agg(edge) FROM unblock.blocking_edges(NULL) edge),
		'waits', (SELECT jsonb_agg(wait) FROM unblock.lock_waits wait),
		'chains', (SELECT jsonb_agg(to_jsonb(chain) - 'query') FROM unblock.blocking_chains chain),
		'roots', (SELECT jsonb_agg(to_jsonb(root) - 'query') FROM unblock.root_blockers root),
		'locks', (
			WITH locks AS MATERIALIZED (
				SELECT pid, virtualtransaction AS transaction, locktype, mode, granted, transactionid AS xid,
					(locktype, database, relation, page, tuple, virtualxid, transactionid, classid, objid,
					 objsubid)::text AS tag
				FROM pg_locks
			)
			SELECT jsonb_agg(locks) FROM locks WHERE tag IN (SELECT tag FROM locks WHERE NOT granted)
		),
		'prepared', (
			SELECT jsonb_object_agg(virtualtransaction, gid)
			FROM pg_locks JOIN pg_prepared_xacts ON transactionid = transaction
			WHERE pid IS NULL AND granted
		),
		'processes', (
			SELECT jsonb_agg(jsonb_build_object('pid', pid, 'leader', coalesce(leader_pid, pid), 'state', state,
				'database', datid, 'xid', backend_xid))
			FROM pg_stat_get_activity(NULL)
		)
	) INTO found;
	PERFORM pg_stat_clear_snapshot();
	IF unsettled(busy) OR reference() <> before THEN
		RETURN NULL;
	END IF;
	RETURN found;
END
$$;
