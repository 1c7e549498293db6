#!/usr/bin/perl
# The event log cannot be written any more: what was not acknowledged is answered "unknown", the agent ends
# with a sentence, and the next start goes on. And what the service manager is told.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(wait_until scratch);
use IO::Socket::UNIX;
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
