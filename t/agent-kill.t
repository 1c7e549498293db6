#!/usr/bin/perl
# The agent is killed with SIGKILL at random moments while clients submit. What was acknowledged is there
# exactly once and completes; an effect that is not idempotent never happens twice: a POST that counts
# itself, and a line that a program appends to a file.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(wait_until scratch run_program program slurp);
use IO::Socket::INET;
use POSIX ();
use Test::More;
use Time::HiRes ();

my $seed = $ENV{SEED} // int(Time::HiRes::time() * 1000) % 1_000_000;
my $rounds = $ENV{ROUNDS} // 5;
my $clients = 4;
note "SEED=$seed";
srand $seed;

my $dir = scratch();
my ($posts, $lines) = ("$dir/posts", "$dir/lines");
my (@children, $target);
END { kill KILL => @children if @children }

# A server whose POSTs leave a line each, named by the path.
sub start_target {
    my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 128, ReuseAddr => 1) or die "listen: $@";
    my $pid = fork() // die "fork: $!";
    if ($pid) { push @children, $pid; return $listener->sockport }
    local $SIG{PIPE} = 'IGNORE';
    while (1) {
        my $client = $listener->accept or next;
        my $head = '';
        while ($head !~ /\r\n\r\n/) { sysread $client, $head, 4096, length $head or last }
        if ($head =~ m{^POST /(\S+)}) {
            open my $out, '>>', $posts or die "$posts: $!";
            syswrite $out, "$1\n";
            close $out;
        }
        my ($size) = $head =~ /content-length: *(\d+)/i;
        my $have = length($head) - index($head, "\r\n\r\n") - 4;
        while (defined $size && $have < $size) { my $got = sysread $client, my $rest, 4096 or last; $have += $got }
        syswrite $client, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
        close $client;
    }
}

sub definition {
    my ($name) = @_;
    return {
        name => $name,
        steps => [
            { id => 'nap', sleep => '1ms' },
            { id => 'post', needs => ['nap'], http => { method => 'POST', url => "http://127.0.0.1:$target/$name", body => {} } },
            { id => 'line', needs => ['nap'], exec => { argv => ['/bin/sh', '-c', 'echo "$1" >>"$2"', 'sh', $name, $lines] } },
            { id => 'last', needs => ['post', 'line'], sleep => '1ms' },
        ],
    };
}

# Submits until the agent is gone. Notes each name before it is sent, and the answer behind it.
sub submit_all {
    my ($agent, $round, $number) = @_;
    my $client = $agent->client;
    open my $out, '>>', "$dir/client-$number" or die $!;
    $out->autoflush(1);
    for (my $count = 0;; $count++) {
        my $name = "w-$round-$number-$count";
        print $out "try $name\n";
        my $answer = $client->request('POST', '/api/v1/workflows', { definition => definition($name) },
            { %{ $agent->as_admin }, ($count % 2 ? ('Idempotency-Key' => $name) : ()) });
        POSIX::_exit(0) if $answer->{status} == 0;
        print $out "ack $name $answer->{json}{id}\n" if $answer->{status} == 202;
        Time::HiRes::sleep(0.002);
    }
}

my $config = <<'TOML';
[exec]
enabled = true
allow = ["/bin/sh"]
[network]
allow = ["127.0.0.1"]
[log]
segment_size = "1MB"
TOML

$target = start_target();
my $agent = Daa->start(config => $config);
my (%tried, %acknowledged);
for my $round (1 .. $rounds) {
    my @submitters = map {
        my $number = $_;
        my $pid = fork() // die "fork: $!";
        if (!$pid) { @children = (); submit_all($agent, $round, $number) }
        $pid;
    } 1 .. $clients;
    push @children, @submitters;
    my $life = 0.05 + rand 0.6;
    Time::HiRes::sleep($life);
    $agent->kill;
    waitpid $_, 0 for @submitters;
    my ($status, $out, $said) = run_program(program('daa-log'), 'verify', $agent->dir);
    ok($status == 0 || $status == 3, sprintf 'round %d, killed after %.3f s: the log is sound or has a torn end', $round, $life)
        or diag($out, $said);
    $agent->start_again;
}
for my $number (1 .. $clients) {
    for my $line (split /\n/, slurp("$dir/client-$number") // '') {
        my ($what, $name, $id) = split ' ', $line;
        $tried{$name} = 1;
        $acknowledged{$name} = $id if $what eq 'ack';
    }
}
cmp_ok(scalar keys %acknowledged, '>', 0, scalar(keys %acknowledged) . ' of ' . scalar(keys %tried) . ' workflows were acknowledged');

