# A reader of the event log, written from docs/daa-log-format.5 alone, so that the page and our own
# reader hold each other to the truth. Slow, and it dies at the first thing that is not as the page
# says.
#
#   my @records = LogReader::read_log($dir);   # { seq, stream, time_ns, kind, cause, payload, ... }
package LogReader;
use strict;
use warnings;
use Digest::SHA qw(sha256);

use constant { BLOCK => 4096, TXN_BEGIN => 1, TXN_END => 2, CHAIN => 8, SEAL => 16, OPEN => 32, CLOSE => 64, TXN => 256 };

my @table = map { my $crc = $_; $crc = $crc & 1 ? $crc >> 1 ^ 0x82f63b78 : $crc >> 1 for 1 .. 8; $crc } 0 .. 255;

sub crc32c {
    my $crc = 0xffffffff;
    $crc = $table[($crc ^ $_) & 255] ^ $crc >> 8 for unpack 'C*', join '', @_;
    return $crc ^ 0xffffffff;
}

sub slurp {
    my ($path) = @_;
    open my $in, '<:raw', $path or die "$path: $!\n";
    local $/;
    return scalar <$in>;
}

sub segment_header {
    my ($path, $block) = @_;
    my %header;
    @header{qw(magic major minor crc log_uuid segment_no first_seq created_ns salt block_size epoch
        capacity prev_chain prev_last_seq prev_end_offset compat incompat checksum hash)} =
        unpack 'a8 v v V a16 Q< Q< Q< Q< V V Q< a32 Q< Q< V V C C', $block;
    @header{qw(event_schema boot_id prev_segment_no durable_seq parent_uuid parent_seq parent_chain)} =
        unpack 'x138 v x4 a16 Q< Q< a16 Q< a32', $block;
    die "$path: magic\n" if $header{magic} ne "\x89DAAL\r\n\x1a";
    die "$path: header checksum\n" if crc32c(substr($block, 0, 12), substr($block, 16)) != $header{crc};
    die "$path: version\n" if $header{major} != 1 || $header{incompat} & ~1 || $header{checksum} != 1;
    die "$path: block size\n" if $header{block_size} != BLOCK;
    die "$path: number\n" if $path !~ /seg-(\d{10})\.z?log$/ || $1 != $header{segment_no};
    my ($reserved, $size, $end) = $header{minor} ? (140, 4, 232) : (138, 6, 176);
    die "$path: reserved bytes\n" if substr($block, $reserved, $size) =~ /[^\0]/ || substr($block, $end) =~ /[^\0]/;
    my $parent = substr($block, 176, 56) =~ /[^\0]/;
    die "$path: parent\n" if $parent != ($header{incompat} & 1) || $header{parent_uuid} eq $header{log_uuid};
    $header{event_schema} ||= 1;
    return \%header;
}

# The raw bytes of a sealed segment, up to its capacity; each of its bytes is looked at.
sub unseal {
    my ($path, $bytes) = @_;
    my %front;
    @front{qw(zstd_magic zstd_size magic version crc used end_offset last_seq chain record_count min_time_ns max_time_ns
        file_size index_offset chunk_size chunk_count merkle_root)} = unpack 'V V a8 V V Q< Q< Q< a32 Q< Q< Q< Q< Q< V V a32', $bytes;
    die "$path: front\n" if $front{zstd_magic} != 0x184d2a50 || $front{zstd_size} != 8184 || $front{magic} ne 'DAAZSEG1';
    die "$path: checksum of the front\n" if crc32c(substr($bytes, 0, 20), substr($bytes, 24, 8192 - 24)) != $front{crc};
    die "$path: version\n" if $front{version} != 1;
    die "$path: reserved bytes\n" if substr($bytes, 160, 4096 - 160) =~ /[^\0]/;
    die "$path: size\n" if $front{file_size} != length $bytes || $front{chunk_count} != int(($front{used} + $front{chunk_size} - 1) / $front{chunk_size});
    my $index_size = 8 + 8 * $front{chunk_count} + 4;
    my $index = substr $bytes, $front{index_offset}, $index_size;
    my ($magic, $size, @entries) = unpack 'V*', $index;
    my $crc = pop @entries;
    die "$path: index\n" if $magic != 0x184d2a51 || $size != $index_size - 8 || crc32c(substr $index, 0, -4) != $crc;
    my ($raw, $offset, @table) = ('', 8192, 8192, 0);
    while (my ($packed, $check) = splice @entries, 0, 2) {
        my $chunk = substr $bytes, $offset, $packed;
        die "$path: chunk at $offset\n" if crc32c($chunk) != $check;
        $offset += $packed;
        my $left = $front{used} - @table / 2 * $front{chunk_size} + $front{chunk_size};
        push @table, $packed, $left < $front{chunk_size} ? $left : $front{chunk_size};
    }
    die "$path: chunks\n" if $offset != $front{index_offset};
    my $table = pack 'V*', 0x184d2a5e, 8 * ($front{chunk_count} + 2) + 9, @table, $index_size, 0, $front{chunk_count} + 2;
    $table .= pack 'C V', 0, 0x8f92eab1;
    die "$path: seek table\n" if substr($bytes, $front{index_offset} + $index_size) ne $table;
    open my $zstd, '-|:raw', 'zstd', '-q', '-dc', $path or die "$path: zstd: $!\n";
    { local $/; $raw = <$zstd> }
    close $zstd or die "$path: zstd fails\n";
    die "$path: unpacks to " . length($raw) . " bytes\n" if length $raw != $front{used};
    my $block = substr $raw, 0, BLOCK;
    die "$path: header\n" if $block ne substr $bytes, 4096, BLOCK;
    return ($raw . "\0" x (unpack('x72 Q<', $block) - length $raw), \%front);
}

