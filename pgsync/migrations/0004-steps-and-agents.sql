-- What was applied here, when, and the SHA-256 of its text.
CREATE TABLE daa.migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    checksum bytea,
    applied_at timestamptz DEFAULT now(),
    applied_by text
);

-- Which version of the derived tables each log has: an older one is made anew from its events.
ALTER TABLE daa.replica ADD COLUMN derived integer NOT NULL DEFAULT 0;

-- One row a step that an event told of, as its newest event left it.
CREATE TABLE daa.steps (
    log uuid NOT NULL,
    stream bigint NOT NULL,
    step_index integer NOT NULL,
    step text,
    status text NOT NULL,
    attempts integer NOT NULL,
    outcome text,
    error text,
    output jsonb,
    lossy boolean NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    last_seq bigint NOT NULL,
    last_log uuid,
    PRIMARY KEY (log, stream, step_index)
);

-- One row an agent, which is a log: who wrote it last, and when.
CREATE TABLE daa.agents (
    log uuid PRIMARY KEY,
    id text GENERATED ALWAYS AS (log::text) STORED,
    active boolean NOT NULL,
    last_heartbeat timestamptz NOT NULL,
    registered_at timestamptz,
    stopped_at timestamptz,
    stop_reason text,
    version text,
    host text,
    pid bigint,
    lossy boolean NOT NULL,
    last_seq bigint NOT NULL
);

-- What this server refused, in the transaction that went on without it; in_events: "events" has the
-- row, perhaps without its payload.
CREATE TABLE daa.rejected (
    log uuid NOT NULL,
    seq bigint NOT NULL,
    in_events boolean NOT NULL,
    sqlstate text NOT NULL,
    message text NOT NULL,
    record bytea NOT NULL,
    rejected_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (log, seq)
);
