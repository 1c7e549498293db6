#!/usr/bin/perl
# daa-log repair and what copies say: a child that forked has our numbers and not our events, a copy that goes further knows what
# was durable, several copies work together, and what nothing proves is left as it is.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(scratch slurp spew);
use Digest::SHA qw(sha256_hex);
use LogMaker qw(daa_log lines make_log copy_of patch flip need_log_tools start_maker say_to stop);
use Test::More;

need_log_tools();

sub seg { my ($number) = @_; return sprintf 'seg-%010d.log', $number }
sub go_on { my ($dir, $seed, @commands) = @_; my $writer = start_maker($dir, $seed); say_to($writer, $_) for @commands; stop($writer); return }
sub events { my ($log) = @_; my $text = (daa_log('cat', '--json', $log))[1]; return sha256_hex($text) . ' of ' . length $text }
sub steps { my ($said) = @_; return map { $_->{step} ? $_ : () } lines($said) }
sub short { my ($said) = @_; return [map { "$_->{step} $_->{file}" } steps($said)] }
sub verify { my ($log) = @_; return (daa_log('verify', $log))[0] }
sub frames {
    my ($log, $number) = @_;
    return map { /^frame at 0x([0-9a-f]+), (\d+) bytes: events (\d+) to (\d+)/ ? [hex $1, $2, $3, $4] : () } split /\n/, (daa_log('hexdump', $log, $number))[1];
}
sub without_checkpoint { my ($log) = @_; unlink "$log/CHECKPOINT" or die; return $log }
# A hole from there on, as of a segment that was never written so far.
sub zero_from { my ($path, $offset) = @_; my $size = -s $path; truncate $path, $offset or die; truncate $path, $size or die; return }

# The plan, then the repair, which must do what it says.
sub repaired {
    my ($log, $name, @options) = @_;
    my ($plan_status, $plan) = daa_log('repair', '--plan', '--json', @options, $log);
    my ($status, $said, $complained) = daa_log('repair', '--json', @options, $log);
    is_deeply([steps($said)], [steps($plan)], "$name: what is done is what was planned") or diag("$said$complained");
    is($status, $plan_status, "$name: with the same status");
    return ($status, $said . $complained, (lines($said))[-1]);
}

# One log, begun three times, and a child that forked behind its first segment.
my $dir = make_log('log', 'workflows 40');
my $child = copy_of($dir, 'child');
spew("$child/FORK", '');
go_on($dir, 43, 'workflows 30');
go_on($dir, 44, 'workflows 20');
go_on($child, 45, 'workflows 31');
go_on($child, 46, 'workflows 21');
my $backup = scratch() . '/backup';
daa_log('backup', $dir, $backup);
my $whole = events($dir);
like((daa_log('stat', $child))[1], qr/^forked /m, 'a child that forked');
is(scalar(grep { $_->{type} eq 'segment' && $_->{state} ne 'spare' } lines((daa_log('ls', '--json', $_))[1])), 3, 'three segments') for $dir, $child;

subtest 'a child has nothing of what its parent wrote since' => sub {
    for my $case (
        ['the middle one is gone',   sub { my ($log) = @_; unlink "$log/" . seg(2) }],
        ['its header is',            sub { my ($log) = @_; patch("$log/" . seg(2), 0, "\0" x 4096) }],
        ['it was never begun',       sub { my ($log) = @_; zero_from("$log/" . seg(2), 0) }],
        ['the newest is gone',       sub { my ($log) = @_; unlink "$log/" . seg(3) }],
        ['so is CHECKPOINT',         sub { my ($log) = @_; unlink "$log/" . seg(3), "$log/CHECKPOINT" }],
        ['the newest has no header', sub { my ($log) = @_; patch("$log/" . seg(3), 0, 'x' x 4096); unlink "$log/CHECKPOINT" }],
        ['the newest two are gone',  sub { my ($log) = @_; unlink map { "$log/" . seg($_) } 2, 3 }],
    ) {
        my ($name, $hurt) = @$case;
        my $log = copy_of($dir, $name =~ s/\W/-/gr);
        $hurt->($log);
        my %before = map { $_ => sha256_hex(slurp($_)) } glob "$log/seg-*.log";
        my $text = events($log);
        my ($status, $said) = repaired($log, "$name, from the child", '--from', $child);
        is(events($log), $text, "$name: nothing of it comes in") or diag $said;
        is_deeply({ map { $_ => sha256_hex(slurp($_)) } glob "$log/seg-*.log" }, \%before, "$name: no segment is changed");
        is($status, 1, "$name: and it is not called whole") unless $name eq 'so is CHECKPOINT';
        ($status, $said) = repaired($log, "$name, from both", '--from', $child, '--from', $backup);
        is_deeply([$status, events($log), verify($log)], [0, $whole, 0], "$name: from a backup as well it is whole") or diag $said;
    }
};

