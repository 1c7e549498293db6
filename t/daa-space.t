#!/usr/bin/perl
# The disk of the log fills up: a warning, then no new work while what is under way goes on, then nothing more;
# and back again by itself.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(wait_until scratch program spew run_program disk_file set_disk);
use Fault ();
use JSON::PP;
use Test::More;

my $config = <<'END';
[log]
segment_size = "1MB"
engine = "plain"
space_low = "100MB"
space_critical = "20MB"
ballast = "4MB"
END
my $nap = { name => 'nap', steps => [{ id => 'a', sleep => '0s' }] };
my $waits = { name => 'waits', steps => [{ id => 'a', signal => { name => 'go' } }] };

sub disk { $_[0]->get('/status')->{json}{disk} }
sub submit { my ($agent, $definition, %headers) = @_; return $agent->post('/api/v1/workflows', { definition => $definition }, \%headers) }
sub becomes { my ($agent, $state) = @_; return wait_until(sub { disk($agent)->{state} eq $state }, 30) || diag($agent->said) && 0 }
sub status_of { my ($agent, $id) = @_; return $agent->get("/api/v1/workflows/$id")->{json}{status} }
sub changes {
    my ($dir) = @_;
    my @lines = split /\n/, (run_program(program('daa-log'), 'cat', '--json', '-k', 'storage.space', $dir))[1];
    return map { my $event = decode_json($_); "$event->{payload}{before} $event->{payload}{state}" } @lines;
}

subtest 'a disk that fills up, and empties' => sub {
    my $disk = disk_file(10000, 20000);
    my $agent = Daa->start(disk => $disk, config => $config);
    my $ballast = $agent->dir . '/log/ballast';
    my $size = sub { -e $ballast ? (stat $ballast)[12] * 512 : 0 };
    is(disk($agent)->{state}, 'ok', 'there is room');
    cmp_ok($size->(), '>=', 4 << 20, 'and the ballast has real blocks');
    my $id = submit($agent, $waits)->{json}{id};
    my $first = submit($agent, $nap, 'Idempotency-Key' => 'one');
    is($first->{status}, 202, '(work is accepted)');

    set_disk($disk, 90, 20000);
    ok(becomes($agent, 'low'), 'with less room it is low');
    is(submit($agent, $nap)->{status}, 202, 'which changes nothing');
    like($agent->said, qr/getting full: 90 MB are free/, 'but that it is said');

    set_disk($disk, 10, 20000);
    ok(becomes($agent, 'critical'), 'with still less it is critical');
    ok(wait_until(sub { $size->() == 0 }, 30), 'the ballast is given up');
    my $refused = submit($agent, $nap, 'Idempotency-Key' => 'two');
    is($refused->{status}, 507, 'new work is refused');
    is($refused->{json}{code}, 'disk-space', 'for that reason');
    is($refused->{json}{retryable}, JSON::PP::true(), 'and may be asked for again');
    like($refused->{json}{detail}, qr/10 MB are free in .*log.*from 29 MB on it is better/, 'with what has to be free');
    is(submit($agent, $nap, 'Idempotency-Key' => 'one')->{json}{id}, $first->{json}{id}, 'what was answered before is answered again');
    is($agent->get('/api/v1/workflows')->{status}, 200, 'reading goes on');
    is($agent->post("/api/v1/workflows/$id/signals/go", {})->{status}, 202, 'a signal is taken');
    ok(wait_until(sub { status_of($agent, $id) eq 'completed' }, 30), 'and what is under way goes on to its end');
    is($agent->get('/ready')->{status}, 200, 'the agent is ready');

    set_disk($disk, 24, 20000);
    ok(wait_until(sub { disk($agent)->{free_bytes} == 24 << 20 }, 30), '(a little more room)');
    is(disk($agent)->{state}, 'critical', 'is not enough');
    set_disk($disk, 9000, 20000);
    ok(becomes($agent, 'ok'), 'with enough it is ok again, by itself');
    ok(wait_until(sub { $size->() >= 4 << 20 }, 30), 'the ballast is back');
    is(submit($agent, $nap, 'Idempotency-Key' => 'two')->{status}, 202, 'what was refused is taken');
    ok(wait_until(sub { 3 == changes($agent->dir) }, 30), '(the events are there)');
    is_deeply([changes($agent->dir)], ['ok low', 'low critical', 'critical ok'], 'each change is an event');
    is($agent->stop, 0, 'the agent stops in order');
    is((run_program(program('daa-log'), 'verify', $agent->dir))[0], 0, 'the log is sound');
};

subtest 'no room at all' => sub {
    my $dir = scratch() . '/full';
    my $disk = disk_file(10000, 20000);
    my $fault = Fault->new(dir => $dir, match => 'log/seg-*.tmp', arm => "$dir.arm", at => 1, do => 'enospc-from');
    my $agent = $fault->under(sub { Daa->start(dir => $dir, disk => $disk, config => $config) });
    ok(wait_until(sub { $agent->get('/status')->{json}{log}{spares} >= 2 }, 30), '(spares are there)');
    my @ids = map { submit($agent, $waits)->{json}{id} } 1 .. 40;
    $fault->arm_now;
    my @answers;
    for my $id (@ids) {
        push @answers, $agent->post("/api/v1/workflows/$id/signals/go", { text => 'x' x 200_000 })->{status};
        last if $answers[-1] != 202;
    }
    is($answers[-1], 503, 'when nothing more fits what cannot be recorded is answered 503');
    my $taken = @answers - 1;
    cmp_ok($taken, '>', 3, 'after the spares were used up');
    ok(becomes($agent, 'full'), 'it is full');
    is($agent->get('/ready')->{status}, 503, 'the agent is not ready');
    is(submit($agent, $nap)->{status}, 507, 'new work is refused');
    is($agent->get("/api/v1/workflows/$ids[-1]")->{status}, 200, 'reading goes on');
    unlink "$dir.arm";
    ok(becomes($agent, 'ok'), 'with room it is ok again, by itself');
    is(submit($agent, $nap)->{status}, 202, 'and work is taken');
    is($agent->get('/ready')->{status}, 200, 'the agent is ready');
    ok(wait_until(sub { $taken == grep { status_of($agent, $_) eq 'completed' } @ids }, 30), 'what was acknowledged has happened, what was refused has not');
    is($agent->stop, 0, 'the agent stops in order');
    my @changes = changes($dir);
    like($changes[-1], qr/ ok$/, 'the last event says that there is room');
    is((run_program(program('daa-log'), 'verify', $dir))[0], 0, 'the log is sound');
};

