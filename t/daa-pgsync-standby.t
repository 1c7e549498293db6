#!/usr/bin/perl
# Two servers, of which the second follows the first and lags: the first is lost, the second takes over without
# what was committed last, and the copier sends that again. Servers that only read, and one that is silent.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Daa qw(wait_until scratch);
use IO::Socket::UNIX;
use PgCopy;
use PgServer;
use Test::More;

plan skip_all => PgServer->missing if PgServer->missing;
delete @ENV{grep { /^PG|^DAA_/ } keys %ENV};

sub host_of { my ($dir) = @_; return $dir =~ s{/}{%2F}gr }
# libpq's list of these servers, for one that writes.
sub url_of {
    my ($db, @servers) = @_;
    return "postgresql://daa@" . join(',', map { host_of($_->dir) . ':' . $_->port } @servers) . "/$db?target_session_attrs=read-write";
}

subtest 'a standby that lags takes over' => sub {
    my $primary = PgServer->new;
    my $copies = PgCopy->new($primary);
    my $db = $copies->database;
    my $standby = PgServer->new(standby_of => $primary);
    my $dir = scratch() . '/failover';
    my $writer = $copies->start_writer($dir);
    my $end = $copies->order($writer, 'workflows 40');
    my $pid = $copies->start($dir, url_of($db, $standby, $primary), '--follow', '--batch-rows', 30);
    ok((wait_until { $copies->position($db) >= $end }), 'the primary has the copy') or diag($copies->said($pid));
    ok((wait_until { $copies->position($db, $standby) >= $end }), 'and the standby after it');
    $standby->cut_off;
    my $kept = $copies->position($db, $standby);
    my $lost;
    $lost = $copies->order($writer, "workflows $_") for 1 .. 30;
    ok((wait_until { $copies->position($db) >= $lost }), "the primary goes on to $lost, the standby stays at $kept");
    $primary->crash;
    $end = $copies->order($writer, 'workflows 20');
    ok((wait_until { $copies->said($pid) =~ /cannot be had/ }), 'the primary is lost');
    is($copies->position($db, $standby), $kept, 'with what the standby does not have');
    $standby->promote;
    ok((wait_until { $copies->position($db, $standby) >= $end } 60), 'the standby takes over, and gets all') or diag($copies->said($pid));
    like($copies->said($pid), qr/connected; log \S+ is in Postgres up to seq $kept\n/, 'from where it was');
    $end = $copies->order($writer, 'workflows 5');
    ok((wait_until { $copies->position($db, $standby) >= $end }), 'and what comes then');
    is($copies->end_of($pid, 'TERM'), 0, 'by the same daa-pgsync');
    $copies->end_writer($writer);
    is(($copies->run($dir, url_of($db, $standby, $primary)))[0], 0, 'the rest is copied');
    $copies->is_whole($dir, $db, 'after the failover', $standby);
    is($standby->sql('SELECT count(*), count(DISTINCT (log, seq)) FROM daa.events', $db) =~ /^(\d+)\x1f\1$/ ? 'once' : 'twice', 'once',
        'each event is there once');
    my $flows = 40 + 30 * 31 / 2 + 20 + 5;
    is($standby->sql(q{SELECT count(*) FROM daa.workflows WHERE status = 'completed'}, $db), $flows, 'and each workflow');
};

subtest 'a server that only reads for a while' => sub {
    my $server = PgServer->new;
    my $copies = PgCopy->new($server);
    my ($db, $dir) = ($copies->database, scratch() . '/reads');
    my $writer = $copies->start_writer($dir);
    my $end = $copies->order($writer, 'workflows 3');
    my $pid = $copies->start($dir, $db, '--follow');
    ok((wait_until { $copies->position($db) >= $end }), 'a copy');
    $server->sql('ALTER SYSTEM SET default_transaction_read_only = on');
    $server->sql('SELECT pg_reload_conf()');
    ok((wait_until { $server->sql('SHOW default_transaction_read_only') eq 'on' }), 'the server only reads');
    $end = $copies->order($writer, 'workflows 3');
    ok((wait_until { $copies->said($pid) =~ /trying again: .*read-only.*25006/ }), 'which is waited for') or diag($copies->said($pid));
    $server->sql('ALTER SYSTEM RESET default_transaction_read_only');
    $server->sql('SELECT pg_reload_conf()');
    ok((wait_until { $copies->position($db) >= $end } 60), 'until it writes again') or diag($copies->said($pid));
    is($copies->end_of($pid, 'TERM'), 0, 'by the same daa-pgsync');
    $copies->end_writer($writer);
    is(($copies->run($dir, $db))[0], 0, 'the rest is copied');
    $copies->is_whole($dir, $db, 'after that');
};

subtest 'the first of two servers takes connections and is silent' => sub {
    my $server = PgServer->new;
    my $copies = PgCopy->new($server);
    my $db = $copies->database;
    my $dir = $copies->make_log('silent', 'workflows 3');
    my $silent = scratch() . '/silent.sock';
    mkdir $silent or die $!;
    my $listener = IO::Socket::UNIX->new(Local => "$silent/.s.PGSQL.5432", Listen => 5) or die "listen: $!";
    my ($status, undef, $err) = $copies->run($dir, 'postgresql://daa@' . host_of($silent) . ':5432,' . host_of($server->dir) . ':' . $server->port . "/$db");
    is($status, 0, 'the second one is tried too') or diag($err);
    $copies->is_whole($dir, $db, 'beside a silent server');
};

done_testing();
