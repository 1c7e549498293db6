#!/usr/bin/perl
# daa-log ls: what the files of a log hold, live, stopped, killed and damaged.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(scratch slurp spew);
use LogMaker qw(daa_log lines start_maker say_to stop make_log copy_of patch need_log_tools);
use Test::More;

need_log_tools();

sub ls { my ($status, $said, $complained) = daa_log('ls', '--json', @_); return ($status, [lines($said)], $complained) }
sub of_type { my ($files, $type) = @_; return grep { $_->{type} eq $type } @$files }

my $dir = make_log('log', 'workflows 300', 'fill 6 200000', 'workflows 50');
my @events = lines((daa_log('cat', '--json', $dir))[1]);
my $last = $events[-1]{seq};
my ($last_of_first) = map { $_->{seq} } grep { $_->{kind} eq 'storage.sealed' } @events;

subtest 'a stopped log' => sub {
    my ($status, $files) = ls($dir);
    is($status, 0, 'ls is good');
    my ($first, $second, @rest) = of_type($files, 'segment');
    is_deeply([@$first{qw(name state end first_seq last_seq events epoch)}],
        ['seg-0000000001.log', 'closed', 'SEAL', 1, $last_of_first, $last_of_first, 1], 'a sealed segment');
    is_deeply([@$second{qw(state end first_seq last_seq verdict)}], ['closed', 'CLOSE', $last_of_first + 1, $last, 'sound'], 'a closed one');
    is($first->{first_time}, $events[0]{time}, 'its first time');
    is($first->{last_time}, $events[$last_of_first - 1]{time}, 'its last time');
    my ($stat) = lines((daa_log('stat', '--json', $dir))[1]);
    is($first->{frames} + $second->{frames}, $stat->{frames}, 'together they have as many frames as stat counts');
    is($first->{payload_bytes} + $second->{payload_bytes}, $stat->{payload_bytes}, 'and bytes of payload');
    is(scalar(grep { $_->{state} eq 'spare' && !defined $_->{events} } @rest), scalar @rest, 'the others are spares');
    my ($checkpoint) = of_type($files, 'checkpoint');
    is($checkpoint->{durable_seq}, $last, 'CHECKPOINT');
    is_deeply([map { $_->{name} } of_type($files, 'file')], [qw(LOCK PLACE)], 'other files');
    ($status, my $said) = daa_log('ls', $dir);
    like($said, qr/^seg-0000000001\.log +closed +SEAL +events 1 to $last_of_first +\S+ KB of 1\.0 MB$/m, 'in words');
    unlike($said, qr/epoch/, 'without details');
    ($status, $said) = daa_log('ls', '-l', $dir);
    like($said, qr/^    \S+Z to \S+Z, epoch 1, log [0-9a-f-]{36}\n    $first->{frames} frames, $first->{payload_bytes} bytes/m, 'with details');
};

subtest 'a live log, killed and opened again' => sub {
    my $live = scratch() . '/live';
    my $writer = start_maker($live);
    my $seq = say_to($writer, 'workflows 20');
    my ($status, $files) = ls($live);
    my ($active) = of_type($files, 'segment');
    is_deeply([$status, @$active{qw(state end last_seq frames)}], [0, 'active', undef, $seq, undef], 'beside a writer');
    ok((grep { $_->{name} eq 'image' } of_type($files, 'file')), 'there is an image');
    kill KILL => $writer->{pid};
    stop($writer);
    ($status, $files) = ls($live);
    ($active) = of_type($files, 'segment');
    is_deeply([$status, @$active{qw(state end last_seq)}], [0, 'crashed', 'crash', $seq], 'when it was killed');
    $writer = start_maker($live);
    say_to($writer, 'workflows 1');
    stop($writer);
    ($status, $files) = ls($live);
    is_deeply([map { "$_->{state} $_->{epoch}" } grep { $_->{epoch} } of_type($files, 'segment')], ['crashed 1', 'closed 2'], 'and when it went on');
};

