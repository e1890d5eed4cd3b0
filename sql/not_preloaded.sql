--
-- Without shared_preload_libraries: all but the enforcer's own figures is there.
--
SELECT current_setting('shared_preload_libraries') ~ 'pg_unblock' AS preloaded \gset
\if :preloaded
\quit
\endif
CREATE EXTENSION pg_unblock;

SELECT * FROM unblock.stats;
SELECT count(*) FROM unblock.stats();
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM unblock.effective_limits;
SELECT count(*) FROM unblock.history;
SELECT count(*) FROM unblock.history_summary();
SELECT * FROM unblock.transaction_statements(pg_backend_pid());
SELECT unblock.incident('1-1');
SELECT count(*) FROM unblock.metrics;
SELECT count(*) FROM unblock.incident;
SHOW pg_unblock.history_size;
SHOW pg_unblock.statement_trail;
SELECT unblock.pause('1 min');
SELECT unblock.resume();
SELECT count(*) FROM unblock.horizon WHERE xmin IS NULL;

SELECT severity, finding, remedy ~ '^-- in postgresql.conf: shared_preload_libraries = ''.*pg_unblock''' AS remedy FROM unblock.check() WHERE finding ~ 'preloaded';
SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ 'pg_unblock';
SELECT count(*) FROM unblock.lock_waits WHERE datname = current_database();
SELECT count(*) FROM unblock.idle_transactions WHERE datname = current_database();
SELECT outcome FROM unblock.terminate(2147483647);

-- Settings can be set, and promise nothing.
SET pg_unblock.idle_blocker_limit = '1min';
SELECT count(*) FROM unblock.check() WHERE severity = 'notice' AND finding ~ 'preloaded';

DROP EXTENSION pg_unblock;
