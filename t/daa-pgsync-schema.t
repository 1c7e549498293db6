#!/usr/bin/perl
# The schema in Postgres: its migrations, indexes, roles and views, on a real server.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Daa qw(wait_until scratch program slurp run_program);
use Digest::SHA qw(sha256_hex);
use PgServer;
use Test::More;

plan skip_all => PgServer->missing if PgServer->missing;
delete @ENV{grep { /^PG|^DAA_/ } keys %ENV};

my $server = PgServer->new;
my $databases = 0;
my $log = scratch() . '/log';
{
    my $maker = program('') =~ s{/bin/$}{/t/bin/make-log}r;
    open my $to, '|-', "'$maker' '$log' >/dev/null" or die $!;
    print $to "workflows 2\nparked\n";
    close $to or die "make-log failed: $?";
}

sub database { my $name = 'd' . ++$databases; $server->create_database($name); return $name }
sub url_as { my ($user, $name) = @_; return $server->url($name) =~ s{//daa\@}{//$user\@}r }
sub copy { my ($url, @options) = @_; return run_program(program('daa-pgsync'), '--data-dir', $log, '--url', $url, @options) }

sub copies {
    my ($name, $what, @options) = @_;
    my ($status, undef, $err) = copy($server->url($name), @options);
    is($status, 0, $what) or diag $err;
}

# Everything of the schema that a query may meet, as text.
sub shape {
    my ($name) = @_;
    return $server->sql(q{
        SELECT 'column', table_name, column_name, data_type, is_nullable, coalesce(column_default, '-')
          FROM information_schema.columns WHERE table_schema = 'daa'
        UNION ALL
        SELECT 'index', tablename, indexname, regexp_replace(indexdef, '^CREATE (UNIQUE )?INDEX \S+', ''), '', '' FROM pg_indexes WHERE schemaname = 'daa'
        UNION ALL
        SELECT 'owner', relname, pg_get_userbyid(relowner)::text, relkind::text, '', '' FROM pg_class WHERE relnamespace = 'daa'::regnamespace
        ORDER BY 1, 2, 3}, $name);
}

sub invalid { return $server->sql(q{SELECT count(*) FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid WHERE c.relnamespace = 'daa'::regnamespace AND NOT x.indisvalid}, $_[0]) }

my @files = sort glob 'pgsync/migrations/*.sql';
my $whole = database();
copies($whole, 'a copy into nothing');

subtest 'migrations' => sub {
    my @noted = map { [ @$_ ] } $server->rows(q{SELECT number, name, encode(checksum, 'hex'), applied_by ~ '^daa \d' FROM daa.migrations ORDER BY number}, $whole);
    is_deeply(\@noted, [ map { my ($name, $number) = m{((\d+)[^/]*)\.sql$}; [ 0 + $number, $name, sha256_hex(slurp($_)), 't' ] } @files ],
        'each is noted with the SHA-256 of its file');
    is($server->sql('SELECT version FROM daa.meta', $whole), scalar @files, 'the version is the number of the newest');
    for my $version (1 .. 3) {
        my $name = database();
        copies($name, "a copy, made version $version again");
        $server->schema_back_to($version, $name);
        copies($name, 'it is carried over');
        is(shape($name), shape($whole), 'to what a new one is');
        is($server->sql('SELECT count(*) FILTER (WHERE checksum IS NULL), count(*) FROM daa.migrations', $name), "$version\x1f" . @files,
            'and says which were applied before there were notes');
    }
    my $name = database();
    copies($name, 'a copy');
    $server->sql(q{UPDATE daa.migrations SET checksum = sha256('other') WHERE number = 5}, $name);
    my ($status, undef, $err) = copy($server->url($name));
    is($status, 1, 'one that was made by other text is refused');
    like($err, qr/migration 0005-views.*use that one, or drop/, 'with its name') or diag $err;
};

subtest 'several at once' => sub {
    my $name = database();
    my @pids = map {
        my $pid = fork() // die $!;
        if (!$pid) { open STDERR, '>', '/dev/null'; exec program('daa-pgsync'), '--data-dir', $log, '--url', $server->url($name) }
        $pid
    } 1 .. 3;
    waitpid $_, 0 for @pids;
    copies($name, 'after three that began together');
    is(shape($name), shape($whole), 'the schema is there once');
};

subtest 'whatever a database sets for its sessions' => sub {
    my $name = database();
    copies($name, 'a copy', '--partition-rows', 2);
    $server->sql(q{CREATE TABLE public.fooled (who text);
        CREATE FUNCTION public.substr(name, int) RETURNS text LANGUAGE plpgsql AS
            $$BEGIN INSERT INTO public.fooled VALUES ('substr'); RETURN pg_catalog.substr($1::text, $2); END$$;
        CREATE FUNCTION public.joined(name, text) RETURNS text LANGUAGE plpgsql AS
            $$BEGIN INSERT INTO public.fooled VALUES ('||'); RETURN $1::text OPERATOR(pg_catalog.||) $2; END$$;
        CREATE OPERATOR public.|| (LEFTARG = name, RIGHTARG = text, FUNCTION = public.joined);
        DROP INDEX daa.events_time}, $name);
    copies($name, 'one where somebody has functions and operators of the same names', '--detach-after', '36000d');
    is($server->sql('SELECT count(*) FROM public.fooled', $name), 0, 'runs none of them');

    $name = database();
    $server->sql("ALTER DATABASE $name SET $_") for 'standard_conforming_strings = off', q{default_transaction_isolation = 'serializable'};
    my @pids = map {
        my $pid = fork() // die $!;
        if (!$pid) { open STDERR, '>', '/dev/null'; open STDOUT, '>&', \*STDERR; exec program('daa-pgsync'), '--data-dir', $log, '--url', $server->url($name) }
        $pid
    } 1 .. 3;
    waitpid $_, 0 for @pids;
    copies($name, 'strings and isolation of another kind are nothing to those that begin together');
    $server->sql("ALTER DATABASE $name RESET ALL");
    is(shape($name), shape($whole), 'the schema is there');
};

subtest 'indexes' => sub {
    my $name = database();
    copies($name, 'a copy in small partitions', '--partition-rows', 2);
    cmp_ok($server->sql(q{SELECT count(*) FROM pg_inherits WHERE inhparent = 'daa.events'::regclass}, $name), '>', 2, 'there are some');
    my $good = shape($name);
    is(invalid($name), 0, 'none is invalid');
    $server->sql(q{UPDATE pg_index SET indisvalid = false WHERE indexrelid IN ('daa.workflows_metadata'::regclass, 'daa.events_000000_pkey'::regclass)}, $name);
    is(invalid($name), 2, 'as a CREATE INDEX CONCURRENTLY leaves it that was killed');
    copies($name, 'a copier comes');
    is(invalid($name), 0, 'and makes them again');
    my @left = qw(workflows_pkey workflows_metadata events_000000_pkey);
    for (@left) {
        my $table = $server->sql("SELECT tablename FROM pg_indexes WHERE schemaname = 'daa' AND indexname = '$_'", $name);
        $server->sql("CREATE INDEX ${_}_ccnew1 ON daa.$table (log); UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'daa.${_}_ccnew1'::regclass", $name);
    }
    copies($name, 'what a REINDEX CONCURRENTLY leaves that was killed');
    is($server->sql(q{SELECT count(*) FROM pg_indexes WHERE indexname ~ '_ccnew'}, $name), 0, 'is dropped');
    $server->sql('DROP INDEX daa.events_time, daa.workflows_open, daa.steps_open', $name);
    copies($name, 'missing ones');
    is(invalid($name), 0, 'are made, those of the partitions too, and attached');
    is($server->sql(q{SELECT count(*) FROM pg_inherits WHERE inhparent = 'daa.events_time'::regclass}, $name),
        $server->sql(q{SELECT count(*) FROM pg_inherits WHERE inhparent = 'daa.events'::regclass}, $name), 'one a partition');
    $server->sql('DROP INDEX daa.events_stream', $name);
    $server->sql('CREATE INDEX events_stream ON ONLY daa.events (log, stream, seq)', $name);
    $server->sql('CREATE INDEX events_000000_stream ON daa.events_000000 (log, stream, seq)', $name);
    copies($name, 'one that was half way');
    is(invalid($name), 0, 'is finished');
    is($server->sql(q{SELECT count(*) FROM pg_indexes WHERE tablename = 'events_000000' AND indexdef LIKE '%stream%'}, $name), 1, 'with what was there');
};

subtest 'indexes that cannot be made' => sub {
    my $name = database();
    copies($name, 'a copy');
    my @psql = $server->psql('CREATE UNIQUE INDEX CONCURRENTLY mine ON daa.events_000000 (log)', $name);
    my ($status) = run_program(@psql);
    isnt($status, 0, 'somebody\'s own');
    copies($name, 'is left to him');
    is(invalid($name), 1, 'as it is');
    $server->sql('DROP INDEX daa.mine, daa.steps_open, daa.agents_active', $name);
    $server->sql(q{CREATE FUNCTION public.no() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN
        IF current_setting('statement_timeout') <> '0' THEN RAISE 'there is a statement_timeout'; END IF;
        IF current_query() LIKE '%steps_open%' THEN RAISE 'not this one'; END IF; END$$;
        CREATE EVENT TRIGGER no_index ON ddl_command_start WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION public.no()}, $name);
    $server->sql("ALTER DATABASE $name SET statement_timeout = '1min'");
    my $pid = fork() // die $!;
    my $said = scratch() . '/said';
    if (!$pid) { open STDERR, '>', $said or die $!; open STDOUT, '>', '/dev/null'; exec program('daa-pgsync'), '--data-dir', $log, '--url', $server->url($name), '--follow' }
    ok(wait_until(sub { (slurp($said) // '') =~ /connected/ }, 30), 'ours stop no copy');
    kill 'TERM', $pid;
    waitpid $pid, 0;
    is($?, 0, 'which goes on');
    like(slurp($said), qr/without an index .*daa-cli database migrate: .*steps_open.*not this one/, 'and says so');
    is($server->sql(q{SELECT to_regclass('daa.agents_active') IS NOT NULL}, $name), 'f', 'those behind it wait');
    ($status, undef, my $err) = run_program(program('daa-cli'), 'database', 'migrate', '--url', $server->url($name));
    is($status, 1, 'migrate fails');
    like($err, qr/steps_open.*not this one/, 'and says why') or diag $err;
    $server->sql('DROP EVENT TRIGGER no_index', $name);
    copies($name, 'when they can be made');
    is(shape($name), shape($whole), 'they are');
};

subtest 'roles' => sub {
    $server->sql(q{CREATE ROLE copier LOGIN; CREATE ROLE person LOGIN; CREATE ROLE nobody_special LOGIN; GRANT daa_writer TO copier; GRANT daa_reader TO person}, $whole);
    my ($status, undef, $err) = copy(url_as(copier => $whole));
    is($status, 0, 'a member of daa_writer copies') or diag $err;
    my $name = database();
    copies($name, 'a schema that a superuser made, with small partitions', '--partition-rows', 2);
    $server->sql('TRUNCATE daa.replica, daa.events, daa.workflows; DROP TABLE daa.events_000001', $name);
    ($status, undef, $err) = copy(url_as(copier => $name));
    is($status, 0, 'and makes partitions in it') or diag $err;
    is($server->sql(q{SELECT string_agg(DISTINCT pg_get_userbyid(relowner), ' ') FROM pg_class WHERE relnamespace = 'daa'::regnamespace}, $name), 'daa_writer', 'which belong to daa_writer as all of it does');
    my $as = sub { my ($user, $query) = @_; return $server->try_sql("SET ROLE $user; $query", $name) };
    cmp_ok($as->(person => "SELECT count(*) FROM daa.$_"), '>=', 0, "a member of daa_reader reads $_")
        for qw(events events_000001 workflows steps agents replica rejected migrations running_workflows slow_steps failures_today uncertain_steps);
    is($as->(person => 'DELETE FROM daa.workflows'), undef, 'and writes nothing');
    ($status, undef, $err) = copy(url_as(person => $name));
    is($status, 1, 'nor copies');
    like($err, qr/permission denied.*member of daa_writer/, 'which is said, with what to do') or diag $err;
    is($as->(nobody_special => 'SELECT count(*) FROM daa.events'), undef, 'others see nothing');

    $server->sql($_) for 'CREATE ROLE owner LOGIN', 'CREATE DATABASE owned OWNER owner';
    ($status, undef, $err) = copy(url_as(owner => 'owned'));
    is($status, 0, 'who may not make roles has a schema of his own') or diag $err;
    is($server->sql(q{SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = 'daa'::regnamespace}, 'owned'), 'owner', 'that is all his');
};

subtest 'old partitions' => sub {
    my $name = database();
    my $rows = sub { $server->sql(q{SELECT count(*) FROM daa.events}, $name) };
    copies($name, 'a copy in small partitions', '--partition-rows', 2);
    my $all = $rows->();
    copies($name, 'none is old enough', '--detach-after', '36000d');
    is($rows->(), $all, 'to be detached');
    copies($name, 'all that are over', '--detach-after', '0s');
    my $left = $rows->();
    cmp_ok($left, '<', $all, 'are detached');
    is($server->sql('SELECT count(*) FROM daa.events_000000', $name), 1, 'and stay as tables of their own');
    copies($name, 'copying goes on');
    is($rows->(), $left, 'behind them');
    $server->sql(q{DELETE FROM daa.replica; DELETE FROM daa.workflows; DO $$ DECLARE part regclass; BEGIN FOR part IN
        SELECT oid FROM pg_class WHERE relnamespace = 'daa'::regnamespace AND relkind = 'r' AND relname LIKE 'events\_0%' LOOP EXECUTE format('DELETE FROM %s', part); END LOOP; END $$}, $name);
    copies($name, 'a log that begins there');
    is($rows->(), $all, 'has them attached again');

    $server->sql(q{ALTER TABLE daa.events DETACH PARTITION daa.events_000000;
        CREATE TABLE daa.archive (LIKE daa.events) PARTITION BY RANGE (seq);
        ALTER TABLE daa.archive ATTACH PARTITION daa.events_000000 FOR VALUES FROM (0) TO (2);
        DELETE FROM daa.replica; DELETE FROM daa.workflows; DELETE FROM daa.events}, $name);
    my ($status, undef, $err) = copy($server->url($name));
    is($status, 1, 'but for one that is a partition of another table by now');
    like($err, qr/events_000000.*already a partition/, 'which is said') or diag $err;
    is($server->sql('SELECT count(*) FROM daa.rejected', $name), 0, 'and is no fault of a row');
};

done_testing;
