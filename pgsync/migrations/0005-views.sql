-- For people.
CREATE VIEW daa.running_workflows AS
SELECT w.id, w.name, w.status, w.reason, w.submitted_at, w.started_at,
       now() - w.submitted_at AS age,
       (SELECT string_agg(s.step || ' (' || s.status || ')', ', ' ORDER BY s.step_index)
          FROM daa.steps s
         WHERE s.log = w.log AND s.stream = w.stream AND s.ended_at IS NULL
           AND s.status <> 'cancelled') AS steps,
       w.metadata, w.log, w.stream
  FROM daa.workflows w
 WHERE w.status IN ('pending', 'running', 'paused');

-- Steps that have lasted for more than ten seconds; those that wait on purpose are not meant.
CREATE VIEW daa.slow_steps AS
SELECT w.id, w.name, s.step, s.status, s.attempts, s.started_at, s.ended_at,
       coalesce(s.ended_at, now()) - s.started_at AS took, s.error, s.log, s.stream, s.step_index
  FROM daa.steps s JOIN daa.workflows w USING (log, stream)
 WHERE s.status NOT IN ('sleeping', 'waiting', 'cancelled')
   AND coalesce(s.ended_at, now()) - s.started_at > interval '10 seconds';

-- Of today by this session's time zone.
CREATE VIEW daa.failures_today AS
SELECT w.id, w.name, w.ended_at, w.reason,
       (SELECT string_agg(s.step || ': ' || coalesce(s.error, ''), '; ' ORDER BY s.step_index)
          FROM daa.steps s
         WHERE s.log = w.log AND s.stream = w.stream AND s.status = 'failed') AS steps,
       w.metadata, w.log, w.stream
  FROM daa.workflows w
 WHERE w.status = 'failed' AND w.ended_at >= date_trunc('day', now());

-- Steps that may have happened and wait for somebody to say whether they did.
CREATE VIEW daa.uncertain_steps AS
SELECT w.id, w.name, s.step, s.attempts, s.started_at, now() - s.started_at AS age, s.error,
       w.metadata, s.log, s.stream, s.step_index
  FROM daa.steps s JOIN daa.workflows w USING (log, stream)
 WHERE s.status = 'uncertain';
