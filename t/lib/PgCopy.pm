# Copies of logs in a server of the test's own: runs daa-pgsync, and says whether a copy is whole.
#
#   my $copies = PgCopy->new;                      # or PgCopy->new($server)
#   my $db = $copies->database;
#   my $pid = $copies->follow($log, $db, '--follow');
#   $copies->is_whole($log, $db, 'after that');
#
# What was started dies with the test.
package PgCopy;
use strict;
use warnings;
use Daa qw(wait_until scratch program slurp run_program);
use IPC::Open2;
use PgServer;
use POSIX ();
use Test::More ();

my $maker = program('') =~ s{/bin/$}{/t/bin/make-log}r;
my ($databases, %started) = (0);
my $owner = $$;

END { my $status = $?; if ($$ == $owner) { kill 'KILL', $_ for keys %started } $? = $status }

sub new { my ($class, $server) = @_; return bless { server => $server // PgServer->new }, $class }
sub server { $_[0]{server} }

sub database { my ($self) = @_; my $name = 'c' . ++$databases; $self->{server}->create_database($name); return $name }
sub url { my ($self, $db) = @_; return $db =~ m{://} ? $db : $self->{server}->url($db) }

# A log of its own, made by these commands of make-log.
sub make_log {
    my ($self, $name, @commands) = @_;
    my $dir = scratch() . "/$name";
    my $writer = $self->start_writer($dir);
    $self->order($writer, $_) for @commands;
    $self->end_writer($writer);
    return $dir;
}

# make-log with a pipe each way.
sub start_writer {
    my ($self, $dir) = @_;
    my $pid = open2(my $answers, my $orders, $maker, $dir);
    $started{$pid} = 1;
    return { pid => $pid, answers => $answers, orders => $orders };
}

# Has it write something, and returns the newest number once that is durable.
sub order {
    my ($self, $writer, $what) = @_;
    $writer->{orders}->print("$what\n");
    $writer->{orders}->flush;
    my $line = readline($writer->{answers}) // die "make-log failed on $what";
    return $line =~ /(\d+)/ ? $1 : die "make-log said $line";
}

sub end_writer { my ($self, $writer) = @_; close $writer->{orders}; waitpid $writer->{pid}, 0; delete $started{ $writer->{pid} }; return }

sub run { my ($self, $log, $db, @options) = @_; return run_program(program('daa-pgsync'), '--data-dir', $log, '--url', $self->url($db), @options) }

# In the background; its stderr is in the file that said() reads.
sub start {
    my ($self, $log, $db, @options) = @_;
    my $pid = fork() // die "fork: $!";
    if (!$pid) {
        open STDOUT, '>', scratch() . "/pgsync-$$.out";
        open STDERR, '>', scratch() . "/pgsync-$$.err";
        exec program('daa-pgsync'), '--data-dir', $log, '--url', $self->url($db), @options or POSIX::_exit(127);
    }
    $started{$pid} = 1;
    return $pid;
}
sub said { my ($self, $pid) = @_; return slurp(scratch() . "/pgsync-$pid.err") // '' }

# For another process of the test's, so that it does not outlive it.
sub guard { my ($self, $pid) = @_; $started{$pid} = 1; return $pid }

sub ended {
    my ($self, $pid) = @_;
    return 0 if waitpid($pid, POSIX::WNOHANG()) == 0;
    delete $started{$pid};
    return 1;
}

# (exit status or 128 + signal); waits for the end, with a deadline.
sub end_of {
    my ($self, $pid, $signal) = @_;
    kill $signal, $pid if $signal;
    wait_until { $self->ended($pid) } 60 or kill 'KILL', $pid;
    return $? & 127 ? 128 + ($? & 127) : $? >> 8;
}

# "SEQ SHA-256" of each record, as it is in the log and as it is in the database.
sub records {
    my ($self, $dir) = @_;
    my $log = -d "$dir/log" ? "$dir/log" : $dir;
    return [split /\n/, `'$maker' '$log' list`];
}

sub rows {
    my ($self, $db, $server) = @_;
    return [split /\n/, ($server // $self->{server})->sql(
        q{SELECT seq || ' ' || encode(sha256(record), 'hex') FROM daa.events ORDER BY seq, log}, $db)];
}

# 0 while there is no table or no server.
sub position { my ($self, $db, $server) = @_; return ($server // $self->{server})->try_sql('SELECT max(last_seq) FROM daa.replica', $db) || 0 }

# That the copy has each record once, with its exact bytes, and says so, and that --verify finds it whole.
sub is_whole {
    my ($self, $log, $db, $name, $server) = @_;
    my ($want, $got) = ($self->records($log), $self->rows($db, $server));
    Test::More::is(scalar @$got, scalar @$want, "$name: as many rows as records");
    my ($differs) = grep { ($got->[$_] // '') ne ($want->[$_] // '') } 0 .. $#$want;
    Test::More::ok(!defined $differs, "$name: each record once, byte for byte") or Test::More::diag("differs at row $differs");
    Test::More::is($self->position($db, $server), scalar @$want, "$name: the position is the end");
    my ($status, $out, $err) = $self->run($log, ($server // $self->{server})->url($db), '--verify', '--content');
    Test::More::is($status, 0, "$name: it is verified") or Test::More::diag($out, $err);
    return;
}

1;
