#!/usr/bin/perl
# Snapshots of a real agent, what a start makes of them, and daa-log replay: one digest for one
# event, whichever way its state is made.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Daa qw(program run_program scratch slurp spew wait_until);
use File::Path qw(remove_tree);
use JSON::PP;
use Test::More;

delete @ENV{qw(DAA_URL DAA_TOKEN_FILE)};
my $seed = $ENV{SEED} // time;
srand $seed;
diag("seed $seed (SEED= repeats it)");

my $agent = Daa->start(config => <<'END');
[log]
segment_size = "256KB"
[state]
snapshot_interval = "0s"
END
my $dir = $agent->dir;
my $workflows = '/api/v1/workflows';
my %definitions = (
    quick => { name => 'quick', steps => [ { id => 'a', sleep => '0s' }, { id => 'b', needs => ['a'], sleep => '1ms' } ] },
    waits => { name => 'waits', steps => [ { id => 'a', signal => { name => 'go' } } ] },
    later => { name => 'later', steps => [ { id => 'a', sleep => '1h' } ] },
);

sub some_work {
    for (1 .. 5 + int rand 30) {
        my $which = (keys %definitions)[ int rand 3 ];
        my $headers = rand() < 0.3 ? { 'Idempotency-Key' => 'key-' . rand } : {};
        my $answer = $agent->post($workflows, { definition => $definitions{$which}, input => { text => 'x' x int rand 2000 } }, $headers);
        my $id = $answer->{json}{id} or BAIL_OUT('not accepted: ' . $answer->{body});
        $agent->post("$workflows/$id:cancel", {}) if $which eq 'later' && rand() < 0.3;
        $agent->post("$workflows/$id/signals/go", {}) if $which eq 'waits' && rand() < 0.3;
    }
}
sub digest { return $agent->get('/api/v1/state/digest')->{json} }
my $replays = 0;
sub replay {
    my @options = @_;
    my $into = scratch() . '/replay-' . ++$replays;
    my ($status, $out, $err) = run_program(program('daa-log'), 'replay', '--json', @options, '--into', $into, $dir);
    my $result = $status == 0 ? decode_json($out) : {};
    return { %$result, status => $status, said => $err, into => $into };
}
sub snapshots { return @{ $agent->get('/api/v1/state/snapshots')->{json}{items} } }
sub snapshot { return $agent->post('/api/v1/state:snapshot', {}, $agent->as_admin) }

#--- Live, and replayed beside it ------------------------------------------------------------------

my @known;    # {digest, seq} of the live agent
for (1 .. 6) {
    some_work();
    push @known, digest();
}
for my $known (@known) {
    my $replayed = replay('--until', $known->{seq});
    is($replayed->{digest}, $known->{digest}, "event $known->{seq}: replayed beside the running agent it has the digest of the live state");
    is($replayed->{seq}, $known->{seq}, 'and stands for that event');
}

is($agent->post('/api/v1/state:snapshot', {})->{status}, 401, 'a snapshot is for administrators');
is(scalar snapshots(), 0, 'and there is none');
my $made = snapshot();
is($made->{status}, 200, 'one is made when asked for');
my ($listed) = snapshots();
is($listed->{seq}, $made->{json}{seq}, 'it is listed');
my $replayed = replay('--until', $made->{json}{seq});
is($replayed->{snapshot}, $made->{json}{seq}, 'a replay begins with it');
is($replayed->{digest}, $made->{json}{digest}, 'and has its digest');
ok(-e "$replayed->{into}/db/data.mdb", 'in a database of its own');

#--- Rebuilt by a start ----------------------------------------------------------------------------

some_work();
my $before = digest();
$agent->kill;
remove_tree("$dir/db");
spew("$dir/snapshots/.snap-new", 'half of one');
$agent->start_again;
my $start = $agent->get('/status')->{json}{start};
is($start->{snapshot_loaded}, $made->{json}{seq}, 'a start without a database begins with the snapshot');
like($agent->said, qr/snap-\d+\.zst was loaded/, 'and says so');
ok(!-e "$dir/snapshots/.snap-new", 'what a crash left of one is gone');
is(replay('--until', $before->{seq})->{digest}, $before->{digest}, 'what was is as it was');
my $now = digest();
my $whole = do { rename "$dir/snapshots", "$dir/elsewhere"; my $one = replay('--until', $now->{seq}); rename "$dir/elsewhere", "$dir/snapshots"; $one };
is($whole->{snapshot}, 0, '(from nothing)');
is($whole->{digest}, $now->{digest}, 'live, from a snapshot and from nothing: one digest');

#--- Two are kept, and a damaged one is passed over -------------------------------------------------

