#!/usr/bin/perl
# Something goes wrong at each of the changes that a snapshot makes to files, on an agent that works meanwhile.
# It goes on, or was killed; no half file counts; the older snapshots are whole; the next one works, and the
# documents that a start makes of it are those that were there.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(scratch run_program program slurp);
use Fault qw(each_fault copy_tree agent_ended_badly agent_run);
use File::Path qw(remove_tree);
use JSON::PP;
use Test::More;

$ENV{TSAN_OPTIONS} = join ':', $ENV{TSAN_OPTIONS} // (), 'atexit_sleep_ms=0';

my $config = "[log]\nsegment_size = \"256KB\"\nseal = false\n[state]\nsnapshot_interval = \"0s\"\ncommit_interval = \"1ms\"\n";
my ($dir, $base, $arm) = map { scratch() . "/$_" } qw(data base arm);
my %options = (dir => $dir, config => $config);
my $nap = { name => 'nap', steps => [ { id => 'a', sleep => '0s' } ] };
my $waits = { name => 'waits', steps => [ { id => 'a', signal => { name => 'go' } } ] };

sub submit {
    my ($agent, $count) = @_;
    my $client = $agent->client;
    my @ids;
    for my $number (1 .. $count) {
        my $input = { text => join '', map { chr 33 + rand 90 } 1 .. 2000 };
        my $answer = $client->request('POST', '/api/v1/workflows', { definition => $number % 2 ? $nap : $waits, input => $input });
        push @ids, $answer->{json}{id} if $answer->{status} == 202;
        last if $answer->{status} == 0;
    }
    return @ids;
}

sub snapshot { my ($agent) = @_; return $agent->post('/api/v1/state:snapshot', {}, $agent->as_admin) }

# A snapshot that is asked for, with some work before its answer is read.
sub snapshot_under_load {
    my ($agent) = @_;
    my $client = $agent->client;
    $client->send(join "\r\n", 'POST /api/v1/state:snapshot HTTP/1.1', 'Host: localhost', 'Content-Type: application/json',
        'Authorization: Bearer ' . $agent->token, 'Content-Length: 2', '', '{}');
    my @ids = submit($agent, 6);
    return { ids => \@ids, answer => scalar($client->{socket} && $client->answer) };
}

# Its snapshot files: {seq => bytes}.
sub files { return map { my ($seq) = /snap-0*(\d+)\.zst$/; ($seq => slurp($_)) } glob "$_[0]/snapshots/snap-*.zst" }

sub replay {
    my (@options) = @_;
    my $into = scratch() . '/replay';
    my ($status, $out, $said) = run_program(program('daa-log'), 'replay', '--json', @options, '--into', $into, $dir);
    remove_tree($into);
    return $status == 0 ? decode_json($out) : { said => $said };
}

my $agent = Daa->start(%options);
my %digest_at;
my @before = map {
    my @ids = submit($agent, 30);
    my $made = snapshot($agent)->{json};
    $digest_at{ $made->{seq} } = $made->{digest};
    @ids;
} 1 .. 2;
is($agent->stop, 0, '(an agent with two snapshots)');
my %older = files($dir);
is_deeply([ sort keys %older ], [ sort keys %digest_at ], '(which lie where they belong)');
copy_tree($dir, $base);

# What counts as a snapshot is whole.
sub bad_files {
    my ($made) = @_;
    my %now = files($dir);
    for my $seq (keys %now) {
        return "snapshot $seq, an older one, has changed" if $older{$seq} && $older{$seq} ne $now{$seq};
        next if $older{$seq};
        my $replayed = replay('--until', $seq);
        return "snapshot $seq is no good: " . ($replayed->{said} // "it began with $replayed->{snapshot}") if ($replayed->{snapshot} // 0) != $seq;
    }
    return 'one that was acknowledged is not there' if $made && !$now{ $made->{seq} };
    return 'fewer than two are left' if keys %now < 2;
    return;
}

sub what_it_did {
    my ($result, $happened) = @_;
    my $answer = $result->{got}{answer};
    my $killed = $result->{agent}{status} == 128 + 9;
    return if $killed && !$answer;
    return 'it was not killed, and the snapshot was not answered' if !$answer;
    return if $answer->{status} == 200 || ($answer->{status} =~ /^50[037]$/ && $answer->{json}{detail} =~ /snapshots/);
    return "the snapshot was answered $answer->{status}: $answer->{body}";
}

sub next_start {
    my (@ids) = @_;
    my $next = Daa->start(%options);
    return 'half a snapshot is left' if glob "$dir/snapshots/.snap* $dir/snapshots/*.tmp";
    for my $id (@ids) { return "$id was acknowledged and is not there" if $next->get("/api/v1/workflows/$id")->{status} != 200 }
    submit($next, 2);
    my $made = snapshot($next);
    return "the next snapshot: $made->{body}" if $made->{status} != 200;
    my $known = $next->get('/api/v1/state/digest')->{json};
    $next->kill;
    remove_tree("$dir/db");
    $next->start_again;
    return 'a start without documents does not begin with it' if $next->get('/status')->{json}{start}{snapshot_loaded} != $made->{json}{seq};
    my $now = $next->get('/api/v1/state/digest')->{json};
    my $stopped = $next->stop;
    return "the last stop ended with $stopped: " . $next->said if $stopped != 0;
    remove_tree("$dir/snapshots");
    for my $state ($known, $now) { return 'it makes other documents of it than the whole log' if (replay('--until', $state->{seq})->{digest} // '') ne $state->{digest} }
    return;
}

each_fault(
    name => 'a snapshot under load',
    dir => $dir,
    match => 'snapshots*',
    arm => $arm,
    actions => [qw(kill kill-after torn short enospc enospc-from eio)],
    most => 8,
    prepare => sub { copy_tree($base, $dir) },
    run => sub { my ($fault) = @_; return agent_run($fault, \%options, \&snapshot_under_load) },
    check => sub {
        my ($result) = @_;
        my $got = $result->{got};
        my $made = $got->{answer} && $got->{answer}{status} == 200 ? $got->{answer}{json} : undef;
        return agent_ended_badly($result->{agent}) // what_it_did($result) // bad_files($made) // next_start(@before[ 0 .. 3 ], @{ $got->{ids} });
    },
);

done_testing();