subtest 'readers and snapshots' => sub {
    my $data = scratch() . '/data';
    mkdir $_ for $data, "$data/snapshots";
    system('cp', '-r', $dir, "$data/log");
    mkdir "$data/log/readers";
    spew("$data/log/readers/copy", '{"seq": 12, "flushed_seq": 10, "time_ns": 1700000000000000000, "required": true}');
    spew("$data/log/readers/bad", 'nonsense');
    spew(sprintf('%s/snapshots/snap-%020d.zst', $data, 100), 'x' x 10);
    my ($status, $files) = ls($data);
    my %reader = map { $_->{name} => $_ } of_type($files, 'reader');
    is_deeply([@{ $reader{copy} }{qw(seq flushed_seq required)}], [12, 10, JSON::PP::true()], 'a reader');
    ok($reader{bad}{problem}, 'a bad one with its problem');
    is_deeply([map { $_->{size} } of_type($files, 'snapshot')], [10], 'a snapshot');
    my $said = (daa_log('ls', $data))[1];
    like($said, qr/^readers\/copy .*has taken event 12.* required$/m, 'the reader in words');
    like($said, qr/the state as of event 100, 10 B/, 'the snapshot too');
};

subtest 'damage' => sub {
    my $copy = copy_of($dir, 'header');
    patch("$copy/seg-0000000001.log", 100, "\xff");
    my ($status, $files) = ls($copy);
    my ($first) = of_type($files, 'segment');
    ok($status == 1 && $first->{state} eq 'damaged' && $first->{problem} =~ /checksum of its header/, 'a header') or diag(explain($first));
    $copy = copy_of($dir, 'end');
    my $end = (of_type((ls($dir))[1], 'segment'))[0]{used_bytes};
    patch("$copy/seg-0000000001.log", $end - 4096 * 2 + 1000, "\xff");
    patch("$copy/seg-0000000001.log", $end - 4096 + 1000, "\xff");
    ($status, $files) = ls($copy);
    ($first) = of_type($files, 'segment');
    ok($status == 1 && $first->{problem} =~ /no whole frame with event $last_of_first ends at offset $end/, 'an end') or diag(explain($first));
    $copy = copy_of($dir, 'middle');
    unlink "$copy/seg-0000000002.log";
    ($status) = daa_log('ls', $copy);
    isnt($status, 2, 'a missing segment does not stop it');
    ($status, undef, my $complained) = daa_log('ls', scratch() . '/nowhere');
    ok($status == 1 && $complained =~ /nowhere/, 'a directory that is not there is named');
    mkdir scratch() . '/empty';
    ($status, undef, $complained) = daa_log('ls', scratch() . '/empty');
    ok($status == 1 && $complained =~ /holds no segment/, 'nor is an empty one a log');
};

subtest 'a segment whose beginning is lost' => sub {
    my $copy = copy_of($dir, 'beginning');
    my ($status, $files) = ls($copy);
    my ($spare) = grep { $_->{state} eq 'spare' } of_type($files, 'segment');
    patch("$copy/seg-0000000002.log", 0, "\0" x 8192);
    unlink "$copy/CHECKPOINT";
    ($status, $files) = ls($copy);
    my ($lost) = grep { $_->{name} eq 'seg-0000000002.log' } of_type($files, 'segment');
    ok($status == 1 && $lost->{state} eq 'damaged' && $lost->{problem} =~ /its header is zero, but it holds frames/, 'is no spare') or diag(explain($lost));
    ($status, my $said) = daa_log('verify', $copy);
    ok($status == 1 && $said =~ /seg-0000000002\.log.*its header is zero, but it holds frames/, 'as verify says') or diag($said);
    is((grep { $_->{state} eq 'spare' } of_type($files, 'segment'))[0]{name}, $spare->{name}, 'those of zeros are');
};

subtest 'a sealed log' => sub {
    my $sealed = 't/golden/log-1.1-sealed';
    my ($status, $files) = ls($sealed);
    my @segments = of_type($files, 'segment');
    is($status, 0, 'ls is good');
    is_deeply([map { "$_->{name} $_->{sealed}" } @segments], ['seg-0000000001.zlog 1', 'seg-0000000002.zlog 1', 'seg-0000000003.zlog 1', 'seg-0000000004.log 0'],
        'each file has its name');
    is_deeply([map { $_->{file_size} } @segments], [map { -s "$sealed/$_->{name}" } @segments], 'and its size');
    my $raw = (ls('t/golden/log-1.1'))[1];
    my $said = sub { my ($files) = @_; return [map { [@$_{qw(segment state end first_seq last_seq first_time last_time frames used_bytes)}] } grep { $_->{state} ne 'spare' } of_type($files, 'segment')] };
    is_deeply($said->($files), $said->($raw), 'it holds the same as before it was sealed');
    like((daa_log('ls', $sealed))[1], qr/^seg-0000000001\.zlog closed +SEAL +events 1 to \d+ .* of 256\.0 KB, sealed in \d+\.\d KB$/m, 'in words');
};

done_testing();
