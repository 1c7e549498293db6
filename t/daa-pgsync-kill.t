#!/usr/bin/perl
# daa-pgsync killed with -9, and cut off, at each boundary of what it says to the server: just before a message gets
# there, and just after it got there and was answered. Each time the next run has to end with the very same tables as
# a copy that nothing disturbed. And the server killed with -9 at random moments while a log is followed.
# What a killed copier leaves after one message is what it leaves before the next: both are tried with
# TEST_EXHAUSTIVE=1, which also cuts before and after each message, else in turns.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Daa qw(wait_until scratch program run_program);
use JSON::PP ();
use PgCopy;
use PgProxy;
use PgServer;
use Test::More;

plan skip_all => PgServer->missing if PgServer->missing;
delete @ENV{grep { /^PG|^DAA_/ } keys %ENV};

my $seed = $ENV{SEED} // time ^ $$;
srand $seed;
note "SEED=$seed";
my $server = PgServer->new;
my $copies = PgCopy->new($server);
my $proxy = PgProxy->new($server);
my @options = ('--batch-rows', 30, '--partition-rows', 60);

#--- An agent's log with a bit of everything, and one that was forked from it ------------------------

sub daa_log { my ($status, $out, $err) = run_program(program('daa-log'), @_); die "daa-log @_: $err" if $status; return $out }
sub name_of { my ($log) = @_; return JSON::PP::decode_json(daa_log('stat', '--json', $log))->{log} }
sub write_log { my ($log, @commands) = @_; my $writer = $copies->start_writer($log); $copies->order($writer, $_) for @commands; return $copies->end_writer($writer) }

sub make_agents_log {
    my $agent = Daa->start(config => "[log]\nsegment_size = \"256KB\"\n[anchor]\ninterval = \"1h\"\n[exec]\nenabled = true\nallow = [\"/bin/sh\"]\n");
    my $admin = $agent->as_admin;
    for my $script ('exit 0', 'kill -9 $$') {
        my @steps = ({ id => 'nap', sleep => '0s' }, { id => 'sh', needs => ['nap'], exec => { argv => ['/bin/sh', '-c', $script] } });
        my $id = $agent->post('/api/v1/workflows', { definition => { name => 'some', steps => \@steps } }, $admin)->{json}{id} // die;
        wait_until { $agent->get("/api/v1/workflows/$id")->{json}{status} =~ /completed|paused/ } or die $agent->said;
    }
    wait_until { !$agent->get('/status')->{json}{log}{unsealed} } or die $agent->said;
    $agent->post('/api/v1/log:anchor', {}, $admin)->{json}{event} or die $agent->said;
    $agent->stop;
    return $agent->dir . '/log';
}

my $source = make_agents_log();
write_log($source, 'workflows 2', 'parked');
daa_log('backup', $source, scratch() . '/backup');
daa_log('restore', scratch() . '/backup', scratch() . '/restored');
my $fork = @{ $copies->records($source) };
write_log($source, 'workflows 2');
my $log = scratch() . '/restored/log';
write_log($log, 'awkward', 'workflows 4', 'fill 2 3000', 'parked');

#--- What a copy is ----------------------------------------------------------------------------------

# A line for each table, with all that is in it but when and how often it was copied (a transaction that is given up
# leaves out a number of daa.replica, which only tells an order), and one for what the schema is made of.
my $summary = join ' UNION ALL ', (map { my ($name, $less, $key) = @$_;
        qq{SELECT '$name', count(*), md5(string_agg((to_jsonb(t) - '{$less}'::text[])::text, ' ' ORDER BY $key)) FROM daa.$name t} }
    ['events', '', 'log, seq'], ['workflows', '', 'log, stream'], ['steps', '', 'log, stream, step_index'], ['agents', '', 'id'],
    ['anchors', 'copied_at', 'log, event'], ['rejected', 'rejected_at', 'log, seq'], ['replica', 'epoch,number,updated_at', 'number'], ['meta', 'created_at', '1'], ['migrations', 'applied_at', '1']),
    q{SELECT 'relations', count(*), string_agg(concat_ws(' ', c.relname, c.relkind, i.indisvalid, pg_get_expr(c.relpartbound, c.oid)), ', ' ORDER BY c.relname)
        FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid WHERE c.relnamespace = 'daa'::regnamespace};

