#!/usr/bin/perl
# daa.anchors: the signed heads of a log in Postgres, each once with the event that records it, only ever added to,
# carried over from a schema without the table, and good for daa-log verify --anchor.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(scratch run_program program spew wait_until);
use JSON::PP ();
use PgServer;
use Test::More;

delete @ENV{grep { /^PG|^DAA_/ } keys %ENV};
my $server = PgServer->new(tcp => 1);
$server->create_database('copy');
my $json = JSON::PP->new->utf8->canonical;
my $nap = { name => 'nap', steps => [ { id => 'a', sleep => '0s' } ] };
my $agent = Daa->start(config => "[log]\nsegment_size = \"256KB\"\n[anchor]\ninterval = \"1h\"\n");

sub work {
    my ($count, $size) = @_;
    my $client = $agent->client;
    $client->request('POST', '/api/v1/workflows', { definition => $nap, input => 'x' x $size }) for 1 .. $count;
    wait_until(sub { my $status = $agent->get('/status')->{json}; !$status->{workflows}{unfinished} && !$status->{log}{unsealed} }) or die 'no end';
    return $agent->post('/api/v1/log:anchor', {}, $agent->as_admin)->{json};
}
sub copies { my ($status, undef, $said) = run_program(program('daa-pgsync'), '--data-dir', $agent->dir, '--url', $server->url('copy')); is($status, 0, $_[0]) or diag $said; return }
sub sql { return $server->sql($_[0], 'copy') }
my $as_json = q{json_build_object('event', event, 'log', log, 'seq', seq, 'chain', encode(chain, 'hex'), 'segment_no', segment_no,
    'signed_ns', signed_ns, 'previous', previous, 'segments', segments, 'public_key', encode(public_key, 'hex'), 'signature', encode(signature, 'hex'))};
sub anchors { return map { $json->decode($_) } split /\n/, sql("SELECT $as_json FROM daa.anchors ORDER BY event") }
sub served { my @items = reverse @{ $agent->get('/api/v1/log/anchors')->{json}{items} }; delete $_->{signed} for @items; return @items }

work(1, 100);
copies('a first copy');
is_deeply([ anchors() ], [ served() ], 'has the first anchor');
work(20, 12000) for 1 .. 3;
copies('a second copy');
my @served = served();
cmp_ok(scalar @served, '>', 2, 'of more anchors, ' . @served . ',');
is_deeply([ anchors() ], \@served, 'has each once, as the agent serves it');
is(sql('SELECT count(*) FROM daa.anchors a JOIN daa.events e ON e.log = a.log AND e.seq = a.event AND e.kind_name = \'log.anchored\''), scalar @served, 'with its event');
my $file = scratch() . '/anchors';
spew($file, join '', map { $json->encode($_) . "\n" } anchors());
my ($status, $out, $said) = run_program(program('daa-log'), 'verify', '--anchor', $file, $agent->dir);
is($status, 0, 'the log is held against them') or diag $out, $said;

for my $change ("UPDATE daa.anchors SET seq = 1", 'DELETE FROM daa.anchors', 'TRUNCATE daa.anchors') {
    my $refused = eval { sql("DO \$\$ BEGIN $change; RAISE 'done' USING ERRCODE = 'data_exception'; EXCEPTION WHEN raise_exception THEN NULL; END \$\$"); 1 };
    ok($refused, "refused: $change");
}
is(scalar(anchors()), scalar @served, 'all are there');

my $forget = 'DELETE FROM daa.replica; DELETE FROM daa.events; DELETE FROM daa.workflows';
sql($forget);
copies('a copy made anew');
is_deeply([ anchors() ], \@served, 'leaves the anchors that are there as they are');
is(sql('SELECT last_seq FROM daa.replica'), sql('SELECT max(seq) FROM daa.events'), '(and is whole)');
my $event = $served[1]{event};
for my $change ('chain = sha256(chain)', 'segments = segments || \'[1]\'', 'signature = public_key || public_key', 'event = event - 1') {
    sql("CREATE TABLE kept AS TABLE daa.anchors; ALTER TABLE daa.anchors DISABLE TRIGGER USER; UPDATE daa.anchors SET $change WHERE event = $event; $forget");
    ($status, undef, $said) = run_program(program('daa-pgsync'), '--data-dir', $agent->dir, '--url', $server->url('copy'));
    isnt($status, 0, "where $change, a copy made anew stops");
    like($said, qr/daa\.anchors holds another signed head at event \d+ of log \S+ than the log.*keep/, 'and says that what was signed differs') or diag $said;
    sql('DELETE FROM daa.anchors; INSERT INTO daa.anchors TABLE kept; DROP TABLE kept; ALTER TABLE daa.anchors ENABLE TRIGGER USER');
}
copies('once they agree');
is_deeply([ anchors() ], \@served, 'it goes on');

$server->schema_back_to(2, 'copy');
work(1, 100);
copies('a schema of version 2 is carried over');
is(sql('SELECT version FROM daa.meta'), PgServer->newest_schema, 'to the newest');
is_deeply([ anchors() ], [ served() ], 'with the anchors of events that were there before');
$agent->stop;
done_testing;
