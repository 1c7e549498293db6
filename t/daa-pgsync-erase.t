#!/usr/bin/perl
# Encrypted events and erasures in Postgres: with the keys a copy is what it would be without encryption, and what was
# erased is gone there by whatever way it came, so that all ways give the same rows.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Daa qw(wait_until scratch program run_program slurp);
use PgServer;
use Test::More;

plan skip_all => PgServer->missing if PgServer->missing;
require PgSync;
PgSync->import(qw(server create_database write_log backup restore_backup name_of list_of rows_of pgsync copies json_of
    start_pgsync said end_of position killed_at places daa_log));
delete @ENV{grep { /^PG|^DAA_/ } keys %ENV};

my $seed = $ENV{SEED} // time ^ $$;
srand $seed;
note "SEED=$seed";
my $server = server();
my $keys_maker = program('') =~ s{/bin/$}{/t/bin/make-keys}r;
my $dirs = 0;

sub make_keys { my ($dir, @commands) = @_; my ($status, $out, $err) = run_program($keys_maker, $dir, @commands); die $err if $status; return }

# A data directory with keys, and a log of what is said.
sub new_dir {
    my (@commands) = @_;
    my $dir = scratch() . '/data-' . ++$dirs;
    mkdir $dir or die $!;
    make_keys("$dir/keys", 'prepare 1');
    return ($dir, write_keyed($dir, @commands));
}
sub write_keyed { my ($dir, @commands) = @_; local $ENV{KEYS} = "$dir/keys"; return write_log("$dir/log", @commands) }

