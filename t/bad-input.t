#!/usr/bin/perl
# Bad input to the real programs: each gets one sentence that names the thing and the way out, the right status or
# exit code, and nothing is lost. Bodies and configurations are in t/daa-agent.t and t/tools-config.c, clients in
# t/agent-api-abuse.t, servers in t/daa-pgsync.t; here is what those leave out.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(wait_until scratch run_program program slurp spew);
use File::Path qw(make_path remove_tree);
use LogReader ();
use POSIX ();
use Test::More;

my $small = "[log]\nsegment_size = \"256KB\"\nseal = false\n";
my $nap = { name => 'nap', steps => [{ id => 'a', sleep => '0s' }] };

# A data directory whose log has several segments, and a spare behind them; the number of its last event.
sub make_log {
    my $agent = Daa->start(config => $small);
    my $pad = 'x' x 20000;
    $agent->post('/api/v1/workflows', { definition => $nap, input => $pad }) for 1 .. 40;
    wait_until(sub { $agent->get('/status')->{json}{workflows}{unfinished} == 0 }) or die 'workflows do not end';
    $agent->stop == 0 or die $agent->said;
    my @segments = grep { substr(slurp($_), 0, 4) eq "\x89DAA" } segments($agent->dir);
    return ($agent->dir, scalar @segments);
}
sub segments { my ($dir) = @_; return sort glob "$dir/log/seg-*.log" }
sub segment { my ($dir, $number) = @_; return sprintf '%s/log/seg-%010d.log', $dir, $number }

my ($original, $count) = make_log();
cmp_ok($count, '>=', 3, "the log has segments ($count)") or BAIL_OUT('too few segments');
my (undef, $events) = run_program(program('daa-log'), 'cat', $original);

my $copies = 0;
sub copy {
    my $dir = scratch() . '/copy-' . ++$copies;
    system('cp', '-r', $original, $dir) == 0 or die "cp: $?";
    unlink "$dir/log/PLACE";    # what is broken is to be the log itself, not a copy (t/log-place.c)
    return $dir;
}
sub patch {
    my ($path, $offset, $bytes) = @_;
    open my $file, '+<:raw', $path or die "$path: $!";
    seek $file, $offset, 0;
    print $file $bytes;
    close $file or die "$path: $!";
}
sub flip { my ($path, $offset) = @_; patch($path, $offset, substr(slurp($path), $offset, 1) ^ "\x01") }
sub cut { my ($path, $size) = @_; truncate $path, $size or die "$path: $!" }

# The header of a segment with other bytes in it, and a checksum that fits.
sub rewrite_header {
    my ($path, $offset, $bytes) = @_;
    my $block = substr slurp($path), 0, 4096;
    substr $block, $offset, length $bytes, $bytes;
    substr $block, 12, 4, pack 'V', LogReader::crc32c(substr($block, 0, 12), substr($block, 16));
    patch($path, 0, $block);
}

sub refused {
    my ($name, $want, @arguments) = @_;
    my ($status, $out, $said) = run_program('/usr/bin/timeout', 60, program('daa-agent'), '--listen', '127.0.0.1:0', @arguments);
    is($status, 1, "$name: the agent exits with 1");
    like($said, $want, "$name: the agent says so");
    unlike($said, qr/\n./, "$name: in one line");
    is($out, '', "$name: and is not ready");
}

