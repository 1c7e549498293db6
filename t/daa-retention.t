#!/usr/bin/perl
# A log whose oldest segments are removed: what daa-log says of it and beside it, and daa-pgsync.
# make-log stands for the agent: it records the removal, removes, and can be killed in between.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(wait_until scratch program slurp spew run_program);
use IO::Handle;
use IPC::Open2;
use JSON::PP ();
use PgServer;
use POSIX ();
use Test::More;

my $json = JSON::PP->new->utf8;
my $out = $ENV{OUT} // 'build/release';
my ($program, $maker) = (program('daa-log'), "$out/t/bin/make-log");
plan skip_all => 'daa-log is not built' if !-x $program || !-x $maker;
my %started;

END { my $status = $?; kill 'KILL', $_ for keys %started; $? = $status }

sub daa_log { return run_program($program, @_) }
sub seqs_of { return $_[0] =~ /^\{"seq":(\d+),.*\}$/mg }    # JSON::PP takes seconds for large payloads
sub lines { return map { $json->decode($_) } split /\n/, $_[0] }

sub start_maker {
    my ($dir) = @_;
    my $pid = open2(my $from, my $to, $maker, $dir);
    $started{$pid} = 1;
    return { pid => $pid, from => $from, to => $to };
}
sub say_to { my ($writer, $line) = @_; $writer->{to}->print("$line\n"); $writer->{to}->flush; my ($seq) = readline($writer->{from}) =~ /(\d+)/; return $seq }
sub stop { my ($writer) = @_; close $writer->{to}; waitpid $writer->{pid}, 0; delete $started{ $writer->{pid} }; return $? }
sub crash { my ($writer) = @_; kill 'KILL', $writer->{pid}; return stop($writer) }
sub make_log { my ($name, @commands) = @_; my $dir = scratch() . "/$name"; my $writer = start_maker($dir); say_to($writer, $_) for @commands; stop($writer); return $dir }
sub segments { my ($dir) = @_; return map { m{seg-0*(\d+)\.log$} } sort glob "$dir/seg-*.log" }
sub path_of { my ($dir, $segment) = @_; return sprintf '%s/seg-%010d.log', $dir, $segment }

# The first event of a log and the verdict of verify: exit status, first, text.
sub verified {
    my ($dir) = @_;
    my ($status, $said) = daa_log('verify', $dir);
    my ($first) = $said =~ /^\w+: events (\d+) to/m;
    return ($status, $first, $said);
}

# Five segments, the newest of which has room for more.
my @fill = ('fill 5 200000') x 5;