# All that Postgres shows, but for when it came there, and whether anything in a batch was refused once (agents.lossy).
sub everything {
    my ($db) = @_;
    return join "\n", map { $server->sql($_, $db) }
        'SELECT * FROM daa.events ORDER BY log, seq', 'SELECT * FROM daa.workflows ORDER BY log, stream',
        'SELECT * FROM daa.steps ORDER BY log, stream, step_index', q{SELECT to_jsonb(a) - 'lossy' FROM daa.agents a ORDER BY log},
        'SELECT log, seq, in_events, sqlstate, message, record FROM daa.rejected ORDER BY log, seq',
        'SELECT log, seq, owner, stream FROM daa.erased ORDER BY log, seq, stream';
}
# The same without the bytes of records, in which nothing can be read.
sub readable {
    my ($db) = @_;
    return join "\n", map { $server->sql(qq{SELECT (to_jsonb(t) - 'record')::text FROM daa.$_ t}, $db) } qw(events workflows steps agents rejected);
}
sub clean {
    my ($dir, $db, $name, @options) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($status, $result, $err) = json_of($dir, $db, '--verify', '--content', @options);
    is($status, 0, $name) or diag($err, explain $result->{differences});
    return $result;
}
# That a copy made anew, of the log as it is now, has these rows.
sub as_anew {
    my ($dir, $db, $name, $setup) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $fresh = create_database();
    $setup->($fresh) if $setup;
    copies($dir, $fresh, "$name: a copy made anew");
    same($db, everything($fresh), "$name: has the same rows");
    return $fresh;
}
# That nothing private of these is there.
sub lacks {
    my ($db, $secret, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return is(join("\n", grep { /$secret/ } split /\n/, readable($db)), '', $name);
}
sub same { my ($db, $rows, $name) = @_; local $Test::Builder::Level = $Test::Builder::Level + 1; return is(first_difference(everything($db), $rows), '', $name) }
sub first_difference {
    my ($got, $want) = map { [split /\n/, $_] } @_;
    my ($at) = grep { ($got->[$_] // '') ne ($want->[$_] // '') } 0 .. ($#$got > $#$want ? $#$got : $#$want);
    return defined $at ? ($got->[$at] // 'nothing') . "\ninstead of\n" . ($want->[$at] // 'nothing') : '';
}

#--- With keys, and without ------------------------------------------------------------------------

subtest 'a copy that has the keys' => sub {
    my ($dir, $first) = new_dir('secret mine 1 3', 'workflows 5');
    my $db = create_database();
    copies($dir, $db, 'is made');
    is($server->sql(q{SELECT count(*) FROM daa.workflows WHERE metadata @> '{"secret": "XYZZY-mine-1"}'}, $db), 1, 'and searched by metadata');
    is($server->sql(qq{SELECT payload->'input'->>'secret' FROM daa.events WHERE seq = $first}, $db), 'XYZZY-mine-0', 'payloads are decrypted');
    is($server->sql(q{SELECT count(*) FROM daa.events WHERE position('XYZZY'::bytea IN record) > 0}, $db), 0, 'records are not');
    is_deeply(rows_of($db), list_of("$dir/log"), 'they are the bytes of the log');
    is($server->sql('SELECT count(*) FROM daa.events WHERE error IS NOT NULL OR lossy', $db), 0, 'no row is flagged');
    is(clean($dir, $db, 'it verifies')->{unopened}, 0, 'to the last column');
    my $result = clean($dir, $db, 'also where the keys are not', '--keys', scratch() . '/none');
    cmp_ok($result->{unopened}, '>', 0, 'but for what they hide, which is told');
};

subtest 'keys that are not there' => sub {
    my ($dir, $first) = new_dir('secret mine 1 3', 'workflows 5');
    my $whole = create_database();
    copies($dir, $whole, 'with keys');
    rename "$dir/keys", "$dir/away" or die $!;
    my $db = create_database();
    my ($status, $out, $err) = pgsync($dir, $db);
    is($status, 0, 'without them the copy goes on') or diag $err;
    like($err, qr/event $first is encrypted with key 1, which is not here/, 'with a warning');
    like($out, qr/lack what is encrypted/, 'and a count');
    lacks($db, 'XYZZY', 'nothing private is there');
    is($server->sql(qq{SELECT error || (payload ? 'name')::text FROM daa.events WHERE seq = $first}, $db), 'encrypted with key 1, which is not heretrue', 'the column error says why');
    is($server->sql(q{SELECT count(*) FROM daa.workflows WHERE name = 'mine' AND status = 'completed' AND input IS NULL AND metadata IS NULL AND NOT lossy}, $db), 3, 'workflows have the rest');
    my (undef, $said) = json_of($dir, $db, '--status');
    is($said->{withheld}, 9, '--status counts such events');
    clean($dir, $db, '--verify finds nothing wrong in that');
    my ($other, undef, $warning) = pgsync($dir, $db, '--keys', "$dir/nowhere");
    like($warning, qr/nowhere.*what is encrypted cannot be read/, 'a directory that was named and is not there is told at the start');
    rename "$dir/away", "$dir/keys" or die $!;
    my $file = (glob "$dir/keys/keys-*")[0];
    rename $file, "$dir/file" or die $!;
    copies($dir, $db, 'a file of keys that is missing', '--rebuild', '--from', 1);
    lacks($db, 'XYZZY', 'hides the same');
    my ($again, undef, $derived) = pgsync($dir, $whole, '--rebuild');
    is($again, 0, 'rows that are made anew without keys');
    like($derived, qr/event $first is encrypted with key 1, which is not here/, 'lack it too, with a warning');
    copies($dir, $whole, 'as does a copy of which only they differ', '--verify', '--content');
    rename "$dir/file", $file or die $!;
    copies($dir, $whole, 'they have it again', '--rebuild');
    isnt((pgsync($dir, $db, '--verify', '--content'))[0], 0, 'when the keys are back, --verify finds what is missing');
    copies($dir, $db, '--repair puts it in', '--repair');
    same($db, everything($whole), 'all of it');
    SKIP: {
        my $bytes = slurp($file);
        substr($bytes, 4096 + 64 * 2, 8) ^= 'x' x 8;    # of key 2
        open my $to, '>', $file or die $!; print $to $bytes; close $to;
        my $damaged = create_database();
        copies($dir, $damaged, 'a damaged key stops nothing');
        is($server->sql(q{SELECT string_agg(DISTINCT error, ' ') FROM daa.events}, $damaged), 'encrypted with key 2, which is damaged', 'and is told, alone');
    }
};

#--- Erasures --------------------------------------------------------------------------------------

subtest 'a copy that was there before' => sub {
    my ($dir, $first) = new_dir('secret mine 1', 'secret other 2', 'workflows 3');
    my $db = create_database();
    copies($dir, $db, 'a copy');
    like(readable($db), qr/XYZZY-mine/, '(which shows it)');
    write_keyed($dir, "erase $first 1", 'secret third 3');
    copies($dir, $db, 'the erasure is copied while the key is there still');
    lacks($db, 'XYZZY-mine', 'and nothing that was private');
    like(readable($db), qr/XYZZY-other/, 'others stay');
    is($server->sql(qq{SELECT count(*) FROM daa.workflows WHERE stream = $first}, $db) + $server->sql(qq{SELECT count(*) FROM daa.steps WHERE stream = $first}, $db), 0,
        'no derived row shows it');
    is($server->sql(qq{SELECT error || (payload->>'name') FROM daa.events WHERE seq = $first}, $db), 'erasedmine', 'of its events the rest is there');
    is_deeply(rows_of($db), list_of("$dir/log"), 'and each record');
    clean($dir, $db, 'it verifies while the key is there');
    my $rows = everything($db);
    my $fresh = as_anew($dir, $db, 'before the key is destroyed');
    for my $case (['--rebuild'], ['--rebuild', '--from', 1], ['--rebuild', '--from', $first + 3], ['--repair']) {
        copies($dir, $db, "@$case", @$case);
        same($db, $rows, "@$case changes nothing");
    }
    my ($late) = write_keyed($dir, "later $first 1 XYZZY-mine-late");
    copies($dir, $db, 'an event that comes behind the erasure');
    lacks($db, 'XYZZY-mine', 'is not decrypted');
    $rows = everything($db);
    as_anew($dir, $db, 'with that');
    make_keys("$dir/keys", 'destroy 1');
    clean($dir, $db, 'it verifies behind the key');
    for my $case (['--rebuild'], ['--rebuild', '--from', 1], ['--rebuild', '--from', $first + 3], ['--repair']) {
        copies($dir, $db, "@$case", @$case);
        same($db, $rows, "behind the key, @$case changes nothing");
        clean($dir, $db, 'and verifies');
    }
    as_anew($dir, $db, 'behind the key');
    $server->sql('TRUNCATE daa.erased', $db);
    isnt((pgsync($dir, $db, '--verify', '--content'))[0], 0, 'rows of daa.erased that are missing are a difference');
    copies($dir, $db, 'that --repair mends', '--repair');
    same($db, $rows, 'to what it was');
    $server->sql(qq{INSERT INTO daa.erased (log, seq, owner, stream) SELECT log, 2, log, stream FROM daa.workflows WHERE name = 'third'}, $db);
    isnt((pgsync($dir, $db, '--verify', '--content'))[0], 0, 'and so are rows that no event says');
    copies($dir, $db, 'which --repair takes out', '--repair');
    same($db, $rows, 'with what they took');
    $server->sql(qq{UPDATE daa.events SET payload = payload || '{"input": "XYZZY-mine"}' WHERE seq = $first}, $db);
    isnt((pgsync($dir, $db, '--verify', '--content'))[0], 0, 'what somebody put back is a difference');
    copies($dir, $db, 'that --repair takes out', '--repair');
    same($db, $rows, 'to what it was');
};

subtest 'an erasure while the copier was away' => sub {
    my ($dir, $first) = new_dir('secret mine 1', 'workflows 3');
    my $db = create_database();
    copies($dir, $db, 'a copy');
    write_keyed($dir, 'secret new 2', "erase $first 1", 'workflows 500');
    make_keys("$dir/keys", 'destroy 1');
    like(readable($db), qr/XYZZY-mine/, '(which shows it still)');
    cmp_ok(clean($dir, $db, 'what is not copied yet is no difference')->{unopened}, '>', 0, 'but told');
    copies($dir, $db, 'then it comes back');
    lacks($db, 'XYZZY-mine', 'and it is gone');
    clean($dir, $db, 'it verifies');
    as_anew($dir, $db, 'behind that');
    my ($behind, $erased) = (create_database(), scratch() . '/nothing');
    copies($dir, $behind, 'without any keys too', '--keys', $erased);
    is($server->sql(q{SELECT string_agg(DISTINCT error, ' ') FROM daa.events WHERE stream = } . $first, $behind), 'erased', 'an erased one is told from one whose key is missing');
};

subtest 'a batch that holds both' => sub {
    my ($dir) = new_dir('workflows 1');
    my @streams = write_keyed($dir, map { "secret one$_ $_" } 1 .. 6);
    write_keyed($dir, map { ("erase $streams[$_ - 1] $_", "secret more$_ " . ($_ + 10)) } 1 .. 3);
    my ($more) = write_keyed($dir, 'secret last 30');
    write_keyed($dir, "erase $more 30", "erase $streams[4] 5");
    my $db = create_database();
    copies($dir, $db, 'all of it at once, with the keys');
    lacks($db, 'XYZZY-one[1235]|XYZZY-last', 'what was erased is not there');
    like(readable($db), qr/XYZZY-one4.*XYZZY-more3/s, 'the rest is');
    clean($dir, $db, 'it verifies');
    for my $rows (1, 2, 7) {
        my $other = create_database();
        copies($dir, $other, "$rows at a time", '--batch-rows', $rows);
        same($other, everything($db), 'gives the same rows');
    }
    make_keys("$dir/keys", map { "destroy $_" } 1, 2, 3, 5, 30);
    as_anew($dir, $db, 'without the keys');
};

subtest 'kill -9 of the copier' => sub {
    my ($dir) = new_dir('workflows 2');
    my @streams = write_keyed($dir, map { "secret s$_ $_" } 1 .. 4);
    write_keyed($dir, "erase $streams[0] 1", "erase $streams[1] 2", 'workflows 2', "erase $streams[2] 3", 'secret t 9');
    my $good = create_database();
    copies($dir, $good, 'a copy');
    my $arguments = sub { my ($url) = @_; return ('--data-dir', $dir, '--url', $url, '--batch-rows', 8) };
    my $db = create_database();
    my $all = killed_at(0, $db, $arguments);
    same($db, everything($good), 'of a run that is not killed');
    my $kills = 0;
    for my $nth (places(12, $all)) {
        my $each = create_database();
        $kills += killed_at($nth, $each, $arguments) == $nth;
        copies($dir, $each, "killed in front of message $nth of $all");
        same($each, everything($good), 'the rows are the same');
    }
    cmp_ok($kills, '>=', 7, "$kills kills");
    my $follower = create_database();
    copies($dir, $follower, 'a copy that is followed');
    for my $round (1 .. 3) {
        my $pid = start_pgsync($dir, $follower, '--follow', '--batch-rows', 5);
        my ($stream) = write_keyed($dir, "secret f$round " . (20 + $round));
        write_keyed($dir, "erase $stream " . (20 + $round), 'workflows 3');
        make_keys("$dir/keys", 'destroy ' . (20 + $round)) if $round % 2;
        wait_until { position($follower) > $stream };
        end_of($pid, 'KILL');
    }
    copies($dir, $follower, 'killed while erasures come');
    lacks($follower, 'XYZZY-f', 'nothing of them is left');
    clean($dir, $follower, 'it verifies');
    as_anew($dir, $follower, 'of which');
};

subtest 'a record that was changed in Postgres' => sub {
    my ($dir, $first) = new_dir('secret mine 1');
    my $db = create_database();
    copies($dir, $db, 'a copy');
    $server->sql("UPDATE daa.events SET record = set_byte(record, 70, get_byte(record, 70) # 1) WHERE seq = $first", $db);
    write_keyed($dir, "erase $first 1");
    copies($dir, $db, 'does not keep an erasure from being copied');
    lacks($db, 'XYZZY-mine', 'which reaches that row too');
    copies($dir, $db, '--repair mends it', '--repair');
    as_anew($dir, $db, 'with that');
};

subtest 'partitions that were detached' => sub {
    my ($dir, $first) = new_dir('secret mine 1', 'workflows 40', 'secret other 2');
    my $db = create_database();
    copies($dir, $db, 'a copy in small partitions', '--partition-rows', 50);
    $server->sql('ALTER TABLE daa.events DETACH PARTITION daa.events_000000', $db);
    like($server->sql('SELECT payload FROM daa.events_000000', $db), qr/XYZZY-mine/, '(which shows it)');
    write_keyed($dir, "later $first 1 XYZZY-mine-late", "erase $first 1");
    copies($dir, $db, 'the erasure');
    unlike($server->sql('SELECT payload, error FROM daa.events_000000', $db), qr/XYZZY-mine/, 'reaches what was detached');
    lacks($db, 'XYZZY-mine', 'and what was not');
    clean($dir, $db, 'it verifies');
    $server->sql('ALTER TABLE daa.events ATTACH PARTITION daa.events_000000 FOR VALUES FROM (0) TO (50)', $db);
    clean($dir, $db, 'also when it is attached again');
    as_anew($dir, $db, 'which', sub { copies($dir, $_[0], 'in such partitions', '--partition-rows', 50, '--keys', '/nonexistent'); $server->sql('TRUNCATE daa.replica, daa.events, daa.workflows, daa.steps, daa.agents, daa.erased', $_[0]) });
};

subtest 'what the server refused' => sub {
    my ($dir, $first) = new_dir('secret mine 1', 'workflows 2');
    my $rule = q{ALTER TABLE daa.events ADD CONSTRAINT mine CHECK (payload->'input'->>'secret' IS DISTINCT FROM 'XYZZY-mine-0');
        ALTER TABLE daa.events ADD CONSTRAINT none CHECK (%s); ALTER TABLE daa.workflows ADD CHECK (output::text NOT LIKE '%%out%%')};
    for my $none ('true', 'payload IS NOT NULL') {
        my $setup = sub {
            my ($db) = @_;
            my ($other) = new_dir('workflows 1');
            copies($other, $db, 'the schema');
            $server->sql('TRUNCATE daa.replica, daa.events, daa.workflows, daa.steps, daa.agents; ' . sprintf($rule, $none), $db);
        };
        my ($dir, $first) = new_dir('secret mine 1', 'workflows 2');
        my $db = create_database();
        $setup->($db);
        copies($dir, $db, "a copy, where $none");
        like($server->sql('SELECT message FROM daa.rejected', $db), qr/XYZZY-mine/, "(what the server said quotes it)");
        write_keyed($dir, "erase $first 1");
        copies($dir, $db, 'the erasure');
        lacks($db, 'XYZZY-mine', 'takes that too');
        is($server->sql("SELECT count(*) FROM daa.events WHERE stream = $first AND payload IS NULL", $db), 0, 'what is left is refused no more');
        is($server->sql('SELECT count(*) FROM daa.rejected', $db), 0, 'and not rejected');
        clean($dir, $db, 'it verifies');
        as_anew($dir, $db, 'with the rule', $setup);
        make_keys("$dir/keys", 'destroy 1');
        as_anew($dir, $db, 'behind the key', $setup);
    }
    my $stubborn = sub {
        my ($db) = @_;
        my ($other) = new_dir('workflows 1');
        copies($other, $db, 'the schema');
        $server->sql(q{TRUNCATE daa.replica, daa.events, daa.workflows, daa.steps, daa.agents;
            ALTER TABLE daa.events ADD CONSTRAINT mine CHECK (kind <> 32 OR payload->>'name' <> 'mine')}, $db);
    };
    my $db = create_database();
    $stubborn->($db);
    copies($dir, $db, 'where the rest is refused too');
    write_keyed($dir, "erase $first 1");
    copies($dir, $db, 'the erasure goes on');
    lacks($db, 'XYZZY-mine', 'nothing private is left');
    clean($dir, $db, 'it verifies');
    as_anew($dir, $db, 'there', $stubborn);
};

subtest 'forks' => sub {
    my ($dir, $first) = new_dir('secret mine 1', 'secret other 2', 'workflows 3');
    my $saved = backup($dir, scratch() . '/backup');
    write_keyed($dir, "later $first 1 XYZZY-mine-parent", 'secret own 3');
    my $child = restore_backup($saved);
    my $keys = $child =~ s{/log$}{/keys}r;
    run_program('cp', '-r', "$dir/keys", $keys);
    (my $child_dir = $child) =~ s{/log$}{};
    my $db = create_database();
    copies($dir, $db, 'the parent');
    write_keyed($child_dir, 'workflows 2', "later $first 1 XYZZY-mine-child", "erase $first 1");
    copies($child_dir, $db, 'the child, which erases a workflow of both');
    lacks($db, 'XYZZY-mine', 'it is gone from the events of both');
    like(readable($db), qr/XYZZY-own/, 'others stay');
    clean($dir, $db, 'the parent verifies');
    clean($child_dir, $db, 'the child too');
    write_keyed($dir, "later $first 1 XYZZY-mine-more", 'workflows 2');
    copies($dir, $db, 'the parent goes on with it');
    lacks($db, 'XYZZY-mine', 'which shows nothing');
    clean($_, $db, 'it verifies') for $dir, $child_dir;
    my $number = sub { my ($from) = @_; return $from =~ s/^SELECT number.*//r };
    for my $order ([$child_dir, $dir], [$dir, $child_dir]) {
        my $other = create_database();
        copies($_, $other, 'in another order') for @$order;
        clean($_, $other, 'it verifies') for @$order;
        lacks($other, 'XYZZY-mine', 'and shows nothing');
        is($server->sql(q{SELECT log, seq, payload, error FROM daa.events ORDER BY 1, 2}, $other), $server->sql(q{SELECT log, seq, payload, error FROM daa.events ORDER BY 1, 2}, $db), 'the events are the same');
    }
    copies($dir, $db, 'the parent rebuilt', '--rebuild');
    copies($child_dir, $db, 'the child rebuilt', '--rebuild', '--from', 30);
    lacks($db, 'XYZZY-mine', 'neither shows it');
    clean($_, $db, 'it verifies') for $dir, $child_dir;
};

#--- Back to a log ---------------------------------------------------------------------------------

subtest 'a log made of the copy' => sub {
    my ($dir, $first) = new_dir('secret mine 1', 'secret other 2');
    my $db = create_database();
    copies($dir, $db, 'a copy');
    write_keyed($dir, "erase $first 1");
    copies($dir, $db, 'an erasure');
    make_keys("$dir/keys", 'destroy 1');
    my $made = scratch() . '/made';
    my ($status, $out, $err) = run_program(program('daa-pgsync'), 'restore', '--url', $server->url($db), $made);
    is($status, 0, 'restore') or diag $err;
    is_deeply(list_of("$made/log"), list_of("$dir/log"), 'has each record, as it was');
    unlike(join('', map { slurp($_) } glob "$made/log/*"), qr/XYZZY/, 'nothing in it can be read');
    run_program('cp', '-r', "$dir/keys", "$made/keys");
    write_keyed($made, 'workflows 1');
    my $other = create_database();
    copies($made, $other, 'with the keys beside it');
    like(readable($other), qr/XYZZY-other/, 'it can be copied and read');
    lacks($other, 'XYZZY-mine', 'but for what was erased');
    copies($made, $db, 'also into the database that it came from');
    clean($made, $db, 'it verifies');

    my ($segment) = sort glob "$dir/log/*.log";
    my $bytes = slurp($segment);
    my $at = index $bytes, 'mine';
    substr($bytes, $at, 4) = 'MINE';
    open my $to, '>', $segment or die $!; print $to $bytes; close $to;
    isnt((run_program(program('daa-log'), 'verify', "$dir/log"))[0], 0, 'a record that is damaged in the log');
    my ($done, $said, $why) = run_program(program('daa-log'), 'repair', '--from-postgres', $server->url($db), "$dir/log");
    is($done, 0, 'is mended from Postgres') or diag $said, $why;
    is((run_program(program('daa-log'), 'verify', "$dir/log"))[0], 0, 'with its bytes and its chain');
    clean($dir, $db, 'and it is what the copy has');
};
done_testing;
