#!/usr/bin/perl
# daa-log over a log of which the events of workflows are encrypted: with the keys, without them, and with keys that were
# destroyed, are damaged, missing, not to be read, or of another log.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(wait_until scratch program run_program slurp spew);
use LogMaker qw(daa_log lines flip);
use Anchor ();
use EventOpener ();
use LogReader ();
use JSON::PP ();
use Test::More;

plan skip_all => 'daa-agent is not built' if !-x program('daa-agent') || !-x program('daa-log');

my $json = JSON::PP->new->utf8->canonical->allow_nonref;
my %wait = (name => 'wait', steps => [ { id => 'a', signal => { name => 'go' } } ]);

# An agent that stopped; three workflows that ended, of which the first was erased: $secret-1 is nowhere.
my $agent = Daa->start(config => "[log]\nencryption = true\nseal = false\n");
my $admin = $agent->as_admin;
my @ids;
for my $number (1 .. 3) {
    push @ids, $agent->post('/api/v1/workflows',
        { definition => \%wait, input => { name => "secret-$number" }, metadata => { who => "person-$number" } })->{json}{id};
    $agent->post("/api/v1/workflows/$ids[-1]/signals/go", { note => "signal-$number" });
    ok(wait_until { $agent->get("/api/v1/workflows/$ids[-1]")->{json}{status} eq 'completed' }, "(workflow $number ends)");
}
is($agent->post("/api/v1/workflows/$ids[0]:erase", { reason => 'asked for' }, $admin)->{status}, 200, '(the first is erased)');
is($agent->post('/api/v1/log:anchor', {}, $admin)->{status}, 200, '(its head is signed)');
my $digest = $agent->get('/api/v1/state/digest')->{json}{digest};
$agent->stop;
my ($dir, $keys, $alone) = ($agent->dir, $agent->dir . '/keys', scratch() . '/alone/log');
mkdir scratch() . '/alone';
system('cp', '-r', "$dir/log", $alone) == 0 or die;
unlink "$alone/PLACE";

sub copy_of_keys { my $copy = scratch() . "/$_[0]"; system('cp', '-r', $keys, $copy) == 0 or die; return $copy }
sub cat { my ($status, $out, $said) = daa_log('cat', '--json', @_); return ([lines($out)], $status, $said) }
sub submitted { return grep { $_->{kind} eq 'workflow.submitted' } @{ $_[0] } }

#--- Which keys are used --------------------------------------------------------------------------

my ($events, $status, $said) = cat($dir);
my @first = submitted($events);
is_deeply([$status, $said, map { $_->{payload}{input} } @first], [0, '', undef, { name => 'secret-2' }, { name => 'secret-3' }],
    'the keys beside the log are used by themselves');
ok(!exists $first[0]{payload}{metadata} && $first[0]{withheld}{key_id} == 1 && $first[0]{withheld}{bytes} > 28,
    'but for what was erased, which is withheld');
ok(!exists $first[1]{withheld}, 'and nothing else is');
is_deeply([(cat("$dir/log"))[0]], [$events], 'so they are when the log directory is named');
is_deeply([(cat('--keys', $keys, $alone))[0]], [$events], 'and with --keys for a log that lies elsewhere');
for my $case ([['--no-keys', $dir], 'with --no-keys'], [[$alone], 'without any beside the log']) {
    my ($shown, $code, $warned) = cat(@{ $case->[0] });
    my @withheld = submitted($shown);
    is_deeply([$code, $warned, scalar grep { exists $_->{payload}{input} || !$_->{withheld} } @withheld], [0, '', 0],
        "$case->[1] all that is private is withheld, and nothing is complained of");
    is($withheld[1]{payload}{status}, 'pending', 'while the rest is shown');
}

for my $case ([[qw(--keys /nonexistent), $dir], 1, qr{^daa-log cat: directory of keys /nonexistent: }], [['--keys', $keys, '--no-keys', $dir], 2, qr/--no-keys/]) {
    my ($code, $out, $warned) = daa_log('cat', @{ $case->[0] });
    ok($code == $case->[1] && $out eq '' && $warned =~ $case->[2], "refused: cat @{$case->[0]}") or diag("$code $out $warned");
}
is((daa_log('verify', '--keys', '/nonexistent', $dir))[0], 2, 'verify cannot look then, exit 2');

#--- What a person sees ---------------------------------------------------------------------------