# The frame at the offset, or undef when there is none that goes on from `$last`.
sub frame {
    my ($bytes, $offset, $header, $last) = @_;
    return if $offset + BLOCK > length $bytes;
    my %frame;
    @frame{qw(magic header_crc salt first_seq file_offset record_count body_size block_count epoch durable_seq
        base_time_ns body_crc flags codec version raw_size prev_blocks prev_link reserved chain)} =
        unpack 'a4 V Q< Q< Q< V V V V Q< Q< V v C C V V Q< Q< a32', substr $bytes, $offset, 128;
    return if $frame{magic} ne 'DAF1' || crc32c(substr $bytes, $offset + 8, 120) != $frame{header_crc};
    die "newer frame at $offset\n" if $frame{codec} || $frame{version} != 1 || $frame{flags} & ~0x17b;
    return if $frame{salt} != $header->{salt} || $frame{epoch} != $header->{epoch} || $frame{file_offset} != $offset;
    return if $frame{first_seq} != $last->{seq} + 1 || $frame{prev_blocks} != $last->{blocks};
    return if defined $last->{link} && $frame{prev_link} != $last->{link};
    die "sizes of frame at $offset\n" if $frame{block_count} != int((128 + $frame{body_size} + BLOCK - 1) / BLOCK);
    my $body = substr $bytes, $offset + 128, $frame{block_count} * BLOCK - 128;
    return if crc32c($body) != $frame{body_crc};
    die "padding of frame at $offset\n" if substr($body, $frame{body_size}) =~ /[^\0]/;
    if ($header->{hash}) {
        my $chain = sha256($last->{chain}, substr($bytes, $offset + 8, 88), sha256($body));
        die "chain of frame at $offset\n" if $chain ne $frame{chain};
    }
    $frame{records} = [records($body, \%frame)];
    return \%frame;
}

sub records {
    my ($body, $frame) = @_;
    my ($at, @records) = (0);
    while ($at < $frame->{body_size}) {
        my %record;
        @record{qw(size crc seq stream time_ns kind flags payload_size cause stream_prev_seq key_id reserved)} =
            unpack 'V V Q< Q< Q< v v V Q< Q< V V', substr $body, $at, 64;
        my $bytes = substr $body, $at, $record{size};
        die "record $record{seq}: size\n" if $record{size} != (64 + $record{payload_size} + 7 & ~7);
        die "record $record{seq}: checksum\n" if crc32c(substr($bytes, 0, 4), substr($bytes, 8)) != $record{crc};
        die "record $record{seq}: number\n" if $record{seq} != $frame->{first_seq} + @records;
        $record{payload} = substr $bytes, 64, $record{payload_size};
        $record{leaf} = sha256("\0", $bytes);
        push @records, \%record;
        $at += $record{size};
    }
    die "records of frame $frame->{first_seq}\n" if @records != $frame->{record_count};
    return @records;
}

my %chains;    # after frames, by their last records

