#!/usr/bin/perl
# daa-cli against a real agent: every command, and what each says to wrong input.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Daa qw(program run_program scratch slurp spew wait_until);
use IO::Socket::INET;
use JSON::PP;
use Test::More;

delete @ENV{qw(DAA_URL DAA_TOKEN_FILE)};
my $agent = Daa->start(config => <<'END');
[network]
allow = ["127.0.0.0/8"]
END
my $url = $agent->url;
my $dir = scratch();

sub cli { return run_program(program('daa-cli'), '--url', $url, @_) }
sub lines { return map { decode_json($_) } split /\n/, $_[0] }

# A file with a definition.
my $files = 0;
sub definition {
    my ($definition) = @_;
    my $path = "$dir/definition-" . ++$files . '.json';
    spew($path, ref $definition ? encode_json($definition) : $definition);
    return $path;
}
sub fails {
    my ($name, $status, $pattern, @arguments) = @_;
    my ($got, $out, $err) = cli(@arguments);
    is($got, $status, "$name exits with $status");
    like($err, $pattern, "$name says why");
    is($out, '', "$name prints nothing else");
}

my $quick = definition({ name => 'quick', steps => [ { id => 'a', sleep => '0s' }, { id => 'b', needs => ['a'], sleep => '0s' } ] });
my $waits = definition({ name => 'waits', steps => [ { id => 'a', signal => { name => 'go' } } ] });

#--- submit, get, history ------------------------------------------------------

my ($status, $out, $err) = cli('workflow', 'submit', $quick, '--wait', '30s', '--input', '{"n": 7}', '--metadata', 'owner=ada',
    '--metadata', 'note=a=b');
is($status, 0, 'a workflow that completes within --wait exits with 0') or diag $err;
like($out, qr/^status\s+completed$/m, 'and is shown as completed');
my ($id) = $out =~ /^id\s+(wf-\S+)$/m;
ok($id, 'with its id');
($status, $out) = cli('--json', 'workflow', 'get', $id);
my ($workflow) = lines($out);
is($workflow->{status}, 'completed', 'get --json prints the agent\'s object');
is_deeply($workflow->{input}, { n => 7 }, '--input is the input');
is_deeply($workflow->{metadata}, { owner => 'ada', note => 'a=b' }, '--metadata are labels');
is_deeply([ map { $_->{id} } @{ $workflow->{steps} } ], [ 'a', 'b' ], 'it has its steps');
($status, $out) = cli('workflow', 'get', $id);
like($out, qr/^STEP\s+KIND\s+STATUS\s+ATTEMPTS\s+ERROR\s*\na\s+sleep\s+completed/m, 'get prints a table of steps');
unlike($out, qr/\033/, 'without colour where there is no terminal');

