# Keys of workflows that cannot be had: whose they are waits, all others go on, and nothing is lost.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(wait_until scratch program run_program spew);
use POSIX ();
use Test::More;

my $config = "[log]\nencryption = true\nseal = false\n[state]\nsnapshot_interval = \"0s\"\n";
my %nap = (name => 'nap', steps => [ { id => 'a', sleep => '0s' } ]);
my %later = (name => 'later', steps => [ { id => 'a', sleep => '1s' }, { id => 'b', sleep => '0s', needs => ['a'] } ]);
my %wait = (name => 'wait', steps => [ { id => 'a', signal => { name => 'go' } } ]);

my $agent = Daa->start(config => $config);
my $admin = { Authorization => "Bearer " . $agent->token };

sub submit { return $agent->post('/api/v1/workflows', { definition => $_[0], input => {} })->{json}{id} }
sub status_of { return $agent->get("/api/v1/workflows/$_[0]")->{json}{status} }
sub waiting { return $agent->get('/status', $admin)->{json}{encryption}{waiting_for_keys} }

# Overwrites the slots of keys; what was there is returned.
sub damage {
    my ($bytes, $first, $count) = @_;
    open my $file, '+<:raw', $agent->dir . '/keys/keys-0000000000' or die;
    sysseek $file, 4096 + 64 * $first, 0;
    sysread $file, my $before, 64 * $count;
    sysseek $file, 4096 + 64 * $first, 0;
    syswrite $file, $bytes // ("\xff" x (64 * $count));
    close $file;
    return $before;
}

#--- One key is damaged ----------------------------------------------------------------------------

my ($stuck, $signalled) = (submit(\%later), submit(\%wait));
my $keys = damage(undef, 1, 2);
ok(wait_until(sub { waiting() == 1 }), 'a workflow whose timer is due and whose key is damaged is set aside');
like($agent->said, qr/\Q$stuck\E was set aside: .*key 1 is damaged/, 'which is said, and why');
my $answer = $agent->post('/api/v1/workflows?wait=20s', { definition => \%nap, input => {} });
is("$answer->{status} $answer->{json}{status}", '200 completed', 'others begin and end meanwhile');
for my $id ($stuck, $signalled) {
    $answer = $agent->post("/api/v1/workflows/$id:cancel", {});
    is("$answer->{status} $answer->{json}{code}", '503 key-unavailable', 'what a client asks of one without a key is refused');
}
damage($keys, 1, 2);
is($agent->post("/api/v1/workflows/$signalled/signals/go", {})->{status}, 202,
    'one that was not set aside goes on as soon as its key is back');
$answer = $agent->post("/api/v1/workflows/$stuck:cancel", {});
like($answer->{json}{detail}, qr/when the agent is started again/, 'the other waits for a start');
is($agent->stop, 0, 'the agent ends when it is told to');
$agent->start_again;
ok(wait_until(sub { status_of($stuck) eq 'completed' }), 'and the next start takes up what was set aside');
is(waiting(), 0, 'so that none waits');
submit(\%wait);

#--- Keys that no workflow has ---------------------------------------------------------------------

sub submitted { return $agent->post('/api/v1/workflows', { definition => \%nap, input => {} }) }

# The numbers of the keys of workflows, in the order in which they were submitted.
sub keys_of {
    my ($dir) = @_;
    my ($status, $out) = run_program(program('daa-log'), 'cat', '--json', '--no-keys', $dir);
    return [ map { /"key_id":(\d+)/ ? $1 : 0 } grep { /"workflow.submitted"/ } split /\n/, $out ];
}

my @before = @{ keys_of($agent->dir . '/log') };
is("@before", '1 2 3 4', '(four keys are used)');
damage(undef, 5, 1500);
$answer = submitted();
is("$answer->{status} $answer->{json}{code}", '503 keys-being-made', 'behind many that are damaged none is found at once');
is(submitted()->{status}, 202, 'the next try goes on from there, and finds one');
is(submitted()->{status}, 202, 'and so does the one after it');
is(keys_of($agent->dir . '/log')->[-1], 1506, 'with the key behind it: nothing is tried twice');

#--- A log that was restored -----------------------------------------------------------------------

my $original = $agent;
my ($status, $out, $err) = run_program(program('daa-log'), 'backup', $agent->dir, scratch() . '/backup');
is($status, 0, '(a backup)') or diag($err);
$agent->stop;
run_program(program('daa-log'), 'restore', scratch() . '/backup', scratch() . '/restored');
run_program('cp', '-a', $agent->dir . '/keys', scratch() . '/restored/keys');
my $end = 65536 * (() = glob $agent->dir . '/keys/keys-*');
$agent = Daa->start(dir => scratch() . '/restored', config => $config);
$agent->stop;
$agent->start_again;
is(submitted()->{status}, 202, 'a log that was restored with a copy of its keys goes on');
cmp_ok(keys_of($agent->dir . '/log')->[-1], '>=', $end,
    'with none of the keys that the one before may have given to others since, also at its second start');
$agent->stop;
$agent = $original;

#--- Keys that are not made yet ---------------------------------------------------------------------

my ($begin) = glob $agent->dir . '/keys/log-*';
rename $begin, $begin =~ s/-\d+$/-65535/r or die;
unlink $agent->dir . '/keys/keys-0000000001';
mkdir $agent->dir . '/keys/keys-0000000001.tmp';
$agent->start_again;
$answer = submitted();
is("$answer->{status} $answer->{json}{code}", '503 keys-being-made', 'a workflow whose key is not made yet is to be submitted again');
$agent->stop;
rmdir $agent->dir . '/keys/keys-0000000001.tmp';
$agent->start_again;
is(submitted()->{status}, 202, 'when it is made, it is taken');
is(keys_of($agent->dir . '/log')->[-1], 65536, '(the first behind those of the file before)');
$agent->stop;

#--- One whose document has to be read ---------------------------------------------------------------

$agent = Daa->start(config => $config . "idle_bytes = \"1B\"\n");
$admin = { Authorization => "Bearer " . $agent->token };
$stuck = submit(\%later);
ok(wait_until(sub { $agent->get('/status', $admin)->{json}{workflows}{in_memory} == 0 }), '(it has left memory)');
damage(undef, 1, 1);
ok(wait_until(sub { waiting() == 1 }), 'a workflow that is read back, and whose key is damaged, is set aside too');
is(submitted()->{status}, 202, 'and the agent goes on');
is($agent->stop, 0, 'until it is stopped');
$agent = $original;

#--- All are gone ----------------------------------------------------------------------------------

rename $agent->dir . '/keys', $agent->dir . '/elsewhere';
$agent->{wait_ready} = 0;
for my $encryption ('false', 'true') {
    spew($agent->{config}, $config =~ s/encryption = true/encryption = $encryption/r);
    $agent->start_again;
    ok(wait_until(sub { $agent->reap(POSIX::WNOHANG()) }),
        "without the directory of keys it does not start, though it has its documents (encryption = $encryption)");
    like($agent->said, qr/(?:no keys in|holds none).*say where (?:it is|they are) \(log.keys_dir\)/, 'and says what to do');
}
run_program('rm', '-r', $agent->dir . '/keys'); # an empty one, but for its lock
rename $agent->dir . '/elsewhere', $agent->dir . '/keys';
$agent->{wait_ready} = 1;
$agent->start_again;
is($agent->stop, 0, 'with it, it does');
done_testing;
