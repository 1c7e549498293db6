#!/usr/bin/perl
# What the API says of events that retention has removed from the log: that they are gone, not that
# the log cannot be read, nor that they never were.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(wait_until clock_file set_clock run_program program);
use Test::More;

my $nap = { name => 'nap', steps => [ { id => 'a', sleep => '0s' } ] };
my $waits = { name => 'waits', steps => [ { id => 'a', signal => { name => 'go' } }, { id => 'b', needs => ['a'], signal => { name => 'end' } } ] };
my $workflows = '/api/v1/workflows';
my $clock = clock_file();
my $agent = Daa->start(clock => $clock, config => <<'END');
[log]
segment_size = "256KB"
[state]
snapshot_interval = "0s"
finished_ttl = "1h"
[idempotency]
ttl = "1h"
[retention]
max_bytes = "512KB"
END

# More than two segments of log, and a snapshot behind them.
sub fill {
    $agent->post($workflows, { definition => $nap, input => { text => join '', map { chr 35 + rand 50 } 1 .. 6000 } }) for 1 .. 150;
    is($agent->post('/api/v1/state:snapshot', {}, $agent->as_admin)->{status}, 200, '(a snapshot)');
    return;
}

my $over = $agent->post("$workflows?wait=30s", { definition => $nap })->{json}{id};
my $long = $agent->post($workflows, { definition => $waits })->{json}{id};
my $first = $agent->get("$workflows/$long/history")->{json}{items}[0]{seq};
my ($number) = $long =~ /-(\d+)$/;
fill() for 1 .. 2;
is($agent->post("$workflows/$long/signals/go", 1)->{status}, 202, '(a signal, later)');
my $removed = sub { $agent->get('/status')->{json}{housekeeping}{log_removed_up_to} };
ok(wait_until(sub { $removed->() >= $number }), '(the beginning of a workflow is removed)');

my $history = $agent->get("$workflows/$long/history");
is($history->{status}, 200, 'its history is shown') or diag $history->{body};
my @items = @{ $history->{json}{items} // [] };
cmp_ok(scalar @items, '>', 0, 'as far as it is there');
cmp_ok($items[0]{seq}, '>', $removed->(), 'and no further') if @items;
is($history->{json}{next_cursor}, undef, 'there is no more of it');
ok($history->{json}{removed_up_to} && $history->{json}{removed_up_to} <= $removed->(), 'since the rest was removed, as it says');
my ($status, $said) = run_program(program('daa-cli'), '--url', $agent->url, 'workflow', 'history', $long);
ok($status == 0 && $said =~ /^its events up to $history->{json}{removed_up_to} were removed from the log by retention$/m, 'daa-cli says it too') or diag $said;
my $gone = $agent->get("$workflows/$long/history?cursor=$first");
is($gone->{status}, 410, 'to ask for that is answered so');
is($gone->{json}{code}, 'events-removed', 'with a code');
is($gone->{json}{title}, 'It was here and is gone', 'and a title');
for my $seq (999_999, $items[0]{seq} - 1) {
    my $foreign = $agent->get("$workflows/$long/history?from=$seq");
    is($foreign->{status}, 400, "event $seq is not of this workflow") or diag $foreign->{body};
}

set_clock($clock, 3700, 3700);
ok(wait_until(sub { $agent->get("$workflows/$over")->{status} != 200 }), 'a workflow that has ended leaves the state');
is($agent->get("$workflows/$over")->{status}, 410, 'it is gone, also when no event of it is left');
(my $never = $over) =~ s/\d+$/999999/;
is($agent->get("$workflows/$never")->{status}, 404, 'one that never was is just not there');
is($agent->stop, 0, 'the agent ends in order');
done_testing();
