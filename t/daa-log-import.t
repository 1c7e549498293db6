#!/usr/bin/perl
# daa-log import: what was exported as records is a log again, whatever the records are and however they come; what is
# not whole, not in order or of another log is refused by file and line, and nothing is left of it.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(scratch program slurp spew run_program wait_until);
use JSON::PP ();
use LogMaker qw(daa_log lines make_log need_log_tools start_maker say_to stop);
use POSIX ();
use Test::More;

need_log_tools();

my $made = 0;
sub target { return scratch() . '/made-' . ++$made }
sub file_of { my ($bytes) = @_; my $path = scratch() . '/lines-' . ++$made; spew($path, $bytes); return $path }
sub exported { my ($dir, @options) = @_; my ($status, $out, $err) = daa_log('export', '--format', 'records', @options, $dir); return $status == 0 ? $out : die $err }
sub name_of { my ($dir) = @_; return (lines((daa_log('stat', '--json', $dir))[1]))[0]{log} }

# Imports into a new directory: what it is called, status, stdout, stderr.
sub imported { my (@arguments) = @_; my $target = target(); return ($target, daa_log('import', '--segment-size', '1MiB', @arguments, $target)) }

sub fine {
    my ($name, $export, @arguments) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($target, $status, $out, $err) = imported(@arguments ? @arguments : file_of($export));
    return fail("$name: $err") if $status != 0;
    my ($verified, $said) = daa_log('verify', $target);
    is_deeply([exported($target) eq $export, $verified, -e "$target.importing"], [1, 0, undef], "$name gives a sound log of the same records") or diag($said);
    return $target;
}

sub refused {
    my ($name, $why, @arguments) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    for my $how ('import', 'import -n') {
        my $target = target();
        my ($status, $out, $err) = daa_log(split(' ', $how), @arguments, $target);
        ok($status == 1 && $out eq '' && $err =~ $why && $err =~ /\Adaa-log import: [^\n]+\n\z/, "$how: $name is refused") or diag("$status $out$err");
        ok(!glob("$target*"), 'and nothing is left');
    }
    return;
}

my $dir = make_log('log', 'workflows 300', 'parked', 'replaced', 'awkward', 'hostile', 'fill 8 200000');
my $writer = start_maker($dir);
say_to($writer, 'workflows 100');    # opened a second time
stop($writer);
my $export = exported($dir);
my $file = file_of($export);
my @records = split /(?<=\n)/, $export;
my $count = @records;

subtest 'logs of every kind' => sub {
    my $target = fine('one of several segments', $export);
    ok((daa_log('cat', '--json', $target))[1] eq (daa_log('cat', '--json', $dir))[1], 'which is shown the same');
    cmp_ok(scalar(my @segments = glob "$target/log/seg-*"), '>', 2, 'over several segments');
    is(scalar(grep { (stat)[2] & 077 } $target, "$target/log", glob "$target/log/*"), 0, 'for its owner alone');
    for my $golden (map { "t/golden/$_" } qw(log-1.0 log-1.1 log-1.1-sealed agent-0.1)) {
        my $copy = scratch() . '/golden-' . ++$made;
        system('cp', '-r', $golden, $copy) == 0 or die;
        fine($golden, exported($copy));
    }
    local $ENV{SEGMENT_SIZE} = 64 << 20;
    my $large = exported(make_log('large', 'fill 3 8388500'));
    my ($status, undef, $err) = daa_log('import', file_of($large), my $whole = target());
    ok($status == 0 && exported($whole) eq $large && (daa_log('verify', $whole))[0] == 0, 'payloads of 8 MiB') or diag($err);
    ($status, undef, $err) = daa_log('import', '--segment-size', '256KiB', file_of($large), my $small = target());
    ok($status == 1 && $err =~ /lines-\d+:2: event 2 has 8388\d+ bytes, which is more than a segment of 262144 allows/ && !glob("$small*"), 'which fit no small segment') or diag($err);
};

# The line of a record that no writer of ours makes.
my @table = map { my $crc = $_; $crc = $crc & 1 ? $crc >> 1 ^ 0x82f63b78 : $crc >> 1 for 1 .. 8; $crc } 0 .. 255;
sub crc32c { my $crc = ~0 & 0xffffffff; $crc = $crc >> 8 ^ $table[($crc ^ $_) & 255] for unpack 'C*', $_[0]; return ~$crc & 0xffffffff }
sub line_of {
    my ($seq, %is) = @_;
    my $payload = $is{payload} // '';
    my $behind = pack 'Q<3 S<2 L< Q<2 L<2', $seq, $is{stream} // 0, $is{time} // 1795689000123456789, $is{kind} // 1024, $is{flags} // 0, length $payload,
        $is{cause} // 0, $is{previous} // 0, $is{key} // 0, 0;
    $behind .= $payload . "\0" x (-length($payload) % 8);
    my $size = pack 'L<', 8 + length $behind;
    return sprintf qq({"seq":%d,"log":"%s","record":"%s"}\n), $seq, $is{log}, unpack 'H*', $size . pack('L<', crc32c($size . $behind)) . $behind;
}

