#!/usr/bin/perl
# What daa-pgsync answers to who uses it wrongly, or where it cannot be used: a sentence, the right exit
# status, and nothing that is half done.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Daa qw(scratch program run_program slurp wait_until);
use PgServer;
use PgSync qw(server create_database write_log pgsync copies);
use POSIX ();
use Test::More;

plan skip_all => PgServer->missing if PgServer->missing;
delete @ENV{grep { /^PG|^DAA_/ } keys %ENV};

my $log = scratch() . '/log';
server(tcp => 1);
write_log($log, 'stepped 100');
my $db = create_database();
copies($log, $db, 'a copy to begin with');

sub answers {
    my ($name, $wanted, $words, @result) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($status, $out, $err) = @result;
    is($status, $wanted, "$name: exit status $wanted") or diag($out, $err);
    like($err, $words, "$name: it is said");
    return;
}

sub restore { my (@options) = @_; return run_program(program('daa-pgsync'), 'restore', '--url', server()->url($db), @options) }

subtest 'options that mean nothing together' => sub {
    answers('--from 0', 2, qr/--from: '0' is not a number from 1 on/, pgsync($log, $db, '--rebuild', '--from', '0'));
    answers('--from without --rebuild', 2, qr/--from is for --rebuild/, pgsync($log, $db, '--from', '3'));
    answers('--from far behind the end', 1, qr/nothing to be made anew from 18446744073709551615 on/, pgsync($log, $db, '--rebuild', '--from', '18446744073709551615'));
    for my $mode ('--verify', '--repair', '--status') {
        answers("$mode @$_", 2, qr/\Q$_->[0]\E.* are for copying/s, pgsync($log, $db, $mode, @$_))
            for ['--detach-after', '400d'], ['--metrics-file', scratch() . '/metrics'], ['--batch-rows', '5'], ['--partition-rows', '5'];
    }
    ok(!-e scratch() . '/metrics', 'and no file of metrics is made');
};

subtest 'restore' => sub {
    my $new = scratch() . '/new';
    answers('no directory', 2, qr/restore DIR/, restore());
    answers('one without a name', 2, qr/restore DIR/, restore(''));
    answers("@$_", 2, qr/restore takes --url, --log, --segment-size and --json only/, restore(@$_, $new))
        for ['--data-dir', $log], ['--verify'], ['--repair', '--dry-run'], ['--rebuild', '--from', '3'], ['--follow'], ['--metrics-file', 'x'];
    answers('a name that is no uuid', 2, qr/--log: "x" is no uuid of a log/, restore('--log', 'x', $new));
    answers("segments of $_", 2, qr/--segment-size: a segment has 256KiB to 1GiB/, restore('--segment-size', $_, $new)) for qw(1B 300001B 2GiB);
    ok(!-e $new && !-e "$new.importing", 'nothing is made');
    is((restore("$new//"))[0], 0, 'a name that ends with slashes is a name');
    ok(-d "$new/log", 'and a directory is made of it');
};

subtest 'a directory without a log' => sub {
    my $none = scratch() . '/none';
    mkdir $none or die $!;
    answers("@$_", 1, qr/nothing was ever written to log \Q$none\E/, pgsync($none, $db, @$_))
        for ['--verify'], ['--verify', '--content'], ['--verify', '--json'], ['--repair'], ['--repair', '--dry-run'], ['--rebuild'], ['--rebuild', '--from', '1'];
};

subtest 'a database that cannot be had' => sub {
    my $new = scratch() . '/unreachable';
    my $ask = sub { my ($url, @options) = @_; return run_program(program('daa-pgsync'), '--url', $url, @options) };
    my @modes = (['--data-dir', $log, '--once'], (map { ['--data-dir', $log, $_] } qw(--verify --repair --rebuild --status)), ['restore', $new]);
    server()->sql('CREATE ROLE nobody_much LOGIN');
    (my $low = server()->url($db)) =~ s/daa\@/nobody_much\@/;
    for my $mode (@modes) {
        my $name = $mode->[-1] eq $new ? 'restore' : $mode->[-1];
        answers("$name without a server", 1, qr/refused.*; does the server run, and is the url right\?/i, $ask->('postgresql://daa@127.0.0.1:1/x', @$mode));
        answers("$name without a password", 1, qr/; the password comes from PGPASSWORD/, $ask->(server()->tcp_url($db), @$mode));
        answers("$name without rights", 1, qr/permission denied.*; connect as .*GRANT/, $ask->($low, @$mode));
    }
    local $ENV{PGPASSWORD} = 'wrong';
    answers('a wrong password', 1, qr/authentication failed.*; the password comes from PGPASSWORD/, $ask->(server()->tcp_url($db), '--data-dir', $log, '--verify'));
    ok(!-e $new && !-e "$new.importing", 'restore makes nothing');
};

