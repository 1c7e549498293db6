#!/usr/bin/perl
# An agent whose events are encrypted, and Postgres: searches work as without encryption, and what was erased is not
# shown from there, whether the copy has come to the erasure or not.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(wait_until scratch program run_program);
use PgServer;
use Test::More;

plan skip_all => PgServer->missing if PgServer->missing;
delete @ENV{grep { /^PG|^DAA_/ } keys %ENV};

my $server = PgServer->new;
my $workflows = '/api/v1/workflows';
my $waits = { name => 'waits', steps => [{ id => 'a', signal => { name => 'go' } }] };
my ($databases, $secrets) = (0, 0);

sub database { my $name = 'd' . ++$databases; $server->create_database($name); return $name }
sub start {
    my ($db, $sync) = @_;
    my $agent = Daa->start(config => "[log]\nencryption = true\nseal = false\n[database]\nurl = \"" . $server->url($db) . "\"\nsync = $sync\n");
    return ($agent, { Authorization => 'Bearer ' . $agent->token });
}
# A workflow that has ended; (id, what only its metadata has).
sub finished {
    my ($agent) = @_;
    my $secret = 'XYZZY-' . ++$secrets;
    my $id = $agent->post($workflows, { definition => $waits, metadata => { who => $secret } })->{json}{id};
    $agent->post("$workflows/$id/signals/go", { note => $secret });
    wait_until { $agent->get("$workflows/$id")->{json}{status} eq 'completed' };
    return ($id, $secret);
}
sub copies {
    my ($agent, $db, $name) = @_;
    my ($status, $out, $err) = run_program(program('daa-pgsync'), '--data-dir', $agent->dir, '--url', $server->url($db));
    return is($status, 0, $name) || diag $err;
}
sub search { my ($agent, $secret) = @_; return $agent->get("$workflows?source=postgres&metadata.who=$secret") }
sub found { my ($agent, $secret) = @_; return join ' ', map { $_->{id} } @{ search($agent, $secret)->{json}{items} // [{ id => 'none' }] } }
sub rows { my ($db, $secret) = @_; return $server->sql("SELECT count(*) FROM daa.events WHERE payload::text LIKE '%$secret%'", $db) }

subtest 'a copy that is behind' => sub {
    my $db = database();
    my ($agent, $admin) = start($db, 'false');
    my ($id, $secret) = finished($agent);
    my ($other, $others) = finished($agent);
    copies($agent, $db, 'a copy');
    is(found($agent, $secret), $id, 'a search by metadata finds it');
    is($agent->post("$workflows/$id:erase", {}, $admin)->{status}, 200, 'it is erased');
    cmp_ok(rows($db, $secret), '>', 0, '(the copy shows it still)');
    is(found($agent, $secret), '', 'a search does not');
    is(found($agent, $others), $other, 'others are found');
    my $gone = $agent->get("$workflows/$id");
    is("$gone->{status} $gone->{json}{code}", '410 erased', 'nor is it shown by its id');
    copies($agent, $db, 'the copy comes to it');
    is(rows($db, $secret), 0, 'and shows it no more');
    is($server->sql("SELECT count(*) FROM daa.workflows WHERE id = '$id'", $db), 0, 'nor does daa.workflows');
    is(found($agent, $secret), '', 'a search does not find it');
    $gone = $agent->get("$workflows/$id");
    is("$gone->{status} $gone->{json}{code}", '410 erased', 'it is erased');
    $agent->stop;
};

subtest 'an agent that copies its log itself' => sub {
    my $db = database();
    my ($agent, $admin) = start($db, 'true');
    my ($id, $secret) = finished($agent);
    my ($other, $others) = finished($agent);
    ok((wait_until { found($agent, $secret) eq $id } 60), 'uses its keys: a search finds it');
    is($agent->post("$workflows/$id:erase", {}, $admin)->{status}, 200, 'it is erased');
    ok((wait_until { rows($db, $secret) == 0 } 60), 'there too');
    is(found($agent, $secret), '', 'a search does not find it');
    is(found($agent, $others), $other, 'others are found');
    is($agent->get('/status')->{json}{database}{copy}{withheld}, 0, 'no key was missing');
    $agent->stop;
    copies($agent, $db, 'the rest is copied');
    my ($status, $out, $err) = run_program(program('daa-pgsync'), '--data-dir', $agent->dir, '--url', $server->url($db), '--verify', '--content');
    is($status, 0, 'and it verifies') or diag $out, $err;
};
done_testing;
