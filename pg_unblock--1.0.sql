-- complain if the script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION pg_unblock" to load this file. \quit

CREATE SCHEMA unblock;
COMMENT ON SCHEMA unblock IS 'Who blocks whom, and what to do about it (extension pg_unblock)';
GRANT USAGE ON SCHEMA unblock TO PUBLIC;

CREATE FUNCTION unblock.version() RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'pg_unblock_version';
COMMENT ON FUNCTION unblock.version() IS 'Version of the library';

-- Inside of a script it raises an error if the library is older than that.
SELECT unblock.version();

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
    OUT locking_query text,
    OUT locking_query_at timestamptz,
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
COMMENT ON COLUMN unblock.blocking_chains.locking_query IS 'Statement of its transaction that took the lock which the longest of its waiters waits for; null if that is not known for certain';
COMMENT ON COLUMN unblock.blocking_chains.locking_query_at IS 'When that statement came';
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
    OUT locking_query text,
    OUT locking_query_at timestamptz,
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
COMMENT ON COLUMN unblock.root_blockers.locking_query IS 'Statement of its transaction that took the lock which the longest of its waiters waits for; null if that is not known for certain';
COMMENT ON COLUMN unblock.root_blockers.locking_query_at IS 'When that statement came';
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

CREATE FUNCTION unblock.transaction_statements(
    pid int,
    OUT statement int,
    OUT at timestamptz,
    OUT relation oid,
    OUT lock text,
    OUT mode text,
    OUT locks_rows boolean,
    OUT query_id bigint,
    OUT query text
)
    RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'pg_unblock_transaction_statements';
COMMENT ON FUNCTION unblock.transaction_statements(int) IS 'Statements of a session''s transaction that took locks or first wrote, oldest first, with each relation and the strongest mode that the statement added; locks_rows: it is the first that may have locked rows of the relation';

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

-- The history: incidents in shared memory, and in a table of pg_unblock.history_database, which the recorder
-- fills.

CREATE TABLE unblock.incident (
    id text PRIMARY KEY,
    at timestamptz NOT NULL,
    kind text NOT NULL,
    rule text,
    limit_ms bigint,
    measured_ms bigint,
    pid int,
    backend_type text,
    backend_start timestamptz,
    xact_start timestamptz,
    datid oid,
    datname name,
    usesysid oid,
    usename name,
    application_name text,
    client_addr inet,
    state text,
    backend_xid xid,
    locks_held int,
    for_pid int,
    database oid,
    relation oid,
    relation_name text,
    lock text,
    mode text,
    blocked_total int,
    longest_wait_ms bigint,
    waiters jsonb,
    chain text,
    ended_at timestamptz,
    waiting_ms bigint,
    idle_ms bigint,
    outcome text,
    outcome_ms bigint,
    asked_by name,
    function text,
    query_id bigint,
    query text,
    locking_query_id bigint,
    locking_query text,
    locking_query_at timestamptz,
    revision bigint NOT NULL
);
COMMENT ON TABLE unblock.incident IS 'Incidents that the recorder has saved; unblock.history has them together with those in shared memory';
CREATE INDEX ON unblock.incident (at);
GRANT SELECT ON unblock.incident TO pg_monitor;
SELECT pg_catalog.pg_extension_config_dump('unblock.incident', '');

