#!/usr/bin/perl
# The derived tables, against what the agent itself says of the same workflows, and made with batches of
# every size.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Daa qw(wait_until scratch program run_program);
use JSON::PP ();
use PgCopy;
use PgServer;
use Test::More;

plan skip_all => PgServer->missing if PgServer->missing;
delete @ENV{grep { /^PG|^DAA_/ } keys %ENV};

my $server = PgServer->new;
my $databases = 0;
my $config = "[exec]\nenabled = true\nallow = [\"/bin/sh\"]\n";
my $agent = Daa->start(config => $config);
my $admin = $agent->as_admin;

sub submit { my ($definition, $wait) = @_; my $answer = $agent->post('/api/v1/workflows' . ($wait ? "?wait=$wait" : ''), { definition => $definition, metadata => { test => 'yes' } }, $admin); return $answer->{json}{id} // die $answer->{body} }
sub sh { my ($id, $script, %more) = @_; return { id => $id, exec => { argv => ['/bin/sh', '-c', $script] }, %more } }
sub shown { my ($id) = @_; return $agent->get("/api/v1/workflows/$id")->{json} }
sub status_is { my ($id, $status) = @_; return ok(wait_until(sub { shown($id)->{status} eq $status }, 30), "one is $status") }

submit({ name => 'good', steps => [sh('a', 'echo 1'), { id => 'b', needs => ['a'], sleep => '0s' }, sh('c', 'exit 0', needs => ['b'])] }, '30s');
submit({ name => 'fails', steps => [sh('a', 'echo no >&2; exit 3', on_failure => 'fail', retry => { max_attempts => 3, initial => '1ms', factor => 1 }), sh('after', 'exit 0', needs => ['a'])] }, '30s');
my $waits = submit({ name => 'waits', steps => [{ id => 'go', signal => { name => 'go' } }] });
my $cancelled = submit({ name => 'cancelled', steps => [{ id => 'nap', sleep => '1h' }, { id => 'go', signal => { name => 'go' } }] });
my $signalled = submit({ name => 'signalled', steps => [{ id => 'go', signal => { name => 'go' } }] });
$agent->post("/api/v1/workflows/$cancelled:cancel", { reason => 'asked' }, $admin);
$agent->post("/api/v1/workflows/$signalled/signals/go", { by => 'a test' }, $admin);
my @lost = map { submit({ name => "lost$_", steps => [sh('kill', 'kill -9 $$')] }) } 0 .. 2;
status_is($_, 'paused') for @lost;
$agent->post("/api/v1/workflows/$lost[0]:resolve", { step => 'kill', as => 'done', output => { looked => 1 }, reason => 'I looked' }, $admin);
$agent->post("/api/v1/workflows/$lost[1]:resolve", { step => 'kill', as => 'failed', reason => 'it did not' }, $admin);
status_is($lost[0], 'completed');
status_is($lost[1], 'failed');
status_is($signalled, 'completed');
status_is($cancelled, 'cancelled');
my %want = map { $_->{id} => $_ } map { shown($_->{id}) } @{ $agent->get('/api/v1/workflows?limit=100')->{json}{items} };
is(scalar keys %want, 8, 'workflows of every kind');

sub rows {
    my ($name) = @_;
    return map { [ $_ => $server->sql("SELECT to_jsonb(t) FROM daa.$_ t ORDER BY to_jsonb(t)::text COLLATE \"C\"", $name) ] } qw(workflows steps agents);
}

sub copied {
    my @options = @_;
    my $name = 'd' . ++$databases;
    $server->create_database($name);
    my ($status, undef, $err) = run_program(program('daa-pgsync'), '--data-dir', $agent->dir, '--url', $server->url($name), @options);
    is($status, 0, "a copy with @options") or diag $err;
    return $name;
}

my $whole = copied('--batch-rows', 20000);

subtest 'steps are what the agent says of them' => sub {
    my (%got, %expected);
    for ($server->rows(q{SELECT w.id, s.step, s.status, s.attempts, coalesce(s.outcome, '-'), coalesce(s.error, '-'), s.ended_at IS NOT NULL,
            coalesce(s.output::text, '-') FROM daa.steps s JOIN daa.workflows w USING (log, stream)}, $whole)) {
        my ($id, $step, @is) = @$_;
        $got{"$want{$id}{name} $step"} = "@is";
    }
    my $text = JSON::PP->new->canonical->allow_nonref->space_after;
    for my $workflow (values %want) {
        for (grep { $_->{started} || $_->{ended} && $_->{status} eq 'skipped' } @{ $workflow->{steps} }) {
            $expected{"$workflow->{name} $_->{id}"} = join ' ', $_->{status}, $_->{attempts}, $_->{outcome} // '-', $_->{error} // '-',
                $_->{ended} ? 't' : 'f', exists $_->{output} ? $text->encode($_->{output}) : '-';
        }
    }
    # A step that succeeded, or was resolved so, has no error in the table.
    for my $key (grep { $expected{$_} =~ /^completed/ } keys %expected) { s/(?<=^completed 1 done ).*(?= [tf] )/-/ for $expected{$key}, $got{$key} }
    # jsonb orders keys by length.
    for my $key (keys %expected) { for my $of (\%got, \%expected) { $of->{$key} =~ s/(\{.*\})/join ' ', sort split m{[{}, ]+}, $1/e if $of->{$key} } }
    is_deeply(\%got, \%expected, 'each of them') or diag explain [\%got, \%expected];
    cmp_ok(scalar keys %got, '>=', 8, 'and there are some');
};

subtest 'the views' => sub {
    my $of = sub { my ($view, $columns) = @_; return join ' ', sort map { "@$_" } $server->rows("SELECT $columns FROM daa.$view", $whole) };
    is($of->('running_workflows', 'name, status'), 'lost2 paused waits running', 'running_workflows');
    is($of->('uncertain_steps', 'name, step'), 'lost2 kill', 'uncertain_steps');
    is($of->('failures_today', 'name'), 'fails lost1', 'failures_today');
    is($of->('slow_steps', 'name'), '', 'slow_steps: none');
    $server->sql(q{UPDATE daa.steps SET started_at = started_at - interval '1 minute' WHERE step = 'c'}, $whole);
    is($of->('slow_steps', 'name, step'), 'good c', 'slow_steps: one');
    $server->sql(q{UPDATE daa.steps SET started_at = started_at + interval '1 minute' WHERE step = 'c'}, $whole);
};

subtest 'agents' => sub {
    my ($row) = $server->rows(q{SELECT id = log::text, active, registered_at IS NOT NULL, stopped_at IS NULL, version ~ '^\d', pid, last_heartbeat = (SELECT max(time) FROM daa.events) FROM daa.agents}, $whole);
    is("@$row", "t t t t t @{[ $agent->pid ]} t", 'one row, of one that runs');
};

$agent->stop;
my $stopped = copied('--batch-rows', 20000);
is(join(' ', map { "@$_" } $server->rows('SELECT active, stopped_at IS NOT NULL FROM daa.agents', $stopped)), 'f t', 'an agent that was stopped is not active');
my @good = rows($stopped);
for my $size (1, 2, 3, 7) {
    is_deeply([rows(copied('--batch-rows', $size))], \@good, "and no row depends on where batches end: $size");
}

subtest 'values that were replaced' => sub {
    my $copies = PgCopy->new($server);
    my $log = $copies->make_log('replaced', 'replaced');
    my %rows;
    for my $size (1, 2, 20000) {
        my $db = "replaced$size";
        $server->create_database($db);
        my ($status, undef, $err) = $copies->run($log, $db, '--batch-rows', $size);
        is($status, 0, "copied $size at a time") or diag $err;
        $rows{$size} = [rows($db)];
        is(($copies->run($log, $db, '--verify', '--content'))[0], 0, 'that is the log');
        ($status, undef, $err) = $copies->run($log, $db, '--rebuild');
        is($status, 0, 'and made anew') or diag $err;
        is_deeply([rows($db)], $rows{$size}, 'it has the same rows');
    }
    is_deeply($rows{$_}, $rows{1}, "as one at a time: $_") for 2, 20000;
    is(join(' ', map { "@$_" } $server->rows('SELECT name, lossy FROM daa.workflows ORDER BY name', 'replaced1')), 'error f reason t', 'a reason that was replaced');
    is($server->sql('SELECT lossy, error IS NULL FROM daa.steps', 'replaced1'), "t\x1ft", 'an error that was');
    is($server->sql('SELECT lossy, active, version IS NULL, host IS NULL, pid IS NULL FROM daa.agents', 'replaced1'), "t\x1ft\x1ft\x1ft\x1ft", 'and what an agent registered with');
};

subtest 'damage' => sub {
    my $json = sub {
        my ($status, $out, $err) = run_program(program('daa-pgsync'), '--data-dir', $agent->dir, '--url', $server->url($stopped), '--json', @_);
        return ($status, JSON::PP::decode_json($out || '{}'), $err);
    };
    my ($status, $result, $err) = $json->('--verify', '--content');
    is($status, 0, 'there is none') or diag $err, explain $result;
    my ($ended, $other) = map { $_->[0] } $server->rows(q{SELECT stream FROM daa.steps WHERE status = 'completed' GROUP BY stream HAVING count(*) = 1 ORDER BY stream}, $stopped);
    $server->sql($_, $stopped) for "UPDATE daa.steps SET status = 'running', ended_at = NULL WHERE stream = $ended", "DELETE FROM daa.steps WHERE stream = $other",
        q{INSERT INTO daa.steps (log, stream, step_index, status, attempts, lossy, started_at, last_seq) SELECT log, 1, 0, 'ready', 1, false, started_at, 1 FROM daa.steps LIMIT 1},
        q{UPDATE daa.steps SET error = 'another' WHERE status = 'cancelled' AND step = 'nap'},
        q{UPDATE daa.agents SET last_heartbeat = last_heartbeat - interval '1 hour'};
    ($status, $result) = $json->('--verify', '--content');
    is($status, 1, 'of every kind is found');
    my ($nap) = $server->sql(q{SELECT stream FROM daa.steps WHERE step = 'nap'}, $stopped);
    is_deeply([sort map { "$_->{what} $_->{table} " . ($_->{table} eq 'agents' ? '' : $_->{first}) . ($_->{columns} ? " ($_->{columns})" : '') } @{ $result->{differences} }],
        [sort 'content agents  (last_heartbeat)', "content steps $ended (status, ended_at)", 'extra steps 1', "missing steps $other", "content steps $nap (error)"],
        'each by its name') or diag explain $result;
    is(($json->('--repair'))[0], 0, '--repair mends it');
    is_deeply([rows($stopped)], \@good, 'and all is as it was');
};

# Runs the copier again, and says that the rows are as they were.
sub again {
    my ($name, @options) = @_;
    my ($status, $out, $err) = run_program(program('daa-pgsync'), '--data-dir', $agent->dir, '--url', $server->url($stopped), '--json', @options);
    is($status, 0, $name) or diag $err;
    is_deeply([rows($stopped)], \@good, "$name: the rows are what they were");
    my ($verified, undef, $why) = run_program(program('daa-pgsync'), '--data-dir', $agent->dir, '--url', $server->url($stopped), '--verify', '--content');
    is($verified, 0, "$name: all is clean") or diag $why;
    return JSON::PP::decode_json($out || '{}');
}

subtest 'made anew' => sub {
    my $all = $server->sql('SELECT count(*) FROM daa.events', $stopped);
    $server->schema_back_to(3, $stopped);
    cmp_ok(again('a copy from before there were steps')->{remade_rows}, '>', 8, 'which are made');
    is(again('once more')->{remade_rows}, 0, 'once');
    $server->sql('UPDATE daa.replica SET derived = 0; DELETE FROM daa.steps WHERE stream % 2 = 0; DELETE FROM daa.agents; DELETE FROM daa.workflows WHERE stream % 3 = 0', $stopped);
    cmp_ok(again('one that was killed while it made them')->{remade_rows}, '>', 8, 'makes all');
    $server->sql('TRUNCATE daa.steps, daa.agents, daa.workflows', $stopped);
    again('--rebuild', '--rebuild');
    my $epoch = $server->sql('SELECT epoch FROM daa.replica', $stopped);
    is(again('--rebuild --from', '--rebuild', '--from', 20)->{from_seq}, 20, 'begins there');
    cmp_ok($server->sql('SELECT epoch FROM daa.replica', $stopped), '>', $epoch + 1, 'and ends other copiers');
    is(again('--rebuild of everything', '--rebuild', '--from', 1)->{rows}, $all, 'copies all');
    $server->sql('UPDATE daa.events SET payload = NULL; UPDATE daa.workflows SET name = NULL', $stopped);
    again('--rebuild of what was changed', '--rebuild', '--from', 1);
    is(again('--rebuild behind the end', '--rebuild', '--from', $all + 1)->{rows}, 0, 'copies nothing');
    my ($status, undef, $err) = run_program(program('daa-pgsync'), '--data-dir', $agent->dir, '--url', $server->url($stopped), '--rebuild', '--from', $all + 2);
    is($status, 1, 'further than that there is nothing');
    like($err, qr/the log has events 1 to $all: there is nothing to be made anew from @{[$all + 2]} on/, 'which is said') or diag $err;
    my $empty = 'd' . ++$databases;
    $server->create_database($empty);
    ($status, undef, $err) = run_program(program('daa-pgsync'), '--data-dir', $agent->dir, '--url', $server->url($empty), '--rebuild');
    is($status, 1, 'of what is not there');
    like($err, qr/no copy of log.*--once/, 'it says what to do');
};

subtest 'no batch reads a whole table' => sub {
    my $copies = PgCopy->new($server);
    my $db = $copies->database;
    my $log = $copies->make_log('long', 'stepped 5000');
    is(($copies->run($log, $db))[0], 0, 'a copy of many workflows');
    my $reads = sub {
        my ($rows) = @_;
        wait_until { $server->sql(q{SELECT min(n_tup_ins) FROM pg_stat_user_tables WHERE schemaname = 'daa' AND relname IN ('workflows', 'steps')}, $db) >= $rows } or diag('statistics are late');
        return $server->sql(q{SELECT string_agg(relname || ' ' || seq_scan, ', ' ORDER BY relname) FROM pg_stat_user_tables WHERE schemaname = 'daa' AND relname IN ('workflows', 'steps')}, $db);
    };
    my $before = $reads->(5000);
    my $writer = $copies->start_writer($log);
    $copies->order($writer, 'stepped 200');
    $copies->end_writer($writer);
    is(($copies->run($log, $db, '--batch-rows', 20))[0], 0, '50 batches more');
    is($reads->(5200), $before, 'took what they needed by an index');
};

done_testing;
