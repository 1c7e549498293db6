#!/usr/bin/perl
# Something goes wrong at each of the changes that daa-log restore makes, and at each that the first start of an
# agent on the result makes to its log. What is restored is there as a whole or not at all; the next run goes
# on; an agent starts on it with the same documents, as one new log whose parent is the old one.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(scratch run_program program slurp);
use Fault qw(each_fault copy_tree agent_ended_badly agent_run);
use File::Path qw(remove_tree);
use JSON::PP;
use Test::More;

$ENV{TSAN_OPTIONS} = join ':', $ENV{TSAN_OPTIONS} // (), 'atexit_sleep_ms=0';

my $config = "[log]\nsegment_size = \"256KB\"\nseal = false\nengine = \"plain\"\n[state]\nsnapshot_interval = \"0s\"\n";
my ($dir, $target, $plain, $restored, $good) = map { scratch() . "/$_" } qw(data target plain restored good);
my @actions = qw(kill kill-after torn short enospc enospc-from eio);
my $nap = { name => 'nap', steps => [ { id => 'a', sleep => '0s' } ] };
my $waits = { name => 'waits', steps => [ { id => 'a', signal => { name => 'go' } } ] };

sub daa_log { my ($status, $out, $said) = run_program(program('daa-log'), @_); return { status => $status, out => $out, said => $said } }

my $agent = Daa->start(dir => $dir, config => $config);
for my $round (1 .. 3) {
    for my $number (1 .. 40) {
        my $input = { text => join '', map { chr 35 + rand 50 } 1 .. 3000 };
        my $answer = $agent->post('/api/v1/workflows', { definition => $number % 3 ? $nap : $waits, input => $input });
        $answer->{status} == 202 or BAIL_OUT("not accepted: $answer->{body}");
    }
    is($agent->post('/api/v1/state:snapshot', {}, $agent->as_admin)->{status}, 200, '(a snapshot)') if $round < 3;
    is(daa_log('backup', $dir, $target)->{status}, 0, '(a backup of a running agent)');
}
my $known = $agent->get('/api/v1/state/digest')->{json};
is($agent->stop, 0, '(stopped)');
my $log = decode_json(daa_log('stat', '--json', $dir)->{out});
is(daa_log('backup', $dir, $target)->{status}, 0, '(a last one)');
copy_tree($dir, $plain);
my $events = daa_log('cat', '--json', $dir)->{out};

sub ended_badly {
    my ($result) = @_;
    return if $result->{status} == 0 || $result->{status} == 128 + 9;
    return if $result->{status} == 1 && $result->{said} =~ /^daa-log restore: \S.*\n\z/;
    return "it ended with $result->{status}: $result->{said}";
}

sub not_whole {
    my $verified = daa_log('verify', $restored);
    return "it is not sound: $verified->{out}$verified->{said}" if $verified->{status} != 0;
    return 'it holds other events' if daa_log('cat', '--json', $restored)->{out} ne $events;
    return;
}

# An agent goes on with it, as one new log.
sub agent_goes_wrong {
    my $next = Daa->start(dir => $restored, config => $config, wait_ready => 0);
    return "an agent on it: $@" if !eval { $next->await_ready };
    my $now = $next->get('/api/v1/state/digest')->{json};
    my $taken = $next->post('/api/v1/workflows?wait=20s', { definition => $nap });
    my $stopped = $next->stop;
    return "an agent on it takes no workflow: $taken->{body}" if ($taken->{json}{status} // '') ne 'completed';
    return "its stop ended with $stopped: " . $next->said if $stopped != 0;
    my $stat = decode_json(daa_log('stat', '--json', $restored)->{out});
    my @forks = map { "$_->{parent} at $_->{parent_seq}" } @{ $stat->{forks} };
    return "it is the log $stat->{log} with forks from: @forks" if "@forks" ne "$log->{log} at $log->{last_seq}" || $stat->{log} eq $log->{log};
    my $into = scratch() . '/replay';
    my $replayed = daa_log('replay', '--json', '--until', $known->{seq}, '--into', $into, $restored);
    remove_tree($into);
    return "its documents cannot be replayed: $replayed->{said}" if $replayed->{status} != 0;
    return 'it has other documents' if decode_json($replayed->{out})->{digest} ne $known->{digest};
    my $verified = daa_log('verify', $restored);
    return "then it is not sound: $verified->{out}$verified->{said}" if $verified->{status} != 0;
    return;
}

sub restore_wrong {
    my ($result, $from) = @_;
    my $wrong = ended_badly($result) // (-e "$restored/log" ? not_whole() : undef);
    return $wrong if $wrong;
    my $finished = -e "$restored/log" && !-e "$restored/RESTORING";
    my $again = daa_log('restore', $from, $restored);
    return "the next run: $again->{said}" if !$finished && $again->{status} != 0;
    return "a run on what is finished ended with $again->{status}: $again->{said}" if $finished && ($again->{status} != 1 || $again->{said} !~ /\S/);
    return 'it is not finished' if -e "$restored/RESTORING" || -e "$restored/log/BACKUP" || !-e "$restored/log/FORK";
    return not_whole() // agent_goes_wrong();
}

for my $from ($target, $plain) {
    each_fault(
        name => $from eq $target ? 'a restore' : 'a restore of a plain copy', dir => $restored, actions => \@actions,
        most => $from eq $target ? { kill => 10, default => 3 } : { kill => 5, default => 2 },
        prepare => sub { remove_tree($restored) },
        run => sub { my ($fault) = @_; return $fault->under(sub { daa_log('restore', $from, $restored) }) },
        check => sub { my ($result) = @_; return restore_wrong($result, $from) },
    );
}

remove_tree($restored);
is(daa_log('restore', $target, $restored)->{status}, 0, '(restored without a fault)');
copy_tree($restored, $good);
each_fault(
    name => 'the first start on what was restored', dir => "$restored/log", actions => \@actions,
    most => { kill => 10, 'kill-after' => 6, default => 3 },
    prepare => sub { copy_tree($good, $restored) },
    run => sub { my ($fault) = @_; return agent_run($fault, { dir => $restored, config => $config }) },
    check => sub {
        my ($result) = @_;
        return agent_ended_badly($result->{agent}) // agent_goes_wrong();
    },
);
done_testing();
