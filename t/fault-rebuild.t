#!/usr/bin/perl
# Something goes wrong at each of the changes to db/ that a start without it makes, on a log whose beginning
# was removed: only the two snapshots know what was there. It fails with a sentence or goes on; the next start
# has the same documents. The same for daa-log replay beside it.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(scratch run_program program wait_until);
use Fault qw(each_fault copy_tree agent_ended_badly agent_run);
use File::Path qw(remove_tree);
use JSON::PP;
use Test::More;

$ENV{TSAN_OPTIONS} = join ':', $ENV{TSAN_OPTIONS} // (), 'atexit_sleep_ms=0';

my $config = "[log]\nsegment_size = \"256KB\"\nseal = false\nengine = \"plain\"\n[state]\nsnapshot_interval = \"0s\"\n";
my ($dir, $past, $into) = map { scratch() . "/$_" } qw(data past into);
my @actions = qw(kill kill-after torn short enospc enospc-from eio);
my %few = (kill => 12, default => 4);
my $nap = { name => 'nap', steps => [ { id => 'a', sleep => '0s' } ] };
my $waits = { name => 'waits', steps => [ { id => 'a', signal => { name => 'go' } } ] };

sub submit {
    my ($agent, $count) = @_;
    for my $number (1 .. $count) {
        my $input = { text => join '', map { chr 35 + rand 50 } 1 .. 6000 };
        my $answer = $agent->post('/api/v1/workflows', { definition => $number % 3 ? $nap : $waits, input => $input });
        $answer->{status} == 202 or BAIL_OUT("not accepted: $answer->{body}");
    }
    return;
}

sub replay {
    my (@options) = @_;
    remove_tree($into);
    my ($status, $out, $said) = run_program(program('daa-log'), 'replay', '--json', @options, '--into', $into, $dir);
    return $status == 0 ? decode_json($out) : { digest => "(replay: $said)" };
}

# Two snapshots, and then the log's beginning goes.
my $agent = Daa->start(dir => $dir, config => $config . "[retention]\nmax_bytes = \"768KB\"\n");
for (1 .. 2) {
    submit($agent, 90);
    is($agent->post('/api/v1/state:snapshot', {}, $agent->as_admin)->{status}, 200, '(a snapshot)');
}
submit($agent, 60);
ok(wait_until(sub { !-e "$dir/log/seg-0000000001.log" }), "(the log's beginning goes)");
my $known = $agent->get('/api/v1/state/digest')->{json};
$agent->kill;
copy_tree($dir, $past);
my %options = (dir => $dir, config => $config);

sub digest_wrong {
    my ($agent, $answer) = @_;
    $answer //= $agent->get('/api/v1/state/digest');
    my $now = $answer->{json};
    return "no digest: $answer->{status} $answer->{body}" if $answer->{status} != 200;
    return if $now->{seq} == $known->{seq} && $now->{digest} eq $known->{digest};
    return 'other documents than before' if replay('--until', $known->{seq})->{digest} ne $known->{digest};
    return 'other documents than a replay has' if replay('--until', $now->{seq})->{digest} ne $now->{digest};
    return;
}

# The same while something goes wrong: the digest is refused as long as the documents cannot be written.
sub digest_wrong_in_the_end {
    my ($agent, $fault) = @_;
    my $answer;
    wait_until(sub {
        $answer = $agent->get('/api/v1/state/digest');
        return 1 if $answer->{status} != 503;
        return ($fault->{do} // '') eq 'enospc-from' && $answer->{json}{detail} =~ /No space left/;
    }, 20) or return "it does not go on: $answer->{body}";
    return $answer->{status} == 200 ? digest_wrong($agent, $answer) : undef;
}

sub full_disk_unnamed {
    my ($result, $happened) = @_;
    return if $happened !~ /^enospc/ || $result->{agent}{status} != 1;
    return $result->{agent}->said =~ /No space left|disk is full/ ? undef : 'it does not say that the disk is full: ' . $result->{agent}->said;
}

each_fault(
    name => "a start without documents and without the log's beginning",
    dir => $dir,
    match => 'db*',
    actions => \@actions,
    most => \%few,
    prepare => sub { copy_tree($past, $dir); remove_tree("$dir/db") },
    run => sub { my ($fault) = @_; return agent_run($fault, \%options, sub { digest_wrong_in_the_end($_[0], $fault) }) },
    check => sub {
        my ($result, $fault) = @_;
        my $wrong = agent_ended_badly($result->{agent}) // ($result->{agent}{status} == 128 + 9 ? undef : $result->{got}) // full_disk_unnamed($result, $fault->fired // '');
        return $wrong if $wrong;
        my $next = Daa->start(%options, wait_ready => 0);
        return "the next start: $@" if !eval { $next->await_ready };
        $wrong = digest_wrong($next);
        my $stopped = $next->stop;
        return $wrong // ($stopped == 0 ? undef : "the next stop ended with $stopped: " . $next->said);
    },
);

copy_tree($past, $dir);
each_fault(
    name => 'daa-log replay of it',
    dir => $into,
    actions => \@actions,
    most => { kill => 8, default => 3 },
    prepare => sub { remove_tree($into) },
    run => sub {
        my ($fault) = @_;
        return [ $fault->under(sub { run_program(program('daa-log'), 'replay', '--json', '--until', $known->{seq}, '--into', $into, $dir) }) ];
    },
    check => sub {
        my ($status, $out, $said) = @{ $_[0] };
        return decode_json($out)->{digest} eq $known->{digest} ? undef : 'another digest' if $status == 0;
        return if $status == 128 + 9;
        return "it ended with $status: $said" if $status != 1 || $said !~ /^daa-log replay: \S/m;
        return -e "$into/db" ? 'what failed left something' : undef;
    },
);

# What is no longer there cannot be made: it says so, whatever else went wrong, and db/ is no way around it.
remove_tree("$dir/db", "$dir/snapshots");
$agent = Daa->start(%options, wait_ready => 0);
ok(!eval { $agent->await_ready }, "without snapshots and without the log's beginning it does not start");
like($agent->said, qr/^daa-agent: .*begins with event \d+.*needs a snapshot/m, 'and says what is missing');
copy_tree("$past/snapshots", "$dir/snapshots");
$agent->start_again->await_ready;
is(digest_wrong($agent), undef, 'with the snapshots back it does');
is($agent->stop, 0, 'and stops in order');
done_testing();
