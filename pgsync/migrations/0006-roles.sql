-- Two roles, where whoever migrates may make them: daa_reader for those who query, daa_writer,
-- which owns all of it, for those who copy (GRANT daa_writer TO somebody). Else all stays with
-- the one who made it.
DO $$
DECLARE
    thing record;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'daa_writer') THEN
        CREATE ROLE daa_writer NOLOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'daa_reader') THEN
        CREATE ROLE daa_reader NOLOGIN;
    END IF;
    -- Since PostgreSQL 16 whoever makes a role is a member that may not become it.
    IF NOT pg_has_role(current_user, 'daa_writer',
                       CASE WHEN current_setting('server_version_num')::int < 160000
                            THEN 'MEMBER' ELSE 'SET' END) THEN
        EXECUTE format('GRANT daa_writer TO %I', current_user);
    END IF;
    ALTER SCHEMA daa OWNER TO daa_writer;
    FOR thing IN
        SELECT c.oid::regclass AS name, c.relkind FROM pg_class c
         WHERE c.relnamespace = 'daa'::regnamespace AND c.relkind IN ('r', 'p', 'v')
    LOOP
        EXECUTE format('ALTER %s %s OWNER TO daa_writer',
                       CASE thing.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END, thing.name);
    END LOOP;
    ALTER FUNCTION daa.anchors_stay() OWNER TO daa_writer;
    GRANT USAGE ON SCHEMA daa TO daa_reader;
    GRANT SELECT ON ALL TABLES IN SCHEMA daa TO daa_reader;
    ALTER DEFAULT PRIVILEGES FOR ROLE daa_writer IN SCHEMA daa GRANT SELECT ON TABLES TO daa_reader;
EXCEPTION
    WHEN insufficient_privilege OR duplicate_object OR unique_violation THEN
        RAISE NOTICE 'daa_writer and daa_reader are left out: %', SQLERRM;
END $$;
