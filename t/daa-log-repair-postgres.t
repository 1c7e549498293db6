#!/usr/bin/perl
# daa-log repair --from-postgres: damaged frames are built anew out of the records that PostgreSQL has, byte for byte what was
# there, wherever they lie and whatever is left of them; and nothing is written that the chain does not prove.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(scratch slurp spew program);
use LogMaker qw(daa_log lines make_log copy_of patch flip need_log_tools start_maker say_to stop);
use PgCopy;
use PgServer;
use Test::More;

need_log_tools();
plan skip_all => PgServer->missing if PgServer->missing;

my $server = PgServer->new(tcp => 1);
my $copies = PgCopy->new($server);

sub seg { my ($number) = @_; return sprintf 'seg-%010d.log', $number }
sub go_on { my ($dir, $seed, @commands) = @_; my $writer = start_maker($dir, $seed); say_to($writer, $_) for @commands; stop($writer); return }
sub frames {
    my ($log, $number) = @_;
    return map { /^frame at 0x([0-9a-f]+), (\d+) bytes: events (\d+) to (\d+)/ ? { at => hex $1, size => $2, first => $3, last => $4 } : () }
        split /\n/, (daa_log('hexdump', $log, $number))[1];
}
sub copied { my ($log) = @_; my $db = $copies->database; my ($status, $said, $complained) = $copies->run($log, $db); $status == 0 or die "daa-pgsync: $complained"; return $db }
sub from { my ($db) = @_; return ('--from-postgres', $server->url($db)) }
sub steps { my ($said) = @_; return map { $_->{step} ? $_ : () } lines($said) }
sub kinds { my ($said) = @_; return join ' ', map { $_->{step} } steps($said) }
sub sql { my ($db, $query) = @_; return $server->sql($query, $db) }
sub same { my ($log, $from, $name, @numbers) = @_; ok(slurp("$log/" . seg($_)) eq slurp("$from/" . seg($_)), "$name: segment $_ is as it was, to the byte") for @numbers; return }

# The plan, which changes nothing, then the repair, which does what the plan says.
sub repaired {
    my ($log, $name, @options) = @_;
    my %before = map { $_ => slurp($_) } glob "$log/seg-*";
    my ($plan_status, $plan) = daa_log('repair', '--plan', '--json', @options, $log);
    ok(!(grep { slurp($_) ne $before{$_} } keys %before), "$name: a plan changes nothing");
    my ($status, $said, $complained) = daa_log('repair', '--json', @options, $log);
    is_deeply([steps($said)], [steps($plan)], "$name: what is done is what was planned") or diag("$said$complained");
    is($status, $plan_status, "$name: with the same status");
    return ($status, $said . $complained);
}
sub healed {
    my ($log, $from, $name, $numbers, @options) = @_;
    my ($status, $said) = repaired($log, $name, @options);
    is($status, 0, "$name: it is mended") or diag $said;
    same($log, $from, $name, @$numbers);
    is((daa_log('verify', $log))[0], 0, "$name: and verify finds it sound");
    return $said;
}
sub refused {
    my ($log, $name, $why, @options) = @_;
    my %before = map { $_ => slurp($_) } glob "$log/seg-*";
    my ($status, $said) = repaired($log, $name, @options);
    is($status, 1, "$name: it is not called whole");
    like($said, $why, "$name: and it is said why");
    ok(!(grep { slurp($_) ne $before{$_} } keys %before), "$name: no byte of it is changed");
    return;
}

# A closed segment with many small frames and some large ones, others that a stop closed, and the newest.
my $dir = make_log('log', (map { "workflows $_" } 1 .. 12), 'fill 6 150000', 'workflows 40', 'fill 4 150000', map { "workflows $_" } 1 .. 4);
go_on($dir, 43, (map { "open w$_ 3000" } 1 .. 6), map { "workflows $_" } 1 .. 5);
my $db = copied($dir);
my @numbers = map { $_->{name} =~ /(\d+)/ ? 0 + $1 : () } grep { $_->{type} eq 'segment' && $_->{state} ne 'spare' } lines((daa_log('ls', '--json', $dir))[1]);
my ($closed, $newest) = @numbers[0, -1];
my %frames = map { $_ => [frames($dir, $_)] } @numbers;
cmp_ok(scalar @{ $frames{$_} }, '>=', 10, "segment $_ has frames") for $closed, $newest;

