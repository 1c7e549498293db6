# A throw-away PostgreSQL server: its own directory, a Unix socket in it, no TCP unless asked.
#
#   my $server = PgServer->new;                  # made and started; PgServer->missing says why not
#   system 'daa-pgsync', '--url', $server->url;
#   my @rows = $server->rows('SELECT ...');      # each an array of fields
#   $server->crash; $server->start;              # kill -9 and back
#
# The server dies with the test: END, signals, and PR_SET_PDEATHSIG if the test itself is killed.
# initdb refuses root, so root runs it as `postgres` or `nobody`. fsync is off: a killed server keeps
# its pages, and no test here cuts the power.
package PgServer;
use strict;
use warnings;
use Carp qw(croak);
use Daa ();
use File::Path qw(remove_tree);
use File::Temp qw(tempdir);
use IO::Socket::INET;
use POSIX qw(WNOHANG);
use Time::HiRes qw(sleep time);

my $deadline_s = 60;
my %running;    # address of object -> object, so that END finds all

# The newest server's directory of programs, or undef.
sub bin_dir {
    my ($pg_config) = grep { -x } map { "$_/pg_config" } split /:/, $ENV{PATH};
    my @found = sort { version_of($b) <=> version_of($a) } glob '/usr/lib/postgresql/*/bin';
    chomp(my $configured = $pg_config ? `$pg_config --bindir` : '');
    my ($dir) = grep { -x "$_/initdb" && -x "$_/postgres" } @found, $configured || ();
    return $dir;
}