my @text = grep { /workflow\.submitted/ } split /\n/, (daa_log('cat', $dir))[1];
like($text[0], qr/workflow\.submitted +\[erased\] \{/, 'text marks an event that was erased');
unlike($text[1], qr/\[/, 'and none that is whole');
@text = grep { /workflow\.submitted/ } split /\n/, (daa_log('tail', '-n', 1000, '--no-keys', $dir))[1];
is(scalar(grep { /workflow\.submitted +\[encrypted, and no keys\] \{/ } @text), 3, 'without keys it says that they are encrypted');
like((daa_log('cat', '--tree', $dir))[1], qr/secret-2/, 'a tree shows what is encrypted');
like((daa_log('explain', '--tree', $first[1]{seq}, $dir))[1], qr/secret-2/, 'that of an event too');
unlike((daa_log('explain', '--tree', '--no-keys', $first[1]{seq}, $dir))[1], qr/secret-2/, 'unless it shall not');

my ($found) = lines((daa_log('grep', '--json', '"secret-[123]"', $dir))[1]);
is($found->{seq}, $first[1]{seq}, 'grep finds what is encrypted');
is((daa_log('grep', '-c', 'secret-[23]', $dir))[1], "2\n", 'and not what was erased');
is((daa_log('grep', '--no-keys', 'secret', $dir))[0], 1, 'without keys it does not');

#--- Export ---------------------------------------------------------------------------------------

my ($code, $out, $warned) = daa_log('export', $dir);
is_deeply([$code, [lines($out)]], [0, $events], 'export writes what cat shows');
like($warned, qr/without what is encrypted of \d+;/, 'and says how many events lack a part');
($code, $out) = daa_log('export', '--format', 'csv', '-k', 'workflow.submitted', $dir);
my ($names, @rows) = split /\r\n/, $out;
like($names, qr/,traceparent,withheld,payload$/, 'CSV has a column for it');
like($rows[0], qr/,1,"\{(?!.*secret)/, 'with the key of what is withheld');
like($rows[1], qr/,,"\{.*secret-2/, 'empty for what is whole');
($code, $out) = daa_log('export', '--json', '-o', scratch() . '/exported', $dir);
is((lines($out))[0]{withheld}, scalar(grep { $_->{withheld} } @$events), 'the result as JSON counts them');

#--- Proofs ---------------------------------------------------------------------------------------

my $proof = scratch() . '/proof';
is((daa_log('prove', '-o', $proof, $first[1]{seq}, $dir))[0], 0, 'an event that is encrypted can be proven');
is_deeply([lines((daa_log('prove', '--check', '--json', '--keys', $keys, $proof))[1])], [$first[1]], 'and the proof shown with the keys');
ok(exists((lines((daa_log('prove', '--check', '--json', $proof))[1]))[0]{withheld}), 'without them it holds too');
is((daa_log('prove', '--keys', $keys, $first[1]{seq}, $dir))[0], 2, 'to make one no keys are needed');

#--- Explain, stat, diff --------------------------------------------------------------------------

sub explained { my ($explained) = lines((daa_log('explain', '--json', @_))[1]); return $explained->{encrypted} }
my $seq = $first[1]{seq};
my $explained = explained($seq, $dir);
is_deeply([@$explained{qw(key_id key)}, $explained->{fields}], [2, 'fits', { input => length '{"name":"secret-2"}', metadata => length '{"who":"person-2"}' }],
    'explain says which fields are encrypted, how large they are, and that the tag fits');
is(explained($first[0]{seq}, $dir)->{key}, 'destroyed', 'that the key was destroyed');
is(explained($seq, $alone)->{key}, 'no_keys', 'that there are no keys');
my ($opened) = grep { $_->{kind} eq 'storage.opened' } @$events;
is(explained($opened->{seq}, $dir), undef, 'and nothing of an event that is not encrypted');
like((daa_log('explain', $seq, $dir))[1], qr/^encrypted with key 2, \d+ bytes.*\n  input +19 bytes\n  metadata +18 bytes\n  the key is there, and the tag fits$/m,
    'in words too');
my ($started) = grep { $_->{stream} == $seq && $_->{kind} eq 'workflow.started' } @$events;
like((daa_log('explain', $started->{seq}, $dir))[1], qr/its stream has key 2; nothing of this event is encrypted/, 'also of an event without private fields');

my $encrypted = grep { $_->{withheld} } @{ (cat('--no-keys', $dir))[0] };
my ($stat) = lines((daa_log('stat', '--json', $dir))[1]);
is_deeply([@{ $stat->{encrypted} }{qw(events streams streams_erased)}], [$encrypted, 3, 1], 'stat counts encrypted events, streams, and the erased ones');
ok($stat->{encrypted}{bytes} > 28 * $encrypted, 'and bytes');
($stat) = lines((daa_log('stat', '--json', $alone))[1]);
is_deeply([@{ $stat->{encrypted} }{qw(events streams streams_erased)}], [$encrypted, 3, undef], 'which nobody knows without keys');
like((daa_log('stat', $dir))[1], qr/^encrypted  $encrypted events, .* in 3 streams, 1 of which were erased$/m, 'in words too');

is((daa_log('diff', $dir, $alone))[0], 0, 'diff takes logs for the same whatever keys there are');
my $other = Daa->start(config => "[log]\nencryption = true\nseal = false\n");
$other->post('/api/v1/workflows', { definition => \%wait, input => { name => "other-$_" } }) for 1 .. 105;
$other->stop;
my @different = lines((daa_log('diff', '--json', '-n', 0, $dir, $other->dir))[1]);
my ($pair) = grep { ($_->{second}{kind} // '') eq 'workflow.submitted' } @different;
is_deeply($pair->{second}{payload}{input}, { name => 'other-1' }, 'and shows those that differ, with the keys of each side');

#--- Keys that are not what they should be --------------------------------------------------------

# Each: what becomes of keys, why the second workflow is withheld, and what verify says.
sub damage { my $copy = copy_of_keys('damaged'); flip("$copy/keys-0000000000", 4096 + 64 * 2, 3); return $copy }
sub lose { my $copy = copy_of_keys('lost'); unlink glob "$copy/*"; return $copy }
for my $case ([damage(), 'damaged', qr/key 2 is damaged/], [lose(), 'missing', qr/keys-0000000000 is missing/]) {
    my ($copy, $what, $why) = @$case;
    my ($shown, $exit, $complained) = cat('--keys', $copy, $alone);
    my @some = submitted($shown);
    ok($exit == 0 && $some[1]{withheld}{key_id} == 2, "what has a key that is $what is withheld, and that is no failure");
    my @complaints = split /\n/, $complained;
    ok(@complaints == 1 && $complaints[0] =~ $why, 'which is said once') or diag($complained);
    is(explained($seq, '--keys', $copy, $alone)->{key}, 'unavailable', 'explain says so');
    like((daa_log('explain', '--keys', $copy, $seq, $alone))[1], $why, 'and why');
    like((daa_log('cat', '--keys', $copy, $alone))[1], qr/\[encrypted, and its key cannot be read\]/, 'text marks it');
    ($exit, my $verified) = daa_log('verify', '--keys', $copy, $alone);
    ok($exit == 1 && $verified =~ /^keys: key 2 of event $seq, of stream $seq, cannot be read: .*$why/m && $verified =~ /^sound:/m,
        'verify finds it, and the log sound') or diag($verified);
}
is($first[2]{payload}{input}{name}, (submitted((cat('--keys', damage(), $alone))[0]))[2]{payload}{input}{name}, 'a key that is damaged is no other');

my ($shown, $exit, $complained) = cat('--keys', $other->dir . '/keys', $alone);
my @some = submitted($shown);
ok($exit == 0 && @some == 3 && !grep({ !$_->{withheld} } @some), 'with keys of another log all is withheld');
like($complained, qr/^daa-log cat: event $first[0]{seq} is encrypted, .*: key 1 does not fit it; are these the keys of this log\?\n\z/, 'and that is said once');
is(explained($seq, '--keys', $other->dir . '/keys', $alone)->{key}, 'does_not_fit', 'explain says so');

# Root reads everything, unless it gives that up.
my @without = $> == 0 ? ('setpriv', map { "--$_=-dac_override,-dac_read_search" } 'bounding-set', 'inh-caps') : ();
sub cat_as_another { my ($status, $out, $said) = run_program(@without, program('daa-log'), 'cat', '--json', @_); return ([lines($out)], $status, $said) }
my $closed = copy_of_keys('closed');
chmod 0, "$closed/keys-0000000000";
($shown, $exit, $complained) = cat_as_another('--keys', $closed, $alone);
ok($exit == 0 && (submitted($shown))[1]{withheld}, 'with a file of keys that may not be read too');
like($complained, qr/\A[^\n]*keys-0000000000: Permission denied\n\z/, 'and that is said once');
chmod 0, $keys;
($shown, $exit, $complained) = cat_as_another($dir);
chmod 0700, $keys;
ok($exit == 0 && (submitted($shown))[1]{withheld}, 'a directory beside the log that may not be read is no failure');
like($complained, qr/\Adaa-log cat: directory of keys [^\n]*Permission denied: what is encrypted is left out\n\z/, 'and said once');

#--- Verify ---------------------------------------------------------------------------------------

($code, $out) = daa_log('verify', '--json', '--keys', $keys, $dir);
my $result = (lines($out))[-1];
my $erased = grep { $_->{withheld} } @$events;
is_deeply([$code, $result->{encrypted}], [0, { events => $encrypted, opened => $encrypted - $erased, erased => $erased, misfits => 0, unavailable => 0 }],
    'verify --keys opens each encrypted event, and counts those that were erased');
ok(!exists((lines((daa_log('verify', '--json', $dir))[1]))[-1]{encrypted}), 'without --keys it does not look');
($code, $out) = daa_log('verify', '--json', '--keys', $other->dir . '/keys', $alone);
my @lines = lines($out);
is_deeply([$code, @{ $lines[-1] }{qw(verdict findings)}, @{ $lines[-1]{encrypted} }{qw(misfits opened erased)}], [1, 'sound', 0, $encrypted, 0, 0],
    'keys that do not fit are found, exit 1, and are no damage of the log');
is_deeply([@{ $lines[0] }{qw(key_id seq stream)}], [1, $first[0]{seq}, $first[0]{seq}], 'each by itself');
($code, $out) = daa_log('verify', '--keys', $keys, $other->dir);
is(scalar(() = $out =~ /^keys: /mg), 100, 'up to a hundred');
like($out, qr/^105 events are encrypted: 0 can be read, 1 were erased, 104 do not fit their keys; the first 100 of these are above$/m, 'and all are counted');

#--- A reader made from the page ------------------------------------------------------------------

SKIP: {
    skip 'no openssl', 4 if !Anchor::have_openssl();
    my %field = (32 => { 4 => 'input', 5 => 'metadata' }, 34 => { 2 => 'output' }, 49 => { 5 => 'output' }, 66 => { 2 => 'payload' });
    my (%wrong, %count);
    my %shown = map { $_->{seq} => $_ } @$events;
    for my $record (LogReader::read_log($alone)) {
        my $opened = EventOpener::open_event($record, $keys);
        my $event = $shown{ $record->{seq} };
        $wrong{"$record->{seq} withheld"}++ if !!$event->{withheld} != (($opened // '') eq 'destroyed');
        $count{ ref $opened ? 'opened' : $opened // 'plain' }++;
        next if !ref $opened;
        for my $number (keys %$opened) {
            my $name = $field{ $record->{kind} }{$number} // die "kind $record->{kind}, field $number";
            $wrong{"$record->{seq} $name"}++ if $json->encode($json->decode($opened->{$number})) ne $json->encode($event->{payload}{$name});
        }
    }
    is_deeply(\%wrong, {}, 'one that knows the page alone decrypts what daa-log shows');
    is_deeply([@count{qw(opened destroyed)}], [$encrypted - $erased, $erased], 'all of it, but for what was erased');
    my ($record) = grep { $_->{seq} == $seq } LogReader::read_log($alone);
    ok(!eval { EventOpener::open_event({ %$record, $_ => $record->{$_} + 1 }, $keys); 1 } && $@ =~ /tag/, "the tag covers the event's $_") for qw(seq stream);
}

#--- Replay ---------------------------------------------------------------------------------------

sub replay { my $into = scratch() . '/into-' . rand; return daa_log('replay', '--json', '--into', $into, @_) }
is((lines((replay($dir))[1]))[0]{digest}, $digest, 'replay makes the state of the agent, with the keys beside the log');
is((lines((replay('--keys', $keys, $alone))[1]))[0]{digest}, $digest, 'or with those that are named');
($code, $out, $warned) = replay($alone);
ok($code == 1 && $out eq '' && $warned =~ /^daa-log replay: event $first[0]{seq} is encrypted, and there are no keys: .* \(--keys\)$/, 'without keys it ends, and says the way out') or diag($warned);
($code, $out, $warned) = replay('--keys', lose(), $alone);
ok($code == 1 && $warned =~ /the directory of keys holds none/, 'with keys that are missing too') or diag($warned);
($code, $out, $warned) = replay('--keys', $other->dir . '/keys', $alone);
ok($code == 1 && $warned =~ /holds those of keyring [0-9a-f-]+, and this log's are those of keyring/, 'with those of another log too') or diag($warned);

done_testing;
