-- Writes queries.yaml, the exporter's configuration, from the metrics that the server has:
--
--     psql -XAtqf queries.sql >queries.yaml
--
-- Metrics without labels become the columns of one query, each with labels a query of its own. unblock.metrics()
-- is the function and not the view of that name: it can be called while pg_class is locked.

WITH metric AS (
	SELECT name, type, help, min(position) AS position,
		(SELECT array_agg(key ORDER BY key) FROM jsonb_object_keys(jsonb_agg(labels) -> 0) AS key) AS labels
	FROM unblock.metrics() WITH ORDINALITY AS metric(name, labels, value, help, type, position)
	GROUP BY name, type, help
),
-- The exporter puts a metric's name together from its query's and its column's.
placed AS (
	SELECT *, CASE WHEN labels IS NULL THEN 'pg_unblock' ELSE regexp_replace(name, '_[^_]*$', '') END AS query
	FROM metric
),
entry AS (
	SELECT *, substr(name, length(query) + 2) AS column,
		E'    - ' || substr(name, length(query) + 2) || E':\n        usage: ' || upper(type) ||
		E'\n        description: ' || to_json(help) AS text
	FROM placed
),
section AS (
	SELECT min(position) AS position, query,
		E'    SELECT\n' ||
		string_agg(format(E'      max(value) FILTER (WHERE name = %L) AS %I', name, "column"), E',\n' ORDER BY position) ||
		E'\n    FROM unblock.metrics()' AS select,
		string_agg(text, E'\n' ORDER BY position) AS metrics
	FROM entry
	WHERE labels IS NULL
	GROUP BY query
	UNION ALL
	SELECT position, query,
		E'    SELECT ' ||
		(SELECT string_agg(format('labels ->> %L AS %I, ', label, label), '' ORDER BY label) FROM unnest(labels) AS label) ||
		format(E'value AS %I\n    FROM unblock.metrics()\n    WHERE name = %L', "column", name),
		(SELECT string_agg(format(E'    - %s:\n        usage: LABEL\n        description: ""\n', label), '' ORDER BY label)
			FROM unnest(labels) AS label) || text
	FROM entry
	WHERE labels IS NOT NULL
)
SELECT E'# Metrics of pg_unblock for postgres_exporter (--extend.query-path). Written by queries.sql.\n'
UNION ALL
(SELECT query || E':\n  master: true\n  query: |\n' || "select" || E'\n  metrics:\n' || metrics FROM section ORDER BY position);
