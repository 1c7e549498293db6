#!/usr/bin/perl
# daa-log cat --tree and explain --tree: what led to what.
use strict;
use warnings;
use utf8;
use lib 't/lib';
use LogMaker qw(daa_log lines make_log need_log_tools);
use Test::More;

need_log_tools();

# Of each command of make-log the first event is the cause of the others.
my $dir = make_log('log', 'workflows 6', 'parked', 'fill 3 100');
my @events = lines((daa_log('cat', '--json', $dir))[1]);
my $last = $events[-1]{seq};

# [seq, depth] of each line.
sub shown {
    my ($said) = @_;
    utf8::decode($said);
    return map { /^([^\d]*?)([├└]─)? +(\d+)  \d/ ? [$3, $2 ? length($1) / 3 + 1 : 0] : () } split /\n/, $said;
}

sub depth_of { my ($seq) = @_; my $cause = $events[$seq - 1]{cause}; return $cause ? 1 + depth_of($cause) : 0 }

my ($status, $said) = daa_log('cat', '--tree', $dir);
is($status, 0, 'cat --tree is good');
my @shown = shown($said);
is(scalar @shown, scalar @events, 'each event is there');
is(scalar(grep { $_->[1] != depth_of($_->[0]) } @shown), 0, 'as deep as its causes are many') or diag($said);
my %at = map { $shown[$_][0] => $_ } 0 .. $#shown;
is(scalar(grep { $_->{cause} && $at{ $_->{seq} } < $at{ $_->{cause} } } @events), 0, 'and below its cause');

my ($root) = map { $_->{cause} } grep { $_->{cause} } @events;
my @family = grep { $_ == $root || ($events[$_ - 1]{cause} // 0) == $root } 1 .. $last;
($status, $said) = daa_log('explain', '--tree', '--json', $family[-1], $dir);
is_deeply([map { $_->{seq} } lines($said)], \@family, 'explain --tree shows what led to an event, and what that led to');
($status, $said) = daa_log('explain', '--tree', $family[-1], $dir);
is_deeply([map { $_->[1] } shown($said)], [0, (1) x $#family], 'as a tree');
($status, $said) = daa_log('explain', '--tree', '--width', 2, $root, $dir);
my $more = @family - 3;
like($said, qr/\.\.\. $more more: see --width/, 'its width has a limit');
is(scalar(shown($said)), 3, 'which is kept');
($status, $said) = daa_log('explain', '--tree', '--depth', 1, $root, $dir);
like($said, qr/\.\.\. \d+ and what they led to: see --depth/, 'its depth too');
($status, $said, my $complained) = daa_log('explain', '--tree', '-n', 3, $root, $dir);
ok($complained =~ /events behind \d+ were not looked at/ && scalar(shown($said)) == 3, 'and the events that are looked at');
($status, $said) = daa_log('cat', '--tree', '-k', 'workflow.completed', $dir);
is(scalar(grep { $_->[1] > 0 } shown($said)), 0, 'what is filtered out leads to nothing');
($status, $said, $complained) = daa_log('explain', '--tree', $last + 9, $dir);
ok($status == 1 && $complained =~ /there is no event/, 'an event that is not there is named');

done_testing();
