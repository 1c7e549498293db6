#!/usr/bin/perl
# daa-log verify --anchor: what was signed and carried away against a log that is as it was, goes on, was cut, was
# written anew, is another's, or begins late; and what it says of keys and of what nothing covers.
use strict;
use warnings;
use lib 't/lib';
use Anchor;
use Daa qw(scratch run_program program slurp spew wait_until);
use JSON::PP ();
use Test::More;

delete @ENV{qw(DAA_URL DAA_TOKEN_FILE)};
my $json = JSON::PP->new->utf8->canonical;
my $nap = { name => 'nap', steps => [ { id => 'a', sleep => '0s' } ] };
my $config = "[log]\nsegment_size = \"256KB\"\n[anchor]\ninterval = \"1h\"\n";
my $openssl = Anchor::have_openssl();

sub work {
    my ($agent, $count, $text) = @_;
    my $client = $agent->client;
    $client->request('POST', '/api/v1/workflows', { definition => $nap, input => $text x 10000 }) for 1 .. $count;
    wait_until(sub { my $status = $agent->get('/status')->{json}; !$status->{workflows}{unfinished} && !$status->{log}{unsealed} }) or die 'no end';
}
sub sign_now { my ($agent) = @_; return $agent->post('/api/v1/log:anchor', {}, $agent->as_admin)->{json} }
sub copy { my ($from, $name) = @_; my $to = scratch() . "/$name"; system('cp', '-a', $from, $to) == 0 or die; return $to }
sub keep { my ($name, @anchors) = @_; my $path = scratch() . "/$name.jsonl"; spew($path, join '', map { $json->encode($_) . "\n" } @anchors); return $path }

# The exit status, the states of the anchors in their order, and the result.
sub verify {
    my ($dir, $from, @options) = @_;
    my ($status, $out, $said) = run_program(program('daa-log'), 'verify', '--json', '--anchor', $from, @options, $dir);
    my @lines = map { $json->decode($_) } split /\n/, $out;
    my $result = pop @lines // {};
    my @anchors = grep { exists $_->{anchor} } @lines;
    return { status => $status, states => join(' ', map { $_->{state} } @anchors), %$result, said => $said, lines => \@anchors };
}

my $agent = Daa->start(config => $config);
my $dir = $agent->dir;
work($agent, 20, 'a'), sign_now($agent) for 1 .. 3;
$agent->stop;
my $early = copy($dir, 'early');
$agent->start_again;
work($agent, 20, 'b'), sign_now($agent) for 1 .. 2;
my @kept = @{ $agent->get('/api/v1/log/anchors')->{json}{items} };
my $url = $agent->url . '/api/v1/log/anchors?limit=2';
my $count = @kept;
cmp_ok($count, '>=', 4, "$count anchors");
my $all = join ' ', ('holds') x $count;

#--- As it was ---------------------------------------------------------------------------------------

my $live = verify($dir, $url);
is($live->{status}, 0, 'a live log holds what its agent serves, page by page') or diag explain $live;
is($live->{states}, $all, 'every anchor');
is($live->{anchors}{key}, 'machine', 'by the key beside the log');
is($live->{anchors}{covered_up_to}, $kept[0]{seq}, 'up to the newest');
my $file = keep('kept', @kept);
my $public = scratch() . '/kept.pub';
spew($public, slurp("$dir/anchor.pub"));
my $held = verify("$dir/log", $file, '--key', $public);
is($held->{status}, 0, 'and what was carried away');
is("$held->{states} $held->{anchors}{key}", "$all given", 'by the key that was carried away');
my (undef, $text) = run_program(program('daa-log'), 'verify', '--anchor', $file, '--key', $public, $dir);
like($text, qr/^covered: events 1 to $kept[0]{seq}, signed by the key in \Q$public\E$/m, 'it says what is covered, and by which key');
like($text, qr/^not covered: events $kept[0]{event} to \d+, behind the newest anchor/m, 'and what is not');
work($agent, 3, 'c');
is(verify($dir, $file)->{status}, 0, 'a log that went on holds it too');
(undef, $text) = run_program(program('daa-log'), 'verify', '--anchor', $file, $dir);
like($text, qr/which whoever changed the log may have changed too: say with --key/, 'a key of the same machine is said to be one');
spew($file, $json->encode($kept[0]) . "\n" . '{"event":1');
is(verify($dir, $file)->{states}, 'holds', 'a line that is just being written is left out');
$agent->stop;
is(verify($dir, "$dir/anchors.jsonl")->{status}, 0, 'a stopped log holds the file of its own');
$file = keep('kept', @kept);

#--- Not as it was -----------------------------------------------------------------------------------

my $cut = verify($early, $file);
is($cut->{status}, 1, 'a log that was put back to an earlier state');
like($cut->{states}, qr/^holds( holds)*( missing)+$/, 'misses what was signed since');
like($cut->{lines}[-1]{text}, qr/the log ends before that event: what was signed is gone/, 'and that is said');