# Adds the records of one segment up to `$end` (undef: not known) and moves `$last` on.
sub read_segment {
    my ($bytes, $header, $end, $last, $records) = @_;
    my ($offset, @run, $before_run) = (BLOCK);
    while (!defined $end || $offset < $end) {
        my $frame = frame($bytes, $offset, $header, $last) or last;
        $before_run = { %$last } if $frame->{flags} & TXN_BEGIN;
        push @run, @{ $frame->{records} };
        $offset += $frame->{block_count} * BLOCK;
        %$last = (seq => $frame->{first_seq} + $frame->{record_count} - 1, blocks => $frame->{block_count},
            link => $frame->{header_crc} << 32 | $frame->{body_crc}, chain => $frame->{chain});
        $chains{ $last->{seq} } = $frame->{chain};
        next if $frame->{flags} & TXN && !($frame->{flags} & TXN_END);
        push @$records, splice @run;
        last if $frame->{flags} & (SEAL | CLOSE);
    }
    %$last = %$before_run if @run;
    $last->{blocks} = 0;
}

# Whether a segment with the header `$later` may stand behind one with `$before`.
sub of_line {
    my ($before, $later) = @_;
    my $parent = sub { join ' ', unpack('H*', $_[0]{parent_uuid}), $_[0]{parent_seq}, unpack 'H*', $_[0]{parent_chain} };
    return $parent->($before) eq $parent->($later) if $before->{log_uuid} eq $later->{log_uuid};
    return if !($later->{incompat} & 1) || $later->{parent_seq} != $later->{prev_last_seq};
    return if $later->{parent_chain} ne $later->{prev_chain};
    return $later->{parent_uuid} eq $before->{log_uuid} || $parent->($before) eq $parent->($later);
}

# The root of the Merkle tree over leaves.
sub merkle_root {
    my (@leaves) = @_;
    return @leaves ? $leaves[0] : sha256('') if @leaves < 2;
    my $left = 1;
    $left *= 2 while 2 * $left < @leaves;
    return sha256("\1", merkle_root(@leaves[0 .. $left - 1]), merkle_root(@leaves[$left .. $#leaves]));
}

# What a sealed segment says of its records.
sub check_front {
    my ($segment, $last, $records) = @_;
    my ($path, $front) = @$segment{qw(path front)};
    my @times = sort { $a <=> $b } map { $_->{time_ns} } @$records;
    die "$path: its front names another end\n" if $front->{last_seq} != $last->{seq} || $front->{chain} ne $last->{chain};
    die "$path: its front counts other records\n" if $front->{record_count} != @$records;
    die "$path: its front names another Merkle root\n" if $front->{merkle_root} ne merkle_root(map { $_->{leaf} } @$records);
    die "$path: its front names other times\n" if @times && ($front->{min_time_ns} != $times[0] || $front->{max_time_ns} != $times[-1]);
}

my %last;

# The chain at the end of a log.
sub end_chain { read_log($_[0]); return $last{chain} }

# The chain after the frame that ends with the record.
sub chain_at { my ($dir, $seq) = @_; read_log($dir); return $chains{$seq} }

# The leaves of all records, by their numbers.
sub leaves { my ($dir) = @_; my @leaves; $leaves[$_->{seq}] = $_->{leaf} for read_log($dir); return \@leaves }

sub read_log {
    my ($dir) = @_;
    my (@segments, @records);
    %last = %chains = ();
    my %paths = map { /seg-(\d{10})/ ? ($1 => $_) : () } glob("$dir/seg-??????????.zlog"), glob "$dir/seg-??????????.log";
    for my $path (map { $paths{$_} } sort keys %paths) {
        my ($bytes, $front) = slurp($path);
        ($bytes, $front) = unseal($path, $bytes) if $path =~ /zlog$/;
        my $block = substr $bytes, 0, BLOCK;
        next if $block !~ /[^\0]/;
        push @segments, { path => $path, bytes => $bytes, front => $front, header => segment_header($path, $block) };
    }
    for my $i (0 .. $#segments) {
        my ($header, $next) = ($segments[$i]{header}, $i < $#segments ? $segments[$i + 1]{header} : undef);
        die "$segments[$i]{path}: belongs to another log\n" if $i > 0 && !of_line($segments[$i - 1]{header}, $header);
        %last = (seq => $header->{prev_last_seq}, blocks => 0, chain => $header->{prev_chain}) if $i == 0;
        die "$segments[$i]{path}: goes on behind $header->{prev_last_seq}, not $last{seq}\n"
            if $header->{prev_last_seq} != $last{seq} || $header->{prev_chain} ne $last{chain};
        my $before = @records;
        read_segment($segments[$i]{bytes}, $header, $next && $next->{prev_end_offset}, \%last, \@records);
        check_front($segments[$i], \%last, [@records[$before .. $#records]]) if $segments[$i]{front};
    }
    return @records;
}

1;
