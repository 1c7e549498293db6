#!/usr/bin/perl
# daa-log prove: a proof of an event in a sealed segment, and of one in the newest, checked by the program and by
# Perl from what daa-log-format(5) says alone; nothing that is changed in one goes unseen.
use strict;
use warnings;
use lib 't/lib';
use Anchor;
use Daa qw(scratch run_program program slurp spew wait_until);
use Digest::SHA qw(sha256);
use JSON::PP ();
use LogReader;
use Test::More;

delete @ENV{qw(DAA_URL DAA_TOKEN_FILE)};
my $json = JSON::PP->new->utf8->canonical;
my $nap = { name => 'nap', steps => [ { id => 'a', sleep => '0s' } ] };
my $openssl = Anchor::have_openssl();
my $agent = Daa->start(config => "[log]\nsegment_size = \"256KB\"\n[anchor]\ninterval = \"1h\"\n");
my $dir = $agent->dir;

sub work {
    my ($count, $size) = @_;
    my $client = $agent->client;
    $client->request('POST', '/api/v1/workflows', { definition => $nap, input => 'x' x $size }) for 1 .. $count;
    wait_until(sub { my $status = $agent->get('/status')->{json}; !$status->{workflows}{unfinished} && !$status->{log}{unsealed} }) or die 'no end';
}
sub sign_now { return $agent->post('/api/v1/log:anchor', {}, $agent->as_admin)->{json} }
sub prove { return run_program(program('daa-log'), 'prove', @_) }
sub check { my ($proof, @options) = @_; my $path = scratch() . '/checked.json'; spew($path, ref $proof ? $json->encode($proof) : $proof); return run_program(program('daa-log'), 'prove', '--check', @options, $path) }
sub bytes { return pack 'H*', $_[0] }

# RFC 9162, section 2.1.3.2.
sub root_by_path {
    my ($leaf, $index, $count, @path) = @_;
    my ($fn, $sn, $r) = ($index, $count - 1, $leaf);
    for my $node (@path) {
        return '' if $sn == 0;
        if ($fn & 1 || $fn == $sn) {
            $r = sha256("\1", $node, $r);
            while (!($fn & 1) && $fn) { $fn >>= 1; $sn >>= 1 }
        } else {
            $r = sha256("\1", $r, $node);
        }
        $fn >>= 1;
        $sn >>= 1;
    }
    return $sn ? '' : $r;
}

# Every member of it, one character changed: how many of these are taken all the same.
sub taken {
    my ($proof, @members) = @_;
    my $taken = 0;
    for my $member (@members) {
        my $copy = $json->decode($json->encode($proof));
        my $at = \$copy;
        $at = ref $$at eq 'ARRAY' ? \$$at->[$_] : \$$at->{$_} for split /\./, $member;
        $$at = $$at =~ /^\d+$/ && length $$at < 20 ? $$at + 1 : $$at =~ s/^(.)/$1 eq '7' ? '8' : '7'/er;
        my ($status) = check($copy);
        diag("$member was taken") if $status == 0;
        $taken += $status == 0;
    }
    return $taken;
}

#--- Of a sealed segment ----------------------------------------------------------------------------

work(50, 12000);
sign_now();
my @records = LogReader::read_log("$dir/log");
my ($root) = map { @{ $_->{segments} } } reverse @{ $agent->get('/api/v1/log/anchors')->{json}{items} };
my $seq = $root->{first_seq} + 17;
my $path = scratch() . '/proof.json';
my ($status, $out, $said) = prove($seq, $dir, '-o', $path);
is($status, 0, 'an event of a sealed segment is proven, beside the running agent') or diag $said;
my $proof = $json->decode(slurp($path));
is($proof->{proof}, 'merkle', 'by its path to the Merkle root');
cmp_ok(length slurp($path), '<', 16384, 'in a few KB');
my ($record) = grep { $_->{seq} == $seq } @records;
is(sha256("\0", bytes($proof->{record})), $record->{leaf}, 'Perl: its record is the one that the reader of the page finds');
my $segment = $proof->{segment};
is(root_by_path($record->{leaf}, $seq - $segment->{first_seq}, $segment->{last_seq} + 1 - $segment->{first_seq}, map { bytes($_) } @{ $proof->{path} }),
    bytes($segment->{merkle_root}), 'Perl: the path leads to the root');
