#!/usr/bin/perl
# More workflows than memory holds, and what is over: the daemon lets both go and forgets neither.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(wait_until scratch run_program program spew clock_file set_clock);
use JSON::PP ();
use Test::More;

my $sleeper = { name => 'sleeper', steps => [{ id => 'a', sleep => '1h' }, { id => 'b', needs => ['a'], sleep => '0s' }] };
my $quick = { name => 'quick', steps => [{ id => 'a', sleep => '0s' }] };
my $waiter = { name => 'waiter', steps => [{ id => 'go', signal => { name => 'go' } }] };

sub status_of { my ($agent) = @_; return $agent->get('/status')->{json} }

sub load {
    my ($agent, $definition, $count) = @_;
    my $file = scratch() . "/definition-$$.json";
    spew($file, JSON::PP::encode_json($definition));
    my ($status, $out, $err) = run_program(program('daa-cli'), 'benchmark', 'workflow-throughput', '--url', $agent->url,
        '--mode', 'accept', '--definition', $file, '--count', $count, '--clients', 20);
    die "daa-cli: $status $err" if $status != 0;
    return;
}

subtest 'more workflows than memory holds' => sub {
    my $many = 6000;
    my $clock = clock_file();
    my $agent = Daa->start(clock => $clock, config => <<'END');
[log]
segment_size = "256KB"
[memory]
max_heap_size = "64MB"
[state]
idle_bytes = "1MB"
END
    load($agent, $sleeper, $many);
    my $waits = $agent->post('/api/v1/workflows', { definition => $waiter })->{json}{id};
    ok(wait_until(sub { status_of($agent)->{workflows}{unfinished} == $many + 1 }), 'all are there');
    my $now = status_of($agent);
    is($now->{workflows}{timers}, $many, 'each with its timer');
    cmp_ok($now->{workflows}{idle_bytes}, '<=', 1 << 20, 'those in memory take no more than they may');
    cmp_ok($now->{workflows}{in_memory}, '<', $many, 'which are not all');
    cmp_ok($now->{memory}{workflows}{peak}, '<', 8 << 20, 'and there were never many more');
    wait_until(sub { my $is = status_of($agent); $is->{state}{applied_seq} == $is->{log}{durable_seq} });
    $agent->kill;
    $agent->start_again;
    $now = status_of($agent);
    is($now->{workflows}{in_memory}, 0, 'a cold start loads none that only wait');
    is($now->{workflows}{timers}, $many, 'but their timers');
    is($agent->post("/api/v1/workflows/$waits/signals/go", {})->{status}, 202, 'one that is not in memory takes a signal');
    is($agent->get("/api/v1/workflows/$waits?wait=30s")->{json}{status}, 'completed', 'and goes on');
    set_clock($clock, 3700, 3700);
    ok(wait_until(sub { status_of($agent)->{workflows}{unfinished} == 0 }, 120), 'when their time has come all go on');
    is(status_of($agent)->{workflows}{completed}, $many + 1, 'and complete');
    cmp_ok(status_of($agent)->{loop}{reads_ahead}, '>', 0, 'their documents were read ahead');
    cmp_ok(status_of($agent)->{memory}{workflows}{peak}, '<', 8 << 20, 'memory stayed within bounds');
    is($agent->stop, 0, 'the agent ends in order');
};

subtest 'what is over' => sub {
    my $clock = clock_file();
    my $agent = Daa->start(clock => $clock, config => <<'END');
[log]
segment_size = "256KB"
[state]
finished_ttl = "1h"
[idempotency]
ttl = "2h"
END
    my $keyed = sub { $agent->post('/api/v1/workflows?wait=30s', { definition => $quick, input => $_[0] }, { 'Idempotency-Key' => 'order-7' }) };
    my $first = $keyed->(1);
    is($first->{json}{status}, 'completed', 'a workflow with a key completes');
    my $id = $first->{json}{id};
    is($keyed->(1)->{json}{id}, $id, 'its key is known');
    is($keyed->(2)->{status}, 422, 'for that request only');
    my $waits = $agent->post('/api/v1/workflows', { definition => $waiter })->{json}{id};
    is($agent->get("/api/v1/workflows/$id")->{status}, 200, 'and it is shown');
    set_clock($clock, 3700, 3700);
    ok(wait_until(sub { $agent->get("/api/v1/workflows/$id")->{status} == 410 }), 'after its time it is gone');
    like($agent->get("/api/v1/workflows/$id")->{json}{detail}, qr/\Q$id\E has ended and left the state.*daa-log/, 'which is said with where to look');
    is($agent->get("/api/v1/workflows/$id/history")->{status}, 410, 'its history too');
    is($agent->post("/api/v1/workflows/$id:cancel", {})->{status}, 404, 'nobody can change it');
    is($agent->get("/api/v1/workflows/$waits")->{status}, 200, 'one that has not ended stays');
    (my $never = $waits) =~ s/\d+$/999999/;
    is($agent->get("/api/v1/workflows/$never")->{status}, 404, 'one that never was is just not there');
    my $again = $keyed->(1);
    is($again->{headers}{'idempotent-replayed'}, 'true', 'its key is known longer than itself') or diag explain $again;
    set_clock($clock, 7300, 7300);
    ok(wait_until(sub { status_of($agent)->{workflows}{idempotency_keys} == 0 }), 'until its own time is over');
    my $other = $keyed->(2);
    is($other->{status}, 200, 'then another request may use it');
    isnt($other->{json}{id}, $id, 'for another workflow');
    my %kinds = map { $_ => 1 } map { JSON::PP::decode_json($_)->{kind} } split /\n/, (run_program(program('daa-log'), 'cat', '--json', $agent->dir))[1];
    ok($kinds{'workflows.expired'} && $kinds{'keys.expired'}, 'all of it is in the log');
    my $digest = sub { $agent->get('/api/v1/state/digest', $agent->as_admin)->{json}{digest} };
    $agent->stop;
    $agent->start_again;
    my $before = $digest->();
    $agent->kill;
    run_program('rm', '-r', $agent->dir . '/db');
    $agent->start_again;
    is($digest->(), $before, 'and gives the same state again') or diag $agent->said;
    is($agent->stop, 0, 'the agent ends in order');
};

subtest 'a clock that is accepted lets nothing elapse' => sub {
    my $clock = clock_file();
    my $agent = Daa->start(clock => $clock, config => qq([log]\nsegment_size = "256KB"\n[state]\nfinished_ttl = "7d"\n));
    my $id = $agent->post('/api/v1/workflows?wait=30s', { definition => $quick })->{json}{id};
    set_clock($clock, 31_536_000, 0);
    ok(wait_until(sub { $agent->get('/api/v1/clock')->{json}{state} eq 'degraded' }), 'the wall clock is a year ahead');
    is($agent->post('/api/v1/clock:accept', {}, $agent->as_admin)->{status}, 200, 'and accepted');
    my $late = $agent->post('/api/v1/workflows?wait=30s', { definition => $quick })->{json}{id};
    my $looks = sub { status_of($agent)->{uptime_s} };
    my $since = $looks->();
    wait_until(sub { $looks->() > $since + 3 });    # housekeeping looks each second
    is($agent->get("/api/v1/workflows/$id")->{status}, 200, 'what ended before is not a year old');
    set_clock($clock, 31_536_000 + 8 * 86400, 8 * 86400);
    for my $gone ($id, $late) {
        ok(wait_until(sub { $agent->get("/api/v1/workflows/$gone")->{status} == 410 }), 'a week later it is gone');
    }
    is($agent->stop, 0, 'the agent ends in order');
};

done_testing;
