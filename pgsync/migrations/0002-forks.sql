-- Logs that were forked. No row is touched, so it takes no time.
ALTER TABLE daa.replica
    ADD COLUMN parent uuid,
    ADD COLUMN parent_seq bigint,
    ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY;
ALTER TABLE daa.workflows ADD COLUMN last_log uuid;
