# Stands between a copier and a server, and does something at the n-th thing that the copier sends.
#
#   my $proxy = PgProxy->new($server);
#   my $sent = $proxy->run($copies, $pid, 7, 'after', sub { kill 'KILL', $pid });
#
# Counts the frontend messages of all connections together: the startup packet is one, and so are all pieces of
# the data of one COPY. `when` is "before": the message does not get to the server; or "after": it did, and the
# server has answered, but the answer does not get back. Both ends of that connection are cut then.
package PgProxy;
use strict;
use warnings;
use Daa qw(scratch);
use IO::Select;
use IO::Socket::UNIX;

my $proxies = 0;
my ($ssl_request, $gss_request) = (80877103, 80877104);

sub new {
    my ($class, $server) = @_;
    my $dir = scratch() . '/proxy-' . ++$proxies;
    mkdir $dir or die "$dir: $!";
    my $listener = IO::Socket::UNIX->new(Local => "$dir/.s.PGSQL.5432", Listen => 5) or die "listen: $!";
    return bless { server => $server, dir => $dir, listener => $listener }, $class;
}

sub url { my ($self, $db) = @_; return 'postgresql://daa@' . ($self->{dir} =~ s{/}{%2F}gr) . ":5432/$db" }

# What it was that the last run acted at, for people.
sub acted_at { return $_[0]{acted_at} }

# Relays until the copier has ended. Returns how many messages it sent, as counted above.
sub run {
    my ($self, $copies, $pid, $nth, $when, $act) = @_;
    local $SIG{PIPE} = 'IGNORE';
    @$self{qw(sent nth when act acted_at)} = (0, $nth, $when, $act, undef);
    $self->{select} = IO::Select->new($self->{listener});
    $self->{connection} = {};
    until ($copies->ended($pid)) {
        for my $ready ($self->{select}->can_read(0.02)) {
            if ($ready == $self->{listener}) { $self->take_connection; next }
            my $connection = $self->{connection}{$ready} or next;
            $self->relay($connection, $ready) or $self->close_connection($connection);
        }
    }
    $self->{status} = $?;
    my %open = %{ $self->{connection} };
    $self->close_connection($_) for values %open;
    return $self->{sent};
}

# Of the copier in the last run, as of waitpid.
sub status { return $_[0]{status} }

sub take_connection {
    my ($self) = @_;
    my $client = $self->{listener}->accept or return;
    my $backend = IO::Socket::UNIX->new(Peer => $self->{server}->dir . '/.s.PGSQL.' . $self->{server}->port) or return;
    my $connection = { client => $client, backend => $backend, from_client => '', from_backend => '', begins => 1, last => '' };
    $self->{connection}{$_} = $connection for $client, $backend;
    $self->{select}->add($client, $backend);
    return;
}

sub close_connection {
    my ($self, $connection) = @_;
    for my $socket (@$connection{qw(client backend)}) {
        delete $self->{connection}{$socket};
        $self->{select}->remove($socket);
        close $socket;
    }
    return;
}

sub write_all {
    my ($socket, $bytes) = @_;
    for (my $done = 0; $done < length $bytes;) { $done += syswrite($socket, $bytes, length($bytes) - $done, $done) || return 0 }
    return 1;
}

# False: the connection is over.
sub relay {
    my ($self, $connection, $from) = @_;
    sysread $from, my $bytes, 65536 or return 0;
    return write_all($connection->{client}, $bytes) if $from == $connection->{backend};
    $connection->{from_client} .= $bytes;
    while (defined(my $message = next_message($connection))) { $self->pass($connection, $message) or return 0 }
    return 1;
}

# The next whole one that the copier sent.
sub next_message {
    my ($connection) = @_;
    my $head = $connection->{begins} ? 0 : 1;
    my $left = \$connection->{from_client};
    return undef if length $$left < $head + 4;
    my $size = $head + unpack 'N', substr $$left, $head, 4;
    return length $$left < $size ? undef : substr $$left, 0, $size, '';
}

sub pass {
    my ($self, $connection, $message) = @_;
    my $type = $connection->{begins} ? 'startup' : substr $message, 0, 1;
    $connection->{begins} = 0 unless $type eq 'startup' && length $message == 8 && grep { $_ == unpack 'x4N', $message } $ssl_request, $gss_request;
    my $again = $type eq 'd' && $connection->{last} eq 'd';
    $connection->{last} = $type;
    return write_all($connection->{backend}, $message) if $again || ++$self->{sent} != $self->{nth};
    $self->{acted_at} = $type eq 'Q' ? substr($message, 5, 100) =~ s/\s+/ /gr =~ s/\0//gr : $type;
    if ($self->{when} eq 'after' && write_all($connection->{backend}, $message) && $type =~ /^(?:startup|Q|S|c|f)$/) {
        1 while !has_answered($connection) && sysread $connection->{backend}, $connection->{from_backend}, 65536, length $connection->{from_backend};
    }
    $self->{act}->();
    return 0;
}

# The server waits for the next statement, or for the rows of a COPY.
sub has_answered {
    my ($connection) = @_;
    my $left = \$connection->{from_backend};
    while (length $$left >= 5) {
        my ($type, $size) = unpack 'aN', $$left;
        return 0 if length $$left < 1 + $size;
        substr $$left, 0, 1 + $size, '';
        return 1 if $type =~ /^[ZG]$/;
    }
    return 0;
}

1;
