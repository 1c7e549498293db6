#!/usr/bin/perl
# The daemon on a machine whose clocks are set: what it says, what it records, what goes on.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(wait_until scratch run_program program slurp clock_file set_clock);
use File::Path qw(remove_tree);
use JSON::PP ();
use POSIX ();
use Test::More;

my $hour = 3600;
my $year = 31_536_000;
my $nap = { name => 'nap', steps => [{ id => 'a', sleep => '20ms' }] };
my $sleep = { name => 'sleep', steps => [{ id => 'a', sleep => '30m' }] };

sub start { my ($file, %options) = @_; return Daa->start(clock => $file, %options) }
sub clock_of { my ($agent) = @_; return $agent->get('/api/v1/clock')->{json} }
sub becomes { my ($agent, $state) = @_; return wait_until(sub { clock_of($agent)->{state} eq $state }) }
sub seconds { my ($ns) = @_; my $s = sprintf '%.0f', $ns / 1e9; return $s eq '-0' ? 0 : $s }
sub submit { my ($agent, $definition, $query) = @_; return $agent->post("/api/v1/workflows$query", { definition => $definition })->{json} }
sub accept_clock { my ($agent, $body, $headers) = @_; return $agent->post('/api/v1/clock:accept', $body // {}, $headers // $agent->as_admin) }

sub log_of {
    my ($agent) = @_;
    my ($status, $out) = run_program(program('daa-log'), 'cat', '--json', $agent->dir);
    die "daa-log: $status" if $status != 0;
    return map { JSON::PP::decode_json($_) } split /\n/, $out;
}

# "stepped 3600, accepted 3600 3600": change, difference and shift in seconds.
sub story {
    my ($agent) = @_;
    my @changes = map { $_->{payload} } grep { $_->{kind} eq 'clock.stepped' } log_of($agent);
    return join ', ', map { join ' ', $_->{change}, seconds($_->{difference_ns}), $_->{shift_ns} ? seconds($_->{shift_ns}) : () } @changes;
}

sub never_back {
    my ($agent) = @_;
    my @times = map { $_->{time} } log_of($agent);
    return "@times" eq join ' ', sort @times;
}

for my $by ($hour, -$hour, $year, -$year) {
    subtest "the wall clock is set by $by s and back" => sub {
        my $file = clock_file();
        my $agent = start($file);
        is(clock_of($agent)->{state}, 'ok', 'a clock that nobody touched is trusted');
        set_clock($file, $by);
        ok(becomes($agent, 'degraded'), 'one that was set is not, which is seen without any work to do');
        is(seconds(clock_of($agent)->{difference_ns}), $by, 'it says how far it is off');
        is(seconds($agent->get('/status')->{json}{clock}{difference_ns}), $by, '/status too');
        my $ready = $agent->get('/ready');
        is($ready->{status}, 200, 'the agent is ready all the same');
        like($ready->{json}{reason}, qr/DEGRADED.*clock accept/, 'and says what is the matter');
        like($agent->said, qr/DEGRADED/, 'on stderr too');
        is(submit($agent, $nap, '?wait=30s')->{status}, 'completed', 'timers go on');
        set_clock($file, 0);
        ok(becomes($agent, 'ok'), 'when it is back, it is trusted');
        is($agent->stop, 0, 'the agent ends in order');
        is(story($agent), "stepped $by, returned 0", 'the log tells it');
        ok(never_back($agent), 'in order of time');
    };
}

subtest 'a second is no step, nor is a suspended machine, nor a time zone' => sub {
    my $file = clock_file();
    local $ENV{TZ} = 'Europe/Berlin';
    my $agent = start($file);
    set_clock($file, 1);
    submit($agent, $nap, '?wait=30s');
    set_clock($file, -1);
    submit($agent, $nap, '?wait=30s');
    my $slept = submit($agent, $sleep, '')->{id};
    set_clock($file, $hour, $hour);
    my $shown;
    ok(wait_until(sub { $shown = $agent->get("/api/v1/workflows/$slept")->{json}; $shown->{status} eq 'completed' }),
        'what was due while the machine was suspended is done');
    my @utc = map { POSIX::strftime('%Y-%m-%dT%H:%M:%S', gmtime($_ + $hour)) } time, time + 60;
    my $wall = substr clock_of($agent)->{wall_time}, 0, 19;
    ok($utc[0] le $wall && $wall le $utc[1], "times are UTC: $wall");
    is(clock_of($agent)->{state}, 'ok', 'all that is trusted');
    is($agent->stop, 0, 'the agent ends in order');
    is(story($agent), '', 'and no event');
    ok(never_back($agent), 'log time never goes back');
};

subtest 'accepted ahead' => sub {
    my $file = clock_file();
    my $agent = start($file);
    is(accept_clock($agent)->{status}, 409, 'what was not stepped cannot be accepted');
    set_clock($file, $hour);
    ok(becomes($agent, 'degraded'), 'set an hour ahead');
    is(accept_clock($agent, {}, {})->{status}, 401, 'only the administrator may accept it');
    is(accept_clock($agent, { by => 1 })->{status}, 422, 'with nothing to say');
    is(accept_clock($agent, '[]')->{status}, 422, 'at all');
    my $answer = accept_clock($agent);
    is($answer->{status}, 200, 'then it is');
    is($answer->{json}{state}, 'ok', 'trusted');
    is(seconds($answer->{json}{shift_ns}), $hour, 'log time was moved on');
    is(seconds($answer->{json}{difference_ns}), 0, 'to wall time');
    cmp_ok($answer->{json}{seq}, '>', 0, 'by an event');
    is(accept_clock($agent)->{json}{code}, 'clock-not-stepped', 'once is enough');
    my $digest = sub { $agent->get('/api/v1/state/digest')->{json}{digest} };
    my $live = $digest->();
    $agent->kill;
    remove_tree($agent->dir . '/db');
    $agent->start_again;
    is(clock_of($agent)->{state}, 'ok', 'after a kill and without its documents the agent knows it still');
    is(seconds(clock_of($agent)->{shift_ns}), $hour, 'and how far it was');
    is($digest->(), $live, 'the documents are the same');
    is($agent->stop, 0, 'the agent ends in order');
    is(story($agent), "stepped $hour, accepted $hour $hour", 'the log tells it');
    ok(never_back($agent), 'in order of time');
};

subtest 'accepted ahead, and then nothing until a crash' => sub {
    my $file = clock_file();
    my $agent = start($file);
    my ($wall, $slept) = (0, 0);
    for my $lost (0, 1) {
        my $id = submit($agent, $sleep, '')->{id};
        set_clock($file, $wall + $hour, $slept);
        ok(becomes($agent, 'degraded'), 'set an hour ahead');
        my ($due, $before) = $agent->get("/api/v1/workflows/$id")->{json}{steps}[0]{due};
        is(accept_clock($agent)->{status}, 200, 'it is accepted');
        my $moved = sub { ($before = $agent->get("/api/v1/workflows/$id")->{json}{steps}[0])->{due} gt $due };
        ok((wait_until { $moved->() }), 'the timer is told by the new clock');
        $agent->kill;
        remove_tree($agent->dir . '/db') if $lost;
        set_clock($file, $wall, $slept);
        $agent->start_again;
        ok(becomes($agent, 'degraded'), 'after a crash the true clock is an hour behind log time');
        is_deeply($agent->get("/api/v1/workflows/$id")->{json}{steps}[0], $before, 'no timer has moved');
        set_clock($file, $wall += $hour, $slept += $hour);
        is($agent->get("/api/v1/workflows/$id?wait=20s")->{json}{status}, 'completed', 'nor does it fire late');
        set_clock($file, $wall += $hour, $slept);
        ok(becomes($agent, 'ok'), '(the clock is set right)');
    }
    is($agent->stop, 0, 'the agent ends in order');
    ok(never_back($agent), 'log time never goes back');
};

subtest 'accepted behind' => sub {
    my $file = clock_file();
    my $agent = start($file);
    set_clock($file, -$hour);
    ok(becomes($agent, 'degraded'), 'set an hour back');
    my $before = clock_of($agent)->{log_time};
    my ($status, $out, $err) = run_program(program('daa-cli'), '--url', $agent->url, '--token-file', $agent->dir . '/admin.token',
        'clock', 'accept', '--json');
    is($status, 0, 'daa-cli clock accept') or diag($err);
    my $said = JSON::PP::decode_json($out);
    is($said->{state}, 'ok', 'it is trusted');
    is(seconds($said->{difference_ns}), -$hour, 'log time stands for what it is');
    cmp_ok($said->{log_time}, 'ge', $before, 'and does not go back');
    is(sprintf('%.0e', $said->{agree_in_ns}), '7e+15', 'it says how long until they agree');
    like($said->{reason}, qr/agree in 7[12]\d{5} s/, 'in a sentence too');
    ($status, $out) = run_program(program('daa-cli'), '--url', $agent->url, 'clock');
    like($out, qr/^state\s+ok\n.*^agree_in_ns\s+7\d{15}$/ms, 'daa-cli clock');
    my @url = ('--url', $agent->url);
    my @token = ('-t', $agent->dir . '/admin.token');
    for my $words (['clock', @url], ['clock', '-u', $agent->url], [@url, 'clock', @token], ['clock', @url, @token, 'show'], ['clock', 'show', @url]) {
        ($status, $out, $err) = run_program(program('daa-cli'), @$words);
        ok($status == 0 && $out =~ /^state\s+ok$/m, join ' ', 'daa-cli', @$words) or diag("$status: $err");
    }
    ($status, $out) = run_program(program('daa-cli'), '--url', $agent->url, 'status');
    like($out, qr/^clock\.state\s+ok$/m, 'daa-cli status');
    ($status, $out, $err) = run_program(program('daa-cli'), '--url', $agent->url, 'clock', 'accept');
    is($status, 1, 'without the token it is refused');
    is($agent->stop, 0, 'the agent ends in order');
    $agent->start_again;
    is(clock_of($agent)->{state}, 'ok', 'a restart does not doubt it');
    is($agent->stop, 0, 'the agent ends in order');
    is(story($agent), "stepped -$hour, accepted -$hour", 'the log tells it once');
    ok(never_back($agent), 'in order of time');
};

subtest 'accepted by itself' => sub {
    my $file = clock_file();
    my $agent = start($file, config => "[clock]\non_step = \"accept\"\n");
    is(clock_of($agent)->{on_step}, 'accept', 'as configured');
    set_clock($file, $hour);
    ok(becomes($agent, 'degraded'), 'first it is not');
    set_clock($file, $hour + 61, 61);
    ok(becomes($agent, 'ok'), 'a minute later it is');
    is($agent->stop, 0, 'the agent ends in order');
    is(story($agent), "stepped $hour, accepted $hour $hour", 'the log tells it');
};

subtest 'restarts' => sub {
    my $file = clock_file();
    my $agent = start($file);
    submit($agent, $nap, '?wait=30s');
    is($agent->stop, 0, 'the agent ends in order');
    set_clock($file, $hour);
    $agent->start_again;
    is(clock_of($agent)->{state}, 'ok', 'an hour later may be true');
    is(seconds(clock_of($agent)->{difference_ns}), 0, 'and log time is wall time');
    $agent->kill;
    set_clock($file, 0);
    $agent->start_again;
    ok(becomes($agent, 'degraded'), 'an hour before the newest event is not');
    my $newest = (log_of($agent))[-1]{time};
    for my $end (qw(stop kill lose)) {
        my $digest = $agent->get('/api/v1/state/digest')->{json};
        $end eq 'stop' ? $agent->stop : $agent->kill;
        remove_tree($agent->dir . '/db') if $end eq 'lose';
        set_clock($file, $year);
        $agent->start_again;
        is(clock_of($agent)->{state}, 'degraded', "$end: the next start does not forget it");
        is(seconds(clock_of($agent)->{difference_ns} / 1e6), sprintf('%.0f', ($year - $hour) / 1e6), 'wall time is a year ahead');
        cmp_ok(substr((log_of($agent))[-1]{time}, 0, 4) - substr($newest, 0, 4), '<', 1, 'log time is not');
    }
    set_clock($file, $year - clock_of($agent)->{difference_ns} / 1e9);
    ok(becomes($agent, 'ok'), 'back within 10 s of log time it is trusted');
    is($agent->stop, 0, 'the agent ends in order');
    like(story($agent), qr/^stepped -3\d+, returned 0$/, 'each told once');
    ok(never_back($agent), 'in order of time');
};

done_testing();