subtest 'a removal that was recorded' => sub {
    my $dir = make_log('recorded', @fill, 'workflows 3', 'give-up 2', 'remove 2', 'workflows 1');
    my ($status, $first, $said) = verified($dir);
    is($status, 0, 'a log whose beginning was removed is sound') or diag($said);
    my $gone = $first - 1;
    my ($event, $time) = $said =~ /^events 1 to $gone were removed by retention \(event (\d+), ([^)]+)\)$/m;
    ok($event, 'verify says what was removed') or diag($said);
    my ($shown) = lines((daa_log('cat', '--json', '--from', $event, '--limit', 1, $dir))[1]);
    is($shown->{kind}, 'storage.removed', 'by the event that it names');
    is($shown->{payload}{last_seq}, $gone, 'which says the same');
    is(substr($shown->{time}, 0, 19), substr($time, 0, 19), 'and when');
    my ($result) = (lines((daa_log('verify', '--json', $dir))[1]))[-1];
    is_deeply([@$result{qw(verdict beginning first_seq)}, @{ $result->{removed} }{qw(last_seq event)}],
        ['sound', 'removed', $first, $gone, $event], 'in JSON too');

    ($status, $said, my $complained) = daa_log('cat', '--json', $dir);
    my @seqs = seqs_of($said);
    ok($status == 0 && $complained =~ /begins with event $first;/, 'cat says where the log begins');
    is_deeply(\@seqs, [$first .. $result->{last_seq}], 'and shows all that is there');
    ($status, $said, $complained) = daa_log('cat', '--json', '--from', $first + 3, $dir);
    is($complained, '', 'nothing is said when more is not asked for');
    ($status, $said, $complained) = daa_log('tail', '--json', '-n', 4, $dir);
    ok($status == 0 && $complained eq '' && (() = seqs_of($said)) == 4, 'nor by tail');
    ($status, $said, $complained) = daa_log('tail', '--json', '-n', 100000, $dir);
    ok($status == 0 && $complained =~ /begins with event $first;/ && (() = seqs_of($said)) == @seqs, 'which shows no more than there is');
    ($status, $said) = daa_log('stat', $dir);
    ok($status == 0 && $said =~ /^beginning  events 1 to $gone were removed by retention \(event $event, /m, 'stat says it too');
    is((lines((daa_log('stat', '--json', $dir))[1]))[0]{beginning}, 'removed', 'also in JSON');
    ($status, $said, $complained) = daa_log('explain', 1, $dir);
    ok($status == 1 && $complained =~ /holds $first to/, 'explain says what there is instead');

    my $writer = start_maker($dir);
    say_to($writer, $_) for @fill, 'give-up 4', 'remove 4';
    ($status, my $later, $said) = verified($dir);
    ok($status == 0 && $later > $first && $said =~ /a writer is running/, 'beside a writer more is removed') or diag($said);
    stop($writer);
    ($status, $first, $said) = verified($dir);
    ok($status == 0 && $said =~ /^events 1 to @{[$later - 1]} were removed by retention/m, 'and the newest event tells of all of it') or diag($said);
};

subtest 'a removal that did not come to its end' => sub {
    my $dir = scratch() . '/crashed';
    my $writer = start_maker($dir);
    say_to($writer, $_) for @fill, 'give-up 4';
    crash($writer);
    my ($status, $first, $said) = verified($dir);
    ok($status != 1 && $first == 1, 'recorded and not begun: the log is whole') or diag($said);
    for my $segment (1 .. 3) {
        unlink path_of($dir, $segment) or die;
        ($status, my $begins, $said) = verified($dir);
        ok($status != 1 && $begins > $first && $said =~ /, and those up to \d+ are to follow$/m,
            "ended after segment $segment: it says so") or diag($said);
        $first = $begins;
    }
    $writer = start_maker($dir);
    say_to($writer, 'workflows 1');
    say_to($writer, 'remove 4');
    stop($writer);
    ($status, my $begins, $said) = verified($dir);
    ok($status == 0 && $begins > $first && $said !~ /to follow/, 'done again it is done') or diag($said);
    is(scalar(() = (daa_log('cat', '-k', 'storage.removed', $dir))[1] =~ /storage\.removed/g), 1, 'with one event');
};

subtest 'a beginning that nobody removed' => sub {
    my $dir = make_log('stolen', @fill, 'give-up 2', 'remove 2', 'workflows 1');
    unlink path_of($dir, 3) or die;
    my ($status, $first, $said) = verified($dir);
    is($status, 1, 'is damage');
    my ($from, $to) = $said =~ /^damaged: seg-0000000004\.log at 0: the beginning is missing and no event says that it was removed: events (\d+) to (\d+): put its segments back/m;
    ok($from && $to == $first - 1, 'which names what is missing') or diag($said);
    my ($finding) = grep { $_->{text} } lines((daa_log('verify', '--json', $dir))[1]);
    is_deeply([@$finding{qw(verdict file first_seq last_seq)}], ['damaged', 'seg-0000000004.log', $from, $to], 'in JSON too');
    like((daa_log('stat', $dir))[1], qr/^beginning  the beginning is missing and no event says/m, 'stat says it');
    $dir = make_log('bare', @fill);
    unlink path_of($dir, 1) or die;
    ok((verified($dir))[0] == 1 && (verified($dir))[2] =~ /no event says that it was removed: events 1 to/, 'also when nothing ever was');
    unlink path_of($dir, 3) or die;
    is((verified($dir))[0], 1, 'a hole is damage as ever');
};