subtest 'nor has a parent what its child wrote' => sub {
    my $of_child = scratch() . '/backup-of-child';
    daa_log('backup', $child, $of_child);
    for my $number (2, 3) {
        my $log = copy_of($child, "child-$number");
        unlink "$log/" . seg($number) or die;
        my ($status, $said) = repaired($log, "segment $number, from the parent", '--from', $dir);
        is($status, 1, "segment $number: it is not") or diag $said;
        ok(!-e "$log/" . seg($number), 'and nothing is put there');
        ($status, $said) = repaired($log, "segment $number, from both", '--from', $dir, '--from', $of_child);
        is_deeply([$status, events($log), verify($log)], [0, events($child), 0], 'from a copy of the child it is') or diag $said;
    }
};

subtest 'a copy that goes further is a witness' => sub {
    my @frames = frames($dir, 3);
    for my $case (
        ['the newest is gone',     sub { my ($log) = @_; unlink "$log/" . seg(3) }],
        ['it was never begun',     sub { my ($log) = @_; zero_from("$log/" . seg(3), 0) }],
        ['nor was its first half', sub { my ($log) = @_; patch("$log/" . seg(3), 0, "\0" x 8192) }],
        ['its frames are zero',    sub { my ($log) = @_; zero_from("$log/" . seg(3), $frames[1][0]) }],
        ['all of them',            sub { my ($log) = @_; zero_from("$log/" . seg(3), 4096) }],
        ['its file is short',      sub { my ($log) = @_; truncate "$log/" . seg(3), $frames[1][0] }],
        ['and has no header',      sub { my ($log) = @_; truncate "$log/" . seg(3), 2000 }],
        ['two are gone',           sub { my ($log) = @_; unlink map { "$log/" . seg($_) } 2, 3 }],
    ) {
        my ($name, $hurt) = @$case;
        my $log = without_checkpoint(copy_of($dir, 'further-' . ($name =~ s/\W/-/gr)));
        $hurt->($log);
        my ($status, $said) = repaired($log, $name, '--from', $backup);
        is_deeply([$status, events($log), verify($log)], [0, $whole, 0], "$name: all that was acknowledged is there again") or diag $said;
    }
    my $log = copy_of($dir, 'earlier');
    my $early = copy_of($dir, 'early');
    zero_from("$early/" . seg(3), $frames[1][0]);
    my ($status, $said) = daa_log('repair', '--from', $early, $log);
    ok($status == 0 && $said =~ /nothing is to be mended/, 'one that ends earlier is none') or diag $said;
    $log = without_checkpoint(copy_of($dir, 'meant'));
    unlink map { "$log/" . seg($_) } 3 .. 9;
    spew("$log/FORK", '');
    ($status, $said) = daa_log('repair', '--from', $backup, $log);
    ok($status == 0 && $said =~ /nothing is to be mended/ && !-e "$log/" . seg(3), 'nor is any where the log is meant to end and to fork') or diag $said;
};

subtest 'CHECKPOINT knows of a fork whose segment is missing' => sub {
    my $log = copy_of($dir, 'forked');
    spew("$log/FORK", '');
    go_on($log, 47, 'workflows 12');
    my $copy = copy_of($log, 'forked-copy');
    unlink "$log/" . seg(4) or die;
    my ($status, $said) = repaired($log, 'alone');
    is_deeply([$status, short($said)], [1, ['lost ' . seg(4)]], 'alone it is lost, which is said') or diag $said;
    ($status, $said) = repaired($log, 'from a copy', '--from', $copy);
    is_deeply([$status, events($log), verify($log)], [0, events($copy), 0], 'from a copy it is put back') or diag $said;
};

subtest 'what holds frames is no spare' => sub {
    my $log = without_checkpoint(copy_of($dir, 'no-spare'));
    patch("$log/" . seg(3), 0, "\0" x 8192);
    my ($status, $said) = daa_log('verify', $log);
    ok($status == 1 && $said =~ /\Q${\seg(3)}\E.*it holds frames, the first with event \d+/ && $said !~ /holds no event/, 'verify does not call it one') or diag $said;
    ($status, $said) = repaired($log, 'alone');
    is_deeply([$status, short($said)], [1, ['lost ' . seg(3)]], 'nor does repair') or diag $said;
    ok(-e "$log/" . seg(3), 'and leaves it where it is');
};

