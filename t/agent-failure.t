#!/usr/bin/perl
# The event log cannot be written any more: what was not acknowledged is answered "unknown", the agent ends
# with a sentence, and the next start goes on. And what the service manager is told.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(wait_until scratch program run_program);
use Fault ();
use IO::Socket::UNIX;
use JSON::PP qw(decode_json);
use Socket qw(SOCK_DGRAM);
use Test::More;

my $nap = { name => 'nap', steps => [{ id => 'a', sleep => '0s' }] };
my $waits = { name => 'waits', steps => [{ id => 'a', signal => { name => 'go' } }] };

subtest 'a log that fails' => sub {
    plan skip_all => 'prlimit is not there' if !-x '/usr/bin/prlimit';
    my $agent = Daa->start(config => "[log]\nsegment_size = \"1MB\"\nengine = \"plain\"\n");
    my @good = map { $agent->post('/api/v1/workflows', { definition => $nap })->{json}{id} } 1 .. 20;
    is(scalar(grep { defined } @good), 20, 'workflows are acknowledged');

    # From now on a write behind the first bytes of a file fails.
    is(system('/usr/bin/prlimit', '--fsize=4096:4096', '--pid', $agent->pid), 0, '(the disk takes no more)');
    my $client = $agent->client;
    my $answer = $client->request('POST', '/api/v1/workflows', { definition => $waits }, { 'Idempotency-Key' => 'once' });
    is($answer->{status}, 503, 'what cannot be made durable is answered 503');
    is($answer->{json}{code}, 'outcome-unknown', 'as unknown');
    is($answer->{json}{safe_to_retry}, JSON::PP::true(), 'safe to ask again, since it has a key');
    ok(wait_until(sub { $agent->reap(POSIX::WNOHANG()) }, 30), 'the agent ends');
    is($agent->{status}, 1, 'with exit status 1');
    my @said = split /\n/, $agent->said;
    cmp_ok(scalar(grep { /log/ } @said), '>=', 1, 'and a sentence about the log') or diag($agent->said);

    $agent->start_again;
    my %there = map { $_->{id} => 1 } @{ $agent->get('/api/v1/workflows?limit=1000')->{json}{items} };
    is(scalar(grep { !$there{$_} } @good), 0, 'after the next start all that was acknowledged is there');
    $answer = $agent->post('/api/v1/workflows', { definition => $waits }, { 'Idempotency-Key' => 'once' });
    is($answer->{status}, 202, 'asking again with the key is accepted');
    is(scalar @{ $agent->get('/api/v1/workflows?name=waits')->{json}{items} }, 1, 'and makes it once');
    is($agent->stop, 0, 'the agent stops in order');
};

subtest 'a write that fails' => sub {
    my $n = 0;
    for my $do (qw(eio short)) {
        my $dir = scratch() . '/failover-' . ++$n;
        my $fault = Fault->new(dir => $dir, match => 'log/seg-*', arm => "$dir.arm", at => 2, do => $do);
        my $agent = $fault->under(sub { Daa->start(dir => $dir, config => "[log]\nsegment_size = \"1MB\"\nengine = \"plain\"\n") });
        ok(wait_until(sub { $agent->get('/status')->{json}{log}{spares} >= 2 }, 30), "$do: (spares are there)");
        $fault->arm_now;
        my @ids = map { $agent->post('/api/v1/workflows', { definition => $nap })->{json}{id} } 1 .. 20;
        is(scalar(grep { defined } @ids), 20, "$do: each workflow is acknowledged");
        like($fault->fired, qr/^$do at call 2/, "$do: though a write failed");
        is($agent->get('/status')->{json}{log}{failovers}, 1, "$do: the log has failed over, once");
        like($agent->said, qr/seg-\d+\.log: .*; the log goes on in segment \d+ behind event \d+/, "$do: and the agent says so");
        ok(wait_until(sub { !grep { $agent->get("/api/v1/workflows/$_")->{json}{status} ne 'completed' } @ids }, 30), "$do: all of them complete");
        is($agent->stop, 0, "$do: the agent stops in order");
        my ($status, $out) = run_program(program('daa-log'), 'verify', $dir);
        is($status, 0, "$do: the log is sound") or diag($out);
        like($out, qr/failovers to another segment after a write failed: 1 /, "$do: and tells of it");
        ($status, $out) = run_program(program('daa-log'), 'ls', '--json', $dir);
        my @states = map { "$_->{state} $_->{end}" } grep { $_->{type} eq 'segment' && $_->{events} } map { decode_json($_) } split /\n/, $out;
        is_deeply(\@states, ['failed-over failover', 'closed CLOSE'], "$do: and ls calls the segment that was left what it is");
        ($status, $out) = run_program(program('daa-log'), 'cat', '--json', '-k', 'storage.failover', $dir);
        my ($event) = map { decode_json($_) } split /\n/, $out;
        ($status, $out) = run_program(program('daa-log'), 'hexdump', '--seq', $event->{seq}, $dir);
        like($out, qr/prev_last_seq = $event->{payload}{prev_last_seq}$/m, "$do: its bytes have names");
        $agent->start_again;
        is(scalar(grep { $agent->get("/api/v1/workflows/$_")->{json}{status} eq 'completed' } @ids), 20, "$do: after the next start they are there");
        is($agent->stop, 0, "$do: the agent stops in order");
    }
};

