#!/usr/bin/perl
# daa-log repair: what a plan promises is what is done, what is mended is what was written, the old files are kept, and the
# end of a log is cut only where the caller says, and forks.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(scratch slurp spew program run_program wait_until);
use Fault qw(each_fault copy_tree);
use Digest::SHA qw(sha256_hex);
use File::Path qw(remove_tree);
use LogMaker qw(daa_log lines make_log copy_of patch flip need_log_tools start_maker say_to stop);
use Test::More;

need_log_tools();

my $dir = make_log('log', 'workflows 100', 'fill 6 200000', 'workflows 50', 'fill 4 200000', 'workflows 20');
my $backup = scratch() . '/backup';
daa_log('backup', $dir, $backup);
my @frames = map { /^frame at 0x([0-9a-f]+), (\d+) bytes: events (\d+) to (\d+)/ ? [hex $1, $2, $3, $4] : () } split /\n/, (daa_log('hexdump', $dir, 1))[1];
my $last = (lines((daa_log('cat', '--json', $dir))[1]))[-1]{seq};
my @segments = map { s{.*/}{}r } sort glob "$dir/seg-*.log";
my ($newest) = map { $_->{name} } grep { $_->{type} eq 'segment' && $_->{state} ne 'spare' } reverse lines((daa_log('ls', '--json', $dir))[1]);
cmp_ok(scalar(@segments), '>=', 4, 'a log of some segments');

sub shown { my ($log) = @_; return (daa_log('cat', '--json', $log))[1] }
sub events { my ($log) = @_; my $text = shown($log); return sha256_hex($text) . ' of ' . length $text }
sub files { my ($log) = @_; return join "\n", map { my $path = $_; ($path =~ s{\Q$log\E/}{}r) . ' ' . (-s $path) } sort glob "$log/*" }
sub steps { my ($said) = @_; return map { my $step = $_; $step->{step} ? $step : () } lines($said) }

# The plan, then the repair, which does what the plan says; the steps and the result.
sub repaired {
    my ($log, $name, @options) = @_;
    my $before = files($log);
    my %bytes = map { $_ => slurp("$log/$_") } grep { -e "$log/$_" } @segments;
    my ($plan_status, $plan) = daa_log('repair', '--plan', '--json', @options, $log);
    is(files($log), $before, "$name: a plan changes nothing");
    is(scalar(grep { slurp("$log/$_") ne $bytes{$_} } keys %bytes), 0, "$name: no byte");
    my ($status, $said, $complained) = daa_log('repair', '--json', @options, $log);
    is_deeply([steps($said)], [steps($plan)], "$name: what is done is what was planned") or diag("$said$complained");
    is($status, $plan_status, "$name: with the same status");
    my $result = (lines($said))[-1];
    return ($status, [steps($said)], $result);
}
sub same_as_before {
    my ($log, $name) = @_;
    is(events($log), events($dir), "$name: the events are those that were written");
    is((daa_log('verify', $log))[0], 0, "$name: and verify finds it sound");
    is((daa_log('diff', $dir, $log))[0], 0, "$name: it is the same history");
}

subtest 'a sound log' => sub {
    my ($status, $said) = daa_log('repair', $dir);
    is($status, 0, 'needs nothing') or diag($said);
    like($said, qr/nothing is to be mended/, 'which is said');
    ok(!-e "$dir/quarantine", 'and nothing is made');
};

