#!/usr/bin/perl
# An agent reads its closed segments through: by itself when it is time, when it is asked, on from where an earlier one
# was; what is damaged is said, shown, and known after a restart until it is mended.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(scratch run_program program slurp spew wait_until);
use Test::More;

delete @ENV{qw(DAA_URL DAA_TOKEN_FILE)};
my $dir = scratch() . '/data';
my $nap = { name => 'nap', steps => [ { id => 'a', sleep => '0s' } ] };
my ($seal, $agent) = ('false');

sub config { my ($interval) = @_; return "[log]\nsegment_size = \"256KB\"\nseal = $seal\nscrub_interval = \"$interval\"\n" }
sub begin { my ($interval) = @_; $agent = Daa->start(dir => $dir, config => config($interval)); return $agent }
sub work {
    for (1 .. 60) { $agent->post('/api/v1/workflows', { definition => $nap, input => 'x' x 15000 })->{status} =~ /^20/ or die }
    wait_until(sub { $agent->get('/status')->{json}{workflows}{unfinished} == 0 }) or die;
}
sub known { return $agent->get('/api/v1/log/scrub')->{json} }
sub closed { return $agent->get('/status')->{json}{log}{segment} - 1 }
sub cli { return run_program(program('daa-cli'), '--url', $agent->url, '--token-file', "$dir/admin.token", 'log', 'scrub', @_) }
sub ready { return $agent->get('/ready') }
sub flip_byte {
    my ($path, $offset) = @_;
    open my $file, '+<:raw', $path or die "$path: $!";
    seek $file, $offset, 0;
    read $file, my $byte, 1;
    seek $file, $offset, 0;
    print $file $byte ^ "\x04";
    close $file or die;
}

begin('0s');
work();
is(known()->{last_ended}, undef, 'a log that nobody asked to read was never read through');
is(known()->{due}, undef, 'nor will it be, when it is not to be by itself');
is($agent->post('/api/v1/log:scrub', {})->{status}, 401, 'to begin is for administrators');
my ($status, $said, $complained) = cli('--wait');
is($status, 0, 'a sound log is read through') or diag("$said$complained");
my $report = known();
ok($report->{last_ended} && !$report->{under_way}, 'and when that was is known');
is($report->{segments}, closed(), 'all closed segments were read');
is_deeply([@$report{qw(damages trouble)}], [0, undef], 'nothing was found');
is_deeply($agent->get('/status')->{json}{scrub}, $report, '/status says the same');
like($said, qr/^last read through: \d.*damaged places: 0$/m, 'in words');
is(ready()->{json}{reason}, 'ready', 'the agent is well');

my $segment = "$dir/log/seg-0000000001.log";
flip_byte($segment, 9000);
($status, $said) = cli('--wait', '--json');
is($status, 1, 'damage is a failure');
$report = known();
is($report->{damages}, 1, 'one place is damaged');
my $damage = $report->{damaged}[0];
is($damage->{file}, 'seg-0000000001.log', 'whose file is named');
like($damage->{text}, qr/event $damage->{first_seq} should stand.*flipping bit 2 of byte 0x2328/, 'and the events, and what happened');
like($agent->said, qr/the log is damaged: seg-0000000001\.log at /, 'it is said on stderr');
my $ready = ready();
is($ready->{status}, 200, 'the agent goes on');
like($ready->{json}{reason}, qr/DEGRADED: the log is damaged in 1 places, the first seg-0000000001/, 'but says so');
is((cli('--show'))[0], 1, 'and whoever looks is told');

$agent->stop;
begin('0s');
is_deeply(known()->{damaged}, $report->{damaged}, 'it is known after a restart');
like(ready()->{json}{reason}, qr/DEGRADED/, 'at once');
$agent->stop;
flip_byte($segment, 9000);
begin('10d');
ok(wait_until(sub { known()->{damages} == 0 && !known()->{under_way} }), 'a log that was mended is looked at again at the start');
like(known()->{due}, qr/^\d{4}-/, 'and the next time is known');
is(ready()->{json}{reason}, 'ready', 'the agent is well again');
work();
$agent->kill;

# An agent that was killed amid it.
my ($ended) = slurp("$dir/scrub") =~ /^ended (\d+)$/m;
spew("$dir/scrub", "daa scrub 1\nended $ended\nsegment 3\ndamages 0\n");
begin('10d');
ok(wait_until(sub { !known()->{under_way} }), 'what was under way is gone on with');
is(known()->{segments}, closed() - 2, 'where it was');
$agent->stop;

spew("$dir/scrub", "nonsense\n");
begin('1s');
my $last = '';
for (1 .. 2) {
    my $now;
    ok(wait_until(sub { $now = known()->{last_ended} // ''; $now gt $last }), 'it is read through again and again by itself');
    $last = $now;
}
$agent->stop;

$seal = 'true';
begin('0s');
ok(wait_until(sub { $agent->get('/status')->{json}{log}{unsealed} == 0 }), 'sealed ones');
is((cli('--wait'))[0], 0, 'are read too');
flip_byte("$dir/log/seg-0000000002.zlog", 8192 + 200);
is((cli('--wait'))[0], 1, 'and damage in them is found');
is(known()->{damaged}[0]{file}, 'seg-0000000002.zlog', 'by name');
$agent->post('/api/v1/log:scrub', {}, $agent->as_admin);
is($agent->stop, 0, 'an agent that reads stops in order');

done_testing();
