--
-- Settings: what they accept, and from whom.
--
-- Without preloading they are known once the module has been loaded.
LOAD 'pg_unblock';
SELECT name, setting, unit, context, vartype, min_val, max_val, enumvals, boot_val, short_desc <> '' AS described
FROM pg_settings WHERE name LIKE 'pg\_unblock.%' AND context <> 'postmaster' ORDER BY name COLLATE "C";

-- A limit is nothing or at least 100 ms, so that nobody means seconds and gets milliseconds.
SET pg_unblock.idle_blocker_limit = 5;
SET pg_unblock.idle_blocker_limit = '99ms';
SET pg_unblock.idle_in_transaction_limit = 5;
SET pg_unblock.idle_in_transaction_limit = 1;
SHOW pg_unblock.idle_blocker_limit;
SET pg_unblock.idle_blocker_limit = '100ms';
SHOW pg_unblock.idle_blocker_limit;
SET pg_unblock.idle_blocker_limit = '5min';
SHOW pg_unblock.idle_blocker_limit;
SET pg_unblock.idle_blocker_limit = 300000;
SHOW pg_unblock.idle_blocker_limit;
SET pg_unblock.idle_blocker_limit = 0;
SHOW pg_unblock.idle_blocker_limit;
SET pg_unblock.idle_in_transaction_limit = '1.5h';
SHOW pg_unblock.idle_in_transaction_limit;

-- Out of range, no number, no unit of time.
\set VERBOSITY sqlstate
SET pg_unblock.idle_blocker_limit = -1;
SET pg_unblock.idle_blocker_limit = '-5s';
\set VERBOSITY default
SET pg_unblock.idle_blocker_limit = '25d';
SET pg_unblock.idle_blocker_limit = '5 parsecs';
SET pg_unblock.idle_blocker_limit = 'never';
SET pg_unblock.idle_blocker_limit = '';
SET pg_unblock.mode = 'enforced';
SET pg_unblock.mode = 'on';
SET pg_unblock.count_advisory_locks = 'maybe';
SET pg_unblock.cancel_grace = 5;
SET pg_unblock.cancel_grace = 0;
SET pg_unblock.preempt_idle_blockers_after = 50;
SET pg_unblock.queued_blocker_waiters = 0;
SET pg_unblock.queued_blocker_waiters = 20;
SET pg_unblock.horizon_age_limit = -1;
SET pg_unblock.horizon_age_limit = 2000000001;
SET pg_unblock.horizon_age_limit = '5min';
SET pg_unblock.horizon_age_limit = 2000000000;
SHOW pg_unblock.idle_blocker_limit;
SHOW pg_unblock.mode;
SET pg_unblock.mode = 'dry_run';
SHOW pg_unblock.mode;
SET pg_unblock.mode = 'off';
SET pg_unblock.count_advisory_locks = on;

-- A misspelt setting is an error.
SET pg_unblock.idle_blockers_limit = '1min';
ALTER ROLE CURRENT_USER SET pg_unblock.idle_blockers_limit = '1min';
SHOW pg_unblock.idle_blockers_limit;

-- Some belong to the configuration file alone.
SET pg_unblock.max_actions_per_minute = 5;
SET pg_unblock.explain_actions = off;
SET pg_unblock.report_after = '1min';
SET pg_unblock.history_retention = 0;
SET pg_unblock.history_query_text = off;

-- Nothing bad gets into the configuration file.
ALTER SYSTEM SET pg_unblock.idle_blocker_limit = '5';
ALTER SYSTEM SET pg_unblock.mode = 'enforced';
ALTER SYSTEM SET pg_unblock.max_actions_per_minute = -1;
ALTER SYSTEM SET pg_unblock.report_after = '5';
\set VERBOSITY sqlstate
ALTER SYSTEM SET pg_unblock.history_retention = '-1d';
\set VERBOSITY default
SELECT count(*) FROM pg_file_settings WHERE name LIKE 'pg\_unblock.%';

