#!/usr/bin/perl
# A real filesystem fills up to its last block under the agent, and is emptied again.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(wait_until scratch program run_program);
use Test::More;

my ($mount, $image) = (scratch() . '/mount', scratch() . '/image');
my $mounted = 0;
END { my $status = $?; system('umount', '-l', $mount) if $mounted; $? = $status }

mkdir $mount or die "$mount: $!";
open my $file, '>', $image or die "$image: $!";
truncate $file, 200 << 20 or die "$image: $!";
close $file;
my $made = $> == 0 && system("mkfs.ext4 -q -F $image >$image.out 2>&1 && mount -o loop $image $mount >>$image.out 2>&1") == 0;
plan skip_all => 'loop-mount: no filesystem can be made and mounted here' if !$made;
$mounted = 1;

local $ENV{DAA_LOG_BALLAST} = '1MB';
my $nap = { name => 'nap', steps => [{ id => 'a', sleep => '0s' }] };
my $waits = { name => 'waits', steps => [{ id => 'a', signal => { name => 'go' } }] };
my $agent = Daa->start(dir => "$mount/data", config => "[log]\nsegment_size = \"1MB\"\nspace_low = \"16MB\"\nspace_critical = \"4MB\"\n");
my $disk = sub { $agent->get('/status')->{json}{disk} };
my $becomes = sub { my ($state) = @_; return wait_until(sub { ($disk->()->{state} // '') eq $state }, 60) || diag($agent->said) && 0 };
my $status_of = sub { $agent->get("/api/v1/workflows/$_[0]")->{json}{status} };
my $submit = sub { $agent->post('/api/v1/workflows', { definition => $_[0] }) };

# Leaves so many bytes free.
my $fill = sub {
    my ($left) = @_;
    my $free = $disk->()->{free_bytes};
    return system("fallocate -l \$(( \$(stat -c %s $mount/filler 2>/dev/null || echo 0) + $free - $left )) $mount/filler 2>/dev/null") == 0;
};

is($disk->()->{state}, 'ok', 'there is room');
ok(-e "$mount/data/log/ballast", 'and a ballast');
ok(wait_until(sub { $agent->get('/status')->{json}{log}{spares} >= 2 }, 30), '(spares are there)');
my @ids = map { $submit->($waits)->{json}{id} } 1 .. 60;
my $done = $submit->($nap)->{json}{id};
ok(wait_until(sub { $status_of->($done) eq 'completed' }, 30), '(work is done)');

ok($fill->(2 << 20), '(the filesystem is filled)');
ok($becomes->('critical'), 'with hardly any room left it is critical');
ok(wait_until(sub { !-e "$mount/data/log/ballast" }, 30), 'the ballast is given up');
is($submit->($nap)->{status}, 507, 'new work is refused');
is($agent->post("/api/v1/workflows/$ids[0]/signals/go", {})->{status}, 202, 'a signal is taken');
ok(wait_until(sub { $status_of->($ids[0]) eq 'completed' }, 30), 'what is under way goes on');

system("dd if=/dev/zero of=$mount/last bs=4k >/dev/null 2>&1"); # to the last block
my $answer = 202;
my $taken = 1;
while ($answer == 202 && $taken < @ids) {
    $answer = $agent->post("/api/v1/workflows/$ids[$taken]/signals/go", { text => 'x' x 200_000 })->{status};
    $taken++ if $answer == 202;
}
is($answer, 503, 'when nothing more fits, what cannot be recorded is answered 503');
ok($becomes->('full'), 'it is full');
is($agent->get("/api/v1/workflows/$ids[0]")->{status}, 200, 'reading goes on');

unlink "$mount/last", "$mount/filler";
ok($becomes->('ok'), 'with room it is ok again, by itself');
ok(wait_until(sub { -e "$mount/data/log/ballast" }, 30), 'the ballast is back');
ok(wait_until(sub { $submit->($nap)->{status} == 202 }, 60), 'work is taken again');
ok(wait_until(sub { $taken == grep { $status_of->($_) eq 'completed' } @ids }, 60), 'what was acknowledged has happened, what was refused has not');
is($agent->stop, 0, 'the agent stops in order');
is((run_program(program('daa-log'), 'verify', "$mount/data"))[0], 0, 'the log is sound');
my (undef, $out) = run_program(program('daa-log'), 'cat', '--json', '-k', 'storage.space', "$mount/data");
like($out, qr/"state":"critical".*"state":"ok"/s, 'and tells of it');
done_testing();
