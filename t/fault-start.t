#!/usr/bin/perl
# Something goes wrong at each of the changes that daa-agent makes to files: at its first start, at a start
# after kill -9, at one with its database deleted, under load and while it stops. It never crashes; the next
# start goes on; what was acknowledged is there; a rebuild gives the same documents; the log is sound.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(wait_until scratch run_program program);
use Fault qw(each_fault copy_tree agent_ended_badly agent_run);
use File::Path qw(remove_tree);
use POSIX ();
use Test::More;

# The ring's writes are out of the tool's reach. Small segments, so that the load needs some.
my $config = "[log]\nsegment_size = \"256KB\"\nseal = false\nengine = \"plain\"\nsync = \"dsync\"\n[state]\ncommit_interval = \"1ms\"\n";
my $nap = { name => 'nap', steps => [ { id => 'a', sleep => '0s' }, { id => 'b', needs => ['a'], sleep => '0s' } ] };
my $waits = { name => 'waits', steps => [ { id => 'a', signal => { name => 'go' } } ] };
my $dir = scratch() . '/fault';
my $arm = scratch() . '/arm';

# TSan would wait a second at each of some hundred ends.
$ENV{TSAN_OPTIONS} = join ':', $ENV{TSAN_OPTIONS} // (), 'atexit_sleep_ms=0';

# Numbers of runs that keep `make check` short; TEST_EXHAUSTIVE=1 does not look at them.
my %few = (kill => 16, default => 4);
my @actions = qw(kill torn short enospc enospc-from eio);

sub agent { my (%more) = @_; return Daa->start(dir => $dir, config => $config, %more) }

# Submits until something is refused: the ids that were acknowledged.
sub submit {
    my ($agent, $count) = @_;
    my $client = $agent->client;
    my @ids;
    for my $number (1 .. $count) {
        my $answer = $client->request('POST', '/api/v1/workflows', { definition => $number % 3 ? $nap : $waits });
        push @ids, $answer->{json}{id} if $answer->{status} == 202;
        last if $answer->{status} == 0;
    }
    return @ids;
}

# Ready or ended.
sub await { my ($agent) = @_; return eval { $agent->await_ready }; }

# A start under the fault, and a stop when it came so far.
sub start_and_stop { my ($fault) = @_; return agent_run($fault, { dir => $dir, config => $config }) }

sub lost {
    my ($agent, @ids) = @_;
    my %there = map { $_->{id} => 1 } @{ $agent->get('/api/v1/workflows?limit=1000')->{json}{items} };
    my @lost = grep { !$there{$_} } @ids;
    return @lost ? 'acknowledged and not there: ' . join ' ', @lost : undef;
}

sub digest { my ($agent) = @_; return $agent->get('/api/v1/state/digest')->{json}{digest} }

# undef, or what is wrong with the directory behind a fault.
sub wrong_after {
    my ($result, @ids) = @_;
    my $wrong = agent_ended_badly($result->{agent});
    return $wrong if $wrong;
    my $next = agent(wait_ready => 0);
    return 'the next start: ' . $@ if !await($next);
    push @ids, @{ $result->{got} // [] };
    $wrong = lost($next, @ids);
    my ($more) = submit($next, 1);
    $wrong //= 'the next start takes no workflow' if !$more;
    $wrong //= 'a workflow does not complete'
        if $more && !wait_until(sub { $next->get("/api/v1/workflows/$more")->{json}{status} eq 'completed' }, 20);
    my $digest = digest($next);
    $wrong //= 'the next stop ends with ' . $next->{status} . ': ' . $next->said if $next->stop != 0;
    return $wrong if $wrong;
    remove_tree("$dir/db");
    my $rebuilt = agent();
    $wrong //= 'a rebuild gives other documents' if digest($rebuilt) ne $digest;
    $rebuilt->stop;
    my ($status, $out, $said) = run_program(program('daa-log'), 'verify', $dir);
    return $wrong // ($status == 0 ? undef : "verify: $status: $out$said");
}

each_fault(
    name => 'the first start and its stop',
    dir => $dir,
    actions => \@actions,
    most => \%few,
    prepare => sub { remove_tree($dir) },
    run => \&start_and_stop,
    check => sub { wrong_after($_[0]) },
);

# A directory with a past, of an agent that was killed.
my ($fresh, $killed) = map { scratch() . "/$_" } qw(fresh killed);
remove_tree($dir);
is(agent()->stop, 0, '(a fresh directory)');
copy_tree($dir, $fresh);
my $agent = agent();
my @acknowledged = submit($agent, 40);
$agent->kill;
is(scalar @acknowledged, 40, '(and one of an agent that took workflows and was killed)');
copy_tree($dir, $killed);

each_fault(
    name => 'a start after kill -9 and its stop',
    dir => $dir,
    actions => \@actions,
    most => \%few,
    prepare => sub { copy_tree($killed, $dir) },
    run => \&start_and_stop,
    check => sub { wrong_after($_[0], @acknowledged) },
);

each_fault(
    name => 'a start with the database deleted and its stop',
    dir => $dir,
    actions => \@actions,
    most => \%few,
    prepare => sub { copy_tree($killed, $dir); remove_tree("$dir/db") },
    run => \&start_and_stop,
    check => sub { wrong_after($_[0], @acknowledged) },
);

# Load on an agent that has started, and its stop.
my %load = (
    dir => $dir,
    arm => $arm,
    actions => \@actions,
    most => \%few,
    prepare => sub { copy_tree($fresh, $dir) },
    run => sub { my ($fault) = @_; return agent_run($fault, { dir => $dir, config => $config }, sub { [ submit($_[0], 40) ] }) },
    check => sub { wrong_after($_[0]) },
);

each_fault(%load, name => 'some load and the stop behind it');
each_fault(%load, name => 'the commits of the database under load', match => 'db/*', actions => [qw(kill torn eio)], most => { kill => 8, default => 3 });

done_testing();