subtest 'a write that takes long' => sub {
    my $dir = scratch() . '/stall';
    my $fault = Fault->new(dir => $dir, match => 'log/seg-*', arm => "$dir.arm", at => 1, do => 'stall');
    my $agent = $fault->under(sub { Daa->start(dir => $dir, config => "[log]\nsegment_size = \"1MB\"\nengine = \"plain\"\n") });
    my $log = sub { $agent->get('/status')->{json}{log} };
    ok(wait_until(sub { $log->()->{spares} >= 2 }, 30), '(spares are there)');
    $fault->arm_now;
    my $pid = fork() // die "fork: $!";
    if (!$pid) { # a client whose request is held up
        my $status = $agent->client->request('POST', '/api/v1/workflows', { definition => $nap })->{status};
        POSIX::_exit($status == 202 ? 0 : 1);
    }
    ok(wait_until(sub { $log->()->{stalled_ms} > 500 }, 30), 'the agent says for how long a write has been under way');
    ok(wait_until(sub { $log->()->{stalled_ms} > 2000 }, 30), '(it lasts)');
    my $refused = $agent->post('/api/v1/workflows', { definition => $nap });
    is($refused->{status}, 503, 'then what would have to wait for it is refused');
    is($refused->{json}{code}, 'log-stalled', 'for that reason');
    is($agent->get('/api/v1/workflows')->{status}, 200, 'reading goes on');
    unlink "$dir.arm";
    waitpid $pid, 0;
    is($?, 0, 'the request that was held up is acknowledged once the write is done');
    is($agent->post('/api/v1/workflows', { definition => $nap })->{status}, 202, 'and others are taken');
    is($log->()->{failovers}, 0, 'nothing was written elsewhere');
    cmp_ok($log->()->{stalls}, '>=', 1, 'it is counted');
    ok(wait_until(sub { $agent->said =~ /a write to the event log took \d+\.\d s/ }, 30), 'and said');
    is($agent->stop, 0, 'the agent stops in order');
    my ($status, $out) = run_program(program('daa-log'), 'cat', '--json', '-k', 'storage.stalled', $dir);
    like($out, qr/"longest_ns":\d{10}/, 'and in the log');
};

subtest 'the service manager' => sub {
    my $path = scratch() . '/notify';
    my $socket = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => $path) or die "socket: $!";
    local $ENV{NOTIFY_SOCKET} = $path;
    my $agent = Daa->start;
    my $told = sub { local $SIG{ALRM} = sub { die "nothing\n" }; alarm 20; $socket->recv(my $text, 100); alarm 0; return $text };
    is($told->(), 'READY=1', 'is told when the agent is ready');
    is($agent->stop, 0, '(it stops)');
    is($told->(), 'STOPPING=1', 'and when it stops');
};

subtest 'a hurry' => sub {
    my $agent = Daa->start(config => "[exec]\nenabled = true\nallow = [\"/bin/sleep\"]\n");
    my $slow = { name => 'slow', steps => [{ id => 'a', exec => { argv => ['/bin/sleep', '300'] }, timeout => '400s' }] };
    my $id = $agent->post('/api/v1/workflows', { definition => $slow }, $agent->as_admin)->{json}{id};
    ok(wait_until(sub { $agent->get('/status')->{json}{effects}{under_way} == 1 }, 20), 'a program runs');
    my $pid = $agent->pid;
    $agent->signal('TERM');
    ok(wait_until(sub { $agent->signal('TERM'); $agent->reap(POSIX::WNOHANG()) }, 20), 'a second SIGTERM ends the agent at once');
    is($agent->{status}, 128 + 15, 'and shows in its exit status');
    $agent->start_again;
    ok(wait_until(sub { $agent->get("/api/v1/workflows/$id")->{json}{status} eq 'paused' }, 20), 'the program that was cut off is uncertain after the next start');
    is($agent->stop, 0, 'the agent stops in order');
};

done_testing();
