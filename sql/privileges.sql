--
-- Who may see and end whose session. (Sessions of a superuser: see the isolation
-- spec masking.)
--
CREATE EXTENSION pg_unblock;
CREATE EXTENSION dblink;
CREATE ROLE regress_unblock_app LOGIN;
CREATE ROLE regress_unblock_user;
CREATE ROLE regress_unblock_member IN ROLE regress_unblock_app;
CREATE ROLE regress_unblock_monitor IN ROLE pg_monitor;
CREATE ROLE regress_unblock_signaler IN ROLE pg_signal_backend;

-- A session of another role, idle in a transaction.
CREATE FUNCTION open_session() RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS
$$
DECLARE
	pid int;
BEGIN
	PERFORM dblink_connect('app', format('dbname=%s user=regress_unblock_app application_name=regress_unblock host=%s port=%s',
		current_database(), split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port')));
	PERFORM dblink_exec('app', 'BEGIN');
	SELECT t.pid INTO pid FROM dblink('app', 'SELECT pg_backend_pid()') t (pid int);
	RETURN pid;
END
$$;
CREATE FUNCTION close_session() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT dblink_disconnect(''app'')';

-- Columns of idle_transactions that pg_stat_activity has too, and where they differ.
CREATE FUNCTION compare(OUT rows bigint, OUT columns bigint, OUT different text) LANGUAGE sql AS
$$
	SELECT count(DISTINCT pid), count(*),
		string_agg(format('%s: %s, but %s', key, value, to_jsonb(a)->key), '; ') FILTER (WHERE value <> to_jsonb(a)->key)
	FROM unblock.idle_transactions i JOIN pg_stat_activity a USING (pid), jsonb_each(to_jsonb(i))
	WHERE a.application_name = 'regress_unblock' AND to_jsonb(a) ? key
$$;

SELECT open_session() AS pid \gset

-- An ordinary user is not told that it is idle, and may not end it.
SET ROLE regress_unblock_user;
SELECT * FROM compare();
SELECT state, query FROM pg_stat_activity WHERE pid = :pid;
SELECT usename, state, outcome, detail FROM unblock.terminate(:pid);
SELECT usename, state, outcome, detail FROM unblock.terminate(:pid, now());
SELECT usename, state, outcome, detail FROM unblock.cancel(:pid);
SELECT usename, state, outcome, detail FROM unblock.terminate_idle('0', dry_run => true);
SELECT usename, state, outcome, detail FROM unblock.terminate_idle('0');
\set VERBOSITY sqlstate
SELECT pg_terminate_backend(:pid);
\set VERBOSITY default

-- pg_monitor is told.
SET ROLE regress_unblock_monitor;
SELECT * FROM compare();
SELECT usename, state, outcome FROM unblock.terminate(:pid);
SELECT usename, state, outcome FROM unblock.terminate_idle('0', dry_run => true);
SELECT usename, state, outcome FROM unblock.terminate_idle('0');

-- pg_signal_backend ends what it may not look into.
SET ROLE regress_unblock_signaler;
SELECT * FROM compare();
SELECT usename, state, outcome FROM unblock.cancel(:pid);
SELECT usename, state, outcome FROM unblock.terminate_idle('0', dry_run => true);
SELECT usename, state, outcome FROM unblock.terminate(:pid, now());
SELECT usename, state, outcome FROM unblock.terminate(:pid);
SELECT outcome FROM unblock.terminate(:pid);
RESET ROLE;
SELECT close_session();

SELECT open_session() AS pid \gset
SET ROLE regress_unblock_signaler;
SELECT usename, state, outcome FROM unblock.terminate_idle('0');
RESET ROLE;
SELECT close_session();

-- A member of the session's role does both.
SELECT open_session() AS pid \gset
SET ROLE regress_unblock_member;
SELECT * FROM compare();
SELECT usename, state, outcome FROM unblock.terminate_idle('0', dry_run => true);
SELECT usename, state, outcome FROM unblock.terminate_idle('0');
RESET ROLE;
SELECT close_session();

-- The role itself, with the longest wait that there is.
SELECT open_session() AS pid \gset
SET ROLE regress_unblock_app;
SELECT * FROM compare();
SELECT usename, state, outcome FROM unblock.terminate(:pid, wait => '106751991 days');
RESET ROLE;
SELECT close_session();

DROP FUNCTION compare, open_session, close_session;
DROP ROLE regress_unblock_app, regress_unblock_user, regress_unblock_member, regress_unblock_monitor, regress_unblock_signaler;
DROP EXTENSION dblink;
DROP EXTENSION pg_unblock;
