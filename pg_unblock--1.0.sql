-- complain if the script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION pg_unblock" to load this file. \quit

CREATE SCHEMA unblock;
COMMENT ON SCHEMA unblock IS 'Who blocks whom, and what to do about it (extension pg_unblock)';
GRANT USAGE ON SCHEMA unblock TO PUBLIC;

CREATE FUNCTION unblock.version() RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'pg_unblock_version';
COMMENT ON FUNCTION unblock.version() IS 'Version of the library';

-- Reports: views over functions of the same name. Details of other users'
-- sessions are masked as in pg_stat_activity.

CREATE FUNCTION unblock.lock_waits(
    OUT pid int,
    OUT leader_pid int,
    OUT datname name,
    OUT usename name,
    OUT application_name text,
    OUT client_addr inet,
    OUT client_port int,
    OUT backend_start timestamptz,
    OUT xact_start timestamptz,
    OUT query_start timestamptz,
    OUT locktype text,
    OUT database oid,
    OUT relation oid,
    OUT lock text,
    OUT mode_wanted text,
    OUT waitstart timestamptz,
    OUT wait_time interval,
    OUT blocked_time interval,
    OUT queue_position int,
    OUT blocker_count int,
    OUT blocker_pid int,
    OUT blocker_kind text,
    OUT mode_held text,
    OUT depth int,
    OUT root_pids int[],
    OUT query_id bigint,
    OUT query text
)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'pg_unblock_lock_waits';
COMMENT ON FUNCTION unblock.lock_waits() IS 'Processes that wait for a lock, with the one session to look at for each: its primary blocker';
CREATE VIEW unblock.lock_waits AS SELECT * FROM unblock.lock_waits();
COMMENT ON VIEW unblock.lock_waits IS 'Processes that wait for a lock, with the one session to look at for each: its primary blocker';
COMMENT ON COLUMN unblock.lock_waits.pid IS 'Process id';
COMMENT ON COLUMN unblock.lock_waits.leader_pid IS 'For a parallel worker: the process that it works for';
COMMENT ON COLUMN unblock.lock_waits.lock IS 'What the lock is on';
COMMENT ON COLUMN unblock.lock_waits.mode_wanted IS 'Mode of the lock that is waited for';
COMMENT ON COLUMN unblock.lock_waits.waitstart IS 'When this wait began';
COMMENT ON COLUMN unblock.lock_waits.wait_time IS 'Time since this wait began';
COMMENT ON COLUMN unblock.lock_waits.blocked_time IS 'Time that the statement has been blocked by locks, this wait included; a lower bound';
COMMENT ON COLUMN unblock.lock_waits.queue_position IS 'Place in the queue of the lock, 1 is next';
COMMENT ON COLUMN unblock.lock_waits.blocker_count IS 'Sessions that this one waits for directly';
COMMENT ON COLUMN unblock.lock_waits.blocker_pid IS 'Primary blocker: a holder if there is one, else the first conflicting session in the queue';
COMMENT ON COLUMN unblock.lock_waits.blocker_kind IS 'holds, queued, or prepared (a prepared transaction holds it)';
COMMENT ON COLUMN unblock.lock_waits.mode_held IS 'Conflicting mode that the primary blocker holds or, queued, wants';
COMMENT ON COLUMN unblock.lock_waits.depth IS 'Steps to the top of the chain';
COMMENT ON COLUMN unblock.lock_waits.root_pids IS 'Sessions at the end of all its chains, which wait for no lock themselves: those that block most first, at most 100';
GRANT SELECT ON unblock.lock_waits TO PUBLIC;

