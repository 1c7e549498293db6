#!/usr/bin/perl
# daa-pgsync --follow: it sleeps until there is news, and wakes for a signal.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Daa qw(wait_until scratch slurp);
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

done_testing();
