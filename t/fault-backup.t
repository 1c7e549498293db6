#!/usr/bin/perl
# Something goes wrong at each of the changes that daa-log backup of a live log makes to files. The backup that
# was finished before stays whole, and is restored; the next run goes on and makes the same of it as one to which
# nothing happened.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(scratch run_program program slurp);
use Fault qw(each_fault copy_tree);
use File::Path qw(remove_tree);
use IPC::Open2;
use Test::More;

my $maker = ($ENV{OUT} // 'build/release') . '/t/bin/make-log';
plan skip_all => 'make-log is not built' if !-x $maker;

my $dir = scratch();
# Numbers of runs that keep `make check` short; TEST_EXHAUSTIVE=1 does not look at them.
my %most = (kill => 8, torn => 4, default => 3);
my @actions = qw(kill kill-after torn short enospc enospc-from eio);
my ($log, $first, $target) = map { "$dir/$_" } qw(log first target);

sub daa_log { my ($status, $out, $said) = run_program(program('daa-log'), @_); return { status => $status, out => $out, said => $said } }

# Its writer goes on until the end: the log is live.
my ($from_writer, $to_writer, $writer);
END { kill 'KILL', $writer if $writer }

sub append {
    my (@commands) = @_;
    $writer //= open2($from_writer, $to_writer, $maker, $log);
    $to_writer->autoflush;
    for my $command (@commands) {
        print $to_writer "$command\n";
        (readline($from_writer) // '') =~ /^durable \d/ or BAIL_OUT('the log cannot be written');
    }
    return;
}

# Killed, failed with a sentence, or good.
sub ended_badly {
    my ($result) = @_;
    return if $result->{status} == 0 || $result->{status} == 128 + 9;
    return if $result->{status} == 1 && $result->{said} =~ /^daa-log backup: \S.*\n\z/;
    return "it ended with $result->{status}: $result->{said}";
}

sub files { my ($path) = @_; return map { (s{.*/}{}r => slurp($_)) } grep { -f } glob "$path/*" }

sub unsound { my ($path) = @_; my $got = daa_log('verify', $path); return $got->{status} == 0 ? () : "$path: $got->{out}$got->{said}" }

sub events { my ($path) = @_; return daa_log('cat', '--json', $path)->{out} }

my ($events_first, $events, %faultless);

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
    my %files = files($target);
    %faultless = %files if !%faultless;
    for my $name (sort keys %files, keys %faultless) {
        next if $name =~ /^(?:BACKUP|CHECKPOINT)$/ && defined $files{$name};    # they hold times
        return "$name is not what it is without a fault" if ($files{$name} // '') ne ($faultless{$name} // '');
    }
    return not_whole($target) // not_restorable($events);
}

append('workflows 300', 'fill 15 60000');
is(daa_log('backup', $log, $first)->{status}, 0, 'a backup');
$events_first = events($log);
append('workflows 300', 'fill 20 60000');
$events = events($log);

each_fault(
    name => 'a first backup', dir => $target, actions => \@actions, most => \%most,
    prepare => sub { remove_tree($target) },
    run => sub { my ($fault) = @_; return $fault->under(sub { daa_log('backup', $log, $target) }) },
    check => sub { my ($result) = @_; return backup_wrong($result, undef) },
);
each_fault(
    name => 'a backup that goes on', dir => $target, actions => \@actions, most => \%most,
    prepare => sub { copy_tree($first, $target) },
    run => sub { my ($fault) = @_; return $fault->under(sub { daa_log('backup', $log, $target) }) },
    check => sub { my ($result) = @_; return backup_wrong($result, $events_first) },
);
close $to_writer;
waitpid $writer, 0;
is($?, 0, 'the writer was not disturbed');
undef $writer;
done_testing;
