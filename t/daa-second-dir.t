#!/usr/bin/perl
# The filesystem of the log does not answer for a while: the agent goes on in the second directory,
# and comes back.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(wait_until scratch program run_program);
use JSON::PP qw(decode_json);
use Test::More;

my ($data, $image, $second) = map { scratch() . "/$_" } qw(data image second);
my $log = "$data/log";
my ($mounted, $frozen) = (0, 0);
sub thaw { system('fsfreeze', '-u', $log) if $frozen; $frozen = 0 }
END { my $status = $?; thaw(); system('umount', '-l', $log) if $mounted; $? = $status }

mkdir $_ or die "$_: $!" for $data, $log;
open my $file, '>', $image or die "$image: $!";
truncate $file, 200 << 20 or die "$image: $!";
close $file;
my $made = $> == 0 && system("mkfs.ext4 -q -F $image >$image.out 2>&1 && mount -o loop $image $log >>$image.out 2>&1") == 0;
plan skip_all => 'loop-mount: no filesystem can be made and mounted here' if !$made;
$mounted = 1;

local $ENV{DAA_LOG_BALLAST} = '0B';
my $waits = { name => 'waits', steps => [{ id => 'a', signal => { name => 'go' } }] };
my $agent = Daa->start(dir => $data, config => "[log]\nsegment_size = \"1MB\"\nsecond_dir = \"$second\"\nspace_low = \"0B\"\nspace_critical = \"0B\"\n");
my $of_log = sub { $agent->get('/status')->{json}{log} };
plan skip_all => 'loop-mount: io_uring is not to be had here' if $of_log->()->{engine} ne 'ring';
my $submit = sub { $agent->post('/api/v1/workflows', { definition => $waits }) };
my $verify = sub { (run_program(program('daa-log'), 'verify', $data))[0] };
my $metric = sub { my ($name) = @_; my ($value) = $agent->get('/metrics')->{body} =~ /^$name (\d+)$/m; $value };
my @linked;
my $look = sub { @linked = grep { $_->{lies_in} } map { decode_json($_) } grep { /^\{/ } split /\n/, (run_program(program('daa-log'), 'ls', '--json', $data))[1] };

ok(wait_until(sub { $of_log->()->{second}{spares} == 2 && $of_log->()->{spares} >= 2 }, 60), 'files are made ahead in the second directory')
    or diag($agent->said);
my $id = $submit->()->{json}{id};
$look->();
is_deeply([map { $_->{state} } @linked], ['spare', 'spare'], 'daa-log ls shows where they lie');
like($linked[0]{lies_in}, qr{^\Q$second\E/[0-9a-f-]{36}-[0-9a-f]{16}-[0-9a-f]{16}\.log$}, 'under names that say whose they are');

is(system('fsfreeze', '-f', $log), 0, '(the filesystem of the log stops to answer)');
$frozen = 1;
is($submit->()->{status}, 202, 'work is taken all the same');
my $now = $of_log->();
ok($now->{second}{in_use} && $now->{second}{stuck}, 'the log is in the second directory, a write still stuck') or diag(explain($now));
is($metric->('daa_log_second_dir_in_use'), 1, 'metrics say so');
is($agent->post("/api/v1/workflows/$id/signals/go", {})->{status}, 202, 'what is under way goes on');
ok(wait_until(sub { $agent->get("/api/v1/workflows/$id")->{json}{status} eq 'completed' }, 30), 'to its end');
ok($of_log->()->{second}{stuck}, 'though the filesystem still does not answer');
thaw();
ok(wait_until(sub { !$of_log->()->{second}{stuck} }, 60), 'when it does, nothing is stuck any more');

my $taken = 0;
ok(wait_until(sub {
    my $more = $submit->()->{json}{id} // return 0;
    $taken += $agent->post("/api/v1/workflows/$more/signals/go", { text => 'x' x 200_000 })->{status} == 202;
    return !$of_log->()->{second}{in_use};
}, 60), 'the log comes back');
is($of_log->()->{failovers}, 1, 'having gone on elsewhere once');
ok(wait_until(sub { $look->(); @linked == grep { $_->{state} eq 'spare' } @linked }, 60), 'what it wrote there is sealed into its own directory');
ok(wait_until(sub { my @files = glob "$second/*"; @files == 2 }, 60), 'and only what is made ahead is left there');
is($agent->stop, 0, 'the agent stops in order');
is($verify->(), 0, 'the log is sound');
my (undef, $out) = run_program(program('daa-log'), 'cat', '--json', '-k', 'storage.failover', $data);
like($out, qr/stall/, 'and tells of the stall');

rename $second, "$second.away" or die "$second: $!";
my ($status, undef, $said) = run_program(program('daa-log'), 'ls', $data);
isnt($status, 0, 'without the second directory the log is not whole');
my (undef, $found) = run_program(program('daa-log'), 'doctor', '--no-writes', $data);
like($found, qr/\Q$second\E\/.*is not there/, 'and daa-log doctor says what is missing');
rename "$second.away", $second or die "$second: $!";
(undef, $found) = run_program(program('daa-log'), 'doctor', '--no-writes', $data);
like($found, qr/second-directory.*\Q$second\E holds 2 segments/, 'with it all is well');
done_testing();
