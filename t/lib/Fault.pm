# Every change that a program makes to files, gone wrong in turn (t/bin/fault.c), as SQLite tests itself.
#
#   each_fault(
#       name    => 'the first start',
#       dir     => $dir,                       # changes in here count
#       actions => [qw(kill torn enospc)],     # what goes wrong; see t/bin/fault.c
#       prepare => sub { remove_tree($dir) },  # before each run
#       run     => sub { my ($fault) = @_; $fault->under(sub { run_program(program('x'), $dir) }) },
#       check   => sub { my ($result) = @_; return $good ? undef : 'a sentence: what is wrong' },
#   );
#
# For each action: run without a fault once to see the calls, then with a fault at call 1, 2, 3... until none
# happens any more, check after each. One claim an action. When the calls are more than `most` (200; fewer if
# the test says so) only some are tried: of each kind of call to each kind of file the first, the last and one
# at random, and others at random up to `most`. SEED repeats it; TEST_EXHAUSTIVE=1 tries all; `most` may be a
# hash by action; FAULT_ONLY="torn 17" tries that one alone.
package Fault;
use strict;
use warnings;
use Cwd ();
use Daa ();
use Exporter 'import';
use File::Path qw(remove_tree);
use List::Util qw(shuffle uniq min);
use Test::More;
use Time::HiRes ();

our @EXPORT_OK = qw(each_fault fault_count copy_tree agent_ended_badly agent_run);
my $runs = 0;
my $seed;

sub seed {
    if (!defined $seed) {
        $seed = $ENV{SEED} // int(Time::HiRes::time() * 1000) % 1_000_000;
        note "SEED=$seed";
        srand $seed;
    }
    return $seed;
}

# One run to come: dir, and optionally match, arm (as in fault.c), at and do, unreadable.
sub new {
    my ($class, %options) = @_;
    my $self = bless {%options}, $class;
    my ($parent, $name) = $options{dir} =~ m{^(.*)/([^/]+)/?$} or die "$options{dir} is not absolute";
    $self->{dir} = Cwd::realpath($parent) . "/$name";
    $self->{log} = Daa::scratch() . "/fault-$$-" . ++$runs;
    return $self;
}

