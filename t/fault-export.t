#!/usr/bin/perl
# Something goes wrong at each of the changes that daa-log export makes to files. The file has what it had
# before, or the whole export, and the next run makes it.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(scratch slurp spew);
use Fault qw(each_fault);
use File::Path qw(remove_tree);
use LogMaker qw(daa_log make_log need_log_tools);
use Test::More;

need_log_tools();

my $log = make_log('log', 'workflows 200', 'parked');
my $events = (daa_log('cat', '--json', $log))[1];
my $dir = scratch() . '/out';
my $file = "$dir/events.jsonl";

# The writes themselves are stdio's, out of the reach of t/bin/fault.c; t/daa-log-export.t has a full disk.
sub wrong {
    my ($result) = @_;
    my ($status, undef, $said) = @$result;
    return "it ended with $status: $said" if $status != 128 + 9 && $status != 0 && !($status == 1 && $said =~ /^daa-log export: \S.*\n\z/);
    my $now = slurp($file) // '';
    return 'the file is neither old nor whole' if $now ne 'old' && $now ne $events;
    return 'it was good, and the file is old' if $status == 0 && $now eq 'old';
    my ($again, undef, $why) = daa_log('export', '-o', $file, $log);
    return "the next run: $why" if $again != 0;
    return 'the next run leaves something else' if slurp($file) ne $events || -e "$file.part";
    return;
}

each_fault(
    name => 'an export', dir => $dir, actions => [qw(kill kill-after enospc enospc-from eio)],
    prepare => sub { remove_tree($dir); mkdir $dir; spew($file, 'old') },
    run => sub { my ($fault) = @_; return $fault->under(sub { [daa_log('export', '-o', $file, $log)] }) },
    check => \&wrong,
);

done_testing();