sub version_of { my ($version) = $_[0] =~ m{/(\d+)[^/]*/bin}; return $version // 0 }

# Why a server cannot be had here, or undef.
sub missing {
    return 'no PostgreSQL server here (Debian: postgresql)' unless bin_dir();
    return 'initdb refuses root, and there is no setpriv or no user postgres or nobody'
        if $> == 0 && !(account() && grep { -x "$_/setpriv" } split /:/, $ENV{PATH});
    return undef;
}

# The account a server runs as when we are root.
sub account {
    for my $name (qw(postgres nobody)) {
        my ($found, undef, $uid, $gid) = getpwnam $name;
        return { name => $name, uid => $uid, gid => $gid } if $found;
    }
    return undef;
}

# Options: standby_of => another server makes a copy of that which follows it. tcp => 1 listens on a free port of 127.0.0.1 too, where `password` is asked for;
# settings => { name => value } go to postgresql.conf.
sub new {
    my ($class, %option) = @_;
    my $missing = missing();
    croak $missing if $missing;
    my $parent = $ENV{TEST_SCRATCH} // '/var/tmp';
    my $dir = tempdir('pg-XXXXXX', DIR => $parent);    # removed by destroy, after the server's end
    my $self = bless {
        dir => $dir, bin => bin_dir(), owner => $$, port => 5432,
        account => $> == 0 ? account() : undef, password => $option{password} // 'test-only',
    }, $class;
    $running{ 0 + $self } = $self;
    chown $self->{account}{uid}, $self->{account}{gid}, $dir if $self->{account};
    $self->initialize(%option);
    $self->start;
    return $self;
}

# The command as the server's account; with a pdeathsig when it shall not outlive us.
sub command {
    my ($self, $signal, @command) = @_;
    my $account = $self->{account};
    my @prefix = $account ? ('--reuid', $account->{uid}, '--regid', $account->{gid}, '--clear-groups') : ();
    push @prefix, '--pdeathsig', $signal if $signal;
    return @prefix ? ('setpriv', @prefix, '--', @command) : @command;
}

sub initialize {
    my ($self, %option) = @_;
    my ($dir, $data) = ($self->{dir}, "$self->{dir}/data");
    return $self->copy_from($option{standby_of}) if $option{standby_of};
    $self->run_quietly("$self->{bin}/initdb", '-D', $data, '-U', 'daa', '-A', 'trust', '-E', 'UTF8',
        '--locale=C', '--no-sync', '--no-instructions');
    $self->{port} = free_port() if $option{tcp};
    my %setting = (
        listen_addresses => $option{tcp} ? "'127.0.0.1'" : "''", port => $self->{port},
        unix_socket_directories => "'$dir'", fsync => 'off', full_page_writes => 'off',
        shared_buffers => "'64MB'", max_connections => 30, log_min_messages => 'warning',
        restart_after_crash => 'on', %{ $option{settings} // {} },
    );
    append("$data/postgresql.conf", map { "$_ = $setting{$_}\n" } sort keys %setting);
    rewrite("$data/pg_hba.conf", "local all all trust\n", "local replication all trust\n", "host all all 127.0.0.1/32 scram-sha-256\n");
    return unless $option{tcp};
    $self->start;
    $self->sql("ALTER ROLE daa PASSWORD '$self->{password}'");
    $self->stop;
}

sub copy_from {
    my ($self, $primary) = @_;
    $self->run_quietly("$self->{bin}/pg_basebackup", '-D', "$self->{dir}/data", '-h', $primary->dir, '-p', $primary->port,
        '-U', 'daa', '-R', '-X', 'stream', '-c', 'fast', '--no-sync');
    append("$self->{dir}/data/postgresql.conf", "port = $self->{port}\n", "unix_socket_directories = '$self->{dir}'\n", "listen_addresses = ''\n");
    return;
}

# A standby that gets nothing more, whatever its primary does; waits until that is so.
sub cut_off {
    my ($self) = @_;
    $self->sql(q{ALTER SYSTEM SET primary_conninfo = ''});
    $self->sql('SELECT pg_reload_conf()');
    Daa::wait_until { !$self->sql('SELECT count(*) FROM pg_stat_wal_receiver') } $deadline_s or die 'the standby is not cut off';
    return;
}
sub promote { my ($self) = @_; $self->sql('SELECT pg_promote()'); return }

sub append { my ($path, @lines) = @_; open my $out, '>>', $path or die "$path: $!"; print $out @lines; close $out }
sub rewrite { my ($path, @lines) = @_; open my $out, '>', $path or die "$path: $!"; print $out @lines; close $out }

sub run_quietly {
    my ($self, @command) = @_;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        $self->enter_child("$self->{dir}/initdb.log");
        exec $self->command(undef, @command) or POSIX::_exit(127);
    }
    waitpid $pid, 0;
    croak "$command[0] failed: " . slurp("$self->{dir}/initdb.log") if $?;
}

sub enter_child {
    my ($self, $output) = @_;
    chdir $self->{dir} or POSIX::_exit(126);
    open STDIN, '<', '/dev/null';
    open STDOUT, '>>', $output;
    open STDERR, '>&', \*STDOUT;
}

sub slurp { my ($path) = @_; open my $in, '<', $path or return ''; local $/; return scalar <$in> }

sub free_port {
    my $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', LocalPort => 0)
        or die "no free port: $!";
    return $socket->sockport;
}

# Starts the server and returns when it answers. After a crash the old one's memory may still be
# held for a moment, so a start that ends at once is tried again.
sub start {
    my ($self) = @_;
    my $deadline = time + $deadline_s;
    while (time < $deadline) {
        $self->launch unless $self->alive;
        return $self if $self->answers;
        sleep 0.02;
    }
    croak "PostgreSQL did not start in $deadline_s s:\n" . $self->log;
}

sub launch {
    my ($self) = @_;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        $self->enter_child("$self->{dir}/server.log");
        # In a group of its own, a ^C for the test is not one for the server: END stops it.
        setpgrp;
        exec $self->command('QUIT', "$self->{bin}/postgres", '-D', "$self->{dir}/data")
            or POSIX::_exit(127);
    }
    $self->{pid} = $pid;
}

sub alive {
    my ($self) = @_;
    return 0 unless $self->{pid};
    return 1 if waitpid($self->{pid}, WNOHANG) == 0;
    delete $self->{pid};
    return 0;
}

sub answers {
    my ($self) = @_;
    return 0 unless -S "$self->{dir}/.s.PGSQL.$self->{port}";
    open my $saved, '>&', \*STDERR or die $!;
    open STDERR, '>', '/dev/null';
    my $code = system "$self->{bin}/pg_isready", '-q', '-h', $self->{dir}, '-p', $self->{port}, '-d', 'postgres';
    open STDERR, '>&', $saved;
    return $code == 0;
}

# An orderly stop ('INT': connections are ended) or a hasty one ('QUIT').
sub stop {
    my ($self, $signal) = @_;
    return unless $self->alive;
    my @children = $self->children;
    kill $signal // 'INT', $self->{pid};
    my $deadline = time + $deadline_s;
    while ($self->alive) {
        if (time > $deadline) { kill 'KILL', $self->{pid}, @children }
        sleep 0.01;
    }
}