is_deeply([ grep { $_->{segment_no} == $segment->{segment_no} } @{ $proof->{anchor}{segments} } ], [$segment], 'Perl: which the anchor has');
SKIP: {
    skip 'no openssl', 1 if !$openssl;
    ok(Anchor::signed_by($proof->{anchor}, "$dir/anchor.pub"), 'openssl: and the key beside the log signed');
}
($status, $out) = check($proof, '--key', "$dir/anchor.pub");
is($status, 0, 'daa-log checks it without the log');
like($out, qr/^event $seq was in log $proof->{anchor}{log}, as it is here, when its head was signed at 2\S+, signed by the key in \S+anchor\.pub\n/, 'and says what it shows');
($status, $out) = check($proof, '--json');
is($json->decode($out)->{seq}, $seq, 'and shows the event');
(undef, $out) = check($proof);
like($out, qr/nobody says whose it is/, 'without a key it says that it knows of none');
is(taken($proof, qw(seq record path.0 path.1 segment.segment_no segment.first_seq segment.last_seq segment.merkle_root proof version
    anchor.log anchor.seq anchor.chain anchor.signed_ns anchor.previous anchor.segments.0.merkle_root anchor.public_key anchor.signature)), 0, 'nothing in it can be changed');
is((check({ %$proof, path => [ @{ $proof->{path} }[ 1 .. $#{ $proof->{path} } ] ] }))[0], 1, 'or left out');

#--- Of the newest ----------------------------------------------------------------------------------

work(2, 100);
my $newest = $agent->get('/status')->{json}{log}{durable_seq};
($status, undef, $said) = prove($newest, $dir);
is($status, 1, 'what was not signed yet is not proven');
like($said, qr/no head of the log was signed since event $newest: daa-cli log anchor signs one/, 'and that is said');
my $before = $newest - 3;
work(2, 100);
my $anchor = sign_now();
($status, $out, $said) = prove($before, "$dir/log");
is($status, 0, 'an event of the newest segment is, once a head behind it was') or diag $said;
$proof = $json->decode($out);
is($proof->{proof}, 'chain', 'by the chain');
is_deeply($proof->{anchor}, $anchor, 'up to the signed head');
my $frame = bytes($proof->{frame});
my $chain = sha256(bytes($proof->{before}), substr($frame, 8, 88), sha256(substr $frame, 128));
$chain = sha256($chain, bytes($_->{header}), bytes($_->{body})) for @{ $proof->{links} };
is(unpack('H*', $chain), $anchor->{chain}, 'Perl: its frames lead to the chain that was signed');
($record) = grep { $_->{seq} == $before } LogReader::read_log("$dir/log");
isnt(index($frame, $record->{payload}), -1, 'Perl: and the first holds the event');
is((check($proof, '--key', "$dir/anchor.pub"))[0], 0, 'daa-log checks it');
is(taken($proof, qw(before frame links.0.header links.0.body anchor.seq anchor.chain anchor.signature anchor.public_key)), 0, 'nothing in it can be changed');
is((check({ %$proof, links => [ @{ $proof->{links} }[ 1 .. $#{ $proof->{links} } ] ] }))[0], 1, 'or left out');
is((check({ %$proof, seq => 1 }))[0], 1, 'it proves no other event');

#--- What is refused --------------------------------------------------------------------------------

my $other = Daa->start(config => "[anchor]\ninterval = \"1h\"\n");
like((check($proof, '--key', $other->dir . '/anchor.pub'))[2], qr/another key signed it/, 'nor to who trusts another key');
$other->stop;
like((prove(99_999_999, $dir))[2], qr/does not hold event 99999999/, 'an event that is not there');
is((prove('x', $dir))[0], 2, 'a number that is none');
is((prove('--check', $path, $dir))[0], 2, 'two files to check');
like((check('[]'))[2], qr/it is no proof/, 'something else');
like((check('{'))[2], qr/it is no proof/, 'or nothing whole');
$agent->stop;
my ($file) = sort glob "$dir/log/seg-*.zlog";
open my $hole, '+<:raw', $file or die;
seek $hole, 9000, 0;
print $hole "\0" x 8;
close $hole;
($status, undef, $said) = prove($seq, $dir);
is($status, 1, 'of a damaged segment nothing is proven');
($status, undef, $said) = run_program(program('daa-log'), 'prove', '--check', $dir);
ok($status == 1 && $said eq "daa-log prove: cannot read $dir: Is a directory\n", 'a directory is no proof') or diag($said);
done_testing;
