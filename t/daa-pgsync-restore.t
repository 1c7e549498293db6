#!/usr/bin/perl
# daa-pgsync restore: a log directory out of Postgres, with the same records; what is refused; and that a log made so
# is one as any other, for daa-log, for a writer, and for daa-pgsync in the same database.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Daa qw(wait_until scratch program run_program slurp);
use JSON::PP ();
use PgServer;
use POSIX ();
use Test::More;

plan skip_all => PgServer->missing if PgServer->missing;
require PgSync;
PgSync->import(qw(server create_database write_log daa_log backup restore_backup name_of list_of rows_of pgsync copies json_of
    position workflows killed_at places));
delete @ENV{grep { /^PG|^DAA_/ } keys %ENV};

my $made = 0;
sub restored { my ($db, @options) = @_;
    my $dir = scratch() . '/made-' . ++$made;
    my ($status, $out, $err) = run_program(program('daa-pgsync'), 'restore', '--url', server()->url($db), '--segment-size', '1MiB', @options, $dir);
    return ($dir, $status, $out, $err);
}
sub refused {
    my ($db, $why, $name, @options) = @_;
    my ($dir, $status, $out, $err) = restored($db, @options);
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($status, 1, "$name is refused");
    like($err, $why, 'with a sentence');
    ok(!-e $dir && !-e "$dir.importing", 'and nothing is left');
}
sub verified { my ($log) = @_; my ($status, $out, $err) = run_program(program('daa-log'), 'verify', $log); return is($status, 0, 'daa-log verify finds nothing') || diag($out . $err) }

my $log = scratch() . '/log';
write_log($log, 'workflows 3000', 'parked', 'awkward', 'fill 40 100000');
write_log($log, 'workflows 100');    # opened a second time
my $name = name_of($log);
my $db = create_database();
copies($log, $db, 'a copy');
my $whole = workflows($db);

my $copy;
subtest 'a log made of a copy' => sub {
    my ($dir, $status, $out, $err) = restored($db);
    is($status, 0, 'is made') or diag($err);
    like($out, qr/^restored events 1 to ${\ scalar @{ list_of($log) }} of log $name to \Q$dir\E/, 'and said');
    ok(!-e "$dir.importing", 'under its name');
    $copy = "$dir/log";
    verified($copy);
    is_deeply(list_of($copy), list_of($log), 'each record is the same, byte for byte');
    my $cat = sub { daa_log('cat', '--json', $_[0]) };
    ok($cat->($copy) eq $cat->($log), 'and daa-log shows the same');
    is(name_of($copy), $name, 'under the name that it had');
    cmp_ok(scalar(my @segments = glob "$copy/seg-*"), '>', 3, 'over several segments');
    my ($again, undef, $said) = run_program(program('daa-pgsync'), 'restore', '--url', server()->url($db), $dir);
    is($again, 1, 'a directory that is there is refused');
    like($said, qr/is there already/, 'with a sentence');
    my $slash = scratch() . '/slash';
    ($status, undef, $err) = run_program(program('daa-pgsync'), 'restore', '--url', server()->url($db), "$slash//");
    is($status, 0, 'a slash behind its name changes nothing') or diag($err);
    ok(-d "$slash/log" && !-e "$slash.importing", 'it is under its name');
    ($status, undef, $err) = pgsync($copy, $db);
    is($status, 1, 'before an agent has gone on with it, it is not copied');
    like($err, qr/restored from Postgres.*start the agent first/, 'with the way out');
    my ($differs, $result) = json_of($copy, $db, '--verify');
    is_deeply([$differs, @$result{qw(record missing)}, $result->{logs}[0]{chain}], [1, 0, 0, 'other'], '--verify finds the same records');
    ($status, $out, $err) = pgsync($copy, $db, '--repair');
    is($status, 1, 'and --repair does not put its chain over that of the source');
    like($out . $err, qr/start the agent first/, 'with the way out');
};

subtest 'going on with it' => sub {
    my $fork = @{ list_of($log) };
    write_log($copy, 'workflows 20');
    my $child = name_of($copy);
    isnt($child, $name, 'is under a new name');
    verified($copy);
    my ($status, $out, $err) = pgsync($copy, $db);
    is($status, 0, 'it is copied into the same database') or diag($err);
    like($err, qr/log $child was forked from log $name behind event $fork$/m, 'behind the fork');
    is_deeply(rows_of($db, $name), list_of($log), 'what was there stays');
    is_deeply([@{ rows_of($db, $name) }, @{ rows_of($db, $child) }], list_of($copy), 'and both are the log');
    my ($differs, $result) = json_of($copy, $db, '--verify', '--content');
    is($differs, 0, 'the comparison is clean') or diag(explain $result->{differences});
    ($status, $out, $err) = pgsync($log, $db);
    is($status, 0, 'the source may go on beside it') or diag($err);
    my $other = create_database();
    copies($copy, $other, 'into an empty database');
    is_deeply(rows_of($other), list_of($copy), 'with each record');
    my ($dir, $code) = restored($db);
    is($code, 0, 'of the two, the one that no other was forked from');
    is_deeply(list_of("$dir/log"), list_of($copy), 'is restored, with the events of both names');
    verified("$dir/log");
    is(name_of("$dir/log"), $child, 'under its name');
    ($dir, $code) = restored($db, '--log', $name);
    is($code, 0, 'or the one that is named');
    is_deeply(list_of("$dir/log"), list_of($log), 'with its events');
};

