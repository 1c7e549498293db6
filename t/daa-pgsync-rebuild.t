#!/usr/bin/perl
# daa-pgsync --rebuild: derived rows and copies made anew, over kills at any moment, behind forks, and where the log's
# beginning is gone. What it leaves is held against the log by --verify --content.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Daa qw(wait_until scratch);
use PgServer;
use Test::More;

plan skip_all => PgServer->missing if PgServer->missing;
require PgSync;
PgSync->import(qw(server create_database write_log backup restore_backup name_of list_of rows_of pgsync copies json_of
    start_pgsync said end_of position workflows killed_at places));
delete @ENV{grep { /^PG|^DAA_/ } keys %ENV};

my $seed = $ENV{SEED} // time ^ $$;
srand $seed;
note "SEED=$seed";

sub clean {
    my ($log, $db, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($status, $result, $err) = json_of($log, $db, '--verify', '--content');
    return is($status, 0, $name) || diag($err, explain $result->{differences});
}

my $log = scratch() . '/log';
write_log($log, 'workflows 3000', 'parked', 'workflows 500');
my $end = @{ list_of($log) };

subtest 'kill -9 at any moment' => sub {
    for my $case (['--rebuild'], ['--rebuild', '--from', 1], ['--rebuild', '--from', 9000]) {
        my $db = create_database();
        copies($log, $db, "a copy, for @$case");
        my $good = workflows($db);
        my $arguments = sub { my ($url) = @_; return ('--data-dir', $log, '--url', $url, @$case, '--batch-rows', 500) };
        my $all = killed_at(0, $db, $arguments);
        # How many messages there are depends on how long transactions take: of the last places some are not reached.
        my $kills = 0;
        for my $nth (places(12, $all)) {
            server()->sql('UPDATE daa.workflows SET output = NULL WHERE stream % 7 = 0', $db);
            $kills += killed_at($nth, $db, $arguments) == $nth;
        }
        cmp_ok($kills, '>=', 8, "killed in front of $kills messages of some $all");
        copies($log, $db, 'a later run goes on', @$case);
        clean($log, $db, 'to what the log is');
        is(workflows($db), $good, 'with the rows that there were');
        is_deeply(rows_of($db), list_of($log), 'and each event');
        my ($nth) = places(1, $all / 2);
        is(killed_at($nth, $db, $arguments), $nth, "(killed in front of message $nth)");
        copies($log, $db, 'and so does --once behind a kill');
        clean($log, $db, 'to the same');
    }
};

subtest 'retention' => sub {
    my $short = scratch() . '/short';
    write_log($short, 'workflows 8000');
    my $db = create_database();
    copies($short, $db, 'all is copied');
    my $good = workflows($db);
    write_log($short, 'remove 2');
    my ($first) = list_of($short)->[0] =~ /^(\d+)/;
    server()->sql('UPDATE daa.workflows SET output = NULL', $db);
    copies($short, $db, 'rows are made anew though the log does not have their events any more', '--rebuild');
    my ($status, undef, $err) = pgsync($short, $db, '--rebuild', '--from', $first - 10);
    is($status, 1, 'what the log does not have any more is not taken away');
    cmp_ok(server()->sql("SELECT count(*) FROM daa.events WHERE seq < $first", $db), '==', $first - 1, 'and is there');
    my $from = $first + 500;
    copies($short, $db, 'what it has is copied again', '--rebuild', '--from', $from);
    clean($short, $db, 'and is the log');
    is(server()->sql('SELECT count(*) FROM daa.workflows WHERE output IS NULL', $db), 0, 'with all rows');
};

subtest 'behind a fork' => sub {
    my $source = scratch() . '/source';
    my ($a) = write_log($source, 'open a', 'open b', 'workflows 200');
    my $saved = backup($source, scratch() . '/backup');
    my $fork = @{ list_of($source) };
    write_log($source, "complete $a source", 'workflows 20');
    my $restored = restore_backup($saved);
    write_log($restored, "pause $a restored", 'workflows 30');
    my $db = create_database();
    copies($source, $db, 'the source');
    copies($restored, $db, 'and what was restored');
    my $good = workflows($db);
    server()->sql(q{UPDATE daa.workflows SET status = 'failed'}, $db);
    copies($_, $db, 'rows are made anew', '--rebuild') for $restored, $source;
    is(workflows($db), $good, 'as they were, each as the log shows it that came last');
    copies($restored, $db, 'the restored log from its own beginning', '--rebuild', '--from', $fork + 1);
    is(workflows($db), $good, 'gives the same');
    copies($source, $db, 'the source from before the fork', '--rebuild', '--from', 100);
    is(workflows($db), $good, 'gives the same');
    clean($_, $db, 'and is the log') for $source, $restored;
};

subtest 'beside a copier' => sub {
    my $db = create_database();
    my $live = scratch() . '/live';
    write_log($live, 'workflows 800');
    copies($live, $db, 'a copy');
    my $pid = start_pgsync($live, $db, '--follow');
    ok((wait_until { said($pid) =~ /connected/ }), 'that is followed');
    server()->sql('UPDATE daa.workflows SET output = NULL', $db);
    copies($live, $db, 'is made anew', '--rebuild', '--from', 50);
    write_log($live, 'workflows 10');
    end_of($pid, 'TERM');
    copies($live, $db, 'whichever copies what comes then');
    clean($live, $db, 'it is the log');
};

# Between two windows of rows that are made anew somebody takes the log over and wants all of them anew.
subtest 'taken over meanwhile' => sub {
    my ($db, $long) = (create_database(), scratch() . '/long');
    write_log($long, 'workflows 4200');
    copies($long, $db, 'a copy');
    my $good = workflows($db);
    server()->sql('CREATE FUNCTION public.hold() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM pg_advisory_xact_lock_shared(77); RETURN NEW; END$$;'
        . 'CREATE TRIGGER hold BEFORE INSERT ON daa.workflows FOR EACH ROW WHEN (NEW.stream = 2) EXECUTE FUNCTION public.hold()', $db);
    my $waits = sub { my ($what) = @_; return wait_until { server()->sql("SELECT count(*) FROM pg_locks WHERE NOT granted AND $what", $db) > 0 } 20 };
    my @sessions = map { open my $to, '|-', PgServer::bin_dir() . '/psql', '-qX', '-o', '/dev/null', '-d', server()->url($db) or die $!; $to->autoflush(1); $to } 1, 2;
    print { $sessions[0] } "SELECT pg_advisory_lock(77);\n";
    ok((wait_until { server()->sql(q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 77}, $db) > 0 } 20), 'the first window is held');
    my $pid = start_pgsync($long, $db, '--rebuild');
    ok($waits->(q{locktype = 'advisory' AND objid = 77}), 'it is under way');
    print { $sessions[1] } "BEGIN; LOCK TABLE daa.replica IN EXCLUSIVE MODE; UPDATE daa.replica SET derived = 0, epoch = epoch + 1;"
        . " UPDATE daa.workflows SET status = 'failed' WHERE stream < 100; COMMIT;\n";
    ok($waits->(q{relation = 'daa.replica'::regclass}), 'somebody else waits');
    close $_ for @sessions;
    end_of($pid);
    is(server()->sql('SELECT derived FROM daa.replica', $db), 0, 'they are not called done');
    copies($long, $db, 'and the next run');
    is(workflows($db), $good, 'makes them');
};

done_testing();
