#!/usr/bin/perl
# COMMITs whose answer is lost, over and over: the connection is cut before the statement gets to the server,
# when it got there but nobody knows whether it was done, and when it was done and the answer is on its way.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Daa qw(wait_until scratch slurp spew);
use IO::Select;
use IO::Socket::UNIX;
use PgCopy;
use PgServer;
use POSIX ();
use Test::More;

plan skip_all => PgServer->missing if PgServer->missing;
delete @ENV{grep { /^PG|^DAA_/ } keys %ENV};

my $seed = $ENV{SEED} // time ^ $$;
srand $seed;
note "SEED=$seed";
my $server = PgServer->new;
my $copies = PgCopy->new($server);

# One connection, up to its end or to the cut; true if it was cut. `how`: "before" the server gets the COMMIT,
# "under way" once it got it, "after" it has answered.
sub relay {
    my ($client, $backend, $cut_now, $how) = @_;
    my $select = IO::Select->new($client, $backend);
    my $sent = '';
    while (1) {
        for my $from ($select->can_read) {
            my $size = sysread $from, my $bytes, 65536 or return 0;
            my $to = $from == $client ? $backend : $client;
            $sent = substr($sent, -500) . $bytes if $from == $client;
            # The statement may come in pieces.
            my $commits = $from == $client && $sent =~ s/.*UPDATE daa\.replica SET last_seq = \d+.*?COMMIT\0//s;
            my $cut = $commits && $cut_now->();
            return 1 if $cut && $how eq 'before';
            syswrite $to, $bytes;
            return 1 if $cut && $how eq 'under way';
            return 1 if $cut && sysread $backend, $bytes, 65536;
        }
    }
}

# Between daa-pgsync and the server: cuts each second or third COMMIT, so many of them; then lets all through. Counts
# in the file "cuts".
sub start_proxy {
    my ($cuts, $how) = @_;
    my $dir = scratch() . "/proxy-" . ($how =~ s/ /-/r);
    mkdir $dir or die $!;
    my $listener = IO::Socket::UNIX->new(Local => "$dir/.s.PGSQL.5432", Listen => 5) or die "listen: $!";
    my $pid = fork() // die "fork: $!";
    return ($dir, $copies->guard($pid)) if $pid;
    my ($done, $wait) = (0, 2);
    my $cut_now = sub { return 0 if $done >= $cuts || --$wait > 0; $wait = 2 + int rand 2; return 1 };
    while (my $client = $listener->accept) {
        my $backend = IO::Socket::UNIX->new(Peer => $server->dir . '/.s.PGSQL.' . $server->port) or next;
        spew("$dir/cuts", ++$done) if relay($client, $backend, $cut_now, $how);
        close $client;
        close $backend;
    }
    POSIX::_exit(0);
}

my $log = $copies->make_log('log', 'workflows 600', 'parked', 'awkward', 'fill 3 5000');
my $cuts = 12;

for my $how ('before', 'under way', 'after') {
    subtest "cut $how" => sub {
        my $db = $copies->database;
        my ($dir, $proxy) = start_proxy($cuts, $how);
        my $url = 'postgresql://daa@' . ($dir =~ s{/}{%2F}gr) . ":5432/$db";
        my ($status, undef, $err) = $copies->run($log, $url, '--batch-rows', 40);
        is($status, 0, 'the copy succeeds') or diag($err);
        is(slurp("$dir/cuts"), $cuts, "$cuts answers were lost");
        my @positions = $err =~ /^daa-pgsync: connected; log \S+ is in Postgres up to seq (\d+)$/mg;
        is(scalar @positions, $cuts, 'each time the position was read back') or diag($err);
        is("@positions", join(' ', sort { $a <=> $b } @positions), 'which never goes back');
        $copies->is_whole($log, $db, 'after that');
        is($server->sql('SELECT count(*) - count(DISTINCT (log, seq)) FROM daa.events', $db), 0, 'no event is there twice');
        is($server->sql(q{SELECT count(*) FROM daa.workflows WHERE status = 'completed'}, $db),
            $server->sql(q{SELECT count(*) FROM daa.events WHERE kind_name = 'workflow.completed'}, $db), 'the rows of workflows are those of their events');
        $copies->end_of($proxy, 'KILL');
    };
}

done_testing();
