#!/usr/bin/perl
# Clients that stop reading or sending, that send too much, too deep, too early or half of it: the agent
# refuses or closes, and goes on serving the others.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(wait_until);
use Test::More;
use Time::HiRes qw(time);

my $agent = Daa->start(config => <<'TOML');
[api]
request_timeout = "1s"
max_body_size = "64KB"
max_connections = 200
TOML

my $post = "POST /api/v1/workflows HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
my $definition = { name => 'nap', steps => [{ id => 'a', sleep => '0s' }] };

sub raw {
    my ($bytes, %options) = @_;
    my $client = Daa::Client->new(port => $agent->port, timeout => $options{timeout} // 20);
    $client->send($bytes);
    my $answer = $client->answer;
    return $answer // { status => 0, headers => {}, body => '' };
}

# Closed by the agent: the end of the file, or a reset.
sub is_closed {
    my ($client, $name) = @_;
    my $closed = wait_until(sub { my $got = $client->fill; !$got }, 20);
    ok($closed, $name);
}

subtest 'bodies' => sub {
    my $answer = raw($post . "Content-Length: 70000\r\nExpect: 100-continue\r\n\r\n");
    is($answer->{status}, 413, 'who asks first whether a body over the limit may come is refused');
    is($answer->{json}{code}, 'body-too-large', 'and told why');
    $answer = raw($post . "Content-Length: 70000000000\r\n\r\n");
    is($answer->{status}, 413, 'a length far over the limit is refused before the body');
    $answer = $agent->post('/api/v1/workflows', 'x' x 3_000_000);
    is($answer->{status}, 413, 'a body over the limit goes by, and its sender reads why');

    my $chunk = 'x' x 32768;
    $answer = raw($post . "Transfer-Encoding: chunked\r\n\r\n" . sprintf("%x\r\n%s\r\n", length $chunk, $chunk) x 3 . "0\r\n\r\n");
    is($answer->{status}, 413, 'so are chunks that add up to more');

    my $client = $agent->client;
    $client->send($post . "Transfer-Encoding: chunked\r\n\r\n");
    my $sent = 0;
    $sent++ while $sent < 1000 && $client->send(sprintf("%x\r\n%s\r\n", length $chunk, $chunk));
    cmp_ok($sent, '<', 1000, 'chunks without end are cut off');

    for my $depth (65, 5000) {
        my $deep = '{"definition":' . '[' x $depth . ']' x $depth . '}';
        $answer = $agent->post('/api/v1/workflows', $deep);
        is($answer->{status}, 422, "a body $depth levels deep is refused");
        is($answer->{json}{code}, 'json-too-deep', 'with the reason');
    }
};

subtest 'framing' => sub {
    my $answer = raw($post . "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}");
    is($answer->{status}, 400, 'two lengths are refused');
    $answer = raw($post . "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    is($answer->{status}, 400, 'a length and chunks are refused');
    $answer = raw("GET /health HTTP/1.1\r\n\r\n");
    is($answer->{status}, 400, 'a request without Host is refused');
    $answer = raw("GET /health HTTP/1.1\r\nHost: localhost\r\nX: " . 'y' x 40000 . "\r\n\r\n");
    ok($answer->{status} == 431 || $answer->{status} == 0, 'headers without end are refused');
    $answer = raw("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 not HTTP at all\r\n\r\n");
    ok($answer->{status} == 400 || $answer->{status} == 0, 'what is not HTTP is refused');
};

subtest 'pipelining' => sub {
    my $client = $agent->client;
    my $body = JSON::PP->new->encode({ definition => $definition });
    my $request = $post . 'Content-Length: ' . length($body) . "\r\n\r\n$body";
    $client->send($request x 10 . "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    my @answers = map { $client->answer } 1 .. 11;
    is(join(' ', map { $_->{status} // 0 } @answers), join(' ', (202) x 10, 200), 'requests sent at once are answered in order');
    my %ids = map { ($_->{json}{id} // '') => 1 } @answers[0 .. 9];
    is(scalar keys %ids, 10, 'each one made a workflow');
};

subtest 'slow and silent clients' => sub {
    my $began = time;
    my @silent = map { my $client = $agent->client; $client->connect; $client } 1 .. 20;
    my $half = $agent->client;
    $half->send("GET /heal");
    my $body = $agent->client;
    $body->send($post . "Content-Length: 100\r\n\r\n{");
    my $drip = $agent->client;
    $drip->send($post . "Content-Length: 100000000\r\n") for 1;
    my $dripping = $agent->client;
    $dripping->send($post . "Content-Length: 1000\r\n\r\n");
    my $cut = wait_until(sub { $dripping->send(' '); $dripping->{timeout} = 0; $dripping->fill; $dripping->{buffer} =~ /408/ || !$dripping->{socket} }, 20);
    ok($cut, 'a body that comes byte by byte is ended, however steadily it comes');
    my $answer = $body->answer;
    is($answer && $answer->{status}, 408, 'half a body is answered with 408');
    is_closed($half, 'half a request line is closed');
    is_closed($_, 'a silent connection is closed') for @silent[0, 19];
    is($agent->get('/health')->{status}, 200, 'others are served meanwhile');
};

subtest 'clients that do not read' => sub {
    my @deaf = map {
        my $client = $agent->client;
        $client->connect;
        setsockopt $client->{socket}, Socket::SOL_SOCKET(), Socket::SO_RCVBUF(), 2048;
        $client->send("GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n" x 200);
        $client;
    } 1 .. 20;
    is($agent->get('/health')->{status}, 200, 'others are served while answers pile up');
    ok(wait_until(sub { $agent->get('/status')->{json}{api}{connections} <= 5 }, 30), 'they are closed in the end');
};

subtest 'clients that are gone' => sub {
    my $waiting = { name => 'wait', steps => [{ id => 'a', signal => { name => 'go' } }] };
    for (1 .. 20) {
        my $client = $agent->client;
        my $body = JSON::PP->new->encode({ definition => $waiting });
        $client->send("POST /api/v1/workflows?wait=500s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
            . length($body) . "\r\n\r\n$body");
        push @{ $agent->{gone} }, $client;
    }
    ok(wait_until(sub { $agent->get('/status')->{json}{api}{under_way} >= 21 }, 30), '20 clients wait');
    $_->close for @{ $agent->{gone} };
    ok(wait_until(sub { $agent->get('/status')->{json}{api}{under_way} <= 1 }, 30), 'waits of clients that have gone end');
    is($agent->get('/api/v1/workflows?name=wait&limit=1')->{status}, 200, 'their workflows are there');
};

subtest 'more connections than allowed' => sub {
    my @many = map { my $client = $agent->client; $client->connect; $client } 1 .. 300;
    @many = ();
    ok(wait_until(sub { $agent->client->request('GET', '/health')->{status} == 200 }, 30), 'a flood of connections passes');
};

is($agent->stop, 0, 'the agent stops in order after all that');
is($agent->said, '', 'and had nothing to complain about') or diag($agent->said);
done_testing();