# What is in the files of a log, but for LOCK, which holds a pid.
sub bytes_of { my ($dir) = @_; return join "\0", map { "$_\0" . (slurp($_) // '') } segments($dir), "$dir/log/CHECKPOINT" }

# A log that the agent must not touch: verify's exit status and what it says, what the agent says.
sub log_refused {
    my ($name, $damage, $exit, $said, $want) = @_;
    my $dir = copy();
    $damage->($dir);
    my $before = bytes_of($dir);
    my ($status, $out, $complaint) = run_program(program('daa-log'), 'verify', $dir);
    is($status, $exit, "$name: verify exits with $exit");
    like($out . $complaint, $said, "$name: verify says so");
    refused($name, $want, '--data-dir', $dir);
    ok(bytes_of($dir) eq $before, "$name: no byte of it has changed");
    remove_tree($dir);
}

subtest 'logs that the agent does not open' => sub {
    log_refused('the newest segment cut', sub { cut(segment($_[0], $count), 8192) }, 1, qr/damaged: seg-\d+/, qr/8192 bytes long.*daa-log verify/);
    log_refused('the newest segment empty', sub { cut(segment($_[0], $count), 0) }, 1, qr/damaged: seg-\d+.*\n.*0 bytes/, qr/CHECKPOINT.*daa-log verify/);
    log_refused('the newest segment gone', sub { unlink segment($_[0], $count) }, 1, qr/damaged: seg-\d+/, qr/CHECKPOINT.*daa-log verify/);
    log_refused('a bit of the newest segment', sub { flip(segment($_[0], $count), 4096 + 130) }, 1, qr/damaged: seg-\d+/, qr/one flipped bit.*daa-log verify/);
    log_refused('an empty segment', sub { cut(segment($_[0], 2), 0) }, 1, qr/seg-0000000002\.log.*0 bytes/, qr/seg-0000000002\.log.*0 bytes/);
    log_refused('a segment gone', sub { unlink segment($_[0], 2) }, 1, qr/segment 2,.*missing/, qr/seg-0000000002\.log is missing.*put it back/);
    log_refused('a newer format', sub { rewrite_header(segment($_[0], $count), 8, "\x02\0") }, 2, qr/format 2\.\d.*newer/, qr/format 2\.\d.*use a newer one/);
    log_refused('an unknown feature', sub { rewrite_header(segment($_[0], $count), 132, "\x02\0\0\0") }, 2, qr/features 0x2/, qr/features 0x2.*newer/);
    log_refused('no segment', sub { unlink segments($_[0]) }, 2, qr/holds no segment/, qr/CHECKPOINT says.*put the segments back/);
    log_refused('no log at all', sub { remove_tree("$_[0]/log") }, 2, qr/holds no segment/, qr{copy-\d+/log holds no event log.*put that log back});
};

subtest 'damage in the middle' => sub {
    my $dir = copy();
    flip(segment($dir, 2), 100_000);
    my ($status, $out, $said) = run_program(program('daa-log'), 'verify', $dir);
    is($status, 1, 'verify exits with 1');
    like($out, qr/seg-0000000002\.log at \d+: .*restore the file from a copy/, 'and names the file and the place');
    ($status, $out, $said) = run_program(program('daa-log'), 'cat', $dir);
    is($status, 1, 'cat exits with 1');
    like($said, qr/events \d+ to \d+ are damaged and left out: run daa-log verify/, 'and says what it leaves out');
    cmp_ok(($out =~ tr/\n//), '<', ($events =~ tr/\n//), 'which is some');
    my $agent = Daa->start(dir => $dir, config => $small);
    is($agent->post('/api/v1/workflows?wait=20s', { definition => $nap })->{json}{status}, 'completed', 'the agent goes on behind it');
    is($agent->stop, 0, 'and stops in order');
    remove_tree("$dir/db");
    refused('documents that cannot be made again', qr/put its damaged or missing segments back.*daa-log verify.*seg-0000000002/,
        '--data-dir', $dir);
    remove_tree($dir);
};

subtest 'a database that is damaged' => sub {
    for my $case (['cut', sub { cut($_[0], 2 * 4096) }], ['of something else', sub { patch($_[0], 0, "\xff" x 20000) }]) {
        my ($name, $damage) = @$case;
        my $dir = copy();
        $damage->("$dir/db/data.mdb");
        my $agent = Daa->start(dir => $dir, config => $small);
        like($agent->said, qr{/db (?:were|was) moved to \S+/db\.aside}, "a database $name: it is set aside");
        is(scalar @{ $agent->get('/api/v1/workflows?limit=1000')->{json}{items} }, 40, 'and all is there');
        $agent->stop;
        remove_tree($dir);
    }
    my $dir = scratch() . '/other';
    my $agent = Daa->start(dir => $dir, config => $small);
    my $id = $agent->post('/api/v1/workflows?wait=20s', { definition => $nap })->{json}{id};
    $agent->stop;
    remove_tree("$dir/db");
    system('cp', '-r', "$original/db", "$dir/db") == 0 or die "cp: $?";
    $agent->start_again;
    is($agent->get('/status')->{json}{start}{documents_rebuilt}, JSON::PP::true(), 'documents of another log are noticed');
    is(join(' ', map { $_->{id} } @{ $agent->get('/api/v1/workflows')->{json}{items} }), $id, 'and made again from this one');
    is($agent->stop, 0, 'it stops in order');
};

subtest 'directories that are no log' => sub {
    my $dir = scratch();
    mkdir "$dir/empty";
    spew("$dir/file", 'x');
    for my $command (qw(cat tail stat)) {
        my ($status, $out, $said) = run_program(program('daa-log'), $command, "$dir/empty");
        ok($status == 1 && $out eq '' && $said =~ m{/empty holds no segment of a log}, "daa-log $command of an empty directory");
        ($status, $out, $said) = run_program(program('daa-log'), $command, "$dir/file");
        ok($status == 1 && $out eq '' && $said =~ m{/file: Not a directory}, "daa-log $command of a file");
    }
    my ($status, $out, $said) = run_program(program('daa-pgsync'), '--data-dir', "$dir/file", '--url', 'postgresql:///x?host=/nowhere');
    ok($status == 1 && $out eq '' && $said ne '', 'daa-pgsync of a file') or diag("$status $out $said");
};

subtest 'directories that the agent cannot use' => sub {
    my $dir = scratch() . '/not-ours';
    mkdir $dir, 0700;
    SKIP: {
        skip 'not root: nothing belongs to somebody else', 4 if $> != 0;
        chown 65534, 65534, $dir;
        refused('a directory of another user', qr/belongs to uid 65534.*--data-dir/, '--data-dir', $dir);
    }
    chmod 0711, scratch();
    chmod 0500, $dir;
    my $said = scratch() . '/said';
    my $pid = fork() // die "fork: $!";
    if (!$pid) {
        open STDERR, '>', $said or die "$said: $!";
        if ($> == 0) {    # whom no mode stops
            POSIX::setgid(65534);
            POSIX::setuid(65534);
        }
        exec { program('daa-agent') } program('daa-agent'), '--data-dir', $dir, '--listen', '127.0.0.1:0' or POSIX::_exit(127);
    }
    waitpid $pid, 0;
    is($? >> 8, 1, 'a directory that is read-only: exit 1');
    like(slurp($said), qr/not-ours is not writable/, 'and a sentence');
    chmod 0700, $dir;
    my $half = scratch() . '/half';
    mkdir $half, 0700;
    spew("$half/RESTORING", '');
    refused('a directory that is being restored', qr/half is being restored.*daa-log restore again/, '--data-dir', $half);
    my $agent = Daa->start(config => $small);
    spew(scratch() . '/taken.toml', "[api]\nsocket = \"" . $agent->dir . "/admin.token\"\n");
    refused('a file where the socket should be', qr/admin\.token: a file is in its place; remove it/,
        '--config', scratch() . '/taken.toml', '--data-dir', scratch() . '/taken');
    refused('a port that is taken', qr/127\.0\.0\.1:@{[$agent->port]}.*in use/, '--data-dir', scratch() . '/taken2', '--listen', '127.0.0.1:' . $agent->port);
    is($agent->stop, 0, 'the agent that has it is not disturbed');
};

subtest 'steps that go nowhere' => sub {
    my $agent = Daa->start(config => "$small\[secrets]\nNONE = \"env:DAA_TEST_NONE\"\n[network]\nallow = [\"127.0.0.1\"]\n");
    my %bad = (
        'a denied address' => ['http://10.1.2.3/', qr/10\.1\.2\.3 is denied by network\.deny; add it to network\.allow/],
        'a denied address by another notation' => ['http://0xa010203/', qr/10\.1\.2\.3 is denied/],
        'a port where nobody listens' => ['http://127.0.0.1:1/', qr/127\.0\.0\.1 port 1/],
        'a name without an address' => ['http://name.invalid/', qr/resolve.*name\.invalid/],
        'an input that is not there' => ['http://127.0.0.1:1/${{ input.none }}', qr/input\.none.*has no value/],
        'a secret that is not set' => ['http://127.0.0.1:1/${{ secrets.NONE }}', qr/secrets\.NONE.*DAA_TEST_NONE is not set/],
        'a secret that is not known' => ['http://127.0.0.1:1/${{ secrets.ELSE }}', qr/secrets\.ELSE.*configuration/],
    );
    for my $name (sort keys %bad) {
        my ($url, $want) = @{ $bad{$name} };
        my $definition = { name => 'bad', steps => [{ id => 'a', http => { url => $url }, on_failure => 'fail' }] };
        my $shown = $agent->post('/api/v1/workflows?wait=20s', { definition => $definition, input => {} })->{json};
        is($shown->{status}, 'failed', "$name: the workflow fails");
        like($shown->{steps}[0]{error}, $want, "$name: and says why");
        is($shown->{steps}[0]{outcome}, 'not_done', "$name: nothing was done");
    }
    my $parked = $agent->post('/api/v1/workflows?wait=50ms', { definition => { name => 'bad', steps => [{ id => 'a', http => { url => 'http://10.1.2.3/' } }] } });
    ok(wait_until(sub { $agent->get("/api/v1/workflows/$parked->{json}{id}")->{json}{status} eq 'paused' }), 'without on_failure it is parked');
    my $key = { 'Idempotency-Key' => 'waits' };
    my $again = sub { $agent->post('/api/v1/workflows?wait=50ms', { definition => { name => 'waits', steps => [{ id => 'a', signal => { name => 'go' } }] } }, $key) };
    $again->();
    is($again->()->{json}{status}, 'running', 'a wait that ends too early says what the workflow is at');
    my $big = $agent->post('/api/v1/workflows', '{"definition":{},"input":{"a":[0,{"b/c":9223372036854775808}]}}')->{json};
    is($big->{errors}[0]{pointer}, '/input/a/1/b~1c', 'an integer beyond int64 is pointed at');
    is($agent->stop, 0, 'the agent stops in order');
};

subtest 'output that cannot be written' => sub {
    for my $command (['daa-agent', '--help'], ['daa-agent', '--check-config'], ['daa-log', 'cat', $original], ['daa-log', 'stat', $original],
        ['daa-log', 'verify', $original], ['daa-cli', '--help'], ['daa-pgsync', '--help'])
    {
        my ($program, @arguments) = @$command;
        my $said = `@{[program($program)]} @arguments 2>&1 >/dev/full`;
        is($? >> 8, 1, "$program $arguments[0]: exit 1");
        like($said, qr/cannot write to standard output: No space left/, "$program $arguments[0]: with the reason");
    }
};

done_testing();
