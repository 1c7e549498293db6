# daa-pgsync under test: logs made by make-log, databases on one throw-away server, and how programs
# end. What every daa-pgsync-*.t needs.
package PgSync;
use strict;
use warnings;
use Daa qw(wait_until scratch program slurp run_program);
use Exporter qw(import);
use IPC::Open2;
use JSON::PP ();
use PgProxy;
use PgServer;
use POSIX ();
use Test::More;

our @EXPORT_OK = qw(server create_database write_log daa_log backup restore_backup name_of list_of rows_of pgsync copies
    json_of start_pgsync said end_of ended position workflows killed_at places);

my ($server, $databases, $restores, %started) = (undef, 0, 0);
my $maker = program('') =~ s{/bin/$}{/t/bin/make-log}r;

END { my $status = $?; kill 'KILL', $_ for keys %started; $? = $status }

sub server { return $server //= PgServer->new(@_) }
sub create_database { my $name = 'd' . ++$databases; server()->create_database($name); return $name }

# Has make-log write to a log, and returns the first number of each answer.
sub write_log {
    my ($dir, @commands) = @_;
    my @seed = ref $commands[0] ? @{ shift @commands } : ();
    my $pid = open2(my $from, my $to, $maker, $dir, @seed);
    my @answers = map { print $to "$_\n"; $to->flush; (readline($from) // '') =~ /(\d+)/ ? $1 : die "make-log failed on $_" } @commands;
    close $to;
    waitpid $pid, 0;
    die "make-log failed: $?" if $?;
    return @answers;
}

sub daa_log { my ($status, $out, $err) = run_program(program('daa-log'), @_); die "daa-log @_: $err" if $status; return $out }
sub backup { my ($from, $to) = @_; daa_log('backup', $from, $to); return $to }
# The directory of a log made of a backup; whoever writes to it goes on under a name of its own.
sub restore_backup { my ($from) = @_; my $to = scratch() . '/restored-' . ++$restores; daa_log('restore', $from, $to); return "$to/log" }
sub name_of { my ($log) = @_; return JSON::PP::decode_json(daa_log('stat', '--json', $log))->{log} }

# "SEQ SHA-256" of each record, as it stands in the segments; and in the database, of all logs or one.
sub list_of { my ($log) = @_; return [split /\n/, `'$maker' '$log' list`] }
sub rows_of {
    my ($db, $name) = @_;
    my $where = $name ? "WHERE log = '$name'" : '';
    return [split /\n/, server()->sql(qq{SELECT seq || ' ' || encode(sha256(record), 'hex') FROM daa.events $where ORDER BY seq}, $db)];
}
sub position { my ($db) = @_; return server()->try_sql('SELECT max(last_seq) FROM daa.replica', $db) || 0 }
sub workflows { my ($db) = @_; return server()->sql('SELECT * FROM daa.workflows ORDER BY log, stream', $db) }

sub pgsync { my ($log, $db, @options) = @_; return run_program(program('daa-pgsync'), '--data-dir', $log, '--url', server()->url($db), @options) }
# That it succeeds; its output.
sub copies {
    my ($log, $db, $name, @options) = @_;
    my ($status, $out, $err) = pgsync($log, $db, @options);
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($status, 0, $name) or diag($out . $err);
    return $out;
}
# Exit status and what it says with --json.
sub json_of {
    my ($log, $db, @options) = @_;
    my ($status, $out, $err) = pgsync($log, $db, @options, '--json');
    return ($status, $out ne '' ? JSON::PP::decode_json($out) : {}, $err);
}

sub start_pgsync {
    my ($log, $db, @options) = @_;
    my $pid = fork() // die "fork: $!";
    if (!$pid) {
        open STDOUT, '>', '/dev/null';
        open STDERR, '>', scratch() . "/pgsync-$$.err";
        exec program('daa-pgsync'), '--data-dir', $log, '--url', server()->url($db), @options or POSIX::_exit(127);
    }
    $started{$pid} = 1;
    return $pid;
}
sub said { my ($pid) = @_; return slurp(scratch() . "/pgsync-$pid.err") // '' }
sub ended { my ($pid) = @_; return 0 if waitpid($pid, POSIX::WNOHANG()) == 0; delete $started{$pid}; return 1 }
# Exit status, or 128 + signal.
sub end_of {
    my ($pid, $signal) = @_;
    kill $signal, $pid if $signal;
    wait_until { ended($pid) } 60 or kill 'KILL', $pid;
    return $? & 127 ? 128 + ($? & 127) : $? >> 8;
}

# What PgProxy asks of whoever runs a program.
sub PgSync::Runner::ended { return ended($_[1]) }

# Runs daa-pgsync with what `arguments` makes of the url of a proxy, and kills it with -9 in front of the n-th message
# that it sends to the server. Returns how many it sent: n when it was killed, all of them when there are fewer.
my $proxy;
sub killed_at {
    my ($nth, $db, $arguments) = @_;
    $proxy //= PgProxy->new(server());
    my $pid = fork() // die "fork: $!";
    if (!$pid) {
        open STDOUT, '>', '/dev/null';
        open STDERR, '>', scratch() . "/pgsync-$$.err";
        exec program('daa-pgsync'), $arguments->($proxy->url($db)) or POSIX::_exit(127);
    }
    $started{$pid} = 1;
    return $proxy->run('PgSync::Runner', $pid, $nth, 'before', sub { kill 'KILL', $pid });
}

# So many of the numbers from 1 to `all`, spread over them at random, in any order.
sub places {
    my ($count, $all) = @_;
    my $step = $all / $count;
    my @places = map { 1 + int($step * $_ + rand $step) } 0 .. $count - 1;
    return map { $_->[1] } sort { $a->[0] <=> $b->[0] } map { [rand, $_] } @places;
}

1;
