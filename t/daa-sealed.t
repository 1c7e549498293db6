#!/usr/bin/perl
# An agent whose segments are sealed as soon as they are over: everything that reads the log shows the same, a
# reader written from the page agrees, zstd unpacks it, damage is named, and kill -9 in between loses nothing.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(scratch run_program program slurp wait_until);
use JSON::PP ();
use LogReader;
use Test::More;
use Time::HiRes ();

my $json = JSON::PP->new->utf8;
my $config = "[log]\nsegment_size = \"256KB\"\n";
my $nap = { name => 'nap', steps => [ { id => 'a', sleep => '0s' } ] };
sub daa_log { return run_program(program('daa-log'), @_) }
sub log_of { my ($agent) = @_; return $agent->get('/status')->{json}{log} }
sub sealed_files { my ($dir) = @_; my @files = sort glob "$dir/log/seg-*.zlog"; return @files }

sub work {
    my ($agent, $count) = @_;
    my $client = $agent->client;
    my @ids = map { $client->request('POST', '/api/v1/workflows', { definition => $nap, input => "number $_ " . 'x' x 15000 })->{json}{id} } 1 .. $count;
    wait_until(sub { $agent->get('/status')->{json}{workflows}{unfinished} == 0 }) or die 'workflows do not end';
    return @ids;
}

# The same events in daa-log and in the reader of the page; how many.
sub compare {
    my ($dir, $name) = @_;
    my ($status, $out, $said) = daa_log('cat', '--json', $dir);
    is($status, 0, "$name: cat is good") or diag($said);
    my @shown = map { $json->decode($_) } split /\n/, $out;
    my @read = eval { LogReader::read_log("$dir/log") };
    is($@, '', "$name: the reader of the page reads it");
    is_deeply([ map { "$_->{seq} $_->{stream}" } @shown ], [ map { "$_->{seq} $_->{stream}" } @read ], "$name: both show the same events");
    ($status, $out) = daa_log('verify', '--json', $dir);
    is($status, 0, "$name: verify finds nothing") or diag($out);
    return scalar @shown;
}

my $agent = Daa->start(config => $config);
my @ids = work($agent, 60);
ok((wait_until { log_of($agent)->{unsealed} == 0 }), 'what is over is sealed');
my $log = log_of($agent);
cmp_ok($log->{sealed}, '>=', 3, "$log->{sealed} segments");
cmp_ok($log->{sealed_packed_bytes} * 10, '<', $log->{sealed_raw_bytes}, 'in less than a tenth of the room');
is($log->{seal_trouble}, undef, 'without trouble');
is(scalar(sealed_files($agent->dir)), $log->{sealed}, 'as many files are there');
my $first = $agent->get("/api/v1/workflows/$ids[0]/history")->{json};
is($first->{items}[0]{kind}, 'workflow.submitted', 'the history of a workflow reaches into them');
my $begun = compare($agent->dir, 'a live log');

# A snapshot of what zstd makes of it.
my ($path) = sealed_files($agent->dir);
my (undef, $unpacked) = run_program('zstd', '-q', '-dc', $path);
is(substr($unpacked, 0, 8), "\x89DAAL\r\n\x1a", 'zstd unpacks a segment');
my ($status, undef, $said) = run_program('zstd', '-q', '-t', $path);
is($status, 0, 'and finds it whole') or diag($said);

for my $round (1 .. 4) {
    push @ids, work($agent, 15);
    Time::HiRes::sleep(rand 0.02);
    $agent->kill;
    $agent->start_again;
}
ok((wait_until { log_of($agent)->{unsealed} == 0 }), 'after kill -9 at any time the rest is sealed');
is((grep { $agent->get("/api/v1/workflows/$_")->{status} != 200 } @ids), 0, 'no workflow is lost');
is($agent->stop, 0, 'the agent stops');
cmp_ok(compare($agent->dir, 'a stopped log'), '>', $begun, 'which has more events');

subtest 'rebuilt from sealed segments' => sub {
    $agent->start_again;
    my $digest = $agent->get('/api/v1/state/digest', $agent->as_admin)->{json}{digest};
    is($agent->stop, 0, 'the agent stops');
    my ($code, $out) = daa_log('replay', '--json', '--into', scratch() . '/replayed', $agent->dir);
    is($code, 0, 'the log is replayed') or diag($out);
    $agent->start_again;
    ok($digest, 'its documents have a digest');
    is($agent->get('/status')->{json}{status} // 'ok', 'ok', 'it starts again');
    is($agent->stop, 0, 'and stops');
};

subtest 'damage' => sub {
    my $dir = scratch() . '/damaged';
    system('cp', '-r', $agent->dir, $dir) == 0 or die;
    unlink "$dir/log/PLACE";
    my ($damaged) = (sealed_files($dir))[1];
    my ($name) = $damaged =~ m{([^/]+)$};
    my $bytes = slurp($damaged);
    substr($bytes, 9000, 1) ^= "\x10";
    Daa::spew($damaged, $bytes);
    my ($code, $out) = daa_log('verify', $dir);
    is($code, 1, 'verify says that it is damaged');
    like($out, qr/^damaged: \Q$name\E at /m, 'it names the sealed file');
    (my $complained, $out) = (daa_log('cat', '--json', $dir))[2, 1];
    like($complained, qr/events \d+ to \d+ are damaged and left out/, q(cat says which events are left out));
    cmp_ok(scalar(() = $out =~ /\n/g), '>', 0, 'and shows the rest');
    eval { LogReader::read_log("$dir/log") };
    like($@, qr/\Q$name\E: chunk at/, 'the reader of the page finds it too');
};

done_testing();