subtest 'following over removals' => sub {
    my $dir = scratch() . '/followed';
    my $writer = start_maker($dir);
    my $seq = say_to($writer, 'workflows 2');
    my ($shown, $errors) = map { scratch() . "/followed.$_" } qw(out err);
    my $pid = fork() // die;
    if (!$pid) {
        open STDOUT, '>', $shown;
        open STDERR, '>', $errors;
        exec $program, 'tail', '-f', '--json', '-n', 1000, $dir or POSIX::_exit(127);
    }
    $started{$pid} = 1;
    my $seen = sub { return (0, seqs_of(slurp($shown) // ''))[-1] };
    for (1 .. 3) {
        ok(wait_until(sub { $seen->() == $seq }), 'tail -f has shown all there is');
        my ($oldest) = segments($dir);
        $seq = say_to($writer, 'fill 10 200000');
        ok(wait_until(sub { $seen->() == $seq }), 'and more, over rolls');
        say_to($writer, 'give-up ' . ($oldest + 1));
        $seq = say_to($writer, 'remove ' . ($oldest + 1));
    }
    ok(wait_until(sub { $seen->() == $seq }), 'over removals it goes on');
    # Stopped while more is written and removed than it has seen.
    kill 'STOP', $pid;
    say_to($writer, 'fill 20 200000') for 1 .. 2;
    my $keep = (segments($dir))[-1] - 5;    # of which two or three are spares
    say_to($writer, "give-up $keep");
    $seq = say_to($writer, "remove $keep");
    my ($first) = (verified($dir))[1];
    kill 'CONT', $pid;
    ok(wait_until(sub { $seen->() == $seq }), 'one that was too slow goes on where the log begins then');
    kill 'TERM', $pid;
    waitpid $pid, 0;
    delete $started{$pid};
    stop($writer);
    my $said = slurp($errors);
    like($said, qr/event \d+ is not in the log any more; it begins with event $first; it was removed meanwhile/, 'and says what it missed');
    my ($missed) = $said =~ /event (\d+) is not in the log any more/;
    my @seqs = seqs_of(slurp($shown));
    is_deeply(\@seqs, [1 .. ($missed // 1) - 1, $first .. $seq], 'which is all that it left out');
};

subtest 'a copy in Postgres' => sub {
    plan skip_all => PgServer->missing if PgServer->missing;
    delete @ENV{grep { /^PG|^DAA_/ } keys %ENV};
    my $server = PgServer->new;
    $server->create_database('copy');
    my $dir = make_log('copied', @fill, 'give-up 2', 'remove 2', 'workflows 1');
    my @pgsync = (program('daa-pgsync'), '--data-dir', $dir, '--url', $server->url('copy'));
    is((run_program(@pgsync))[0], 0, 'a log whose beginning is gone is copied from there on');
    is($server->sql('SELECT min(seq) FROM daa.events', 'copy'), (verified($dir))[1], 'with its first event');
    my $position = $json->decode(slurp("$dir/readers/pgsync"));
    is($position->{flushed_seq}, $server->sql('SELECT max(seq) FROM daa.events', 'copy'), 'and says how far it is');
    my $writer = start_maker($dir);
    say_to($writer, $_) for @fill, 'give-up 7', 'remove 7';
    stop($writer);
    my ($status, undef, $complained) = run_program(@pgsync);
    my ($first) = (verified($dir))[1];
    ok($status == 1 && $complained =~ /behind event $position->{flushed_seq}, the newest in Postgres, the log goes on at $first/,
        'what is removed before it is copied is missed, and said') or diag($complained);
};

done_testing();
