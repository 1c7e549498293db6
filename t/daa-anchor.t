#!/usr/bin/perl
# Signed heads of the log: made on demand, at every seal and now and then; recorded, exported and served; checked
# with openssl and a reader written from the page; one row of them over crashes, restarts and lost files.
use strict;
use warnings;
use lib 't/lib';
use Anchor;
use Daa qw(scratch run_program program slurp spew wait_until);
use Fault qw(copy_tree);
use JSON::PP ();
use LogReader;
use POSIX ();
use Test::More;

delete @ENV{qw(DAA_URL DAA_TOKEN_FILE)};
my $json = JSON::PP->new->utf8;
my $nap = { name => 'nap', steps => [ { id => 'a', sleep => '0s' } ] };
my $config = "[log]\nsegment_size = \"256KB\"\n[anchor]\ninterval = \"1h\"\n";

sub work {
    my ($agent, $count, $size) = @_;
    my $client = $agent->client;
    $client->request('POST', '/api/v1/workflows', { definition => $nap, input => 'x' x ($size // 100) }) for 1 .. $count;
    wait_until(sub { $agent->get('/status')->{json}{workflows}{unfinished} == 0 }) or die 'workflows do not end';
}
sub sign_now { my ($agent) = @_; return $agent->post('/api/v1/log:anchor', {}, $agent->as_admin) }
sub lines { my ($path) = @_; return map { $json->decode($_) } split /\n/, slurp($path) // '' }
sub anchors_of { my ($agent) = @_; return $agent->get('/status')->{json}{anchors} }
sub mode { return sprintf '%04o', (stat $_[0])[2] & 07777 }
# The export is behind the answer.
sub exported { my ($agent, $event) = @_; return wait_until { anchors_of($agent)->{exported} == $event } }

my $agent = Daa->start(config => $config);
my $dir = $agent->dir;
my $openssl = Anchor::have_openssl();

#--- The key ----------------------------------------------------------------------------------------

is(mode("$dir/anchor.key"), '0600', 'the first start makes a key that nobody else reads');
is(mode("$dir/anchor.pub"), '0644', 'and its public half, that everybody may');
my ($key) = slurp("$dir/anchor.key") =~ /\n(\S+)\n/;
SKIP: {
    skip 'no openssl', 1 if !$openssl;
    my (undef, $public) = run_program('openssl', 'pkey', '-in', "$dir/anchor.key", '-pubout');
    is($public, slurp("$dir/anchor.pub"), 'openssl agrees that they are a pair');
}

#--- On demand --------------------------------------------------------------------------------------

is($agent->get('/api/v1/log/anchor')->{status}, 404, 'at first there is no anchor');
is_deeply($agent->get('/api/v1/log/anchors')->{json}, { items => [], next_cursor => undef }, 'the list is empty');
work($agent, 3);
is($agent->post('/api/v1/log:anchor', {})->{status}, 401, 'signing is for administrators');
my $answer = sign_now($agent);
is($answer->{status}, 200, 'the head is signed') or diag $answer->{body};
my $first = $answer->{json};
is($first->{previous}, 0, 'it is the first');
is($agent->get('/status')->{json}{log}{durable_seq}, $first->{event}, 'the event that records it is the newest');
is($first->{seq}, $first->{event} - 1, 'and it signs all before');
my @records = LogReader::read_log("$dir/log");
is($first->{chain}, unpack('H*', LogReader::chain_at("$dir/log", $first->{seq})), 'the chain is that of the reader of the page');
is($records[-1]{kind}, 90, 'the reader of the page sees the event');
SKIP: {
    skip 'no openssl', 2 if !$openssl;
    ok(Anchor::signed_by($first, "$dir/anchor.pub"), 'openssl finds the signature good');
    ok(!Anchor::signed_by({ %$first, seq => $first->{seq} - 1 }, "$dir/anchor.pub"), 'and not that of another head');
}
is_deeply(sign_now($agent)->{json}, $first, 'with no news the same one is the answer');
is_deeply($agent->get('/api/v1/log/anchor')->{json}, $first, 'and the newest');
ok(exported($agent, $first->{event}), 'it is exported');
is_deeply([ lines("$dir/anchors.jsonl") ], [$first], 'as one line, the same');
my ($status, $out) = run_program(program('daa-log'), 'cat', '--json', '--kind', 'log.anchored', $dir);
my ($event) = map { $json->decode($_) } split /\n/, $out;
is_deeply([ @{ $event->{payload} }{qw(seq chain signature)} ], [ @$first{qw(seq chain signature)} ], 'daa-log shows it');

#--- At every seal -----------------------------------------------------------------------------------

work($agent, 60, 15000);
ok((wait_until { $agent->get('/status')->{json}{log}{unsealed} == 0 }), 'segments are sealed');
my $sealed = $agent->get('/status')->{json}{log}{sealed};
ok((wait_until { anchors_of($agent)->{sealed_up_to_segment} >= $sealed }), 'and signed, with nobody asking');
sign_now($agent);
my @list = @{ $agent->get('/api/v1/log/anchors')->{json}{items} };
my ($page, @pages) = '';
do {
    my $one = $agent->get("/api/v1/log/anchors?limit=2$page")->{json};
    push @pages, @{ $one->{items} };
    $page = defined $one->{next_cursor} ? "&cursor=$one->{next_cursor}" : undef;
} while defined $page;
is_deeply(\@pages, \@list, 'page by page it is the same list');
ok(exported($agent, $list[0]{event}), '(all are exported)');
is_deeply([ reverse lines("$dir/anchors.jsonl") ], \@list, 'the file has them in order');
is_deeply([ map { $_->{previous} } @list ], [ (map { $_->{event} } @list[1 .. $#list]), 0 ], 'each names the one before');
my %roots = map { $_->{segment_no} => $_ } map { @{ $_->{segments} } } @list;
is_deeply([ sort { $a <=> $b } keys %roots ], [ 1 .. $sealed ], 'the root of each sealed segment is signed');
is(scalar(map { @{ $_->{segments} } } @list), $sealed, 'once');
my $leaves = LogReader::leaves("$dir/log");
is_deeply([ map { unpack 'H*', LogReader::merkle_root(@$leaves[ $roots{$_}{first_seq} .. $roots{$_}{last_seq} ]) } 1 .. $sealed ],
    [ map { $roots{$_}{merkle_root} } 1 .. $sealed ], 'and is the one that the page defines');
is($agent->get('/api/v1/log/anchors?cursor=1')->{status}, 404, 'an event that is no anchor is no cursor');

# Segments that are sealed later than those behind them, since they were damaged until somebody mended them.
sub flip_byte {
    my ($path, $offset) = @_;
    open my $io, '+<:raw', $path or die "$path: $!";
    seek $io, $offset, 0;
    read $io, my $byte, 1;
    seek $io, $offset, 0;
    print $io $byte ^ "\x04";
    close $io or die;
}
sub signed_roots {
    my ($late) = @_;
    return join ' ', sort { $a <=> $b } map { $_->{segment_no} } map { @{ $_->{segments} } } @{ $late->get('/api/v1/log/anchors')->{json}{items} };
}
my $data = scratch() . '/late';
sub late { my ($seal, $interval) = @_; return Daa->start(dir => $data, config => "[log]\nsegment_size = \"256KB\"\nseal = $seal\n[anchor]\ninterval = \"$interval\"\n") }
my $late = late('false', '1h');
work($late, 80, 15000);
my $last = $late->get('/status')->{json}{log}{segment};
cmp_ok($last, '>', 4, '(some segments, none is sealed)');
is($late->stop, 0, '(the agent stops)');
flip_byte("$data/log/seg-000000000$_.log", 20000) for 1, 3;
$late = late('true', '1h');
my $sound = join ' ', 2, 4 .. $last;
ok((wait_until { signed_roots($late) eq $sound }), 'the roots of those that are sound are signed') or diag signed_roots($late);
is($late->stop, 0, '(it stops)');
flip_byte("$data/log/seg-0000000003.log", 20000);
$late = late('true', '1h');
my $third = join ' ', 2 .. $last;
ok((wait_until { signed_roots($late) =~ /^\Q$third\E\b/ }), 'the root of one that is mended later too') or diag signed_roots($late);
is($late->stop, 0, '(it stops)');
flip_byte("$data/log/seg-0000000001.log", 20000);
$late = late('true', '0s');
ok((wait_until { -e "$data/log/seg-0000000001.zlog" }), '(another is mended, and sealed by an agent that signs nothing)');
is($late->kill->{status}, 137, '(it is killed)');
$late = late('true', '1h');
ok((wait_until { signed_roots($late) =~ /^1 \Q$third\E\b/ }), 'and so is its') or diag signed_roots($late);
my @numbers = split / /, signed_roots($late);
my %once = map { $_ => 1 } @numbers;
is(scalar @numbers, scalar keys %once, 'each once');
is($late->stop, 0, '(it stops)');
is((run_program(program('daa-log'), 'verify', '--anchor', "$data/anchors.jsonl", $data))[0], 0, 'daa-log verify finds them good');

#--- The file ---------------------------------------------------------------------------------------

my $file = slurp("$dir/anchors.jsonl");
unlink "$dir/anchors.jsonl" or die;
work($agent, 1);
exported($agent, sign_now($agent)->{json}{event}) or die 'not exported';
is(index(slurp("$dir/anchors.jsonl"), $file), 0, 'a file that was removed is made anew from the log');
$file = slurp("$dir/anchors.jsonl");
is($agent->stop, 0, '(the agent stops)');
spew("$dir/anchors.jsonl", $file . '{"event":12');
$agent->start_again;
work($agent, 1);
my $after = sign_now($agent)->{json};
ok(exported($agent, $after->{event}), '(the next one is exported)');
is_deeply([ (lines("$dir/anchors.jsonl"))[-1] ], [$after], 'what a crash left of a line is cut off');
cmp_ok($after->{previous}, '>=', $list[0]{event}, 'after a restart the row goes on');

$agent->kill->start_again;
work($agent, 1);
my $newest = sign_now($agent)->{json};
cmp_ok($newest->{previous}, '>=', $after->{event}, 'and after kill -9');
@list = @{ $agent->get('/api/v1/log/anchors')->{json}{items} };
is_deeply([ map { $_->{previous} } @list ], [ (map { $_->{event} } @list[1 .. $#list]), 0 ], 'each still names the one before');
is((run_program(program('daa-log'), 'verify', $dir))[0], 0, '(the log is sound)');

# What another log left there, and a log that was put back.
$agent->stop;
spew("$dir/anchors.jsonl", slurp("$dir/anchors.jsonl") =~ s/"event":\d+,(?=[^\n]*\n\z)/"event":99999999,/r);
$agent->start_again;
sign_now($agent);
ok((wait_until { (anchors_of($agent)->{trouble} // '') =~ /put back to an earlier state/ }), 'anchors of what this log does not have are said, and kept')
    or diag explain anchors_of($agent);
like(slurp("$dir/anchors.jsonl"), qr/"event":99999999/, '(the file stays)');
like($agent->said, qr/earlier state/, 'on stderr too');

# The alarm lasts: a log that was put back does not get out of it by writing on past what was signed.
my $back = Daa->start(config => $config);
my $there_is = $back->dir;
work($back, 3);
sign_now($back);
is($back->stop, 0, '(another agent stops)');
copy_tree($there_is, "$there_is.kept");
$back->start_again;
work($back, 3);
my $lost = sign_now($back)->{json};
ok(exported($back, $lost->{event}), '(what it signs then is exported)');
is($back->stop, 0, '(and is all that is left of it)');
$lost = (lines("$there_is/anchors.jsonl"))[-1];
copy_tree("$there_is.kept/$_", "$there_is/$_") for qw(log db snapshots);
$back->start_again;
work($back, 1);
for my $more (0, 1) {
    work($back, 1) while $more && $back->get('/status')->{json}{log}{durable_seq} <= $lost->{event};
    sign_now($back) for 1 .. 2;    # the answer to the second comes when the first was exported
    like(anchors_of($back)->{trouble}, qr/put back to an earlier state/, $more ? 'nor later, when it has as many events' : 'a log that was put back is told');
    is((lines("$there_is/anchors.jsonl"))[-1]{event}, $lost->{event}, 'and the evidence stays');
}
rename "$there_is/anchors.jsonl", "$there_is/evidence" or die;
my $again = sign_now($back)->{json};
ok(exported($back, $again->{event}), 'once it was moved away anchors are exported again');
is(anchors_of($back)->{trouble}, undef, 'and the alarm is over');
is($back->stop, 0, '(it stops)');

#--- At the end -------------------------------------------------------------------------------------

my $ends = Daa->start(config => $config);
my $ended = $ends->dir;
work($ends, 2);
my $written = $ends->get('/status')->{json}{log}{durable_seq};
is($ends->stop, 0, 'an agent that has signed nothing for a while stops');
my @signed = lines("$ended/anchors.jsonl");
is(scalar @signed, 1, 'and signs');
cmp_ok($signed[-1]{seq} // 0, '>=', $written, 'all that it had written');
($status, $out) = run_program(program('daa-log'), 'cat', '--json', '--from', $signed[-1]{event} + 1, $ended);
unlike($out, qr/"kind":"(?:workflow|step)/, 'nothing but the stop itself is behind it');
$ends->start_again;
my $over = $ends->get('/status')->{json}{log}{segment} - 1;
ok((wait_until { anchors_of($ends)->{sealed_up_to_segment} >= $over }), '(what is over is sealed and signed)');
my $asked = sign_now($ends)->{json};
is($ends->stop, 0, 'one that has just signed stops');
is((lines("$ended/anchors.jsonl"))[-1]{event}, $asked->{event}, 'and does not sign again');
is((run_program(program('daa-log'), 'verify', '--anchor', "$ended/anchors.jsonl", $ended))[0], 0, '(the log is good for them)');
$ends = Daa->start(dir => $ended, config => "[anchor]\ninterval = \"0s\"\n");
work($ends, 1);
is($ends->stop, 0, 'one that signs only when asked');
is((lines("$ended/anchors.jsonl"))[-1]{event}, $asked->{event}, 'is not asked by its stop');

#--- The key is a secret ----------------------------------------------------------------------------

$agent->stop;
my (undef, $everything) = run_program('grep', '-rlaF', $key, $dir);
is($everything, "$dir/anchor.key\n", 'the private key is in its file alone');
unlike($agent->said, qr/\Q$key\E/, 'and was never said');
chmod 0644, "$dir/anchor.key";
($status, undef, my $said) = run_program(program('daa-agent'), '--data-dir', $dir, '--listen', '127.0.0.1:0');
is($status, 1, 'an agent does not start with a key that others may read');
like($said, qr/anchor\.key may be read by others.*chmod 600/, 'and says so');
chmod 0600, "$dir/anchor.key";
spew("$dir/anchor.key", "nonsense\n");
($status, undef, $said) = run_program(program('daa-agent'), '--data-dir', $dir, '--listen', '127.0.0.1:0');
is($status, 1, 'nor with one that is none');
like($said, qr/anchor\.key is no Ed25519 private key/, 'and says so');
unlike($said, qr/nonsense/, 'but not what is in it');

# Nor does one that has something else to do by then: a key of idempotency has expired.
my $clock = Daa::clock_file();
my $busy = Daa->start(config => "[anchor]\ninterval = \"1h\"\n", clock => $clock);
$busy->post('/api/v1/workflows', { definition => $nap }, { 'Idempotency-Key' => "key $_" }) for 1 .. 3;
is($busy->stop, 0, '(another agent stops, two days pass)');
Daa::set_clock($clock, 2 * 86400);
chmod 0644, $busy->dir . '/anchor.key';
for my $round (1 .. 5) {
    $busy->{wait_ready} = 0;
    $busy->start_again;
    ok((wait_until { $busy->reap(POSIX::WNOHANG()) }), 'whatever else it has to do, it ends') or $busy->kill;
    is($busy->{status}, 1, 'as a start that failed does');
}
like($busy->said, qr/anchor\.key may be read by others/, 'and says why');

#--- Without being asked, and not at all --------------------------------------------------------------

my $elsewhere = scratch() . '/elsewhere.jsonl';
my $often = Daa->start(config => "[anchor]\ninterval = \"1s\"\nfile = \"$elsewhere\"\n");
ok((wait_until { (-s $elsewhere // 0) > 0 }), 'news are signed after the interval, into the file of the configuration');
is((run_program(program('daa-cli'), '--url', $often->url, '--token-file', $often->dir . '/admin.token', 'log', 'anchor'))[0], 0, 'daa-cli log anchor');
($status, $out) = run_program(program('daa-cli'), '--url', $often->url, 'log', 'anchors');
like($out, qr/^EVENT +SIGNED +UP TO +CHAIN/, 'daa-cli log anchors');
is($often->stop, 0, '(it stops)');

# A place that is out of reach.
my $away = scratch() . '/away';
my $reach = Daa->start(config => "[anchor]\ninterval = \"1h\"\nfile = \"$away/anchors\"\n");
my $there = sign_now($reach)->{json};
ok($there->{event}, 'a file that cannot be written holds no signature back');
ok((wait_until { (anchors_of($reach)->{trouble} // '') =~ /cannot open \Q$away\E.*No such file/ }), 'but is said');
mkdir $away or die;
work($reach, 1);
my $later = sign_now($reach)->{json};
ok(exported($reach, $later->{event}), 'when it is back');
is_deeply([ lines("$away/anchors") ], [ $there, $later ], 'all that it missed follows');
is(anchors_of($reach)->{trouble}, undef, 'and the trouble is over');
is($reach->stop, 0, '(it stops)');
my $none = Daa->start(config => "[log]\nchain = false\n[anchor]\ninterval = \"1s\"\n");
$answer = sign_now($none);
is($answer->{status}, 409, 'without a chain there is nothing to sign');
like($answer->{json}{detail}, qr/log\.chain is off/, 'and that is said');
is($none->stop, 0, '(it stops)');
done_testing;
