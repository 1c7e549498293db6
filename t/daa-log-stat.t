#!/usr/bin/perl
# daa-log stat: counts, sizes and rates held against the events and frames themselves.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(scratch);
use List::Util qw(sum max);
use LogMaker qw(daa_log lines make_log copy_of flip need_log_tools start_maker say_to stop);
use Test::More;

need_log_tools();

my $dir = make_log('log', 'workflows 200', 'fill 3 200000', 'parked', 'fill 3 150000', 'workflows 40');
my @events = lines((daa_log('cat', '--json', $dir))[1]);
my $dump = (daa_log('hexdump', $dir))[1];
my @frames = map { [/^frame at 0x\w+, (\d+) bytes: events (\d+) to (\d+)/] } grep { /^frame at/ } split /\n/, $dump;
my ($stat) = lines((daa_log('stat', '--json', $dir))[1]);

sub group_of { my ($value) = @_; my $group = 1; $group *= 2 while $group * 2 <= $value; return $value ? $group : 0 }
sub spread { my %groups; $groups{ group_of($_) }++ for @_; return \%groups }

subtest 'numbers' => sub {
    is($stat->{frames}, scalar @frames, 'frames');
    is($stat->{frame_bytes}, sum(map { $_->[0] } @frames), 'their bytes');
    is_deeply($stat->{frame_sizes}, spread(map { $_->[0] } @frames), 'sizes of frames');
    is_deeply($stat->{events_in_frame}, spread(map { $_->[2] - $_->[1] + 1 } @frames), 'events in a frame');
    is($stat->{header_bytes}, 128 * @frames + 64 * @events, 'headers');
    is($stat->{header_bytes} + $stat->{payload_bytes} + $stat->{padding_bytes}, $stat->{frame_bytes}, 'the rest is padding');
    my @sizes = $dump =~ /payload_size = (\d+)$/mg;
    is($stat->{payload_bytes}, sum(@sizes), 'bytes of payload');
    is_deeply($stat->{payload_sizes}, spread(@sizes), 'sizes of payloads');
    is(sum(values %{ $stat->{frame_gaps_ns} }), @frames - 1, 'times between frames');
    my (@latencies, @open);
    my @built;
    push @built, [$1, $2] while $dump =~ /durable_seq = (\d+)\n +\S+ +\S+ +base_time_ns = (\d+)/g;
    for my $i (0 .. $#frames) {
        my ($durable, $time) = @{ $built[$i] };
        while (@open && $open[0][0] <= $durable) { my $frame = shift @open; push @latencies, $time - $frame->[1] if $frame->[2] }
        $_->[2] = 1 for @open;
        push @open, [$frames[$i][2], $time, 0];
    }
    is_deeply($stat->{commit_latency_ns}, spread(@latencies), 'commit latency, of ' . @latencies . ' frames');
    is(sum(@{ $stat->{rate}{events} }), scalar @events, 'events over time');
    my (%by_events, %by_bytes);
    for my $i (0 .. $#events) {
        my $stream = $events[$i]{stream} or next;
        $by_events{$stream}++;
        $by_bytes{$stream} += $sizes[$i];
    }
    is($stat->{streams_by_events}[0]{events}, max(values %by_events), 'the stream with the most events');
    is(scalar(grep { $by_events{ $_->{stream} } != $_->{events} } @{ $stat->{streams_by_events} }), 0, 'each has what is said');
    is($stat->{streams_by_bytes}[0]{payload_bytes}, max(values %by_bytes), 'the stream with the most bytes');
    is(scalar(grep { $by_bytes{ $_->{stream} } != $_->{payload_bytes} } @{ $stat->{streams_by_bytes} }), 0, 'each has what is said');
};

subtest 'in words' => sub {
    my ($status, $said) = daa_log('stat', $dir);
    is($status, 0, 'stat is good');
    like($said, qr/^frames +$stat->{frames}, $stat->{frame_bytes} bytes: [\d.]+ % payload, [\d.]+ % headers, [\d.]+ % padding$/m, 'what a byte costs');
    like($said, qr/^events over time, \S+ \S+ each, at most \S+ events\/s\n  \S/m, 'a line of events over time');
    like($said, qr/^size of a frame, .* on average, at most .*\n +4\.0 KB and more +\d+  #/m, 'sizes of frames');
    like($said, qr/^definition\.installed +6 +\d+  #{30}$/m, 'kinds by bytes');
    like($said, qr/^streams with the most bytes of payload\n  stream \d+ +195\.3 KB/m, 'streams');
};

subtest 'ranges' => sub {
    my ($part) = lines((daa_log('stat', '--json', '--from', 101, '--to', 200, $dir))[1]);
    is_deeply([@$part{qw(events first_seq last_seq)}], [100, 101, 200], 'of sequence numbers');
    ($part) = lines((daa_log('stat', '--json', '--since', $events[499]{time}, $dir))[1]);
    is_deeply([@$part{qw(events first_seq)}], [@events - 499, 500], 'of time');
    my ($status, $said, $complained) = daa_log('stat', '--until', 'soon', $dir);
    ok($status == 2 && $complained =~ /is not a time/, 'a time that is none is wrong usage');
};

subtest 'live and damaged' => sub {
    my $live = scratch() . '/live';
    my $writer = start_maker($live);
    my $seq = say_to($writer, 'workflows 20');
    my ($stat) = lines((daa_log('stat', '--json', $live))[1]);
    is_deeply([@$stat{qw(live last_seq)}], [JSON::PP::true(), $seq], 'beside a writer');
    kill KILL => $writer->{pid};
    stop($writer);
    ($stat) = lines((daa_log('stat', '--json', $live))[1]);
    is_deeply([@$stat{qw(live last_seq)}], [JSON::PP::false(), $seq], 'when it is gone');
    my $copy = copy_of($dir, 'damaged');
    flip("$copy/seg-0000000001.log", 8192 + 300, 2);
    my ($status, $said, $complained) = daa_log('stat', '--json', $copy);
    ok($status == 1 && $complained =~ /are damaged and left out/, 'damage is named');
    is((lines($said))[0]{skipped}, 1, 'and counted');
};

done_testing();
