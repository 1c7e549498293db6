#!/usr/bin/perl
# daa-pgsync and logs that forked: a backup that was restored while the source went on, both copied into one
# database; in any order, from any position, over kills; forks of forks; another history under the same name.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Daa qw(wait_until scratch program slurp spew run_program);
use JSON::PP ();
use PgServer;
use Test::More;

plan skip_all => PgServer->missing if PgServer->missing;
require PgSync;
PgSync->import(qw(server create_database write_log daa_log backup restore_backup name_of pgsync start_pgsync said end_of killed_at places));

my $seed = $ENV{SEED} // time ^ $$;
srand $seed;
note "SEED=$seed";
delete @ENV{grep { /^PG|^DAA_/ } keys %ENV};

my $server = server();

# The directory of a log made of a backup; whoever writes to it goes on under a name of its own.
sub restore { return restore_backup(@_) }
# That it succeeds; what it says beside its output.
sub copies {
    my ($log, $db, $name, @options) = @_;
    my ($status, $out, $err) = pgsync($log, $db, @options);
    is($status, 0, $name) or diag($err);
    return $err;
}

# "SEQ SHA-256" of each record, as it stands in the segments.
sub list_of { return @{ PgSync::list_of(@_) } }
sub rows_of { return @{ PgSync::rows_of(@_) } }
# That the database holds these records under this name, each once, and no other.
sub holds { my ($db, $name, $want, $what) = @_; return is_deeply([rows_of($db, $name)], $want, $what) }

# Of the workflows by name: status, reason, output, whether another log than its own changed it last.
sub flows {
    my ($db) = @_;
    return { map { my ($name, @rest) = @$_; ($name => join '|', @rest) } $server->rows(q{SELECT name, status,
        coalesce(reason, '-'), coalesce(output::text, '-'), last_log IS NOT NULL FROM daa.workflows WHERE name <> 'pay'}, $db) };
}
sub workflows {
    my ($db) = @_;
    return join ' ', map { split /\n/, $server->sql($_, $db) }
        q{SELECT log, stream, id, name, status, reason, input, output, metadata, submitted_at, started_at, ended_at, last_seq, last_log FROM daa.workflows ORDER BY log, stream},
        q{SELECT to_jsonb(s) FROM daa.steps s ORDER BY log, stream, step_index};
}

#--- A source, and what was restored from its backup while it went on ------------------------------

my $source = scratch() . '/source';
my ($a, $b, $c) = write_log($source, 'open a', 'open b', 'open c');
write_log($source, 'workflows 20', "pause $b early");
my $saved = backup($source, scratch() . '/backup');
my $fork = () = list_of($source);    # the newest event that both have
my ($before) = create_database();
copies($source, $before, 'the source is copied');
my $db = create_database();
write_log($source, "complete $a source", "complete $b source", 'workflows 10', 'open d');
copies($source, $db, 'another copy is further');
my $restored = restore($saved);
my $source_name = name_of($source);
my @source_rows = list_of($source);

subtest 'a restored backup that nobody has started' => sub {
    my $follower = start_pgsync($source, $db, '--follow');
    ok((wait_until { said($follower) =~ /connected/ }), 'while the source is followed');
    my ($status, undef, $err) = pgsync($restored, $db);
    is($status, 1, 'is not copied');
    like($err, qr/up to seq ${\ scalar @source_rows}, but here it ends at $fork: .*start the agent first: it goes on as a log of its own/, 'and the way out is named');
    write_log($source, 'workflows 1');
    @source_rows = list_of($source);
    ok((wait_until { $server->sql('SELECT last_seq FROM daa.replica', $db) == @source_rows || said($follower) =~ m{taken over} }), 'what is refused ends nobody');
    is(end_of($follower, 'TERM'), 0, 'and the source is still followed') or diag(said($follower));
};