CREATE FUNCTION unblock.blocking_edges(
    max_rows int DEFAULT 10000,
    OUT waiter_pid int,
    OUT blocker_pid int,
    OUT kind text,
    OUT locktype text,
    OUT lock text,
    OUT mode_wanted text,
    OUT mode_held text
)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'pg_unblock_blocking_edges';
COMMENT ON FUNCTION unblock.blocking_edges(int) IS 'Pairs of sessions of which one waits for the other directly; n sessions on one lock make about n*n/2 of them';
CREATE VIEW unblock.blocking_edges AS SELECT * FROM unblock.blocking_edges();
COMMENT ON VIEW unblock.blocking_edges IS 'Pairs of sessions of which one waits for the other directly, 10000 at most';
COMMENT ON COLUMN unblock.blocking_edges.waiter_pid IS 'Process id of the session that waits; of its leader if a parallel worker waits';
COMMENT ON COLUMN unblock.blocking_edges.blocker_pid IS 'Process id of the session that it waits for; 0 for a prepared transaction';
COMMENT ON COLUMN unblock.blocking_edges.kind IS 'holds, queued, or prepared (a prepared transaction holds it)';
COMMENT ON COLUMN unblock.blocking_edges.lock IS 'What the lock is on';
COMMENT ON COLUMN unblock.blocking_edges.mode_wanted IS 'Mode of the lock that is waited for';
COMMENT ON COLUMN unblock.blocking_edges.mode_held IS 'Strongest conflicting mode that the blocker holds or, queued, wants';
GRANT SELECT ON unblock.blocking_edges TO PUBLIC;

CREATE FUNCTION unblock.blocking_chains(
    OUT chain_id int,
    OUT depth int,
    OUT path int[],
    OUT pid int,
    OUT gid text,
    OUT blocker_pid int,
    OUT other_blockers int[],
    OUT direct_waiters int,
    OUT blocked_total int,
    OUT frees int,
    OUT in_cycle boolean,
    OUT datname name,
    OUT usename name,
    OUT application_name text,
    OUT client_addr inet,
    OUT client_port int,
    OUT backend_type text,
    OUT backend_start timestamptz,
    OUT state text,
    OUT wait_event_type text,
    OUT wait_event text,
    OUT idle_time interval,
    OUT xact_start timestamptz,
    OUT xact_age interval,
    OUT wait_time interval,
    OUT lock text,
    OUT mode_wanted text,
    OUT mode_held text,
    OUT query_id bigint,
    OUT query text,
    OUT remedy text
)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'pg_unblock_blocking_chains';
COMMENT ON FUNCTION unblock.blocking_chains() IS 'Sessions that wait for each other, as trees below their primary blockers, worst chain first';
CREATE VIEW unblock.blocking_chains AS SELECT * FROM unblock.blocking_chains();
COMMENT ON VIEW unblock.blocking_chains IS 'Sessions that wait for each other, as trees below their primary blockers, worst chain first';
COMMENT ON COLUMN unblock.blocking_chains.chain_id IS 'Number of the chain, 1 is the worst';
COMMENT ON COLUMN unblock.blocking_chains.depth IS 'Steps to the top of the chain';
COMMENT ON COLUMN unblock.blocking_chains.path IS 'Pids from the top of the chain to this session';
COMMENT ON COLUMN unblock.blocking_chains.pid IS 'Process id; 0 for a prepared transaction';
COMMENT ON COLUMN unblock.blocking_chains.gid IS 'Global id of a prepared transaction';
COMMENT ON COLUMN unblock.blocking_chains.blocker_pid IS 'Primary blocker: a holder if there is one, else the first conflicting session in the queue';
COMMENT ON COLUMN unblock.blocking_chains.other_blockers IS 'Up to ten further sessions that it waits for directly';
COMMENT ON COLUMN unblock.blocking_chains.direct_waiters IS 'Sessions that wait for this one directly';
COMMENT ON COLUMN unblock.blocking_chains.blocked_total IS 'Sessions that wait for this one directly or through others';
COMMENT ON COLUMN unblock.blocking_chains.frees IS 'Sessions that wait for nobody else in the end: what ending this one would free';
COMMENT ON COLUMN unblock.blocking_chains.in_cycle IS 'Waits for itself through others (a deadlock)';
COMMENT ON COLUMN unblock.blocking_chains.idle_time IS 'Time that the session has waited for its client in the transaction';
COMMENT ON COLUMN unblock.blocking_chains.xact_age IS 'Time since the transaction began';
COMMENT ON COLUMN unblock.blocking_chains.wait_time IS 'Time since this wait began';
COMMENT ON COLUMN unblock.blocking_chains.lock IS 'What the lock is on';
COMMENT ON COLUMN unblock.blocking_chains.mode_wanted IS 'Mode of the lock that is waited for';
COMMENT ON COLUMN unblock.blocking_chains.mode_held IS 'Conflicting mode that the primary blocker holds or, queued, wants';
COMMENT ON COLUMN unblock.blocking_chains.remedy IS 'Statement to paste to end this session or to cancel its statement, which hits nobody else when pasted late; or advice as an SQL comment';
GRANT SELECT ON unblock.blocking_chains TO PUBLIC;