for my $number ($closed, $newest) {
    my @f = @{ $frames{$number} };
    my ($last) = $#f;
    subtest "segment $number" => sub {
        for my $case (
            ['a payload',                sub { my ($path) = @_; patch($path, $f[3]{at} + 250, 'x' x 20) }],
            ['the header of a record',   sub { my ($path) = @_; patch($path, $f[4]{at} + 136, "\x55" x 40) }],
            ['the header of a frame',    sub { my ($path) = @_; patch($path, $f[3]{at} + 16, "\x55" x 64) }],
            ['all of its header',        sub { my ($path) = @_; patch($path, $f[4]{at}, "\x55" x 128) }],
            ['a header by one bit, and its body', sub { my ($path) = @_; flip($path, $f[3]{at} + 20, 3); patch($path, $f[3]{at} + 300, 'x' x 30) }],
            ['padding',                  sub { my ($path) = @_; patch($path, $f[3]{at} + $f[3]{size} - 9, 'x' x 9) }],
            ['bits here and there',      sub { my ($path) = @_; flip($path, $f[$_]{at} + 200, 1), flip($path, $f[$_]{at} + 210, 5) for 2, 4, 5 }],
            ['a block of zeros',         sub { my ($path) = @_; patch($path, $f[3]{at}, "\0" x 4096) }],
            ['the first frame',          sub { my ($path) = @_; patch($path, $f[0]{at}, "\0" x $f[0]{size}) }],
            ['four frames in a row',     sub { my ($path) = @_; patch($path, $f[3]{at}, "\0" x ($f[7]{at} - $f[3]{at})) }],
            ['the last frame',           sub { my ($path) = @_; patch($path, $f[$last]{at}, 'x' x $f[$last]{size}) }],
            ['the last three',           sub { my ($path) = @_; patch($path, $f[$last - 2]{at}, "\0" x ($f[$last]{at} + $f[$last]{size} - $f[$last - 2]{at})) }],
        ) {
            my ($name, $hurt) = @$case;
            my $log = copy_of($dir, "hurt-$number-" . ($name =~ s/\W+/-/gr));
            $hurt->("$log/" . seg($number));
            is((daa_log('verify', $log))[0], 1, "$name: is damage");
            is((daa_log('repair', '--plan', $log))[0], 1, "$name: alone it cannot be mended");
            my $said = healed($log, $dir, $name, \@numbers, from($db));
            like(kinds($said), qr/^build( build)*$/, "$name: built anew");
        }
    };
}

subtest 'a person reads where it comes from' => sub {
    my $log = copy_of($dir, 'told');
    my $frame = $frames{$closed}[3];
    patch("$log/" . seg($closed), $frame->{at} + 250, 'x' x 20);
    my ($status, $said) = daa_log('repair', '--plan', from($db), $log);
    like($said, qr/^build seg-0+$closed\.log at $frame->{at}: $frame->{size} bytes with events $frame->{first} to $frame->{last} are built anew, \d+ of these from PostgreSQL and \d+ from what is whole here/m,
        'which event, from where, and what proves it');
    ok(!-e "$log/quarantine", 'of a plan nothing is kept');
};

subtest 'with a copy' => sub {
    my ($log, $other) = map { copy_of($dir, "with-$_") } 'log', 'copy';
    my @f = @{ $frames{$closed} };
    my $behind = copied($dir);
    sql($behind, "DELETE FROM daa.events WHERE seq BETWEEN $f[3]{first} AND $f[3]{last}");
    patch("$log/" . seg($closed), $f[$_]{at} + 128, "\x55" x ($f[$_]{size} - 128)) for 3, 6;
    patch("$other/" . seg($closed), $f[6]{at} + 128, "\x55" x ($f[6]{size} - 128));
    is((daa_log('repair', '--plan', '--from', $other, $log))[0], 1, 'the copy alone is not enough');
    my ($status, $lacks) = daa_log('repair', '--plan', from($behind), $log);
    is($status, 1, 'nor is PostgreSQL');
    like($lacks, qr/PostgreSQL has no row of event $f[3]{first}; if its partition was detached, attach it again/, 'which has some rows no more');
    my $said = healed($log, $dir, 'both', [$closed], '--from', $other, from($behind));
    is(kinds($said), 'take build', 'each gives what it has');
};

subtest 'a record that was refused as a row' => sub {
    my $odd = copied($dir);
    my $log = copy_of($dir, 'rejected');
    my $frame = $frames{$closed}[3];
    sql($odd, "INSERT INTO daa.rejected (log, seq, sqlstate, message, record, in_events) SELECT log, seq, '22000', 'no', record, false FROM daa.events WHERE seq = $frame->{first}");
    sql($odd, "DELETE FROM daa.events WHERE seq = $frame->{first}");
    patch("$log/" . seg($closed), $frame->{at} + 130, "\x55" x 100);
    healed($log, $dir, 'refused', [$closed], from($odd));
};