CREATE FUNCTION unblock.incidents_in_memory(
    only_unsaved boolean DEFAULT false,
    OUT id text,
    OUT at timestamptz,
    OUT kind text,
    OUT rule text,
    OUT limit_ms bigint,
    OUT measured_ms bigint,
    OUT pid int,
    OUT backend_type text,
    OUT backend_start timestamptz,
    OUT xact_start timestamptz,
    OUT datid oid,
    OUT datname name,
    OUT usesysid oid,
    OUT usename name,
    OUT application_name text,
    OUT client_addr inet,
    OUT state text,
    OUT backend_xid xid,
    OUT locks_held int,
    OUT for_pid int,
    OUT database oid,
    OUT relation oid,
    OUT relation_name text,
    OUT lock text,
    OUT mode text,
    OUT blocked_total int,
    OUT longest_wait_ms bigint,
    OUT waiters jsonb,
    OUT chain text,
    OUT ended_at timestamptz,
    OUT waiting_ms bigint,
    OUT idle_ms bigint,
    OUT outcome text,
    OUT outcome_ms bigint,
    OUT asked_by name,
    OUT function text,
    OUT query_id bigint,
    OUT query text,
    OUT locking_query_id bigint,
    OUT locking_query text,
    OUT locking_query_at timestamptz,
    OUT revision bigint
)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'pg_unblock_incidents_in_memory';
COMMENT ON FUNCTION unblock.incidents_in_memory(boolean) IS 'Incidents in shared memory, the last pg_unblock.history_size of them; or those that the table does not have yet';

CREATE VIEW unblock.history AS
    WITH memory AS MATERIALIZED (
        SELECT * FROM unblock.incidents_in_memory()
    ), saved AS (
        SELECT t.*, pg_has_role('pg_read_all_stats', 'USAGE') AS all_visible,
            -- The table may come from another cluster, where the number was another role's.
            pg_has_role('pg_read_all_stats', 'USAGE')
                OR t.usename = pg_get_userbyid(t.usesysid) AND pg_has_role(t.usesysid, 'USAGE') IS TRUE AS visible
        FROM unblock.incident t
        WHERE NOT EXISTS (SELECT FROM memory m WHERE m.id = t.id)
    ), incidents AS (
        SELECT id, at, kind, rule, limit_ms, measured_ms, pid, backend_type, backend_start, xact_start, datid, datname,
            usesysid, usename, application_name, client_addr, state, backend_xid, locks_held, for_pid, database, relation,
            relation_name, lock, mode, blocked_total, longest_wait_ms, waiters, chain, ended_at, waiting_ms, idle_ms,
            outcome, outcome_ms, asked_by, function, query_id, query, locking_query_id, locking_query, locking_query_at,
            'memory' AS source
        FROM memory
        UNION ALL
        SELECT id, at, kind, rule, limit_ms, measured_ms, pid,
            CASE WHEN visible THEN backend_type END,
            CASE WHEN visible THEN backend_start END,
            CASE WHEN visible THEN xact_start END,
            datid, datname, usesysid, usename, application_name,
            CASE WHEN visible THEN client_addr END,
            CASE WHEN visible THEN state END,
            CASE WHEN visible THEN backend_xid END,
            CASE WHEN visible THEN locks_held END,
            for_pid, database, relation,
            CASE WHEN visible THEN relation_name END,
            lock, mode, blocked_total, longest_wait_ms, waiters,
            CASE WHEN all_visible OR chain IS NULL THEN chain ELSE '<insufficient privilege>' END,
            ended_at, waiting_ms, idle_ms, outcome, outcome_ms, asked_by, function,
            CASE WHEN visible THEN query_id END,
            CASE WHEN visible OR query IS NULL THEN query ELSE '<insufficient privilege>' END,
            CASE WHEN visible THEN locking_query_id END,
            CASE WHEN visible OR locking_query IS NULL THEN locking_query ELSE '<insufficient privilege>' END,
            CASE WHEN visible THEN locking_query_at END,
            'table'
        FROM saved
    )
    SELECT id, at, kind, rule, limit_ms, measured_ms, pid, backend_type, backend_start, xact_start, datid, datname,
        usesysid, usename, application_name, client_addr, state, backend_xid, locks_held, for_pid, database, relation,
        -- Where the catalogs did not tell the name, the one that the session knew.
        CASE WHEN relation_name IS NULL THEN lock
            ELSE replace(lock, format('relation %s of', relation), format('relation %s of', relation_name)) END AS lock,
        mode, blocked_total, longest_wait_ms, waiters, chain, ended_at, waiting_ms, idle_ms, outcome, outcome_ms,
        asked_by, function, query_id, query, locking_query_id, locking_query, locking_query_at, source
    FROM incidents
    ORDER BY at DESC, id DESC;
