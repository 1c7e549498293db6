# Keys of workflows that cannot be had: whose they are waits, all others go on, and nothing is lost.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(wait_until spew);
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
$agent->stop;

#--- All are gone ----------------------------------------------------------------------------------

rename $agent->dir . '/keys', $agent->dir . '/elsewhere';
$agent->{wait_ready} = 0;
for my $encryption ('false', 'true') {
    spew($agent->{config}, $config =~ s/encryption = true/encryption = $encryption/r);
    $agent->start_again;
    ok(wait_until(sub { $agent->reap(POSIX::WNOHANG()) }),
        "without the directory of keys it does not start, though it has its documents (encryption = $encryption)");
    like($agent->said, qr/no keys in .*: put that directory back, or say where it is \(log.keys_dir\)/, 'and says what to do');
}
rmdir $agent->dir . '/keys';
rename $agent->dir . '/elsewhere', $agent->dir . '/keys';
$agent->{wait_ready} = 1;
$agent->start_again;
is($agent->stop, 0, 'with it, it does');
done_testing;
