#!/usr/bin/perl
# Something goes wrong at each of the changes that an erasure makes. Whatever became of it: what was answered as
# erased is, the next start ends what was begun, or nothing has happened; and the state is that of the log.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(scratch run_program program wait_until);
use Fault qw(each_fault copy_tree agent_ended_badly agent_run);
use File::Path qw(remove_tree);
use POSIX ();
use Test::More;

$ENV{TSAN_OPTIONS} = join ':', $ENV{TSAN_OPTIONS} // (), 'atexit_sleep_ms=0';

my $config = "[log]\nencryption = true\nsegment_size = \"256KB\"\nseal = false\nengine = \"plain\"\n[state]\nsnapshot_interval = \"0s\"\n";
my ($dir, $past, $arm) = map { scratch() . "/$_" } qw(data past arm);
my $nap = { name => 'nap', steps => [ { id => 'a', sleep => '0s' } ] };

my $agent = Daa->start(dir => $dir, config => $config);
my @ids = map { $agent->post('/api/v1/workflows?wait=10s', { definition => $nap, input => { n => $_ } })->{json}{id} } 1, 2;
$agent->stop;
copy_tree($dir, $past);

# 'there', 'erased', or what is neither.
sub state_of {
    my ($of, $number) = @_;
    my $answer = $of->get("/api/v1/workflows/$ids[$number - 1]");
    return 'there' if $answer->{status} == 200 && $answer->{json}{input}{n} == $number;
    return 'erased' if $answer->{status} == 410 && $answer->{json}{code} eq 'erased';
    return "$answer->{status} $answer->{body}";
}

my $answered;

# The documents of a start that has none are those that are there.
sub state_wrong {
    my ($next) = @_;
    my $now = $next->get('/api/v1/state/digest')->{json};
    my $into = scratch() . '/replay';
    my ($status, $out, $said) = run_program(program('daa-log'), 'verify', $dir);
    return "verify: $status: $out$said" if $status != 0 && $status != 3;
    $next->kill;
    remove_tree("$dir/db", "$dir/snapshots");
    $next->start_again->await_ready;
    my $anew = $next->get('/api/v1/state/digest')->{json};
    return $anew->{digest} eq $now->{digest} ? undef : 'the state made anew is another one';
}

sub check {
    my ($result) = @_;
    my $wrong = agent_ended_badly($result->{agent}) // $result->{got};
    return $wrong if $wrong;
    my $next = Daa->start(dir => $dir, config => $config, wait_ready => 0);
    return "the next start: $@" if !eval { $next->await_ready };
    return 'an erasure that was begun is not ended: ' . $next->said if !wait_until(sub { !(() = glob "$dir/keys/erase-*") }, 20);
    my ($first, $second) = map { state_of($next, $_) } 1, 2;
    return "the other workflow: $second" if $second ne 'there';
    return "it is neither there nor erased: $first" if $first !~ /^(?:there|erased)$/;
    return 'it was answered as erased, and is there' if $answered && $first ne 'erased';
    $wrong = state_wrong($next);
    return $wrong if $wrong;
    return 'then it is ' . state_of($next, 1) . ", not $first" if state_of($next, 1) ne $first;
    my $again = $next->post("/api/v1/workflows/$ids[0]:erase", {}, $next->as_admin);
    return "erasing it then: $again->{status} $again->{body}" if $again->{status} != 200 || state_of($next, 1) ne 'erased';
    $wrong = state_wrong($next);
    my $stopped = $next->stop;
    return $wrong // ($stopped == 0 ? undef : "the last stop ended with $stopped: " . $next->said);
}

sub run {
    my ($fault) = @_;
    $answered = 0;
    unlink $arm;
    return agent_run($fault, { dir => $dir, config => $config }, sub {
        my ($started) = @_;
        my $answer = $started->post("/api/v1/workflows/$ids[0]:erase", { reason => 'asked' }, $started->as_admin);
        $answered = $answer->{status} == 200;
        return;
    });
}

my %test = (dir => $dir, arm => $arm, prepare => sub { copy_tree($past, $dir) }, run => \&run, check => \&check);
each_fault(%test, name => 'keys while a workflow is erased', match => 'keys/*', actions => [qw(kill kill-after torn short eio enospc enospc-from)], most => 8);
each_fault(%test, name => 'all while a workflow is erased', actions => [qw(kill kill-after)], most => 12);
done_testing();