CREATE FUNCTION unblock.root_blockers(
    OUT pid int,
    OUT gid text,
    OUT datname name,
    OUT usename name,
    OUT application_name text,
    OUT client_addr inet,
    OUT client_port int,
    OUT backend_start timestamptz,
    OUT state text,
    OUT wait_event text,
    OUT idle_time interval,
    OUT blocking_idle_time interval,
    OUT xact_start timestamptz,
    OUT xact_age interval,
    OUT direct_waiters int,
    OUT blocked_total int,
    OUT frees int,
    OUT longest_wait interval,
    OUT locks_held int,
    OUT query_id bigint,
    OUT query text,
    OUT remedy text
)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'pg_unblock_root_blockers';
COMMENT ON FUNCTION unblock.root_blockers() IS 'Sessions that block others and wait for no lock themselves, worst first';
CREATE VIEW unblock.root_blockers AS SELECT * FROM unblock.root_blockers();
COMMENT ON VIEW unblock.root_blockers IS 'Sessions that block others and wait for no lock themselves, worst first';
COMMENT ON COLUMN unblock.root_blockers.pid IS 'Process id; 0 for a prepared transaction';
COMMENT ON COLUMN unblock.root_blockers.gid IS 'Global id of a prepared transaction';
COMMENT ON COLUMN unblock.root_blockers.idle_time IS 'Time that the session has waited for its client in the transaction';
COMMENT ON COLUMN unblock.root_blockers.blocking_idle_time IS 'Of the transaction: time that it blocked others directly while it waited for its client';
COMMENT ON COLUMN unblock.root_blockers.xact_age IS 'Time since the transaction began';
COMMENT ON COLUMN unblock.root_blockers.direct_waiters IS 'Sessions that wait for this one directly';
COMMENT ON COLUMN unblock.root_blockers.blocked_total IS 'Sessions that wait for this one directly or through others';
COMMENT ON COLUMN unblock.root_blockers.frees IS 'Sessions that wait for nobody else in the end: what ending this one would free';
COMMENT ON COLUMN unblock.root_blockers.longest_wait IS 'Longest present wait of its direct waiters';
COMMENT ON COLUMN unblock.root_blockers.locks_held IS 'Granted locks, as pg_locks counts them';
COMMENT ON COLUMN unblock.root_blockers.remedy IS 'Statement to paste to end this session or to cancel its statement, which hits nobody else when pasted late; or advice as an SQL comment';
GRANT SELECT ON unblock.root_blockers TO PUBLIC;

CREATE FUNCTION unblock.idle_transactions(
    OUT pid int,
    OUT datname name,
    OUT usename name,
    OUT application_name text,
    OUT client_addr inet,
    OUT client_port int,
    OUT backend_start timestamptz,
    OUT state text,
    OUT idle_time interval,
    OUT xact_start timestamptz,
    OUT xact_age interval,
    OUT backend_xid xid,
    OUT xmin_age int,
    OUT locks_held int,
    OUT strongest_lock text,
    OUT blocked_total int,
    OUT next_limit text,
    OUT next_action text,
    OUT due_in interval,
    OUT query_id bigint,
    OUT query text
)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'pg_unblock_idle_transactions';
COMMENT ON FUNCTION unblock.idle_transactions() IS 'Sessions that wait for their client inside a transaction, longest first';
CREATE VIEW unblock.idle_transactions AS SELECT * FROM unblock.idle_transactions();
COMMENT ON VIEW unblock.idle_transactions IS 'Sessions that wait for their client inside a transaction, longest first';
COMMENT ON COLUMN unblock.idle_transactions.pid IS 'Process id';
COMMENT ON COLUMN unblock.idle_transactions.idle_time IS 'Time that the session has waited for its client in the transaction';
COMMENT ON COLUMN unblock.idle_transactions.xact_age IS 'Time since the transaction began';
COMMENT ON COLUMN unblock.idle_transactions.xmin_age IS 'Transactions since the oldest one that its snapshot can see';
COMMENT ON COLUMN unblock.idle_transactions.locks_held IS 'Granted locks, as pg_locks counts them';
COMMENT ON COLUMN unblock.idle_transactions.strongest_lock IS 'The strongest lock held, and on what';
COMMENT ON COLUMN unblock.idle_transactions.blocked_total IS 'Sessions that wait for this one directly or through others';
COMMENT ON COLUMN unblock.idle_transactions.next_limit IS 'Setting whose limit the session would break first if nothing changed';
COMMENT ON COLUMN unblock.idle_transactions.next_action IS 'What would be done then';
COMMENT ON COLUMN unblock.idle_transactions.due_in IS 'Time until then; null for a limit that counts transactions and is not broken yet';
GRANT SELECT ON unblock.idle_transactions TO PUBLIC;