COMMENT ON VIEW unblock.history IS 'What was done and who blocked others for long, newest first: incidents in shared memory, and in pg_unblock.history_database those in the table unblock.incident';
GRANT SELECT ON unblock.history TO PUBLIC;
COMMENT ON COLUMN unblock.history.id IS 'Names the incident, in the server log too (incident=)';
COMMENT ON COLUMN unblock.history.at IS 'When it happened; of an episode its begin';
COMMENT ON COLUMN unblock.history.kind IS 'terminate, cancel; would_terminate, would_cancel (dry run); manual_terminate, manual_cancel; episode: somebody kept others waiting; fuse; pause';
COMMENT ON COLUMN unblock.history.rule IS 'Setting whose limit was broken';
COMMENT ON COLUMN unblock.history.limit_ms IS 'The limit in milliseconds; transactions if the rule is horizon_age_limit, actions of a fuse; of an episode pg_unblock.report_after, of a pause its length';
COMMENT ON COLUMN unblock.history.measured_ms IS 'What had been measured against the limit; of an episode for how long somebody waited';
COMMENT ON COLUMN unblock.history.pid IS 'Process id of the session that was ended or canceled, or kept others waiting; 0 for a prepared transaction';
COMMENT ON COLUMN unblock.history.backend_type IS 'What kind of process it was';
COMMENT ON COLUMN unblock.history.datid IS 'Its database';
COMMENT ON COLUMN unblock.history.usesysid IS 'Its role';
COMMENT ON COLUMN unblock.history.state IS 'Its state at that moment';
COMMENT ON COLUMN unblock.history.backend_xid IS 'Its transaction id, if it had written';
COMMENT ON COLUMN unblock.history.locks_held IS 'Locks that it held';
COMMENT ON COLUMN unblock.history.for_pid IS 'Process that it made way for (preempt_idle_blockers_after)';
COMMENT ON COLUMN unblock.history.database IS 'Database of the lock that it blocked others through, 0 for a shared object';
COMMENT ON COLUMN unblock.history.relation IS 'Relation of that lock';
COMMENT ON COLUMN unblock.history.lock IS 'What that lock is on';
COMMENT ON COLUMN unblock.history.mode IS 'Mode that it held or, queued, wanted';
COMMENT ON COLUMN unblock.history.blocked_total IS 'Sessions that waited for it directly or through others; of an episode the most at once';
COMMENT ON COLUMN unblock.history.longest_wait_ms IS 'How long the one of them that had waited longest had done so';
COMMENT ON COLUMN unblock.history.waiters IS 'Up to eight of the sessions that waited for it directly, the longest wait first: pid, mode, lock';
COMMENT ON COLUMN unblock.history.chain IS 'The chain of blocked sessions drawn as by unblock.tree(); of an episode at its peak';
COMMENT ON COLUMN unblock.history.ended_at IS 'Of an episode: when it ended; null while it goes on';
COMMENT ON COLUMN unblock.history.waiting_ms IS 'Of an episode: the time that all sessions together have waited for it';
COMMENT ON COLUMN unblock.history.idle_ms IS 'Of an episode: for how long it waited for its client meanwhile';
COMMENT ON COLUMN unblock.history.outcome IS 'terminated, canceled, still there, ended by itself, resumed; server stopped: not known; null: not known yet';
COMMENT ON COLUMN unblock.history.outcome_ms IS 'Time until then';
COMMENT ON COLUMN unblock.history.asked_by IS 'Role that asked, if one did';
COMMENT ON COLUMN unblock.history.function IS 'Through which function';
COMMENT ON COLUMN unblock.history.query IS 'Its last statement';
COMMENT ON COLUMN unblock.history.locking_query_id IS 'Query id of the statement of its transaction that took the lock';
COMMENT ON COLUMN unblock.history.locking_query IS 'That statement; null if it is not known for certain';
COMMENT ON COLUMN unblock.history.locking_query_at IS 'When it came';
COMMENT ON COLUMN unblock.history.source IS 'memory or table';

