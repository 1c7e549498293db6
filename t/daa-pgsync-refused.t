#!/usr/bin/perl
# Rules of somebody's own that refuse an event, each in its own way: all others are copied, and that one
# is in daa.rejected with what the server said.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use utf8;
use Daa qw(wait_until scratch program run_program);
use PgServer;
use Test::More;

plan skip_all => PgServer->missing if PgServer->missing;
delete @ENV{grep { /^PG|^DAA_/ } keys %ENV};

my $server = PgServer->new;
my $databases = 0;
my ($log, $other) = map { scratch() . "/$_" } qw(log other);
make_log($log, 'workflows 20');
make_log($other, 'workflows 5');

sub make_log {
    my ($dir, @lines) = @_;
    my $maker = program('') =~ s{/bin/$}{/t/bin/make-log}r;
    open my $to, '|-', "'$maker' '$dir' >/dev/null" or die $!;
    print $to map { "$_\n" } @lines;
    close $to or die "make-log failed: $?";
}

sub copy { my ($from, $name, @options) = @_; return run_program(program('daa-pgsync'), '--data-dir', $from, '--url', $server->url($name), @options) }

sub copies {
    my ($from, $name, $what, @options) = @_;
    my ($status, undef, $err) = copy($from, $name, @options);
    return is($status, 0, $what) || diag $err;
}

# A database with the schema and no rows, and with this of somebody's own.
sub ruled {
    my ($sql, @options) = @_;
    my $name = 'd' . ++$databases;
    $server->create_database($name);
    copies($log, $name, 'the schema is there', @options);
    $server->sql('TRUNCATE daa.replica, daa.events, daa.workflows, daa.steps, daa.agents', $name);
    $server->sql($sql, $name);
    return $name;
}

sub count { my ($name, $table, $where) = @_; return $server->sql("SELECT count(*) FROM daa.$table" . ($where ? " WHERE $where" : ''), $name) }

sub refusing {
    my ($body, $trigger) = @_;
    return "CREATE FUNCTION daa.no() RETURNS trigger LANGUAGE plpgsql AS \$\$BEGIN IF NEW.seq = 5 THEN $body; END IF; RETURN NEW; END\$\$;"
        . "CREATE $trigger ON daa.events FOR EACH ROW EXECUTE FUNCTION daa.no()";
}
my $before = 'TRIGGER no BEFORE INSERT';
my $whole = ruled('SELECT 1');
copies($log, $whole, 'without a rule');
my $all = count($whole, 'events');

