#!/usr/bin/perl
# The check of the state on a real agent: clean under work and after kill -9, and what it says when
# it is not.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Daa qw(program run_program scratch wait_until);
use File::Path qw(remove_tree);
use JSON::PP;
use Test::More;

delete @ENV{qw(DAA_URL DAA_TOKEN_FILE)};
my $seed = $ENV{SEED} // time;
srand $seed;
diag("seed $seed (SEED= repeats it)");

my $agent = Daa->start(config => <<'END');
[log]
segment_size = "256KB"
[exec]
enabled = true
allow = ["/bin/true", "/bin/false"]
END
my $dir = $agent->dir;
my $workflows = '/api/v1/workflows';
my @definitions = (
    { name => 'quick', steps => [ { id => 'a', sleep => '0s' }, { id => 'b', needs => ['a'], sleep => '1ms' } ] },
    { name => 'waits', steps => [ { id => 'a', signal => { name => 'go', timeout => '1h' } } ] },
    { name => 'later', steps => [ { id => 'a', sleep => '1h' } ] },
    { name => 'runs', steps => [ { id => 'a', exec => { argv => ['/bin/true'] } } ] },
    { name => 'parks', steps => [ { id => 'a', exec => { argv => ['/bin/false'] } } ] },
);

sub some_work {
    for (1 .. 20 + int rand 30) {
        my $which = $definitions[ rand @definitions ];
        my $headers = { %{ $agent->as_admin }, rand() < 0.3 ? ('Idempotency-Key' => 'key-' . rand) : () };
        my $answer = $agent->post($workflows, { definition => $which }, $headers);
        my $id = $answer->{json}{id} or do { diag($agent->said); BAIL_OUT("not accepted: $answer->{status} $answer->{body}") };
        $agent->post("$workflows/$id:cancel", {}) if rand() < 0.2;
        $agent->post("$workflows/$id/signals/go", {}) if $which->{name} eq 'waits' && rand() < 0.5;
    }
    return;
}
sub known { return $agent->get('/api/v1/state/check')->{json} }
sub check { return $agent->post('/api/v1/state:check', {}, $agent->as_admin) }
sub cli {
    my ($admin, @arguments) = @_;
    return run_program(program('daa-cli'), '--url', $agent->url, ($admin ? ('--token-file', "$dir/admin.token") : ()), 'doctor', @arguments);
}

# One that nobody else has under way.
sub check_alone {
    my $answer;
    wait_until(sub { $answer = check(); $answer->{status} != 409 });
    return $answer;
}

sub is_clean {
    my ($name) = @_;
    my $answer = check_alone();
    is($answer->{status}, 200, "$name: the state is checked");
    my $report = $answer->{json};
    is($report->{findings}, 0, "$name: nothing is wrong") or diag(encode_json($report));
    is($report->{trouble}, undef, "$name: nor with the check");
    return $report;
}

#--- Clean -----------------------------------------------------------------------------------------

ok(wait_until(sub { known()->{checks} > 0 }), 'after the start it is checked by itself');
is(known()->{findings}, 0, 'an agent that has just begun is clean');
is($agent->post('/api/v1/state:check', {})->{status}, 401, 'to check is for administrators');
some_work();
my $report = is_clean('amid work');
cmp_ok($report->{workflows}, '>=', 20, 'all workflows were looked at');
cmp_ok($report->{documents}, '>', 2 * $report->{workflows}, 'and more documents');
cmp_ok($report->{seq}, '>', $report->{workflows}, 'it says for which event');
is(known()->{time}, $report->{time}, 'what was found is kept');
is($agent->get('/status')->{json}{state}{check}{seq}, $report->{seq}, 'and in /status');

for my $round (1 .. 3) {
    some_work();
    $agent->kill;
    $agent->start_again;
    ok(wait_until(sub { known()->{checks} > 0 }), 'it is checked after kill -9');
    is(known()->{findings}, 0, 'nothing is wrong');
    some_work();
    is_clean('after kill -9');
}
unlike($agent->said, qr/broken invariant/, 'nothing was complained of');

