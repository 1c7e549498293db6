#!/usr/bin/perl
# Something goes wrong at each of the changes that daa-log backup and daa-log restore make to files. A backup
# that was finished before stays whole; the next run goes on and makes it sound; what is restored is there as
# a whole or not at all.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(scratch run_program program slurp);
use Fault qw(each_fault);
use File::Path qw(remove_tree);
use IPC::Open2;
use Test::More;

my $maker = ($ENV{OUT} // 'build/release') . '/t/bin/make-log';
plan skip_all => 'make-log is not built' if !-x $maker;

my $dir = scratch();
# Numbers of runs that keep `make check` short; TEST_EXHAUSTIVE=1 does not look at them.
my %most = (kill => 8, torn => 4, default => 3);
my @actions = qw(kill torn short enospc enospc-from eio);
my ($log, $first, $whole, $target, $restored) = map { "$dir/$_" } qw(log first whole target restored);

sub daa_log { my ($status, $out, $said) = run_program(program('daa-log'), @_); return { status => $status, out => $out, said => $said } }

sub make_log {
    my (@commands) = @_;
    my $pid = open2(my $from, my $to, $maker, $log);
    print $to "$_\n" for @commands;
    close $to;
    my @said = readline $from;
    waitpid $pid, 0;
    return is($?, 0, 'a log: ' . scalar(@commands) . ' commands');
}

sub copy { my ($from, $to) = @_; remove_tree($to); system('cp', '-a', $from, $to) == 0 or die "cp $from $to"; return }

# Killed, failed with a sentence, or good.
sub ended_badly {
    my ($result) = @_;
    return if $result->{status} == 0 || $result->{status} == 128 + 9;
    return if $result->{status} == 1 && $result->{said} =~ /^daa-log (?:backup|restore): \S.*\n\z/;
    return "it ended with $result->{status}: $result->{said}";
}

sub unsound { my ($path) = @_; my $got = daa_log('verify', $path); return $got->{status} == 0 ? () : "$path: $got->{out}$got->{said}" }

sub events { my ($path) = @_; return daa_log('cat', '--json', $path)->{out} }

my ($events_first, $events);

# The directory is a log with all events, and daa-log restore makes the same of it.
sub not_whole {
    my ($path) = @_;
    my $wrong = unsound($path);
    return $wrong if $wrong;
    return events($path) eq $events ? () : "$path holds other events";
}

sub not_restorable {
    my ($want) = @_;
    remove_tree("$dir/check");
    my $got = daa_log('restore', $target, "$dir/check");
    return "it cannot be restored: $got->{said}" if $got->{status} != 0;
    return events("$dir/check") =~ /^\Q$want\E/ ? () : 'what is restored of it lacks events';
}

sub backup_wrong {
    my ($result, $want) = @_;
    my $wrong = ended_badly($result) // (-e "$target/BACKUP" || $want ? not_restorable($want // '') : undef);
    return $wrong if $wrong;
    my $again = daa_log('backup', $log, $target);
    return "the next run: $again->{said}" if $again->{status} != 0;
    return 'half a file is left' if glob("$target/*.tmp $target/snapshots/*.tmp");
    return not_whole($target) // not_restorable($events);
}

sub restore_wrong {
    my ($result, $from) = @_;
    my $wrong = ended_badly($result) // (-e "$restored/log" ? not_whole($restored) : undef);
    return $wrong if $wrong;
    my $finished = -e "$restored/log" && !-e "$restored/RESTORING";
    my $again = $finished ? { status => 0 } : daa_log('restore', $from, $restored);
    return "the next run: $again->{said}" if $again->{status} != 0;
    return 'it is not finished' if -e "$restored/RESTORING" || -e "$restored/log/BACKUP" || !-e "$restored/log/FORK";
    return not_whole($restored);
}

make_log('workflows 300', 'fill 15 60000');
copy($log, "$dir/plain-first");
is(daa_log('backup', $log, $first)->{status}, 0, 'a backup');
$events_first = events($log);
make_log('workflows 300', 'fill 20 60000');
$events = events($log);

each_fault(
    name => 'a first backup', dir => $target, actions => \@actions, most => \%most,
    prepare => sub { remove_tree($target) },
    run => sub { my ($fault) = @_; return $fault->under(sub { daa_log('backup', $log, $target) }) },
    check => sub { my ($result) = @_; return backup_wrong($result, undef) },
);
each_fault(
    name => 'a backup that goes on', dir => $target, actions => \@actions, most => \%most,
    prepare => sub { copy($first, $target) },
    run => sub { my ($fault) = @_; return $fault->under(sub { daa_log('backup', $log, $target) }) },
    check => sub { my ($result) = @_; return backup_wrong($result, $events_first) },
);
is(daa_log('backup', $log, $whole)->{status}, 0, 'a whole one');
for my $from ($whole, $log) {
    each_fault(
        name => $from eq $whole ? 'a restore' : 'a restore of a plain copy', dir => $restored, actions => \@actions, most => \%most,
        prepare => sub { remove_tree($restored) },
        run => sub { my ($fault) = @_; return $fault->under(sub { daa_log('restore', $from, $restored) }) },
        check => sub { my ($result) = @_; return restore_wrong($result, $from) },
    );
}

done_testing;
