#!/usr/bin/perl
# daa-pgsync against a real PostgreSQL that is killed, cut off, of another version, and refused by.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Daa qw(wait_until scratch program slurp spew run_program);
use IO::Handle;
use IO::Select;
use IO::Socket::UNIX;
use IPC::Open2;
use JSON::PP ();
use PgServer;
use POSIX ();
use Test::More;

plan skip_all => PgServer->missing if PgServer->missing;

my $seed = $ENV{SEED} // time ^ $$;
srand $seed;
note "SEED=$seed";
delete @ENV{grep { /^PG|^DAA_/ } keys %ENV};

my $server = PgServer->new(tcp => 1);
my $maker = program('') =~ s{/bin/$}{/t/bin/make-log}r;
my ($databases, %started) = (0);

END { my $status = $?; kill 'KILL', $_ for keys %started; $? = $status }

# A log in a directory of its own, made by these commands of make-log.
sub make_log {
    my ($name, $log_seed, @commands) = @_;
    my $dir = scratch() . "/$name";
    open my $to, '|-', join(' ', map { "'$_'" } $maker, $dir, $log_seed // ()) . ' >/dev/null' or die $!;
    print $to map { "$_\n" } @commands;
    close $to or die "make-log failed: $?";
    return $dir;
}

sub fresh_database { return 'd' . ++$databases }
sub url_of { my ($database) = @_; return $server->url($database) }
sub create_database { my $name = fresh_database(); $server->create_database($name); return $name }

sub pgsync {
    my ($log, $database, @options) = @_;
    return run_program(program('daa-pgsync'), '--data-dir', $log, '--url', url_of($database), @options);
}

# In the background; its stderr is in the file that pgsync_said() reads.
sub start_pgsync {
    my ($log, $url, @options) = @_;
    my $pid = fork() // die "fork: $!";
    if (!$pid) {
        open STDOUT, '>', '/dev/null';
        open STDERR, '>', scratch() . "/pgsync-$$.err";
        exec program('daa-pgsync'), '--data-dir', $log, '--url', $url, @options or POSIX::_exit(127);
    }
    $started{$pid} = 1;
    return $pid;
}
sub pgsync_said { return slurp(scratch() . "/pgsync-$_[0].err") // '' }

sub ended {
    my ($pid) = @_;
    return 0 if waitpid($pid, POSIX::WNOHANG()) == 0;
    delete $started{$pid};
    return 1;
}

# (exit status or 128 + signal); waits for the end, with a deadline.
sub end_of {
    my ($pid, $signal) = @_;
    kill $signal, $pid if $signal;
    wait_until { ended($pid) } 60 or kill 'KILL', $pid;
    return $? & 127 ? 128 + ($? & 127) : $? >> 8;
}

sub list_of { my ($log) = @_; return [split /\n/, `'$maker' '$log' list`] }

sub rows_of {
    my ($database) = @_;
    return [split /\n/, $server->sql(
        q{SELECT seq || ' ' || encode(sha256(record), 'hex') FROM daa.events ORDER BY log, seq}, $database)];
}

# That the copy has each record once, with its exact bytes, and says so.
sub is_whole_copy {
    my ($log, $database, $name) = @_;
    my ($want, $got) = (list_of($log), rows_of($database));
    is(scalar @$got, scalar @$want, "$name: as many rows as records");
    my ($differs) = grep { ($got->[$_] // '') ne ($want->[$_] // '') } 0 .. $#$want;
    ok(!defined $differs, "$name: each record once, byte for byte") or diag("differs at row $differs");
    is($server->sql('SELECT last_seq FROM daa.replica', $database), scalar @$want, "$name: the position is the end");
}

# 0 while there is no table or no server.
sub position { my ($database) = @_; return $server->try_sql('SELECT last_seq FROM daa.replica', $database) || 0 }

my $small = make_log('small', undef, 'workflows 3', 'parked', 'fill 3 5000');
my $large = make_log('large', undef, 'workflows 3000');

subtest 'a copy' => sub {
    my $db = create_database();
    my ($status, $out, $err) = pgsync($small, $db);
    is($status, 0, 'a first copy succeeds') or diag($err);
    like($out, qr/^copied 26 events/, 'and says how much it copied');
    is_whole_copy($small, $db, 'first copy');
    is($server->sql(q{SELECT count(*) FROM pg_inherits WHERE inhparent = 'daa.events'::regclass}, $db), 2,
        'the partition after this one is there before its use');
    ($status, $out) = pgsync($small, $db, '--json');
    is($status, 0, 'a second one finds nothing to do');
    is(JSON::PP::decode_json($out)->{rows}, 0, 'and says so in JSON');
    is_whole_copy($small, $db, 'second copy');

    my @flow = $server->rows(q{SELECT name, status, coalesce(reason, '-'), input, output, metadata, lossy,
        ended_at IS NOT NULL, id = 'wf-' || left(replace(log::text, '-', ''), 16) || '-' || stream
        FROM daa.workflows ORDER BY stream}, $db);
    is(scalar @flow, 5, 'there is one row a workflow');
    is_deeply($flow[1], ['pay', 'completed', '-', '{"number": 1}', '{"ok": true}', '{"team": "blue"}', 'f', 't', 't'],
        'a whole workflow is shown as its last event left it');
    is_deeply($flow[3], ['first', 'completed', '-', '{}', '7', '{}', 'f', 't', 't'], 'a reason that was taken back is gone');
    is_deeply($flow[4], ['second', 'paused', 'look at it', '{}', '', '{}', 'f', 'f', 't'], 'a parked one keeps its reason');
    is($server->sql(q{SELECT payload->'input'->>'number' || actor_type || actor_id || request_id || kind_name
        FROM daa.events WHERE seq = 7}, $db), '1uid1000req-1workflow.submitted', 'the columns of an event can be queried');
    is($server->sql(q{SELECT count(*) FROM daa.events WHERE
        abs(extract(epoch FROM time) * 1e9 - time_ns) > 1000 OR stream_prev_seq = 0 OR cause = 0}, $db), 0,
        'times agree, and what is not there is null');
};

subtest 'batches of any size give the same rows' => sub {
    my ($one, $many) = map { create_database() } 1 .. 2;
    is((pgsync($small, $one, '--batch-rows', 1))[0], 0, 'one row in a transaction');
    is((pgsync($small, $many))[0], 0, 'all rows in a transaction');
    my $query = 'SELECT * FROM daa.workflows ORDER BY stream';
    is($server->sql($query, $one), $server->sql($query, $many), 'the workflows are the same');
    is_whole_copy($small, $one, 'one by one');
};

subtest 'what PostgreSQL cannot hold' => sub {
    my $log = make_log('awkward', undef, 'workflows 1', 'awkward', 'workflows 1');
    my $db = create_database();
    # The schema first, then a rule that stands for anything that a server may refuse.
    my $empty = make_log('empty', undef);
    is((pgsync($empty, $db))[0], 0, 'the schema is there');
    $server->sql(q{DELETE FROM daa.events; DELETE FROM daa.replica;
        ALTER TABLE daa.events ADD CHECK (coalesce(NOT payload->'input' ? 'poison', true));
        ALTER TABLE daa.workflows ADD CHECK (coalesce(NOT metadata ? 'poison', true))}, $db);
    my ($status, $out, $err) = pgsync($log, $db, '--json');
    is($status, 0, 'nothing of it stops the copy') or diag($err);
    is(JSON::PP::decode_json($out)->{refused_rows}, 1, 'one row was refused');
    is_whole_copy($log, $db, 'awkward');
    my %row = map { $_->[0] => $_ } $server->rows(q{SELECT coalesce(payload->>'name', kind::text || '/' || coalesce(kind_name, '')),
        lossy, payload->'input'->>'a', payload, coalesce(error, '-') FROM daa.events}, $db);
    is_deeply([@{ $row{nul} }[1, 2]], ['t', "x\xef\xbf\xbdy"], 'an escaped NUL becomes U+FFFD, and the row is flagged');
    is($row{number}[1], 't', 'numbers beyond numeric are flagged');
    like($row{'999/'}[3], qr/"undecoded": "ff0080"/, 'an unknown kind is shown as hex');
    like($row{'49/step.completed'}[3] // '', qr/undecoded|output/, 'an event that cannot be decoded is there');
    ok($row{'60000/'}, 'a kind above smallint is there');
    my ($refused) = $server->rows(q{SELECT lossy, payload IS NULL, error FROM daa.events WHERE error IS NOT NULL}, $db);
    is_deeply([@$refused[0, 1]], ['t', 't'], 'what the server refused has no payload, and is flagged');
    like($refused->[2], qr/SQLSTATE 23514/, 'and says what the server said');
    is($server->sql(q{SELECT lossy FROM daa.workflows WHERE input IS NULL}, $db), 't', 'so has its workflow');
    is($server->sql(q{SELECT count(*) FROM daa.workflows WHERE status = 'completed'}, $db), 2, 'the others are untouched');
    is($server->sql(q{SELECT string_agg(concat_ws(' ', r.seq = e.seq, r.sqlstate, r.record = e.record, r.message = e.error), ',')
        FROM daa.rejected r JOIN daa.events e USING (log) WHERE e.error IS NOT NULL}, $db), 't 23514 t t', 'daa.rejected has it, with its bytes');
};

subtest 'values beyond every limit' => sub {
    my ($db, $log) = (create_database(), make_log('hostile', undef, 'hostile', 'workflows 1'));
    my ($status, $out, $err) = pgsync($log, $db, '--json');
    is($status, 0, 'stop nothing') or diag($err);
    is(JSON::PP::decode_json($out)->{refused_rows}, 0, 'and the server has nothing to refuse');
    is_whole_copy($log, $db, 'hostile');
    my %row = map { $_->[0] => $_ } $server->rows(q{SELECT coalesce(substr(name, 1, 8), '-'), lossy, coalesce(jsonb_typeof(input), 'null'), length(input::text), length(metadata::text) FROM daa.workflows}, $db);
    is_deeply([map { $row{$_}[2] } qw(nested digits fraction twice)], [('string') x 4], 'what is beyond our own JSON, or none, is a string of it');
    is_deeply([@{ $row{string} }[1, 3]], ['f', 200_002], 'a long string is whole');
    is_deeply([$row{label}[1], $row{value}[1]], ['f', 'f'], 'labels are indexed whatever their length');
    is($server->sql(q{SELECT count(*) FROM daa.workflows WHERE metadata @> jsonb_build_object('team', repeat('v', 100000))}, $db), 1, 'and found');
    like($server->sql(q{SELECT payload->>'undecoded' FROM daa.events WHERE payload ? 'undecoded'}, $db), qr/6e616d6520fffe20/, 'an event whose name is not UTF-8 is there, as hex');
};

subtest 'rows that are refused whatever is in them' => sub {
    my $db = create_database();
    is((pgsync(make_log('rules', undef), $db))[0], 0, 'the schema is there');
    my @stubborn = (3, 4, 700, 2999);
    my $list = join ', ', @stubborn;
    $server->sql(qq{DELETE FROM daa.events; DELETE FROM daa.replica;
        ALTER TABLE daa.events ADD CHECK (seq NOT IN ($list));
        ALTER TABLE daa.workflows ADD CHECK (stream % 1000 <> 2)}, $db);
    my ($status, $out, $err) = pgsync($large, $db, '--json');
    is($status, 0, 'stop nothing') or diag($err);
    my $said = JSON::PP::decode_json($out);
    my $all = $said->{to_seq};
    is($server->sql('SELECT count(*) FROM daa.events', $db), $all - @stubborn, 'all others are there');
    is($server->sql(q{SELECT string_agg(seq::text, ', ' ORDER BY seq) FROM daa.rejected r WHERE NOT EXISTS (SELECT FROM daa.events e WHERE e.log = r.log AND e.seq = r.seq)}, $db),
        $list, 'and these in daa.rejected alone');
    my %bytes = map { split / / } split /\n/, `'$maker' '$large' list`;
    is_deeply({ map { @$_ } $server->rows(q{SELECT seq, encode(sha256(record), 'hex') FROM daa.rejected}, $db) },
        { map { $_ => $bytes{$_} } split /\n/, $server->sql('SELECT seq FROM daa.rejected', $db) }, 'with their exact bytes');
    cmp_ok($server->sql('SELECT count(*) FROM daa.rejected', $db), '>', @stubborn, 'those of workflows that are refused are there too');
    is($server->sql('SELECT count(*) FROM daa.workflows WHERE stream % 1000 = 2', $db), 0, 'which have no row');
    cmp_ok($said->{batches}, '<', 300, "in $said->{batches} transactions");
};

subtest 'partitions' => sub {
    my $db = create_database();
    is((pgsync($large, $db, '--partition-rows', 1000))[0], 0, 'a copy over many partitions succeeds');
    is_whole_copy($large, $db, 'partitions');
    my @counts = $server->rows(q{SELECT relname, count(*), min(seq), max(seq) FROM daa.events e JOIN pg_class c
        ON c.oid = e.tableoid GROUP BY 1 ORDER BY 1}, $db);
    is_deeply($counts[3], ['events_000003', 1000, 3000, 3999], 'each holds its range');
};

subtest 'kill -9 of daa-pgsync at any moment' => sub {
    my ($db, $rounds, $kills) = (create_database(), 0, 0);
    while ($rounds < 25 && position($db) < 9000) {
        my $place = position($db) + int rand 800;
        my $pid = start_pgsync($large, url_of($db), '--batch-rows', 20);
        wait_until { position($db) >= $place };
        $rounds++;
        $kills++ if end_of($pid, 'KILL') == 128 + 9;
    }
    cmp_ok($kills, '>=', 5, "it was killed ($kills times of $rounds)");
    is((pgsync($large, $db))[0], 0, 'the last run goes on to the end');
    is_whole_copy($large, $db, 'after kills');
};

subtest 'a server that is killed while rows come in' => sub {
    my $db = create_database();
    my $pid = start_pgsync($large, url_of($db), '--follow', '--batch-rows', 50);
    for my $goal (1000, 4000, 8000) {
        ok((wait_until { position($db) >= $goal }), "rows come in up to $goal");
        $server->crash;
        $server->start;
    }
    ok((wait_until { position($db) >= 15002 } 60), 'it goes on to the end by itself');
    my $said = pgsync_said($pid);
    is(end_of($pid, 'TERM'), 0, 'and ends with 0 on SIGTERM');
    is_whole_copy($large, $db, 'after crashes');
    my ($lost, $found) = (scalar(() = $said =~ /cannot be had/g), scalar(() = $said =~ /connected/g));
    is($found, $lost + 1, 'each loss and each return is told once') or diag($said);
    ok($lost >= 1 && $lost <= 3, 'and nothing else');
};

subtest 'connections ended by the server' => sub {
    my ($db, $ended) = (create_database(), 0);
    my $pid = start_pgsync($large, url_of($db), '--follow', '--batch-rows', 50);
    while ($ended < 5 && position($db) < 12000) {
        $ended += $server->sql(q{SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE application_name = 'daa-pgsync'});
        my $place = position($db) + int rand 1500;
        wait_until { position($db) >= $place };
    }
    ok($ended > 0, "connections were ended ($ended)");
    ok((wait_until { position($db) >= 15002 } 60), 'the copy comes to its end');
    is(end_of($pid, 'TERM'), 0, 'SIGTERM ends it');
    is_whole_copy($large, $db, 'after ended connections');
};

# Between daa-pgsync and the server: at the n-th COMMIT both connections are cut, before it gets
# there or before its answer comes back. Batches are smaller on a machine that has much to do, so the
# position that stands then is written to the file "position".
sub start_cutter {
    my ($nth, $forward) = @_;
    my $dir = scratch() . "/cut-$nth-$forward";
    mkdir $dir or die $!;
    my $listener = IO::Socket::UNIX->new(Local => "$dir/.s.PGSQL.5432", Listen => 5) or die "listen: $!";
    my $pid = fork() // die "fork: $!";
    return ($dir, $pid) if $pid && ($started{$pid} = 1);
    my ($commits, $position, $sent) = (0, 0, '');
    while (my $client = $listener->accept) {
        my $backend = IO::Socket::UNIX->new(Peer => $server->dir . '/.s.PGSQL.' . $server->port) or next;
        my $select = IO::Select->new($client, $backend);
        RELAY: while (1) {
            for my $from ($select->can_read) {
                my $size = sysread $from, my $bytes, 65536 or last RELAY;
                # The statement may come in pieces.
                my $before = $position;
                $sent = substr($sent, -500) . $bytes if $from == $client;
                my $commit = $from == $client && $sent =~ s/.*UPDATE daa\.replica SET last_seq = (\d+).*?COMMIT\0//s && ($position = $1);
                my $cut = $commit && ++$commits == $nth;
                spew("$dir/position", $forward ? $position : $before) if $cut;
                last RELAY if $cut && !$forward;
                syswrite $from == $client ? $backend : $client, $bytes;
                if ($cut) { sysread $backend, $bytes, 65536; last RELAY }    # done there, unknown here
            }
        }
        close $client;
        close $backend;
    }
    POSIX::_exit(0);
}

for my $case ([0, 'never reached the server'], [1, 'was done, but nobody said so']) {
    my ($forward, $what) = @$case;
    subtest "a COMMIT that $what" => sub {
        my $db = create_database();
        my ($dir, $cutter) = start_cutter(3, $forward);
        (my $host = $dir) =~ s{/}{%2F}g;
        my ($status, undef, $err) = run_program(program('daa-pgsync'), '--data-dir', $large,
            '--url', "postgresql://daa\@$host:5432/$db", '--batch-rows', 1000);
        is($status, 0, 'the copy succeeds') or diag($err);
        my $position = slurp("$dir/position");
        ok($position > 0 && $position < 15002, "it was cut at $position, on the way");
        like($err, qr/cannot be had.*\n.*connected; log \S+ is in Postgres up to seq $position\n/,
            'the position was read back');
        is_whole_copy($large, $db, $what);
        end_of($cutter, 'KILL');
    };
}

subtest 'a refused event whose COMMIT was done, but nobody said so' => sub {
    my ($db, $log) = (create_database(), make_log('refused', undef, 'awkward', 'workflows 2'));
    is((pgsync(make_log('schema', undef), $db))[0], 0, 'the schema is there');
    $server->sql(q{DELETE FROM daa.events; DELETE FROM daa.replica;
        ALTER TABLE daa.events ADD CHECK (coalesce(NOT payload->'input' ? 'poison', true))}, $db);
    my $poison = 1 + 8;    # the log's first event, and the last of the awkward ones
    my ($dir, $cutter) = start_cutter($poison, 1);
    (my $host = $dir) =~ s{/}{%2F}g;
    my ($status, undef, $err) = run_program(program('daa-pgsync'), '--data-dir', $log,
        '--url', "postgresql://daa\@$host:5432/$db", '--batch-rows', 1);
    is($status, 0, 'the copy succeeds') or diag($err);
    is(slurp("$dir/position"), $poison, 'it was cut at the refused event');
    is($server->sql('SELECT string_agg(seq::text, $$ $$) FROM daa.events WHERE error IS NOT NULL', $db), $poison, 'which alone is without its payload');
    is_whole_copy($log, $db, 'after that');
    end_of($cutter, 'KILL');
};

subtest 'another schema' => sub {
    my $db = create_database();
    is((pgsync($small, $db))[0], 0, 'a copy');
    $server->sql('UPDATE daa.meta SET version = 999', $db);
    my ($status, undef, $err) = pgsync($small, $db);
    is($status, 1, 'a newer schema is refused');
    like($err, qr/version 999.*newer daa-pgsync/, 'with a sentence that names it and the way out');
    ($status, undef, $err) = pgsync($small, $db, '--status');
    is($status, 1, 'also by --status');
    $server->sql('UPDATE daa.meta SET version = 0', $db);
    ($status, undef, $err) = pgsync($small, $db, '--follow');
    is($status, 1, 'an older one ends --follow too');
    like($err, qr/version 0/, 'with its version');
    my $other = create_database();
    $server->sql('CREATE SCHEMA daa; CREATE TABLE daa.events (a integer)', $other);
    ($status, undef, $err) = pgsync($small, $other);
    is($status, 1, 'somebody else\'s schema "daa" is refused');
    like($err, qr/schema "daa" that daa-pgsync did not make/, 'with a sentence');
    is($server->sql(q{SELECT count(*) FROM pg_class WHERE relnamespace = 'daa'::regnamespace}, $other), 1,
        'and left as it is');
};

my $older_copy;    # takes some seconds to be sure; the last subtest asks what it found
subtest 'another history' => sub {
    my $db = create_database();
    my ($one, $two) = (make_log('one', 77, 'workflows 2'), make_log('two', 77, 'parked', 'workflows 2'));
    is((pgsync($one, $db))[0], 0, 'one history is copied');
    my ($status, undef, $err) = pgsync($two, $db);
    is($status, 1, 'another one of the same log is refused');
    like($err, qr/holds another history of log \S+ from seq 12/, 'and the place is named');
    is_whole_copy($one, $db, 'untouched');

    my $older = scratch() . '/older';
    system('cp', '-r', $one, $older) == 0 or die;
    open my $to, '|-', "'$maker' '$one' >/dev/null" or die;
    print $to "workflows 1\n";
    close $to or die;
    is((pgsync($one, $db))[0], 0, 'the log went on, and the copy too');
    $older_copy = start_pgsync($older, url_of($db), '--follow');
    is((pgsync($small, $db))[0], 0, 'another log may be in the same database');
    is($server->sql('SELECT count(DISTINCT log) FROM daa.events', $db), 2, 'side by side');
};

subtest 'a server that refuses' => sub {
    my ($status, $out, $err) = run_program(program('daa-pgsync'), '--data-dir', $small,
        '--url', 'postgresql://daa:hunter2@127.0.0.1:1/x');
    is($status, 1, 'nobody listens: it fails');
    like($err, qr/Postgres cannot be had: .*refused/i, 'with a sentence');
    unlike($out . $err, qr/hunter2/, 'without the password');
    ($status, $out, $err) = run_program(program('daa-pgsync'), '--data-dir', $small,
        '--url', 'postgresql://daa:hunter2@[::1/x');
    is($status, 1, 'a url that is none fails');
    like($err, qr/url/, 'with a sentence');
    unlike($out . $err, qr/hunter2/, 'without the password');
    ($status, $out, $err) = pgsync($small, 'no_such_database');
    is($status, 1, 'a database that is not there fails');
    like($err, qr/no_such_database.*does not exist/, 'by name');
    my $db = create_database();
    {
        local $ENV{PGPASSWORD} = 'wrong-hunter2';
        ($status, $out, $err) = run_program(program('daa-pgsync'), '--data-dir', $small, '--url', $server->tcp_url($db));
        is($status, 1, 'a wrong password fails');
        unlike($out . $err, qr/hunter2/, 'without saying it');
        local $ENV{PGPASSWORD} = 'test-only';
        local $ENV{DAA_PG_URL} = $server->tcp_url($db);
        ($status, $out, $err) = run_program(program('daa-pgsync'), '--data-dir', $small);
        is($status, 0, 'over TCP, with the password and the url from the environment') or diag($err);
    }
    is_whole_copy($small, $db, 'over TCP');
    my $pid = start_pgsync($small, 'postgresql://daa@127.0.0.1:1/x', '--follow');
    ok((wait_until { pgsync_said($pid) =~ /trying again/ }), '--follow says that it tries again');
    is(end_of($pid, 'TERM'), 0, 'and ends with 0 on SIGTERM all the same');
};

# make-log with a pipe each way.
sub start_writer {
    my ($dir) = @_;
    my $pid = open2(my $answers, my $orders, $maker, $dir);
    $started{$pid} = 1;
    return ($pid, $answers, $orders);
}

# Has it write something, and returns the newest number once that is durable.
sub order {
    my ($answers, $orders, $what) = @_;
    print $orders "$what\n";
    $orders->flush;
    my $line = <$answers> // die 'make-log is gone';
    return $line =~ /(\d+)/ ? $1 : die "make-log said $line";
}

subtest 'a log that is written meanwhile' => sub {
    my ($db, $dir) = (create_database(), scratch() . '/live');
    my ($writer, $answers, $orders) = start_writer($dir);
    order($answers, $orders, 'workflows 1');
    my $pid = start_pgsync($dir, url_of($db), '--follow');
    for my $size (1, 20, 300, 2000) {
        my $end = order($answers, $orders, "workflows $size");
        ok((wait_until { position($db) >= $end }), "event $end arrives");
    }
    my ($status, $out) = pgsync($dir, $db, '--status', '--json');
    is(JSON::PP::decode_json($out)->{behind}, 0, '--status says that nothing is behind');

    my $second = start_pgsync($dir, url_of($db), '--follow');
    ok((wait_until { pgsync_said($second) =~ /connected/ }), 'a second one takes over');
    my $end = order($answers, $orders, 'workflows 1');
    is(end_of($pid), 1, 'the first one stops');
    like(pgsync_said($pid), qr/another daa-pgsync has taken over/, 'and says why');
    close $orders;
    waitpid $writer, 0;
    delete $started{$writer};
    ok((wait_until { position($db) >= $end + 1 }), 'the second one copies to the end');

    ($writer, $answers, $orders) = start_writer($dir);
    my $other_end = order($answers, $orders, 'workflows 500');
    ok((wait_until { position($db) >= $other_end }), 'it goes on when the writer comes back');
    kill 'KILL', $writer;
    waitpid $writer, 0;
    delete $started{$writer};
    ($writer, $answers, $orders) = start_writer($dir);
    $end = order($answers, $orders, 'workflows 500');
    ok($end > $other_end && (wait_until { position($db) >= $end }), 'and when it comes back from a kill -9');
    close $orders;
    waitpid $writer, 0;
    delete $started{$writer};
    ok((wait_until { position($db) >= $end + 1 }), 'up to its last event');
    is(end_of($second, 'TERM'), 0, 'and ends with 0');
    is_whole_copy($dir, $db, 'live');
};

subtest 'a copy that is deleted while it is followed' => sub {
    my ($db, $dir) = (create_database(), make_log('deleted', undef, 'workflows 3'));
    my $pid = start_pgsync($dir, url_of($db), '--follow');
    ok((wait_until { position($db) == @{ list_of($dir) } }), 'all is there');
    $server->sql('TRUNCATE daa.replica, daa.events, daa.workflows', $db);
    open my $to, '|-', "'$maker' '$dir' >/dev/null" or die;
    print $to "workflows 1\n";
    close $to or die;
    ok((wait_until { position($db) == @{ list_of($dir) } }), 'with the next event it is made anew');
    is(end_of($pid, 'TERM'), 0, 'by the same daa-pgsync') or diag(pgsync_said($pid));
    is_whole_copy($dir, $db, 'made anew');
};

subtest 'the log is told how far the copy is' => sub {
    my ($db, $other) = (create_database(), create_database());
    my $log = make_log('told', undef, 'workflows 20');
    my $told = sub { my ($name) = @_; my $said = slurp("$log/readers/$name"); return $said && JSON::PP::decode_json($said) };
    is((pgsync($log, $db))[0], 0, 'a copy is made');
    my $position = $told->('pgsync');
    is_deeply([@$position{qw(seq flushed_seq)}], [(position($db)) x 2], 'the position is beside the log');
    is($position->{chain}, $server->sql(q{SELECT encode(last_chain, 'hex') FROM daa.replica}, $db), 'with the chain there');
    cmp_ok(abs($position->{time_ns} / 1e9 - time), '<', 120, 'and the time');
    ok($position->{pid} > 0 && !$position->{required}, 'and who wrote it');
    is((pgsync($log, $other, '--reader-name', 'other'))[0], 0, 'a copy elsewhere has another name');
    is($told->('other')->{seq}, $position->{seq}, 'and says the same');
    is((pgsync($log, $other, '--reader-name', $_))[0], 2, "'$_' is no name") for '../x', 'a b';
    is((pgsync($log, $other, '--reader-name', ''))[0], 0, 'no name at all will do');
    is_deeply([sort map { s{.*/}{}r } glob "$log/readers/*"], [qw(other pgsync)], 'and tells nothing');

    my ($to, $from);
    my $writer = open2($from, $to, $maker, $log);
    my $pid = start_pgsync($log, url_of($db), '--follow');
    my $say = sub { $to->print("$_[0]\n"); $to->flush; my ($seq) = readline($from) =~ /(\d+)/; return $seq };
    my $seq = $say->('workflows 10');
    ok((wait_until { ($told->('pgsync') || {})->{flushed_seq} == $seq }), 'while it follows, it tells the news');
    $server->crash;
    $server->start;
    ok(position($db) >= $seq, 'what it told is there when the server has crashed');
    $seq = $say->('workflows 1');
    ok((wait_until { position($db) >= $seq } 60), 'more is copied');
    is(end_of($pid, 'TERM'), 0, 'it ends');
    is($told->('pgsync')->{seq}, $seq, 'having told the last of it');
    close $to;
    waitpid $writer, 0;

    unlink "$log/readers/pgsync";
    my $readers = "$log/readers";
    rename $readers, "$readers.away" and spew($readers, '');
    my ($status, undef, $said) = pgsync($log, $db);
    is($status, 0, 'where it cannot be told, copying goes on');
    is(scalar(() = $said =~ /may remove events too early/g), 1, 'and that is said') or diag($said);
};

subtest 'several at once on an empty database' => sub {
    my $db = create_database();
    my @logs = ($small, map { make_log("at-once-$_", undef, 'workflows 20') } 1 .. 3);
    my @pids = map { start_pgsync($_, url_of($db)) } @logs;
    is(end_of($_), 0, 'each succeeds') || diag(pgsync_said($_)) for @pids;
    is($server->sql('SELECT count(*) FROM daa.events', $db), 26 + 3 * 102, 'and all rows are there');
};

subtest 'a damaged log' => sub {
    my ($db, $dir) = (create_database(), scratch() . '/damaged');
    system('cp', '-r', $small, $dir) == 0 or die;
    my ($segment) = glob "$dir/seg-*";
    my $bytes = slurp($segment);
    my $at = index($bytes, 'no answer');    # in an event that has others before and behind it
    substr($bytes, $at, 1) = 'N';
    spew($segment, $bytes);
    my ($status, undef, $err) = pgsync($dir, $db);
    is($status, 1, 'ends the copy');
    like($err, qr/seg-0000000001\.log/, 'and the place is named');
    my $rows = rows_of($db);
    is_deeply($rows, [@{ list_of($small) }[0 .. $#$rows]], 'what is before the damage is copied (' . @$rows . ' rows)');
    is(position($db), scalar @$rows, 'and the position is there');
};

subtest 'the command line' => sub {
    my ($status, $out, $err) = run_program(program('daa-pgsync'), '--url', 'x');
    is($status, 2, 'without a directory it is misused');
    ($status, undef, $err) = pgsync($small, create_database(), '--partition-rows', '9223372036854775807');
    is($status, 2, 'and with partitions that no number is beyond');
    like($err, qr/--partition-rows is too large/, 'which is said');
    ($status, $out, $err) = run_program(program('daa-pgsync'), '--data-dir', $small);
    is($status, 2, 'without a url too');
    like($err, qr/DAA_PG_URL/, 'and the way out is named');
    ($status, $out, $err) = run_program(program('daa-pgsync'), '--data-dir', scratch() . '/nothing', '--url', 'postgresql:///x');
    is($status, 1, 'a directory that is not there fails');
    like($err, qr{/nothing}, 'by name');
    ($status, $out) = run_program(program('daa-pgsync'), '--help');
    is($status, 0, '--help succeeds');
    like($out, qr/--follow/, 'and lists the options');
    like($out, qr/^Usage:.*restore/, 'restore is offered');
};

subtest 'an older copy of the log' => sub {
    is(end_of($older_copy), 1, 'is refused');
    like(pgsync_said($older_copy), qr/up to seq \d+, but here it ends at \d+/, 'with a sentence');
};

done_testing();
