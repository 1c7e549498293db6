#!/usr/bin/perl
# The planner is told of the tables behind a bulk load, once.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Daa qw(scratch program run_program);
use PgServer;
use Test::More;

plan skip_all => PgServer->missing if PgServer->missing;
delete @ENV{grep { /^PG|^DAA_/ } keys %ENV};

# Autovacuum is off, so that nobody else looks.
my $server = PgServer->new(settings => { autovacuum => 'off' });
my $maker = program('') =~ s{/bin/$}{/t/bin/make-log}r;
my ($log, $name) = (scratch() . '/log', 'copy');
$server->create_database($name);

sub write_log {
    my ($line) = @_;
    open my $to, '|-', "'$maker' '$log' >/dev/null" or die $!;
    print $to "$line\n";
    close $to or die "make-log failed: $?";
}

sub copies {
    my ($what, @options) = @_;
    my ($status, undef, $err) = run_program(program('daa-pgsync'), '--data-dir', $log, '--url', $server->url($name), @options);
    return is($status, 0, $what) || diag $err;
}

my @tables = qw(agents events events_000000 replica steps workflows);
my $list = join ', ', map { "'$_'" } @tables;
# A partitioned table has its time since PostgreSQL 14; what ANALYZE left is there in any.
sub analyzed {
    return $server->sql(qq{SELECT string_agg(relname, ' ' ORDER BY relname COLLATE "C") FROM pg_stat_user_tables
        WHERE schemaname = 'daa' AND relname IN ($list) AND last_analyze IS NOT NULL}, $name);
}
sub counts { return $server->sql(q{SELECT sum(analyze_count) FROM pg_stat_user_tables WHERE schemaname = 'daa'}, $name) }

write_log('workflows 20');
copies('a small copy');
is(analyzed(), '', 'has no table analyzed');
write_log('fill 100000 8');
copies('a bulk load');
is(analyzed(), "@tables", 'has all of them');
is($server->sql(q{SELECT reltuples > 100000 FROM pg_class WHERE oid = 'daa.events_000000'::regclass}, $name), 't', 'and the planner knows');
is($server->sql(q{SELECT count(*) > 0 FROM pg_stats WHERE schemaname = 'daa' AND tablename = 'events'}, $name), 't', 'of the whole of it too');
my $counts = counts();
write_log('workflows 20');
copies('a small copy behind it');
is(counts(), $counts, 'has none again');

done_testing;
