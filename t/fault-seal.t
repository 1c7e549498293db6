#!/usr/bin/perl
# Something goes wrong at each of the changes that sealing makes to files. The agent goes on, or was killed; the
# log is whole and says the same, whichever form its segments have; the next start seals what is left.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(scratch run_program program wait_until);
use Fault qw(each_fault copy_tree agent_ended_badly agent_run);
use Test::More;

$ENV{TSAN_OPTIONS} = join ':', $ENV{TSAN_OPTIONS} // (), 'atexit_sleep_ms=0';

my $config = "[log]\nsegment_size = \"256KB\"\nengine = \"plain\"\n%s[state]\nsnapshot_interval = \"0s\"\n";
my ($dir, $base) = map { scratch() . "/$_" } qw(data base);
my %options = (dir => $dir, config => sprintf $config, '');

sub events { my ($from, @more) = @_; my ($status, $out) = run_program(program('daa-log'), 'cat', '--json', @more, $from); return $status == 0 ? $out : "status $status" }
sub files { my ($form) = @_; return map { /seg-0*(\d+)\./ ? $1 : () } glob "$dir/log/seg-*.$form" }
sub log_of { my ($agent) = @_; return $agent->get('/status')->{json}{log} // {} }
sub is_done { my ($agent) = @_; my $log = log_of($agent); return defined $log->{unsealed} && $log->{unsealed} == 0 }

my $agent = Daa->start(dir => $dir, config => sprintf $config, "seal = false\n");
my $nap = { name => 'nap', steps => [ { id => 'a', sleep => '0s' } ] };
$agent->post('/api/v1/workflows', { definition => $nap, input => 'x' x 20000 }) for 1 .. 30;
wait_until(sub { $agent->get('/status')->{json}{workflows}{unfinished} == 0 }) or die 'workflows do not end';
my $segments = log_of($agent)->{segment};
is($agent->stop, 0, "(an agent with $segments raw segments)");
cmp_ok($segments, '>=', 3, '(several)');
copy_tree($dir, $base);
my $want = events($base);
my $last = () = $want =~ /\n/g;

# Until all is sealed, or cannot be, or the agent was killed.
sub until_sealed {
    my ($running) = @_;
    wait_until(sub { my $log = log_of($running); !%$log || $log->{seal_trouble} || $log->{unsealed} == 0 }) or return 'it never ends';
    return log_of($running);
}

sub whole {
    my ($status, $out) = run_program(program('daa-log'), 'verify', $dir);
    return "verify says: $out" if $status != 0;
    return 'the log says something else' if events($dir, '--to', $last) ne $want;
    return;
}

sub next_start {
    my $next = Daa->start(%options);
    wait_until(sub { is_done($next) }) or return 'the next start does not seal the rest: ' . (log_of($next)->{seal_trouble} // 'no trouble');
    my $newest = log_of($next)->{segment};
    return 'some are raw: ' . join ' ', files('log') if grep { $_ < $newest } files('log');
    return 'half a file is left' if glob "$dir/log/*.zlog.tmp";
    my $status = $next->stop;
    return "the last stop ended with $status: " . $next->said if $status != 0;
    return whole();
}

each_fault(
    name => 'sealing',
    dir => $dir,
    match => 'log/seg-000000000[1-3].*',
    actions => [qw(kill kill-after torn short enospc enospc-from eio)],
    most => 24,
    prepare => sub { copy_tree($base, $dir) },
    run => sub { my ($fault) = @_; return agent_run($fault, \%options, \&until_sealed) },
    check => sub {
        my ($result, $fault) = @_;
        my $got = $result->{got};
        return agent_ended_badly($result->{agent}) // (ref $got || !defined $got ? undef : $got) // whole() // next_start();
    },
);

done_testing();