subtest 'a signal in the middle' => sub {
    my ($large, $held, $new) = (scratch() . '/large', create_database(), scratch() . '/stopped');
    write_log($large, 'stepped 4000');
    copies($large, $held, 'a copy that takes more than one look');
    my $lock = 'BEGIN; LOCK TABLE daa.events; SELECT pg_sleep(60)';
    for my $case (['--verify', qr/stopped before all was compared/], ['--repair', qr/stopped before all was compared/], ['restore', qr/stopped: nothing was restored/]) {
        my ($mode, $words) = @$case;
        for my $signal (qw(TERM INT)) {
            my $holder = fork() // die "fork: $!";
            if (!$holder) { open STDERR, '>', '/dev/null'; exec server()->psql($lock, $held) or POSIX::_exit(127) }
            my $waits = sub { my ($what) = @_; return server()->sql("SELECT count(*) FROM pg_stat_activity WHERE datname = '$held' AND $what") };
            wait_until { $waits->(q{wait_event = 'PgSleep'}) } or die 'nobody holds the table';
            my @options = $mode eq 'restore' ? ('restore', $new) : ('--data-dir', $large, $mode);
            my $pid = fork() // die "fork: $!";
            if (!$pid) {
                open STDERR, '>', scratch() . '/stopped.err';
                exec program('daa-pgsync'), '--url', server()->url($held), @options or POSIX::_exit(127);
            }
            wait_until { $waits->(q{application_name = 'daa-pgsync' AND wait_event_type = 'Lock'}) } or die 'nobody waits for it';
            kill $signal, $pid;
            server()->sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '$held' AND wait_event = 'PgSleep'");
            waitpid $holder, 0;
            waitpid $pid, 0;
            answers("$mode that SIG$signal ends", 1, $words, $? & 127 ? 128 : $? >> 8, '', slurp(scratch() . '/stopped.err'));
        }
    }
    ok(!-e $new && !-e "$new.importing", 'restore leaves nothing');
};

subtest 'a metrics file that is none' => sub {
    my $directory = scratch() . '/directory';
    my ($pipe, $link) = map { scratch() . "/metrics-$_" } qw(pipe link);
    mkdir $directory or die $!;
    POSIX::mkfifo($pipe, 0600) or die $!;
    symlink '/dev/null', $link or die $!;
    for ($directory, $pipe, $link) {
        answers("a file $_", 0, qr/metrics file \Q$_\E is there and is no regular file/, pgsync($log, $db, '--metrics-file', $_));
        ok(!-e "$_.tmp", 'nothing is left beside it');
    }
    ok(-d $directory && -p $pipe && -l $link, 'each is what it was');
};

subtest 'a limit of a file\'s size' => sub {
    my ($new, $metrics) = map { scratch() . "/$_" } qw(limited metrics-limited);
    my $limited = sub { return run_program('sh', '-c', 'ulimit -f 1; exec "$@"', 'sh', program('daa-pgsync'), '--url', server()->url($db), @_) };
    answers('restore', 1, qr{\Q$new\E.*File too large}, $limited->('restore', $new));
    ok(!-e $new, 'there is no directory of that name');
    answers('--metrics-file', 0, qr/metrics file \Q$metrics\E: File too large/, $limited->('--data-dir', $log, '--reader-name', '', '--metrics-file', $metrics));
    ok(!-e $metrics && !-e "$metrics.tmp", 'nor a file of metrics, nor half of one');
    my ($status, undef, $err) = restore($new);
    is($status, 0, 'without the limit it is restored over what the other run left') or diag($err);
};

done_testing;