-- SET LOCAL ends with its transaction.
RESET ALL;
BEGIN;
SET LOCAL pg_unblock.idle_blocker_limit = '1h';
SHOW pg_unblock.idle_blocker_limit;
ROLLBACK;
SHOW pg_unblock.idle_blocker_limit;
BEGIN;
SELECT set_config('pg_unblock.idle_blocker_limit', '2h', true);
COMMIT;
SHOW pg_unblock.idle_blocker_limit;

-- An ordinary user changes none of them, in none of the ways.
CREATE ROLE regress_unblock_user LOGIN;
GRANT CREATE ON SCHEMA public TO regress_unblock_user;
SET pg_unblock.idle_blocker_limit = '1h';
SET ROLE regress_unblock_user;
SET pg_unblock.idle_blocker_limit = 0;
SET SESSION pg_unblock.idle_in_transaction_limit = '1s';
SET pg_unblock.mode = 'off';
SET pg_unblock.count_advisory_locks = off;
SET pg_unblock.transaction_limit = 0;
SET pg_unblock.preempt_idle_blockers_after = '1s';
RESET pg_unblock.idle_blocker_limit;
SELECT set_config('pg_unblock.idle_blocker_limit', '0', false);
UPDATE pg_settings SET setting = '0' WHERE name = 'pg_unblock.idle_blocker_limit';
ALTER ROLE CURRENT_USER SET pg_unblock.idle_blocker_limit = 0;
CREATE FUNCTION lifted() RETURNS text LANGUAGE sql SET pg_unblock.idle_blocker_limit = 0
	AS 'SELECT current_setting(''pg_unblock.idle_blocker_limit'')';
SHOW pg_unblock.idle_blocker_limit;

-- Unless somebody delegates one.
RESET ROLE;
GRANT SET ON PARAMETER pg_unblock.idle_blocker_limit TO regress_unblock_user;
SET ROLE regress_unblock_user;
SET pg_unblock.idle_blocker_limit = '2h';
SHOW pg_unblock.idle_blocker_limit;
SET pg_unblock.idle_in_transaction_limit = '2h';
SET pg_unblock.idle_blocker_limit = 5;
RESET ROLE;
REVOKE SET ON PARAMETER pg_unblock.idle_blocker_limit FROM regress_unblock_user;
SET ROLE regress_unblock_user;
SET pg_unblock.idle_blocker_limit = '3h';
RESET ROLE;

-- Per role, per database, per role and database: the nearest counts.
SELECT current_database() AS database, current_user AS superuser \gset
ALTER DATABASE :"database" SET pg_unblock.idle_blocker_limit = '10min';
ALTER DATABASE :"database" SET pg_unblock.idle_in_transaction_limit = '20min';
ALTER ROLE regress_unblock_user SET pg_unblock.idle_blocker_limit = '5min';
ALTER ROLE regress_unblock_user SET pg_unblock.mode = 'off';
ALTER ROLE regress_unblock_user IN DATABASE :"database" SET pg_unblock.idle_blocker_limit = '1min';
ALTER ROLE regress_unblock_user SET pg_unblock.idle_in_transaction_limit = 5;
ALTER ROLE regress_unblock_user SET pg_unblock.mode = 'sleepy';
\c - regress_unblock_user
SHOW pg_unblock.idle_blocker_limit;
SHOW pg_unblock.idle_in_transaction_limit;
SHOW pg_unblock.mode;
\c - :superuser
LOAD 'pg_unblock';
SHOW pg_unblock.idle_blocker_limit;
ALTER DATABASE :"database" RESET ALL;
ALTER ROLE regress_unblock_user RESET ALL;
ALTER ROLE regress_unblock_user IN DATABASE :"database" RESET ALL;
\c - regress_unblock_user
SELECT coalesce(current_setting('pg_unblock.idle_blocker_limit', true), '0') AS idle_blocker_limit;
\c - :superuser

DROP OWNED BY regress_unblock_user;
DROP ROLE regress_unblock_user;
