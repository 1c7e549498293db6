#!/usr/bin/perl
# daa-cli database against a real PostgreSQL: what it shows, what it advises, whom it disconnects,
# and what it says when something is missing.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Daa qw(wait_until scratch program run_program spew);
use IPC::Open2;
use JSON::PP ();
use PgServer;
use POSIX ();
use Test::More;

plan skip_all => PgServer->missing if PgServer->missing;
delete @ENV{grep { /^PG|^DAA_/ } keys %ENV};

my $server = PgServer->new(tcp => 1);
my $maker = program('') =~ s{/bin/$}{/t/bin/make-log}r;
my ($databases, %sessions) = (0);
END { my $status = $?; end_sessions(); $? = $status }
sub end_sessions { kill 'KILL', $_ for keys %sessions; waitpid $_, 0 for keys %sessions; %sessions = () }

sub create_database { my ($on) = @_; my $name = 'd' . ++$databases; ($on // $server)->create_database($name); return $name }

sub database { my ($url, @arguments) = @_; return run_program(program('daa-cli'), 'database', @arguments, '--url', $url) }

# The object that a command prints, which must succeed.
sub object {
    my ($url, @arguments) = @_;
    my ($status, $out, $err) = database($url, @arguments, '--json');
    is($status, 0, "@arguments --json succeeds") or diag($err);
    is($out =~ tr/\n//, 1, 'in one line');
    return JSON::PP::decode_json($out);
}

# As another role; only where no password is asked for.
sub url_as { my ($role, $url) = @_; return $url =~ s{//daa@}{//$role@}r }

# A database with a copy of a log in it.
my $log = scratch() . '/log';
open my $to, '|-', "'$maker' '$log' >/dev/null" or die $!;
print $to "workflows 30\n";
close $to or die "make-log failed: $?";
sub copied_database {
    my ($on) = @_;
    my $name = create_database($on);
    my ($status, undef, $err) = run_program(program('daa-pgsync'), '--data-dir', $log, '--partition-rows', 100,
        '--reader-name', '', '--url', ($on // $server)->url($name));
    die $err if $status;
    return $name;
}
my $db = copied_database();
my $url = $server->url($db);
$server->sql(q{CREATE ROLE stranger LOGIN; CREATE ROLE visitor LOGIN; GRANT USAGE ON SCHEMA daa TO visitor}, $db);

subtest 'migrate' => sub {
    my $newest = PgServer::newest_schema();
    my $schemas = sub { return $server->sql(q{SELECT count(*) FROM pg_namespace WHERE nspname = 'daa'}, $_[0]) };
    # All that there is but times and numbers of objects.
    my $shape = sub { return $server->sql(q{SELECT string_agg(c.relname || ' ' || c.relkind::text || ' ' || coalesce(pg_get_indexdef(i.indexrelid), ''), ';' ORDER BY c.relname)
        FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid WHERE c.relnamespace = 'daa'::regnamespace}, $_[0]) };
    my ($name, $by_hand) = (create_database(), create_database());
    my $there = $server->url($name);
    my ($status, $sql, $err) = database($there, 'migrate', '--dry-run');
    is($status, 0, '--dry-run succeeds') or diag($err);
    like($sql, qr/^CREATE SCHEMA IF NOT EXISTS daa;$/m, 'and prints statements');
    is($schemas->($name), 0, 'and makes nothing');
    ($status, my $out, $err) = database($there, 'migrate', '--partition-rows', 500);
    is($status, 0, 'a schema is made') or diag($err);
    is($out, "schema daa was made, version $newest\n", 'which is told');
    is($server->sql('SELECT version || $$ $$ || partition_rows FROM daa.meta', $name), "$newest 500", 'it is there as asked for');
    ($status, $out) = database($there, 'status');
    like($out, qr/^schema +daa, version $newest, as this program's$/m, 'and as status wants it');

    spew(scratch() . '/migrate.sql', $sql);
    my @psql = $server->psql('', $by_hand);
    splice @psql, -2, 2, '-f', scratch() . '/migrate.sql';
    ($status, undef, $err) = run_program(@psql);
    is($status, 0, 'what --dry-run printed can be run by psql') or diag($err);
    like($sql, qr/^COMMIT;\n(?:CREATE INDEX CONCURRENTLY [^\n]+;\n)+\z/m, 'with the indexes behind it, beside readers and writers');
    is($shape->($by_hand), $shape->($name), 'and all is the same');
    for my $url ($there, $server->url($by_hand)) {
        is((database($url, 'migrate', '-n'))[1], "-- nothing to do\n", 'then there is nothing to do');
        is((database($url, 'migrate'))[1], "schema daa is version $newest already, with all of its indexes\n", 'and nothing is done');
    }

    my $old = copied_database();
    my $new_shape = $shape->($old);
    $server->schema_back_to(3, $old);
    my $result = object($server->url($old), 'migrate', '--dry-run');
    is("$result->{from_version} $result->{to_version}", "3 $newest", 'an older one is carried over');
    like($result->{sql}, qr/CREATE TABLE daa\.steps/, 'by these statements');
    is(join(' ', $result->{sql} =~ /^CREATE INDEX CONCURRENTLY (\w+)/mg), 'workflows_failed workflows_submitted steps_open agents_active',
        'with the indexes of the tables that it has, and of those that it lacks');
    ($status, $out, $err) = database($server->url($old), 'status');
    like($out, qr/^schema +daa, version 3; this program's is $newest$/m, 'status shows that it is older');
    ($status, $out, $err) = database($server->url($old), 'migrate');
    is($out, "schema daa was carried over from version 3 to $newest\n", 'which is told') or diag($err);
    is($shape->($old), $new_shape, 'and it is like a new one');
    my ($index) = sort { $a cmp $b } map { $_->[0] } $server->rows(q{SELECT relname FROM pg_class WHERE relnamespace = 'daa'::regnamespace
        AND relkind = 'i' AND relname = 'workflows_metadata'}, $old);
    $server->sql("DROP INDEX daa.$index", $old);
    is((database($server->url($old), 'migrate'))[1], "schema daa is version $newest already; indexes that were missing were made\n",
        'an index that is missing is made');
    is($shape->($old), $new_shape, 'as it was');

    $server->sql('UPDATE daa.meta SET version = 999', $old);
    ($status, undef, $err) = database($server->url($old), 'migrate');
    is($status, 1, 'a newer one is left alone');
    like($err, qr/version 999.*newer daa-pgsync/, 'with a sentence');
    my $empty = create_database();
    ($status, undef, $err) = database(url_as('visitor', $server->url($empty)), 'migrate');
    is($status, 1, 'who may not make it fails');
    like($err, qr/permission denied for database.*connect as a role that may/, 'with a sentence');
    is($schemas->($empty), 0, 'and leaves nothing');
};

# A psql that stays, with this application_name, after it has answered to these statements: its pid
# on the server.
sub session {
    my ($application, $database, @statements) = @_;
    local $ENV{PGAPPNAME} = $application;
    my @psql = $server->psql('', $database);
    splice @psql, -2;    # -c
    my $pid = open2(my $from, my $to, @psql);
    print $to "SELECT pg_backend_pid();\n", map { "$_;\n" } @statements;
    print $to "\\echo ready\n";
    $to->flush;
    $sessions{$pid} = [$from, $to];
    chomp(my $backend = <$from>);
    while (my $line = <$from>) { last if $line =~ /^ready/ }
    return $backend;
}
sub lives { return $server->sql("SELECT count(*) FROM pg_stat_activity WHERE pid = $_[0]") }
sub is_idle { return $server->sql("SELECT count(*) FROM pg_stat_activity WHERE pid = $_[0] AND state LIKE 'idle%'") }

subtest 'what is missing is said' => sub {
    my $wrong = sub {
        my ($name, $want_status, $sentence, @arguments) = @_;
        my ($status, $out, $err) = run_program(program('daa-cli'), 'database', @arguments);
        is($status, $want_status, "$name: exit status $want_status");
        like($err, $sentence, "$name: the sentence says what");
        is($out, '', "$name: nothing is printed");
        unlike($err, qr/hunter2/, "$name: no password is shown");
    };
    for my $command (qw(migrate status analyze pool-stats slow-queries index-usage tune reset-connections)) {
        $wrong->("$command without a url", 2, qr/--url.*DAA_PG_URL/, $command);
        $wrong->("$command without a server", 1, qr/Postgres cannot be had: .*refused.*does the server run/i,
            $command, '--url', 'postgresql://daa:hunter2@127.0.0.1:1/x');
    }
    $wrong->('no url at all', 1, qr/url is not one/, 'status', '--url', 'postgresql://daa:hunter2@[::1/x');
    $wrong->('no such database', 1, qr/"nowhere" does not exist$/, 'status', '--url', $server->url('nowhere'));
    $wrong->('no password', 1, qr/PGPASSWORD/, 'status', '--url', $server->tcp_url($db));
    {
        local $ENV{PGPASSWORD} = 'wrong-hunter2';
        $wrong->('a wrong password', 1, qr/password authentication failed.*PGPASSWORD/, 'status', '--url', $server->tcp_url($db));
        local $ENV{PGPASSWORD} = 'test-only';
        local $ENV{DAA_PG_URL} = $server->tcp_url($db);
        my ($status, $out, $err) = run_program(program('daa-cli'), 'database', 'status');
        is($status, 0, 'with the right one and the url from the environment it works') or diag($err);
    }
    my $empty = $server->url(create_database());
    $wrong->("no schema: $_", 1, qr/no schema "daa"/, $_, '--url', $empty) for qw(analyze index-usage);
    my ($status, $out, $err) = database($empty, 'status');
    is($status, 1, 'status without a schema fails');
    like($err, qr/no schema "daa".*database migrate/, 'and says what makes it');
    like($out, qr/^server +PostgreSQL \d+/, 'but shows the server');
    $wrong->("no right: $_", 1, qr/"stranger" may not look into schema "daa", which belongs to "daa/, $_,
        '--url', url_as('stranger', $url)) for qw(analyze index-usage);
    $server->sql('ALTER ROLE stranger CONNECTION LIMIT 0');
    $wrong->('no connection left', 1, qr/too many connections for role "stranger"$/, 'pool-stats', '--url', url_as('stranger', $url));
    $server->sql('ALTER ROLE stranger CONNECTION LIMIT -1');
    $wrong->('an unknown command', 2, qr/pool-stats/, 'pool-stat', '--url', $url);
};

subtest 'status' => sub {
    my $status = object($url, 'status');
    is($status->{server}{version_number}, $server->sql('SHOW server_version_num'), 'the version of the server');
    ok(!$status->{server}{standby}, 'which is no standby');
    is($status->{server}{max_connections}, 30, 'its connections');
    ok($status->{schema}{exists} && $status->{schema}{current}, 'the schema is there, and this version\'s');
    is($status->{schema}{version}, $status->{schema}{program_version}, 'by number');
    my ($copied, @more) = @{ $status->{logs} };
    is(scalar @more, 0, 'one log is copied');
    is("$copied->{log} $copied->{last_seq} $copied->{epoch}",
        $server->sql('SELECT log || $$ $$ || last_seq || $$ $$ || epoch FROM daa.replica', $db), 'with its position');
    like($copied->{updated_at}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, 'and when');
    my ($events, @parts) = grep { $_->{table} eq 'events' } @{ $status->{tables} };
    is($events->{partitions}, scalar @parts, 'events is followed by its partitions');
    ok(@parts > 1, 'of which there are some');
    for my $size (qw(table_bytes index_bytes)) {
        my $sum = 0;
        $sum += $_->{$size} for @parts;
        ok($sum > 0, "$size of partitions is known");
        is($events->{$size}, $sum, 'and that of events is the sum');
    }
    is_deeply($status->{invalid_indexes}, [], 'no index is invalid');
    my (undef, $out) = database($url, 'status');
    like($out, qr/^schema +daa, version \d+, as this program's$/m, 'people see the version');
    like($out, qr/^$copied->{log} +$copied->{last_seq} /m, 'and the position');
    like($out, qr/^events +events_000001 /m, 'and the partitions');

    my ($code, undef, $err) = database(url_as('visitor', $url), 'status');
    is($code, 1, 'without a right to the tables it fails');
    like($err, qr/permission denied for table .*connect as a role that may/, 'and says so');
    ($code, $out, $err) = database(url_as('stranger', $url), 'status', '--json');
    is($code, 1, 'without a right to the schema too');
    like(JSON::PP::decode_json($out)->{schema}{trouble}, qr/"stranger" may not look into/, 'also as JSON');
};

subtest 'a schema of another version' => sub {
    my $other = copied_database();
    $server->sql('UPDATE daa.meta SET version = 999', $other);
    my ($status, $out, $err) = database($server->url($other), 'status', '--json');
    is($status, 1, 'status fails');
    like($err, qr/version 999.*newer daa-pgsync/, 'with a sentence');
    my $got = JSON::PP::decode_json($out);
    is($got->{schema}{version}, 999, 'the version is shown');
    ok(!$got->{schema}{current}, 'as not this program\'s');
    is($got->{logs}, undef, 'its rows are not read');
    ok(scalar @{ $got->{tables} }, 'its tables are shown');
};

subtest 'analyze' => sub {
    my $result = object($url, 'analyze');
    my %analyzed = map { $_->{table} => $_ } @{ $result->{tables} };
    ok($analyzed{$_}{analyzed}, "$_ is analyzed") for qw(events workflows replica);
    ok($analyzed{events}{partitions} > 1, 'events with its partitions');
    my ($target) = grep { $_->{table} eq 'workflows' && $_->{column} eq 'status' } @{ $result->{targets} };
    ok($target->{target} == 1000 && $target->{right}, 'the statistics target of workflows.status is checked');
    is($server->sql(q{SELECT count(*) > 0 FROM pg_stats WHERE schemaname = 'daa' AND tablename = 'events' AND inherited}, $db),
        't', 'the partitioned table has statistics of its own');
    my $events = $server->sql('SELECT count(*) FROM daa.events', $db);
    ok((wait_until { my ($got) = grep { $_->{table} eq 'events' } @{ object($url, 'status')->{tables} };
        $got->{rows} && $got->{rows} == $events && $got->{analyzed_at} }), 'status then knows how many rows there are');

    $server->sql('ALTER TABLE daa.workflows ALTER COLUMN status SET STATISTICS 50', $db);
    my ($status, $out) = database($url, 'analyze');
    like($out, qr/^analyzed events and its \d+ partitions$/m, 'people see each table');
    like($out, qr/^workflows +status +50 +1000 +no/m, 'and a target that is not what it should be');
    $server->sql('ALTER TABLE daa.workflows ALTER COLUMN status SET STATISTICS 1000', $db);
    ($status, undef, my $err) = database(url_as('visitor', $url), 'analyze');
    is($status, 1, 'who is not the owner fails');
    like($err, qr/"?workflows"?.*\n/, 'the tables are named');
    like($err, qr/tables were not analyzed: connect as their owner/, 'with what to do');
};

subtest 'index-usage' => sub {
    my $usage = sub { return { map { $_->{index} => $_ } @{ object($url, 'index-usage')->{indexes} } } };
    my $before = $usage->()->{events_stream};
    is($before->{table}, 'events', 'an index of a partitioned table is its own');
    ok($before->{indexes} > 1, 'and stands for those of all partitions');
    is($before->{bytes}, $server->sql(q{SELECT sum(pg_relation_size(relid)) FROM pg_partition_tree('daa.events_stream') WHERE isleaf}, $db),
        'with their bytes summed');
    is($before->{state}, 'never used', 'it was never used');
    is($usage->()->{workflows_id_key}{state}, 'never used, keeps keys unique', 'one that keeps keys unique is another matter');
    $server->sql(q{SET enable_seqscan = off; SET enable_bitmapscan = off;
        SELECT count(*) FROM daa.events WHERE log = (SELECT log FROM daa.replica) AND stream = 1}, $db);
    ok((wait_until { $usage->()->{events_stream}{scans} > 0 }), 'after a query it was');
    is($usage->()->{events_stream}{state}, '', 'and is marked no more');
    my ($status, $out) = database($url, 'index-usage');
    like($out, qr/^events +events_stream +\d+ /m, 'people see it');
    unlike($out, qr/events_00000/, 'once');

    my ($part) = $server->sql(q{SELECT relid::regclass FROM pg_partition_tree('daa.events_time') WHERE isleaf ORDER BY 1 LIMIT 1}, $db)
        =~ /(\w+)$/;
    $server->sql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'daa.$part'::regclass", $db);
    is($usage->()->{events_time}{state}, 'invalid', 'an index of which a part is invalid is marked');
    is_deeply([map { $_->{index} } @{ object($url, 'status')->{invalid_indexes} }], [$part], 'status names the part');
    $server->sql(q{UPDATE pg_index SET indisvalid = true WHERE NOT indisvalid}, $db);
};

subtest 'pool-stats' => sub {
    my $holder = session('holder', $db, 'BEGIN', 'LOCK TABLE daa.meta');
    local $ENV{PGAPPNAME} = 'waiter';
    my @psql = $server->psql('SELECT * FROM daa.meta', $db);
    my $waiter = fork() // die "fork: $!";
    if (!$waiter) { open STDOUT, '>', '/dev/null'; exec @psql or POSIX::_exit(127) }
    $sessions{$waiter} = [];
    my ($stats, $open);
    ok((wait_until {
        $stats = object($url, 'pool-stats');
        ($open) = grep { $_->{application} eq 'waiter' } @{ $stats->{transactions} };
        # Sessions are counted by another statement, which may have come before it waited.
        $open && $open->{waits_for} && grep { $_->{application} eq 'waiter' && $_->{waiting} } @{ $stats->{groups} };
    }), 'a transaction that waits for a lock is shown');
    is($open->{waits_for}, $holder, 'with the process that it waits for');
    like($open->{query}, qr/^SELECT \* FROM daa\.meta/, 'and its statement');
    is($stats->{max_connections}, 30, 'the limit is shown');
    is($stats->{reserved_connections}, 3, 'with what is reserved');
    my %group = map { ("$_->{application} " . ($_->{state} // '')) => $_ } @{ $stats->{groups} };
    is($group{'holder idle in transaction'}{connections}, 1, 'a connection that is idle in a transaction is counted');
    is($group{'waiter active'}{waiting}, 1, 'and one that waits');
    is($group{'daa-cli active'}{connections}, 1, 'our own connection has its name');
    my (undef, $out) = database($url, 'pool-stats');
    like($out, qr/^connections +\d+ of 30, 3 of them reserved; \d+ more can come$/m, 'people see how many can come');
    like($out, qr/^\d+ +waiter .* $holder +SELECT/m, 'and who waits for whom');
    my (undef, $hidden) = database(url_as('stranger', $url), 'pool-stats');
    like($hidden, qr/^holder +daa +\S+ +- /m, 'another role sees no states');
    like($hidden, qr/hidden from stranger: GRANT pg_read_all_stats/, 'and is told why');
    end_sessions();
    ok((wait_until { !lives($holder) }), 'the holder is gone');
};

subtest 'a table that somebody holds' => sub {
    my $holder = session('holder', $db, 'BEGIN', 'LOCK TABLE daa.workflows');
    my ($status, undef, $err) = database($url, 'status');
    is($status, 1, 'status does not wait for it for ever');
    like($err, qr/SQLSTATE 55P03.*pool-stats/, 'and says what shows who it is');
    my ($open) = grep { $_->{pid} == $holder } @{ object($url, 'pool-stats')->{transactions} };
    is($open->{application}, 'holder', 'which it does');
    end_sessions();
};

subtest 'a standby' => sub {
    my $standby = PgServer->new;
    my $name = copied_database($standby);
    my $there = $standby->url($name);
    $standby->stop;
    spew($standby->dir . '/data/standby.signal', '');
    $standby->start;
    ok(object($there, 'status')->{server}{standby}, 'status says that it is one');
    like((database($there, 'status'))[1], qr/^server .*, a standby, /m, 'to people too');
    like((database($there, 'index-usage'))[1], qr/on this server alone, which is a standby$/m, 'index-usage says whose counts they are');
    like((database($there, 'tune'))[1], qr/^this is a standby: raise/m, 'tune says what to raise where first');
    my ($status, undef, $err) = database($there, 'analyze');
    is($status, 1, 'analyze fails');
    like($err, qr/this server is a standby/, 'and says why');
};

subtest 'reset-connections' => sub {
    my $elsewhere = create_database();
    my ($agent, $pgsync) = (session('daa-agent', $db), session('daa-pgsync', $db));
    my $busy = session('daa-pgsync', $db, 'BEGIN');
    my $other = session('psql', $db);
    my $there = session('daa-agent', $elsewhere);
    my @all = ($agent, $pgsync, $busy, $other, $there);
    for my $one (@all) { ok((wait_until { is_idle($one) }), 'a connection is idle') }

    my $result = object($url, 'reset-connections', '--dry-run');
    is_deeply([sort map { $_->{pid} } @{ $result->{connections} }], [sort $agent, $pgsync], '--dry-run names the idle ones of ours');
    is(scalar(grep { lives($_) } @all), 5, 'and ends none');
    $result = object($url, 'reset-connections', '--idle', '10h');
    is_deeply($result->{connections}, [], 'none has been idle for hours');
    is(scalar(grep { lives($_) } @all), 5, 'so none ends');

    my ($status, $out, $err) = database(url_as('stranger', $url), 'reset-connections');
    is($status, 0, 'who does not see their state') or diag($err);
    like($out, qr/no idle connection/, 'ends none');
    $server->sql('GRANT pg_read_all_stats TO stranger');
    ($status, $out, $err) = database(url_as('stranger', $url), 'reset-connections');
    is($status, 1, 'who sees it and may not fails');
    like($err, qr/connection $agent: .*SQLSTATE 42501/, 'and says which it could not end');
    like($out, qr/^$agent +daa-agent +daa .*not allowed/m, 'as the list does');
    is(scalar(grep { lives($_) } @all), 5, 'all live');

    ($status, $out) = database($url, 'reset-connections');
    is($status, 0, 'the owner succeeds');
    like($out, qr/^$agent +daa-agent +daa +local .*ended$/m, 'the agent\'s is named');
    like($out, qr/^$pgsync +daa-pgsync .*ended$/m, 'and the copier\'s');
    ok((wait_until { !lives($agent) && !lives($pgsync) }), 'they end');
    ok(lives($busy), 'one in a transaction stays');
    ok(lives($other), 'somebody else\'s stays');
    ok(lives($there), 'one to another database stays');
    end_sessions();
};

subtest 'tune' => sub {
    my $tuned = sub {
        my ($at, @options) = @_;
        my $result = object($at, 'tune', @options);
        return ($result, { map { $_->{name} => $_ } @{ $result->{settings} } });
    };
    my ($result, $settings) = $tuned->($url, '--memory', '8GB', '--connections', 200);
    is($result->{memory_bytes}, 8 * 2**30, 'the memory is what was said');
    is($settings->{shared_buffers}{advised}, '2GB', 'a quarter of it is advised');
    is($settings->{shared_buffers}{current}, '64MB', 'what it is now is shown');
    is($settings->{shared_buffers}{verdict}, 'change', 'as to be changed');
    ok($settings->{shared_buffers}{restart}, 'with a restart');
    ok(!$settings->{work_mem}{restart}, 'work_mem takes none');
    is($settings->{enable_nestloop}{verdict}, 'fine', 'enable_nestloop stays on');
    is($settings->{max_connections}{advised}, 200, 'as many connections as were asked for');
    is($result->{connections}{needed}, 83, 'an agent needs 83');
    ok(!$result->{connections}{enough}, 'which 30 are not');
    ($result) = $tuned->($url);
    ok($result->{local} && $result->{memory_bytes} > 2**26, 'of a server here the memory is known');
    ($result) = $tuned->($url, '--agents', 1, '--pool-size', 10, '--max-overflow', 5);
    ok($result->{connections}{enough}, '30 are enough for a small pool');

    my @small = ('--memory', '256MB', '--agents', 1, '--pool-size', 10, '--max-overflow', 5);
    my ($status, $out) = database($url, 'tune', @small);
    is($status, 0, 'differences are no failure');
    like($out, qr/^random_page_cost +4 +1\.1 +change$/m, 'people see them');
    like($out, qr/^random_page_cost: .*flash/m, 'with the reason');
    my ($before) = $server->sql('SELECT count(*) FROM pg_file_settings');
    ($status, $out) = database($url, 'tune', @small, '--sql');
    like($out, qr/^ALTER SYSTEM SET random_page_cost = '1\.1';$/m, '--sql prints statements');
    like($out, qr/^ALTER SYSTEM SET max_locks_per_transaction = '256'; -- takes a restart$/m, 'and says which take a restart');
    unlike($out, qr/nestloop|prepared|completion_target|pred_locks/, 'what is a trap is not among them');
    is($server->sql('SELECT count(*) FROM pg_file_settings'), $before, 'nothing was changed by that');
    $server->sql($_) for grep { /^ALTER|^SELECT/ } split /\n/, $out;
    ($status, $out) = database($url, 'tune', @small);
    like($out, qr/restart is due/, 'what waits for the restart is shown');
    $server->restart;
    ($status, $out) = database($url, 'tune', @small);
    like($out, qr/^nothing to change$/m, 'once they were run there is nothing to change') or diag($out);
    ($status, $out) = database($url, 'tune', @small, '--sql');
    is($out, "-- nothing to change\n", 'neither as SQL');
    $server->sql("ALTER DATABASE $db SET random_page_cost = 4");
    ($status, $out) = database($url, 'tune', @small);
    like($out, qr/^random_page_cost is set by the database/m, 'what ALTER SYSTEM would not change is told');
    ($status, undef, my $err) = database($url, 'tune', '--agents', 3000, '--pool-size', 100);
    is($status, 2, 'more connections than any server takes are misuse');
    like($err, qr/more than a server takes, which is 262143/, 'which is said');
    ($status, $out) = database($url, 'tune', '--agents', 3000, '--pool-size', 60, '--sql');
    like($out, qr/^ALTER SYSTEM SET max_connections = '240013';/m, 'many are advised as digits');
    for (['--connections', '262144'], ['--storage', 'tape'], ['--memory', '1MB'], ['--agents', '99999999999'], ['--sql', '--json']) {
        ($status) = database($url, 'tune', @$_);
        is($status, 2, "@$_ is misuse");
    }
};

subtest 'tune from another machine' => sub {
    my $far = PgServer->new(tcp => 1, settings => { listen_addresses => "'127.0.0.2'" });
    local $ENV{PGPASSWORD} = 'test-only';
    my $there = $far->tcp_url =~ s/127\.0\.0\.1/127.0.0.2/r;
    my ($status, undef, $err) = database($there, 'tune');
    is($status, 1, 'the memory is not known');
    like($err, qr/another machine.*--memory/, 'and it is said how to say it');
    is(object($there, 'tune', '--memory', '1GB')->{memory_bytes}, 2**30, 'then it works');
};

subtest 'slow-queries' => sub {
    my ($status, undef, $err) = database($url, 'slow-queries');
    is($status, 1, 'without the extension it fails');
    if (!$server->sql(q{SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_stat_statements'})) {
        like($err, qr/install .*contrib/, 'and says what to install');
        return;
    }
    like($err, qr/add it to shared_preload_libraries \(now ''\).*restart.*CREATE EXTENSION/, 'and says what to do');
    $server->sql('CREATE EXTENSION pg_stat_statements', $db);
    ($status, undef, $err) = database(url_as('visitor', $url), 'slow-queries');
    is($status, 1, 'created and not loaded: it fails');
    like($err, qr/add it to shared_preload_libraries in/, 'also for a role that does not see that setting');

    my $counting = PgServer->new(settings => { shared_preload_libraries => "'pg_stat_statements'" });
    my $name = create_database($counting);
    $counting->sql('CREATE SCHEMA daa', $name);
    my $there = $counting->url($name);
    ($status, undef, $err) = database($there, 'slow-queries');
    is($status, 1, 'loaded and not created: it fails');
    like($err, qr/CREATE EXTENSION pg_stat_statements, or --create-extension/, 'and says what to do');
    $counting->sql('CREATE ROLE stranger LOGIN', $name);
    ($status, undef, $err) = database(url_as('stranger', $there), 'slow-queries', '--create-extension');
    is($status, 1, 'who may not create it fails');
    like($err, qr/CREATE EXTENSION pg_stat_statements: .*SQLSTATE 42501/, 'and hears why');
    ($status) = database($there, 'slow-queries', '--create-extension');
    is($status, 0, 'the owner may');
    is($counting->sql(q{SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'pg_stat_statements'}, $name),
        'public', 'and it is not among our tables, though the role is named like their schema');

    $counting->sql("SELECT pg_sleep(0.15)\n\n  AS slow", $name);
    $counting->sql('SELECT 1 AS quick', $name);
    my $slow = object($there, 'slow-queries')->{queries};
    my ($one) = grep { $_->{query} =~ /AS slow/ } @$slow;
    ok($one && $one->{calls} == 1 && $one->{mean_ms} > 100 && $one->{total_ms} > 100, 'a statement above 100 ms is shown');
    ok(!(grep { $_->{query} =~ /quick/ } @$slow), 'a quick one is not');
    my $all = object($there, 'slow-queries', '--mean-ms', 0, '--limit', 1000)->{queries};
    ok((grep { $_->{query} =~ /quick/ } @$all), 'but with --mean-ms 0');
    is_deeply([map { $_->{total_ms} } @$all], [sort { $b <=> $a } map { $_->{total_ms} } @$all], 'by their total');
    my @means = map { $_->{mean_ms} } @{ object($there, 'slow-queries', '--mean-ms', 0, '--by-mean')->{queries} };
    is_deeply(\@means, [sort { $b <=> $a } @means], 'or by their mean');
    is(scalar @{ object($there, 'slow-queries', '--mean-ms', 0, '--limit', 2)->{queries} }, 2, 'at most so many');
    ($status, my $out) = database($there, 'slow-queries');
    like($out, qr/ SELECT pg_sleep\(\S+\) AS slow$/m, 'people see it in one line');
    ($status, $out) = database(url_as('stranger', $there), 'slow-queries', '--mean-ms', 0);
    is($status, 0, 'another role sees numbers');
    like($out, qr/hidden: GRANT pg_read_all_stats/, 'and is told why it sees no text');
    ($status) = database($there, 'slow-queries', '--limit', 99999999);
    is($status, 2, 'a limit beyond reason is misuse');
};

done_testing();
