#!/usr/bin/perl
# The agent that copies its own log into PostgreSQL: everything there exactly once, whatever dies, and the
# agent never in need of the server.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Daa qw(wait_until scratch slurp);
use JSON::PP ();
use PgCopy;
use PgServer;
use Test::More;

plan skip_all => PgServer->missing if PgServer->missing;
delete @ENV{grep { /^PG|^DAA_/ } keys %ENV};

my $server = PgServer->new(tcp => 1);
my $copies = PgCopy->new($server);
my $definition = { name => 'nap', steps => [ { id => 'a', sleep => '0s' }, { id => 'b', sleep => '1ms', needs => ['a'] } ] };

sub config { my ($url) = @_; return "[log]\nsegment_size = \"256KB\"\nseal = false\n[database]\nurl = \"$url\"\nsync = true\n" }
sub start { my ($url, %option) = @_; return Daa->start(config => config($url), %option) }

sub submit {
    my ($agent, $count) = @_;
    return [ map { my $answer = $agent->post('/api/v1/workflows?wait=20s', { definition => $definition });
        $answer->{status} == 200 && $answer->{json}{status} } 1 .. $count ];
}
sub works { my ($agent, $name) = @_; is_deeply(submit($agent, 5), [('completed') x 5], $name); return }

sub copy { my ($agent) = @_; return $agent->get('/status')->{json}{database}{copy} // {} }
sub state_is { my ($agent, $state) = @_; return wait_until { (copy($agent)->{state} // '') eq $state } 60 }

sub catches_up {
    my ($agent, $name) = @_;
    my $durable = $agent->get('/status')->{json}{log}{durable_seq};
    return ok((wait_until { (copy($agent)->{position} // 0) >= $durable } 60), "$name: the copy catches up") || diag(JSON::PP::encode_json(copy($agent)));
}

# All that the agent has done is in the database; then it ends, and what it wrote then is copied too.
sub is_whole {
    my ($agent, $db, $name) = @_;
    catches_up($agent, $name);
    is($agent->stop, 0, "$name: the agent ends in order");
    is(($copies->run($agent->dir, $db))[0], 0, "$name: the rest is copied");
    $copies->is_whole($agent->dir, $db, $name);
    return;
}

subtest 'an agent that copies' => sub {
    my $db = $copies->database;
    my $agent = start($server->url($db));
    works($agent, 'it works');
    ok(state_is($agent, 'following'), 'it copies');
    my $durable = $agent->get('/status')->{json}{log}{durable_seq};
    ok((wait_until { copy($agent)->{position} >= $durable && copy($agent)->{behind} == 0 }), 'up to the end');
    my $said = copy($agent);
    is_deeply([@$said{qw(behind_bytes behind_seconds trouble untold connections retries rejected)}], [0, 0, undef, undef, 1, 0, 0],
        '/status says so') or diag(JSON::PP::encode_json($said));
    ok($said->{rows} >= $durable && $said->{batches} > 0, 'with what it did');
    is($agent->get('/ready')->{json}{replication}, 'following', '/ready names the state');
    my $metrics = $agent->get('/metrics');
    is($metrics->{headers}{'content-type'}, 'text/plain; version=0.0.4; charset=utf-8', '/metrics is for Prometheus');
    like($metrics->{body}, qr/^daa_replication_state\{state="following"\} 1$/m, 'and has the state');
    like($metrics->{body}, qr/^daa_replication_lag_events \d+$/m, 'and the lag');
    like($metrics->{body}, qr/^daa_replication_rows_total\{table="events"\} [1-9]\d*$/m, 'and the rows');
    ok((wait_until { (slurp($agent->dir . '/log/readers/pgsync') // '') =~ /"flushed_seq": ?[1-9]/ }), 'the log is told how far it is');
    my ($status, $out) = $copies->run($agent->dir, $db, '--status', '--json');
    is_deeply([@{ JSON::PP::decode_json($out) }{qw(following pid)}], [JSON::PP::true, $agent->pid], 'and so is daa-pgsync --status');
    is_whole($agent, $db, 'in peace');
};

subtest 'a server that is killed and comes back' => sub {
    my $db = $copies->database;
    my $agent = start($server->url($db));
    for my $round (1 .. 3) {
        works($agent, 'it works');
        ok(state_is($agent, 'following'), 'and copies');
        $server->crash;
        works($agent, 'it works when the server was killed');
        ok(state_is($agent, 'away'), 'and says so');
        my $ready = $agent->get('/ready');
        is_deeply([$ready->{status}, $ready->{json}{ready}, $ready->{json}{replication}], [200, JSON::PP::true, 'away'], 'it is ready all the same');
        my $said = copy($agent);
        ok($said->{behind} > 0 && $said->{behind_bytes} > 0 && $said->{behind_seconds} > 0, 'it knows how far behind the copy is');
        like($said->{trouble}, qr/\w/, 'and why');
        $server->start;
    }
    ok(state_is($agent, 'following'), 'it goes on by itself');
    is(copy($agent)->{trouble}, undef, 'without trouble');
    is_whole($agent, $db, 'after crashes');
};

subtest 'a server that is away at the start, and one that does not answer' => sub {
    my $db = $copies->database;
    $server->stop;
    my $agent = start($server->url($db));
    works($agent, 'without a server it works');
    ok(state_is($agent, 'away'), 'and says that the copy waits');
    $server->start;
    ok(state_is($agent, 'following'), 'until the server is there');
    my @stopped = ($server->{pid}, $server->children);
    kill 'STOP', @stopped;
    works($agent, 'with a server that stands still it works');
    is($agent->stop, 0, 'and ends in order');
    kill 'CONT', @stopped;
    $agent->start_again;
    is_whole($agent, $db, 'after a server that stood still');
};

subtest 'a server that refuses' => sub {
    my $db = $copies->database;
    {
        local $ENV{PGPASSWORD} = 'wrong-hunter2';
        my $agent = start($server->tcp_url($db));
        works($agent, 'with a wrong password it works');
        ok(state_is($agent, 'away'), 'the copy waits');
        my $said = $agent->get('/status')->{body};
        like(copy($agent)->{trouble}, qr/password authentication failed/, 'and says why');
        unlike($said . $agent->said . $agent->get('/metrics')->{body}, qr/hunter2/, 'not what the password was');
        is($agent->stop, 0, 'it ends in order');
        $ENV{PGPASSWORD} = 'test-only';
        $agent->start_again;
        ok(state_is($agent, 'following'), 'with the right one it copies');
        is_whole($agent, $db, 'over TCP');
    }
    my ($status, undef, $err) = Daa::run_program(Daa::program('daa-agent'), '--data-dir', scratch() . '/no-url', '--check-config', '--config', do {
        Daa::spew(scratch() . '/no-url.toml', "[database]\nsync = true\n"); scratch() . '/no-url.toml' });
    is($status, 1, 'sync without a url is refused');
    like($err, qr/\[database\] sync is true, but url/, 'with a sentence');
};

subtest 'a server out of connections' => sub {
    my $db = $copies->database;
    $server->sql(qq{CREATE ROLE crowded LOGIN SUPERUSER; ALTER DATABASE "$db" CONNECTION LIMIT 0; CREATE ROLE plain LOGIN;
        ALTER DATABASE "$db" OWNER TO plain; ALTER ROLE plain CREATEROLE});
    my $agent = start($server->url($db) =~ s/daa\@/plain\@/r);
    works($agent, 'it works');
    ok(state_is($agent, 'away'), 'the copy waits');
    like(copy($agent)->{trouble}, qr/too many connections/, 'and says why');
    $server->sql(qq{ALTER DATABASE "$db" CONNECTION LIMIT -1});
    ok(state_is($agent, 'following'), 'until there is one') or diag(JSON::PP::encode_json(copy($agent)));
    is_whole($agent, $db, 'after all were taken');
};

subtest 'statements that take too long' => sub {
    my $db = $copies->database;
    my $agent = start($server->url($db));
    works($agent, 'it works');
    ok(state_is($agent, 'following'), 'and copies');
    $server->sql(qq{ALTER DATABASE "$db" SET statement_timeout = '300ms'});
    $server->sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'daa-pgsync'});
    # Behind a new connection's look at the schema, which may take longer.
    works($agent, 'it works');
    catches_up($agent, 'with new connections');
    # A lock that is held for long.
    my ($holder, $psql) = (undef, join ' ', map { "'$_'" } $server->psql('BEGIN; LOCK daa.events; SELECT 1; SELECT pg_sleep(600)', $db));
    local $ENV{PGOPTIONS} = '-c statement_timeout=0';
    $holder = $copies->guard(open my $held, '-|', "exec $psql 2>/dev/null");
    ok((wait_until { $server->sql(q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()}) }), 'a table is locked');
    works($agent, 'it works');
    ok((wait_until { copy($agent)->{retries} >= 3 }), 'statements are given up and tried again');
    like(copy($agent)->{trouble}, qr/statement timeout/, 'which it says') or diag(JSON::PP::encode_json(copy($agent)));
    like($agent->get('/metrics')->{body}, qr/^daa_replication_retries_total\{sqlstate_class="57"\} [1-9]/m, 'and counts by class');
    $server->sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()});
    close $held;
    is_whole($agent, $db, 'after timeouts');
};

subtest 'kill -9 of the agent' => sub {
    my $db = $copies->database;
    my $agent = start($server->url($db));
    for my $round (1 .. 4) {
        works($agent, 'it works');
        for (1 .. 50) { $agent->post('/api/v1/workflows', { definition => $definition }) }
        $agent->kill;
        $agent->start_again;
    }
    works($agent, 'at last');
    is_whole($agent, $db, 'after kills');
};

subtest 'two copiers' => sub {
    my $db = $copies->database;
    my $agent = start($server->url($db));
    works($agent, 'it works');
    ok(state_is($agent, 'following'), 'and copies');
    my $pid = $copies->start($agent->dir, $db, '--follow', '--reader-name', 'other');
    ok((wait_until { $copies->said($pid) =~ /connected/ }), 'daa-pgsync takes over');
    works($agent, 'it works on');
    ok(state_is($agent, 'stopped'), 'its own copy stops');
    like(copy($agent)->{trouble}, qr/another daa-pgsync has taken over log/, 'and says why');
    like($agent->said, qr/sync: stopped until the agent is started again: another daa-pgsync/, 'also on stderr');
    is($agent->get('/ready')->{status}, 200, 'it is ready all the same');
    $agent->stop;
    $agent->start_again;
    works($agent, 'it works after a start');
    is($copies->end_of($pid), 1, 'which stops daa-pgsync');
    like($copies->said($pid), qr/another daa-pgsync has taken over log/, 'with a sentence');
    is_whole($agent, $db, 'by two');
};

subtest 'another history' => sub {
    my $db = $copies->database;
    my $agent = start($server->url($db));
    works($agent, 'it works');
    ok((wait_until { copy($agent)->{rows} }), 'and copies');
    is($agent->stop, 0, 'it ends');
    $server->sql(q{UPDATE daa.replica SET last_chain = decode(repeat('ab', 32), 'hex'); UPDATE daa.events SET record = record || '\\x00' WHERE seq % 2 = 1}, $db);
    $agent->start_again;
    works($agent, 'where the database has another history, it works');
    ok(state_is($agent, 'stopped'), 'but does not copy') or diag(JSON::PP::encode_json(copy($agent)), $agent->said);
    like(copy($agent)->{trouble}, qr/another history of log/, 'and says why');
    is($agent->stop, 0, 'it ends in order');
};

done_testing();
