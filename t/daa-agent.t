#!/usr/bin/perl
# The daemon from outside: what it answers, what it refuses, what is there after a restart.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(wait_until scratch run_program program slurp spew);
use File::Path qw(make_path remove_tree);
use POSIX ();
use Test::More;

my $workflows = '/api/v1/workflows';
my $nap = { name => 'nap', steps => [{ id => 'a', sleep => '0s' }, { id => 'b', needs => ['a'], sleep => '0s' }] };
my $waits = { name => 'waits', steps => [{ id => 'a', signal => { name => 'go' } }] };
my $true = { name => 'true', steps => [{ id => 'a', exec => { argv => ['/bin/sh', '-c', 'exit 0'] } }] };
my $fails = { name => 'fails', steps => [{ id => 'a', exec => { argv => ['/bin/sh', '-c', 'kill -9 $$'] } }] };

my $agent = Daa->start(config => <<'TOML');
[exec]
enabled = true
allow = ["/bin/sh"]
[orchestrator]
workflow_queue_size = 50
TOML
my $admin = $agent->as_admin;
my $missing = 'wf-0000000000000000-1';

sub submit {
    my ($definition, %options) = @_;
    return $agent->post($workflows . ($options{query} // ''), { definition => $definition, %{ $options{body} // {} } }, $options{headers});
}

subtest 'starting' => sub {
    like($agent->url, qr{^http://127\.0\.0\.1:\d+$}, 'it says where it listens');
    is($agent->get('/health')->{status}, 200, '/health');
    is($agent->get('/ready')->{status}, 200, '/ready');
    my $status = $agent->get('/status')->{json};
    is($status->{pid}, $agent->pid, '/status has the pid');
    like($status->{log}{uuid}, qr/^[0-9a-f-]{36}$/, 'and the uuid of the log');
    is((stat $agent->dir)[2] & 07777, 0700, 'the data directory is ours alone');
    is((stat $agent->dir . '/admin.token')[2] & 07777, 0600, 'so is the token');
    is((stat $agent->dir . '/agent.sock')[2] & 07777, 0600, 'and the socket');
};

subtest 'submit, get, list, history' => sub {
    my $answer = submit($nap, body => { input => { n => 1 }, metadata => { team => 'x' } });
    is($answer->{status}, 202, 'a workflow is accepted');
    my $id = $answer->{json}{id};
    like($id, qr/^wf-[0-9a-f]{16}-\d+$/, 'it has an id');
    is($answer->{headers}{location}, "$workflows/$id", 'and a place');
    is($answer->{json}{status}, 'pending', 'a status');
    cmp_ok($answer->{json}{seq}, '>', 0, 'and a number in the log');
    is($answer->{headers}{'x-log-seq'}, $answer->{json}{seq}, 'which is a header too');
    is($agent->get("$workflows/$id")->{status}, 200, 'a GET right after it sees it');
    my $shown = $agent->get("$workflows/$id?wait=20s")->{json};
    is($shown->{status}, 'completed', 'it completes');
    is(scalar @{ $shown->{steps} }, 2, 'with its steps');
    is($shown->{input}{n}, 1, 'its input');
    is($shown->{metadata}{team}, 'x', 'and its metadata');

    my $history = $agent->get("$workflows/$id/history")->{json};
    my @kinds = map { $_->{kind} } @{ $history->{items} };
    is($kinds[0], 'workflow.submitted', 'its history begins with the submission');
    is($kinds[-1], 'workflow.completed', 'and ends with the completion');
    is($history->{next_cursor}, undef, 'all of it');
    my @events = @{ $history->{items} };
    my $sorted = join ' ', sort { $a <=> $b } map { $_->{seq} } @events;
    is(join(' ', map { $_->{seq} } @events), $sorted, 'in order');
    my $page = $agent->get("$workflows/$id/history?limit=2")->{json};
    is(scalar @{ $page->{items} }, 2, 'it comes in pages');
    is($page->{items}[-1]{kind}, 'workflow.completed', 'the newest first');
    my $older = $agent->get("$workflows/$id/history?cursor=$page->{next_cursor}")->{json};
    is(scalar @{ $older->{items} } + 2, scalar @events, 'and the rest behind the cursor');

    submit($nap) for 1 .. 5;
    my $list = $agent->get("$workflows?limit=4")->{json};
    is(scalar @{ $list->{items} }, 4, 'the list comes in pages');
    my $rest = $agent->get("$workflows?limit=4&cursor=$list->{next_cursor}")->{json};
    is(scalar @{ $rest->{items} }, 2, 'with a cursor');
    is($rest->{items}[-1]{id}, $id, 'the newest first');
    is($rest->{next_cursor}, undef, 'until the end');
    is(scalar @{ $agent->get("$workflows?name=none")->{json}{items} }, 0, 'it can be filtered by name');
    ok(wait_until(sub { @{ $agent->get("$workflows?status=completed")->{json}{items} } == 6 }), 'and by status');
};

subtest 'waiting' => sub {
    my $answer = submit($nap, query => '?wait=20s');
    is($answer->{status}, 200, 'done in time: 200');
    is($answer->{json}{status}, 'completed', 'with the result');
    $answer = submit($waits, query => '?wait=50ms');
    is($answer->{status}, 202, 'not done in time: 202');
    my $id = $answer->{json}{id};
    my $waiting = $agent->client;
    $waiting->send("GET $workflows/$id?wait=30s HTTP/1.1\r\nHost: localhost\r\n\r\n");
    is($agent->post("$workflows/$id/signals/go", { ok => JSON::PP::true() })->{status}, 202, 'a signal is accepted');
    my $woken = $waiting->answer;
    is($woken->{json}{status}, 'completed', 'who waits is told');
    is($agent->get("$workflows/$id?wait=never")->{status}, 400, 'a wait that is no duration is refused');
    is($agent->post("$workflows/$id/signals/go", {})->{status}, 409, 'a signal to what has ended is refused');
};

subtest 'cancel' => sub {
    my $id = submit($waits)->{json}{id};
    is($agent->post("$workflows/$id:cancel", { reason => 'enough' })->{status}, 202, 'a workflow is cancelled');
    is($agent->get("$workflows/$id?wait=10s")->{json}{status}, 'cancelled', 'and is so');
    my $again = $agent->post("$workflows/$id:cancel", {});
    ok($again->{status} == 409 || $again->{status} == 202, 'once more changes nothing');
    is($agent->post("$workflows/$missing:cancel", {})->{status}, 404, 'what is not there cannot be cancelled');
};

subtest 'a refusal tells only of what is durable' => sub {
    my ($first, $second) = map { $agent->client } 1, 2;
    my ($refused, $early) = (0, 0);
    for my $round (1 .. 50) {
        my $id = submit($waits)->{json}{id};
        my $cancel = "POST $workflows/$id:cancel HTTP/1.1\r\nHost: localhost\r\nAuthorization: $admin->{Authorization}\r\n"
            . "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
        my $look = "GET $workflows/$id HTTP/1.1\r\nHost: localhost\r\n\r\n";
        $first->send($cancel);
        $second->send($cancel . $look);
        my ($again, $seen) = map { $second->answer } 1, 2;
        $first->answer;
        next if $again->{status} != 409;
        $refused++;
        $early++ if $seen->{json}{status} ne 'cancelled';
    }
    cmp_ok($refused, '>', 0, 'of two cancels the second is refused');
    is($early, 0, 'and then everybody sees that it is cancelled');
};

subtest 'idempotency keys' => sub {
    my $key = { 'Idempotency-Key' => 'k1' };
    my $first = submit($nap, headers => $key);
    is($first->{status}, 202, 'the first is accepted');
    my $again;
    wait_until(sub { $again = submit($nap, headers => $key); $again->{status} != 409 });
    is($again->{status}, 202, 'the same again gets an answer');
    is($again->{body}, $first->{body}, 'the very same');
    is($again->{headers}{'idempotent-replayed'}, 'true', 'and says so');
    is($first->{headers}{'idempotent-replayed'}, undef, 'which the first did not');
    my $waited = submit($nap, headers => $key, query => '?wait=20s');
    is($waited->{json}{status}, 'completed', 'a replay can wait for the end');
    my $other = submit($waits, headers => $key);
    is($other->{status}, 422, 'another body with it is refused');
    is($other->{json}{code}, 'idempotency-key-reused', 'with the reason');
    is(submit($nap, headers => { 'Idempotency-Key' => 'x' x 256 })->{status}, 400, 'a key too long is refused');
};

subtest 'who may what' => sub {
    is(submit($true)->{status}, 403, 'exec without a token is refused');
    is(submit($true, query => '?wait=20s', headers => $admin)->{json}{status}, 'completed', 'with the token it runs');
    is($agent->get($workflows, { Authorization => 'Bearer wrong' })->{status}, 401, 'a wrong token is refused');
    is($agent->post("$workflows/$missing:resolve", { step => 'a', as => 'done' })->{status}, 401, 'resolve needs the token');
    is($agent->get('/health', { Host => 'example.org' })->{status}, 403, 'a foreign Host is refused');
    is($agent->get('/health', { Origin => 'http://example.org' })->{status}, 403, 'a foreign Origin too');
    is($agent->get('/health', { Origin => $agent->url })->{status}, 200, 'our own is not');
    my $socket = Daa::Client->new(path => $agent->dir . '/agent.sock');
    my $answer = $socket->request('POST', "$workflows?wait=20s", { definition => $true });
    is($answer->{status}, 200, 'on the Unix socket our own uid may all');
};

subtest 'uncertain steps' => sub {
    my $answer = submit($fails, headers => $admin);
    my $id = $answer->{json}{id};
    ok(wait_until(sub { $agent->get("$workflows/$id")->{json}{status} eq 'paused' }), 'a killed program parks its workflow');
    is(scalar @{ $agent->get("$workflows?status=parked")->{json}{items} }, 1, 'which the list can show');
    is($agent->post("$workflows/$id:resolve", { step => 'a', as => 'perhaps' }, $admin)->{status}, 422, 'it is decided by one of three words');
    is($agent->post("$workflows/$id:resolve", { step => 'a', as => 'done', output => { x => 1 }, reason => 'I looked' }, $admin)->{status},
        202, 'it is resolved');
    is($agent->get("$workflows/$id?wait=20s")->{json}{status}, 'completed', 'and goes on');
};

subtest 'bad input' => sub {
    my $step = sub { return { definition => { name => 'bad', steps => [@_] } } };
    my @bad = (
        ['not JSON', '{"definition', 400, 'malformed-json'],
        ['not an object', '[]', 422, 'invalid-body'],
        ['something behind it', '{} {}', 400, 'malformed-json'],
        ['a key twice', '{"input":1,"input":2}', 400, 'malformed-json'],
        ['bad UTF-8', "{\"input\":\"\xff\"}", 400, 'malformed-json'],
        ['no definition', {}, 422, 'missing-member'],
        ['an unknown member', { definition => $nap, inputs => 1 }, 422, 'unknown-member'],
        ['an integer beyond int64', '{"definition":{},"input":9223372036854775808}', 422, 'integer-too-large'],
        ['metadata that is no object', { definition => $nap, metadata => [] }, 422, 'invalid-member'],
        ['an unknown step kind', $step->({ id => 'a', dance => 1 }), 422, 'invalid-definition'],
        ['no step kind', $step->({ id => 'a' }), 422, 'invalid-definition'],
        ['a duplicate step id', $step->({ id => 'a', sleep => '0s' }, { id => 'a', sleep => '0s' }), 422, 'invalid-definition'],
        ['a cycle', $step->({ id => 'a', needs => ['b'], sleep => '0s' }, { id => 'b', needs => ['a'], sleep => '0s' }), 422, 'invalid-definition'],
        ['a literal secret', $step->({ id => 'a', http => { method => 'GET', url => 'http://x/', headers => { Authorization => 'Bearer abc' } } }),
            422, 'invalid-definition'],
    );
    for my $case (@bad) {
        my ($name, $body, $status, $code) = @$case;
        my $answer = $agent->post($workflows, $body);
        is($answer->{status}, $status, "$name: $status");
        is($answer->{json}{code}, $code, "$name: $code");
    }
    my $answer = $agent->post($workflows, { definition => { name => 'no', steps => [{ id => 'a', exec => { argv => ['/bin/false'] } }] } }, $admin);
    ok($answer->{status} >= 400 && $answer->{status} < 500, 'an exec that is not allowed is refused');
    like($answer->{body}, qr{/bin/false}, 'by name');
    $answer = $agent->post($workflows, '{}', { 'Content-Type' => 'text/plain' });
    is($answer->{status}, 415, 'a body that is not called JSON: 415');
    $answer = $agent->post($workflows, 'x' x 3_000_000);
    is($answer->{status}, 413, 'a body too large: 413');
    $answer = $agent->request('DELETE', $workflows);
    is($answer->{status}, 405, 'a method that is not there: 405');
    is($answer->{headers}{allow}, 'POST, GET', 'with those that are');
    is($agent->get('/nothing')->{status}, 404, 'a path that is not there: 404');
    is($agent->get("$workflows/$_")->{status}, 404, "no workflow $_: 404") for $missing, 'wf-1', 'x%00y';
    is($agent->get("$workflows?$_")->{status}, 400, "?$_: 400") for 'limit=0', 'limit=x', 'status=odd', 'cursor=00';
    my $problem = $agent->get('/nothing', { 'X-Request-Id' => 'mine-1' });
    is($problem->{headers}{'content-type'}, 'application/problem+json', 'errors are problems');
    is($problem->{json}{request_id}, 'mine-1', 'with the request id that was sent');
    is($problem->{headers}{'x-request-id'}, 'mine-1', 'which comes back');
    ok(exists $problem->{json}{$_}, "a problem has $_") for qw(type title status detail instance code retryable safe_to_retry);
};

my ($digest, $count);
subtest 'stop and start' => sub {
    my ($status, undef, $said) = run_program(program('daa-agent'), '--data-dir', $agent->dir, '--listen', '127.0.0.1:0');
    is($status, 1, 'a second daemon on the directory is refused');
    my $pid = $agent->pid;
    like($said, qr/\b$pid\b/, 'by the pid of the first');
    $digest = $agent->get('/api/v1/state/digest')->{json};
    $count = @{ $agent->get("$workflows?limit=1000")->{json}{items} };
    my $waiting = $agent->client;
    my $id = submit($waits)->{json}{id};
    $count++;
    $waiting->send("GET $workflows/$id?wait=500s HTTP/1.1\r\nHost: localhost\r\n\r\n");
    ok(wait_until(sub { $agent->get('/status')->{json}{api}{under_way} >= 2 }), '(one waits)');
    is($agent->stop, 0, 'SIGTERM ends it in order');
    is($waiting->answer->{json}{status}, 'running', 'who waited was answered');
    is($agent->said, '', 'without a complaint');
    ok(!-e $agent->dir . '/agent.sock', 'the socket is gone');

    $agent->start_again;
    is(scalar @{ $agent->get("$workflows?limit=1000")->{json}{items} }, $count, 'after a restart everything is there');
    is($agent->get('/status')->{json}{start}{log_closed_in_order}, JSON::PP::true(), 'and the log had been closed');
    is($agent->post("$workflows/$id/signals/go", {})->{status}, 202, 'what waited goes on');
    is($agent->get("$workflows/$id?wait=20s")->{json}{status}, 'completed', 'to its end');
    $digest = $agent->get('/api/v1/state/digest')->{json};
    $agent->kill;
    remove_tree($agent->dir . '/db');
    $agent->start_again;
    is($agent->get('/api/v1/state/digest')->{json}{digest}, $digest->{digest}, 'with the database deleted it is rebuilt to the same digest');
    is(scalar @{ $agent->get("$workflows?limit=1000")->{json}{items} }, $count, 'and everything is there');
    is($agent->stop, 0, 'it stops');
    my ($verified) = run_program(program('daa-log'), 'verify', $agent->dir);
    is($verified, 0, 'and its log is sound');
};

subtest 'without standard descriptors' => sub {
    my $dir = scratch() . '/closed';
    pipe(my $out, my $in) or die "pipe: $!";
    my $pid = fork() // die "fork: $!";
    if (!$pid) {
        open STDOUT, '>&', $in;
        close $_ for $out, $in, *STDIN, *STDERR;
        exec { program('daa-agent') } program('daa-agent'), '--data-dir', $dir, '--listen', '127.0.0.1:0' or POSIX::_exit(127);
    }
    close $in;
    like(scalar <$out>, qr/^daa-agent ready /, 'it starts with stdin and stderr closed');
    is(readlink("/proc/$pid/fd/$_"), '/dev/null', "nothing of its own is descriptor $_") for 0, 2;
    kill TERM => $pid;
    waitpid $pid, 0;
    is($?, 0, 'and it stops');
};

subtest 'what it does not start with' => sub {
    my $refused = sub {
        my ($name, $want, @arguments) = @_;
        my ($status, $out, $said) = run_program(program('daa-agent'), '--listen', '127.0.0.1:0', @arguments);
        is($status, 1, "$name: exit 1");
        like($said, $want, "$name: a sentence");
        is($out, '', "$name: not ready");
    };
    my $dir = scratch();
    spew("$dir/unknown.toml", "[api]\nmax_body_sise = \"1MB\"\n");
    spew("$dir/unit.toml", "[api]\nrequest_timeout = \"10 parsecs\"\n");
    $refused->('an unknown key', qr/max_body_size/, '--config', "$dir/unknown.toml", '--data-dir', "$dir/x");
    $refused->('a wrong unit', qr/request_timeout/, '--config', "$dir/unit.toml", '--data-dir', "$dir/x");
    $refused->('no such file', qr/none\.toml/, '--config', "$dir/none.toml", '--data-dir', "$dir/x");
    $refused->('an address that is not loopback', qr/0\.0\.0\.0.*TLS/, '--data-dir', "$dir/x", '--listen', '0.0.0.0:0');
    spew("$dir/file", 'x');
    $refused->('a data directory that is a file', qr/file/, '--data-dir', "$dir/file");
    make_path("$dir/open", { mode => 0777 });
    chmod 0777, "$dir/open";
    $refused->('a data directory that others may write', qr/chmod 700/, '--data-dir', "$dir/open");
    SKIP: {
        my $shm = '/dev/shm';
        skip 'no tmpfs here', 3 if !-w $shm || `stat -f -c %T $shm` !~ /tmpfs/;
        my $memory = File::Temp->newdir('daa-XXXXXX', DIR => $shm);
        $refused->('a data directory in memory', qr/tmpfs/, '--data-dir', "$memory");
    }
    my ($status, $out) = run_program(program('daa-agent'), '--check-config');
    is($status, 0, '--check-config is content with the defaults');
    like($out, qr/\[api\]/, 'and prints them');
    ($status, $out) = run_program(program('daa-agent'), '--version');
    is($status, 0, '--version');
    ($status) = run_program(program('daa-agent'), '--nonsense');
    is($status, 2, 'an option that is not there: exit 2');
};

done_testing();
