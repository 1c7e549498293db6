-- The schema, a row a log in "replica", its events and what they tell of workflows.
CREATE SCHEMA IF NOT EXISTS daa;

-- partition_rows: how many sequence numbers each partition of "events" has.
CREATE TABLE daa.meta (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    version integer NOT NULL,
    partition_rows bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE daa.replica (
    log uuid PRIMARY KEY,
    last_seq bigint NOT NULL,
    last_chain bytea NOT NULL,
    epoch bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- kind is an integer since the log has 16 bits for it, and smallint one less.
CREATE TABLE daa.events (
    log uuid NOT NULL,
    seq bigint NOT NULL,
    stream bigint NOT NULL,
    time timestamptz NOT NULL,
    time_ns bigint NOT NULL,
    kind integer NOT NULL,
    kind_name text,
    cause bigint,
    stream_prev_seq bigint,
    actor_type text,
    actor_id text,
    request_id text,
    traceparent text,
    payload jsonb,
    lossy boolean NOT NULL,
    error text,
    record bytea NOT NULL,
    PRIMARY KEY (log, seq)
) PARTITION BY RANGE (seq);
CREATE INDEX events_time ON daa.events USING brin (time);
CREATE INDEX events_stream ON daa.events (log, stream, seq);

CREATE TABLE daa.workflows (
    log uuid NOT NULL,
    stream bigint NOT NULL,
    id text NOT NULL UNIQUE,
    name text,
    status text,
    reason text,
    reason_given boolean NOT NULL,
    definition bytea,
    input jsonb,
    output jsonb,
    metadata jsonb,
    lossy boolean NOT NULL,
    submitted_at timestamptz,
    started_at timestamptz,
    ended_at timestamptz,
    last_seq bigint NOT NULL,
    PRIMARY KEY (log, stream)
);
CREATE INDEX workflows_open ON daa.workflows (status, submitted_at)
    WHERE status IN ('pending', 'running', 'paused');
CREATE INDEX workflows_metadata ON daa.workflows USING gin (metadata jsonb_path_ops);
ALTER TABLE daa.workflows ALTER COLUMN status SET STATISTICS 1000;
