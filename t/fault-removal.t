#!/usr/bin/perl
# Something goes wrong at each of the changes by which a start gives up the log's beginning, and at each that it
# makes on its way there. Whatever became of it, the log verifies, the next start gives up the rest, and the
# documents are those that were there.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(scratch run_program program wait_until);
use Fault qw(each_fault copy_tree agent_ended_badly agent_run);
use File::Path qw(remove_tree);
use JSON::PP;
use POSIX ();
use Test::More;

$ENV{TSAN_OPTIONS} = join ':', $ENV{TSAN_OPTIONS} // (), 'atexit_sleep_ms=0';

my $config = "[log]\nsegment_size = \"256KB\"\nseal = false\nengine = \"plain\"\n[state]\nsnapshot_interval = \"0s\"\n";
my $retention = $config . "[retention]\nmax_bytes = \"768KB\"\n";
my ($dir, $past, $arm) = map { scratch() . "/$_" } qw(data past arm);
my $nap = { name => 'nap', steps => [ { id => 'a', sleep => '0s' } ] };

sub submit {
    my ($agent, $count) = @_;
    for (1 .. $count) {
        my $input = { text => join '', map { chr 35 + rand 50 } 1 .. 6000 };
        my $answer = $agent->post('/api/v1/workflows', { definition => $nap, input => $input });
        $answer->{status} == 202 or BAIL_OUT("not accepted: $answer->{body}");
    }
    return;
}

# Segments that could go, since two snapshots are behind them, and nobody has given up yet.
my $agent = Daa->start(dir => $dir, config => $config);
for (1 .. 2) {
    submit($agent, 150);
    is($agent->post('/api/v1/state:snapshot', {}, $agent->as_admin)->{status}, 200, '(a snapshot)');
}
submit($agent, 60);
my $known = $agent->get('/api/v1/state/digest')->{json};
$agent->kill;
copy_tree($dir, $past);

# What is due, at the least.
sub is_given_up { return !-e "$dir/log/seg-0000000001.log" && !-e "$dir/log/seg-0000000002.log" }

sub replayed {
    my ($until) = @_;
    my $into = scratch() . '/replay';
    my ($status, $out, $said) = run_program(program('daa-log'), 'replay', '--json', '--until', $until, '--into', $into, $dir);
    remove_tree($into);
    return $status == 0 ? decode_json($out)->{digest} : "(replay: $said)";
}

sub verify_wrong {
    my ($status, $out, $said) = run_program(program('daa-log'), 'verify', $dir);
    my $killed = shift;
    return "verify: $status: $out$said" if $status != 0 && !($killed && $status == 3);
    return "verify does not say what was removed: $out" if !-e "$dir/log/seg-0000000001.log" && $out !~ /removed by retention/;
    return;
}

sub check {
    my ($result) = @_;
    my $wrong = agent_ended_badly($result->{agent}) // $result->{got} // verify_wrong(1);
    return $wrong if $wrong;
    my $next = Daa->start(dir => $dir, config => $retention, wait_ready => 0);
    return "the next start: $@" if !eval { $next->await_ready };
    return 'the next start does not give up what is due: ' . $next->said if !wait_until(\&is_given_up, 30);
    my $now = $next->get('/api/v1/state/digest')->{json};
    my $stopped = $next->stop;
    return "the next stop ended with $stopped: " . $next->said if $stopped != 0;
    $wrong = verify_wrong(0);
    return $wrong if $wrong;
    return 'the documents before are others' if replayed($known->{seq}) ne $known->{digest};
    return 'the documents are others' if replayed($now->{seq}) ne $now->{digest};
    remove_tree("$dir/db");
    $next->start_again->await_ready;
    $now = $next->get('/api/v1/state/digest')->{json};
    $stopped = $next->stop;
    return 'a start without documents has others' if replayed($now->{seq}) ne $now->{digest};
    return $stopped == 0 ? undef : "the last stop ended with $stopped: " . $next->said;
}

# Until it has given up what is due, or has ended. On a disk that stays full it may say why not; what fails
# once is tried again.
sub run {
    my ($fault) = @_;
    my $for_good = ($fault->{do} // '') eq 'enospc-from';
    return agent_run($fault, { dir => $dir, config => $retention }, sub {
        my ($started) = @_;
        my $done = wait_until(sub { is_given_up() || $started->reap(POSIX::WNOHANG()) || ($for_good && $started->said =~ /cannot remove segment|sync/) }, 30);
        return $done || $for_good ? undef : 'it does not try again: ' . $started->said;
    });
}

my %test = (
    dir => "$dir/log",
    prepare => sub { copy_tree($past, $dir) },
    run => \&run,
    check => \&check,
);
each_fault(%test, name => 'the removal of the oldest segments', match => 'seg-000000000[1-6].log', actions => [qw(kill kill-after eio)], most => { eio => 4, default => 8 });
each_fault(%test, name => 'a start that gives up the oldest segments', actions => [qw(kill torn enospc enospc-from eio)], most => { kill => 6, default => 3 });
done_testing();