sub crc32c {
    my ($bytes) = @_;
    my $crc = 0xffffffff;
    for my $byte (unpack 'C*', $bytes) {
        $crc ^= $byte;
        $crc = $crc & 1 ? $crc >> 1 ^ 0x82f63b78 : $crc >> 1 for 1 .. 8;
    }
    return $crc ^ 0xffffffff;
}

subtest 'rows that were changed' => sub {
    my $frame = $frames{$closed}[3];
    for my $case (
        ['a byte of it',     qr/event $frame->{first} is damaged: its checksum is wrong/, sub { substr($_[0], 70, 1) ^= "\x01"; return $_[0] }],
        ['and its checksum', qr/are not those that were written here/, sub {
            my ($record) = @_;
            substr($record, 40, 1) ^= "\x01";
            substr($record, 4, 4) = pack 'V', crc32c(substr($record, 0, 4) . substr($record, 8));
            return $record;
        }],
        ['another size',     qr/event $frame->{first} is damaged|are not those/, sub { return $_[0] . "\0" x 8 }],
        ['another event',    qr/event $frame->{first} is damaged/, sub { return pack 'H*', sql($db, "SELECT encode(record, 'hex') FROM daa.events WHERE seq = $frame->{last}") }],
        ['nothing',          qr/event $frame->{first} is damaged/, sub { return '' }],
    ) {
        my ($name, $why, $change) = @$case;
        my $changed = copied($dir);
        my $hex = unpack 'H*', $change->(pack 'H*', sql($changed, "SELECT encode(record, 'hex') FROM daa.events WHERE seq = $frame->{first}"));
        sql($changed, "UPDATE daa.events SET record = '\\x$hex' WHERE seq = $frame->{first}");
        my $log = copy_of($dir, 'changed-' . ($name =~ s/\W+/-/gr));
        patch("$log/" . seg($closed), $frame->{at} + 130, "\x55" x 100);
        refused($log, $name, $why, from($changed));
        next if $name ne 'and its checksum';
        patch("$log/" . seg($closed), $frame->{at}, "\0" x $frame->{size});
        refused($log, 'the same without a header', qr/do not give the chain that is demanded/, from($changed));
    }
};

subtest 'a copy that is behind' => sub {
    my $part = make_log('part', map { "workflows $_" } 1 .. 6);
    my $behind = copied($part);
    my $position = sql($behind, 'SELECT last_seq FROM daa.replica');
    go_on($part, 43, map { "workflows $_" } 1 .. 6);
    my @f = frames($part, 2);
    my $log = copy_of($part, 'behind');
    patch("$log/" . seg(2), $f[2]{at} + 200, "\x55" x 300);
    refused($log, 'position', qr/PostgreSQL has log [-0-9a-f]{36} only up to event $position/, from($behind));
    $copies->run($part, $behind);
    healed($log, $part, 'once it has caught up', [2], from($behind));
};

subtest 'an end that only PostgreSQL knows' => sub {
    my $log = copy_of($dir, 'end');
    my $frame = $frames{$newest}[-1];
    unlink "$log/CHECKPOINT" or die;
    patch("$log/" . seg($newest), $frame->{at}, "\0" x $frame->{size});
    is((daa_log('repair', '--plan', $log))[0], 0, 'looks whole from here');
    refused($log, 'the end', qr/PostgreSQL.*nothing that is whole says what chain ends here/s, from($db));
    my $behind = $frame->{first} - 1;
    like((daa_log('repair', from($db), $log))[1], qr/--cut-at $behind /, 'and is given up only when it is said');
};

subtest 'a log that forked' => sub {
    my $parent = make_log('parent', map { "workflows $_" } 1 .. 6);
    my $child = copy_of($parent, 'child');
    spew("$child/FORK", '');
    go_on($parent, 43, map { "workflows $_" } 1 .. 6);
    go_on($child, 44, map { "workflows $_" } 2 .. 7);
    my $both = copied($parent);
    is(($copies->run($child, $both))[0], 0, 'is copied beside its parent');
    for my $case ([$parent, 'the parent'], [$child, 'the child']) {
        my ($from, $name) = @$case;
        my $log = copy_of($from, $name =~ s/\W/-/gr);
        for my $number (1, 2) {
            my @f = frames($log, $number);
            patch("$log/" . seg($number), $f[2]{at} + 128, "\x55" x ($f[2]{size} - 128));
            patch("$log/" . seg($number), $f[4]{at}, "\0" x $f[4]{size});
        }
        healed($log, $from, $name, [1, 2], from($both));
    }
    my $alone = copied($parent);
    my $log = copy_of($child, 'child-alone');
    my @f = frames($log, 2);
    patch("$log/" . seg(2), $f[2]{at} + 128, "\x55" x ($f[2]{size} - 128));
    refused($log, 'a database that has only the parent', qr/PostgreSQL has no copy of log/, from($alone));
};

