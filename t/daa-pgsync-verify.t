#!/usr/bin/perl
# daa-pgsync --verify and --repair: every kind of damage that SQL can do to a copy is found, named and mended;
# what cannot be compared is said; beside a copier, behind forks, and where retention took the beginning.
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

# Each difference as "what table first-last (columns)".
sub found {
    my ($result) = @_;
    return [map { "$_->{what} $_->{table} $_->{first}-$_->{last}" . ($_->{columns} ? " ($_->{columns})" : '') } @{ $result->{differences} }];
}
sub differs {
    my ($log, $db, $want, $name, @options) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($status, $result, $err) = json_of($log, $db, '--verify', @options);
    is($status, @$want ? 1 : 0, "$name: the status says so") or diag($err);
    is_deeply(found($result), $want, $name);
    return $result;
}

my $log = scratch() . '/log';
write_log($log, 'workflows 4000', 'parked', 'awkward', 'fill 3 5000');
my $end = @{ list_of($log) };

# A database with a good copy, and the damage done to it.
sub damaged {
    my (@sql) = @_;
    my $db = create_database();
    (pgsync($log, $db))[0] == 0 or die 'no copy';
    server()->sql($_, $db) for @sql;
    return $db;
}

subtest 'a good copy' => sub {
    my $db = damaged();
    my $out = copies($log, $db, 'is clean', '--verify');
    like($out, qr/^log \S+: position $end, events 1 to $end compared, chain same$/m, 'what was compared is said');
    like($out, qr/^clean: $end events are the same$/m, 'with a verdict');
    $out = copies($log, $db, 'is clean in every column', '--verify', '--content');
    like($out, qr/^clean: $end events and \d+ derived rows are the same, in every column$/m, 'with a verdict');
    my ($status, $result) = json_of($log, $db, '--verify', '--content');
    ok($result->{clean}, '--json says so');
    is($result->{rows}, server()->sql('SELECT (SELECT count(*) FROM daa.workflows) + (SELECT count(*) FROM daa.steps) + (SELECT count(*) FROM daa.agents)', $db), 'each derived row was compared');
    my ($none, undef, $err) = pgsync($log, create_database(), '--verify');
    is($none, 1, 'where there is no copy it fails');
    like($err, qr/no copy of any log.*--once/, 'and says what to do');
};

subtest 'what is missing behind what differs' => sub {
    my $db = damaged('DELETE FROM daa.events WHERE seq = 300', q{UPDATE daa.events SET payload = '{}' WHERE seq IN (200, 400)});
    differs($log, $db, ['content events 200-200 (payload)', 'missing events 300-300', 'content events 400-400 (payload)'],
        'is told in order', '--content');
    copies($log, $db, 'and mended', '--repair');
};

