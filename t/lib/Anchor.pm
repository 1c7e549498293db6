# Signed heads of the log, checked with what daa-log-format(5) says alone: SHA-256 by Perl, the signature by openssl.
package Anchor;
use strict;
use warnings;
use Daa qw(run_program scratch spew);

# The bytes that are signed.
sub message {
    my ($anchor) = @_;
    my $uuid = $anchor->{log} =~ tr/-//dr;
    my @segments = @{ $anchor->{segments} };
    return pack('a16 H32 Q< H64 Q< Q< Q< V', 'daa log anchor 1', $uuid, @$anchor{qw(seq chain segment_no signed_ns previous)}, scalar @segments)
        . join '', map { pack 'Q< Q< Q< H64', @$_{qw(segment_no first_seq last_seq merkle_root)} } @segments;
}

sub have_openssl { return (eval { (run_program('openssl', 'version'))[0] } // 1) == 0 }

my $turn = 0;

# True if the key in the PEM file made the signature.
sub signed_by {
    my ($anchor, $public) = @_;
    my $name = scratch() . '/signed-' . ++$turn;
    spew("$name.message", message($anchor));
    spew("$name.signature", pack 'H*', $anchor->{signature});
    my ($status) = run_program('openssl', 'pkeyutl', '-verify', '-pubin', '-inkey', $public, '-rawin', '-in', "$name.message", '-sigfile', "$name.signature");
    return $status == 0;
}

# Signs it anew, as who has stolen the key could.
sub sign {
    my ($anchor, $private) = @_;
    my $name = scratch() . '/signed-' . ++$turn;
    spew("$name.message", message($anchor));
    my ($status, $signature) = run_program('openssl', 'pkeyutl', '-sign', '-inkey', $private, '-rawin', '-in', "$name.message");
    die "openssl fails\n" if $status != 0;
    return { %$anchor, signature => unpack 'H*', $signature };
}

1;
