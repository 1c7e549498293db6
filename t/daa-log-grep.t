#!/usr/bin/perl
# daa-log grep: held against a search in what cat prints.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(scratch slurp);
use LogMaker qw(daa_log lines make_log copy_of flip need_log_tools);
use Test::More;

need_log_tools();

my $dir = make_log('log', 'workflows 60', 'parked', 'awkward', 'open special-name', 'workflows 20');
my @lines = split /\n/, (daa_log('cat', '--json', $dir))[1];
my %seq_of = map { $_ => /"seq":(\d+)/ } @lines;

sub seqs { my ($status, $said, $complained) = daa_log('grep', '--json', @_, $dir); diag($complained) if $complained; return [map { $_->{seq} } lines($said)] }
sub want { my ($sub) = @_; return [map { $seq_of{$_} } grep { $sub->() } @lines] }

subtest 'patterns' => sub {
    is_deeply(seqs('workflow\.(paused|resumed)'), want(sub { /workflow\.(paused|resumed)/ }), 'an extended regular expression');
    is_deeply(seqs('-F', 'workflow.(paused'), [], 'with -F it is text');
    is_deeply(seqs('-F', '"kind":"workflow.paused"'), want(sub { index($_, '"kind":"workflow.paused"') >= 0 }), 'which is found');
    is_deeply(seqs('-i', 'SPECIAL-NAME'), want(sub { /special-name/i }), '-i ignores case');
    is_deeply(seqs('-Fi', 'SPECIAL-NAME'), want(sub { /special-name/i }), 'in text too');
    is_deeply(seqs('-v', 'workflow'), want(sub { !/workflow/ }), '-v inverts');
    is_deeply(seqs('-m', 3, 'workflow'), [@{ want(sub { /workflow/ }) }[0 .. 2]], '-m stops');
    is_deeply(seqs('-k', 'workflow.*', '--from', 20, '--to', 40, 'started'),
        [grep { $_ >= 20 && $_ <= 40 } @{ want(sub { /"workflow\.[^"]*"/ && /started/ }) }], 'with filters');
    my ($status, $said) = daa_log('grep', '-c', 'workflow', $dir);
    is($said + 0, scalar @{ want(sub { /workflow/ }) }, '-c counts');
    ($status, $said) = daa_log('grep', 'special-name', $dir);
    ok($status == 0 && $said =~ /^ +\d+  \S+ \S+ .*workflow\.submitted.*special-name.*\n\z/m, 'text is as cat prints it') or diag($said);
};

subtest 'context' => sub {
    my ($hit) = @{ want(sub { /special-name/ }) };
    is_deeply(seqs('-A', 2, 'special-name'), [$hit .. $hit + 2], 'events behind');
    is_deeply(seqs('-B', 3, 'special-name'), [$hit - 3 .. $hit], 'events before');
    is_deeply(seqs('-C', 2, 'special-name'), [$hit - 2 .. $hit + 2], 'both');
    my @paused = @{ want(sub { /workflow\.paused/ }) };
    my %near = map { $_ => 1 } map { $_ - 4 .. $_ + 4 } @paused;
    is_deeply(seqs('-C', 4, 'workflow\.paused'), [grep { $near{$_} } map { $seq_of{$_} } @lines], 'where they overlap each is shown once');
    my ($status, $said) = daa_log('grep', '-B', 1, '-k', 'workflow.submitted', 'special-name', $dir);
    is(scalar(() = $said =~ /workflow\.submitted/g), 2, 'context is of what passes the filters');
    ($status, $said) = daa_log('grep', '-C', 1, '"seq":(5|20),', $dir);
    is_deeply([map { /^--$/ ? '--' : /^ *(\d+)/ } split /\n/, $said], [4, 5, 6, '--', 19, 20, 21], 'a line separates groups');
};

subtest 'exit status' => sub {
    my ($status, $said, $complained) = daa_log('grep', 'no such thing', $dir);
    is_deeply([$status, $said, $complained], [1, '', ''], 'no match is 1');
    ($status, $said, $complained) = daa_log('grep', '(', $dir);
    ok($status == 2 && $complained =~ /'\(' is not a regular expression: /, 'a bad pattern is wrong usage');
    ($status, $said, $complained) = daa_log('grep', '-F', '(', $dir);
    isnt($status, 2, 'but not as text');
    is((daa_log('grep', $dir))[0], 2, 'a pattern is needed');
    my $copy = copy_of($dir, 'damaged');
    flip("$copy/seg-0000000001.log", 8192 + 300, 2);
    ($status, $said, $complained) = daa_log('grep', 'workflow', $copy);
    ok($status == 1 && $complained =~ /are damaged and left out/, 'damage is named');
};

done_testing();
