#!/usr/bin/perl
# daa-pgsync under the limits that whoever runs a server sets to a role, and out of what a server can run out of:
# nothing of it ends a copier that follows, and what it waits for is said. TEST_EXHAUSTIVE=1 sees --once give up, which
# takes a minute.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Daa qw(wait_until scratch);
use PgCopy;
use PgServer;
use POSIX ();
use Test::More;

plan skip_all => PgServer->missing if PgServer->missing;
delete @ENV{grep { /^PG|^DAA_/ } keys %ENV};

my $server = PgServer->new(settings => { max_connections => 12, superuser_reserved_connections => 3 });
my $copies = PgCopy->new($server);
my $log = $copies->make_log('log', 'workflows 400', 'awkward', 'fill 3 5000');
my $all = @{ $copies->records($log) };
my $roles = 0;

# A database of a role without special rights, and the url for it.
sub role_with_database {
    my ($role, $db) = ('role' . ++$roles, $copies->database);
    $server->sql(qq{CREATE ROLE $role LOGIN CREATEROLE; ALTER DATABASE "$db" OWNER TO $role});
    return ($role, $db, $server->url($db) =~ s/daa\@/$role\@/r);
}

# A psql that holds what the SQL takes, up to its end.
sub hold {
    my ($db, $sql) = @_;
    my $psql = join ' ', map { qq{'$_'} } $server->psql("$sql; SELECT pg_sleep(600)", $db);
    my $pid = $copies->guard(open my $held, '-|', "exec $psql 2>/dev/null");
    ok((wait_until { $server->sql(q{SELECT count(*) FROM pg_stat_activity WHERE query ~ 'pg_sleep.600' AND wait_event = 'PgSleep'}) }), '(it is held)');
    return sub { $server->sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ 'pg_sleep.600' AND pid <> pg_backend_pid()}); close $held; return };
}

sub sleeper {
    my (@psql) = @_;
    my $pid = fork() // die "fork: $!";
    return $copies->guard($pid) if $pid;
    open STDOUT, '>', '/dev/null';
    open STDERR, '>&', \*STDOUT;
    exec @psql or POSIX::_exit(127);
}

sub follows_to_the_end {
    my ($pid, $db) = @_;
    ok((wait_until { $copies->position($db) == $all || $copies->ended($pid) } 60), 'then it comes to the end');
    is($copies->end_of($pid, 'TERM'), 0, 'having never ended') or diag($copies->said($pid));
    $copies->is_whole($log, $db, 'after that');
    return;
}

sub says { my ($pid, $what, $name) = @_; return ok((wait_until { $copies->said($pid) =~ $what }), $name) || diag($copies->said($pid)) }

subtest 'a role out of connections' => sub {
    my ($role, $db, $url) = role_with_database();
    $server->sql("ALTER ROLE $role CONNECTION LIMIT 0");
    my $pid = $copies->start($log, $url, '--follow');
    says($pid, qr/cannot be had, .*too many connections for role "$role"/, 'it says what it waits for');
    $server->sql("ALTER ROLE $role CONNECTION LIMIT 1");
    follows_to_the_end($pid, $db);
};

subtest 'a server out of connections' => sub {
    my ($role, $db, $url) = role_with_database();
    my @psql = map { s/^daa$/$role/r } $server->psql("SELECT pg_sleep(600)", $db);
    my (@held, $taken);
    # One that comes while we look is refused.
    ok((wait_until {
        $taken = $server->sql("SELECT count(*) FROM pg_stat_activity WHERE usename = '$role'");
        push @held, sleeper(@psql) if $taken < 9;
        $taken == 9;
    }), 'others have all of them');
    my $pid = $copies->start($log, $url, '--follow');
    says($pid, qr/cannot be had, .*remaining connection slots are reserved|cannot be had, .*too many clients/, 'it says what it waits for');
    $server->sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '$role'");
    waitpid $_, 0 for @held;
    follows_to_the_end($pid, $db);
};

