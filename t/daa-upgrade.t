#!/usr/bin/perl
# Data directories of earlier releases (t/golden/agent-VERSION), and of later ones: the first are taken up, the
# second are read and left alone.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(scratch run_program program slurp spew wait_until clock_file set_clock);
use LogReader ();
use JSON::PP ();
use Test::More;
use Time::Local qw(timegm);

my $golden = 't/golden/agent-0.1';
my $made = timegm(35, 2, 0, 26, 10, 2026);    # when it was written

sub copy {
    my ($name) = @_;
    my $to = scratch() . "/$name";
    run_program('cp', '-r', $golden, $to);
    run_program('chmod', '-R', 'u+w,go-rwx', $to);
    return $to;
}

sub digests { my ($dir) = @_; return { map { $_ => join '', (run_program('sha256sum', $_))[1] } glob "$dir/log/seg-*.log $dir/db/data.mdb" } }

subtest 'the state of release 0.1' => sub {
    my $into = scratch() . '/replayed';
    my ($status, $out, $err) = run_program(program('daa-log'), 'replay', '--json', '--until', 50, '--into', $into, $golden);
    is($status, 0, 'is made from its log') or diag $err;
    my $wanted = slurp("$golden/documents-2.sha256");
    is(JSON::PP::decode_json($out)->{digest} . "\n", $wanted, 'with the digest that this version of the documents has') if $status == 0;
};

subtest 'a data directory of release 0.1' => sub {
    my $clock = clock_file();
    set_clock($clock, $made + 60 - time);     # so that nothing is due that was not
    my $agent = Daa->start(dir => copy('old'), clock => $clock);
    like($agent->said, qr/documents|database/, 'its database is of another version, which is said');
    my %is = map { $_->{id} => $_ } @{ $agent->get('/api/v1/workflows')->{json}{items} };
    is(scalar keys %is, 8, 'every workflow is there');
    my %count;
    $count{ $_->{status} }++ for values %is;
    is_deeply(\%count, { completed => 3, running => 3, paused => 1, cancelled => 1 }, 'as it was') or diag explain \%count;
    is($agent->get('/status')->{json}{workflows}{timers}, 3, 'timers too');
    my ($waits) = sort { length $a <=> length $b || $a cmp $b } grep { $is{$_}{name} eq 'waits' } keys %is;
    is($agent->post("/api/v1/workflows/$waits/signals/go", { by => 'new' })->{status}, 202, 'it takes a signal');
    is($agent->get("/api/v1/workflows/$waits?wait=30s")->{json}{status}, 'completed', 'and completes');
    my $reused = $agent->post('/api/v1/workflows', { definition => { name => 'x', steps => [{ id => 'a', sleep => '0s' }] } }, { 'Idempotency-Key' => 'nap-1' });
    is($reused->{status}, 422, 'keys are known');
    is($agent->stop, 0, 'the agent ends in order');
    my ($status, $out) = run_program(program('daa-log'), 'verify', $agent->dir);
    is($status, 0, 'and the log is sound') or diag $out;
};

# The newest segment as a later release writes it: events of schema 3.
sub make_newer {
    my ($dir) = @_;
    my ($last) = sort { $b cmp $a } grep { slurp($_) =~ /^\x89/ } glob "$dir/log/seg-*.log";
    my $bytes = slurp($last);
    substr $bytes, 138, 2, pack 'v', 3;
    substr $bytes, 12, 4, pack 'V', LogReader::crc32c(substr($bytes, 0, 12), substr($bytes, 16, 4080));
    spew($last, $bytes);
    return;
}

subtest 'a log of a later release' => sub {
    my $clock = clock_file();
    set_clock($clock, $made + 60 - time);
    my $agent = Daa->start(dir => copy('new'), clock => $clock);
    $agent->stop;
    make_newer($agent->dir);
    my $before = digests($agent->dir);
    my ($status, $out, $err) = run_program(program('daa-agent'), '--data-dir', $agent->dir, '--listen', '127.0.0.1:0');
    is($status, 1, 'is not opened');
    like($err, qr/newer/, 'which is said, with what to do') or diag $err;
    is_deeply(digests($agent->dir), $before, 'and not touched');
    ($status, $out) = run_program(program('daa-log'), 'cat', '--json', $agent->dir);
    is($status, 0, 'it is read');
    is((grep { JSON::PP::decode_json($_)->{kind} eq 'workflow.submitted' } split /\n/, $out), 8, 'all of it');
    ($status, $out) = run_program(program('daa-log'), 'stat', $agent->dir);
    like($out, qr/schema/, 'stat shows the versions') or diag $out;
};

done_testing;
