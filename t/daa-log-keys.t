#!/usr/bin/perl
# daa-log keys: how many there are, what is destroyed and what is under way, and what is wrong with them.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(scratch run_program program slurp);
use LogMaker qw(daa_log lines patch flip);
use Test::More;

my $maker = ($ENV{OUT} // 'build/release') . '/t/bin/make-keys';
plan skip_all => 'daa-log is not built' if !-x program('daa-log') || !-x $maker;

# Which keyring it is was drawn.
sub without_name { return $_[0] =~ s/^keyring    [0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\n//r }

my $dir = scratch() . '/data';
mkdir $_ for $dir, "$dir/log";
sub make { my ($status, undef, $said) = run_program($maker, "$dir/keys", @_); return $status == 0 || diag($said) }

my ($status, $out, $said) = daa_log('keys', $dir);
is("$status $out", '1 ', 'an agent without keys');
like($said, qr{^daa-log keys: \Q$dir\E/keys does not exist: nothing is encrypted, or .*--keys}, 'is told so');
ok(!-e "$dir/keys", 'and none are made');

ok(make('prepare 1', 'destroy 7', 'destroy 70000', 'condemn 9 41', 'condemn 8 40'), '(some keys)');
for my $given ([$dir], ["$dir/log"], ["$dir/log/"], ['--keys', "$dir/keys"]) {
    ($status, $out, $said) = daa_log('keys', @$given);
    is_deeply([$status, without_name($out), $said], [0, <<'END', ''], "they are found: keys @$given");
keys       131071 in 2 files, those made ahead of their use too
destroyed  2
erasure    under way: of stream 40, with key 8
erasure    under way: of stream 41, with key 9
END
}
($status, $out) = daa_log('keys', '-j', $dir);
my ($shown) = lines($out);
is(length delete $shown->{keyring}, 36, 'its uuid is shown');
is_deeply([$status, $shown], [0, { dir => "$dir/keys", files => 2, keys => 131071, destroyed => 2, damaged => 0, missing_files => 0,
    erasures_under_way => [{ key_id => 8, stream => 40 }, { key_id => 9, stream => 41 }] }], 'as JSON');
my $key = substr slurp("$dir/keys/keys-0000000000"), 4096 + 64, 32;
ok(index($out, unpack('H*', $key)) < 0 && index($out, $key) < 0, 'no key is shown');

# Each is refused with one sentence and exit 2, and nothing is counted.
for my $case ([[], qr/give DIR or --keys, one of them/], [['--keys', "$dir/keys", $dir], qr/give DIR or --keys, not both/], [[$dir, $dir], qr/argument/],
    [['--keys'], qr/--keys/], [['--count', $dir], qr/--count/]) {
    my ($arguments, $want) = @$case;
    ($status, $out, $said) = daa_log('keys', @$arguments);
    ok($status == 2 && $out eq '' && $said =~ $want, "wrong usage: keys @$arguments") or diag("$status $out $said");
}
for my $case ([["$dir/none"], qr{none/../keys does not exist}], [['--keys', "$dir/keys/keys-0000000000"], qr/keys-0000000000: Not a directory/],
    [['--keys', 'x' x 5000], qr/too long/], [['x' x 5000], qr/too long/]) {
    my ($arguments, $want) = @$case;
    ($status, $out, $said) = daa_log('keys', @$arguments);
    ok($status == 1 && $out eq '' && $said =~ $want, 'no keys: ' . substr "@$arguments", 0, 60) or diag("$status $out $said");
}

flip("$dir/keys/keys-0000000000", 4096 + 64 * 100, 3);
($status, $out, $said) = daa_log('keys', $dir);
is($status, 1, 'a damaged key');
like($out, qr/^damaged    1$/m, 'is counted');
like($said, qr{keys/keys-0000000000: offset 10496: key 100 is damaged: put the file back from a copy}, 'and named');
patch("$dir/keys/keys-0000000001", 0, 'x');
($status, $out, $said) = daa_log('keys', '-j', $dir);
my ($counted) = lines($out);
is_deeply([$status, @$counted{qw(files damaged missing_files)}], [1, 2, 65537, 0], 'with a damaged file all of its keys are');
rename "$dir/keys/keys-0000000001", "$dir/keys/keys-0000000002";
($status, $out, $said) = daa_log('keys', '-j', $dir);
($counted) = lines($out);
is_deeply([$status, @$counted{qw(files missing_files)}], [1, 2, 1], 'a missing file is counted');
unlink "$dir/keys/keys-0000000000";
($status, $out, $said) = daa_log('keys', $dir);
like($said, qr{keys/keys-0000000000 is missing, which has the keys 0 to 65535: put it back from a copy}, 'and named');
like($out, qr/^missing    2 files$/m, 'in words, too');

done_testing();