subtest 'a statement_timeout that a batch does not keep' => sub {
    my ($role, $db, $url) = role_with_database();
    is(($copies->run($copies->make_log('nothing', 'workflows 0'), $url))[0], 0, 'the schema is there');
    # As a server is that is slow for its own reasons: each row takes a while.
    $server->sql(q{DELETE FROM daa.events; DELETE FROM daa.replica;
        CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.001); RETURN NEW; END';
        CREATE TRIGGER slow BEFORE INSERT ON daa.events_000000 FOR EACH ROW EXECUTE FUNCTION slow()}, $db);
    $server->sql("ALTER ROLE $role SET statement_timeout = '300ms'");
    my $pid = $copies->start($log, $url, '--follow');
    says($pid, qr/cannot be had, .*statement timeout/, 'it says that a statement was given up');
    follows_to_the_end($pid, $db);
};

subtest 'a statement_timeout that making an index does not keep' => sub {
    my ($role, $db, $url) = role_with_database();
    is(($copies->run($log, $url))[0], 0, 'a copy');
    $server->sql('DROP INDEX daa.workflows_open', $db);
    $server->sql("ALTER ROLE $role SET statement_timeout = '100ms'; ALTER ROLE $role SET lock_timeout = '100ms'");
    my $release = hold($db, 'BEGIN; LOCK TABLE daa.workflows IN ROW EXCLUSIVE MODE');
    my $pid = $copies->start($log, $url);
    ok((wait_until { $copies->ended($pid) || $server->sql("SELECT count(*) FROM pg_stat_activity WHERE usename = '$role'
        AND query LIKE 'CREATE INDEX CONCURRENTLY%' AND now() - query_start > interval '0.5 s'") }), 'what makes one may take longer');
    $release->();
    is($copies->end_of($pid), 0, 'the copy succeeds') or diag($copies->said($pid));
    is($server->sql(q{SELECT indisvalid FROM pg_index WHERE indexrelid = 'daa.workflows_open'::regclass}, $db), 't', 'and the index is whole');
};

subtest 'a small lock_timeout' => sub {
    my ($role, $db, $url) = role_with_database();
    $server->sql("ALTER ROLE $role SET lock_timeout = '1ms'; ALTER ROLE $role SET idle_in_transaction_session_timeout = '100ms'");
    is(($copies->run($log, $url))[0], 0, 'a copy into an empty database succeeds');
    $server->sql('DELETE FROM daa.events; UPDATE daa.replica SET last_seq = 0; DELETE FROM daa.replica', $db);
    my $release = hold($db, 'BEGIN; LOCK TABLE daa.events IN ACCESS EXCLUSIVE MODE');
    my $pid = $copies->start($log, $url, '--follow');
    ok((wait_until { $server->sql("SELECT count(*) FROM pg_stat_activity WHERE usename = '$role' AND wait_event_type = 'Lock'") }), 'it waits for a lock');
    $release->();
    follows_to_the_end($pid, $db);
};

subtest 'a session that is ended because its copier stood still in a transaction' => sub {
    my ($role, $db, $url) = role_with_database();
    $server->sql("ALTER ROLE $role SET idle_in_transaction_session_timeout = '10ms'");
    my $pid = $copies->start($log, $url, '--follow', '--batch-rows', 20);
    my ($ended, $position) = (0, -1);
    # Where it is stopped is chance: within a statement, between two, between transactions.
    for (1 .. 300) {
        wait_until { ($position = $copies->position($db)) > 0 } if $position <= 0;
        kill 'STOP', $pid;
        my $idle = $server->sql("SELECT count(*) FROM pg_stat_activity WHERE usename = '$role' AND state = 'idle in transaction'");
        wait_until { !$server->sql("SELECT count(*) FROM pg_stat_activity WHERE usename = '$role' AND state = 'idle in transaction'") } if $idle;
        kill 'CONT', $pid;
        $ended += $idle;
        last if $ended >= 3 || ($position = $copies->position($db)) == $all;
    }
    note "ended $ended times";
    # On a busy machine ten milliseconds may pass anywhere, and none would ever come to an end.
    $server->sql("ALTER ROLE $role RESET idle_in_transaction_session_timeout");
    follows_to_the_end($pid, $db);
};

subtest 'a small temp_file_limit' => sub {
    my ($role, $db, $url) = role_with_database();
    $server->sql("ALTER ROLE $role SET temp_file_limit = '64kB'; ALTER ROLE $role SET work_mem = '64kB'; ALTER ROLE $role SET maintenance_work_mem = '1MB'");
    $server->sql("GRANT SET ON PARAMETER temp_file_limit TO $role") if $server->sql('SHOW server_version_num') >= 150000;
    my $pid = $copies->start($log, $url, '--follow');
    follows_to_the_end($pid, $db);
};

#--- A disk that is full -----------------------------------------------------------------------------

my $mounted;
END { my $status = $?; if ($mounted) { $server->destroy; system 'umount', '-l', $mounted } $? = $status }

sub mount_small_disk {
    my ($mount, $image) = map { scratch() . "/$_" } qw(mount image);
    mkdir $mount or die $!;
    open my $file, '>', $image or die $!;
    truncate $file, 64 << 20;
    close $file;
    return undef unless $> == 0 && system("mkfs.ext4 -q -m 0 -F $image >$image.out 2>&1 && mount -o loop $image $mount >>$image.out 2>&1") == 0;
    $mounted = $mount;
    mkdir "$mount/tables" or die $!;
    my $account = PgServer::account();
    chown @$account{qw(uid gid)}, "$mount/tables";
    chmod 0711, scratch();    # the server's account has to get there
    return $mount;
}

# Up to the last block.
sub fill_disk { my ($mount) = @_; return system("dd if=/dev/zero of=$mount/filler bs=64k >/dev/null 2>&1; dd if=/dev/zero of=$mount/last bs=4k >/dev/null 2>&1; true") }

subtest 'a tablespace without room' => sub {
    my $mount = mount_small_disk();
    plan skip_all => 'loop-mount: no filesystem can be made and mounted here' if !$mount;
    $server->sql("CREATE TABLESPACE small LOCATION '$mount/tables'");
    $server->sql('CREATE DATABASE crammed TABLESPACE small');
    $server->sql('SELECT 1', 'crammed');    # a first connection writes too
    fill_disk($mount);
    my $pid = $copies->start($log, 'crammed', '--follow', '--batch-rows', 100);
    says($pid, qr/cannot be had, .*No space left on device/, 'without room for a schema it waits, and says for what');
    unlink "$mount/filler", "$mount/last";
    ok((wait_until { $copies->position('crammed') == $all }), 'with room it copies');
    my $writer = $copies->start_writer($log);
    fill_disk($mount);
    my $lines = () = $copies->said($pid) =~ /cannot be had/g;
    my $written = $copies->order($writer, 'workflows 3000');
    ok((wait_until { $lines < (() = $copies->said($pid) =~ /cannot be had, .*No space left on device/g) }), 'full in the midst of a copy: it waits again') or diag($copies->said($pid));
    cmp_ok($copies->position('crammed'), '<', $written, 'not all is there');
    if ($ENV{TEST_EXHAUSTIVE}) {
        my ($status, undef, $err) = $copies->run($log, 'crammed', '--reader-name', '');
        is($status, 1, '--once ends after a minute in which nothing went in');
        like($err, qr/away for a minute and \d+ tries.*No space left on device/, '... and says why');
        unlink "$mount/filler", "$mount/last";
        $copies->end_of($pid);    # which was taken over from
        $pid = $copies->start($log, 'crammed', '--follow');
    }
    unlink "$mount/filler", "$mount/last";
    $copies->end_writer($writer);
    $all = @{ $copies->records($log) };
    follows_to_the_end($pid, 'crammed');
};

done_testing();