# The same log, written anew from there: the chain is whole, and another one.
my $other = Daa->start(config => $config, dir => $early);
work($other, 50, 'x');
$other->stop;
my $rewritten = verify($early, $file, '--key', $public);
is($rewritten->{verdict}, 'sound', 'a past that was written anew is sound in itself');
is($rewritten->{status}, 1, 'but not what was signed');
like($rewritten->{states}, qr/^holds( holds)*( changed)+$/, 'from where it differs') or diag explain $rewritten;

my $strange = Daa->start(config => $config);
work($strange, 40, 'a');
sign_now($strange);
my $elses = verify($strange->dir, $file, '--key', $public);
is($elses->{status}, 1, "another agent's log");
unlike($elses->{states}, qr/holds/, 'holds none of it');
$elses = verify($strange->dir, $file);
like($elses->{states}, qr/^strange( strange)*$/, 'nor did its key sign them');
$strange->stop;

my $forged = keep('forged', map { { %$_, signed_ns => $_->{signed_ns} + 1 } } @kept);
is(verify($dir, $forged)->{states}, join(' ', ('forged') x $count), 'an anchor that was changed since it was signed');
is(verify($dir, $forged)->{status}, 1, 'is worth nothing');
SKIP: {
    skip 'no openssl', 4 if !$openssl;
    my ($with) = grep { @{ $_->{segments} } } @kept;
    my $segment = $with->{segments}[0];
    my $wrong = Anchor::sign({ %$with, segments => [ { %$segment, merkle_root => '00' x 32 } ] }, "$dir/anchor.key");
    my $root = verify($dir, keep('root', $wrong));
    is($root->{status}, 1, 'another Merkle root of a segment');
    is($root->{states}, 'changed', 'is another history');
    is($root->{lines}[0]{segments_wrong}, 1, 'of one segment');
    $wrong = Anchor::sign({ %$with, seq => $with->{seq} - 1 }, "$dir/anchor.key");
    is(verify($dir, keep('seq', $wrong))->{states}, 'changed', 'and so is another head');
}

# Damage is named by itself; what was signed behind it still holds.
my $damaged = copy($dir, 'damaged');
my ($segment) = reverse sort glob "$damaged/log/seg-*.log";
my ($first) = sort glob "$damaged/log/seg-*.zlog";
open my $hole, '+<:raw', $first or die;
seek $hole, 9000, 0;
print $hole "\0" x 8;
close $hole;
my $broken = verify($damaged, $file);
is("$broken->{status} $broken->{verdict}", '1 damaged', 'a damaged log is damaged');
like($broken->{lines}[-1]{text}, qr/^but for what is damaged/, 'and what was signed holds but for that');

# A beginning that retention took.
my $late = copy($dir, 'late');
unlink((sort glob "$late/log/seg-*.zlog")[ 0 .. 1 ]);
my $removed = verify($late, $file);
like($removed->{states}, qr/^removed( removed)* holds( holds)*$/, 'anchors of a beginning that is gone cannot be checked, the others can') or diag explain $removed;

# A log without a chain.
my $unchained = Daa->start(config => "[log]\nchain = false\n");
work($unchained, 1, 'a');
$unchained->stop;
is((run_program(program('daa-log'), 'verify', $unchained->dir))[0], 0, 'a log without a chain is sound');
my ($status, $out) = run_program(program('daa-log'), 'verify', '--chain', $unchained->dir);
is($status, 1, 'but not for who says --chain');
like($out, qr/seg-0000000001\.log.*have no chain/, 'and the segments are named');
is((run_program(program('daa-log'), 'verify', '--chain', $dir))[0], 0, 'one with a chain is');

#--- Usage ------------------------------------------------------------------------------------------

sub refused { my (@arguments) = @_; my ($code, undef, $said) = run_program(program('daa-log'), 'verify', @arguments); return "$code $said" }
like(refused('--anchor', $file, '--no-chain', $dir), qr/^2 .*--no-chain leaves out what --anchor needs/, '--no-chain is no way to check');
like(refused('--key', $public, $dir), qr/^2 .*--key is of --anchor/, '--key alone says nothing');
like(refused('--anchor', '/nonexistent', $dir), qr/^2 .*cannot open \/nonexistent/, 'a file that is not there');
like(refused('--anchor', $file, '--key', $file, $dir), qr/^2 .*is no Ed25519 public key in PEM/, 'a key that is none');
spew($file, "nonsense\n");
like(refused('--anchor', $file, $dir), qr/^2 .*kept\.jsonl, line 1:/, 'a line that is no anchor');
spew($file, "\n");
like(refused('--anchor', $file, $dir), qr/^2 .*holds no anchor/, 'nothing in it');
like(refused('--anchor', 'http://127.0.0.1:1/', $dir), qr/^2 .*http:\/\/127\.0\.0\.1:1\/: /, 'nobody who answers');
done_testing;
