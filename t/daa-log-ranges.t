#!/usr/bin/perl
# daa-log verify --ranges: every byte of every segment has a verdict, and damage its witness.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(scratch slurp);
use LogMaker qw(daa_log lines make_log copy_of patch flip need_log_tools start_maker say_to stop);
use Test::More;

need_log_tools();

my $dir = make_log('log', 'workflows 100', 'fill 6 200000', 'workflows 50');
my @frames = map { /^frame at 0x([0-9a-f]+), (\d+) bytes: events (\d+) to (\d+)/ ? [hex $1, $2, $3, $4] : () } split /\n/, (daa_log('hexdump', $dir, 1))[1];

sub ranges { my ($log) = @_; my ($status, $said) = daa_log('verify', '--json', '--ranges', $log); return ($status, [grep { $_->{range} } lines($said)]) }

# Ranges of a file follow each other from its first byte to its last.
sub gaps {
    my ($log, $ranges) = @_;
    my (%end, $gaps);
    for my $range (@$ranges) {
        $gaps++ if $range->{offset} != ($end{ $range->{range} } // 0) || $range->{size} == 0;
        $end{ $range->{range} } = $range->{offset} + $range->{size};
    }
    $gaps += grep { ($end{ s{.*/}{}r } // 0) != -s $_ } glob "$log/seg-*.log";
    return $gaps // 0;
}

sub verdicts { my ($ranges, $file) = @_; return [map { "$_->{offset} $_->{verdict}" } grep { $_->{range} eq $file } @$ranges] }

my ($status, $ranges) = ranges($dir);
is($status, 0, 'a sound log');
is(gaps($dir, $ranges), 0, 'every byte has a verdict');
my $end = $frames[-1][0] + $frames[-1][1];
is_deeply(verdicts($ranges, 'seg-0000000001.log'), ['0 sound', '4096 sound', "$end unused"], 'header, frames and zeros');
my ($said) = (daa_log('verify', '--ranges', $dir))[1];
like($said, qr/^  seg-0000000001\.log 0x00000000 to 0x00001000  sound +header$/m, 'in words');

my $copy = copy_of($dir, 'damaged');
flip("$copy/seg-0000000001.log", $frames[1][0] + 300, 4);
($status, $ranges) = ranges($copy);
is($status, 1, 'a damaged one');
is(gaps($copy, $ranges), 0, 'every byte has a verdict');
my $behind = $frames[1][0] + $frames[1][1];
is_deeply(verdicts($ranges, 'seg-0000000001.log'), ['0 sound', '4096 sound', "$frames[1][0] damaged", "$behind sound", "$end unused"], 'the frame alone is damaged');
my ($damage) = grep { $_->{verdict} eq 'damaged' } @$ranges;
is($damage->{witness}, 'a later segment', 'of which a later segment knows');
like($damage->{what}, qr/^flipping bit 4 of byte/, 'and what happened');

$copy = copy_of($dir, 'end');
my ($used) = map { $_->{used_bytes} } grep { ($_->{segment} // 0) == 2 } lines((daa_log('ls', '--json', $dir))[1]);
patch("$copy/seg-0000000002.log", $used - 4096 + 700, "\xff\x00\xff");
($status, $ranges) = ranges($copy);
($damage) = grep { $_->{verdict} eq 'damaged' } @$ranges;
is_deeply([$status, @$damage{qw(range witness)}], [1, 'seg-0000000002.log', 'CHECKPOINT'], 'of a damaged end CHECKPOINT knows');
is(gaps($copy, $ranges), 0, 'every byte has a verdict');

$copy = copy_of($dir, 'header');
patch("$copy/seg-0000000001.log", 50, "\xff\xff\xff");
($status, $ranges) = ranges($copy);
is(gaps($copy, $ranges), 0, 'also where a header is damaged');

my $live = scratch() . '/live';
my $writer = start_maker($live);
say_to($writer, 'workflows 20');
($status, $ranges) = ranges($live);
is($ranges->[-1]{verdict}, 'unread', 'what a writer may be writing is not judged') or diag(explain($ranges));
kill KILL => $writer->{pid};
stop($writer);
($used) = map { $_->{used_bytes} } grep { ($_->{segment} // 0) == 1 } lines((daa_log('ls', '--json', $live))[1]);
patch("$live/seg-0000000001.log", $used + 8192, 'x' x 100);
($status, $ranges) = ranges($live);
is_deeply([$status, (grep { $_->{offset} == $used } @$ranges)[0]{verdict}], [3, 'torn'], 'a torn end');
$writer = start_maker($live);
say_to($writer, 'workflows 1');
stop($writer);
($status, $ranges) = ranges($live);
is_deeply([$status, (grep { $_->{range} eq 'seg-0000000001.log' && $_->{offset} == $used } @$ranges)[0]{verdict}], [0, 'left out'], 'is left out when the log goes on');
is(gaps($live, $ranges), 0, 'every byte has a verdict');

done_testing();
