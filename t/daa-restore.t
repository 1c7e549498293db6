#!/usr/bin/perl
# daa-log verify && daa-log restore, of a backup of later events that needs its snapshot of a real agent: what
# verify calls sound is restored, what it was made of is remembered, and a snapshot that is none is found out.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(scratch run_program program slurp spew);
use JSON::PP ();
use Test::More;

my $config = "[log]\nsegment_size = \"256KB\"\nengine = \"plain\"\n[state]\nsnapshot_interval = \"0s\"\n";
my ($dir, $backup, $none, $restored) = map { scratch() . "/$_" } qw(data backup none restored);
my $waits = { name => 'waits', steps => [ { id => 'a', signal => { name => 'go' } } ] };

sub daa_log { my ($status, $out, $said) = run_program(program('daa-log'), @_); return { status => $status, out => $out, said => $said } }

sub submit {
    my ($agent, $count) = @_;
    for (1 .. $count) {
        my $answer = $agent->post('/api/v1/workflows', { definition => $waits, input => { text => join '', map { chr 35 + rand 50 } 1 .. 3000 } });
        $answer->{status} == 202 or BAIL_OUT("not accepted: $answer->{body}");
    }
    return;
}

sub flip {
    my ($path) = @_;
    my $bytes = slurp($path);
    substr($bytes, length($bytes) / 2, 1) ^= "\x01";
    spew($path, $bytes);
    return;
}

my $agent = Daa->start(dir => $dir, config => $config);
submit($agent, 200);
is($agent->post('/api/v1/state:snapshot', {}, $agent->as_admin)->{status}, 200, '(a snapshot)');
submit($agent, 20);
my $known = $agent->get('/api/v1/state/digest')->{json};
is($agent->stop, 0, '(stopped)');
my @snapshots = glob "$dir/snapshots/snap-*";
my ($seq) = $snapshots[-1] =~ /snap-0*(\d+)/;

my $got = daa_log('restore', $backup, $none);
ok($got->{status} == 1 && $got->{said} =~ /\Q$backup\E cannot be read: No such file/ && !-e $none, 'a backup that is not there is said to be, and nothing is made') or diag($got->{said});

my $made = daa_log('backup', '--json', '--since', $seq, $dir, $backup);
is($made->{status}, 0, 'a backup of the events since a snapshot') or diag($made->{said});
my $first = JSON::PP::decode_json($made->{out})->{first_seq};
cmp_ok($first, '>', 1, 'lacks the beginning');
my ($snapshot) = glob "$backup/snapshots/*";

flip($snapshot);
$got = daa_log('verify', $backup);
ok($got->{status} == 1 && $got->{out} =~ m{^damaged: snapshots/snap-\d+\.zst at 0: }m, 'with a flipped bit in the snapshot it is damaged') or diag($got->{out});
is(daa_log('restore', $backup, $none)->{status}, 1, 'and is not restored');
flip($snapshot);
rename $snapshot, "$snapshot.away";
is(daa_log('verify', $backup)->{status}, 1, 'so it is without it');
rename "$snapshot.away", $snapshot;
is(daa_log('verify', $backup)->{status}, 0, 'as it was it is sound');

$got = daa_log('restore', $backup, $restored);
is($got->{status}, 0, 'and is restored') or diag($got->{said});
$got = daa_log('verify', $restored);
ok($got->{status} == 0 && $got->{out} =~ /^restored from a backup that begins with event $first$/m, 'what was restored is sound, and says what it is') or diag($got->{out});
$agent = Daa->start(dir => $restored, config => $config);
is($agent->get("/api/v1/state/digest?seq=$known->{seq}")->{status}, 200, 'an agent starts on it');
my $page = $agent->get('/api/v1/workflows?limit=1000', $agent->as_admin)->{json};
is(scalar @{ $page->{items} }, 220, 'and has all workflows');
is($agent->stop, 0, '(stopped)');
is(daa_log('verify', $restored)->{status}, 0, 'it stays sound');

# The agent's own was damaged on its disk.
spew($snapshots[-1], 'x' x 2);
$got = daa_log('backup', '--json', '--since', $seq, $dir, "$backup-2");
ok($got->{status} == 0 && $got->{said} =~ /a snapshot was left out: .* is damaged/, 'a snapshot that is none is left out of a backup') or diag($got->{said});
$got = daa_log('restore', "$backup-2", $none);
ok($got->{status} == 1 && $got->{said} =~ /no snapshot stands for what came before/, 'which is not restored then') or diag($got->{said});
$got = daa_log('restore', '--json', $dir, "$none-2");
ok($got->{status} == 0 && $got->{said} =~ /a snapshot was left out/ && !glob("$none-2/snapshots/snap-*"), 'nor is it taken of a plain copy') or diag($got->{said});
done_testing();
