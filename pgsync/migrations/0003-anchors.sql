-- Signed heads of logs. What is there can be added to, but neither changed nor removed: it is
-- evidence. Who owns the schema can still drop it, which shows.
CREATE TABLE daa.anchors (
    log uuid NOT NULL,
    event bigint NOT NULL,
    seq bigint NOT NULL,
    chain bytea NOT NULL,
    segment_no bigint NOT NULL,
    signed_at timestamptz NOT NULL,
    signed_ns bigint NOT NULL,
    previous bigint NOT NULL,
    segments jsonb NOT NULL,
    public_key bytea NOT NULL,
    signature bytea NOT NULL,
    copied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (log, event)
);
CREATE FUNCTION daa.anchors_stay() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE 'daa.anchors is added to only: what was signed is neither changed nor removed';
END $$;
CREATE TRIGGER anchors_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON daa.anchors
    FOR EACH STATEMENT EXECUTE FUNCTION daa.anchors_stay();

-- Of the events that are here already. One that could not be decoded has no payload to be taken
-- from.
INSERT INTO daa.anchors (log, event, seq, chain, segment_no, signed_at, signed_ns, previous,
                         segments, public_key, signature)
SELECT log, seq, (payload->>'seq')::bigint, decode(payload->>'chain', 'hex'),
       (payload->>'segment_no')::bigint, (payload->>'signed')::timestamptz,
       (payload->>'signed_ns')::bigint, (payload->>'previous')::bigint,
       coalesce(payload->'segments', '[]'), decode(payload->>'public_key', 'hex'),
       decode(payload->>'signature', 'hex')
  FROM daa.events
 WHERE kind = 90 AND payload->>'signature' IS NOT NULL;
