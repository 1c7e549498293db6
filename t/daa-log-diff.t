#!/usr/bin/perl
# daa-log diff: the same log, a copy that is behind, has lost its beginning, forked or went another way.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(scratch slurp spew);
use LogMaker qw(daa_log lines make_log copy_of flip patch need_log_tools start_maker say_to stop);
use Test::More;

need_log_tools();

my $dir = make_log('log', 'workflows 300', 'fill 6 200000', 'workflows 100');
my $last = (lines((daa_log('tail', '--json', '-n', 1, $dir))[1]))[0]{seq};

sub diff { my ($status, $said, $complained) = daa_log('diff', '--json', @_); my @lines = lines($said); return ($status, pop @lines, \@lines, $complained) }
sub go_on { my ($log, @commands) = @_; my $writer = start_maker($log); say_to($writer, $_) for @commands; stop($writer); return $log }

subtest 'the same' => sub {
    my $copy = copy_of($dir, 'same');
    my ($status, $result, $events) = diff($dir, $copy);
    is_deeply([$status, @$result{qw(verdict last_same_seq first_different_seq)}, scalar @$events], [0, 'same', $last, 0, 0], 'a copy is the same');
    is($result->{reads}, 2, 'for which one event of each is read');
    my ($text, $said) = (daa_log('diff', $dir, $copy))[0, 1];
    ok($text == 0 && $said =~ /^the same from event 1 to $last, chain [0-9a-f]{64}\nthe same history\n\z/, 'it says so in words') or diag($said);
    is((daa_log('diff', $dir, $dir))[0], 0, 'a log is the same as itself');
    flip("$copy/seg-0000000001.log", 8192 + 300, 1);
    is((daa_log('diff', $dir, $copy))[0], 0, 'a byte that flipped later is for verify');
};

subtest 'one holds more' => sub {
    my $longer = go_on(copy_of($dir, 'longer'), 'workflows 5');
    my ($status, $result) = diff($dir, $longer);
    is_deeply([$status, @$result{qw(verdict last_same_seq)}], [1, 'longer', $last], 'a log that went on');
    is($result->{first}{only_behind}, undef, 'the one has nothing more');
    is($result->{second}{only_behind}{first_seq}, $last + 1, 'the other what came');
    my $late = copy_of($dir, 'late');
    unlink "$late/seg-0000000001.log";
    ($status, $result) = diff($late, $dir);
    is_deeply([$status, @$result{qw(verdict last_same_seq)}], [1, 'longer', $last], 'a log whose beginning is gone');
    my $first = $result->{first}{first_seq};
    is_deeply($result->{second}{only_before}, { first_seq => 1, last_seq => $first - 1 }, 'which the other has');
    my ($text, $said) = (daa_log('diff', $late, $dir))[0, 1];
    like($said, qr/^only \Q$dir\E has events 1 to @{[$first - 1]}, before the other begins$/m, 'in words');
};

subtest 'different' => sub {
    my ($one, $two) = (go_on(copy_of($dir, 'one'), 'workflows 30'), go_on(copy_of($dir, 'two'), 'workflows 20'));
    my ($status, $result, $events) = diff('-n', 4, $one, $two);
    is_deeply([$status, @$result{qw(verdict last_same_seq first_different_seq different more)}],
        [1, 'different', $last, $last + 1, 4, JSON::PP::true()], 'two that went on from the same place');
    is_deeply([map { $_->{seq} } @$events], [$last + 1 .. $last + 4], 'events are shown up to a limit');
    is_deeply([map { $_->{seq} } @{ $events->[0] }{qw(first second)}], [($last + 1) x 2], 'of both');
    cmp_ok($result->{reads}, '<=', 2 * (3 + log($last + 200) / log 2), 'the place is found in few reads');
    ($status, $result, $events) = diff('-n', 0, $one, $two);
    ok(!$result->{more} && @$events == $result->{different}, 'or all of them');
    my ($text, $said) = (daa_log('diff', '-n', 1, $one, $two))[0, 1];
    like($said, qr/^< +@{[$last + 1]}  .*\n> +@{[$last + 1]}  .*\nthe same from event 1 to $last/m, 'in words');
    my $other = make_log('other', 'workflows 2');
    ($status, $result) = diff($dir, $other);
    is_deeply([$status, @$result{qw(verdict last_same_seq first_different_seq)}], [1, 'different', 0, 1], 'another log is different from the first event on');
};

subtest 'forks' => sub {
    my $fork = copy_of($dir, 'fork');
    spew("$fork/FORK", "from anything\nwhy a test\n");
    go_on($fork, 'workflows 3');
    my ($status, $result) = diff($dir, $fork);
    is_deeply([$status, @$result{qw(verdict last_same_seq)}, $result->{fork}], [1, 'longer', $last, { side => 'second', parent_seq => $last }], 'a fork is known for one');
    isnt($result->{first}{log}, $result->{second}{log}, 'it has a name of its own');
    my $parent = go_on(copy_of($dir, 'parent'), 'workflows 3');
    ($status, $result) = diff($fork, $parent);
    is_deeply([$status, @$result{qw(verdict first_different_seq)}, $result->{fork}], [1, 'different', $last + 1, { side => 'first', parent_seq => $last }], 'also when its parent went on');
    my ($text, $said) = (daa_log('diff', $fork, $parent))[0, 1];
    like($said, qr/^\Q$fork\E was forked from the log in \Q$parent\E behind event $last$/m, 'in words');
};

subtest 'live and unusable' => sub {
    my $live = scratch() . '/live';
    my $writer = start_maker($live);
    my $seq = say_to($writer, 'workflows 20');
    my $backup = scratch() . '/backup';
    daa_log('backup', $live, $backup);
    my ($status, $result) = diff($live, $backup);
    is_deeply([$status, $result->{verdict}], [0, 'same'], 'a backup of a live log is the same');
    say_to($writer, 'workflows 1');
    ($status, $result) = diff($live, $backup);
    is_deeply([$status, @$result{qw(verdict last_same_seq)}], [1, 'longer', $seq], 'until that goes on');
    stop($writer);
    my $copy = go_on(copy_of($dir, 'damaged'), 'workflows 3');
    my $two = go_on(copy_of($dir, 'sound'), 'workflows 2');
    my $hit = sub { my ($seq) = @_; my $place = (lines((daa_log('explain', '--json', $seq, $copy))[1]))[0]; flip("$copy/$place->{file}", $place->{record_offset} + 66, 1) };
    $hit->($last + 3);
    ($status, undef, undef, my $complained) = diff($copy, $two);
    ok($status == 2 && $complained =~ /\Q$copy\E: .*flipped bit/, 'an end that is damaged is named') or diag($complained);
    go_on($two = copy_of($dir, 'two-segments'), 'fill 6 200000', 'workflows 2');
    $copy = go_on(copy_of($dir, 'damaged-before'), 'fill 6 200000', 'workflows 1');
    $hit->($last + 3);
    ($status, undef, undef, $complained) = diff($copy, $two);
    ok($status == 2 && $complained =~ /event \d+ of \Q$copy\E cannot be read: run daa-log verify/, 'so is damage where they part') or diag($complained);
    for my $case ([$dir], [$dir, scratch() . '/nowhere'], [scratch() . '/nowhere', $dir]) {
        is((daa_log('diff', @$case))[0], 2, "unusable: @$case");
    }
};

done_testing();