subtest 'a newest file that is too short' => sub {
    my @frames = frames($dir, 3);
    my $capacity = -s "$dir/" . seg(3);
    my $log = without_checkpoint(copy_of($dir, 'short'));
    truncate "$log/" . seg(3), $frames[1][0];
    my ($status, $said) = repaired($log, 'no end');
    is_deeply([$status, short($said), -s "$log/" . seg(3)], [1, ['lost ' . seg(3)], $frames[1][0]], 'stays so when nothing proves the end') or diag $said;
    my $end = $frames[1][2] - 1;
    ($status, $said) = repaired($log, 'cut', '--cut-at', $end);
    is_deeply([$status, -s "$log/" . seg(3), verify($log)], [0, $capacity, 0], 'unless it is cut there') or diag $said;
    $log = without_checkpoint(copy_of($dir, 'short-closed'));
    truncate "$log/" . seg(3), $frames[-1][0] + $frames[-1][1];
    ($status, $said) = repaired($log, 'closed');
    is_deeply([$status, short($said), -s "$log/" . seg(3)], [0, ['clear ' . seg(3)], $capacity], 'behind CLOSE nothing stood: it gets its size, which is said') or diag $said;
    is(slurp("$log/" . seg(3)), slurp("$dir/" . seg(3)), 'and is as it was');
    $log = without_checkpoint(copy_of($dir, 'short-header'));
    truncate "$log/" . seg(3), 2000;
    ($status, $said) = repaired($log, 'short header');
    is_deeply([$status, short($said), -s "$log/" . seg(3)], [1, ['lost ' . seg(3)], 2000], 'half a header was one, and events stood behind it') or diag $said;
    $log = copy_of($dir, 'long');
    open my $file, '>>', "$log/" . seg(2) or die;
    print $file 'x' x 5000;
    close $file or die;
    ($status, $said) = repaired($log, 'long');
    is_deeply([$status, short($said), -s "$log/" . seg(2)], [0, ['clear ' . seg(2)], $capacity], 'one that is too long as well') or diag $said;
};

# Frames of 50 KB or so, for damage here and there.
my $long = make_log('long-log', 'workflows 40', map { "fill 1 40000" } 1 .. 8);
go_on($long, 43, 'workflows 5');
my $long_events = events($long);

subtest 'copies that are each damaged elsewhere make a missing file' => sub {
    my @frames = frames($long, 1);
    my ($log, $one, $other) = map { copy_of($long, "several-$_") } 'log', 'one', 'other';
    patch("$one/" . seg(1), $frames[$_][0] + 300, 'x' x 50) for 2, 4;
    patch("$other/" . seg(1), $frames[$_][0] + 300, 'x' x 50) for 3, 5;
    # Of the oldest nobody knows that it is missing; of one that was never begun it is plain.
    zero_from("$log/" . seg(1), 0);
    my ($status, $said) = repaired($log, 'two halves', '--from', $one, '--from', $other);
    is_deeply([$status, events($log), verify($log)], [0, $long_events, 0], 'together they have it whole') or diag $said;
    is(slurp("$log/" . seg(1)), slurp("$long/" . seg(1)), 'to the byte');
};

subtest 'a sealed segment whose index is bad' => sub {
    my $log = scratch() . '/sealed';
    system('cp', '-r', 't/golden/log-1.1-sealed', $log) == 0 or die;
    unlink "$log/PLACE";
    my $text = events($log);
    my ($file) = map { s{.*/}{}r } sort glob "$log/seg-*.zlog";
    patch("$log/$file", (-s "$log/$file") - 60, 'x' x 40);
    is(verify($log), 1, 'is damage');
    my ($status, $said) = repaired($log, 'a bad index', '--from', 't/golden/log-1.1');
    is_deeply([$status, events($log), verify($log)], [0, $text, 0], 'and is made anew from a copy') or diag $said;
    is(slurp("$log/" . ($file =~ s/zlog/log/r)), slurp('t/golden/log-1.1/' . ($file =~ s/zlog/log/r)), 'as it was before it was sealed');
};

subtest 'a CHECKPOINT with a flipped bit' => sub {
    my $log = copy_of($dir, 'flipped-checkpoint');
    unlink "$log/" . seg(3) or die;
    flip("$log/CHECKPOINT", $_ * 4096 + 33, 2) for 0, 1;
    my ($status, $said) = repaired($log, 'flipped');
    is($status, 1, 'is a witness all the same') or diag $said;
    like((steps($said))[0]{text}, qr/header cannot be mended|missing/, 'that the newest is missing') or diag $said;
    ($status, $said) = repaired($log, 'flipped, from a copy', '--from', $backup);
    is_deeply([$status, events($log), verify($log)], [0, $whole, 0], 'and is mended with it') or diag $said;
};

subtest 'a file of a number that is far away' => sub {
    my $log = copy_of($dir, 'far');
    spew("$log/seg-0009999999.log", 'x' x 65536);
    my $ended = eval {
        local $SIG{ALRM} = sub { die "it takes for ever\n" };
        alarm 120;
        my ($status, $said) = daa_log('repair', '--plan', $log);
        alarm 0;
        is($status, 1, 'is told of') or diag $said;
        1;
    };
    ok($ended, 'and costs no time') or diag $@;
};

done_testing();
