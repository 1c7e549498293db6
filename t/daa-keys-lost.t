# Keys that are lost for good: they are given up, the agent starts again, what they encrypted is erased, and what
# had not ended can only be cancelled.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(wait_until scratch program run_program spew slurp);
use JSON::PP ();
use Test::More;

my $config = "[log]\nencryption = true\nseal = false\n[state]\nsnapshot_interval = \"0s\"\n[exec]\nenabled = true\nallow = [\"/bin/sleep\"]\n";
my %nap = (name => 'nap', steps => [ { id => 'a', sleep => '0s' } ]);
my %later = (name => 'later', steps => [ { id => 'a', sleep => '1s' }, { id => 'b', sleep => '0s', needs => ['a'] } ]);
my %wait = (name => 'wait', steps => [ { id => 'a', signal => { name => 'go' } } ]);
my %run = (name => 'run', steps => [ { id => 'a', exec => { argv => [ '/bin/sleep', '300' ] }, timeout => '400s' }, { id => 'b', sleep => '0s', needs => ['a'] } ]);

my $agent = Daa->start(config => $config);
my ($dir, $admin) = ($agent->dir, { Authorization => 'Bearer ' . $agent->token });
my $keys = "$dir/keys";

sub submit { return $agent->post('/api/v1/workflows', { definition => $_[0], input => { who => 'Ada' } }, $admin)->{json}{id} }
sub show { return $agent->get("/api/v1/workflows/$_[0]")->{json} }
sub keys_command { return run_program(program('daa-log'), 'keys', @_) }
sub cli { return run_program(program('daa-cli'), '--url', $agent->url, '--token-file', "$dir/admin.token", @_) }

# One that a start begins may be under way.
sub doctor {
    my ($status, $out, $said);
    wait_until(sub { ($status, $out, $said) = cli('doctor', 'state'); return $said !~ /being checked already/ });
    diag("$out$said") if $status;
    return $status;
}

sub documents {
    my ($status, $out, $said) = cli('state', 'digest', '--json');
    die "no digest: $said" if $status != 0 || $out !~ /"digest":"[0-9a-f]{64}"/;
    return $out;
}

my $ended = $agent->post('/api/v1/workflows?wait=20s', { definition => \%nap, input => { who => 'Ada' } })->{json}{id};
my ($waits, $sleeps, $runs) = map { submit($_) } \%wait, \%later, \%run;
ok(wait_until(sub { show($runs)->{steps}[0]{status} eq 'running' }), '(a program runs)');
$agent->kill;
my $uuid = unpack 'H*', substr slurp("$keys/keys-0000000000"), 24, 16;
rename $keys, "$dir/gone" or die;

#--- Refused ---------------------------------------------------------------------------------------

