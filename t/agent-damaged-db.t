#!/usr/bin/perl
# The database is derived: whatever became of it, daa-agent sets it aside, says so, and has the same
# documents again.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(scratch slurp spew wait_until);
use POSIX ();
use Test::More;

my $waits = { name => 'waits', steps => [ { id => 'a', signal => { name => 'go' } } ] };
my $agent = Daa->start(config => "[log]\nsegment_size = \"256KB\"\n");
my $data = $agent->dir . '/db/data.mdb';
my $aside = $agent->dir . '/db.aside/data.mdb';

$agent->post('/api/v1/workflows', { definition => $waits, input => { text => 'x' x 500 } }) for 1 .. 200;
sub digest { return $agent->get('/api/v1/state/digest')->{json}{digest} }
my $digest = digest();
is($agent->stop, 0, '(an agent with documents stops)');

my %damage = (
    'noise' => sub { spew($data, 'n' x length $_[0]) },
    'zeros' => sub { spew($data, "\0" x length $_[0]) },
    'cut in the middle' => sub { spew($data, substr $_[0], 0, int(length($_[0]) / 2)) },
    'cut behind its meta pages' => sub { spew($data, substr $_[0], 0, 8192) },
    'zeros but for its meta pages' => sub { spew($data, substr($_[0], 0, 8192) . "\0" x (length($_[0]) - 8192)) },
    'of another version of LMDB' => sub { spew($data, join '', map { my $page = substr $_[0], $_ * 4096, 4096; substr $page, 20, 4, pack 'V', 77; $page } 0, 1) },
);
for my $what (sort keys %damage) {
    my $bytes = slurp($data);
    $damage{$what}->($bytes);
    my $spoilt = slurp($data);
    unlink $aside;
    my $before = length $agent->said;
    ok(eval { $agent->start_again }, "a database that is $what: it starts") or diag($@);
    is(digest(), $digest, 'with the same documents');
    ok($agent->get('/status')->{json}{start}{documents_rebuilt}, 'which were rebuilt');
    like(substr($agent->said, $before), qr/ moved to \S+db\.aside.* are rebuilt/, 'as it says');
    is(length(slurp($aside) // '') >= length $spoilt, 1, 'and what was there is set aside');
    is($agent->stop, 0, 'it stops in order');
}
spew($data, substr slurp($data), 0, 4096);
ok(eval { $agent->start_again }, 'a database whose first write was cut short: it starts') or diag($@);
is(digest(), $digest, 'with the same documents');
is($agent->stop, 0, 'and stops in order');

# A document that nobody looked at when it started: its workflow sleeps.
{
    my $id = $agent->start_again->post('/api/v1/workflows', { definition => { name => 'sleepy', steps => [ { id => 'a', sleep => '3s' } ] } })->{json}{id};
    digest();
    $agent->kill;
    my $bytes = slurp($data);
    ok($bytes =~ s/\x08[\x01\x02](?=\x12\x06sleepy)/\xff\xff/g, '(one document is spoilt)');
    spew($data, $bytes);
    my $before = length $agent->said;
    $agent->start_again;
    ok(wait_until(sub { $agent->reap(POSIX::WNOHANG()) }), 'when it is needed, the agent ends') or $agent->kill;
    is($agent->{status}, 1, 'with a failure');
    like(substr($agent->said, $before), qr/a document of the state is damaged.*the next start makes the documents anew/, 'that says what happens next');
    ok(eval { $agent->start_again }, 'and starts again') or diag($@);
    is($agent->get("/api/v1/workflows/$id?wait=30s")->{json}{status}, 'completed', 'with all that was there');
    is($agent->stop, 0, 'and stops in order');
}
done_testing();