write_log($restored, 'open e', "complete $a restored", "pause $c late", 'workflows 7');
my $name = name_of($restored);
my @restored_rows = list_of($restored);
my @own_rows = @restored_rows[$fork .. $#restored_rows];
my @common_rows = @restored_rows[0 .. $fork - 1];

subtest 'a position beyond the fork' => sub {
    my ($status, $out) = pgsync($restored, $db, '--status', '--json');
    my $said = JSON::PP::decode_json($out);
    is_deeply([@$said{qw(copied_seq copied_log behind)}], [$fork, $source_name, scalar @own_rows], '--status knows what is there of the parent');
    my $err = copies($restored, $db, 'the restored log is copied beside its source');
    my $left = @source_rows - $fork;
    like($err, qr/log $name was forked from log $source_name behind event $fork; $left events of log $source_name behind that \(${\($fork + 1)} to ${\ scalar @source_rows}\) are in Postgres and not in this log/, 'what only Postgres has is told');
    holds($db, $source_name, \@source_rows, 'all events of the source stay');
    holds($db, $name, \@own_rows, 'the restored log has those behind the fork, each once');
    is($server->sql(qq{SELECT last_seq || ' ' || coalesce(parent::text, '-') || ' ' || coalesce(parent_seq, 0) FROM daa.replica ORDER BY number}, $db),
        @source_rows . " - 0\n" . @restored_rows . " $source_name $fork", 'each log has a position');
    is_deeply(flows($db), { a => 'completed|-|"restored"|t', b => 'paused|early|-|f', c => 'paused|late|-|t', d => 'running|-|-|f', e => 'running|-|-|f' },
        'a workflow from before the fork has one row, which is as the restored log has it');
    is($server->sql('SELECT count(*) FROM daa.workflows', $db), 5 + 20 + 10 + 1 + 7, 'and there is no other');
    is($server->sql(qq{SELECT string_agg(log || ' ' || (id = 'wf-' || left(replace(log::text, '-', ''), 16) || '-' || stream), ', ' ORDER BY name) FROM daa.workflows WHERE name IN ('a', 'e')}, $db),
        "$source_name true, $name true", 'under the log that it was submitted to, with the id that it got there');
    ($status, $out) = pgsync($restored, $db, '--status', '--json');
    is_deeply([@{ JSON::PP::decode_json($out) }{qw(copied_seq copied_log behind)}], [scalar @restored_rows, $name, 0], '--status knows the new log');
    my ($again, $said_again, $told) = pgsync($restored, $db, '--json');
    $said = JSON::PP::decode_json($said_again);
    is_deeply([$again, @$said{qw(rows forks)}], [0, 0, 0], 'another run has nothing to do') or diag($told);
};

subtest 'the source goes on' => sub {
    write_log($source, "complete $c source", 'open f');
    copies($source, $db, 'and is copied on');
    my @rows = list_of($source);
    holds($db, $source_name, \@rows, 'with each event');
    is(flows($db)->{c}, 'paused|late|-|t', 'but the workflows that the restored log has too are left to that one');
    is(flows($db)->{f}, 'running|-|-|f', 'and its own are its own');
    @source_rows = @rows;
};

my $whole = workflows($db);
subtest 'the query of the man page' => sub {
    my ($query) = slurp("$FindBin::Bin/../docs/daa-pgsync.1") =~ /^(SELECT e\.log, .*?;)$/ms;
    my ($id) = $server->sql(q{SELECT id FROM daa.workflows WHERE name = 'a'}, $db);
    ok($query =~ s/wf-fbb56b8f31a24a10-17/$id/, 'there is one');
    is_deeply([map { "$_->[0] $_->[3]" } $server->rows($query, $db)],
        [(map { "$source_name workflow.$_" } qw(submitted started completed)), "$name workflow.completed"], 'it shows the history of a workflow in both logs');
};

subtest 'in any order' => sub {
    my $other = create_database();
    my $err = copies($restored, $other, 'the restored log into an empty database');
    like($err, qr/forked from log $source_name behind event $fork$/m, 'nothing is left to Postgres alone');
    holds($other, $source_name, \@common_rows, 'what came before the fork is there under the old name');
    holds($other, $name, \@own_rows, 'what came behind it under the new one');
    copies($source, $other, 'then the source');
    holds($other, $source_name, \@source_rows, 'which goes on where it had been left');
    is(workflows($other), $whole, 'the workflows are the same as the other way round');
    copies($restored, $before, 'a database that has the source up to the fork goes on with the restored log');
    holds($before, $source_name, \@common_rows, 'before the fork nothing is copied twice');
    holds($before, $name, \@own_rows, 'nor lost behind it');
    my $part = create_database();
    my $pid = start_pgsync($source, $part, '--batch-rows', 1);
    wait_until { ($server->try_sql('SELECT last_seq FROM daa.replica', $part) || 0) >= 20 };
    end_of($pid, 'KILL');
    copies($restored, $part, 'so does one that has it further or less far');
    holds($part, $name, \@own_rows, 'with the same rows');
    copies($source, $part, 'and the source then');
    is(workflows($part), $whole, 'the workflows too');
};

subtest 'kill -9 of the copier at any moment' => sub {
    my ($other, $kills, $round) = (create_database(), 0, 0);
    for my $nth (places(15, 45)) {
        my $log = ++$round % 3 ? $restored : $source;
        $kills += killed_at($nth, $other, sub { my ($url) = @_; return ('--data-dir', $log, '--url', $url, '--batch-rows', 3) }) == $nth;
    }
    cmp_ok($kills, '>=', 10, "it was killed ($kills times)");
    copies($restored, $other, 'the last run of the restored log');
    copies($source, $other, 'and of the source');
    holds($other, $source_name, \@source_rows, 'each event of the source once');
    holds($other, $name, \@own_rows, 'each of the restored log');
    is(workflows($other), $whole, 'and the workflows are the same');
};

subtest 'forks of forks, and a second fork of the same backup' => sub {
    my $second = restore($saved);
    write_log($second, "complete $a second", "complete $b second");
    copies($second, $db, 'another log restored from that backup');
    is_deeply([@{ flows($db) }{qw(a b c e)}], ['completed|-|"second"|t', 'completed|early|"second"|t', 'running|-|-|f', 'running|-|-|f'],
        'workflows from before are shown as the log has them that came last');
    write_log($restored, "complete $c restored");
    copies($restored, $db, 'the first one goes on');
    is(flows($db)->{c}, 'running|-|-|f', 'which changes nothing in those');
    my $child = restore(backup($restored, scratch() . '/backup-2'));
    my ($e) = $server->sql(q{SELECT stream FROM daa.workflows WHERE name = 'e'}, $db);
    write_log($restored, "complete $e restored");
    copies($restored, $db, 'and on');
    write_log($child, "pause $e child");
    copies($child, $db, 'a fork of it, three names deep');
    is_deeply([@{ flows($db) }{qw(a b c e)}], ['completed|-|"restored"|t', 'paused|early|-|f', 'completed|late|"restored"|t', 'paused|child|-|t'],
        'shows all workflows as that one has them');
    my $fresh = create_database();
    copies($child, $fresh, 'all of it into an empty database');
    is($server->sql('SELECT count(DISTINCT log) || \' \' || count(*) || \' \' || max(seq) FROM daa.events', $fresh),
        join(' ', 3, (scalar(() = list_of($child))) x 2), 'each event once, under three names');
    is_deeply(flows($fresh), { map { $_ => flows($db)->{$_} } qw(a b c e) }, 'the workflows are the same');

    write_log($child, 'remove 3');
    my $late = create_database();
    copies($child, $late, 'when the beginning is gone, into an empty database');
    is($server->sql(qq{SELECT status FROM daa.workflows WHERE stream = $e AND log = '$name'}, $late), 'paused', 'a workflow still belongs to the log that it was submitted to');
    copies($child, $db, 'where all was copied already');
};

subtest 'another history' => sub {
    my ($one, $two) = map { scratch() . "/history-$_" } 1, 2;
    write_log($one, [77], 'workflows 2');
    write_log($two, [77], 'workflows 1', 'open x', 'workflows 1');
    my $other = create_database();
    copies($one, $other, 'one history');
    my $end = () = list_of($one);
    my $branch = restore(backup($two, scratch() . '/backup-3'));
    write_log($branch, 'workflows 1');
    my ($status, undef, $err) = pgsync($branch, $other);
    is($status, 1, 'a fork of another one under the same name is refused');
    like($err, qr/holds another history of log \S+ from seq $end or before: the chain there is [0-9a-f]{64}, and [0-9a-f]{64} in the log; .*use another/, 'with both chains, the place, and the way out');
    write_log($one, [78], 'workflows 9');
    copies($one, $other, 'beyond the fork');
    ($status, undef, $err) = pgsync($branch, $other);
    is($status, 1, 'it is refused too');
    like($err, qr/another history of log \S+: at event \d+, behind which log \S+ was forked from it, the SHA-256 of the record is [0-9a-f]{64} there and [0-9a-f]{64} in the log/, 'with what differs');
    is($server->sql('SELECT count(DISTINCT log) FROM daa.events', $other), 1, 'and nothing was copied');
};

subtest 'a value that the server refuses at the fork' => sub {
    my $log = scratch() . '/poison';
    my ($w, $v) = write_log($log, 'open w', 'open v');
    write_log($log, "pause $w poison", "pause $v kept");
    my $kept = backup($log, scratch() . '/backup-4');
    my $other = create_database();
    copies(scratch() . '/history-1', $other, 'the schema is there');
    $server->sql(q{ALTER TABLE daa.workflows ADD CHECK (reason IS DISTINCT FROM 'poison')}, $other);
    write_log($log, "complete $w source", "complete $v source");
    copies($log, $other, 'the source');
    my $branch = restore($kept);
    write_log($branch, 'workflows 1');
    copies($branch, $other, 'stops nothing');
    is($server->sql(q{SELECT status, reason, output IS NULL, lossy FROM daa.workflows WHERE name = 'v'}, $other), "paused\x1fkept\x1ft\x1ff", 'one beside it is whole');
    is($server->sql(q{SELECT status, reason IS NULL, output IS NULL, lossy FROM daa.workflows WHERE name = 'w'}, $other), "paused\x1ft\x1ft\x1ft", 'the row is there without it, and flagged');
};

subtest 'large records of rows that are made again' => sub {
    my $log = scratch() . '/large-records';
    local $ENV{SEGMENT_SIZE} = 16 << 20;
    my @open = write_log($log, map { "open w$_ 3000000" } 0 .. 19);
    my $kept = backup($log, scratch() . '/backup-large');
    my $other = create_database();
    write_log($log, map { "complete $_ source" } @open);
    copies($log, $other, 'the source');
    $server->sql("ALTER DATABASE $other SET log_statement = 'all'");
    my $branch = restore($kept);
    write_log($branch, 'workflows 1');
    copies($branch, $other, 'the fork');
    my @fetched = $server->log =~ /FETCH (\d+) FROM kept/g;
    cmp_ok(scalar @fetched, '>', 0, 'which reads them');
    is(scalar(grep { $_ * 3000000 > 12 << 20 } @fetched), 0, 'a few at a time') or diag "@fetched";
    is($server->sql(q{SELECT count(*) FROM daa.workflows WHERE status = 'running' AND length(input::text) = 3000002}, $other), 20, 'the rows are what they were there');
};

subtest 'a log that its parent is gone from' => sub {
    my $log = scratch() . '/parent';
    my @open = write_log($log, (map { "open w$_" } 0 .. 5), 'workflows 4');
    write_log($log, "pause $open[$_] one") for 1, 2;
    my $early = scratch() . '/parent-early';
    system('cp', '-r', $log, $early) == 0 or die;
    my $kept_early = backup($log, scratch() . '/backup-9');
    write_log($log, (map { "pause $open[$_] two" } 2, 3, 5), 'open late', 'workflows 4');
    my $old = name_of($log);
    my $kept = backup($log, scratch() . '/backup-10');
    my $parent_seq = () = list_of($log);
    write_log($log, (map { "complete $open[$_] source" } 0, 1, 5), 'open f', 'workflows 4');
    my ($first, $second) = map { restore($_) } $kept, $kept_early;
    my %segments = map { $_ => (sort map { /seg-0*(\d+)\.log$/ } glob "$_/*")[-1] } $first, $second;    # the last of the parent
    write_log($first, (map { "complete $open[$_] first" } 0, 2, 3), "pause $open[1] first", 'open e', 'workflows 2');
    write_log($second, "complete $open[3] second", "pause $open[4] second", 'workflows 2');
    my $third = restore(backup($first, scratch() . '/backup-11'));
    $segments{$third} = $segments{$first};
    write_log($third, "pause $open[4] third", 'open g');
    my ($whole, $both, $turned, $deep) = map { create_database() } 1 .. 4;
    copies($_, $whole, 'in order, with all segments') for $log, $first;
    copies($_, $both, 'two forks') for $log, $first, $second;
    copies($_, $turned, 'the other way round') for $log, $second, $first;
    copies($_, $deep, 'and a fork of a fork') for $log, $third;
    write_log($_, "remove $segments{$_}") for $first, $second, $third;
    my $same = sub {
        my ($other, $want, $name) = @_;
        is(workflows($other), workflows($want), "$name: the workflows are the same");
        holds($other, $old, [list_of($log)], "$name: each event of the parent is there once");
    };

    my $other = create_database();
    my $err = copies($first, $other, 'it goes into an empty database');
    like($err, qr/forked from log $old behind event $parent_seq; events 1 to $parent_seq of log $old are neither in this log any more nor in Postgres: copy that log too/, 'and what is missing is told');
    copies($log, $other, 'then its parent');
    $same->($other, $whole, 'behind it');
    copies($second, $other, 'and another fork');
    $same->($other, $both, 'with that');

    $other = create_database();
    copies($_, $other, 'event by event', '--batch-rows', 1) for $first, $log;
    $same->($other, $whole, 'event by event');

    $other = create_database();
    copies($early, $other, 'where the parent is there in part');
    $err = copies($first, $other, 'it goes there too');
    my $early_end = () = list_of($early);
    like($err, qr/; events ${\($early_end + 1)} to $parent_seq of log $old are neither/, 'and what is missing is told');
    copies($log, $other, 'then the rest of the parent');
    $same->($other, $whole, 'in the middle of it');

    $other = create_database();
    copies($early, $other, 'the beginning of the parent');
    my @pids = map { start_pgsync($_, $other, '--batch-rows', 2) } $log, $first;
    is(end_of($_), 0, 'the rest of the parent and the fork at the same time') || diag(said($_)) for @pids;
    $same->($other, $whole, 'at the same time');

    $other = create_database();
    copies($first, $other, 'the fork, then a rule that refuses one reason');
    $server->sql(q{ALTER TABLE daa.workflows ADD CHECK (reason IS DISTINCT FROM 'two')}, $other);
    copies($log, $other, 'the parent');
    holds($other, $old, [list_of($log)], 'a refused value keeps no event out');
    is($server->sql('SELECT count(*) FROM daa.events WHERE error IS NOT NULL', $other), 0, 'nor its payload');
    is($server->sql('SELECT count(*) FROM daa.rejected', $other), 3, 'and daa.rejected has those whose row of workflows was refused');
    is($server->sql(qq{SELECT status, lossy FROM daa.workflows WHERE log = '$old' AND stream = $open[2]}, $other), "completed\x1ft", 'and the row of such a one is flagged');

    $other = create_database();
    copies($_, $other, 'two of them before their parent') for $first, $second;
    is($server->sql(qq{SELECT string_agg(status, ' ' ORDER BY stream) FROM daa.workflows WHERE log = '$old'}, $other), 'completed paused', 'the rows show what the second one knows');
    copies($log, $other, 'then their parent');
    $same->($other, $both, 'two of them');

    $other = create_database();
    copies($_, $other, 'the other way round') for $second, $first, $log;
    $same->($other, $turned, 'the other way round');

    $other = create_database();
    copies($_, $other, 'a fork of a fork before its parents') for $third, $log;
    $same->($other, $deep, 'a fork of a fork');
};

subtest 'large inputs at the fork' => sub {
    my ($log, $other, $size) = (scratch() . '/large', create_database(), 240_000);
    my @open = write_log($log, map { "open w$_ $size" } 1 .. 80);
    my $kept = backup($log, scratch() . '/backup-8');
    write_log($log, map { "complete $_ source" } @open);
    copies($log, $other, 'the source');
    $server->sql(q{CREATE TABLE public.merges (one boolean);
        CREATE FUNCTION count_merge() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.merges VALUES (true); RETURN NULL; END$$;
        CREATE TRIGGER count_merge AFTER INSERT ON daa.workflows FOR EACH STATEMENT EXECUTE FUNCTION count_merge()}, $other);
    my $branch = restore($kept);
    write_log($branch);
    copies($branch, $other, 'a fork of it that changes no workflow');
    is($server->sql('SELECT count(*) FROM merges', $other), 2, 'no more than 16 MiB of them are kept in memory');
    is_deeply(flows($other), { map { ("w$_" => 'running|-|-|f') } 1 .. 80 }, 'the workflows are what they were at the fork');
    is($server->sql(q{SELECT sum(length(input #>> '{}')) FROM daa.workflows}, $other), 80 * $size, 'with their inputs');
};

subtest 'a copier that follows over a fork' => sub {
    my ($log, $other) = (scratch() . '/followed', create_database());
    my ($w) = write_log($log, 'open w');
    my $old = name_of($log);
    my $pid = start_pgsync($log, $other, '--follow');
    my $end = () = list_of($log);
    ok((wait_until { ($server->try_sql('SELECT last_seq FROM daa.replica', $other) || 0) == $end }), 'it has all');
    spew("$log/FORK", "from $old\nwhy the test asks for it\n");
    write_log($log, "complete $w forked");
    my @rows = list_of($log);
    my $new = name_of($log);
    isnt($new, $old, 'the log has another name now');
    ok((wait_until { ($server->try_sql("SELECT last_seq FROM daa.replica WHERE log = '$new'", $other) || 0) == @rows }), 'and it goes on under that');
    ok((wait_until { (JSON::PP->new->decode(slurp("$log/readers/pgsync") // '{}')->{flushed_seq} // 0) == @rows }), 'and tells the log');
    is(end_of($pid, 'TERM'), 0, 'and ends with 0');
    like(said($pid), qr/log $new was forked from log $old behind event $end$/m, 'having said so');
    holds($other, $old, [@rows[0 .. $end - 1]], 'the old name has what was its');
    holds($other, $new, [@rows[$end .. $#rows]], 'the new one the rest');
    is(flows($other)->{w}, 'completed|-|"forked"|t', 'the workflow has one row');
};

subtest 'both followed at the same time' => sub {
    my ($log, $other) = (scratch() . '/both', create_database());
    my @open = write_log($log, map { "open w$_" } 0 .. 9);
    my $kept = backup($log, scratch() . '/backup-6');
    my $old = name_of($log);
    my $first = start_pgsync($log, $other, '--follow', '--batch-rows', 2);
    write_log($log, 'workflows 50');
    my $at = sub { my ($name) = @_; return $server->try_sql("SELECT last_seq FROM daa.replica WHERE log = '$name'", $other) || 0 };
    ok((wait_until { $at->($old) > 100 }), 'the source is copied');
    my $branch = restore($kept);
    write_log($branch, "complete $open[0] branch");
    my $new = name_of($branch);
    my $second = start_pgsync($branch, $other, '--follow', '--batch-rows', 2);
    for my $round (1 .. 5) {
        write_log($log, "complete $open[$round] source", 'workflows 20');
        write_log($branch, 'workflows 20', $round % 2 ? "complete $open[$round] branch" : 'workflows 1');
    }
    my @rows = map { [list_of($_)] } $log, $branch;
    ok((wait_until { $at->($old) == @{ $rows[0] } && $at->($new) == @{ $rows[1] } } 60), 'both come to their ends');
    is(end_of($_, 'TERM'), 0, 'neither stops the other') || diag(said($_)) for $first, $second;
    holds($other, $old, $rows[0], 'each event of the source once');
    my $parent_seq = $server->sql(qq{SELECT parent_seq FROM daa.replica WHERE log = '$new'}, $other);
    holds($other, $new, [@{ $rows[1] }[$parent_seq .. $#{ $rows[1] }]], 'each of the branch');
    is_deeply(flows($other), { map { ("w$_" => $_ == 0 || $_ % 2 && $_ < 6 ? 'completed|-|"branch"|t' : 'running|-|-|f') } 0 .. 9 }, 'and the workflows are as the branch has them');
};

# Keeps every copier of a database from committing, until what is returned is closed.
sub hold {
    my ($db) = @_;
    my @psql = $server->psql('', $db);
    open my $hold, '|-', @psql[0 .. $#psql - 2] or die "psql: $!";
    print $hold "BEGIN; LOCK TABLE daa.events IN EXCLUSIVE MODE;\n";
    $hold->flush;
    wait_until { $server->sql(q{SELECT count(*) FROM pg_locks WHERE relation = 'daa.events'::regclass AND mode = 'ExclusiveLock' AND granted}, $db) };
    return $hold;
}
sub waiting { my ($db) = @_; return $server->sql(qq{SELECT count(*) FROM pg_stat_activity WHERE datname = '$db' AND application_name = 'daa-pgsync' AND wait_event_type = 'Lock'}) }

subtest 'both at the same time, from before the fork' => sub {
    my $log = scratch() . '/common';
    my ($u, $v) = write_log($log, 'open u', 'open v');
    my %db = map { $_ => create_database() } 'source first', 'restored log first', 'nothing there';
    copies($log, $db{$_}, "the beginning is there: $_") for grep { !/nothing/ } sort keys %db;
    write_log($log, 'workflows 60');
    my $kept = backup($log, scratch() . '/backup-7');
    my $parent_seq = () = list_of($log);
    write_log($log, "complete $u source", 'workflows 5');
    my $branch = restore($kept);
    write_log($branch, "complete $v branch", 'workflows 3');
    my @rows = map { [list_of($_)] } $log, $branch;
    my ($old, $new) = map { name_of($_) } $log, $branch;
    for my $case (sort keys %db) {
        my $other = $db{$case};
        my $hold = $case =~ /nothing/ ? undef : hold($other);
        my @pids;
        for my $dir ($case =~ /^restored/ ? ($branch, $log) : ($log, $branch)) {
            push @pids, start_pgsync($dir, $other, '--follow', '--batch-rows', 2);
            ok((wait_until { waiting($other) == @pids }), "$case: copier " . @pids . ' is about to write') if $hold;
        }
        close $hold if $hold;
        my $at = sub { my ($name) = @_; return $server->try_sql("SELECT last_seq FROM daa.replica WHERE log = '$name'", $other) || 0 };
        my $stopped = sub { return grep { said($_) =~ /taken over/ } @pids };
        ok((wait_until { ($at->($old) == @{ $rows[0] } && $at->($new) == @{ $rows[1] }) || $stopped->() } 60), "$case: both come to their ends");
        for my $pid (@pids) {
            is(end_of($pid, 'TERM'), 0, "$case: neither stops the other");
            unlike(said($pid), qr/cannot be had/, "$case: nor thinks that the server is gone");
        }
        holds($other, $old, $rows[0], "$case: each event of the source once");
        holds($other, $new, [@{ $rows[1] }[$parent_seq .. $#{ $rows[1] }]], "$case: each of the restored log");
        is_deeply(flows($other), { u => 'running|-|-|f', v => 'completed|-|"branch"|t' }, "$case: the workflows are as the restored log has them");
        for my $each ([$log, $old], [$branch, $new]) {
            my ($status, $out) = pgsync($each->[0], $other, '--status', '--json');
            is_deeply([@{ JSON::PP::decode_json($out) }{qw(copied_log behind)}], [$each->[1], 0], "$case: nothing is behind");
        }
    }
};

subtest 'a schema of version 1' => sub {
    my $other = create_database();
    copies($source, $other, 'a copy');
    my $want = workflows($other);
    $server->schema_back_to(1, $other);
    my ($status, $out) = pgsync($source, $other, '--status', '--json');
    is($status, 0, '--status reads it');
    is($server->sql('SELECT version FROM daa.meta', $other), 1, 'and changes nothing');
    copies($restored, $other, 'it is carried over');
    is($server->sql('SELECT version FROM daa.meta', $other), PgServer->newest_schema, 'to the newest');
    holds($other, $source_name, \@source_rows, 'with all that was there');
};

#--- Agents ----------------------------------------------------------------------------------------

sub definition { my ($name, @steps) = @_; return { name => $name, steps => \@steps } }

subtest 'an agent on a restored backup' => sub {
    my $other = create_database();
    my $agent = Daa->start(config => "[log]\nsegment_size = \"1MB\"\n");
    my $submit = sub {
        my ($to, $flow) = @_;
        my $answer = $to->post('/api/v1/workflows', { definition => $flow }, $to->as_admin);
        return $answer->{json}{id} // die "not submitted: $answer->{status}";
    };
    my @waiting = map { $submit->($agent, definition("wait-$_", { id => 's', signal => { name => 'go', timeout => '1h' } })) } 1 .. 3;
    my @here = map { $submit->($agent, definition("here-$_", { id => 'n', sleep => '1ms' })) } 1 .. 5;
    my $kept = backup($agent->dir, scratch() . '/backup-5');
    my $go = sub {
        my ($to, $id) = @_;
        return $to->post("/api/v1/workflows/$id/signals/go", {}, $to->as_admin)->{status};
    };
    my $status_of = sub { my ($at, $id) = @_; return $at->get("/api/v1/workflows/$id", $at->as_admin)->{json}{status} // '' };
    my $follower = start_pgsync($agent->dir, $other, '--follow');
    like($go->($agent, $waiting[0]), qr/^20/, 'the source goes on');
    my $gone = $submit->($agent, definition('only-there', { id => 'n', sleep => '1ms' }));
    ok((wait_until { $status_of->($agent, $waiting[0]) eq 'completed' && $status_of->($agent, $gone) eq 'completed' }), 'with old and new workflows');
    is($agent->stop, 0, 'and stops');
    my $end = () = list_of($agent->dir . '/log');
    ok((wait_until { ($server->try_sql('SELECT last_seq FROM daa.replica', $other) || 0) == $end }), 'all of it is copied');
    is(end_of($follower, 'TERM'), 0, 'the copier ends');

    my $second = Daa->start(dir => restore($kept) =~ s{/log$}{}r, config => "[log]\nsegment_size = \"1MB\"\n");
    $follower = start_pgsync($second->dir, $other, '--follow');
    like($go->($second, $waiting[1]), qr/^20/, 'an agent on the backup goes on too');
    my $new = $submit->($second, definition('new', { id => 'n', sleep => '1ms' }));
    ok((wait_until { $status_of->($second, $waiting[1]) eq 'completed' && $status_of->($second, $new) eq 'completed' }), 'from where that was made');
    my %want = map { $_ => $status_of->($second, $_) } @waiting, @here, $new;
    is($second->stop, 0, 'it stops');
    my @rows = list_of($second->dir . '/log');
    my ($old_name, $new_name) = map { name_of($_->dir) } $agent, $second;
    ok((wait_until { ($server->try_sql("SELECT last_seq FROM daa.replica WHERE log = '$new_name'", $other) || 0) == @rows }), 'all of that is copied');
    is(end_of($follower, 'TERM'), 0, 'the copier ends');
    my %got = map { @$_ } $server->rows('SELECT id, status FROM daa.workflows', $other);
    is(delete $got{$gone}, 'completed', 'what only the source had is kept');
    is_deeply(\%got, \%want, 'each other workflow is there once, by the id and with the status that the new agent shows');
    holds($other, $old_name, [list_of($agent->dir . '/log')], 'the events of the source, each once');
    my $parent_seq = $server->sql(qq{SELECT parent_seq FROM daa.replica WHERE log = '$new_name'}, $other);
    holds($other, $new_name, [@rows[$parent_seq .. $#rows]], 'and those of the restored log');
    my $told = JSON::PP::decode_json(slurp($second->dir . '/log/readers/pgsync'));
    is_deeply([@$told{qw(flushed_seq chain)}], [scalar @rows, $server->sql(qq{SELECT encode(last_chain, 'hex') FROM daa.replica WHERE log = '$new_name'}, $other)], 'the restored log is told how far the copy is');
};

done_testing();