subtest 'another history is none the less refused' => sub {
    my ($one, $two) = map { scratch() . "/history-$_" } 1, 2;
    write_log($one, [77], 'workflows 2');
    write_log($two, [77], 'parked', 'workflows 2');
    my $other = create_database();
    copies($one, $other, 'one');
    my ($status, undef, $err) = pgsync($two, $other);
    is($status, 1, 'the other fails');
    like($err, qr/another history/, 'as such');
};

subtest 'what cannot be restored' => sub {
    my $other = create_database();
    my $small = scratch() . '/small';
    write_log($small, 'workflows 30');
    my $end = @{ list_of($small) };
    my $id = name_of($small);
    refused($other, qr/no events of any log/, 'an empty database');
    copies($small, $other, 'a copy');
    refused($other, qr/does not have log .*: daa-cli database status shows/, 'a log that is not there', '--log', '00000000-0000-4000-8000-000000000000');
    server()->sql('UPDATE daa.events SET record = set_byte(record, 70, get_byte(record, 70) # 1) WHERE seq = 20', $other);
    refused($other, qr/record of event 20 of log $id .*checksum.*--repair/, 'a record that was changed');
    copies($small, $other, 'repaired', '--repair');
    server()->sql("DELETE FROM daa.events WHERE seq = $end", $other);
    refused($other, qr/event $end of log $id is not in Postgres.*--repair/, 'a missing end');
    server()->sql('DELETE FROM daa.events WHERE seq = 1', $other);
    refused($other, qr/event 1 of log $id is not in Postgres/, 'a missing beginning');
    copies($small, $other, 'repaired', '--repair');
    copies($log, $other, 'another log beside it');
    refused($other, qr/several logs: .*--log: $id \(up to $end\), $name/, 'one of several');
    my (undef, $status) = restored($other, '--log', $id);
    is($status, 0, 'unless it is named');
};

subtest 'an agent' => sub {
    my $workflows = '/api/v1/workflows';
    my $definition = { name => 'nap', steps => [{ id => 'a', sleep => '0s' }] };
    my $agent = Daa->start;
    my $run = sub { my ($on, $count) = @_;
        my @ids = map { $on->post($workflows, { definition => $definition }, $on->as_admin)->{json}{id} // '' } 1 .. $count;
        ok((wait_until { !grep { ($on->get("$workflows/$_", $on->as_admin)->{json}{status} // '') ne 'completed' } @ids }), "$count workflows run");
        return @ids;
    };
    my @ids = $run->($agent, 5);
    $agent->stop;
    my $other = create_database();
    copies($agent->dir, $other, 'its log is copied');
    my ($dir, $status, undef, $err) = restored($other);
    is($status, 0, 'and restored') or diag($err);
    my $again = Daa->start(dir => $dir);
    is($again->get("$workflows/$ids[0]", $again->as_admin)->{json}{status}, 'completed', 'an agent that is started on it knows them');
    $run->($again, 3);
    ok((wait_until { ($again->get('/status', $again->as_admin)->{json}{log}{unsealed} // 1) == 0 }), 'segments are sealed');
    $again->stop;
    verified($dir);
    ok((() = glob "$dir/log/seg-*.zlog") > 0, 'also those that were made');
    copies($dir, $other, 'and goes on in the same database');
    copies($dir, $other, 'which is the log', '--verify', '--content');
};

subtest 'what is in daa.rejected alone' => sub {
    my $other = create_database();
    my ($empty, $poisoned) = map { scratch() . "/$_" } qw(empty poisoned);
    write_log($empty);
    copies($empty, $other, 'the schema is there');
    server()->sql(q{ALTER TABLE daa.events ADD CHECK (coalesce(NOT payload->'input' ? 'poison', false) OR kind < 16)}, $other);
    write_log($poisoned, 'awkward', 'workflows 2');
    copies($poisoned, $other, 'an event is refused altogether');
    cmp_ok(server()->sql('SELECT count(*) FROM daa.rejected WHERE NOT in_events', $other), '>', 0, 'and kept elsewhere');
    my ($dir, $status, undef, $err) = restored($other, '--log', name_of($poisoned));
    is($status, 0, 'a log is made all the same') or diag($err);
    is_deeply(list_of("$dir/log"), list_of($poisoned), 'with each record');
};

subtest 'kill -9' => sub {
    my $dir = scratch() . '/killed';
    my $into = sub { my ($where) = @_; return sub { my ($url) = @_; return ('restore', '--url', $url, '--log', $name, '--segment-size', '1MiB', $where) } };
    my $all = killed_at(0, $db, $into->(scratch() . '/undisturbed'));
    # The last one takes leave of the server, when all is made.
    for my $nth (places(8, $all - 1)) {
        is(killed_at($nth, $db, $into->($dir)), $nth, "killed in front of message $nth of $all");
        ok(!-e $dir, 'nothing has the name');
    }
    my ($status, undef, $err) = run_program(program('daa-pgsync'), 'restore', '--url', server()->url($db), '--log', $name, $dir);
    is($status, 0, 'the next run makes it') or diag($err);
    is_deeply(list_of("$dir/log"), list_of($log), 'whole');
    ok(!-e "$dir.importing", 'and what was left is gone');
};

done_testing();
