#!/usr/bin/perl
# daa-log bench: it measures what it says, and leaves nothing behind, whatever ends it.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(scratch program wait_until);
use LogMaker qw(daa_log lines need_log_tools);
use Test::More;

need_log_tools();

my $dir = scratch() . '/disk';
mkdir $dir or die;
sub left { return join ' ', map { s{.*/}{}r } glob "$dir/*" }

my ($status, $said, $complained) = daa_log('bench', '--json', '--duration', '200ms', $dir);
is($status, 0, 'it runs') or diag($complained);
my @rows = lines($said);
is_deeply([map { "$_->{what} $_->{in_flight}" } @rows], ['bare-4k 0', 'bare-256k 0', 'append 1', 'append 50', 'append 1000', 'read 0'], 'it measures the bare disk, appending, and reading');
is(scalar(grep { $_->{per_second} == 0 || $_->{bytes_per_second} == 0 } @rows), 0, 'each is something');
is(scalar(grep { !($_->{p50_ns} > 0 && $_->{p99_ns} >= $_->{p50_ns} && $_->{ratio} > 0) } @rows[2 .. 4]), 0, 'with how long an event takes');
cmp_ok($rows[4]{per_second}, '>', $rows[2]{per_second}, 'many in flight are more a second than one');
is(left(), '', 'nothing is left');
($status, $said) = daa_log('bench', '-d', '50ms', '-s', '1KB', $dir);
like($said, qr/^bare writes.*^events of 1024 bytes, 1000 in flight +\d+\/s .*^events read back/ms, 'in words');

for my $signal (qw(INT TERM HUP)) {
    my $pid = fork() // die;
    if (!$pid) {
        open STDOUT, '>', '/dev/null';
        open STDERR, '>', '/dev/null';
        exec program('daa-log'), 'bench', '--duration', '1h', $dir or POSIX::_exit(127);
    }
    ok(wait_until(sub { my @files = glob "$dir/daa-bench-*/{bare,seg-}*"; return scalar @files }), "it is at work") or diag(left());
    kill $signal => $pid;
    waitpid $pid, 0;
    is_deeply([$? >> 8, $? & 127, left()], [1, 0, ''], "SIG$signal ends it in order");
}

for my $wrong (['--size', '2MB'], ['--duration', '0s']) {
    is((daa_log('bench', @$wrong, $dir))[0], 2, "wrong usage: @$wrong");
}
($status, $said, $complained) = daa_log('bench', scratch() . '/nowhere');
ok($status == 1 && $complained =~ /nowhere/, 'a directory that is not there is named');
is(left(), '', 'nothing is left');

done_testing();