#--- Many at once ----------------------------------------------------------------------------------

my @clients = map { $agent->client } 1 .. 20;
my $token = $agent->token;
for my $client (@clients) {
    $client->send("POST /api/v1/state:check HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer $token\r\n"
            . "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
}
my %statuses;
$statuses{ $_->answer->{status} }++ for @clients;
cmp_ok($statuses{200} // 0, '>', 0, 'of many that ask at once one is served');
is(($statuses{200} // 0) + ($statuses{409} // 0), 20, 'and the others are told that it is under way');

#--- daa-cli ---------------------------------------------------------------------------------------

my ($status, $out, $err) = cli(1, 'state');
is($status, 0, 'daa-cli doctor state: 0') or diag($err);
like($out, qr/^\d+ documents as of event \d+ checked in \d+ ms: nothing is wrong$/, 'and a line');
($status, $out) = cli(1, 'state', '--json');
is($status, 0, 'with --json too');
is(decode_json($out)->{findings}, 0, 'the answer as it is');
($status, $out, $err) = cli(0, 'state');
is($status, 1, 'without the token: 1');
like($err, qr/token/, 'and why');
($status, $out, $err) = cli(0);
is($status, 2, 'daa-cli doctor alone is wrong usage');
($status, $out) = cli(0, '--help');
like($out, qr/^ *state .*\n *machine /m, 'its help lists what can be looked at');
($status, $out, $err) = cli(0, 'machine');
is($status, 1, 'the machine is not looked at');
like($err, qr/not in this version/, 'yet');

#--- Broken on purpose -----------------------------------------------------------------------------

my $break = ($ENV{OUT} // 'build/release') . '/t/bin/drop-document';
my @broken = (
    [ a => qr/^w[0-9a-f]{16}: workflow \d+ \(\w+\): what a start would need to go on with it is not there$/m ],
    [ f => qr/^w[0-9a-f]{16}: workflow \d+ \(\w+\): its place in the order of ends is not there$/m ],
    [ k => qr/^g: it counts \d+ idempotency keys, and there are \d+$/m ],
    [ u => qr/^d[0-9a-f]{64}: no workflow is counted that uses the definition$/m ],
);
is($agent->stop, 0, 'the agent ends in order');
for (@broken) {
    my ($failed, $key, $why) = run_program($break, "$dir/db", $_->[0]);
    is($failed, 0, "a document of the kind $_->[0] is deleted") or diag($why);
}
$agent->start_again;
ok(wait_until(sub { known()->{checks} > 0 }), 'the start goes well');
my $found = known()->{findings};
cmp_ok($found, '>=', 4, 'it is found by itself');
like($agent->said, qr/a broken invariant, please report it: document /, 'and said');
ok($agent->get('/status')->{json}{state}{check}{first_finding}, 'also in /status');
is($agent->post("$workflows?wait=30s", { definition => $definitions[0] })->{json}{status}, 'completed', 'the agent goes on');
($status, $out) = cli(1, 'state');
is($status, 1, 'daa-cli doctor state: 1');
like($out, $_->[1], "and which document it is: $_->[0]") for @broken;
like($out, qr/\d+ broken invariants, please report them$/, 'and how many');
($status, $out) = cli(1, 'state', '--json');
is($status, 1, 'with --json too');
cmp_ok(scalar @{ decode_json($out)->{items} }, '>=', 4, 'each by itself');
$agent->stop;
remove_tree("$dir/db");
$agent->start_again;
is_clean('rebuilt from the log');

#--- The end ---------------------------------------------------------------------------------------

my $late = $agent->client;
$late->send("POST /api/v1/state:check HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer $token\r\n"
        . "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
is($agent->stop, 0, 'an agent that is asked at its end ends in order');

done_testing();
