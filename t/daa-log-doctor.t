#!/usr/bin/perl
# daa-log doctor: what it says of a directory, a log and a disk, and that it leaves nothing behind.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(scratch program run_program);
use Fault qw(each_fault);
use LogMaker qw(daa_log lines make_log need_log_tools start_maker say_to stop);
use Test::More;

need_log_tools();

my $dir = make_log('log', 'workflows 100');
my $names = sub { opendir my $handle, $dir or die; return join ' ', sort readdir $handle };
my $before = $names->();

# By check; the numbers at the end apart.
sub findings {
    my ($status, $said) = daa_log('doctor', '--json', @_);
    my @lines = lines($said);
    my $counts = pop @lines;
    return ($status, { map { $_->{check} => $_ } @lines }, $counts, \@lines);
}

my ($status, $found, $counts, $all) = findings($dir);
is($status, $counts->{problems} ? 1 : 0, 'it exits 1 when there is a problem');
is($counts->{problems} + $counts->{warnings} + $counts->{notes} + $counts->{ok}, scalar @$all, 'it counts what it found');
is(scalar(grep { !/^(?:ok|note|warning|problem)$/ } map { $_->{level} } @$all), 0, 'each is one of four levels');
is(join(' ', map { $_->{check} } grep { $_->{level} =~ /^(?:warning|problem)$/ && !$_->{advice} } @$all), '', 'each that is wrong says what to do');
for my $check (qw(kernel memlock io_uring files file-system permissions direct-io atomic-writes dsync fdatasync linked choice spares ballast space opening)) {
    ok($found->{$check}, "$check is looked at");
}
for my $way (qw(dsync fdatasync)) {
    my $times = $found->{$way}{values};
    ok($times->{p50_ns} > 0 && $times->{p99_ns} >= $times->{p50_ns} && $times->{rounds} >= 16, "$way is measured") or diag explain $found->{$way};
}
my ($opened) = lines((daa_log('cat', '--json', '-k', 'storage.opened', $dir))[1]);
my $opening = $found->{opening}{values};
is_deeply([@$opening{qw(seq sync)}], [1, $opened->{payload}{sync}], 'it shows what the newest opening chose')
    or diag explain [$opened, $opening];
is($found->{permissions}{level}, 'ok', 'a log made by us is for its owner only');
is($names->(), $before, 'nothing is left in the directory');
like((daa_log('doctor', $dir))[1], qr/^(?:ok|note) +opening +epoch 1 \(event 1, .*\) uses .*^\d+ problems, \d+ warnings, \d+ notes$/ms, 'in words');

# Over a roll and a second opening.
my $writer = start_maker($dir);
my $seq = say_to($writer, 'workflows 1');
say_to($writer, 'fill 8 200000');
($status, $found) = findings('--no-writes', $dir);
is($found->{opening}{values}{epoch}, 2, 'the newest opening is found, also behind a roll');
like($found->{spares}{text}, qr/a writer runs/, 'beside a writer');
ok(!$found->{dsync}, 'nothing is measured when that is not wanted');
stop($writer);

mkdir scratch() . '/empty' or die;
($status, $found) = findings('--no-writes', scratch() . '/empty');
is($found->{log}{level}, 'note', 'a directory without a log will do') or diag explain $found;
mkdir scratch() . '/data' or die;
rename $dir, scratch() . '/data/log' or die;
($status, $found) = findings('--no-writes', scratch() . '/data');
ok($found->{opening}, 'so does a data directory');
rename scratch() . '/data/log', $dir or die;

SKIP: {
    my ($type) = `stat -f -c %T /dev/shm 2>/dev/null` =~ /^(\w+)/;
    skip('/dev/shm is no tmpfs', 2) if ($type // '') ne 'tmpfs';
    ($status, $found) = findings('--no-writes', '/dev/shm');
    is($found->{'file-system'}{level}, 'problem', 'memory is no place for a log');
    is($status, 1, 'which is a failure');
}

SKIP: {
    my ($disk) = grep { -b } map { m{([^/]+)$} ? "/dev/$1" : () } glob '/sys/block/*';
    skip('there is no block device here', 3) if !$disk;
    ($status, $found, $counts, $all) = findings($disk);
    ok($found->{disk}, "of $disk it says what the kernel does") or diag explain $all;
    ok(!$found->{dsync} && !$found->{opening}, 'and measures nothing');
    is($status, $counts->{problems} ? 1 : 0, 'with its status');
}

is((daa_log('doctor', scratch() . '/nowhere'))[0], 1, 'what is not there is a failure');
is((daa_log('doctor', program('daa-log')))[0], 2, 'a file is wrong usage');

$before = $names->();
each_fault(
    name    => 'the doctor',
    dir     => $dir,
    actions => [qw(kill eio)],
    most    => 3,
    run     => sub { my ($fault) = @_; return [ $fault->under(sub { run_program(program('daa-log'), 'doctor', $dir) }) ] },
    check   => sub {
        my ($result) = @_;
        return 'it left ' . $names->() if $names->() ne $before;
        return "it said nothing: $result->[2]" if $result->[0] == 0 && $result->[1] !~ /problems/;
        return;
    },
);

done_testing();