CREATE FUNCTION unblock.horizon(
    OUT kind text,
    OUT name text,
    OUT pid int,
    OUT datname name,
    OUT xmin xid,
    OUT xmin_age int,
    OUT since timestamptz,
    OUT holds_oldest boolean
)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'pg_unblock_horizon';
COMMENT ON FUNCTION unblock.horizon() IS 'What keeps vacuum from removing dead rows, oldest first; the asking session is one of them';
CREATE VIEW unblock.horizon AS SELECT * FROM unblock.horizon();
COMMENT ON VIEW unblock.horizon IS 'What keeps vacuum from removing dead rows, oldest first. Sessions and prepared transactions keep rows of their database and of shared catalogs (on a standby, of all databases); a slot''s catalog_xmin those of system catalogs; a slot''s xmin and a standby those of all databases';
COMMENT ON COLUMN unblock.horizon.kind IS 'session, prepared transaction, replication slot, or standby (one that sends feedback without a slot)';
COMMENT ON COLUMN unblock.horizon.name IS 'Application of the session or standby, global id of the prepared transaction, name of the slot';
COMMENT ON COLUMN unblock.horizon.pid IS 'Process id; of a slot, the process that uses it';
COMMENT ON COLUMN unblock.horizon.xmin IS 'Oldest transaction that it may want to see; of a slot, its xmin or catalog_xmin, whichever is older';
COMMENT ON COLUMN unblock.horizon.xmin_age IS 'Transactions since that one';
COMMENT ON COLUMN unblock.horizon.since IS 'When the transaction began or was prepared';
COMMENT ON COLUMN unblock.horizon.holds_oldest IS 'Nobody else''s xmin is older';
GRANT SELECT ON unblock.horizon TO PUBLIC;

CREATE FUNCTION unblock.locks_held(
    pid int,
    OUT locktype text,
    OUT database oid,
    OUT relation oid,
    OUT lock text,
    OUT mode text,
    OUT granted boolean,
    OUT fastpath boolean,
    OUT waiters int
)
    RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'pg_unblock_locks_held';
COMMENT ON FUNCTION unblock.locks_held(int) IS 'Locks that a process holds or awaits, each in each mode, strongest first, with the number of processes that wait because of it; pid 0: the locks of all prepared transactions';

CREATE FUNCTION unblock.effective_limits(
    OUT pid int,
    OUT usename name,
    OUT datname name,
    OUT setting text,
    OUT value text,
    OUT source text,
    OUT stale boolean,
    OUT enforceable boolean
)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'pg_unblock_effective_limits';
COMMENT ON FUNCTION unblock.effective_limits() IS 'Which limits are in force for each client session, and where they come from';
CREATE VIEW unblock.effective_limits AS SELECT * FROM unblock.effective_limits();
COMMENT ON VIEW unblock.effective_limits IS 'Which limits are in force for each client session, and where they come from';
COMMENT ON COLUMN unblock.effective_limits.pid IS 'Process id';
COMMENT ON COLUMN unblock.effective_limits.setting IS 'Name of the setting';
COMMENT ON COLUMN unblock.effective_limits.value IS 'Its value for this session, as SHOW has it';
COMMENT ON COLUMN unblock.effective_limits.source IS 'Where the value comes from, as in pg_settings';
COMMENT ON COLUMN unblock.effective_limits.stale IS 'ALTER ROLE, ALTER DATABASE or the configuration file would give a new session another value; null if that could not be looked up at once';
COMMENT ON COLUMN unblock.effective_limits.enforceable IS 'Limits are enforced on this session: the enforcer runs, mode is enforce, and the session''s state is known (track_activities)';
GRANT SELECT ON unblock.effective_limits TO PUBLIC;

