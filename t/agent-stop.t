#!/usr/bin/perl
# SIGTERM while clients come and go: each stop is an orderly one, and what was acknowledged is there.
# TEST_EXHAUSTIVE=1 stops it a few hundred times, since what goes wrong there is a race.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(wait_until scratch spew slurp);
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX ();
use Test::More;

my $stops = $ENV{TEST_EXHAUSTIVE} ? 300 : 12;
my $clients = 6;
my $definition = { name => 'nap', steps => [ { id => 'a', sleep => '0s' } ] };
my $dir = scratch() . '/data';
my $config = "[runtime]\nworker_threads = 4\n[log]\nsegment_size = \"256KB\"\n[api]\nsocket = \"$dir.sock\"\n";

# One that keeps libmicrohttpd's threads awake, so that they look at their sockets all the time.
sub hammer {
    my ($agent) = @_;
    my $pid = fork() // die "fork: $!";
    return $pid if $pid;
    local $SIG{PIPE} = 'IGNORE';
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $agent->port);
    my ($bytes, $answers) = ("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n") x 2;
    while ($socket && syswrite $socket, $bytes x 20) { sysread $socket, $answers, 65536 or last }
    POSIX::_exit(0);
}

# One that submits on a kept connection, on new ones, over the Unix socket, or only connects, until nobody
# answers; the ids that were acknowledged go into a file.
sub client {
    my ($agent, $number) = @_;
    my $pid = fork() // die "fork: $!";
    return $pid if $pid;
    my @ids;
    my $client = Daa::Client->new($number % 3 == 2 ? (path => "$dir.sock") : (port => $agent->port), timeout => 20);
    for (1 .. 100_000) {
        if ($number == 5) { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $agent->port) or last; next }
        my $answer = $client->request('POST', '/api/v1/workflows' . ($number == 4 ? '?wait=5s' : ''), { definition => $definition });
        last if $answer->{status} !~ /^(?:200|202|429)$/;
        push @ids, $answer->{json}{id} if $answer->{status} != 429;
        $client->close if $number % 2;
    }
    spew("$dir.ids-$number", join "\n", @ids);
    POSIX::_exit(0);
}

my ($orderly, $acknowledged, @wrong, @lost) = (0, 0);
my $agent = Daa->start(dir => $dir, config => $config);
for my $stop (1 .. $stops) {
    unlink "$dir.ids-$_" for 0 .. $clients - 1;
    my @pids = ((map { hammer($agent) } 1 .. 4), map { client($agent, $_) } 0 .. $clients - 1);
    wait_until(sub { $agent->get('/api/v1/workflows?limit=5')->{json}{items}[0] }) or die 'no workflow was taken';
    my $status = $agent->stop;
    waitpid $_, 0 for @pids;
    $status == 0 ? $orderly++ : push @wrong, "stop $stop ended with $status: " . $agent->said;
    my @ids = map { [ split /\n/, slurp("$dir.ids-$_") // '' ] } 0 .. $clients - 1;
    $acknowledged += @$_ for @ids;
    $agent->start_again;
    # The newest of each: what was acknowledged last is the first that a bad stop would lose.
    push @lost, grep { $agent->get("/api/v1/workflows/$_")->{status} != 200 } map { @$_ > 5 ? @$_[-5 .. -1] : @$_ } @ids;
}
is($orderly, $stops, "$stops stops under load are orderly") or diag(join "\n", splice @wrong, 0, 5);
cmp_ok($acknowledged, '>', 0, "$acknowledged workflows were acknowledged meanwhile");
is("@lost", '', 'and those that are asked for are there after the next start');
is($agent->stop, 0, 'a stop without load is one too');

# Half a request keeps the API there for a while after everything else has ended.
sub has_thread {
    my ($agent, $name) = @_;
    return scalar grep { (slurp($_) // '') eq "$name\n" } glob '/proc/' . $agent->pid . '/task/*/comm';
}
$agent->start_again;
my $half = $agent->client;
$half->send("POST /api/v1/workflows HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{");
wait_until(sub { $agent->get('/status')->{json}{api}{under_way} == 2 }) or die 'half a request is not under way';
has_thread($agent, 'daa-housekeeper') or die 'there is no housekeeper';
$agent->signal('TERM');
wait_until(sub { !has_thread($agent, 'daa-housekeeper') }) or die 'its housekeeper does not end';
my $answer = $agent->get('/status');
is($answer->{status}, 200, 'the status is told until the end');
is($answer->{json}{state_of_agent}, 'stopping', 'and says that this is a stop');
$half->close;
ok(wait_until(sub { $agent->reap(POSIX::WNOHANG()) }), 'it ends') or $agent->kill;
is($agent->{status}, 0, 'in order');
done_testing();
