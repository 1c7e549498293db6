#!/usr/bin/perl
# Something goes wrong at each of the changes that daa-log import makes to files. The log is there, whole and sound, or
# not at all; only a kill leaves anything beside its place, which the next run takes away.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(scratch spew);
use Fault qw(each_fault);
use File::Path qw(remove_tree);
use LogMaker qw(daa_log make_log need_log_tools);
use Test::More;

need_log_tools();

my $log = make_log('log', 'workflows 300', 'fill 3 200000');
my $export = (daa_log('export', '--format', 'records', $log))[1];
my ($file, $place) = map { scratch() . "/$_" } qw(records place);
spew($file, $export);
my @import = ('import', '--segment-size', '1MiB', $file, "$place/made");

sub not_whole {
    my ($status, $out, $said) = daa_log('verify', "$place/made");
    return "it is not sound: $out$said" if $status != 0;
    return 'it holds other records' if (daa_log('export', '--format', 'records', "$place/made"))[1] ne $export;
    return 'the next opening does not fork' if !-e "$place/made/log/FORK";
    return;
}

sub wrong {
    my ($result) = @_;
    my ($status, undef, $said) = @$result;
    return "it ended with $status: $said" if $status != 128 + 9 && $status != 0 && !($status == 1 && $said =~ /^daa-log import: \S.*\n\z/);
    my $made = -e "$place/made";
    return 'it was good, and there is no log' if $status == 0 && !$made;
    my @left = grep { $_ ne "$place/made" } glob "$place/*";
    return "left is @left" if @left && $status != 128 + 9;
    return not_whole() if $made;
    my ($again, undef, $why) = daa_log(@import);
    return "the next run: $why" if $again != 0;
    return "the next run leaves @left" if 1 < (@left = glob "$place/*");
    return not_whole();
}

each_fault(
    name => 'an import', dir => $place, actions => [qw(kill kill-after torn short enospc enospc-from eio)],
    most => { kill => 12, default => 6 },
    prepare => sub { remove_tree($place); mkdir $place },
    run => sub { my ($fault) = @_; return $fault->under(sub { [daa_log(@import)] }) },
    check => \&wrong,
);

done_testing();