CREATE FUNCTION unblock.stats(
    OUT counter text,
    OUT value double precision,
    OUT unit text
)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'pg_unblock_stats';
COMMENT ON FUNCTION unblock.stats() IS 'The enforcer''s own figures: what it did and what it cost';
CREATE VIEW unblock.stats AS SELECT * FROM unblock.stats();
COMMENT ON VIEW unblock.stats IS 'The enforcer''s own figures: what it did and what it cost';
COMMENT ON COLUMN unblock.stats.counter IS 'What is counted';
COMMENT ON COLUMN unblock.stats.value IS 'Its value';
COMMENT ON COLUMN unblock.stats.unit IS 'count, or us (microseconds)';
GRANT SELECT ON unblock.stats TO PUBLIC;

CREATE FUNCTION unblock.tree() RETURNS SETOF text
    LANGUAGE c VOLATILE PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'pg_unblock_tree';
COMMENT ON FUNCTION unblock.tree() IS 'The blocking chains drawn for a terminal, one row per line';

CREATE FUNCTION unblock.graph(format text DEFAULT 'dot') RETURNS text
    LANGUAGE c VOLATILE PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'pg_unblock_graph';
COMMENT ON FUNCTION unblock.graph(text) IS 'Who waits for whom as text for Graphviz (dot) or Mermaid (mermaid); of more than 1000 pairs only those with primary blockers';

CREATE FUNCTION unblock.check(
    OUT severity text,
    OUT finding text,
    OUT detail text,
    OUT remedy text
)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'pg_unblock_check';
COMMENT ON FUNCTION unblock.check() IS 'The one call to make when migrations hang: findings, worst first, each with its remedy';

-- Actions. The rules of pg_terminate_backend() and pg_cancel_backend() apply.

CREATE FUNCTION unblock.terminate(
    pid int,
    xact_start timestamptz DEFAULT NULL,
    wait interval DEFAULT '5s',
    OUT pid int,
    OUT usename name,
    OUT state text,
    OUT outcome text,
    OUT detail text
)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'pg_unblock_terminate';
COMMENT ON FUNCTION unblock.terminate(int, timestamptz, interval) IS 'Ends a session, only in the transaction that began at xact_start if that is given, and waits until it is gone';

CREATE FUNCTION unblock.cancel(
    pid int,
    xact_start timestamptz DEFAULT NULL,
    OUT pid int,
    OUT usename name,
    OUT state text,
    OUT outcome text,
    OUT detail text
)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'pg_unblock_cancel';
COMMENT ON FUNCTION unblock.cancel(int, timestamptz) IS 'Cancels the statement of a session, only in the transaction that began at xact_start if that is given';

CREATE FUNCTION unblock.pause(length interval) RETURNS timestamptz
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'pg_unblock_pause';
COMMENT ON FUNCTION unblock.pause(interval) IS 'The enforcer acts on nobody for this long and then resumes by itself; returns the moment when it will. A restart of the server ends the pause';
REVOKE EXECUTE ON FUNCTION unblock.pause(interval) FROM PUBLIC;

CREATE FUNCTION unblock.resume() RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'pg_unblock_resume';
COMMENT ON FUNCTION unblock.resume() IS 'Ends a pause of the enforcer; false if there was none';
REVOKE EXECUTE ON FUNCTION unblock.resume() FROM PUBLIC;

CREATE FUNCTION unblock.terminate_idle(
    older_than interval DEFAULT '1min',
    only_blockers boolean DEFAULT false,
    dry_run boolean DEFAULT false,
    database name DEFAULT pg_catalog.current_database(),
    OUT pid int,
    OUT usename name,
    OUT state text,
    OUT outcome text,
    OUT detail text
)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'pg_unblock_terminate_idle';
COMMENT ON FUNCTION unblock.terminate_idle(interval, boolean, boolean, name) IS 'Ends the sessions of one database that have waited for their client inside a transaction for older_than or longer';

CREATE FUNCTION unblock.clear_path(
    relation regclass,
    mode text DEFAULT 'AccessExclusiveLock',
    older_than interval DEFAULT '5s',
    dry_run boolean DEFAULT false,
    OUT pid int,
    OUT usename name,
    OUT state text,
    OUT outcome text,
    OUT detail text
)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'pg_unblock_clear_path';
COMMENT ON FUNCTION unblock.clear_path(regclass, text, interval, boolean) IS 'Ends the sessions that have waited for their client inside a transaction for older_than or longer and stand in the way, directly or through others, of a lock on the relation in this mode; only on the relation itself, not on its partitions';