sub is_refused_alone {
    my ($name, $what, $like) = @_;
    copies($log, $name, $what);
    is(count($name, 'events'), $all - 1, 'all others are there');
    my ($row, @more) = $server->rows('SELECT seq, message FROM daa.rejected', $name);
    is($row->[0] // 'none', 5, 'and this one is in daa.rejected');
    is(scalar @more, 0, 'alone');
    like($row->[1] // '', $like, 'with what the server said');
}

is_refused_alone(ruled(refusing(q{RAISE 'not this one'}, $before)), 'a rule without a SQLSTATE of its own', qr/not this one/);
is_refused_alone(ruled(refusing(q{RAISE check_violation USING MESSAGE = 'no', DETAIL = 'x' || repeat('ä', 200)}, $before)),
    'one whose sentence is cut within a character', qr/^no \(SQLSTATE 23514\): x/);
is_refused_alone(ruled(refusing('RAISE check_violation', 'CONSTRAINT TRIGGER no AFTER INSERT') =~ s/ON daa.events/ON daa.events DEFERRABLE INITIALLY DEFERRED/r),
    'one that speaks at the COMMIT', qr/check_violation/);

subtest 'a unique index of somebody\'s own' => sub {
    my $name = ruled('CREATE UNIQUE INDEX mine ON daa.workflows (name)');
    copies($log, $name, 'stops nothing');
    is(count($name, 'events'), $all, 'all events are there');
    is(count($name, 'workflows', q{name IS NOT NULL}), 1, 'only the workflows lack what it refused');
    is(count($name, 'workflows', 'name IS NULL AND lossy'), 19, 'and are flagged');
    is(count($name, 'rejected', q{sqlstate = '23505'}), 19, 'daa.rejected has them');
};

subtest 'rows that are made anew' => sub {
    my $dir = scratch() . '/anew';
    make_log($dir, 'workflows 20', 'open bad', 'workflows 20');
    my ($name) = 'd' . ++$databases;
    $server->create_database($name);
    copies($dir, $name, 'a copy');
    $server->sql(q{ALTER TABLE daa.workflows ADD CONSTRAINT mine CHECK (name IS DISTINCT FROM 'bad') NOT VALID}, $name);
    copies($dir, $name, 'then a rule, and all rows anew', '--rebuild');
    is(count($name, 'workflows', 'name IS NOT NULL AND input IS NOT NULL AND NOT lossy'), 40, 'all others are whole');
    is(count($name, 'workflows', q{name IS NULL AND status = 'running' AND lossy}), 1, 'the one that it refuses is there without what was given');
    $server->sql(q{ALTER TABLE daa.workflows DROP CONSTRAINT mine; ALTER TABLE daa.workflows ADD CHECK (status <> 'running') NOT VALID}, $name);
    copies($dir, $name, 'and one that refuses all of it', '--rebuild');
    is(count($name, 'workflows', 'name IS NOT NULL AND output IS NOT NULL AND NOT lossy'), 40, 'all others are whole');
    is(count($name, 'workflows'), 40, 'and that one is not there');
};

# Event 11 ends the second workflow: its row of workflows is made of it all the same.
subtest 'rows of an event that is in daa.rejected alone' => sub {
    my $name = ruled(refusing('RAISE check_violation', $before) =~ s/seq = 5/seq = 11/r);
    copies($log, $name, 'a copy');
    is($server->sql('SELECT seq, in_events FROM daa.rejected', $name), "11\x1ff", 'without that event');
    my $good = $server->sql('SELECT * FROM daa.workflows ORDER BY stream', $name);
    is(count($name, 'workflows', q{status = 'completed'}), 20, 'has its workflow as it is');
    copies($log, $name, '--verify finds it so', '--verify', '--content');
    $server->sql(q{UPDATE daa.workflows SET status = 'failed', last_seq = 1}, $name);
    copies($log, $name, '--repair mends all rows', '--repair');
    is($server->sql('SELECT * FROM daa.workflows ORDER BY stream', $name), $good, 'with what that event says');
    $server->sql(q{UPDATE daa.workflows SET status = 'failed'}, $name);
    copies($log, $name, 'so does --rebuild, also of those before it', '--rebuild');
    is($server->sql('SELECT * FROM daa.workflows ORDER BY stream', $name), $good, 'as they were');
};

# A copier of another log has found that all are past a partition just when this one is to use it.
subtest 'a partition that is detached' => sub {
    my $name = ruled('SELECT 1', '--partition-rows', 10);
    copies($log, $name, 'a copy');
    plan skip_all => 'PostgreSQL 13 does not detach concurrently' if $server->sql(q{SELECT current_setting('server_version_num')::int < 140000}) eq 't';
    $server->sql(q{UPDATE pg_inherits SET inhdetachpending = true WHERE inhrelid = 'daa.events_000000'::regclass}, $name);
    copies($other, $name, 'half way, since that copier was killed');
    is(count($name, 'rejected'), 0, 'no row is to blame');
    is($server->sql('SELECT count(*) FROM daa.events_000000 WHERE log <> (SELECT log FROM daa.replica ORDER BY number LIMIT 1)', $name), 9, 'the rows are in it');
    is($server->sql(q{SELECT count(*) FROM pg_inherits WHERE inhdetachpending}, $name), 0, 'and it is attached as before');

    my $agent = scratch() . '/agent';
    make_log($agent, 'workflows 1');
    my $pid = fork() // die $!;
    if (!$pid) { open STDERR, '>', '/dev/null'; open STDOUT, '>&', \*STDERR; exec program('daa-pgsync'), '--data-dir', $agent, '--url', $server->url($name), '--follow' }
    my $done = sub { $server->sql('SELECT count(DISTINCT log) FROM daa.events_000000', $name) };
    ok(wait_until(sub { $done->() == 3 }, 30), 'a copier that knows of a partition');
    $server->sql('ALTER TABLE daa.events DETACH PARTITION daa.events_000000', $name);
    make_log($agent, 'workflows 1');
    my $end = () = split /\n/, `@{[ program('') =~ s{/bin/$}{/t/bin/make-log}r ]} '$agent' list`;
    ok(wait_until(sub { $server->sql('SELECT max(last_seq) FROM daa.replica r WHERE number = 3', $name) >= $end }, 60), 'goes on when that one was detached');
    is(count($name, 'rejected'), 0, 'and no row is to blame');
    kill 'TERM', $pid;
    waitpid $pid, 0;
};

done_testing;