subtest 'a start without room' => sub {
    my $dir = scratch() . '/start';
    my $disk = disk_file(10000, 20000);
    my $agent = Daa->start(dir => $dir, disk => $disk, config => $config);
    is($agent->stop, 0, '(an agent that had room)');
    unlink grep { is_zero($_) } glob "$dir/log/seg-*";
    my $fault = Fault->new(dir => $dir, match => 'log/seg-*.tmp', at => 1, do => 'enospc');
    my $again = $fault->under(sub { Daa->start(dir => $dir, disk => $disk, config => $config) });
    like($fault->fired // '', qr/enospc at call 1/, 'without room for a segment');
    like($again->said, qr/the ballast was given up/, 'the ballast is given up');
    is(submit($again, $nap)->{status}, 202, 'and the agent starts');
    is($again->stop, 0, 'the agent stops in order');
};

sub is_zero {
    my ($path) = @_;
    open my $file, '<:raw', $path or die "$path: $!";
    read $file, my $block, 8192;
    return $block !~ /[^\0]/;
}

# A required reader that stands at the beginning, and a log that is far beyond its limit.
sub with_reader {
    my ($on_full) = @_;
    my $dir = scratch() . "/$on_full";
    my $disk = disk_file(10000, 20000);
    my $agent = Daa->start(dir => $dir, disk => $disk, config => $config . "[state]\nsnapshot_interval = \"0s\"\n" .
        "[retention]\nmax_bytes = \"256KB\"\nrequired_readers = [\"replica\"]\non_full = \"$on_full\"\n");
    mkdir "$dir/log/readers";
    spew("$dir/log/readers/replica", encode_json({ seq => 3, flushed_seq => 3, time_ns => time * 1_000_000_000 }));
    for my $round (1 .. 2) {
        for (1 .. 20) { $agent->post("/api/v1/workflows?wait=20s", { definition => $nap, input => { text => "x" x 60000 } }) }
        is($agent->post('/api/v1/state:snapshot', {}, $agent->as_admin)->{status}, 200, '(a snapshot)');
    }
    ok(wait_until(sub { ($agent->get('/status')->{json}{housekeeping}{log_kept_because} // '') =~ /the required reader replica stands at event 3/ }, 60),
        'the reader holds the log') or diag(encode_json($agent->get('/status')->{json}{housekeeping}));
    return ($agent, $disk);
}
sub segments_of { my ($agent) = @_; return scalar(() = glob $agent->dir . '/log/seg-*') }

subtest 'a required reader, and no room' => sub {
    my ($agent, $disk) = with_reader('read_only');
    set_disk($disk, 10, 20000);
    ok(becomes($agent, 'critical'), 'it is critical');
    is(submit($agent, $nap)->{status}, 507, 'new work is refused');
    my $housekeeping = $agent->get('/status')->{json}{housekeeping};
    is_deeply([@$housekeeping{qw(segments_removed readers_dropped)}], [0, undef], 'and the reader keeps what it needs');
    is($agent->stop, 0, 'the agent stops in order');

    ($agent, $disk) = with_reader('drop_replica');
    set_disk($disk, 10, 20000);
    ok(becomes($agent, 'critical'), 'it is critical');
    ok(wait_until(sub { $agent->get('/status')->{json}{housekeeping}{segments_removed} > 0 }, 60), 'where it may be dropped, the log is given up');
    $housekeeping = $agent->get('/status')->{json}{housekeeping};
    my $says = qr/the required reader replica is dropped for lack of room and lacks the events 4 to (\d+)/;
    like($housekeeping->{readers_dropped}, $says, 'and it is said what the reader lacks');
    my ($last) = ($housekeeping->{readers_dropped} // '') =~ $says;
    is($housekeeping->{log_removed_up_to}, $last, 'which is all that went');
    like($agent->said, qr/\[retention\] on_full: $says/, 'on stderr too');
    set_disk($disk, 9000, 20000);
    ok(becomes($agent, 'ok'), 'there is room again');
    is(submit($agent, $nap)->{status}, 202, 'and work is taken');
    is($agent->stop, 0, 'the agent stops in order');
    my ($event) = map { decode_json($_) } split /\n/, (run_program(program('daa-log'), 'cat', '--json', '-k', 'storage.removed', $agent->dir))[1];
    like($event->{payload}{reason}, qr/retention\.max_bytes.*; $says/, 'the event says it for ever');
    is($event->{payload}{last_seq}, $last, 'with its numbers');
    is((run_program(program('daa-log'), 'verify', $agent->dir))[0], 0, 'the log is sound');
};

done_testing();