# Calls the sub; programs that it starts have the fault. Programs that those start have not.
sub under {
    my ($self, $code) = @_;
    local %ENV = (%ENV,
        LD_PRELOAD => ($ENV{OUT} // Cwd::getcwd() . '/build/release') . '/t/bin/fault.so',
        FAULT_DIR => $self->{dir},
        FAULT_LOG => $self->{log});
    for my $name (qw(match arm at do unreadable)) { $ENV{ 'FAULT_' . uc $name } = $self->{$name} if defined $self->{$name} }
    # It comes before the sanitizer's runtime, which minds that; its calls go on to the runtime's.
    $ENV{ASAN_OPTIONS} = join ':', $ENV{ASAN_OPTIONS} // (), 'verify_asan_link_order=0';
    return $code->();
}

# From now on calls count (for a fault that was given `arm`).
sub arm_now { my ($self) = @_; Daa::spew($self->{arm}, ''); return }

# The calls that were counted: {number, call, size, path}; the path behind dir.
sub calls {
    my ($self) = @_;
    my @calls;
    for (split /\n/, Daa::slurp($self->{log}) // '') {
        my ($number, $call, $size, $path) = /^(\d+) (\w+) (\d+) (.*)/ or next;
        $path =~ s{^\Q$self->{dir}\E/?}{};
        push @calls, { number => $number, call => $call, size => $size, path => $path };
    }
    @calls = sort { $a->{number} <=> $b->{number} } @calls;
    return @calls;
}

# What went wrong, as text, once it did: "torn at call 17: pwrite of 4096 bytes to db/data.mdb".
sub fired {
    my ($self) = @_;
    my ($at) = (Daa::slurp($self->{log}) // '') =~ /^fault (\d+) /m or return;
    my ($call) = grep { $_->{number} == $at } $self->calls;
    return "$self->{do} at call $at: $call->{call} of $call->{size} bytes to " . ($call->{path} || 'the directory itself');
}

sub forget { my ($self) = @_; unlink $self->{log}; unlink $self->{arm} if defined $self->{arm}; return }

#--- What the tests of daa-agent share ---------------------------------------------------------------

sub copy_tree { my ($from, $to) = @_; remove_tree($to); system('cp', '-a', $from, $to) == 0 or die "cp $from $to"; return }

# Killed, stopped in order, or failed with a sentence; else what is wrong.
sub agent_ended_badly {
    my ($agent) = @_;
    my $status = $agent->{status} // return 'it did not end';
    return if $status == 0 || $status == 128 + 9;
    return if $status == 1 && $agent->said =~ /^daa-agent: \S/m;
    return "it ended with $status: " . $agent->said;
}

# An agent under the fault, ready or ended; the sub while it is ready; and a stop, if it is still there.
sub agent_run {
    my ($fault, $options, $code) = @_;
    my $agent = $fault->under(sub { Daa->start(%$options, wait_ready => 0) });
    my $ready = eval { $agent->await_ready };
    $fault->arm_now if $ready && defined $fault->{arm};
    my $got = $ready && $code ? $code->($agent) : undef;
    $agent->stop;
    return { agent => $agent, ready => $ready, got => $got };
}

#--- Schedules ------------------------------------------------------------------------------------

sub fault_of { my (%test) = @_; return Fault->new(map { defined $test{$_} ? ($_ => $test{$_}) : () } qw(dir match arm at do)) }

# Runs it without a fault: the calls, in order.
sub count_calls {
    my (%test) = @_;
    my $fault = fault_of(%test, at => undef, do => undef);
    $fault->forget;
    $test{prepare}->() if $test{prepare};
    my $result = $test{run}->($fault);
    my @calls = $fault->calls;
    my $wrong = $test{check} && $test{check}->($result, $fault);
    ok(!$wrong && @calls, "$test{name}: without a fault all is well, over " . @calls . ' calls') or diag($wrong // 'no call was counted');
    $fault->forget;
    return @calls;
}

# How many calls a run without a fault makes.
sub fault_count { return scalar count_calls(@_) }

sub most_of {
    my ($most, $action) = @_;
    $most = $most->{$action} // $most->{default} if ref $most;
    return $most // 200;
}

# The calls to which the action can happen, numbered as fault.c numbers them then.
sub calls_for {
    my ($action, @calls) = @_;
    @calls = grep { $_->{call} =~ /write|copy/ } @calls if $action =~ /^(?:torn|short)$/;
    @calls = grep { $_->{call} !~ /^(?:unlink|rmdir)$/ } @calls if $action =~ /^enospc/;
    my $number = 0;
    return map { { %$_, number => ++$number } } @calls;
}

# The numbers to try: all, or `most` of them.
sub choose {
    my ($most, @calls) = @_;
    my @numbers = map { $_->{number} } @calls;
    return @numbers if @numbers <= $most;
    my %kinds;
    for my $call (@calls) {
        (my $path = $call->{path}) =~ s/\d+/N/g;
        push @{ $kinds{"$call->{call} $path"} }, $call->{number};
    }
    # The first of each kind, then the last of each, then others.
    my @first = shuffle map { $_->[0] } values %kinds;
    my @last = shuffle map { $_->[-1] } values %kinds;
    my @random = shuffle map { $_->[ rand @$_ ] } values %kinds;
    my @wanted = uniq @first, @last, @random, shuffle @numbers;
    my @chosen = @wanted[ 0 .. $most - 1 ];
    @chosen = sort { $a <=> $b } @chosen;
    return @chosen;
}

# One run and its check: nothing (no fault happened), or [what happened, what is wrong or undef].
sub try_fault {
    my ($action, $number, %test) = @_;
    my $fault = fault_of(%test, at => $number, do => $action);
    $fault->forget;
    $test{prepare}->() if $test{prepare};
    my $result = eval { $test{run}->($fault) };
    my $wrong = $@ ? "the run itself: $@" : undef;
    my $fired = $fault->fired;
    $wrong //= eval { $test{check}->($result, $fault) };
    $wrong //= "the check itself: $@" if $@;
    $fault->forget;
    return if !$fired && !$wrong;
    return [ $fired // "no fault at call $number", $wrong ];
}

# All numbers from 1 on, until nothing happens any more. Threads make the number of calls vary: one run that
# ended before its fault is not the end.
sub try_all {
    my ($action, %test) = @_;
    my (@tried, $missed);
    for (my $number = 1; ($missed // 0) < 3; $number++) {
        my $what = try_fault($action, $number, %test);
        $missed = $what ? 0 : ($missed // 0) + 1;
        push @tried, $what if $what;
        last if $what && $what->[0] =~ /^no fault/;
    }
    return @tried;
}

# One action at all calls, or at some: (whether all, how many calls there are, what was tried...).
sub try_action {
    my ($action, $calls, %test) = @_;
    my ($only, $only_at) = split ' ', $ENV{FAULT_ONLY} // '';
    my @of = calls_for($action, @$calls);
    my $most = most_of($test{most}, $action);
    my $all = !$only_at && ($ENV{TEST_EXHAUSTIVE} || @of <= $most);
    return (1, scalar @of, try_all($action, %test)) if $all;
    my @numbers = $only_at ? ($only_at) : choose($most, @of);
    return (0, scalar @of, map { try_fault($action, $_, %test) // () } @numbers);
}

sub each_fault {
    my (%test) = @_;
    seed();
    my ($only) = split ' ', $ENV{FAULT_ONLY} // '';
    my @calls = count_calls(%test);
    for my $action (@{ $test{actions} }) {
        next if $only && $only ne $action;
        my ($all, $count, @tried) = try_action($action, \@calls, %test);
        my @wrong = grep { defined $_->[1] } @tried;
        ok(@tried && !@wrong, "$test{name}: $action at " . ($all ? 'each' : 'some') . " of $count calls, " . @tried . ' tried');
        diag("$_->[0]\n  $_->[1]") for splice @wrong, 0, 10;
        diag('and ' . @wrong . ' more') if @wrong;
    }
    return;
}

1;