subtest 'flipped bits' => sub {
    my $log = copy_of($dir, 'flipped');
    flip("$log/seg-0000000001.log", $frames[1][0] + 300, 4);    # a body
    flip("$log/seg-0000000001.log", $frames[2][0] + 20, 1);     # a frame's header
    flip("$log/seg-0000000002.log", 70, 6);                     # a segment's header
    my $damaged = slurp("$log/seg-0000000001.log");
    my ($status, $steps, $result) = repaired($log, 'three bits');
    is_deeply([map { "$_->{step} $_->{file} $_->{offset} $_->{bit}" } @$steps],
        ["flip seg-0000000001.log " . ($frames[1][0] + 300) . ' 4', 'flip seg-0000000001.log ' . ($frames[2][0] + 20) . ' 1', 'flip seg-0000000002.log 70 6'],
        'each is found');
    is_deeply([$status, @$result{qw(mended lost verdict)}], [0, 2, 0, 'sound'], 'and flipped back');
    same_as_before($log, 'flipped');
    is(slurp("$log/$_"), slurp("$dir/$_"), "$_ is as it was, to the byte") for @segments[0, 1];
    is(slurp("$result->{quarantine}/seg-0000000001.log"), $damaged, 'the old file is kept');
    is((stat "$result->{quarantine}")[2] & 07777, 0700, 'where nobody else looks');
};

