# A daemon of a test's own, and clients that talk to it.
#
#   my $agent = Daa->start(config => "[exec]\nenabled = true\n");
#   my $answer = $agent->post('/api/v1/workflows?wait=10s', { definition => { ... } });
#   is($answer->{status}, 200);  is($answer->{json}{status}, 'completed');
#   $agent->kill;  $agent->start_again;  is($agent->stop, 0);
#
# Everything lies in a scratch directory that goes away at the end, as do daemons that still run.
package Daa;
use strict;
use warnings;
use Exporter 'import';
use File::Temp ();
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP ();
use POSIX ();
use Time::HiRes ();

our @EXPORT_OK = qw(wait_until scratch program slurp spew run_program clock_file set_clock disk_file set_disk);
my $json = JSON::PP->new->utf8->canonical->allow_nonref;
my (%running, $scratch, $clocks);
my $owner = $$;

sub program {
    my ($name) = @_;
    my $bin = $ENV{OUT} ? "$ENV{OUT}/bin" : 'build/release/bin';
    return "$bin/$name";
}

sub preload {
    my ($name) = @_;
    return ($ENV{OUT} // POSIX::getcwd() . '/build/release') . "/t/bin/$name.so";
}

# The clocks of a machine, for start(clock =>): its wall clock, and what elapsed while it was suspended,
# in seconds away from the true ones.
sub clock_file {
    my $path = scratch() . "/clock-$$-" . ++$clocks;
    spew($path, pack 'q2', 0, 0);
    return $path;
}

# A disk whose size is what the test says, for start(disk =>): MB free, and MB in all.
sub disk_file {
    my $path = scratch() . "/disk-$$-" . ++$clocks;
    spew($path, pack 'Q2', map { $_ * 1048576 } @_);
    return $path;
}

sub set_disk {
    my ($path, @mb) = @_;
    open my $file, '+<:raw', $path or die "$path: $!";
    syswrite $file, pack 'Q2', map { $_ * 1048576 } @mb;
    return;
}

sub set_clock {
    my ($path, $wall, $suspended) = @_;
    open my $file, '+<:raw', $path or die "$path: $!";
    syswrite $file, pack 'q2', map { int($_ * 1e9) } $wall, $suspended // 0;
    close $file or die "$path: $!";
    return;
}

# A directory on a real filesystem, removed at the end.
sub scratch {
    $scratch //= File::Temp->newdir('daa-XXXXXX', DIR => $ENV{TEST_SCRATCH} // '/var/tmp', CLEANUP => 1);
    return "$scratch";
}

sub slurp { my ($path) = @_; open my $in, '<:raw', $path or return undef; local $/; return scalar <$in> // '' }
sub spew  { my ($path, $bytes) = @_; open my $out, '>:raw', $path or die "$path: $!"; print $out $bytes; close $out or die "$path: $!" }

# Runs a program to its end: (exit status, stdout, stderr). A signal is 128 + its number.
my $runs = 0;
sub run_program {
    my @command = @_;
    my ($out, $err) = map { scratch() . "/run-$$-" . ++$runs . ".$_" } qw(out err);
    my $pid = fork() // die "fork: $!";
    if (!$pid) {
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', $out;
        open STDERR, '>', $err;
        exec { $command[0] } @command or POSIX::_exit(127);
    }
    waitpid $pid, 0;
    my $status = $? & 127 ? 128 + ($? & 127) : $? >> 8;
    my @said = map { slurp($_) } $out, $err;
    unlink $out, $err;
    return ($status, @said);
}

# Asks again until the sub says yes; what it said, or false after so many seconds (30).
sub wait_until(&;$) {
    my ($condition, $seconds) = @_;
    my $deadline = Time::HiRes::time() + ($seconds // 30);
    while (1) {
        my $said = $condition->();
        return $said if $said;
        return if Time::HiRes::time() > $deadline;
        Time::HiRes::sleep(0.01);
    }
}

#--- The daemon ------------------------------------------------------------------------------------

# dir (made), config (text of a file), args [], listen, wait_ready (1), clock (from clock_file()), disk (from
# disk_file()): all optional. Without a disk there is no ballast: it is large. Without [anchor] in the config the agent
# signs nothing by itself: an event that comes when a segment happens to be sealed.
sub start {
    my ($class, %options) = @_;
    my $number = ++$runs;
    my $self = bless {
        dir => $options{dir} // scratch() . "/data-$$-$number",
        listen => $options{listen} // '127.0.0.1:0',
        args => $options{args} // [],
        wait_ready => $options{wait_ready} // 1,
        clock => $options{clock},
        disk => $options{disk},
        out => scratch() . "/agent-$$-$number.out",
        err => scratch() . "/agent-$$-$number.err",
    }, $class;
    if (defined $options{config}) {
        $self->{config} = scratch() . "/agent-$$-$number.toml";
        spew($self->{config}, $options{config});
    }
    $self->{anchors} = ($options{config} // '') =~ /^\[anchor\]/m;
    return $self->start_again;
}

sub start_again {
    my ($self) = @_;
    my @command = (program('daa-agent'), '--data-dir', $self->{dir}, '--listen', $self->{listen},
        ($self->{config} ? ('--config', $self->{config}) : ()), @{ $self->{args} });
    delete @$self{qw(client port url status)};
    unlink $self->{out};
    my $pid = fork() // die "fork: $!";
    if (!$pid) {
        $ENV{DAA_ANCHOR_INTERVAL} = '0s' if !$self->{anchors};
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', $self->{out};
        open STDERR, '>>', $self->{err};
        $ENV{TEST_CLOCK_FILE} = $self->{clock} if $self->{clock};
        $ENV{TEST_DISK_FILE} = $self->{disk} if $self->{disk};
        $ENV{DAA_LOG_BALLAST} //= '0B' if !$self->{disk};
        my @preload = map { $self->{ $_->[0] } ? preload($_->[1]) : () } ['clock', 'clock-shift'], ['disk', 'disk-size'];
        if (@preload) {
            $ENV{LD_PRELOAD} = join ':', grep { defined } $ENV{LD_PRELOAD}, @preload;
            $ENV{ASAN_OPTIONS} = join ':', grep { defined } $ENV{ASAN_OPTIONS}, 'verify_asan_link_order=0';
        }
        exec { $command[0] } @command or POSIX::_exit(127);
    }
    $self->{pid} = $pid;
    $running{$pid} = $self;
    $self->await_ready if $self->{wait_ready};
    return $self;
}

# True once it printed its line; dies with what it said when it ended instead.
sub await_ready {
    my ($self, $seconds) = @_;
    my $ready = wait_until(sub {
        my $line = slurp($self->{out}) // '';
        return 1 if $line =~ m{^daa-agent ready (http://[^\s:]+:(\d+))\n} && (@$self{qw(url port)} = ($1, $2));
        $self->reap(POSIX::WNOHANG()) and die "daa-agent ended ($self->{status}): " . $self->said;
        return 0;
    }, $seconds // 60);
    die 'daa-agent did not get ready: ' . $self->said if !$ready;
    return 1;
}

sub said { my ($self) = @_; return slurp($self->{err}) // '' }
sub pid { $_[0]{pid} }
sub port { $_[0]{port} }
sub url { $_[0]{url} }
sub dir { $_[0]{dir} }
sub token { my ($self) = @_; my $token = slurp("$self->{dir}/admin.token") // ''; $token =~ s/\s+//g; return $token }

# Takes the exit status when it ended; with no flags waits for that.
sub reap {
    my ($self, $flags) = @_;
    return 1 if !$self->{pid};
    return 0 if waitpid($self->{pid}, $flags // 0) != $self->{pid};
    $self->{status} = $? & 127 ? 128 + ($? & 127) : $? >> 8;
    delete $running{ $self->{pid} };
    delete $self->{pid};
    delete $self->{client};
    return 1;
}

sub signal { my ($self, $signal) = @_; CORE::kill $signal => $self->{pid} if $self->{pid}; return $self }

# SIGTERM; its exit status (SIGKILL after a minute).
sub stop {
    my ($self) = @_;
    $self->signal('TERM');
    wait_until(sub { $self->reap(POSIX::WNOHANG()) }, 60) or $self->kill;
    return $self->{status};
}

sub kill { my ($self) = @_; $self->signal('KILL'); $self->reap; return $self }    ## no critic

sub client { my ($self) = @_; return Daa::Client->new(port => $self->{port}) }
sub request { my ($self, @rest) = @_; return ($self->{client} //= $self->client)->request(@rest) }
sub get { my ($self, $path, $headers) = @_; return $self->request('GET', $path, undef, $headers) }
sub post { my ($self, $path, $body, $headers) = @_; return $self->request('POST', $path, $body, $headers) }
sub as_admin { my ($self) = @_; return { Authorization => 'Bearer ' . $self->token } }

END {
    if ($$ == $owner) {
        local $?;
        for my $agent (values %running) { $agent->kill }
    }
}
$SIG{$_} //= sub { exit 1 } for qw(INT TERM HUP);

#--- A client: one connection, kept open -----------------------------------------------------------

package Daa::Client;

sub new {
    my ($class, %options) = @_;
    return bless { timeout => 60, %options }, $class;
}

sub connect {    ## no critic
    my ($self) = @_;
    $self->{buffer} = '';
    $self->{socket} = $self->{path}
        ? IO::Socket::UNIX->new(Peer => $self->{path})
        : IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port});
    return $self->{socket};
}

sub close { my ($self) = @_; delete $self->{socket}; return }    ## no critic

# Sends bytes as they are; false when the connection is gone.
sub send {                                                       ## no critic
    my ($self, $bytes) = @_;
    $self->{socket} or $self->connect or return 0;
    local $SIG{PIPE} = 'IGNORE';
    while (length $bytes) {
        my $sent = syswrite $self->{socket}, $bytes;
        return 0 if !defined $sent;
        substr $bytes, 0, $sent, '';
    }
    return 1;
}

# More bytes into the buffer; false at the end, an error or after the timeout.
sub fill {
    my ($self) = @_;
    my $socket = $self->{socket} or return 0;
    return 0 if !IO::Select->new($socket)->can_read($self->{timeout});
    return sysread $socket, $self->{buffer}, 65536, length $self->{buffer};
}

# The next answer: {status, headers {lower-case}, body, json}; undef when there is none.
sub answer {
    my ($self) = @_;
    my $end;
    while (($end = index $self->{buffer}, "\r\n\r\n") < 0) { $self->fill or return $self->close }
    my $head = substr $self->{buffer}, 0, $end + 4, '';
    my ($line, @headers) = split /\r\n/, $head;
    my ($status) = $line =~ m{^HTTP/1\.[01] (\d+)} or return $self->close;
    my %headers = map { my ($name, $value) = split /:\s*/, $_, 2; (lc $name => $value) } @headers;
    return $self->answer if $status == 100;
    my $size = $headers{'content-length'} // 0;
    while (length $self->{buffer} < $size) { $self->fill or return $self->close }
    my $body = substr $self->{buffer}, 0, $size, '';
    $self->close if lc($headers{connection} // '') eq 'close';
    my $answer = { status => $status, headers => \%headers, body => $body };
    $answer->{json} = eval { $json->decode($body) } if ($headers{'content-type'} // '') =~ /json/;
    return $answer;
}

# A body that is a reference is sent as JSON, a string as it is. {status => 0} when no answer came.
sub request {
    my ($self, $method, $path, $body, $headers) = @_;
    my %headers = (Host => 'localhost', %{ $headers // {} });
    if (defined $body) {
        $body = $json->encode($body) if ref $body;
        $headers{'Content-Type'} //= 'application/json';
        $headers{'Content-Length'} //= length $body;
    }
    my $bytes = "$method $path HTTP/1.1\r\n";
    $bytes .= "$_: $headers{$_}\r\n" for grep { defined $headers{$_} } sort keys %headers;
    $bytes .= "\r\n" . ($body // '');
    for my $try (1, 2) {    # a kept connection may have been closed: then nothing was taken
        my $kept = $self->{socket};
        my $answer = $self->send($bytes) && $self->answer;
        return $answer if $answer;
        $self->close;
        last if !$kept || $method ne 'GET';
    }
    return { status => 0, headers => {}, body => '' };
}

1;