subtest 'a sealed segment' => sub {
    my ($log, $whole) = (scratch() . '/sealed', scratch() . '/raw');
    system('cp', '-r', 't/golden/log-1.1-sealed', $log) == 0 or die;
    system('cp', '-r', 't/golden/log-1.1', $whole) == 0 or die;
    unlink "$log/PLACE", "$whole/PLACE";
    my $sealed = copied($whole);
    my ($file) = map { s{.*/}{}r } sort glob "$log/seg-*.zlog";
    my ($number) = $file =~ /(\d+)/;
    # Its first chunk has the segment's header too, which the front of the file has as well.
    my $size = -s "$log/$file";
    patch("$log/$file", 8192 + 600, "\x55" x 200);
    is((daa_log('verify', $log))[0], 1, 'is damaged');
    my ($status, $said) = repaired($log, 'sealed', from($sealed));
    is($status, 0, 'its frames are built anew') or diag $said;
    ok(slurp("$log/" . seg($number)) eq slurp("$whole/" . seg($number)), 'and its raw bytes are what they were before it was sealed');
    ok(!-e "$log/$file", 'so that the next agent seals them again');
    is((daa_log('verify', $log))[0], 0, 'verify finds it sound');
};

subtest 'a server that cannot be had' => sub {
    my $log = copy_of($dir, 'away');
    my $file = "$log/" . seg($closed);
    my $frame = $frames{$closed}[3];
    patch($file, $frame->{at} + 250, 'x' x 20);
    my $before = slurp($file);
    local $ENV{PGPASSWORD} = 'not-that-one';
    my ($status, $said, $complained) = daa_log('repair', '--from-postgres', $server->tcp_url($db), $log);
    is($status, 1, 'a wrong password fails');
    like($complained, qr/password authentication failed.*PGPASSWORD/s, 'which is said');
    unlike($said . $complained, qr/not-that-one/, 'without it');
    $server->sql('CREATE ROLE nobody_much LOGIN');
    (my $low = $server->url($db)) =~ s{daa\@}{nobody_much\@};
    ($status, $said, $complained) = daa_log('repair', '--from-postgres', $low, $log);
    is($status, 1, 'a role without rights fails');
    like($complained, qr/permission denied.*GRANT.*nothing was changed/s, 'with what it lacks');
    ($status, $said, $complained) = daa_log('repair', '--from-postgres', '', $log);
    is($status, 2, 'an empty url is misuse, not the server of this machine');
    like($complained, qr/--from-postgres: say which database/, 'which is said');
    (my $open = $server->tcp_url($db)) =~ s{daa\@}{daa:hidden\@};
    for my $url ($open, 'host=127.0.0.1 user=daa password=hidden', $server->tcp_url($db) . '?password=hidden') {
        ($status, $said, $complained) = daa_log('repair', '--from-postgres', $url, $log);
        is($status, 2, 'a password on the command line is refused');
        like($complained, qr/PGPASSFILE/, 'which says where it belongs');
        unlike($said . $complained, qr/hidden/, 'and does not repeat it');
    }
    is((daa_log('repair', '--from-postgres', 'postgresql://[', $log))[0], 2, 'so is a url that is none');
    { local $ENV{DAA_PG_URL}; is((daa_log('repair', '--from-postgres', '-', $log))[0], 2, 'and a variable that is not set'); }
    ($status, $said, $complained) = daa_log('repair', from('postgres'), $log);
    ok($status == 1 && $complained =~ /no copy of a log/, 'a database without one has nothing to give') or diag $complained;
    $server->stop;
    ($status, $said, $complained) = daa_log('repair', from($db), $log);
    is($status, 1, 'a server that is away fails');
    like($complained, qr/PostgreSQL cannot be had.*nothing was changed/s, 'which is said');
    ok(slurp($file) eq $before && !-e "$log/quarantine", 'and no byte is changed');
    $server->start;
    local $ENV{PGPASSWORD} = 'test-only';
    local $ENV{DAA_PG_URL} = $server->tcp_url($db);
    healed($log, $dir, 'back again, by $DAA_PG_URL', [$closed], '--from-postgres', '-');
};

done_testing();