subtest 'what only a copy has' => sub {
    my $log = copy_of($dir, 'holes');
    patch("$log/seg-0000000001.log", $frames[1][0] + 300, 'x' x 9000);
    patch("$log/seg-0000000002.log", 0, "\0" x 4096);
    unlink "$log/seg-0000000003.log" or die;
    my ($status, $said) = daa_log('repair', '--plan', $log);
    is($status, 1, 'alone it cannot be mended');
    like($said, qr/^lost  seg-0000000001\.log at $frames[1][0]: events $frames[1][2] to \d+ cannot be mended/m, 'which names the events');
    unlike($said, qr/--cut-at/, 'and gives nothing up that may be whole');
    ($status, my $steps, my $result) = repaired($log, 'with a backup', '--from', $backup);
    is_deeply([$status, @$result{qw(mended lost verdict)}], [0, 3, 0, 'sound'], 'from a backup it is mended') or diag explain [$steps, $result];
    is_deeply([map { $_->{from} // '' } @$steps], [($backup) x @$steps], 'and each step says from where');
    same_as_before($log, 'from a copy');
};

subtest 'a number that is missing before a spare' => sub {
    my $log = copy_of($dir, 'gap');
    my ($number) = $newest =~ /(\d+)/;
    unlink glob sprintf "$log/seg-%010d.log", $_ for $number + 1 .. $number + 4;
    spew(sprintf("$log/seg-%010d.log", $_), "\0" x -s "$log/$newest") for $number + 2, $number + 3;
    my $missing = sprintf 'seg-%010d.log', $number + 1;
    is((daa_log('verify', $log))[0], 1, 'is damage');
    my ($status, $steps, $result) = repaired($log, 'a gap');
    is_deeply([$status, map { "$_->{step} $_->{file}" } @$steps], [1, "lost $missing"], 'that is named') or diag explain $steps;
    is($result->{cut_seq}, $last, 'with where the log can be cut');
    ($status, $steps, $result) = repaired($log, 'a gap, cut', '--cut-at', $last);
    is_deeply([$result->{verdict}, [grep { /seg-0+(\d+)\.log/ && $1 > $number } glob "$log/seg-*"]], ['sound', []], 'then nothing stands behind it') or diag explain [$steps, $result];
    is((daa_log('verify', $log))[0], 0, 'and verify finds it sound');

    $log = copy_of($dir, 'short');
    unlink glob sprintf "$log/seg-%010d.log", $_ for $number + 1 .. $number + 4;
    spew("$log/$missing", "\0" x 300);
    ($status, $steps) = repaired($log, 'less than a header');
    isnt($status, 0, 'a file that ends within its first sector may have been begun') or diag explain $steps;
    spew("$log/$missing", "\0" x 5000);
    spew(sprintf("$log/seg-%010d.log", $number + 2), "\0" x -s "$log/$newest");
    ($status, $steps) = repaired($log, 'a header of zeros');
    is_deeply([$status, map { $_->{step} } @$steps], [0, 'aside', 'aside'], 'one whose header is zero was not') or diag explain $steps;
    is((daa_log('verify', $log))[0], 0, 'and what stood behind it leaves no gap');
};

subtest 'two copies that are each damaged elsewhere' => sub {
    my ($log, $other) = (copy_of($dir, 'one'), copy_of($dir, 'other'));
    patch("$log/seg-0000000001.log", $frames[1][0] + 300, 'x' x 50);
    patch("$other/seg-0000000001.log", $frames[3][0] + 300, 'x' x 50);
    patch("$other/seg-0000000002.log", 9000, 'x' x 50);
    my ($status, $steps, $result) = repaired($log, 'half and half', '--from', $other);
    is($status, 0, 'make a whole one') or diag explain $steps;
    same_as_before($log, 'of two halves');
};

subtest 'files that are gone' => sub {
    for my $number (1 .. 3) {
        my $log = copy_of($dir, "gone$number");
        unlink "$log/seg-000000000$number.log" or die;
        my ($status, $steps, $result) = repaired($log, "segment $number", '--from', $backup);
        is_deeply([$status, map { "$_->{step} $_->{file}" } @$steps], [0, "take seg-000000000$number.log"], "segment $number is put back") or diag explain $steps;
        same_as_before($log, "segment $number");
    }
    my $log = copy_of($dir, 'no-beginning');
    unlink "$log/seg-0000000001.log" or die;
    my ($alone, $steps, $result) = repaired($log, 'the beginning is gone');
    is_deeply([$alone, $result->{verdict}, map { "$_->{step} $_->{file} $_->{first_seq}" } @$steps], [1, 'damaged', 'lost seg-0000000001.log 1'], 'which no event says why, so it is damage, as for verify') or diag explain $steps;
    $log = copy_of($dir, 'gone');
    unlink "$log/seg-0000000002.log" or die;
    my ($status, $said) = daa_log('repair', $log);
    is($status, 1, 'without a copy it stays missing');
    like($said, qr/^lost  seg-0000000002\.log: the file is missing/m, 'which is said') or diag $said;
};

subtest 'a copy of another log' => sub {
    my $other = scratch() . '/stranger';
    my $writer = start_maker($other);
    say_to($writer, 'workflows 10');
    stop($writer);
    my $log = copy_of($dir, 'strange');
    patch("$log/seg-0000000001.log", $frames[1][0] + 300, 'x' x 50);
    my ($status, $said, $complained) = daa_log('repair', '--from', $other, $log);
    ok($status == 1 && $complained =~ /is a copy of another log/, 'is refused') or diag($complained);
};

subtest 'half of it' => sub {
    my $log = copy_of($dir, 'half');
    flip("$log/seg-0000000001.log", $frames[1][0] + 300, 4);
    patch("$log/seg-0000000001.log", $frames[3][0] + 300, 'x' x 50);
    my ($status, $steps, $result) = repaired($log, 'half');
    is_deeply([$status, map { $_->{step} } @$steps], [1, 'flip', 'lost'], 'what can be is mended, the rest is named');
    is($result->{verdict}, 'damaged', 'and it is not called sound');
    is($result->{cut_seq}, 0, 'nor is a cut offered in the middle');
    my ($cut, undef, $why) = daa_log('repair', '--cut-at', $frames[3][2] - 1, $log);
    ok($cut == 1 && $why =~ /needs no cut/, 'nor done') or diag($why);
};

subtest 'sealed segments' => sub {
    my $log = scratch() . '/sealed';
    copy_tree('t/golden/log-1.1-sealed', $log);
    my $whole = events($log);
    my ($file) = map { s{.*/}{}r } sort glob "$log/seg-*.zlog";
    my $size = -s "$log/$file";
    flip("$log/$file", 8192 + 100, 3);
    my ($status, $said, $complained) = daa_log('repair', '--json', $log);
    my @lines = lines($said);
    is_deeply([$status, map { "$_->{step} $_->{offset} $_->{bit}" } @lines[0 .. $#lines - 1]], [0, 'flip 8292 3'], 'a bit of the packed bytes is flipped back') or diag("$said$complained");
    is(events($log), $whole, 'the events are those that were written');
    ok(-e $log . '/' . ($file =~ s/zlog/log/r) && !-e "$log/$file", 'in a raw file, which an agent seals again');
    is(-s "$lines[-1]{quarantine}/$file", $size, 'and the sealed one is kept');
    remove_tree($log);
    copy_tree('t/golden/log-1.1-sealed', $log);
    patch("$log/$file", 8192 + 100, 'x' x 50);
    ($status) = daa_log('repair', '--from', 't/golden/log-1.1', $log);
    is($status, 0, 'or it is taken from a raw copy');
    is(events($log), $whole, 'the same');
};

subtest 'the end' => sub {
    my $log = copy_of($dir, 'end');
    my ($used) = map { $_->{used_bytes} } grep { $_->{type} eq 'segment' && $_->{name} eq $newest } lines((daa_log('ls', '--json', $dir))[1]);
    patch("$log/$newest", $used - 4096 + 700, "\xff\x00\xff");
    my ($status, $steps, $result) = repaired($log, 'a damaged end');
    is($status, 1, 'cannot be mended');
    my $keep = $result->{cut_seq};
    is_deeply([$result->{gone_first}, $result->{cut} ? 1 : 0, $result->{gone_last} >= $last ? 1 : 0], [$keep + 1, 0, 1], 'where it can be cut is said, and what is given up');
    for my $wrong ($keep - 1, $keep + 1) {
        my ($code, undef, $why) = daa_log('repair', '--cut-at', $wrong, $log);
        ok($code == 1 && $why =~ /only behind event $keep\b/, 'nowhere else') or diag($why);
    }
    ($status, $steps, $result) = repaired($log, 'a cut', '--cut-at', $keep);
    is_deeply([$status, $result->{cut} ? 1 : 0, @$result{qw(last_seq verdict)}], [0, 1, $keep, 'sound'], 'there it is') or diag explain [$steps, $result];
    is((lines(shown($log)))[-1]{seq}, $keep, 'the log ends there');
    ok(-e "$result->{quarantine}/CHECKPOINT" && -e "$result->{quarantine}/$newest", 'what lay behind is kept');
    my $writer = start_maker($log);
    say_to($writer, 'workflows 1');
    stop($writer);
    my ($stat) = lines((daa_log('stat', '--json', $log))[1]);
    is((daa_log('verify', $log))[0], 0, 'a writer goes on behind it');
    like((daa_log('stat', $log))[1], qr/^forked +from \S+ behind event $keep$/m, 'under a new uuid');
    ($status, my $said) = daa_log('diff', $dir, $log);
    $log = copy_of($dir, 'end2');
    patch("$log/$newest", $used - 4096 + 700, "\xff\x00\xff");
    is((daa_log('repair', '--from', $dir, $log))[0], 0, 'with a copy nothing needs to be cut');
    same_as_before($log, 'the end');
};

subtest 'a block that the disk cannot read' => sub {
    my $log = copy_of($dir, 'unreadable');
    my $place = $frames[1][0] + 4096;
    my $fault = Fault->new(dir => $log, unreadable => "$log/seg-0000000001.log:$place");
    my $run = sub { my @command = @_; return $fault->under(sub { run_program(program('daa-log'), @command) }) };
    my ($status, $said) = $run->('verify', '--json', $log);
    my @found = grep { $_->{unreadable} && @{ $_->{unreadable} } } lines($said);
    is_deeply([$status, map { $_->{offset} => $_->{unreadable} } @found], [1, $frames[1][0] => [{ offset => $place, size => 4096 }]], 'verify names it') or diag $said;
    my $words = sprintf '4096 bytes at 0x%x cannot be read', $place;
    like(($run->('verify', $log))[1], qr/^  \Q$words\E$/m, 'in words');
    is(($run->('repair', $log))[0], 1, 'alone it cannot be mended');
    ($status, $said, my $complained) = $run->('repair', '--from', $backup, $log);
    is($status, 0, 'from a copy it is') or diag "$said$complained";
    same_as_before($log, 'unreadable');
    my ($kept) = glob "$log/quarantine/*/seg-0000000001.log";
    is((stat $kept)[3], 1, 'and the file with the bad block is kept as it is');
};

subtest 'a header that the disk cannot read' => sub {
    my $log = copy_of($dir, 'unreadable-header');
    my $fault = Fault->new(dir => $log, unreadable => "$log/$newest:0");
    my $run = sub { my @command = @_; return $fault->under(sub { run_program(program('daa-log'), @command) }) };
    my ($status, $said, $complained) = $run->('repair', '--from', $backup, $log);
    is($status, 0, 'comes from a copy') or diag "$said$complained";
    same_as_before($log, 'unreadable header');
    my $data = scratch() . '/unreadable-data';
    my $config = "[log]\nsegment_size = \"256KB\"\n";
    Daa->start(dir => $data, config => $config)->stop;
    $fault = Fault->new(dir => $data, unreadable => "$data/log/seg-0000000001.log:0");
    my $agent = $fault->under(sub { Daa->start(dir => $data, config => $config, wait_ready => 0) });
    ok(!eval { $agent->await_ready } && $agent->said =~ /seg-0000000001\.log: header: .*daa-log repair --from COPY/, 'and an agent that does not start says so') or diag $agent->said;
};

subtest 'a last frame that the disk cannot read' => sub {
    my $log = copy_of($dir, 'unreadable-end');
    unlink "$log/CHECKPOINT";
    my ($used) = map { $_->{used_bytes} } grep { $_->{type} eq 'segment' && $_->{name} eq $newest } lines((daa_log('ls', '--json', $dir))[1]);
    my $place = $used - 4096;
    my $fault = Fault->new(dir => $log, unreadable => "$log/$newest:$place");
    my $run = sub { my @command = @_; return $fault->under(sub { run_program(@command) }) };
    my $before = slurp("$log/$newest");
    my ($status, undef, $why) = $run->(($ENV{OUT} // 'build/release') . '/t/bin/make-log', $log);
    ok($status != 0 && $why =~ /it cannot be read: .*run daa-log verify/, 'is not left out by the next writer, though nobody knows of it') or diag $why;
    is(slurp("$log/$newest"), $before, 'which changes nothing');
    ($status, my $said) = $run->(program('daa-log'), 'repair', '--plan', '--json', $log);
    my ($keep) = map { $_->{cut_seq} // () } reverse lines($said);
    is($status, 1, 'alone it cannot be mended');
    cmp_ok($keep, '<', $last, 'where it could be cut is said');
    my $cut = copy_of($log, 'unreadable-end-cut');
    my $other = Fault->new(dir => $cut, unreadable => "$cut/$newest:$place");
    ($status, undef, my $complained) = $other->under(sub { run_program(program('daa-log'), 'repair', '--cut-at', $keep, $cut) });
    is($status, 0, 'and it can, without a copy') or diag $complained;
    is((lines(shown($cut)))[-1]{seq}, $keep, 'right there');
    is((daa_log('verify', $cut))[0], 0, 'which leaves a sound log');
    is(($run->(program('daa-log'), 'repair', '--from', $backup, $log))[0], 0, 'from a copy it is mended');
    is(events($log), events($dir), 'with all its events');
};

subtest 'a newest segment that begins with zeros' => sub {
    my $log = copy_of($dir, 'zeroed');
    unlink "$log/CHECKPOINT";
    patch("$log/$newest", 0, "\0" x 8192);
    my ($status, undef, $why) = run_program(($ENV{OUT} // 'build/release') . '/t/bin/make-log', $log);
    ok($status != 0 && $why =~ /\Q$newest\E: its header is zero, but a frame with event \d+ stands/, 'is no spare') or diag $why;
    is((daa_log('repair', '--from', $backup, $log))[0], 0, 'a copy mends it');
    is(events($log), events($dir), 'with all its events');
};

subtest 'a newest segment without a header' => sub {
    my $log = copy_of($dir, 'headless');
    patch("$log/$newest", 0, 'x' x 8192);
    my ($status, $steps, $result) = repaired($log, 'headless');
    my $keep = $result->{cut_seq};
    is_deeply([$status, $result->{lost}, $keep > 0 ? 1 : 0], [1, 1, 1], 'the log can end with the segment before it') or diag explain [$steps, $result];
    ($status, $steps, $result) = repaired($log, 'headless and cut', '--cut-at', $keep);
    is_deeply([$status, $result->{verdict}, $result->{last_seq}], [0, 'sound', $keep], 'there it is cut') or diag explain [$steps, $result];
    ok(!-e "$log/$newest" && -e "$result->{quarantine}/$newest", 'and the segment is kept aside');
    my $writer = start_maker($log);
    say_to($writer, 'workflows 1');
    stop($writer);
    is((daa_log('verify', $log))[0], 0, 'a writer goes on');
    like((daa_log('stat', $log))[1], qr/^forked +from \S+ behind event $keep$/m, 'under a new uuid');
};

subtest 'an agent goes on behind a cut' => sub {
    my $data = scratch() . '/data';
    my $config = "[log]\nsegment_size = \"256KB\"\n";
    my $nap = { name => 'nap', steps => [ { id => 'a', sleep => '0s' } ] };
    my $agent = Daa->start(dir => $data, config => $config);
    my ($id) = map { $agent->post('/api/v1/workflows?wait=10s', { definition => $nap })->{json}{id} } 1 .. 5;
    wait_until(sub { my $status = $agent->get('/status')->{json}; $status->{state}{applied_seq} == $status->{log}{durable_seq} });
    $agent->stop;
    my ($file) = grep { $_->{type} eq 'segment' && $_->{state} ne 'spare' } reverse lines((daa_log('ls', '--json', $data))[1]);
    patch("$data/log/$file->{name}", $file->{used_bytes} - 4096 + 700, "\xff\x00\xff");
    $agent = Daa->start(dir => $data, config => $config, wait_ready => 0);
    ok(!eval { $agent->await_ready } && $agent->said =~ /daa-log verify/, 'on a damaged end no agent starts') or diag $agent->said;
    my ($plan) = reverse lines((daa_log('repair', '--plan', '--json', $data))[1]);
    my ($status, $said, $complained) = daa_log('repair', '--cut-at', $plan->{cut_seq}, $data);
    is($status, 0, 'it is cut') or diag "$said$complained";
    like($complained, qr/the documents were moved to \S+db\.before-cut-/, 'documents of what is given up are moved away');
    $agent = Daa->start(dir => $data, config => $config);
    like($agent->said, qr/forked from \S+ behind event $plan->{cut_seq}\b/, 'then one starts, and forks');
    is($agent->get("/api/v1/workflows/$id")->{json}{status}, 'completed', 'with all that was kept');
    is($agent->stop, 0, 'and ends in order');
};

subtest 'documents beside the log that are not its own' => sub {
    my $parent = scratch() . '/strangers';
    mkdir "$parent$_" or die for '', '/db';
    spew("$parent/db/data.mdb", 'somebody else\'s');
    system('cp', '-r', $dir, "$parent/log") == 0 or die;
    unlink "$parent/log/PLACE";
    my ($used) = map { $_->{used_bytes} } grep { $_->{type} eq 'segment' && $_->{name} eq $newest } lines((daa_log('ls', '--json', $dir))[1]);
    patch("$parent/log/$newest", $used - 4096 + 700, "\xff\x00\xff");
    my ($plan) = reverse lines((daa_log('repair', '--plan', '--json', "$parent/log"))[1]);
    my ($status, $said, $complained) = daa_log('repair', '--cut-at', $plan->{cut_seq}, "$parent/log");
    is_deeply([$status, $complained, slurp("$parent/db/data.mdb")], [0, '', 'somebody else\'s'], 'stay where they are') or diag $said;
};

subtest 'files that are none' => sub {
    my $log = copy_of($dir, 'spare');
    my ($spare, @behind) = grep { $_ gt $newest } @segments;
    patch("$log/$spare", 100000, 'garbage');
    my ($status, $steps, $result) = repaired($log, 'a spare');
    is_deeply([$status, map { "$_->{step} $_->{file}" } @$steps], [0, map { "aside $_" } reverse $spare, @behind],
        'one that is not empty goes into the quarantine, and what would stand behind a gap then');
    ok(!-e "$log/$spare" && -e "$result->{quarantine}/$spare", 'and is kept there');
};

subtest 'a log in use' => sub {
    my $log = scratch() . '/used';
    my $writer = start_maker($log);
    say_to($writer, 'workflows 1');
    for my $plan ([], ['--plan']) {
        my ($status, undef, $why) = daa_log('repair', @$plan, $log);
        ok($status == 1 && $why =~ /in use by process \d+: stop it first/, "is left alone @$plan") or diag($why);
    }
    stop($writer);
};

# Whichever bit it is, alone it is found and flipped back.
my $seed = $ENV{SEED} // int(rand 1_000_000);
note "SEED=$seed";
srand $seed;
my ($flips, @unmended) = (60);
my $flipped = copy_of($dir, 'any');
my $golden = scratch() . '/golden';
copy_tree('t/golden/log-1.1-sealed', $golden);
for my $which (1 .. $flips) {
    my $log = $which % 3 ? $flipped : $golden;
    my @files = $which % 3 ? (@segments[0 .. 2], $which % 10 ? () : 'CHECKPOINT') : map { s{.*/}{}r } glob "$golden/seg-*.zlog";
    my $file = $files[ rand @files ];
    my $bytes = slurp("$log/$file");
    my $place = $which % 4 ? int rand 70000 % length $bytes : int rand length $bytes;
    # What nobody looks at twice: the front and the index of a sealed file have checksums, and no second copy.
    next if $file =~ /zlog/ && ($place < 8192 || $place > length($bytes) - 200);
    flip("$log/$file", $place, my $bit = int rand 8);
    my ($before) = daa_log('verify', $log);
    my ($status, $said) = daa_log('repair', $log);
    my $raw = slurp("$log/$file") // '';
    push @unmended, "$file byte $place bit $bit: verify said $before, repair $status: $said"
        if $status != 0 || ($file !~ /zlog/ && $raw ne $bytes);
    if ($file =~ /zlog/) { remove_tree($golden); copy_tree('t/golden/log-1.1-sealed', $golden) }
    else { spew("$log/$file", $bytes) }
}
is_deeply(\@unmended, [], "each of $flips flipped bits is flipped back") or diag join "\n", @unmended;

# Whatever goes wrong, each segment is old or new, and the next run ends what was begun.
my $work = scratch() . '/mended/log';
mkdir scratch() . '/mended';
my $hurt = copy_of($dir, 'hurt');
flip("$hurt/seg-0000000001.log", $frames[1][0] + 300, 4);
flip("$hurt/seg-0000000002.log", 70, 6);
each_fault(
    name    => 'a repair',
    dir     => $work,
    actions => [qw(kill torn eio enospc)],
    most    => 12,
    prepare => sub { copy_tree($hurt, $work); unlink "$work/PLACE" },
    run     => sub { my ($fault) = @_; return [ $fault->under(sub { run_program(program('daa-log'), 'repair', $work) }) ] },
    check   => sub {
        my ($result) = @_;
        my ($verify) = daa_log('verify', $work);
        return "it exits 0, and verify $verify" if $result->[0] == 0 && $verify != 0;
        return "it failed without a sentence" if $result->[0] == 1 && $result->[2] !~ /^daa-log repair: \S/m;
        my ($status, $said, $complained) = daa_log('repair', $work);
        return "the next run: $status $said$complained" if $status != 0;
        return 'other events' if events($work) ne events($dir);
        return;
    },
);

done_testing();
