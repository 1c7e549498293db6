# Encrypted workflows and their erasure, end to end: what is private is nowhere in the log; nothing
# notices it (restarts, kill -9, a state made anew); and what is erased is gone for everybody, while
# the log stays whole and gives the same state.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(wait_until scratch program run_program slurp spew);
use Test::More;

my $secret = 'XYZZY-private';
my %wait = (name => 'wait', steps => [ { id => 'a', signal => { name => 'go' } } ]);

# Every file below a directory that holds the bytes.
sub files_with {
    my ($dir, $bytes) = @_;
    my @files = map { chomp; $_ } `find $dir -type f`;
    return join ' ', grep { index(slurp($_) // '', $bytes) >= 0 } @files;
}

sub daa_log {
    my ($status, $out, $err) = run_program(program('daa-log'), @_);
    return ($status, $out . $err);
}

my $agent = Daa->start(config => "[log]\nencryption = true\nseal = false\n");

my $admin = { Authorization => "Bearer " . $agent->token };

sub submit {
    my ($number) = @_;
    my $answer = $agent->post('/api/v1/workflows',
        { definition => \%wait, input => { name => "$secret-input-$number" }, metadata => { who => "$secret-meta-$number" } },
        { "Idempotency-Key" => "key-$number" });
    return $answer->{json}{id};
}

sub finish {
    my ($id, $number) = @_;
    $agent->post("/api/v1/workflows/$id/signals/go", { note => "$secret-signal-$number" });
    return wait_until { $agent->get("/api/v1/workflows/$id")->{json}{status} eq 'completed' };
}

sub digest { return $agent->get('/api/v1/state/digest')->{json}{digest} }

#--- Nothing notices it --------------------------------------------------------------------------

my @ids = map { submit($_) } 1 .. 4;
ok(finish($ids[$_], $_), 'a workflow whose events are encrypted completes') for 0, 1;
my $before = $agent->get("/api/v1/workflows/$ids[0]")->{json};
is($before->{input}{name}, "$secret-input-1", 'and is shown as any other');
my $history = $agent->get("/api/v1/workflows/$ids[0]/history")->{json}{items};
is($history->[0]{payload}{input}{name}, "$secret-input-1", 'its history too');
is(files_with($agent->dir, $secret), '', 'no file of the data directory holds what is private');
is((stat $agent->dir . '/keys')[2] & 0777, 0700, 'the keys are beside it, for nobody else');

$agent->kill;
$agent->start_again;
is_deeply($agent->get("/api/v1/workflows/$ids[0]")->{json}, $before, 'after kill -9 it is what it was');
ok(finish($ids[2], 3), 'and one that waited meanwhile goes on');
my $state = digest();
$agent->stop;
run_program('rm', '-r', $agent->dir . '/db');
$agent->start_again;
is(digest(), $state, 'the state that is made anew of the encrypted log is the same');

#--- Erasing --------------------------------------------------------------------------------------

my $answer = $agent->post("/api/v1/workflows/$ids[3]:erase", {}, $admin);
is($answer->{status}, 409, 'one that has not ended is not erased');
like($answer->{json}{detail}, qr/cancel it first/, 'and the way out is said');
is($agent->post("/api/v1/workflows/$ids[0]:erase", {})->{status}, 401, 'nor without the token');
$answer = $agent->post("/api/v1/workflows/$ids[0]:erase", { reason => 'asked for' }, $admin);
is($answer->{status}, 200, 'one that has ended is erased') or diag($answer->{body});
my $gone = $agent->get("/api/v1/workflows/$ids[0]");
is("$gone->{status} $gone->{json}{code}", '410 erased', 'then it is gone, and that is said');
$answer = $agent->post("/api/v1/workflows/$ids[0]:erase", {}, $admin);
is($answer->{status}, 200, 'erasing it once more changes nothing');
is($agent->get("/api/v1/workflows/$ids[1]")->{json}{input}{name}, "$secret-input-2", 'others stay');
my $again = $agent->post('/api/v1/workflows',
    { definition => \%wait, input => { name => "$secret-input-1" }, metadata => { who => "$secret-meta-1" } }, { 'Idempotency-Key' => 'key-1' });
is($again->{status}, 422, 'its idempotency key is kept, so nothing is done twice');

my $second = $agent->get("/api/v1/workflows/$ids[1]")->{json}{seq};

my ($status, $out) = daa_log('cat', '--json', $agent->dir . '/log');
is($status, 0, 'the log can be read') or diag($out);
my ($submitted) = grep { /"workflow.submitted"/ } split /\n/, $out;
like($submitted, qr/"withheld":\{"key_id":1,/, 'and says that of this event a part is withheld');
like($out, qr/"workflows.erased".*asked for/, 'the erasure is an event, with its reason');
($status, $out) = daa_log('verify', '--chain', $agent->dir . '/log');
is($status, 0, 'verify --chain finds nothing missing') or diag($out);

#--- The state without what was erased -----------------------------------------------------------

$state = digest();
$agent->kill;
run_program('rm', '-r', $agent->dir . '/db', $agent->dir . '/snapshots');
$agent->start_again;
is(digest(), $state, 'the state made anew of the log, which lacks what was erased, is the same');
ok(finish($ids[3], 4), 'and what has not ended goes on');
$agent->stop;

#--- A crash in the middle ------------------------------------------------------------------------

spew($agent->dir . "/keys/erase-2-$second", '');
$agent->start_again;
ok(wait_until(sub { $agent->get("/api/v1/workflows/$ids[1]")->{status} == 410 }),
    'an erasure that was interrupted is gone on with at the next start');
ok(wait_until(sub { !(() = glob $agent->dir . '/keys/erase-*') }), 'until nothing of it is left to do');
$agent->stop;

#--- Keys from a copy ------------------------------------------------------------------------------

run_program('cp', '-a', $agent->dir . '/keys', $agent->dir . '/copy');
$agent->start_again;
is($agent->post("/api/v1/workflows/$ids[2]:erase", {}, $admin)->{status}, 200, '(a third is erased)');
$agent->stop;
run_program('rm', '-r', $agent->dir . '/keys');
run_program('mv', $agent->dir . '/copy', $agent->dir . '/keys');
$agent->start_again;
like($agent->said, qr/had come back with a copy/, 'a destroyed key that a copy brings back is destroyed again, before anything is answered');
is($agent->get("/api/v1/workflows/$ids[2]")->{json}{code}, 'erased', 'so what was erased stays erased');
$agent->stop;

#--- Keys of another -------------------------------------------------------------------------------

my $other = Daa->start(config => "[log]\nencryption = true\nseal = false\n");
my $theirs = $other->post('/api/v1/workflows?wait=10s', { definition => { name => 'nap', steps => [ { id => 'a', sleep => '0s' } ] }, input => { n => $secret } })->{json}{id};
$agent->{wait_ready} = 0;
spew($agent->{config}, "[log]\nencryption = true\nseal = false\nkeys_dir = \"" . $other->dir . "/keys\"\n");
$agent->start_again;
ok(wait_until(sub { $agent->reap(POSIX::WNOHANG()) }), 'with the keys that another agent uses it does not start');
like($agent->said, qr/belongs to another agent that runs, pid \d+: stop it first/, 'and names that one');
$other->stop;
for my $documents ('its documents', 'none') {
    run_program('rm', '-r', $agent->dir . '/db', $agent->dir . '/snapshots') if $documents eq 'none';
    $agent->start_again;
    ok(wait_until(sub { $agent->reap(POSIX::WNOHANG()) }), "nor with those of another log, with $documents");
    like($agent->said, qr/holds those of keyring [0-9a-f-]{36}, and this log's are those of keyring [0-9a-f-]{36}: .*log\.keys_dir/, 'and names both');
}
spew($agent->{config}, "[log]\nencryption = true\nseal = false\nkeys_dir = \"" . $agent->dir . "/empty\"\n");
$agent->start_again;
ok(wait_until(sub { $agent->reap(POSIX::WNOHANG()) }), 'nor with an empty directory');
like($agent->said, qr/holds none, and this log's/, 'which is said');
is(join(' ', glob $agent->dir . '/empty/keys-*'), '', 'and no keys are made in it');
$agent->{wait_ready} = 1;
$other->start_again;
is($other->get("/api/v1/workflows/$theirs/history")->{json}{items}[0]{payload}{input}{n}, $secret, "and the other's keys are as they were");
$other->stop;
spew($agent->{config}, "[log]\nencryption = true\nseal = false\n");
$agent->start_again;
$agent->stop;

#--- Keys that are not there ----------------------------------------------------------------------

rename $agent->dir . '/keys', $agent->dir . '/elsewhere';
run_program('rm', '-r', $agent->dir . '/db', $agent->dir . '/snapshots');
$agent->{wait_ready} = 0;
spew($agent->{config}, "[log]\nseal = false\n");
$agent->start_again;
ok(wait_until(sub { $agent->reap(POSIX::WNOHANG()) }), 'without its keys it does not start');
like($agent->said, qr/is encrypted, and there are no keys/, 'and says why');
rename $agent->dir . '/elsewhere', $agent->dir . '/keys';
$agent->{wait_ready} = 1;
$agent->start_again;
is($agent->get("/api/v1/workflows/$ids[3]")->{json}{input}{name}, "$secret-input-4",
    'with them it does, also when new workflows are not encrypted any more');
$agent->stop;
done_testing;
