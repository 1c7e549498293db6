#!/usr/bin/perl
# Whatever the bytes of a log are, no command of daa-log crashes or hangs on them: each ends with a
# status of its own.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(program scratch slurp spew run_program);
use LogMaker qw(daa_log lines make_log copy_of patch need_log_tools);
use Test::More;

need_log_tools();

my $seed = $ENV{SEED} // time;
diag("seed $seed") if $ENV{SEED};
note("seed $seed");
srand $seed;
my $rounds = $ENV{TEST_EXHAUSTIVE} ? 500 : 12;

my $dir = make_log('log', 'workflows 40', 'parked', 'awkward', 'fill 6 200000', 'workflows 20');
my $last = (lines((daa_log('tail', '--json', '-n', 1, $dir))[1]))[0]{seq};
my @used = map { $_->{used_bytes} || 4096 } grep { $_->{type} eq 'segment' } lines((daa_log('ls', '--json', $dir))[1]);
my $out = scratch() . '/out';

sub noise { my ($size) = @_; return join '', map { chr int rand 256 } 1 .. $size }

# One way to break a file; says what it did.
sub damage {
    my ($copy) = @_;
    my $number = 1 + int rand 2;
    my $file = sprintf '%s/seg-%010d.log', $copy, $number;
    my $offset = int rand($used[$number - 1] + 8192);
    my $choice = int rand 8;
    if ($choice < 3) { patch($file, $offset, noise(1 + int rand 40)) }
    elsif ($choice == 3) { patch($file, $offset, "\0" x (1 + int rand 20000)) }
    elsif ($choice == 4) { truncate $file, $offset }
    elsif ($choice == 5) { patch($file, int rand 4096, noise(8)) }
    elsif ($choice == 6) { patch($file, int($offset / 4096) * 4096, substr slurp($file), int(rand($used[$number - 1]) / 4096) * 4096, 8192) }
    else { spew("$copy/CHECKPOINT", noise(8192)) }
    return "$choice at $offset of segment $number";
}

for my $round (1 .. $rounds) {
    my $copy = copy_of($dir, "copy-$round");
    my @did = map { damage($copy) } 0 .. int rand 3;
    my $seq = 1 + int rand $last;
    my @crashed;
    for my $command (['ls'], ['ls', '-l'], ['cat'], ['cat', '--json'], ['cat', '--tree'], ['tail'], ['grep', '-C', 2, 'paused'],
        ['stat'], ['stat', '--json'], ['verify'], ['verify', '--json', '--ranges'], ['explain', $seq], ['explain', '--json', $seq],
        ['explain', '--tree', $seq], ['hexdump'], ['hexdump', '--seq', $seq], ['export'], ['export', '--format', 'csv', '-o', $out],
        ['diff', $dir], ['cat', '--since', '1 hour ago']) {
        my ($status, undef, $complained) = run_program('timeout', 60, program('daa-log'), @$command, $copy);
        push @crashed, "@$command: status $status $complained" if $status > 3;
    }
    is(scalar @crashed, 0, "round $round: no command crashed") or diag("seed $seed: ", join '; ', @did, @crashed);
    system 'rm', '-rf', $copy;
}

done_testing();