CREATE FUNCTION unblock.history_summary(
    since timestamptz DEFAULT now() - interval '1 day',
    until timestamptz DEFAULT now(),
    OUT kind text,
    OUT rule text,
    OUT query_id bigint,
    OUT query text,
    OUT incidents bigint,
    OUT sessions_blocked bigint,
    OUT session_seconds_lost numeric,
    OUT worst text,
    OUT ended_by_1s bigint,
    OUT ended_by_10s bigint,
    OUT ended_by_1min bigint,
    OUT ended_by_10min bigint
)
    RETURNS SETOF record
    LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    -- Statements of one query id are shown by the worst one's text.
    SELECT h.kind, h.rule, h.query_id, (array_agg(h.query ORDER BY h.badness))[1], count(*), sum(h.blocked_total),
        round(sum(h.waiting_ms) / 1000, 1), (array_agg(h.id ORDER BY h.badness))[1],
        count(*) FILTER (WHERE h.idle_ms >= 1000),
        count(*) FILTER (WHERE h.idle_ms >= 10000),
        count(*) FILTER (WHERE h.idle_ms >= 60000),
        count(*) FILTER (WHERE h.idle_ms >= 600000)
    FROM (SELECT *, row_number() OVER (ORDER BY waiting_ms DESC NULLS LAST, blocked_total DESC NULLS LAST, at) AS badness
        FROM unblock.history) h
    WHERE h.at >= coalesce(history_summary.since, '-infinity') AND h.at < coalesce(history_summary.until, 'infinity')
    GROUP BY h.kind, h.rule, h.query_id, CASE WHEN h.query_id IS NULL THEN h.query END
    ORDER BY sum(h.waiting_ms) DESC NULLS LAST, count(*) DESC, h.kind, h.rule, min(h.at);
END;
COMMENT ON FUNCTION unblock.history_summary(timestamptz, timestamptz) IS 'Incidents between two moments by kind, rule and last statement: how many, what they cost, the worst one, and how many of them an idle_blocker_limit of 1 s, 10 s, 1 min or 10 min would have ended. A transaction that has an episode and was ended is in two rows';