for my $case ([['--give-up'], 2, qr/give the DIR of the log/], [['--up-to', 5, $dir], 2, qr/--up-to is for --give-up alone/],
    [['--keyring', 'x', $dir], 2, qr/--keyring is for --give-up alone/], [['--give-up', '--keyring', 'x', $dir], 2, qr/x is no uuid/],
    [['--give-up', '--up-to', '4294967296', $dir], 2, qr/there is no key 4294967296/], [['--give-up', "$dir/none"], 1, qr/none/]) {
    my ($arguments, $want, $why) = @$case;
    my ($status, $out, $said) = keys_command(@$arguments);
    ok($status == $want && $out eq '' && $said =~ $why, "refused: keys @$arguments") or diag("$status $out $said");
}
my $other = scratch() . '/other';
run_program(($ENV{OUT} // 'build/release') . '/t/bin/make-keys', $other, 'prepare 1');
my ($status, $out, $said) = keys_command('--give-up', '--keys', $other, $dir);
is($status, 1, 'a directory with keys of another keyring is left alone');
like($said, qr/it holds keys of keyring .*, and those that are missing are of keyring/, 'which is said');
ok(!-e $keys, 'and nothing was made');

my $wrong = '11111111-1111-4111-8111-111111111111';
($status, $out, $said) = keys_command('--give-up', '--keys', $keys, '--keyring', $wrong, $dir);
like("$status $said", qr/^1 .*--keyring $wrong: the keys of this log are of keyring [0-9a-f-]{36}$/m, 'nor is another keyring made than the log names');
ok(!-e $keys, 'nothing is made');

#--- All are lost ----------------------------------------------------------------------------------

($status, $out, $said) = keys_command('--give-up', $dir);
is($status, 1, 'a directory is not made');
like($said, qr{\Q$keys\E does not exist: if the keys were there, say --keys \Q$keys\E, else}, 'unless it is named');
($status, $out, $said) = keys_command('--give-up', '--keys', $keys, $dir);
is("$status $said", '0 ', 'lost keys are given up');
like($out, qr/^directory  \Q$keys\E\nkeyring    [0-9a-f-]{36}\ngiven up   131071 keys; 2 files were missing, and 0 were mended\n$/, 'and counted, with those made ahead');
is(unpack('H*', substr slurp("$keys/keys-0000000000"), 24, 16), $uuid, 'the keyring is the one of the log');
($status, $out) = keys_command('--give-up', '--json', $dir);
is_deeply(JSON::PP::decode_json($out), { dir => $keys, keyring => $uuid =~ s/^(.{8})(....)(....)(....)/$1-$2-$3-$4-/r, given_up => 0, files_made => 0,
    files_mended => 0 }, 'a second time there is nothing to give up');
$agent->start_again;
is($agent->get('/ready')->{status}, 200, 'the agent starts');

is(show($ended)->{code}, 'erased', 'what has ended is erased');
ok(wait_until(sub { (show($sleeps)->{code} // '') eq 'erased' }), 'a workflow whose turn it is, is cancelled');
like($agent->said, qr/the workflow \Q$sleeps\E was cancelled: its key was destroyed, so it could not go on/, 'which is said');
is_deeply([ @{ show($waits) }{qw(status erased input)} ], [ 'running', JSON::PP::true(), undef ], 'one that waits is shown, without what was put in');
is_deeply([ map { $_->{erased} ? $_->{status} : () } @{ $agent->get('/api/v1/workflows')->{json}{items} } ],
    [ 'cancelled', 'cancelled', 'running', 'completed' ], 'a list says what is erased');
my $answer = $agent->post("/api/v1/workflows/$waits/signals/go", { who => 'Ada' });
is("$answer->{status} $answer->{json}{code}", '409 key-destroyed', 'takes no signal');
$answer = $agent->post("/api/v1/workflows/$waits:cancel", { reason => 'its key is lost' });
is("$answer->{status} " . show($waits)->{code}, '202 erased', 'and is cancelled by whoever wants');
is(show($runs)->{code}, 'erased', 'one that ran a program was cancelled too');
is($agent->get('/status', $admin)->{json}{encryption}{waiting_for_keys}, 0, 'none was set aside');
my $new = $agent->post('/api/v1/workflows?wait=20s', { definition => \%nap, input => { who => 'Eve' } })->{json};
is_deeply([ @$new{qw(status input)} ], ['completed', { who => 'Eve' }], 'new ones have keys of their own');

#--- What is recorded ------------------------------------------------------------------------------

(undef, $out) = run_program(program('daa-log'), 'cat', '--json', $dir);
unlike($out, qr/its key is lost|Ada/, 'nothing private of them is in the log');
like($out, qr/Eve/, '(what is of others is shown)');
($status, undef, $said) = run_program(program('daa-log'), 'verify', '--keys', $keys, $dir);
is("$status $said", '0 ', 'the log is sound, with the keys that there are');
like(documents(), qr/digest/, '(the documents can be read)');
is(doctor(), 0, 'the documents are sound');
is($agent->stop, 0, 'the agent stops');
is((run_program('rm', '-r', "$dir/db"))[0], 0, '(its documents are removed)');
ok(!-d "$dir/snapshots" || !glob("$dir/snapshots/*.zst"), '(there is no snapshot)');
$agent->start_again;
is(doctor(), 0, 'so are those that are made anew of the log');
documents();
is(show($waits)->{code}, 'erased', 'which say the same');
is($agent->stop, 0, 'the agent stops');

#--- A copy is found -------------------------------------------------------------------------------

mkdir "$dir/given-up";
rename "$keys/keys-000000000$_", "$dir/given-up/keys-000000000$_" or die for 0, 1;
run_program('cp', glob("$dir/gone/keys-*"), $keys);
is((run_program('rm', '-r', "$dir/db"))[0], 0, '(its documents are removed)');
ok(!-d "$dir/snapshots" || !glob("$dir/snapshots/*.zst"), '(there is no snapshot)');
$agent->start_again;
is_deeply([ @{ show($waits) }{qw(status input)} ], ['cancelled', { who => 'Ada' }], 'with a copy of the keys what was put in is there again');
ok((show($waits)->{reason} // '') !~ /lost/, 'but not what was said without them');
($status, $out, $said) = run_program(program('daa-log'), 'verify', '--keys', $keys, $dir);
is("$status $said", '0 ', 'the log is sound, with them too');
is(doctor(), 0, 'and the documents');
is($agent->get("/api/v1/workflows/$new->{id}")->{json}{input}{who}, 'Eve', 'no newer key has a number of theirs');
is($agent->stop, 0, 'the agent stops');
rename "$dir/given-up/keys-000000000$_", "$keys/keys-000000000$_" or die for 0, 1;
$agent->start_again;

for my $id ($ended, $waits, $sleeps, $runs) {
    is($agent->post("/api/v1/workflows/$id:erase", {}, $admin)->{status}, 200, 'a workflow whose key is lost can be erased');
}
is($agent->stop, 0, 'the agent stops again');

#--- Some are lost ---------------------------------------------------------------------------------

sub patch_keys { my ($offset, $bytes) = @_; open my $file, '+<:raw', "$keys/keys-0000000002" or die; sysseek $file, $offset, 0; syswrite $file, $bytes; return close $file }
my $kept = substr slurp("$keys/keys-0000000002"), 4096 + 64 * 9, 64;
patch_keys(0, 'x' x 4096);
patch_keys(4096 + 64 * 7, 'x' x 64);
($status, $out) = keys_command('--give-up', $dir);
like($out, qr/given up   1 keys; 0 files were missing, and 1 were mended/, 'of a damaged file only what is damaged is given up');
is(substr(slurp("$keys/keys-0000000002"), 4096 + 64 * 9, 64), $kept, 'and the rest is what it was');
is((keys_command($dir))[0], 0, 'all is whole again');
(undef, $out) = run_program(program('daa-log'), 'cat', '--json', $dir);
like($out, qr/Eve/, 'and opens what it did');
truncate "$keys/keys-0000000002", 100000;
($status, $out) = keys_command('--give-up', $dir);
like($out, qr/given up   64038 keys; 0 files were missing, and 1 were mended/, 'of a file that was cut what is missing');
unlink "$keys/keys-0000000002";
spew("$keys/keys-0000000002.tmp", 'half');
($status, undef, $said) = keys_command('--give-up', '--up-to', 4294967295, $dir);
like($said, qr/--up-to 4294967295: that is \d+ keys behind all that .* say at most \d+/, 'a number that is mistyped is refused');
($status, $out) = keys_command('--give-up', '--up-to', 150000, $dir);
like($out, qr/given up   65536 keys; 1 files were missing/, 'up to the key that was said');
$agent->start_again;
($status, undef, $said) = keys_command('--give-up', $dir);
like($said, qr/belongs to another agent that runs, pid \d+: stop it first/, 'not while the agent runs');
is($agent->post('/api/v1/workflows', { definition => \%nap, input => {} })->{status}, 202, 'which finds a key at once');
is($agent->stop, 0, 'and stops');
done_testing;
