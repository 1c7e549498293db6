#!/usr/bin/perl
# daa-log hexdump and explain: bytes held against those of the file, what a chain is made of, and damage.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(scratch slurp);
use Digest::SHA qw(sha256_hex);
use LogMaker qw(daa_log lines make_log copy_of patch flip need_log_tools start_maker say_to stop);
use Test::More;

need_log_tools();

my $dir = make_log('log', 'workflows 30', 'fill 2 3000', 'parked', 'fill 6 200000');
my $file = "$dir/seg-0000000001.log";
my $bytes = slurp($file);
my @records = lines((daa_log('cat', '--json', $dir))[1]);
my $last = $records[-1]{seq};

sub explained { my ($seq, $log) = @_; return (lines((daa_log('explain', '--json', $seq, $log // $dir))[1]))[0] }

# [offset, size, first event] of each frame of the first segment.
my @frames = map { /^frame at 0x([0-9a-f]+), (\d+) bytes: events (\d+) to/ ? [hex $1, $2, $3] : () } split /\n/, (daa_log('hexdump', $dir, 1))[1];

subtest 'a segment that cannot be read before one that can' => sub {
    my $log = scratch() . '/unreadable-first';
    system('cp', '-r', 't/golden/log-1.1-sealed', $log) == 0 or die;
    my ($sealed) = sort glob "$log/seg-*.zlog";
    patch($sealed, (-s $sealed) - 60, 'x' x 40);
    my ($status, $said, $complained) = daa_log('hexdump', '--json', $log);
    is($status, 1, 'is not forgotten at the end') or diag $complained;
};

subtest 'hexdump' => sub {
    my $part = 60000;
    my ($status, $said) = daa_log('hexdump', '--json', $dir, "1:0+$part");
    my @lines = lines($said);
    is($status, 0, 'a sound segment is dumped');
    my ($wrong, $end, $gaps) = (0, 0, 0);
    for my $line (grep { $_->{what} eq 'field' || $_->{what} eq 'bytes' || ($_->{what} =~ /^(zeros|padding)$/) } @lines) {
        my $hex = $line->{hex} // '00' x $line->{size};
        $wrong++ if $hex ne unpack 'H*', substr $bytes, $line->{offset}, $line->{size};
        $gaps++ if $line->{offset} != $end;
        $end = $line->{offset} + $line->{size};
    }
    is($wrong, 0, 'each line has the bytes of the file');
    # Text and index of the log's own records are shown, reserved bytes between their fields are not.
    cmp_ok($gaps, '<=', 4, 'and hardly any is left out');
    cmp_ok($end, '>=', $part, 'up to where it should');
    my @seqs = map { $_->{text} =~ /event (\d+),/ } grep { $_->{what} eq 'record' } @lines;
    is_deeply(\@seqs, [1 .. scalar @seqs], 'each record has its heading');
    my %field = map { $_->{name} => $_->{value} } grep { $_->{what} eq 'field' && $_->{offset} < 4096 } @lines;
    is_deeply([@field{qw(major segment_no first_seq epoch block_size)}], [1, 1, 1, 1, 4096], 'fields have their values');
    ($status, $said) = daa_log('hexdump', $dir, 'seg-0000000001.log:0x1000+128');
    like($said, qr/^frame at 0x1000, 4096 bytes: events 1 to 1, CHAIN OPEN$/m, 'a place by the name of the file');
    unlike($said, qr/^record/m, 'and no more than is wanted');
    my ($frame) = grep { $_->[1] > 8192 } @frames;
    ($status, $said) = daa_log('hexdump', '--json', $dir, sprintf '1:0x%x+16', $frame->[0] + 4096 + 7);
    my @few = grep { $_->{what} =~ /field|bytes/ } lines($said);
    ok(@few >= 1 && $few[0]{offset} <= $frame->[0] + 4103 && $few[-1]{offset} < $frame->[0] + 4119, 'the middle of a frame')
        or diag($said);
    my $place = explained(7);
    ($status, $said) = daa_log('hexdump', '--json', '--seq', 7, $dir);
    is(join('', map { $_->{hex} } grep { $_->{hex} } lines($said)), unpack('H*', substr $bytes, $place->{record_offset}, $place->{record_size}), 'an event');
    ($status, $said) = daa_log('hexdump', $dir);
    ok($status == 0 && $said =~ /seg-0000000001/ && $said =~ /seg-0000000002/, 'without a segment all are shown');
    ($status, $said) = daa_log('hexdump', '--json', $dir, 'CHECKPOINT');
    my $checkpoint = slurp("$dir/CHECKPOINT");
    is(scalar(grep { $_->{hex} && $_->{hex} ne unpack 'H*', substr $checkpoint, $_->{offset}, $_->{size} } lines($said)), 0, 'CHECKPOINT is dumped too');
    ok((grep { ($_->{name} // '') eq 'durable_seq' && $_->{value} == $last } lines($said)), 'and knows the last event');
    for my $place ('x', '1:', '1:5+', '1:5+x', '1:-1') {
        my ($bad, undef, $complained) = daa_log('hexdump', $dir, $place);
        ok($bad == 2 && $complained =~ /is not a place/, "'$place' is not a place");
    }
    my ($bad, undef, $complained) = daa_log('hexdump', $dir, 99);
    ok($bad == 1 && $complained =~ /there is no segment 99/, 'a segment that is not there is named');
    ($bad, undef, $complained) = daa_log('hexdump', '--seq', $last + 5, $dir);
    ok($bad == 1 && $complained =~ /there is no event/, 'nor is an event');
};

subtest 'explain' => sub {
    my $said = explained(7);
    is($said->{event}{seq}, 7, 'the event itself');
    is(unpack('Q<', substr $bytes, $said->{record_offset} + 8, 8), 7, 'lies where it says');
    my $frame = substr $bytes, $said->{frame_offset}, $said->{frame_size};
    my $body = sha256_hex(substr $frame, 128);
    is($said->{chain}{body}, $body, 'SHA-256 of the body');
    is($said->{chain}{after}, unpack('H*', substr $frame, 96, 32), 'the chain is the frame\'s');
    is(sha256_hex(pack('H*', $said->{chain}{before}) . substr($frame, 8, 88) . pack('H*', $body)), $said->{chain}{after}, 'and made of what is said');
    ok($said->{chain}{verified}, 'so it is verified');
    my $second = explained($records[-2]{seq});
    ok($second->{chain}{verified}, 'as is that of another segment');
    my $first = explained((grep { $_->{kind} eq 'storage.sealed' } @records)[0]{seq} + 1);
    is($first->{chain}{before_offset}, 0, 'whose first frame goes on from its header');
    my ($submitted) = map { $_->{seq} } grep { $_->{kind} eq 'workflow.submitted' } @records;
    my $workflow = explained($submitted);
    like($workflow->{derived}{workflow}, qr/^wf-[0-9a-f]{16}-$submitted$/, 'a workflow by its id');
    is_deeply([@{ $workflow->{derived} }{qw(workflow_row documents)}], [JSON::PP::true(), ["w$submitted"]], 'its row and its document');
    my ($status, $text) = daa_log('explain', $submitted, $dir);
    like($text, qr/daa\.workflows +\(log, stream\) = \([0-9a-f-]{36}, $submitted\), made/, 'the row in words');
    like($text, qr/gives [0-9a-f]{64}: as the frame says/, 'and the chain');
};

subtest 'damage' => sub {
    my $place = explained(9);
    my $copy = copy_of($dir, 'bit');
    my $at = $place->{record_offset} + 70;
    flip("$copy/seg-0000000001.log", $at, 3);
    my $hex = sprintf '0x%x', $at;
    my ($status, $said) = daa_log('explain', 9, $copy);
    ok($status == 1 && $said =~ /^event 9 is damaged: in seg-0000000001\.log the frame at offset $place->{frame_offset}, .* \(body checksum\)$/m, 'explain says where')
        or diag($said);
    like($said, qr/^  flipping bit 3 of byte $hex makes it whole$/m, 'and which bit');
    is_deeply(explained(9, $copy)->{flipped}, { offset => $at, bit => 3 }, 'also as JSON');
    ($status, $said) = daa_log('hexdump', $copy, "1:$place->{frame_offset}+$place->{frame_size}");
    ok($status == 1 && $said =~ /!! at 0x[0-9a-f]+: body checksum; flipping bit 3 of byte $hex makes it whole/, 'hexdump says it of the frame');
    like($said, qr/!! at 0x[0-9a-f]+: the record's checksum is wrong; flipping bit 3 of byte $hex makes it whole/, 'and of the record');
    $copy = copy_of($dir, 'header');
    flip("$copy/seg-0000000001.log", 50, 1);
    ($status, $said) = daa_log('hexdump', $copy, '1:0+12288');
    ok($status == 1 && $said =~ /checksum of its header is wrong; flipping bit 1 of byte 0x32/, 'a header too');
    like($said, qr/^frame at 0x1000/m, 'whose frames are shown all the same');
    $copy = copy_of($dir, 'misplaced');
    my $whole = substr $bytes, 4096, 4096;
    patch("$copy/seg-0000000001.log", $frames[2][0], $whole);
    ($status, $said) = daa_log('hexdump', $copy, "1:$frames[2][0]+4096");
    my $there = sprintf '0x%x', $frames[2][0];
    like($said, qr/says that it belongs at 0x1000 of this segment, and lies at $there/, 'a frame of another place');
    ($status, $said) = daa_log('explain', $frames[2][2], $copy);
    like($said, qr/says that it belongs at 0x1000 of this segment, and lies at $there/, 'is said by explain of the event that it replaced') or diag($said);
    $copy = copy_of($dir, 'noise');
    patch("$copy/seg-0000000001.log", $frames[1][0], join '', map { chr int rand 256 } 1 .. 8192);
    ($status, $said) = daa_log('hexdump', $copy, 1);
    ok($status == 1 && $said =~ /no frame that belongs here/, 'noise is dumped as it is');
    ($status, $said) = daa_log('explain', 3, $copy);
    is($status, 1, 'and explained as damage');
};

subtest 'a live log' => sub {
    my $live = scratch() . '/live';
    my $writer = start_maker($live);
    my $seq = say_to($writer, 'workflows 5');
    my ($status, $said) = daa_log('hexdump', $live, 1);
    is($status, 0, 'hexdump beside a writer');
    ok(explained($seq, $live)->{chain}{verified}, 'explain too');
    stop($writer);
};

subtest 'a sealed log' => sub {
    my ($sealed, $raw) = map { "t/golden/$_" } qw(log-1.1-sealed log-1.1);
    for my $seq (1, 5, 14, 20) {
        my ($one, $two) = (explained($seq, $sealed), explained($seq, $raw));
        like($one->{file}, qr/\.zlog$/, "event $seq is in a sealed file");
        delete @$_{qw(file sealed)} for $one, $two;
        is_deeply($one, $two, 'and all else is as in the raw one');
    }
    my $dumped = sub { my ($log, $place) = @_; my ($status, $said) = daa_log('hexdump', $log, $place); $said =~ s/\.zlog, unpacked|\.log//g; return $said };
    ok($dumped->($sealed, 'seg-0000000001.zlog:0+40000') eq $dumped->($raw, '1:0+40000'), 'its bytes are those of the raw one');
    is((daa_log('diff', $sealed, $raw))[0], 0, 'diff finds them the same');
    my $copy = scratch() . '/sealed';
    system('cp', '-r', $sealed, $copy);
    patch("$copy/seg-0000000002.zlog", 100, "\xff");
    my ($status, $said) = daa_log('hexdump', $copy, 2);
    ok($status == 1 && $said =~ /^  !! at 0x0: seg-0000000002\.zlog: /m, 'a damaged one is named') or diag($said);
};

subtest 'behind the end' => sub {
    my $size = -s "$dir/seg-0000000001.log";
    my ($status, $said, $complained) = daa_log('hexdump', $dir, "1:$size");
    ok($status == 1 && $said eq '' && $complained =~ /seg-0000000001\.log has $size bytes, none at 0x/, 'there is nothing to be shown, which is said') or diag($complained);
};

done_testing();