# With its key a submission may be asked again, whatever became of it.
my ($doubled, $asked) = (0, 0);
for my $name (grep { /[13579]$/ } sort keys %tried) {
    last if ++$asked > 50;
    my $answer = $agent->post('/api/v1/workflows', { definition => definition($name) }, { %{ $agent->as_admin }, 'Idempotency-Key' => $name });
    $doubled++ if $answer->{status} != 202 || ($acknowledged{$name} // $answer->{json}{id}) ne $answer->{json}{id};
    $acknowledged{$name} = $answer->{json}{id} // '';
}
is($doubled, 0, "asking $asked again with their keys gives the workflow that is there");

sub all_workflows {
    my (@all, $cursor);
    do {
        my $page = $agent->get('/api/v1/workflows?limit=1000' . ($cursor ? "&cursor=$cursor" : ''))->{json};
        push @all, @{ $page->{items} };
        $cursor = $page->{next_cursor};
    } while ($cursor);
    return @all;
}

my $settled = wait_until(sub { !grep { $_->{status} !~ /^(?:completed|paused)$/ } all_workflows() }, 60);
ok($settled, 'every workflow completes or is parked') or diag(explain([ grep { $_->{status} !~ /^(?:completed|paused)$/ } all_workflows() ]));

my (%by_name, %status);
for my $workflow (all_workflows()) {
    push @{ $by_name{ $workflow->{name} } }, $workflow->{id};
    $status{ $workflow->{name} } = $workflow->{status};
}
is(scalar(grep { @{ $by_name{$_} // [] } != 1 || $by_name{$_}[0] ne $acknowledged{$_} } keys %acknowledged), 0,
    'each acknowledged workflow is there exactly once, with its id');
is(scalar(grep { @{ $by_name{$_} } > 1 } keys %by_name), 0, 'no workflow is there twice');
is(scalar(grep { !$tried{$_} } keys %by_name), 0, 'none that nobody submitted');

my (%posted, %written);
$posted{$_}++ for split /\n/, slurp($posts) // '';
$written{$_}++ for split /\n/, slurp($lines) // '';
is(scalar(grep { $_ > 1 } values %posted), 0, 'no POST happened twice');
is(scalar(grep { $_ > 1 } values %written), 0, 'no line was written twice');
my @completed = grep { $status{$_} eq 'completed' } keys %by_name;
is(scalar(grep { !$posted{$_} || !$written{$_} } @completed), 0, 'of what completed each happened once');

my @parked = grep { $status{$_} eq 'paused' } keys %by_name;
note scalar(@completed) . ' completed, ' . scalar(@parked) . ' parked';
for my $name (@parked) {
    my $workflow = $agent->get("/api/v1/workflows/$by_name{$name}[0]")->{json};
    for my $step (grep { $_->{status} eq 'uncertain' } @{ $workflow->{steps} }) {
        $agent->post("/api/v1/workflows/$by_name{$name}[0]:resolve", { step => $step->{id}, as => 'done', output => undef }, $agent->as_admin);
    }
}
ok(wait_until(sub { !grep { $_->{status} ne 'completed' } all_workflows() }, 30), 'what was parked completes when it is decided');
my $digest = $agent->get('/api/v1/state/digest')->{json}{digest};
is($agent->stop, 0, 'the agent stops in order');
my ($status, $out, $said) = run_program(program('daa-log'), 'verify', $agent->dir);
is($status, 0, 'and the log is sound') or diag($out, $said);
$agent->start_again;
is($agent->get('/api/v1/state/digest')->{json}{digest}, $digest, 'the documents are the same after one more start');
$agent->stop;
done_testing();