CREATE FUNCTION unblock.incident(id text) RETURNS text
    LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT concat_ws(E'\n',
        format('Incident %s: %s', h.id, h.kind) ||
            CASE WHEN h.rule IS NOT NULL THEN format(' by pg_unblock.%s', h.rule) ELSE '' END,
        format('At       %s', date_trunc('seconds', h.at)) ||
            CASE WHEN h.ended_at IS NOT NULL THEN format(' to %s', date_trunc('seconds', h.ended_at)) ELSE '' END,
        CASE
            WHEN h.rule = 'horizon_age_limit' THEN
                format('Limit    %s transactions, measured %s', h.limit_ms, h.measured_ms)
            WHEN h.kind = 'fuse' THEN format('Limit    %s actions in a minute', h.limit_ms)
            WHEN h.kind = 'pause' AND h.limit_ms IS NOT NULL THEN format('For      %s s', round(h.limit_ms / 1000.0, 1))
            WHEN h.kind = 'episode' THEN format('Lasted   %s s', round(h.measured_ms / 1000.0, 1))
            WHEN h.limit_ms IS NOT NULL THEN
                format('Limit    %s s, measured %s s', round(h.limit_ms / 1000.0, 1), round(h.measured_ms / 1000.0, 1))
        END,
        CASE WHEN h.pid IS NOT NULL THEN format('Session  %s',
            concat_ws(', ',
                CASE WHEN h.pid = 0 THEN 'prepared transaction' ELSE format('%s %s', h.pid, h.backend_type) END,
                'user ' || h.usename, 'database ' || h.datname, 'application ' || nullif(h.application_name, ''),
                'client ' || host(h.client_addr), h.state)) END,
        CASE WHEN h.pid IS NOT NULL AND coalesce(h.backend_start, h.xact_start) IS NOT NULL THEN format('Began    %s',
            concat_ws(', ', 'session ' || date_trunc('seconds', h.backend_start),
                'transaction ' || date_trunc('seconds', h.xact_start), 'xid ' || h.backend_xid,
                h.locks_held || CASE h.locks_held WHEN 1 THEN ' lock' ELSE ' locks' END)) END,
        CASE WHEN h.blocked_total > 0 THEN format('Blocked  %s',
            concat_ws(', ',
                h.blocked_total || CASE h.blocked_total WHEN 1 THEN ' session' ELSE ' sessions' END,
                'the longest for ' || round(h.longest_wait_ms / 1000.0, 1) || ' s',
                'through ' || h.mode || ' on ' || h.lock)) END,
        'Lost     ' || round(nullif(h.waiting_ms, 0) / 1000.0, 1) || ' s of session time',
        'For      process ' || h.for_pid,
        'Asked by ' || h.asked_by || ' with ' || h.function || '()',
        CASE WHEN h.kind NOT IN ('fuse', 'pause') OR h.outcome IS NOT NULL THEN
            format('Outcome  %s', coalesce(h.outcome || ' after ' || round(h.outcome_ms / 1000.0, 3) || ' s', h.outcome,
                CASE h.kind WHEN 'episode' THEN 'going on' ELSE 'not known yet' END)) END,
        'Query id ' || h.query_id,
        'Lock taken by the statement of ' || date_trunc('seconds', h.locking_query_at) || coalesce(E'\n' || h.locking_query, ''),
        E'Last statement\n' || h.query,
        E'Chain\n' || h.chain,
        CASE WHEN position(format('relation %s of', c.oid) IN h.chain) > 0 THEN
            format('Relation %s is %s.%I.', c.oid, c.relnamespace::regnamespace, c.relname) END)
    FROM unblock.history h
        LEFT JOIN pg_database d ON d.datname = current_database()
        LEFT JOIN pg_class c ON c.oid = h.relation AND h.database IN (0, d.oid)
    WHERE h.id = incident.id;
END;
COMMENT ON FUNCTION unblock.incident(text) IS 'One incident as text, fit for a ticket; null if there is none of that id';

-- Figures for monitoring. They count all sessions, and so are for roles that may see all.

CREATE FUNCTION unblock.metrics(
    OUT name text,
    OUT labels jsonb,
    OUT value double precision,
    OUT help text,
    OUT type text
)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'pg_unblock_metrics';
COMMENT ON FUNCTION unblock.metrics() IS 'Figures for monitoring systems';
REVOKE EXECUTE ON FUNCTION unblock.metrics() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION unblock.metrics() TO pg_monitor;
CREATE VIEW unblock.metrics AS SELECT * FROM unblock.metrics();
COMMENT ON VIEW unblock.metrics IS 'Figures for monitoring systems';
COMMENT ON COLUMN unblock.metrics.name IS 'Name of the metric';
COMMENT ON COLUMN unblock.metrics.labels IS 'Labels that tell its values apart';
COMMENT ON COLUMN unblock.metrics.value IS 'The value now';
COMMENT ON COLUMN unblock.metrics.help IS 'What it means';
COMMENT ON COLUMN unblock.metrics.type IS 'gauge, or counter: only grows, and begins anew with the server';
GRANT SELECT ON unblock.metrics TO pg_monitor;

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
