# Opens encrypted events, written from docs/daa-log-format.5 alone ("KEYS"), with AES from openssl, which has no GCM on
# its command line: that is made of its blocks here.
#
#   my $fields = EventOpener::open_event($record, $keys);  # of LogReader: { number of a private field => bytes }
package EventOpener;
use strict;
use warnings;
use Daa qw(scratch spew);
use Digest::SHA qw(sha256);
use LogReader ();

# The fields that may be private, by kind.
my %private = (32 => [4, 5, 7, 8], 34 => [2], 35 => [3], 36 => [2], 37 => [2], 49 => [5], 50 => [6, 7], 51 => [6], 52 => [4], 53 => [5],
    54 => [5, 6], 66 => [2]);

# The key, or undef when it was destroyed.
sub read_key {
    my ($dir, $id) = @_;
    my $file = LogReader::slurp(sprintf '%s/keys-%010d', $dir, int $id / 65536);
    my ($magic, $version, $crc, $first, $count) = unpack 'a8 V V V V', $file;
    die "keys: header\n" if $magic ne "\x89DAAK\r\n\x1a" || $version != 1 || $count != 65536 || length $file != 4198400;
    die "keys: header checksum\n" if $crc != LogReader::crc32c(substr($file, 0, 12), substr($file, 16, 4080)) || $id - $first != $id % 65536;
    my $slot = substr $file, 4096 + 64 * ($id % 65536), 64;
    my ($key, $state, $check) = unpack 'a32 V V', $slot;
    die "key $id: checksum\n" if $check != LogReader::crc32c(pack('V', $id), substr($slot, 0, 36), substr($slot, 40));
    return $state == 1 ? $key : undef;
}

sub varint {
    my ($bytes, $at) = @_;
    my ($value, $shift) = (0, 0);
    while (1) {
        my $byte = ord substr $bytes, $$at++, 1;
        $value |= ($byte & 127) << $shift;
        return $value if $byte < 128;
        $shift += 7;
    }
}

# { number of a field => number or bytes }, of a message whose fields are varints and bytes.
sub message {
    my ($bytes) = @_;
    my ($at, %fields) = (0);
    while ($at < length $bytes) {
        my $tag = varint($bytes, \$at);
        my $value = varint($bytes, \$at);
        die "wire type of field " . ($tag >> 3) . "\n" if ($tag & 7) != 0 && ($tag & 7) != 2;
        $fields{ $tag >> 3 } = ($tag & 7) == 0 ? $value : substr $bytes, $at, $value;
        $at += $value if ($tag & 7) == 2;
    }
    return \%fields;
}

sub aes {
    my ($mode, $key, $bytes, @iv) = @_;
    my $path = scratch() . '/aes';
    spew($path, $bytes);
    open my $out, '-|:raw', 'openssl', 'enc', "-aes-256-$mode", '-nopad', '-K', unpack('H*', $key), (map { ('-iv', unpack 'H*', $_) } @iv), '-in', $path or die "openssl: $!\n";
    local $/;
    my $made = <$out> // '';
    close $out or die "openssl fails\n";
    return $made;
}

# SP 800-38D, 6.3: blocks are strings of bits, the first one is the most significant.
sub multiply {
    my ($x, $y) = @_;
    my @x = unpack 'Q> Q>', $x;
    my ($high, $low) = unpack 'Q> Q>', $y;
    my @z = (0, 0);
    for my $bit (0 .. 127) {
        if ($x[$bit >> 6] >> (63 - ($bit & 63)) & 1) { $z[0] ^= $high; $z[1] ^= $low }
        my $odd = $low & 1;
        $low = $low >> 1 | ($high & 1) << 63;
        $high >>= 1;
        $high ^= 0xe1 << 56 if $odd;
    }
    return pack 'Q> Q>', @z;
}

sub ghash {
    my ($h, $bytes) = @_;
    my $y = "\0" x 16;
    $y = multiply($y ^ $_, $h) for unpack '(a16)*', $bytes;
    return $y;
}

# 7.2, with a nonce of 96 bits; undef when the tag does not fit.
sub decrypt {
    my ($key, $nonce, $data, $bytes, $tag) = @_;
    my $padded = sub { $_[0] . "\0" x (-length($_[0]) % 16) };
    my $h = aes('ecb', $key, "\0" x 16);
    my $s = ghash($h, $padded->($data) . $padded->($bytes) . pack 'Q> Q>', 8 * length $data, 8 * length $bytes);
    return if ($s ^ aes('ecb', $key, $nonce . pack 'N', 1)) ne $tag;
    return aes('ctr', $key, $bytes, $nonce . pack 'N', 2);
}

# undef: nothing of it is encrypted; 'destroyed': so is its key.
sub open_event {
    my ($record, $keys) = @_;
    return if !$record->{key_id};
    my $event = message($record->{payload});
    return if !defined $event->{5};
    die "event $record->{seq}: schema\n" if $event->{1} != 2 || $record->{flags};
    my $body = message($event->{ $record->{kind} });
    my @fields = @{ $private{ $record->{kind} } };
    my ($at, @sizes) = (0);
    push @sizes, varint($event->{6}, \$at) while $at < length $event->{6};
    die "event $record->{seq}: sizes\n" if @sizes != @fields || grep { exists $body->{$_} } @fields;
    return 'destroyed' if $event->{5} !~ /[^\0]/;
    my $key = read_key($keys, $record->{key_id}) // return 'destroyed';
    my $data = sha256(pack 'Q< Q< V V V*', @$record{qw(seq stream kind key_id)}, @sizes);
    my ($nonce, $bytes, $tag) = unpack 'a12 a' . (length($event->{5}) - 28) . ' a16', $event->{5};
    my $plain = decrypt($key, $nonce, $data, $bytes, $tag) // die "event $record->{seq}: tag\n";
    my %opened;
    for my $i (grep { $sizes[$_] } 0 .. $#fields) {
        $opened{ $fields[$i] } = substr $plain, 0, $sizes[$i] - 1, '';
    }
    die "event $record->{seq}: bytes are left\n" if $plain ne '';
    return \%opened;
}

1;
