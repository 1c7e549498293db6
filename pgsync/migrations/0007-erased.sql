-- Workflows that were erased: that which log `owner` had as `stream`, by event `seq` of log `log`.
-- Nothing here shows what these were given and gave; rows are never copied anew as if they did.
-- `number` grows in the order in which the erasures came here.
CREATE TABLE daa.erased (
    log uuid NOT NULL,
    seq bigint NOT NULL,
    owner uuid NOT NULL,
    stream bigint NOT NULL,
    number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    PRIMARY KEY (log, seq, stream)
);
-- Few rows have an error. Partitions that are there get theirs beside readers and writers.
CREATE INDEX IF NOT EXISTS events_error ON ONLY daa.events (log, seq) WHERE error IS NOT NULL;
-- A schema that is made anew is given to daa_writer before this table comes.
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner
                WHERE n.nspname = 'daa' AND r.rolname = 'daa_writer') THEN
        ALTER TABLE daa.erased OWNER TO daa_writer;
        GRANT SELECT ON daa.erased TO daa_reader;
    END IF;
END $$;