subtest 'records of others' => sub {
    my ($name) = $records[0] =~ /"log":"([^"]+)"/;
    my $most = ~0;
    my @of = (
        [payload => join '', map { chr } 0 .. 255], [kind => 0], [kind => 16, payload => "\xff\xfe"], [kind => 65535, payload => "\0" x 5000],
        [stream => $most, cause => $most - 1, previous => (1 << 53) + 1, time => 1795689000123456790], [key => 0xffffffff], [kind => 99, payload => "{\"a\":"],
    );
    my $lines = join '', $records[0], map { line_of($_ + 2, log => $name, @{ $of[$_] }) } 0 .. $#of;
    my ($target, $status, undef, $err) = imported(file_of($lines));
    is($status, 0, 'numbers that JSON cannot hold, foreign kinds and any bytes are imported') or diag($err);
    is_deeply([map { $_->{record} } lines(exported($target))], [map { $_->{record} } lines($lines)], 'and are what they were');
    is((daa_log('verify', $target))[0], 0, 'in a sound log');
    my @shown = lines((daa_log('cat', '--json', $target))[1]);
    is(scalar @shown, @of + 1, 'that can be shown');
};

subtest 'a log that was forked' => sub {
    my ($backup, $forked) = map { scratch() . "/$_" } qw(backup forked);
    is((daa_log('backup', $dir, $backup))[0], 0, '(backed up)');
    is((daa_log('restore', $backup, $forked))[0], 0, '(restored)');
    $writer = start_maker("$forked/log");
    say_to($writer, 'workflows 50');
    stop($writer);
    isnt(name_of($forked), name_of($dir), 'has another name');
    my $both = exported($forked);
    my %names = map { $_->{log} => 1 } lines($both);
    is_deeply([sort keys %names], [sort map { name_of($_) } $forked, $dir], 'events of both are exported under their own');
    my $target = fine('such a log', $both);
    is(name_of($target), name_of($forked), 'it has the newest name');
    fine('it, behind the export of the log that it left', $both, $file, file_of($both));
    $writer = start_maker("$target/log");
    say_to($writer, 'workflows 10');
    stop($writer);
    my ($first) = lines((daa_log('stat', '--json', $target))[1]);
    ok($first->{log} ne name_of($forked) && (grep { $_->{parent} eq name_of($forked) } @{ $first->{forks} }), 'a writer goes on under a name of its own, with that as its parent');
    is((daa_log('verify', $target))[0], 0, 'and it stays sound');
    my $sibling = scratch() . '/sibling';
    is((daa_log('restore', $backup, $sibling))[0], 0, '(restored once more)');
    $writer = start_maker("$sibling/log");
    say_to($writer, 'workflows 50');
    stop($writer);
    my $next = $count + 1;
    refused('what another fork went on with', qr/lines-\d+:1: event $next is another one than the event $next that came before: .* or of one that went on in two ways/, file_of($both), file_of(exported($sibling, '--from', $next)));
};

subtest 'several files' => sub {
    my @parts = map { file_of($_) } exported($dir, '--to', 500), exported($dir, '--from', 501, '--to', 1000), exported($dir, '--from', 1001);
    fine('three exports, each from where the one before ended', $export, @parts);
    my $empty = file_of('');
    fine('an empty one among them', $export, $parts[0], $empty, @parts[1, 2]);
    my ($target, $status, $out) = imported('--json', $parts[0], file_of(exported($dir, '--from', 400, '--to', 1100)), file_of(exported($dir, '--from', 300)));
    my ($result) = lines($out);
    is_deeply([@$result{qw(dir log last_seq repeated dry_run)}], [$target, name_of($dir), $count, 101 + 801, JSON::PP::false], 'events that come again, the same, are left out and counted');
    ok(exported($target) eq $export, 'and the log is the same');
    refused('the wrong order', qr/\Q$parts[1]:1\E: it is event 501, and a log begins with event 1: give the export of what comes before it first/, @parts[1, 0, 2]);
    refused('a missing one', qr/\Q$parts[2]:1\E: events 501 to 1000 are missing before it: .*--from 501 --to 1000/, @parts[0, 2]);
    refused('an export with a filter', qr/lines-\d+:\d+: events \d+ to \d+ are missing before it: .*without other filters/, file_of(exported($dir, '-k', 'storage.*')));
    my $other = scratch() . '/other';
    $writer = start_maker($other, 7);
    say_to($writer, 'workflows 300');
    stop($writer);
    refused('another log', qr/lines-\d+:1: event 700 is another one than the event 700 that came before: these are exports of different logs/, $file, file_of(exported($other, '--from', 700)));
    refused('only empty ones', qr/there is no event to make a log of/, $empty, $empty);
};

