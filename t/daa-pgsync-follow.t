#!/usr/bin/perl
# daa-pgsync --follow: it sleeps until there is news, and wakes for a signal.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Daa qw(wait_until scratch slurp);
use JSON::PP ();
use PgCopy;
use PgServer;
use Test::More;

plan skip_all => PgServer->missing if PgServer->missing;
delete @ENV{grep { /^PG|^DAA_/ } keys %ENV};

my $copies = PgCopy->new;

sub state_of { my ($pid) = @_; return (slurp("/proc/$pid/stat") // '') =~ /\) (\S)/ ? $1 : '?' }

# Found asleep twenty times on end, a hundredth of a second apart.
sub sleeps {
    my ($pid) = @_;
    my $times = 0;
    return wait_until { $times = state_of($pid) eq 'S' ? $times + 1 : 0; $times == 20 };
}

subtest 'before the log begins' => sub {
    my ($db, $dir) = ($copies->database, scratch() . '/later');
    mkdir $dir or die $!;
    my $pid = $copies->start($dir, $db, '--follow');
    ok((wait_until { ($copies->server->try_sql('SELECT count(*) FROM daa.replica', $db) // '') eq '0' }), 'it is connected');
    ok(sleeps($pid), 'and sleeps');
    my $writer = $copies->start_writer($dir);
    my $end = $copies->order($writer, 'workflows 3');
    ok((wait_until { $copies->position($db) >= $end }), 'the first events wake it');
    ok(sleeps($pid), 'it sleeps again');
    $end = $copies->order($writer, 'workflows 1');
    ok((wait_until { $copies->position($db) >= $end }), 'the next ones wake it too');
    is($copies->end_of($pid, 'TERM'), 0, 'so does a signal');
    $copies->end_writer($writer);
    $pid = $copies->start($dir, $db, '--follow', '--reader-name', '');
    ok((wait_until { $copies->said($pid) =~ /connected/ }), 'another one, without an end to its waits');
    is($copies->end_of($pid, 'INT'), 0, 'ends by a signal as well');
    $copies->is_whole($dir, $db, 'followed');
};

subtest 'how far it is' => sub {
    my ($db, $dir) = ($copies->database, scratch() . '/status');
    my $status = sub {
        my ($code, $out, $err) = $copies->run($dir, $db, '--status', '--json');
        is($code, 0, '--status succeeds') or diag($err);
        return JSON::PP::decode_json($out);
    };
    my $writer = $copies->start_writer($dir);
    my $end = $copies->order($writer, 'workflows 1');
    my $said = $status->();
    is_deeply([@$said{qw(durable_seq copied_seq behind following pid updated_at)}], [$end, 0, $end, JSON::PP::false, undef, undef],
        'nothing is copied, and nobody does');
    ok($said->{behind_bytes} > 0 && $said->{behind_seconds} > 0, 'so much of the log is behind, for so long');
    my $all = $said->{behind_bytes};
    is(($copies->run($dir, $db))[0], 0, 'a copy is made');
    $said = $status->();
    is_deeply([@$said{qw(copied_seq behind behind_bytes behind_seconds following)}], [$end, 0, 0, 0, JSON::PP::false], 'nothing is behind');
    my $pid = $copies->start($dir, $db, '--follow');
    ok((wait_until { $status->()->{following} }), 'somebody follows');
    $said = $status->();
    is_deeply([@$said{qw(pid epoch)}], [$pid, 2], 'who that is, and his epoch');
    kill 'STOP', $pid;
    my $next = $copies->order($writer, 'workflows 2000');
    $said = $status->();
    is($said->{behind}, $next - $end, 'what he does not copy is behind');
    ok($said->{behind_bytes} > $all && $said->{behind_seconds} > 0, 'by so many bytes and seconds');
    my ($code, $out) = $copies->run($dir, $db, '--status');
    like($out, qr/^behind +\d+ events, \d+ bytes, \d+\.\d s$/m, 'people are told the same');
    like($out, qr/^followed +by process $pid, which told its position \d+ s ago$/m, 'and who follows');
    kill 'CONT', $pid;
    is($copies->end_of($pid, 'KILL'), 128 + 9, 'he is killed');
    is($status->()->{following}, JSON::PP::false, 'then nobody follows');
    $copies->end_writer($writer);
};

# The samples of a metrics file: name with labels => value.
sub metrics_of {
    my ($path) = @_;
    my $text = slurp($path) // return {};
    return { map { /^(daa_\S+) (\S+)$/ ? ($1 => $2) : () } split /\n/, $text };
}

subtest 'metrics in a file' => sub {
    my ($db, $file) = ($copies->database, scratch() . '/daa.prom');
    my $dir = $copies->make_log('metrics', 'workflows 20');
    my $rows = @{ $copies->records($dir) };
    my $pid = $copies->start($dir, 'postgresql://daa@127.0.0.1:1/x', '--follow', '--metrics-file', $file);
    ok((wait_until { $copies->said($pid) =~ /trying again/ && -e $file }), 'they are there before the server is');
    is($copies->end_of($pid, 'TERM'), 0, 'and at the end');
    my $metrics = metrics_of($file);
    is($metrics->{daa_replication_lag_events}, $rows, 'all is behind');
    ok($metrics->{daa_replication_lag_bytes} > 0 && $metrics->{daa_replication_lag_seconds} > 0, 'with its bytes and its age');
    ok($metrics->{'daa_replication_retries_total{sqlstate_class="08"}'} > 0, 'tries are counted');
    is(($copies->run($dir, $db, '--metrics-file', $file))[0], 0, 'a copy that ends');
    $metrics = metrics_of($file);
    is_deeply([@$metrics{'daa_replication_state{state="ended"}', 'daa_replication_position_seq', 'daa_replication_lag_events',
        'daa_replication_rows_total{table="events"}'}], [1, $rows, 0, $rows], 'leaves what it did');
    ok($metrics->{daa_replication_commit_duration_seconds_sum} > 0, 'how long it took too');
    my $text = slurp($file);
    my @undescribed = grep { my $name = s/[{ ].*//r =~ s/_(?:sum|count)$//r; $text !~ /^# HELP $name .*\n# TYPE $name \w+\n/m }
        grep { !/^#/ } split /\n/, $text;
    is("@undescribed", '', 'each is described');
    is_deeply([glob "$file.*"], [], 'no other file is left');
    my ($status, undef, $err) = $copies->run($dir, $db, '--metrics-file', '/nothing/here');
    is($status, 0, 'where it cannot be written, copying goes on');
    is(scalar(() = $err =~ m{metrics file /nothing/here: }g), 1, 'and that is said once');
};

done_testing();