for (1 .. 3) { some_work(); is(snapshot()->{status}, 200, 'another one') }
ok(wait_until(sub { snapshots() == 2 }), 'the two newest are kept');
my ($newest, $older) = snapshots();
my $path = "$dir/snapshots/$newest->{file}";
my $bytes = slurp($path);
substr $bytes, length($bytes) / 2, 1, chr(255 - ord substr $bytes, length($bytes) / 2, 1);
spew($path, $bytes);
$before = digest();
$agent->kill;
remove_tree("$dir/db");
$agent->start_again;
is($agent->get('/status')->{json}{start}{snapshot_loaded}, $older->{seq}, 'with the newest damaged the older one is taken');
like($agent->said, qr/\Q$newest->{file}\E is damaged.*passed over/, 'which is said');
is(replay('--until', $before->{seq})->{digest}, $before->{digest}, 'what was is as it was');

#--- By hand ----------------------------------------------------------------------------------------

sub cli { return run_program(program('daa-cli'), '--url', $agent->url, @_) }
my ($status, $out, $err) = cli('state', 'snapshot');
is($status, 1, 'daa-cli state snapshot wants the token');
($status, $out) = cli('--token-file', "$dir/admin.token", 'state', 'snapshot');
is($status, 0, 'and makes one');
like($out, qr/^digest\s+[0-9a-f]{64}$/m, 'and shows it');
ok(wait_until(sub { snapshots() == 2 }), '(the oldest is removed after the answer)');
($status, $out) = cli('state', 'snapshots');
is(scalar(() = $out =~ /\bsnap-\d{20}\.zst\b/g), scalar snapshots(), 'daa-cli state snapshots lists them');
my ($text) = (cli('state', 'digest'))[1] =~ /^digest\s+(\S+)$/m;
is($text, digest()->{digest}, 'daa-cli state digest shows the digest');
is($agent->get('/status')->{json}{state}{snapshots}{count}, scalar snapshots(), '/status counts them');

sub fails {
    my ($name, $want, $pattern, @options) = @_;
    my ($got, $printed, $said) = run_program(program('daa-log'), 'replay', @options);
    is($got, $want, "replay $name exits with $want");
    like($said, $pattern, 'and says why');
}
my @events = map { decode_json($_) } split /\n/, (run_program(program('daa-log'), 'cat', '--json', '--to', digest()->{seq}, $dir))[1];
my $free = scratch() . '/not-made';
fails('without --into', 2, qr/--into is missing/, $dir);
fails('into a database that is there', 1, qr{/db is there already}, '--into', $replayed->{into}, $dir);
fails('behind the end', 1, qr/there is no event 99999999; the log holds 1 to \d+/, '--until', 99999999, '--into', $free, $dir);
fails('before the beginning', 1, qr/begins later/, '--until', '2001-01-01T00:00:00Z', '--into', $free, $dir);
fails('until the time of the first event', 1, qr/begins later/, '--until', $events[0]{time}, '--into', $free, $dir);
fails('until nonsense', 1, qr/is not a time/, '--until', 'tomorrow', '--into', $free, $dir);
fails('of nothing', 1, qr/./, '--into', $free, scratch() . '/nothing');
ok(!-e $free, 'none of them makes anything');
# An event behind the middle that is later than the one before it.
my ($at) = grep { $_ > @events / 2 && $events[$_]{time} gt $events[ $_ - 1 ]{time} } 1 .. $#events;
my $by_time = replay('--until', $events[$at]{time});
is($by_time->{status}, 0, 'replay until a time') or diag($by_time->{said});
is($by_time->{seq}, $events[$at]{seq} - 1, 'is until the last event before it');
is($by_time->{digest}, replay('--until', $by_time->{seq})->{digest}, 'which has the same state');

#--- Another version, another history ---------------------------------------------------------------

$now = digest();
is($agent->stop, 0, 'it stops');
my ($verified) = run_program(program('daa-log'), 'verify', $dir);
is($verified, 0, 'and its log is sound');
my $copy = Daa->start(config => "[log]\nsegment_size = \"256KB\"\n");
ok($copy->post($workflows, { definition => $definitions{quick} })->{json}{id}, '(another log)');
is($copy->stop, 0, '(which stops)');
remove_tree("$dir/db");
rename $copy->dir . '/db', "$dir/db" or die "rename: $!";
$agent->start_again;
like($agent->said, qr/documents in \S+ are deleted, since they belong to another event log/, 'documents of another log are not used');
is(replay('--until', $now->{seq})->{digest}, $now->{digest}, 'and all is as it was');
is($agent->stop, 0, 'it stops');
done_testing();