subtest 'standard input' => sub {
    for my $from ("<$file", "cat $file |") {
        my $target = target();
        my $command = program('daa-log') . " import - $target";
        my ($status, undef, $err) = run_program('/bin/sh', '-c', $from =~ /\|/ ? "$from $command" : "$command $from");
        ok($status == 0 && exported($target) eq $export, "is read as a file is: $from") or diag($err);
    }
    refused('twice', qr/standard input can be read once only/, '-', '-');
    refused('nothing', qr/there is no event to make a log of/, '-');
};

subtest 'lines that are none' => sub {
    my $whole = join '', @records[0 .. 9];
    my $half = substr $records[10], 0, 100;
    my $with = sub { my ($number, $from, $to) = @_; my @lines = @records[0 .. 9]; $lines[$number - 1] =~ s/$from/$to->($1)/e or die; return file_of(join '', @lines) };
    refused('a cut last line', qr/lines-\d+:11: it is no JSON: the text ends inside a string, in column 101; the file ends in this line, which was cut off: leave it out, and go on with an export from event 11 on/, file_of($whole . $half));
    refused('a cut line with others behind it', qr/lines-\d+:11: it is no JSON: .*in column \d+$/, file_of("$whole$half\n$records[10]"));
    fine('a last line that only lacks its end', $whole, file_of($whole =~ s/\n\z//r));
    fine('lines that somebody else wrote', $whole, file_of($whole =~ s/^\{"seq":(\d+),(.*)\}$/ { $2, "more": {"a":[1e3]}, "seq" : $1 }\r/gmr));
    refused('an empty line', qr/lines-\d+:11: it is no JSON: expected a value, found the end/, file_of("$whole\n"));
    refused('a flipped bit of a record', qr/lines-\d+:7: its record is not the one that was exported: the checksum is wrong/, $with->(7, qr/(?<="record":".{40})(.)/, sub { sprintf '%x', hex($_[0]) ^ 1 }));
    refused('another number', qr/lines-\d+:3: it says that it is event 4, and its record is event 3/, $with->(3, qr/(?<="seq":)(3)/, sub { 4 }));
    refused('another name', qr/lines-\d+:5: event 5 is not of log 00000000-.*: no event storage.opened says that the log goes on under this name there/, $with->(5, qr/(?<="log":")([0-9a-f]{8})/, sub { '0' x 8 }));
    refused('no record', qr/lines-\d+:1: it has no member "record" with the bytes of one: export the events again, with --format records/, file_of((daa_log('export', $dir))[1]));
    refused('CSV', qr/lines-\d+:1: it is no JSON: .*; what is read is what daa-log export --format records writes/, file_of((daa_log('export', '--format', 'csv', $dir))[1]));
    refused('what is compressed', qr/lines-\d+:1: it is no JSON: .*; it is compressed: unpack it, as with zstdcat, into daa-log import -/, file_of("\x28\xb5\x2f\xfd" . 'x' x 100));
    refused('a segment', qr{:1: it is no JSON}, "$dir/seg-0000000001.log");
    refused('zeros without end', qr{/dev/zero:1: the line is longer than 33554432 bytes}, '/dev/zero');
    refused('a directory', qr/cannot read \Q$dir\E: Is a directory/, $file, $dir);
    refused('a file that is not there', qr/cannot read .*nowhere: No such file or directory/, $file, scratch() . '/nowhere');
};

subtest 'only checking' => sub {
    my $target = target();
    my ($status, $out) = daa_log('import', '-n', $file, $file, $target);
    is($status, 0, 'a log that could be made is good');
    is($out, "events 1 to $count of log ${\ name_of($dir)} can be imported to $target; left out were $count that came again, the same\n", 'which is said');
    ok(!glob("$target*"), 'and nothing is made');
    ($status, $out) = daa_log('import', '--dry-run', '--json', $file, $target);
    is_deeply([$status, lines($out)], [0, { dir => $target, log => name_of($dir), last_seq => $count, repeated => 0, dry_run => JSON::PP::true }], 'also as JSON');
};

subtest 'the place' => sub {
    my $there = scratch() . '/there';
    mkdir $there;
    for my $how ([], ['-n']) {
        my ($status, undef, $err) = daa_log('import', @$how, $file, $there);
        ok($status == 1 && $err =~ /\Q$there\E is there already: name a new directory/ && -d $there, "a directory that is there is refused (@$how)") or diag($err);
        ($status, undef, $err) = daa_log('import', @$how, $file, "$there/no/log");
        ok($status == 1 && $err =~ m{\Q$there\E/no.*: No such file or directory} && !-e "$there/no", "as is one whose parent is not (@$how)") or diag($err);
    }
    my ($status, $out, $err) = daa_log('import', $file, "$there/log//");
    ok($status == 0 && -d "$there/log/log" && !-e "$there/log.importing", 'a slash behind its name changes nothing') or diag($err);
    for my $wrong ([], [$file], [$file, ''], ['--segment-size', '100KiB', $file, 'x'], ['--nothing', $file, 'x']) {
        ($status, $out, $err) = daa_log('import', @$wrong);
        ok($status == 2 && $err =~ /^Try 'daa-log import --help'/m, "wrong usage: @$wrong") or diag("$status $err");
    }
    ($status, undef, $err) = run_program('/bin/sh', '-c', "ulimit -f 1000; exec @{[program('daa-log')]} import $file $there/full");
    ok($status == 1 && $err =~ /File too large/ && !glob("$there/full*"), 'where there is no room it says so and leaves nothing') or diag($err);
};

subtest 'a signal' => sub {
    my ($target, $fifo, $said) = (target(), scratch() . '/fifo', scratch() . '/said');
    POSIX::mkfifo($fifo, 0600) or die;
    my $pid = fork() // die;
    if (!$pid) {
        open STDERR, '>', $said;
        exec program('daa-log'), 'import', $fifo, $target or POSIX::_exit(127);
    }
    open my $into, '>', $fifo or die;
    syswrite $into, join '', @records[0 .. 499];
    ok(wait_until(sub { -e "$target.importing/log" }), '(it has begun)');
    kill 'TERM', $pid;
    waitpid $pid, 0;
    is($? >> 8, 1, 'ends it');
    is(slurp($said), "daa-log import: stopped by a signal: nothing was made\n", 'with a sentence');
    ok(!glob("$target*"), 'and nothing is left');
    mkdir $_ for "$target.importing", "$target.importing/log";
    spew("$target.importing/log/seg-0000000001.log", 'of one that was killed');
    is((daa_log('import', $file, $target))[0], 0, 'what one that was killed has left is taken away by the next');
    ok(exported($target) eq $export && !-e "$target.importing", 'which makes the log');
};

subtest 'an agent' => sub {
    my $config = "[log]\nencryption = true\nsegment_size = \"256KB\"\nengine = \"plain\"\n[state]\nsnapshot_interval = \"0s\"\n";
    my $waits = { name => 'waits', steps => [ { id => 'a', signal => { name => 'go' } } ] };
    my $agent = Daa->start(config => $config);
    for (1 .. 20) { $agent->post('/api/v1/workflows', { definition => $waits, input => { text => "a secret \x{1f600} \x{0}" } })->{status} == 202 or BAIL_OUT('not accepted') }
    my $live = exported($agent->{dir});
    is($agent->stop, 0, '(stopped)');
    my $all = exported($agent->{dir});
    my $target = fine('the log of one, exported while it ran and again behind that', $all, file_of($live), file_of($all));
    ok(!grep({ pack('H*', $_->{record}) =~ /a secret/ } lines($all)), 'what is encrypted stays so');
    system('cp', '-r', "$agent->{dir}/keys", "$target/keys") == 0 or die;
    my $next = Daa->start(dir => $target, config => $config);
    my @items = @{ $next->get('/api/v1/workflows?limit=1000', $next->as_admin)->{json}{items} };
    is_deeply([map { $next->get("/api/v1/workflows/$_->{id}", $next->as_admin)->{json}{input}{text} } @items], [("a secret \x{1f600} \x{0}") x 20], 'and has all workflows');
    is($next->post('/api/v1/workflows', { definition => $waits })->{status}, 202, 'and takes another');
    is($next->stop, 0, '(stopped)');
    isnt(name_of($target), name_of($agent->{dir}), 'it goes on under a name of its own');
    is((daa_log('verify', $target))[0], 0, 'and stays sound');
    fine('its export behind that of the first', exported($target), file_of($all), file_of(exported($target)));
};

done_testing();
