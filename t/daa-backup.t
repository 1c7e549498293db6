#!/usr/bin/perl
# daa-log backup and restore with a real agent: backups while clients submit, kill -9, a restore elsewhere
# on which an agent starts, with every workflow that was acknowledged; a plain copy of a live directory;
# backups that are killed; wrong inputs; no room.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(wait_until scratch run_program program slurp spew);
use JSON::PP ();
use POSIX ();
use Test::More;
use Time::HiRes ();

my $seed = $ENV{SEED} // int(Time::HiRes::time() * 1000) % 1_000_000;
note "SEED=$seed";
srand $seed;

my $json = JSON::PP->new->utf8;
my $dir = scratch();
my $config = "[log]\nsegment_size = \"1MB\"\n";
my @children;
END { kill KILL => @children if @children }

sub daa_log { return run_program(program('daa-log'), @_) }

sub definition { my ($name) = @_; return { name => $name, steps => [ { id => 'nap', sleep => '1ms' } ] } }

# Submits until the agent is gone, and notes what was acknowledged.
sub start_submitter {
    my ($agent, $number) = @_;
    my $pid = fork() // die "fork: $!";
    if ($pid) { push @children, $pid; return $pid }
    @children = ();
    my $client = $agent->client;
    open my $out, '>>', "$dir/acknowledged" or die $!;
    for (my $count = 0;; $count++) {
        my $answer = $client->request('POST', '/api/v1/workflows', { definition => definition("w-$number-$count"), input => { filler => 'x' x 900 } }, $agent->as_admin);
        POSIX::_exit(0) if $answer->{status} == 0;
        syswrite $out, "w-$number-$count\n" if $answer->{status} == 202;
    }
}