# The server may still be busy with the last statement of one that is gone.
sub is_alone { my ($db) = @_; return wait_until { $server->sql("SELECT count(*) FROM pg_stat_activity WHERE datname = '$db' AND pid <> pg_backend_pid()") == 0 } 60 }
sub summary { my ($db) = @_; is_alone($db); return $server->try_sql($summary, $db) // 'no whole schema' }
sub rows { my ($db, $name) = @_; return [split /\n/, $server->sql(qq{SELECT seq || ' ' || encode(sha256(record), 'hex') FROM daa.events WHERE log = '$name' ORDER BY seq}, $db)] }
sub copy { my ($from, $db) = @_; my ($status, undef, $err) = $copies->run($from, $db, @options); return $status == 0 ? '' : "ends with $status: $err" }

# Each begins as `begin` makes it; `kept` are the records of the source that are there at the end.
sub empty_database { my ($db) = @_; $server->sql('SET client_min_messages = warning; DROP SCHEMA IF EXISTS daa CASCADE', $db); return $db }
my $parents = $copies->database;
is(copy($source, $parents), '', 'the source is copied');
my $renewed = 0;
sub parents_database {
    my ($db) = @_;
    my $new = 'p' . ++$renewed;
    is_alone($parents);
    $server->sql(qq{CREATE DATABASE $new TEMPLATE "$parents"});
    $server->sql(qq{DROP DATABASE "$db"});
    return $new;
}

for my $case (['an empty database', \&empty_database, $fork], ['a database with more of the parent', \&parents_database, scalar @{ $copies->records($source) }]) {
    my ($what, $begin, $kept) = @$case;
    subtest "at each boundary, into $what" => sub {
        my $db = $begin->($copies->database);
        my $messages = $proxy->run($copies, $copies->start($log, $proxy->url($db), @options), 0, 'before', sub { });
        is($proxy->status, 0, 'an undisturbed copy');
        cmp_ok($messages, '>', 50, "of $messages messages");
        my $whole = summary($db);
        is_deeply(rows($db, name_of($source)), [@{ $copies->records($source) }[0 .. $kept - 1]], 'holds the records of the source');
        my @own = @{ $copies->records($log) };
        is_deeply(rows($db, name_of($log)), [@own[$fork .. $#own]], 'and those of the log');
        like($whole, qr/^$_\x1f[1-9]/m, "there are $_") for qw(workflows steps agents anchors);
        unlike($whole, qr/ i f/, 'all indexes are valid');

        my @ways = $ENV{TEST_EXHAUSTIVE} ? (['kill', 'before'], ['kill', 'after'], ['cut', 'before'], ['cut', 'after']) : (['kill', 'before'], ['cut', 'in turns']);
        for my $way (@ways) {
            my ($deed, $when) = @$way;
            my ($nth, $sent, $acted, @bad) = (0);
            do {
                $nth++;
                $db = $begin->($db);
                my $pid = $copies->start($log, $proxy->url($db), @options);
                my $now = $when ne 'in turns' ? $when : ($nth + $seed) % 2 ? 'before' : 'after';
                $sent = $proxy->run($copies, $pid, $nth, $now, sub { kill 'KILL', $pid if $deed eq 'kill' });
                $acted = $proxy->acted_at;
                my $trouble = copy($log, $db);
                my $got = summary($db);
                push @bad, "$now $nth (${\($acted // q{never})}): $trouble\n$got" if $trouble || $got ne $whole;
            } while (defined $acted);
            # Runs differ by a message, since the end of the log may be asked for once more: what counts is that
            # it goes on up to one that is whole and was not disturbed.
            cmp_ok($sent, '>', 50, "$deed $when, at each of $sent messages");
            is($proxy->status, 0, '... up to a run that was not disturbed');
            is(($copies->run($log, $db, '--verify', '--content'))[0], 0, '... the last one is verified');
            is(scalar @bad, 0, '... and each time the next run makes it whole') or diag($bad[0], "\nshould be\n$whole");
        }
    };
}

#--- The server dies ---------------------------------------------------------------------------------

for my $case (['off', 6], ['on', 3]) {
    my ($fsync, $rounds) = @$case;
    subtest "a server that is killed at random moments, fsync $fsync" => sub {
        $server->sql("ALTER SYSTEM SET $_ = $fsync") for 'fsync', 'full_page_writes';
        $server->restart;
        my $db = $copies->database;
        my $dir = scratch() . "/fsync-$fsync";
        my $writer = $copies->start_writer($dir);
        $copies->order($writer, 'workflows 50');
        my $pid = $copies->start($dir, $db, '--follow', '--batch-rows', 50, '--partition-rows', 1000);
        my $end = 0;
        for my $round (1 .. $rounds) {
            ok((wait_until { $copies->position($db) > $end } 60), "round $round: rows come in");
            my $begin = $end;
            $end = $copies->order($writer, $_) for map { 'workflows ' . (1 + int rand 200) } 1 .. 1 + rand 4;
            my $place = $begin + int rand $end - $begin;
            ok((wait_until { $copies->position($db) >= $place } 60), "up to $place of $end, and on");
            $server->crash;
            $copies->order($writer, 'parked');
            $server->start;
        }
        ok((wait_until { $copies->position($db) > $end } 60), 'they come in to the end');
        $copies->end_writer($writer);
        my $all = @{ $copies->records($dir) };
        ok((wait_until { $copies->position($db) == $all } 60), 'with the last one of the writer');
        is($copies->end_of($pid, 'TERM'), 0, 'the copier never ended') or diag($copies->said($pid));
        $copies->is_whole($dir, $db, 'after that');
        my $again = $copies->database;
        is(copy($dir, $again), '', '(another copy, undisturbed)');
        my $tables = join ' UNION ALL ', map { "SELECT md5(string_agg(to_jsonb(t)::text, ' ' ORDER BY to_jsonb(t)::text COLLATE \"C\")) FROM daa.$_ t" } qw(workflows steps agents);
        is($server->sql($tables, $db), $server->sql($tables, $again), 'the derived tables are the same as in that');
    };
}

done_testing();
