-- What the sessions lock. Each database has all of it.

CREATE TABLE t1 (id int PRIMARY KEY, n int);
CREATE TABLE t2 (id int PRIMARY KEY, n int);
CREATE TABLE t3 (id int PRIMARY KEY, n int);
INSERT INTO t1 SELECT i, 0 FROM generate_series(1, 4) i;
INSERT INTO t2 SELECT i, 0 FROM generate_series(1, 4) i;
INSERT INTO t3 SELECT i, 0 FROM generate_series(1, 4) i;
CREATE TABLE child (parent int REFERENCES t1);
CREATE SCHEMA area;

-- One row per page, so that each process of a parallel scan gets some.
CREATE TABLE wide (part int, filler text) WITH (parallel_workers = 2);
ALTER TABLE wide ALTER filler SET STORAGE PLAIN;
INSERT INTO wide SELECT i, repeat('x', 5000) FROM generate_series(1, 9) i;
ANALYZE wide;

-- Locks that parallel workers take: the marks promise more than is true.
CREATE FUNCTION hold(key bigint) RETURNS int LANGUAGE plpgsql PARALLEL SAFE AS
	$$ BEGIN PERFORM pg_advisory_xact_lock(key); RETURN 1; END $$;
CREATE FUNCTION hold_shared(key bigint) RETURNS int LANGUAGE plpgsql PARALLEL SAFE AS
	$$ BEGIN PERFORM pg_advisory_xact_lock_shared(key); RETURN 1; END $$;
CREATE FUNCTION hold_table(name text) RETURNS int LANGUAGE plpgsql PARALLEL SAFE AS
	$$ BEGIN EXECUTE format('LOCK TABLE %I IN ROW EXCLUSIVE MODE', name); RETURN 1; END $$;
