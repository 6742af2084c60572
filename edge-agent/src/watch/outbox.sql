-- What the triggers of change capture write to, and the trigger itself.
-- A row of `changes` with no `row` says that a row of the table is gone; with no `key`, that all are.
CREATE SCHEMA IF NOT EXISTS girasol;

CREATE TABLE IF NOT EXISTS girasol.changes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    slot text NOT NULL,
    tx bigint NOT NULL DEFAULT txid_current(),
    tab text NOT NULL,
    key text[],
    "row" jsonb
);

CREATE INDEX IF NOT EXISTS changes_by_transaction ON girasol.changes (slot, tx, id);

-- What was copied for whom, and what that copy is called.
CREATE TABLE IF NOT EXISTS girasol.watches (
    slot text PRIMARY KEY,
    fingerprint text NOT NULL,
    copy text NOT NULL
);

-- Called with the watcher's name, the table's, and the columns of its key. It writes as its owner,
-- so that whoever may change a table needs no right on the outbox.
CREATE OR REPLACE FUNCTION girasol.capture() RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
    SET datestyle = 'ISO'
    SET intervalstyle = 'postgres'
    SET bytea_output = 'hex'
    SET extra_float_digits = 1
AS $girasol$
DECLARE
    old_row jsonb;
    old_key text[];
    new_row jsonb;
    new_key text[];
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        INSERT INTO girasol.changes (slot, tab) VALUES (TG_ARGV[0], TG_ARGV[1]);
    ELSE
        IF TG_OP <> 'INSERT' THEN
            old_row := to_jsonb(OLD);
            old_key := ARRAY(SELECT old_row ->> name
                FROM unnest(TG_ARGV[2:]) WITH ORDINALITY AS columns (name, at) ORDER BY at);
        END IF;
        IF TG_OP <> 'DELETE' THEN
            new_row := to_jsonb(NEW);
            new_key := ARRAY(SELECT new_row ->> name
                FROM unnest(TG_ARGV[2:]) WITH ORDINALITY AS columns (name, at) ORDER BY at);
        END IF;
        IF old_key IS NOT NULL AND old_key IS DISTINCT FROM new_key THEN
            INSERT INTO girasol.changes (slot, tab, key) VALUES (TG_ARGV[0], TG_ARGV[1], old_key);
        END IF;
        IF new_key IS NOT NULL THEN
            INSERT INTO girasol.changes (slot, tab, key, "row")
                VALUES (TG_ARGV[0], TG_ARGV[1], new_key, new_row);
        END IF;
    END IF;
    PERFORM pg_notify('girasol_' || TG_ARGV[0], '');
    RETURN NULL;
END
$girasol$;
