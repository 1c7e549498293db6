#!/usr/bin/perl
# Large answers: a list comes in pages of bounded size, and readers who do not read hold a bounded share of the
# memory, past which large answers are refused for the moment and small ones are not.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(wait_until);
use IO::Select;
use IO::Socket::INET;
use Socket qw(SOL_SOCKET SO_RCVBUF);
use Test::More;

my $count = 24;
my $nap = { name => 'nap', steps => [ { id => 'a', sleep => '0s' } ] };
my $agent = Daa->start(config => "[memory]\nmax_heap_size = \"72MB\"\n[log]\nsegment_size = \"4MB\"\n[api]\nrequest_timeout = \"600s\"\n");

# A submission of so many bytes.
sub large { my ($size) = @_; return '{"definition": {"name": "nap", "steps": [{"id": "a", "sleep": "0s"}]}, "metadata": {"text": "' . 'x' x $size . '"}}' }

# A client that asks and, if told so, does not read. Its socket takes little.
sub ask {
    my ($path) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $agent->port, Sockopts => [ [ SOL_SOCKET, SO_RCVBUF, 4096 ] ]) or die "socket: $!";
    print {$socket} "GET $path HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    $socket->flush;
    return $socket;
}

# Status and body as they are: JSON::PP takes seconds for one of megabytes.
sub answer {
    my ($socket) = @_;
    local $/;
    my ($head, $text) = split /\r\n\r\n/, scalar(<$socket>) // '', 2;
    return ($head =~ m{^HTTP/1.1 (\d+)} ? $1 : 0, $text // '');
}
sub memory { return $agent->get('/status')->{json}{memory} }

my %accepted;
for (1 .. $count) {
    my ($body, $answer) = large(900_000);
    wait_until(sub { ($answer = $agent->post('/api/v1/workflows', $body))->{status} != 429 }) or die 'memory is never free again';
    $accepted{ $answer->{json}{id} } = 1 if $answer->{status} == 202;
}
is(scalar keys %accepted, $count, "$count large workflows are accepted");

my ($pages, $largest, $cursor, @wrong) = (0, 0, '');
do {
    my ($status, $text) = answer(ask("/api/v1/workflows?limit=1000$cursor"));
    push @wrong, "$status: " . substr $text, 0, 500 if $status != 200;
    $largest = length $text if length $text > $largest;
    delete @accepted{ $text =~ /"id":"(wf-[^"]+)"/g };
    $cursor = $text =~ /"next_cursor":"(\w+)"/ ? "&cursor=$1" : '';
} while ($cursor && ++$pages < 100);
is("@wrong", '', 'a list of them is shown');
cmp_ok($largest, '<', 6_000_000, 'in pages of some megabytes');
is(join(' ', keys %accepted), '', 'and all of them are in it');

# A page is more than a socket takes; four of them fit into a quarter of the memory, and not one workflow more.
my @silent = map { ask('/api/v1/workflows?limit=1000') } 1 .. 15;
ok(wait_until(sub { my @answered = IO::Select->new(@silent)->can_read(0); @answered == @silent }), 'each of 15 silent readers is answered');
my $held = memory()->{requests}{used};
cmp_ok($held, '>', 10_000_000, 'what they do not read is on the budget');
cmp_ok($held, '<', 20_000_000, 'and no more than a share of it');
my ($status, $text) = answer(ask('/api/v1/workflows?limit=1000'));
is($status, 429, 'another large answer is refused for the moment');
ok($text =~ /not read yet.*"memory-budget"/, 'as it says') or diag substr $text, 0, 500;
is($agent->get('/api/v1/workflows?limit=1&name=none')->{status}, 200, 'a small one is not');
is($agent->post('/api/v1/workflows', { definition => $nap })->{status}, 202, 'nor is a workflow');
my $done = $agent->post('/api/v1/workflows?wait=30s', large(900_000));
is($done->{status}, 202, 'one that is large and was waited for is accepted, though it cannot be shown') or diag substr $done->{body}, 0, 500;
is($done->{json}{status}, 'completed', 'with its status');
@silent = ();
ok(wait_until(sub { memory()->{requests}{used} < $held / 4 }), 'when the readers are gone so is what they held');
($status) = answer(ask('/api/v1/workflows?limit=1000'));
is($status, 200, 'and large answers are given again');
is($agent->stop, 0, 'the agent ends in order');
done_testing();