sub acknowledged { return split /\n/, slurp("$dir/acknowledged") // '' }

sub names_of {
    my ($agent) = @_;
    my (%all, $cursor);
    do {
        my $page = $agent->get('/api/v1/workflows?limit=1000' . ($cursor ? "&cursor=$cursor" : ''), $agent->as_admin)->{json};
        $all{ $_->{name} } = $_->{status} for @{ $page->{items} };
        $cursor = $page->{next_cursor};
    } while ($cursor);
    return \%all;
}

sub is_sound { my ($path, $name) = @_; my ($status, $out, $said) = daa_log('verify', $path); return is($status, 0, $name) || diag($out, $said) }

sub backup {
    my ($from, $to, $name) = @_;
    my ($status, $out, $said) = daa_log('backup', '--json', $from, $to);
    is($status, 0, $name) or diag($said);
    return eval { $json->decode($out) } // {};
}

#--- Under load ------------------------------------------------------------------------------------

my $agent = Daa->start(config => $config);
my @submitters = map { start_submitter($agent, $_) } 1 .. 3;
wait_until(sub { acknowledged() > 50 }) or die 'nothing is acknowledged';
my ($before, $sum) = (0, 0);
for my $round (1 .. 5) {
    my @here = acknowledged();
    my $made = backup($agent->dir, "$dir/backup", "backup $round of a live agent");
    ok($made->{live} && $made->{last_seq} > $before, 'it holds more than the one before');
    $before = $made->{last_seq};
    is_sound("$dir/backup", 'and is sound');
    my ($status, $out) = daa_log('cat', '--json', '-k', 'workflow.submitted', "$dir/backup");
    my $lacks = grep { my $name = $_; index($out, "\"$name\"") < 0 } @here;
    is($lacks, 0, 'it holds all ' . @here . ' workflows that were acknowledged when it began');
    wait_until(sub { acknowledged() > @here + 100 });
}
# It complains of a spare's temporary file that gets its name meanwhile, and goes on.
run_program('cp', '-r', $agent->dir, "$dir/plain");
-s "$dir/plain/log/seg-0000000001.zlog" || -s "$dir/plain/log/seg-0000000001.log" or die 'nothing was copied';

# Some that are killed.
for my $round (1 .. 6) {
    my $pid = fork() // die "fork: $!";
    if (!$pid) {
        @children = ();
        open STDOUT, '>', '/dev/null';
        exec program('daa-log'), 'backup', $agent->dir, "$dir/killed" or POSIX::_exit(127);
    }
    Time::HiRes::sleep(rand 0.06);
    kill KILL => $pid;
    waitpid $pid, 0;
}
backup($agent->dir, "$dir/killed", 'one that was killed 6 times goes on');
is_sound("$dir/killed", 'and is sound');

my ($status, $out, $said) = daa_log('restore', $agent->dir, "$dir/none");
ok($status == 1 && $said =~ /daa-log backup/ && !-e "$dir/none/log", 'a live directory is not restored from');

$agent->kill;
waitpid $_, 0 for @submitters;
@children = ();

#--- Elsewhere -------------------------------------------------------------------------------------

my @all = acknowledged();
my $last = backup($agent->dir, "$dir/backup", 'a backup of what a kill left');
ok(!$last->{live} && $last->{incremental}, 'adds the rest');
is_sound("$dir/backup", 'and is sound');
($status, $out, $said) = daa_log('restore', '--json', "$dir/backup", "$dir/restored");
is($status, 0, 'it is restored') or diag($said);
is(eval { $json->decode($out)->{last_seq} }, $last->{last_seq}, 'to its end');
my $restored = Daa->start(dir => "$dir/restored", config => $config);
like($restored->said, qr/goes on as \S+, forked from \S+ behind event \d+: it was restored/, 'an agent says that it goes on as another log');
my $names = names_of($restored);
is(scalar(grep { !$names->{$_} } @all), 0, 'an agent starts there and has all ' . @all . ' workflows');
ok(wait_until(sub { $names = names_of($restored); !grep { ($names->{$_} // '') ne 'completed' } @all }), 'all complete there');
my $answer = $restored->post('/api/v1/workflows?wait=20s', { definition => definition('new') }, $restored->as_admin);
is($answer->{json}{status}, 'completed', 'a new one too');
$restored->stop;
is_sound("$dir/restored", 'its log is sound');
my @uuids = map { (daa_log('stat', '--json', $_))[1] =~ /"log":"([^"]+)"/ } $agent->dir, "$dir/restored";
ok(@uuids == 2 && $uuids[0] ne $uuids[1], 'and has a name of its own');

$agent->start_again;
is($agent->post('/api/v1/workflows?wait=20s', { definition => definition('here') }, $agent->as_admin)->{json}{status}, 'completed', 'the first one goes on as well');
backup($agent->dir, "$dir/backup", 'and so do its backups');
($status, $out, $said) = daa_log('backup', "$dir/restored", "$dir/backup");
ok($status == 1 && $said =~ /into a new directory/, 'but not with the log of the other');
is_sound("$dir/backup", 'which changes nothing');

#--- A plain copy ----------------------------------------------------------------------------------

($status, $out, $said) = daa_log('restore', '--json', "$dir/plain", "$dir/from-plain");
ok($status == 0 || $status == 3, 'a plain copy of a live directory is restored') or diag($said);
my $plain = $json->decode($out);
ok($plain->{plain_copy} && $plain->{last_seq} > 0, "up to event $plain->{last_seq}" . ($plain->{reason} ? ": $plain->{reason}" : ''));
is_sound("$dir/from-plain", 'the result is sound');
my $third = Daa->start(dir => "$dir/from-plain", config => $config);
is($third->post('/api/v1/workflows?wait=20s', { definition => definition('third') }, $third->as_admin)->{json}{status}, 'completed', 'an agent works on it');
$third->stop;

#--- Wrong inputs ----------------------------------------------------------------------------------

sub fails {
    my ($name, $want, $pattern, @args) = @_;
    my ($got, undef, $complaint) = daa_log(@args);
    is($got, $want, "$name: exit status") or diag($complaint);
    like($complaint, $pattern, "$name: what it says");
}

spew("$dir/file", 'x');
mkdir "$dir/full";
spew("$dir/full/file", 'x');
fails('a target inside', 1, qr/lies in the other/, 'backup', $agent->dir, $agent->dir . '/backup');
fails('a target that is a file', 1, qr/Not a directory/, 'backup', $agent->dir, "$dir/file");
fails('a target that is full', 1, qr/neither empty nor a backup/, 'backup', $agent->dir, "$dir/full");
fails('a target in nothing', 1, qr/No such file/, 'backup', $agent->dir, "$dir/no/such");
fails('no log', 1, qr/No such file/, 'backup', "$dir/no", "$dir/none");
fails('no target', 2, qr/daa-log backup --help/, 'backup', $agent->dir);
fails('events to come', 1, qr/nothing since event/, 'backup', '--since', 99999999, $agent->dir, "$dir/later");
fails('no number', 2, qr/since/, 'backup', '--since', 'x', $agent->dir, "$dir/later");
fails('restore to what is there', 1, qr/not empty/, 'restore', "$dir/backup", "$dir/full");
fails('restore from nothing', 1, qr/No such file/, 'restore', "$dir/no", "$dir/none");
fails('restore alone', 2, qr/daa-log restore --help/, 'restore', "$dir/backup");

# A limit on the size of files stands for a full disk.
($status, $out, $said) = run_program('/bin/sh', '-c', 'ulimit -f 400; exec "$@"', 'sh', program('daa-log'), 'backup', $agent->dir, "$dir/small");
ok($status == 1 && $said =~ /make room and run the same command again/, 'no room: it says what to do') or diag($status, $said);
backup($agent->dir, "$dir/small", 'with room it goes on');
is_sound("$dir/small", 'and is sound');
($status, $out, $said) = run_program('/bin/sh', '-c', 'ulimit -f 400; exec "$@"', 'sh', program('daa-log'), 'restore', "$dir/small", "$dir/from-small");
ok($status == 1 && $said =~ /make room and run the same command again/, 'no room for a restore') or diag($status, $said);
($status, $out, $said) = daa_log('restore', "$dir/small", "$dir/from-small");
is($status, 0, 'with room it goes on') or diag($said);
is_sound("$dir/from-small", 'and is sound');
is($agent->stop, 0, 'the agent noticed nothing of it all');

done_testing;