($status, $out) = cli('workflow', 'history', $id);
is($status, 0, 'history exits with 0');
like($out, qr/^SEQ\s+TIME\s+KIND/, 'it has a head');
my @events = lines((cli('workflow', 'history', $id, '--json'))[1]);
is($events[0]{kind}, 'workflow.submitted', 'a history begins with the submission');
is($events[-1]{kind}, 'workflow.completed', 'and ends with the end');
ok(!(grep { $events[$_]{seq} <= $events[ $_ - 1 ]{seq} } 1 .. $#events), 'in order');

($status, $out) = cli('workflow', 'submit', $quick, '--key', 'k1');
my ($first) = $out =~ /^(wf-\S+) /;
ok($first, 'submit without --wait prints the id');
($status, $out) = cli('workflow', 'submit', $quick, '--key', 'k1');
like($out, qr/^\Q$first\E /, 'the same key gives the same workflow');
like($out, qr/had been accepted before/, 'and says so');
fails('the same key with another file', 1, qr/422/, 'workflow', 'submit', $waits, '--key', 'k1');

spew("$dir/input.json", '{"from": "file"}');
($status, $out) = cli('--json', 'workflow', 'submit', $quick, '--input', "\@$dir/input.json", '--wait', '30s');
is_deeply((lines($out))[0]{input}, { from => 'file' }, '--input @FILE reads the file');

#--- signal, cancel, list, resolve ---------------------------------------------

($status, $out) = cli('workflow', 'submit', $waits);
my ($waiting) = $out =~ /^(wf-\S+) /;
($status, $out, $err) = cli('workflow', 'submit', $waits, '--wait', '50ms');
is($status, 1, '--wait exits with 1 when the time is over');
like($err, qr/is still \w+ after 50 ms/, 'and says that it goes on');
my ($second) = $out =~ /^id\s+(wf-\S+)$/m;
is((cli('workflow', 'signal', $waiting, 'go', '{"by": "me"}'))[0], 0, 'a signal is sent');
ok(wait_until { (lines((cli('--json', 'workflow', 'get', $waiting))[1]))[0]{status} eq 'completed' }, 'it ends the waiting');
is((cli('workflow', 'cancel', $second, '--reason', 'not needed'))[0], 0, 'a workflow is cancelled');
ok(wait_until { (lines((cli('--json', 'workflow', 'get', $second))[1]))[0]{status} eq 'cancelled' }, 'and is cancelled then');
fails('a signal to what has ended', 1, qr/409/, 'workflow', 'signal', $second, 'go');
fails('cancelling what has ended', 1, qr/409/, 'workflow', 'cancel', $second);

my @all = lines((cli('--json', 'workflow', 'list', '--all'))[1]);
is(scalar @all, 5, 'list --all has each workflow once');
is($all[0]{id}, $second, 'the newest first');
is(scalar(() = lines((cli('--json', 'workflow', 'list', '--limit', '2'))[1])), 2, '--limit is a limit');
like((cli('workflow', 'list', '--limit', '2'))[1], qr/there are more; --all/, 'which is said');
is_deeply([ map { $_->{id} } lines((cli('--json', 'workflow', 'list', '--status', 'cancelled'))[1]) ], [$second],
    '--status picks some');
is(scalar(() = lines((cli('--json', 'workflow', 'list', '--name', 'waits'))[1])), 2, '--name too');
like((cli('workflow', 'list'))[1], qr/^ID\s+NAME\s+STATUS/, 'the table has a head');

# A POST that gets no answer is uncertain: somebody decides.
my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 8) or die $@;
my $post = definition({ name => 'post', steps => [ { id => 'p', timeout => '200ms', http => { method => 'POST',
    url => 'http://127.0.0.1:' . $listener->sockport . '/', body => {} } } ] });
($status, $out) = cli('workflow', 'submit', $post);
my ($uncertain) = $out =~ /^(wf-\S+) /;
ok(wait_until { (lines((cli('--json', 'workflow', 'get', $uncertain))[1]))[0]{status} eq 'paused' }, 'a step without an answer pauses its workflow');
like((cli('workflow', 'list', '--status', 'parked'))[1], qr/\Q$uncertain\E/, 'which is listed as parked');
my @token = ('--token-file', $agent->dir . '/admin.token');
fails('resolve without a token', 1, qr/40[13]/, 'workflow', 'resolve', $uncertain, 'p', '--as', 'done');
fails('resolve of a step that is not there', 1, qr/nothing-like-it/, @token, 'workflow', 'resolve', $uncertain, 'nothing-like-it',
    '--as', 'done');
is((cli(@token, 'workflow', 'resolve', $uncertain, 'p', '--as', 'done', '--output', '{"ok": true}', '--reason', 'looked'))[0], 0,
    'it is resolved');
ok(wait_until { (lines((cli('--json', 'workflow', 'get', $uncertain))[1]))[0]{status} eq 'completed' }, 'and goes on');

#--- status, state, benchmark --------------------------------------------------

is((lines((cli('--json', 'status'))[1]))[0]{pid}, $agent->pid, 'status has the agent\'s pid');
like((cli('status'))[1], qr/^pid\s+\d+$/m, 'also in the table');
like((cli(@token, 'state', 'digest'))[1], qr/^digest\s+[0-9a-f]{64}$/m, 'state digest prints a digest');

($status, $out, $err) = cli('--json', 'benchmark', 'workflow-throughput', '--count', '100', '--clients', '4');
is($status, 0, 'the benchmark exits with 0') or diag $err;
my ($result) = lines($out);
is($result->{completed}, 100, 'all of its workflows completed');
is($result->{errors}, 0, 'without errors');
ok($result->{per_second} > 0 && $result->{latency_ms}{p99} >= $result->{latency_ms}{p50}, 'it has figures');
($status, $out) = cli('benchmark', 'workflow-throughput', '--count', '50', '--clients', '4', '--mode', 'accept', '--retry', '10s',
    '--record', "$dir/record");
my %ids = map { $_ => 1 } split /\n/, slurp("$dir/record");
is(scalar keys %ids, 50, '--record has each id once');
my %listed = map { $_->{id} => 1 } lines((cli('--json', 'workflow', 'list', '--all'))[1]);
ok(!(grep { !$listed{$_} } keys %ids), 'and each is there');
my $refused = definition('{"name": "x", "steps": [{"id": "a"}]}');
($status, $out, $err) = cli('benchmark', 'workflow-throughput', '--count', '3', '--definition', $refused);
is($status, 1, 'a benchmark whose answers are errors exits with 1');
like($err, qr/3 of the answers were errors/, 'and counts them');
like($out, qr/422/, 'and shows one');

#--- Over the Unix socket ------------------------------------------------------

my $socket = $agent->dir . '/agent.sock';
($status, $out, $err) = run_program(program('daa-cli'), '--url', "unix://$socket", 'workflow', 'get', $id);
is($status, 0, 'a Unix socket will do') or diag $err;
($status) = run_program(program('daa-cli'), '--url', "unix:$socket", 'benchmark', 'workflow-throughput', '--count', '5');
is($status, 0, 'also for the benchmark');
{
    local $ENV{DAA_URL} = $url;
    ($status) = run_program(program('daa-cli'), 'workflow', 'get', $id);
    is($status, 0, '$DAA_URL says where the agent is');
}

#--- Wrong input ---------------------------------------------------------------

fails('a missing file', 1, qr/cannot open .*missing/, 'workflow', 'submit', "$dir/missing");
fails('a file that is not JSON', 1, qr/definition-\d+\.json is not JSON: line 2, column/, 'workflow', 'submit', definition("{\n nope }"));
fails('an input that is not JSON', 1, qr/--input is not JSON: line 1/, 'workflow', 'submit', $quick, '--input', '{');
fails('a definition that breaks a rule', 1, qr/422.*nowhere/, 'workflow', 'submit',
    definition({ name => 'x', steps => [ { id => 'a', needs => ['nowhere'], sleep => '0s' } ] }));
fails('metadata without a value', 1, qr/--metadata: 'nope': expected KEY=VALUE/, 'workflow', 'submit', $quick, '--metadata', 'nope');
fails('a key that is too long', 2, qr/--key/, 'workflow', 'submit', $quick, '--key', 'k' x 256);
fails('a key with a line end', 2, qr/--key/, 'workflow', 'submit', $quick, '--key', "a\nX: y");
fails('a wait without a unit', 2, qr/--wait: '30'/, 'workflow', 'submit', $quick, '--wait', '30');
fails('submit without a file', 2, qr/expected FILE/, 'workflow', 'submit');
fails('an id that is none', 1, qr/404/, 'workflow', 'get', 'nothing');
fails('an id with odd characters', 1, qr/404/, 'workflow', 'get', 'a/../b c?d');
fails('the history of nothing', 1, qr/404/, 'workflow', 'history', 'wf-0000000000000000-1');
fails('a status that is none', 1, qr/400.*pending/, 'workflow', 'list', '--status', 'odd');
fails('a limit of 0', 2, qr/--limit/, 'workflow', 'list', '--limit', '0');
fails('a limit that is no number', 2, qr/--limit/, 'workflow', 'list', '--limit', 'many');
fails('a payload that is not JSON', 1, qr/the payload is not JSON/, 'workflow', 'signal', $id, 'go', 'nope');
fails('resolve without --as', 2, qr/--as: expected done, failed or retry/, 'workflow', 'resolve', $id, 'a');
fails('resolve as something else', 2, qr/--as/, 'workflow', 'resolve', $id, 'a', '--as', 'maybe');
fails('an unknown command', 2, qr/did you mean 'workflow'/, 'workflw');
fails('an unknown option', 2, qr/did you mean '--status'/, 'workflow', 'list', '--statu5');
fails('a command of later', 1, qr/not in this version/, 'rule');
fails('a subcommand of later', 1, qr/not in this version/, 'workflow', 'pause');
fails('no command', 2, qr/expected a command/);
fails('too many arguments', 2, qr/unexpected argument 'b'/, 'workflow', 'get', $id, 'b');
fails('no clients', 2, qr/--clients/, 'benchmark', 'workflow-throughput', '--clients', '0');
fails('no steps', 2, qr/--steps/, 'benchmark', 'workflow-throughput', '--steps', '0');
fails('another mode', 2, qr/--mode/, 'benchmark', 'workflow-throughput', '--mode', 'fast');
fails('a url of another kind', 1, qr/'ftp:.*expected http/, '--url', 'ftp://x', 'status');
fails('a token file that is missing', 1, qr/--token-file: cannot open/, '--token-file', "$dir/missing", 'status');
spew("$dir/empty", '');
fails('a token file that is empty', 1, qr/does not hold a token/, '--token-file', "$dir/empty", 'status');
my ($nobody) = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1)->sockport;
for my $command ([ 'status' ], [ 'benchmark', 'workflow-throughput', '--count', '1' ]) {
    fails("$command->[0] without an agent", 1, qr/no agent answers at .*:$nobody.*daa-agent --data-dir.*--url/,
        '--url', "http://127.0.0.1:$nobody", @$command);
}
for my $command ([], ['workflow'], [ 'workflow', 'submit' ], ['benchmark'], [ 'rule' ]) {
    my ($code, $help) = run_program(program('daa-cli'), @$command, '--help');
    is($code, 0, "@$command --help exits with 0");
    like($help, qr/^Usage: daa-cli/, "@$command --help says how");
}

is($agent->stop, 0, 'the agent ends in order');
done_testing();
