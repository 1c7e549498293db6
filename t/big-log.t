#!/usr/bin/perl
# The logs that t/bin/big-log makes for measurements are real ones: sound, and an agent goes on with them.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(scratch run_program program wait_until);
use File::Path qw(remove_tree);
use JSON::PP;
use Test::More;

(my $maker = program('big-log')) =~ s{/bin/big-log$}{/t/bin/big-log};

# Once nothing is due any more: what was overdue when it started has its events.
sub settled_digest {
    my ($agent) = @_;
    return wait_until(sub {
        my $is = $agent->get('/status')->{json};
        my $due = $is->{loop}{next_due};
        return 0 if $is->{workflows}{active} != 0 || (defined $due && $due le $is->{loop}{log_time});
        my $digest = $agent->get('/api/v1/state/digest')->{json};
        return $agent->get('/status')->{json}{log}{next_seq} == $is->{log}{next_seq} && $digest->{digest};
    });
}

for my $case ([ '1MB', 4 ], [ '200MB', 4 ], [ '2MB', 8, 'full' ]) {
    my ($size, $segments, @full) = @$case;
    my $dir = scratch() . "/data-$size";
    mkdir $dir, 0700;
    my ($status, $out, $err) = run_program($maker, "$dir/log", $size, @full);
    is($status, 0, "$size: it is made") or diag($err);
    my ($last_seq, $bytes, $written) = $out =~ /^segments $segments last_seq (\d+) bytes (\d+) written (\d+)$/;
    my @sealed = glob "$dir/log/*.zlog";
    if (@full) {
        ok($written > 0.75 * $bytes, '... of so many segments, full of events') or diag($out);
        is(scalar @sealed, $segments - 1, '... and all but the newest are sealed');
    } else {
        ok($bytes >= 1 << 20 && $written < 0.75 * $bytes, '... of so many segments, mostly holes') or diag($out);
        is(scalar @sealed, 0, '... and none is sealed');
    }
    ($status, $out, $err) = run_program(program('daa-log'), 'verify', $dir);
    is($status, 0, '... it is sound') or diag($out, $err);
    # What it holds is old: nothing of it shall leave the state while digests are taken.
    my $agent = Daa->start(dir => $dir, config => qq([state]\nfinished_ttl = "36500d"\nfinished_max_bytes = "0B"\n));
    is(scalar @{ $agent->get('/api/v1/workflows?name=sleeper&limit=1000')->{json}{items} }, 20, '... an agent starts on it and finds its workflows');
    my $digest = settled_digest($agent);
    $agent->kill;
    remove_tree("$dir/db");
    $agent->start_again;
    is(settled_digest($agent), $digest, '... and after kill -9 makes the same documents again');
    is($agent->stop, 0, '... and stops');
    ($status) = run_program(program('daa-log'), 'verify', $dir);
    is($status, 0, '... leaving a sound log');
    remove_tree($dir);
}
my ($status) = run_program($maker, scratch() . '/x', '1XB');
is($status, 2, 'a size that is none is refused');
($status) = run_program($maker, scratch() . '/x', '1MB', 'empty');
is($status, 2, 'and so is a word that is not known');
done_testing();