subtest 'records' => sub {
    my $db = damaged(
        'DELETE FROM daa.events WHERE seq = 1 OR seq BETWEEN 8190 AND 8195 OR seq = 12000',
        q{UPDATE daa.events SET record = set_byte(record, 70, get_byte(record, 70) # 1) WHERE seq IN (8189, 100, 101)},
        "DELETE FROM daa.events WHERE seq = $end");
    differs($log, $db, ['missing events 1-1', 'record events 100-101', 'record events 8189-8189', 'missing events 8190-8195',
        'missing events 12000-12000', "missing events $end-$end"], 'all that differs is listed, across ranges');
    my ($status, $out) = pgsync($log, $db, '--verify');
    like($out, qr/events 8190 to 8195 of log \S+: missing in Postgres$/m, 'also for people');
    like($out, qr/^DIFFERENT: 12 events \(9 missing, 0 extra, 3 other records, 0 other content\), 0 derived rows$/m, 'with a verdict');
    $out = copies($log, $db, '--repair mends it', '--repair');
    like($out, qr/^repaired: 12 events copied again/m, 'and says what it did');
    differs($log, $db, [], 'then it is clean', '--content');
    is_deeply(rows_of($db), list_of($log), 'byte for byte');
    my $all = damaged('TRUNCATE daa.events');
    differs($log, $all, ["missing events 1-$end"], 'nothing at all is one range');
    copies($log, $all, 'all of it is copied again', '--repair');
    is_deeply(rows_of($all), list_of($log), 'byte for byte');
};

subtest 'extra rows' => sub {
    my $insert = sub { my ($seq) = @_; "INSERT INTO daa.events SELECT log, $seq, stream, time, time_ns, kind, kind_name, cause, stream_prev_seq, actor_type, actor_id, request_id, traceparent, payload, lossy, error, record FROM daa.events WHERE seq = 5" };
    my $beyond = $end + 10;
    my $db = damaged($insert->(0), $insert->($beyond));
    my ($status, $result) = json_of($log, $db, '--verify');
    is($status, 1, 'are found');
    is_deeply(found($result), ['extra events 0-0', "extra events $beyond-$beyond"], 'before the beginning and behind the end');
    is_deeply([map { $_->{proven} ? 1 : 0 } @{ $result->{differences} }], [1, 0], 'the log proves one of them wrong');
    ($status, my $out) = pgsync($log, $db, '--repair');
    is($status, 1, '--repair leaves what nothing proves');
    like($out, qr/^repaired: .*1 extra event removed/m, 'and removes the other');
    like($out, qr/1 extra event stays.*the log does not prove/, 'and says so');
    is(server()->sql('SELECT string_agg(seq::text, $$,$$) FROM daa.events WHERE seq < 1 OR seq > ' . $end, $db), $beyond, 'which is there');
};

subtest 'columns' => sub {
    my $db = damaged(
        q{UPDATE daa.events SET payload = payload || '{"x": 1}' WHERE seq BETWEEN 7 AND 9},
        q{UPDATE daa.events SET time = time + interval '1 second', kind_name = 'x' WHERE seq = 9000},
        q{UPDATE daa.events SET stream = 3 WHERE seq = 50});
    differs($log, $db, [], 'are not looked at without --content');
    differs($log, $db, ['content events 7-9 (payload)', 'content events 50-50 (stream)', 'content events 9000-9000 (time, kind_name)'],
        'what differs is named', '--content');
    copies($log, $db, '--repair mends it', '--repair');
    differs($log, $db, [], 'then it is clean', '--content');
};

subtest 'derived rows' => sub {
    my $db = damaged();
    my $good = workflows($db);
    my @streams = map { $_->[0] } server()->rows('SELECT stream FROM daa.workflows ORDER BY stream', $db);
    server()->sql("UPDATE daa.workflows SET status = 'failed', output = NULL WHERE stream = $streams[3]", $db);
    server()->sql("DELETE FROM daa.workflows WHERE stream = $streams[5]", $db);
    server()->sql("INSERT INTO daa.workflows (log, stream, id, reason_given, lossy, last_seq) SELECT log, stream + 1, 'nobody', false, false, 9 FROM daa.workflows WHERE stream = $streams[7]", $db);
    server()->sql('UPDATE daa.agents SET last_heartbeat = now()', $db);
    server()->sql("INSERT INTO daa.workflows (log, stream, id, reason_given, lossy, last_seq) SELECT log, 99999999, 'later', false, false, 9 FROM daa.workflows WHERE stream = $streams[7]", $db);
    my $extra = $streams[7] + 1;
    differs($log, $db, ["content workflows $streams[3]-$streams[3] (status, output)", "missing workflows $streams[5]-$streams[5]",
        "extra workflows $extra-$extra", 'extra workflows 99999999-99999999', "content agents $end-$end (last_heartbeat)"], 'each is found', '--content');
    my $out = copies($log, $db, '--repair makes them anew', '--repair');
    like($out, qr/^repaired: .*5 derived rows made anew/m, 'and says how many');
    is(workflows($db), $good, 'and they are what they were');
};

subtest 'what --repair would do' => sub {
    my $db = damaged('DELETE FROM daa.events WHERE seq = 40');
    my ($status, $out) = pgsync($log, $db, '--repair', '--dry-run');
    is($status, 1, '--dry-run finds it');
    like($out, qr/^would copy 1 event again/m, 'and says what would be done');
    differs($log, $db, ['missing events 40-40'], 'and does nothing');
    is((pgsync($log, $db, '--dry-run'))[0], 2, 'alone it means nothing');
    is((pgsync($log, $db, '--verify', '--repair'))[0], 2, 'nor do both');
};

subtest 'the chain at the position' => sub {
    my $db = damaged(q{UPDATE daa.replica SET last_chain = sha256(last_chain)});
    my ($status, $result) = json_of($log, $db, '--verify');
    is($status, 1, 'another one is found');
    is($result->{logs}[0]{chain}, 'other', 'and said');
    my $out = copies($log, $db, 'where all records are the same --repair puts it right', '--repair');
    like($out, qr/^repaired: .*the chain at the position/m, 'and says so');
    copies($log, $db, 'and copying goes on');

    my ($one, $two) = map { scratch() . "/history-$_" } 1, 2;
    write_log($one, [77], 'workflows 2');
    write_log($two, [77], 'parked', 'workflows 2');
    my $other = create_database();
    copies($one, $other, 'of one history there is a copy');
    my $before = rows_of($other);
    ($status, $out, my $err) = pgsync($two, $other, '--repair');
    is($status, 1, 'another history of the same name is not put over it');
    like($out . $err, qr/another history/, 'with the reason');
    is_deeply(rows_of($other), $before, 'nothing was changed');
};

subtest 'behind a fork' => sub {
    my $source = scratch() . '/source';
    my ($a) = write_log($source, 'open a', 'open b', 'workflows 50');
    my $saved = backup($source, scratch() . '/backup');
    my $fork = @{ list_of($source) };
    write_log($source, "complete $a source", 'workflows 5');
    my $restored = restore_backup($saved);
    write_log($restored, "pause $a restored", 'workflows 7');
    my ($old, $new) = map { name_of($_) } $source, $restored;
    my $db = create_database();
    copies($source, $db, 'the source is copied');
    copies($restored, $db, 'and what was restored of its backup');
    my $good = workflows($db);
    my ($status, $result, $err) = json_of($restored, $db, '--verify', '--content');
    is($status, 0, 'the restored log is clean') or diag($err, explain $result->{differences});
    is_deeply([map { "$_->{log} $_->{from_seq} $_->{to_seq} $_->{left}" } @{ $result->{logs} }],
        ["$old 1 $fork " . (@{ list_of($source) } - $fork), "$new " . ($fork + 1) . ' ' . @{ list_of($restored) } . ' 0'],
        'each log of it is compared as far as it is this one');
    is((json_of($source, $db, '--verify', '--content'))[0], 0, 'the source is clean too');
    server()->sql("UPDATE daa.workflows SET status = 'failed' WHERE stream = $a", $db);
    my $wrong = $fork + 3;
    server()->sql("INSERT INTO daa.events SELECT '$new', 4, stream, time, time_ns, kind, kind_name, cause, stream_prev_seq, actor_type, actor_id, request_id, traceparent, payload, lossy, error, record FROM daa.events WHERE seq = 4", $db);
    server()->sql("DELETE FROM daa.events WHERE log = '$new' AND seq = $wrong", $db);
    server()->sql("DELETE FROM daa.events WHERE log = '$old' AND seq IN (3, $wrong)", $db);
    ($status, $result) = json_of($restored, $db, '--verify', '--content');
    is_deeply([map { substr($_->{log}, 0, 8) . " $_->{what} $_->{table} $_->{first}" } @{ $result->{differences} }],
        [map { my ($l, @r) = @$_; join ' ', substr($l, 0, 8), @r } [$old, 'missing events', 3], [$new, 'missing events', $wrong], [$new, 'extra events', 4]],
        'damage is found under the name that it has');
    ok(!$result->{rows_compared}, 'what is made of damaged events is not compared');
    copies($restored, $db, '--repair from the restored log', '--repair');
    is((json_of($source, $db, '--verify'))[1]{missing}, 1, 'leaves what only the source has');
    copies($source, $db, 'to the source', '--repair');
    is_deeply(rows_of($db, $old), list_of($source), 'then all of the one is there');
    is((json_of($restored, $db, '--verify', '--content'))[0], 0, 'and of the other');
    is(workflows($db), $good, 'and the workflows are the same');
};

subtest 'retention' => sub {
    my $short = scratch() . '/short';
    write_log($short, 'workflows 8000');
    my $db = create_database();
    copies($short, $db, 'all is copied');
    server()->sql('DELETE FROM daa.events WHERE seq = 2', $db);
    write_log($short, 'remove 2', 'workflows 3');
    my ($first) = list_of($short)->[0] =~ /^(\d+)/;
    my ($status, $result) = json_of($short, $db, '--verify', '--content');
    is($status, 0, 'what the log does not have any more is no difference') or diag(explain $result);
    is($result->{logs}[0]{from_seq}, $first, 'the rest is compared');
    is($result->{logs}[0]{gone}, $first - 1, 'and how much was not is said');
    ok($result->{logs}[0]{lag} > 0, 'what is not copied yet is lag');
    is($result->{rows_from}, 3, 'rows whose events nobody has any more are not compared');
    my $row = sub { server()->sql('SELECT * FROM daa.workflows WHERE stream = 2', $db) };
    my $kept = $row->();
    server()->sql("DELETE FROM daa.events WHERE seq = $first", $db);
    copies($short, $db, 'what the log has is mended', '--repair');
    is((json_of($short, $db, '--verify'))[0], 0, 'then it is clean');
    is($row->(), $kept, 'and those rows are left alone');
};

subtest 'what the server refused' => sub {
    my $db = create_database();
    my $empty = scratch() . '/empty';
    write_log($empty);
    copies($empty, $db, 'the schema is there');
    server()->sql(q{ALTER TABLE daa.events ADD CHECK (coalesce(NOT payload->'input' ? 'poison', true));
        ALTER TABLE daa.workflows ADD CHECK (coalesce(NOT metadata ? 'poison', true))}, $db);
    copies($log, $db, 'a value is refused on the way');
    my $out = copies($log, $db, 'which is no difference', '--verify', '--content');
    like($out, qr/^1 events have no payload, since the server refused it/m, 'but said');
    my ($poison) = server()->sql('SELECT seq FROM daa.events WHERE error IS NOT NULL', $db);
    server()->sql("DELETE FROM daa.events WHERE seq BETWEEN $poison - 1 AND $poison; DELETE FROM daa.rejected", $db);
    copies($log, $db, '--repair copies it again', '--repair');
    is(server()->sql("SELECT string_agg((error IS NOT NULL)::text, ' ' ORDER BY seq) FROM daa.events WHERE seq BETWEEN $poison - 1 AND $poison", $db), 'false true', 'as it had been');
    is(server()->sql(q{SELECT seq || ' ' || sqlstate || ' ' || in_events FROM daa.rejected}, $db), "$poison 23514 true", 'also in daa.rejected');
    server()->sql(q{ALTER TABLE daa.events ADD CHECK (error IS NULL) NOT VALID}, $db);
    server()->sql("DELETE FROM daa.events WHERE seq BETWEEN $poison - 1 AND $poison; DELETE FROM daa.rejected", $db);
    copies($log, $db, 'nor does it matter that it is refused without its payload too', '--repair');
    is(server()->sql("SELECT (SELECT count(*) FROM daa.events WHERE seq = $poison) || ' ' || (SELECT count(*) FROM daa.rejected)", $db), '0 1', 'then it is in daa.rejected alone');
    is((json_of($log, $db, '--verify', '--content'))[0], 0, 'then it is clean');
};

subtest 'partitions that were detached' => sub {
    my $db = create_database();
    copies($log, $db, 'a copy in many partitions', '--partition-rows', 3000);
    server()->sql('ALTER TABLE daa.events DETACH PARTITION daa.events_000000; ALTER TABLE daa.events DETACH PARTITION daa.events_000001', $db);
    my ($status, $result, $err) = json_of($log, $db, '--verify', '--content');
    is($status, 0, 'are no difference') or diag($err, explain $result->{differences});
    is_deeply([@{ $result->{logs}[0] }{qw(detached from_seq)}, $result->{rows_from}], [5999, 6000, 6000], 'and said');
    my $rows = workflows($db);
    server()->sql('DELETE FROM daa.events WHERE seq = 7000', $db);
    copies($log, $db, 'the others are mended', '--repair');
    is(workflows($db), $rows, 'and rows of before are left alone');
};

subtest 'beside a copier' => sub {
    my $live = scratch() . '/live';
    write_log($live, 'workflows 500');
    my $db = create_database();
    copies($live, $db, 'a copy is there');
    my $pid = start_pgsync($live, $db, '--follow');
    ok((wait_until { said($pid) =~ /connected/ }), 'and followed');
    for my $round (1 .. 4) {
        write_log($live, 'workflows 400');
        my ($status, $result, $err) = json_of($live, $db, '--verify', '--content');
        is($status, 0, "verify finds nothing while rows come in ($round)") or diag($err, explain $result->{differences});
        server()->sql('DELETE FROM daa.events WHERE seq IN (10, 700)', $db);
        copies($live, $db, 'and repair mends', '--repair');
    }
    my $last = @{ list_of($live) };
    ok((wait_until { position($db) >= $last }), 'the copier is not disturbed') or diag(said($pid));
    is(end_of($pid, 'TERM'), 0, 'and goes on to its end') or diag(said($pid));
    is((json_of($live, $db, '--verify', '--content'))[0], 0, 'all is clean');
};

subtest 'kill -9 of --repair' => sub {
    my @damage = ('DELETE FROM daa.events WHERE seq % 3 = 0', 'DELETE FROM daa.workflows WHERE stream % 2 = 0');
    my $db = damaged(@damage);
    my $arguments = sub { my ($url) = @_; return ('--data-dir', $log, '--url', $url, '--repair') };
    my $all = killed_at(0, $db, $arguments);
    for my $nth (places(12, $all)) {
        server()->sql($_, $db) for @damage;
        is(killed_at($nth, $db, $arguments), $nth, "killed in front of message $nth of $all");
    }
    copies($log, $db, 'the last run mends all', '--repair');
    is_deeply(rows_of($db), list_of($log), 'byte for byte');
};

done_testing();