# kill -9 of the postmaster and all of its backends.
sub crash {
    my ($self) = @_;
    my @children = $self->children;
    kill 'KILL', $self->{pid}, @children if $self->alive;
    while ($self->alive) { sleep 0.005 }
    my $deadline = time + $deadline_s;
    while (time < $deadline && grep { kill 0, $_ } @children) { sleep 0.005 }
}

sub children {
    my ($self) = @_;
    return $self->{pid} ? split ' ', slurp("/proc/$self->{pid}/task/$self->{pid}/children") : ();
}

sub restart { my ($self) = @_; $self->stop; return $self->start }

sub dir { $_[0]{dir} }
sub port { $_[0]{port} }
sub log { slurp("$_[0]{dir}/server.log") }

# For libpq: over the Unix socket, or over TCP without the password (that is for PGPASSWORD).
sub url {
    my ($self, $database) = @_;
    $database //= 'postgres';
    (my $host = $self->{dir}) =~ s{([^A-Za-z0-9_.-])}{sprintf '%%%02X', ord $1}ge;
    return "postgresql://daa\@$host:$self->{port}/$database";
}

sub tcp_url { my ($self, $database) = @_; return "postgresql://daa\@127.0.0.1:$self->{port}/" . ($database // 'postgres') }

sub psql {
    my ($self, $query, $database) = @_;
    return ("$self->{bin}/psql", '-X', '-q', '-A', '-t', '-F', "\x1f", '-v', 'ON_ERROR_STOP=1',
        '-h', $self->{dir}, '-p', $self->{port}, '-U', 'daa', '-d', $database // 'postgres', '-c', $query);
}

# Runs SQL and returns its output (fields parted by "\x1f", rows by "\n"); dies when it fails.
sub sql {
    my ($self, $query, $database) = @_;
    open my $out, '-|', $self->psql($query, $database) or die "psql: $!";
    my $text = do { local $/; <$out> } // '';
    close $out or croak "psql failed on: $query";
    chomp $text;
    return $text;
}

# The same, but undef and not a word when it fails.
sub try_sql {
    my ($self, @query) = @_;
    open my $saved, '>&', \*STDERR or die $!;
    open STDERR, '>', '/dev/null';
    my $text = eval { $self->sql(@query) };
    open STDERR, '>&', $saved;
    return $text;
}

sub rows { my ($self, @query) = @_; return map { [split /\x1f/, $_, -1] } split /\n/, $self->sql(@query) }

sub create_database { my ($self, $name) = @_; $self->sql(qq{CREATE DATABASE "$name"}); return $self->url($name) }

# The number of the newest migration.
sub newest_schema { my ($newest) = reverse sort glob 'pgsync/migrations/*.sql'; return 0 + ($newest =~ m{/(\d+)})[0] }

# Makes the schema what it was as of an older version (1 to 3), but for rows that are there.
sub schema_back_to {
    my ($self, $version, $database) = @_;
    my $sql = join ';', (map { "DROP VIEW daa.$_" } qw(running_workflows slow_steps failures_today uncertain_steps)),
        (map { "DROP TABLE daa.$_" } qw(migrations steps agents rejected erased)), 'ALTER TABLE daa.replica DROP derived',
        (map { "DROP INDEX daa.$_" } qw(workflows_failed workflows_submitted)),
        $version < 3 ? ('DROP TABLE daa.anchors', 'DROP FUNCTION daa.anchors_stay') : (),
        $version < 2 ? ('ALTER TABLE daa.replica DROP parent, DROP parent_seq, DROP number', 'ALTER TABLE daa.workflows DROP last_log') : (),
        "UPDATE daa.meta SET version = $version";
    return $self->sql("SET client_min_messages = warning; $sql", $database);
}

sub destroy {
    my ($self) = @_;
    return unless $self->{owner} == $$;    # a forked child's copy
    local ($?, $@, $!);
    $self->stop('QUIT');
    remove_tree($self->{dir});
    delete $running{ 0 + $self };
}

END { $_->destroy for values %running }

for my $signal (qw(INT TERM HUP)) {
    $SIG{$signal} //= sub { exit 128 + { INT => 2, TERM => 15, HUP => 1 }->{$signal} };
}

1;
