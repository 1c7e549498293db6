#!/usr/bin/perl
# No two of our libraries define one name: the linker takes the first that it meets, and says nothing.
use strict;
use warnings;
use Test::More;

my $out = $ENV{OUT} // 'build/release';
my %where;
for my $library (map { "$out/lib$_.a" } qw(core iouring mmapstore log pgsync tools)) {
    open my $names, '-|', "nm --defined-only --extern-only '$library' 2>&1" or die "nm: $!";
    my $count = 0;
    while (<$names>) {
        next unless /^[0-9a-f]+ [TDRB] (\w+)$/;
        $count++;
        push @{ $where{$1} }, $library =~ s{.*/}{}r;
    }
    cmp_ok($count, '>', 5, "$library has names");
}
is_deeply([ map { "$_ in @{ $where{$_} }" } grep { @{ $where{$_} } > 1 } sort keys %where ], [], 'each is defined once');
done_testing;
