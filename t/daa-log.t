#!/usr/bin/perl
# daa-log: compared record by record with a reader written from its man page, on whole, live, killed and
# damaged logs, and with wrong usage.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(wait_until scratch program slurp spew run_program);
use IO::Handle;
use IPC::Open2;
use JSON::PP ();
use LogReader;
use Test::More;

my $json = JSON::PP->new->utf8;
my $out = $ENV{OUT} // 'build/release';
my ($program, $maker) = (program('daa-log'), "$out/t/bin/make-log");
plan skip_all => 'daa-log is not built' if !-x $program || !-x $maker;

sub daa_log { return run_program($program, @_) }
sub lines { return map { $json->decode($_) } split /\n/, $_[0] }

# A writer under way: tell it something, and it answers when that is durable.
sub start_maker {
    my ($dir, @more) = @_;
    my $pid = open2(my $from, my $to, $maker, $dir, @more);
    return { pid => $pid, from => $from, to => $to };
}
sub say_to { my ($writer, $line) = @_; $writer->{to}->print("$line\n"); $writer->{to}->flush; my ($seq) = readline($writer->{from}) =~ /(\d+)/; return $seq }
sub stop { my ($writer) = @_; close $writer->{to}; waitpid $writer->{pid}, 0; return $? }

sub make_log {
    my ($dir, @commands) = @_;
    my $writer = start_maker($dir, 42);
    say_to($writer, $_) for @commands;
    stop($writer);
    return $dir;
}

# As if it stood where it was written; for copies that are known for copies see t/daa-log-names.t.
sub copy_of { my ($dir, $name) = @_; my $copy = scratch() . "/$name"; system('cp', '-r', $dir, $copy) == 0 or die; unlink "$copy/PLACE"; return $copy }

sub patch {
    my ($path, $offset, $bytes) = @_;
    open my $file, '+<:raw', $path or die "$path: $!";
    seek $file, $offset, 0;
    print $file $bytes;
    close $file or die "$path: $!";
}

# Kinds by number, from the schema.
my %kind_name = (1 => 'storage.opened', 2 => 'storage.sealed', 3 => 'storage.closed');
{
    my ($body) = slurp('core/event/event.proto') =~ /oneof body \{(.*?)\n\s*\}/s;
    while (($body // '') =~ /^\s*\w+\s+(\w+) = (\d+);/mg) { my ($name, $number) = ($1, $2); $name =~ s/_/./; $kind_name{$number} = $name }
}

sub rfc3339 {
    my ($ns) = @_;
    my @time = gmtime int($ns / 1_000_000_000);
    return sprintf '%04d-%02d-%02dT%02d:%02d:%02d.%09dZ', $time[5] + 1900, $time[4] + 1, @time[3, 2, 1, 0], $ns % 1_000_000_000;
}

sub same_records {
    my ($dir, $name) = @_;
    my ($status, $said, $complained) = daa_log('cat', '--json', $dir);
    is($status, 0, "$name: cat --json is good") or diag($complained);
    my @got = lines($said);
    my @want = eval { LogReader::read_log($dir) };
    is($@, '', "$name: the reader of the man page reads it");
    is(scalar @got, scalar @want, "$name: both show as many events");
    my $different = 0;
    for my $i (0 .. $#want) {
        my ($got, $want) = ($got[$i], $want[$i]);
        my $kind = $kind_name{ $want->{kind} } // "kind-$want->{kind}";
        next if $got && $got->{seq} == $want->{seq} && $got->{stream} == $want->{stream} && $got->{kind} eq $kind
            && $got->{time} eq rfc3339($want->{time_ns}) && ($got->{cause} // 0) == $want->{cause} && ref $got->{payload} eq 'HASH';
        diag("event $want->{seq} ($kind) is shown as " . ($got ? $json->encode($got) : 'nothing')) if !$different++;
    }
    is($different, 0, "$name: each event is the same in both");
    return \@got;
}

my $dir = make_log(scratch() . '/whole', 'workflows 300', 'parked', 'awkward', 'fill 3 200000', 'fill 3 150000', 'workflows 50');
my $events = same_records($dir, 'a whole log');
cmp_ok(scalar(glob("$dir/seg-*2.log") ? 2 : 1), '>', 1, 'it has more than one segment');
my $last = $events->[-1]{seq};

subtest 'filters' => sub {
    my $shown = sub { my ($status, $said) = daa_log('cat', '--json', @_, $dir); return [map { $_->{seq} } lines($said)] };
    is_deeply($shown->('--from', 10, '--to', 12), [10, 11, 12], 'a range of sequence numbers');
    is_deeply($shown->('--limit', 3), [1, 2, 3], 'a limit');
    is_deeply($shown->('-k', 'workflow.sub*', '-n', 2), [(grep { $events->[$_ - 1]{kind} eq q(workflow.submitted) } 1 .. $last)[0, 1]], 'a pattern of kinds');
    is_deeply($shown->('-k', 'workflow.paused', '-k', 'workflow.resumed'),
        [map { $_->{seq} } grep { $_->{kind} =~ /^workflow\.(paused|resumed)$/ } @$events], 'two kinds');
    is_deeply($shown->('--stream', 2), [map { $_->{seq} } grep { $_->{stream} == 2 } @$events], 'a stream');
    my $uuid = unpack 'H16', (LogReader::segment_header("$dir/seg-0000000001.log", substr slurp("$dir/seg-0000000001.log"), 0, 4096))->{log_uuid};
    is_deeply($shown->('--stream', "wf-$uuid-2"), $shown->('--stream', 2), 'a workflow by its id');
    is_deeply($shown->('--since', $events->[99]{time}, '--until', $events->[102]{time}), [100, 101, 102], 'a range of time');
    is_deeply($shown->('--until', $events->[0]{time}), [], 'nothing is before the first event');
    is_deeply($shown->('--until', $events->[50]{time}), [1 .. 50], 'what is before a time');
    is_deeply($shown->('--since', $events->[$last - 3]{time}), [$last - 2 .. $last], 'what is not');
    is_deeply([$shown->('--until', '-1d'), $shown->('--since', '-1d')], [[], [1 .. $last]], 'a time before now');
    is_deeply($shown->('--since', '2600-01-01T00:00:00Z'), [], 'a time behind all that can be told');
    is(scalar @{ $shown->('--until', '9999-12-31T23:59:59Z') }, scalar @$events, 'also as the end');
    my ($status, $said, $complained) = daa_log('cat', '--since', 'tomorrow', $dir);
    ok($status == 2 && $complained =~ /'tomorrow' is not a time/, 'a time that is none is wrong usage');
    ($status, $said, $complained) = daa_log('cat', '--stream', 'wf-0000000000000000-2', $dir);
    ok($status == 2 && $complained =~ /not a workflow of this log/, 'so is a workflow of another log');
    ($status, $said) = daa_log('tail', '-n', 3, '--json', $dir);
    is_deeply([map { $_->{seq} } lines($said)], [$last - 2 .. $last], 'tail shows the last ones');
    ($status, $said) = daa_log('cat', '--limit', 5, $dir);
    is(scalar(split /\n/, $said), 5, 'text has one line an event');
};

subtest 'stat, verify, explain' => sub {
    my ($status, $said) = daa_log('stat', '--json', $dir);
    my ($stat) = lines($said);
    is($stat->{events}, scalar @$events, 'stat counts the events');
    is($stat->{kinds}{'workflow.submitted'}{events}, scalar(grep { $_->{kind} eq 'workflow.submitted' } @$events), 'and those of a kind');
    my @openings = @{ $stat->{openings} };
    ok(@openings == 1 && $openings[0]{clean}, 'and one opening');
    ($status, $said) = daa_log('stat', $dir);
    ok($status == 0 && $said =~ /^events +\d+, 1 to $last$/m, 'and says so in words');
    ($status, $said) = daa_log('verify', $dir);
    ok($status == 0 && $said =~ /^sound: events 1 to $last /, 'verify finds it sound');
    ($status, $said) = daa_log('verify', '--json', $dir);
    is((lines($said))[-1]{chain}, unpack('H*', LogReader::end_chain($dir)), 'and its chain is the one that the man page gives');
    ($status, $said) = daa_log('explain', 7, $dir);
    ok($status == 0 && $said =~ /^ +[0-9a-f]+ +0700000000000000 +seq = 7$/m, 'explain shows an event by its fields');
    ($status, $said, my $complained) = daa_log('explain', $last + 5, $dir);
    ok($status == 1 && $complained =~ /there is no event/, 'but not one that is not there');
};

subtest 'damage' => sub {
    my $copy = copy_of($dir, 'flipped');
    patch("$copy/seg-0000000001.log", 8192 + 300, "\xff\xff");
    my ($status, $said, $complained) = daa_log('cat', '--json', $copy);
    my @got = lines($said);
    ok($status == 1 && @got < @$events && $got[-1]{seq} == $last, 'cat leaves out what is damaged, and exits 1');
    my ($first_gone, $last_gone) = $complained =~ /events (\d+) to (\d+) are damaged/;
    my %shown = map { $_->{seq} => 1 } @got;
    my @gone = grep { !$shown{$_} } 1 .. $last;
    is_deeply([$first_gone, $last_gone], [@gone[0, -1]], 'and names it');
    ($status, $said) = daa_log('verify', $copy);
    ok($status == 1 && $said =~ /^damaged: seg-0000000001\.log at 8192: .* event $gone[0] .* $gone[-1] /m, 'verify names the place and the events')
        or diag($said);
    my $bit = copy_of($dir, 'bit');
    my ($place, $byte) = (8192 + 301, substr slurp("$bit/seg-0000000001.log"), 8192 + 301, 1);
    patch("$bit/seg-0000000001.log", $place, $byte ^ "\x20");
    ($status, $said) = daa_log('verify', $bit);
    like($said, qr/^  flipping bit 5 of byte 0x212d makes it whole$/m, 'verify names a flipped bit');
    is_deeply(((lines((daa_log('verify', '--json', $bit))[1]))[0] // {})->{flipped}, { offset => $place, bit => 5 }, 'also as JSON');
    my $headless = copy_of($dir, 'headless');
    patch("$headless/seg-0000000001.log", 40, "\x07");
    ($status, $said, $complained) = daa_log('cat', '--json', $headless);
    ok($status == 1 && $complained =~ /seg-0000000001\.log: .* events before (\d+) cannot be read/ && (lines($said))[0]{seq} == $1,
        'of a segment whose header is damaged cat says that it cannot be read, not that it was removed') or diag($complained);
    is((daa_log('stat', $headless))[0], 1, 'and stat exits 1');
    ($status, $said) = daa_log('verify', $headless);
    my @findings = grep { !/^damaged: events / } $said =~ /^(damaged: .*)$/mg;
    ok($status == 1 && @findings == 1 && $findings[0] =~ /^damaged: seg-0000000001\.log at 0: /, 'verify finds just that')
        or diag($said);
    unlink "$copy/seg-0000000001.log";
    ($status, $said) = daa_log('verify', $copy);
    ok($status == 1 && $said =~ /its beginning is gone/, 'a log whose beginning is gone is damaged')
        or diag($said);
    like($said, qr/^damaged: seg-0000000002\.log at 0: the beginning is missing and no event says that it was removed/m,
        'when no event says that it was removed');
    spew("$copy/BACKUP", '');
    is((daa_log('verify', $copy))[0], 1, 'nor a backup that begins there');
    my ($first) = $said =~ /^damaged: events (\d+) to /m;
    unlink "$copy/BACKUP";
    my ($since, $lost) = map { scratch() . "/$_" } qw(since lost);
    daa_log('backup', '--since', $first, $dir, $since);
    ($status, $said) = daa_log('verify', $since);
    ok($status == 0 && $said =~ /^a backup of the events from $first on$/m, 'but not when it is a backup') or diag($said);
    daa_log('backup', $dir, $lost);
    unlink "$lost/seg-0000000001.log";
    ($status, $said) = daa_log('verify', $lost);
    ok($status == 1 && $said =~ /the beginning is missing/ && $said =~ /^damaged: seg-0000000001\.log .* a restore fails/m,
        'a backup that lost its first segment is damaged') or diag($said);
    spew("$copy/RESTORED", "restored from a backup that begins with\nfirst_seq $first\n");
    ($status, $said) = daa_log('verify', $copy);
    ok($status == 0 && $said =~ /^restored from a backup that begins with event $first$/m, 'nor when it was restored from one') or diag($said);
    truncate "$copy/seg-0000000002.log", 20000;
    ($status, $said) = daa_log('verify', $copy);
    is($status, 1, 'a file cut before what CHECKPOINT knows is damaged') or diag($said);
    unlink "$copy/CHECKPOINT";
    ($status, $said) = daa_log('verify', $copy);
    is($status, 1, 'so it is without a witness') or diag($said);
    ($status, $said, $complained) = daa_log('cat', $copy);
    like($complained, qr/damaged: seg-0000000002.log/, 'cat says so too');
    truncate "$copy/seg-0000000002.log", 0;
    ($status, $said, $complained) = daa_log('cat', $copy);
    isnt($status, 0, 'an empty segment alone is no log');
};

subtest 'a live log' => sub {
    my $live = scratch() . '/live';
    my $writer = start_maker($live);
    my $seq = say_to($writer, 'workflows 20');
    my ($status, $said) = daa_log('cat', '--json', $live);
    is((lines($said))[-1]{seq}, $seq, 'cat shows what is durable');
    ($status, $said) = daa_log('verify', $live);
    ok($status == 0 && $said =~ /a writer is running/, 'verify checks it beside the writer');
    my $followed = scratch() . '/followed';
    my $pid = fork() // die;
    if (!$pid) {
        open STDOUT, '>', $followed;
        exec $program, 'tail', '-f', '--json', '-n', 5, $live or POSIX::_exit(127);
    }
    my $shown = sub { my @lines = (slurp($followed) // '') =~ /^(\{.*\})\n/mg; return @lines ? $json->decode($lines[-1])->{seq} : 0 };
    ok(wait_until(sub { $shown->() == $seq }), 'tail -f shows the last events');
    $seq = say_to($writer, 'fill 8 200000');
    ok(wait_until(sub { $shown->() == $seq }), 'and those that come, over a roll');
    kill KILL => $writer->{pid};
    stop($writer);
    ($status, $said) = daa_log('verify', $live);
    ok($status == 0 || $status == 3, 'a killed writer leaves a sound or a torn end');
    $writer = start_maker($live);
    $seq = say_to($writer, 'workflows 2');
    ok(wait_until(sub { $shown->() == $seq }), 'tail -f goes on with the next writer');
    stop($writer);
    kill TERM => $pid;
    waitpid $pid, 0;
    my @followed = map { $json->decode($_)->{seq} } slurp($followed) =~ /^(\{.*\})\n/mg;
    is_deeply(\@followed, [$followed[0] .. $followed[-1]], 'it left nothing out and showed nothing twice');
    my $stat = (lines((daa_log('stat', '--json', $live))[1]))[0];
    is($stat->{crashes}, 1, 'stat counts the crash');
    same_records($live, 'a log that was killed and went on');
};

subtest 'usage' => sub {
    for my $case (['cat'], ['cat', '--no-such', $dir], ['no-such'], ['explain', 'x', $dir], ['cat', $dir, $dir], ['cat', '--from', 2, '--to', 1, $dir]) {
        my ($status, $said, $complained) = daa_log(@$case);
        ok($status == 2 && $complained ne '', "wrong usage: @$case");
    }
    for my $command (qw(cat tail stat verify explain)) {
        my ($status, $said) = daa_log($command, '--help');
        ok($status == 0 && $said =~ /\Q$command\E/, "$command has help");
    }
    my ($status, $said, $complained);
    for my $command (qw(cat tail stat)) {
        ($status, $said, $complained) = daa_log($command, scratch() . '/nowhere');
        ok($status == 1 && $complained =~ /\A[^\n]*nowhere[^\n]*\n\z/, "$command: a directory that is not there is named, once") or diag($complained);
    }
    ($status) = daa_log('verify', scratch() . '/nowhere');
    is($status, 2, 'and verify exits 2');
    mkdir scratch() . '/empty';
    ($status) = daa_log('verify', scratch() . '/empty');
    is($status, 2, 'also where there is no segment');
    for my $command (qw(cat tail stat)) {
        ($status, $said, $complained) = daa_log($command, scratch() . '/empty');
        ok($status == 1 && $complained =~ /holds no segment/, "$command says so too");
    }
    my $complaint = scratch() . '/complaint';
    is(`$program cat --json $dir 2>$complaint | head -n 1 | wc -l` + 0, 1, 'a reader of its output may stop');
    is(slurp($complaint), '', 'without a complaint');
    my $data = scratch() . '/data';
    mkdir $data;
    rename $dir, "$data/log";
    ($status) = daa_log('verify', $data);
    is($status, 0, 'a data directory does as well as the log in it');
};

done_testing();
