#!/usr/bin/perl
# Many large definitions: those that no workflow uses give way, so that work is taken for ever.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(wait_until);
use Test::More;

my $count = 90;    # of 0.9 MB each, with 64 MB
my $agent = Daa->start(config => "[memory]\nmax_heap_size = \"64MB\"\n[log]\nsegment_size = \"4MB\"\n");

# The same steps, but another definition each time; the space makes it large.
sub submission {
    my ($number) = @_;
    return qq({"definition": {"name": "large-$number",) . ' ' x 900_000 . '"steps": [{"id": "a", "sleep": "0s"}]}}';
}

# Refusals while documents are on their way to LMDB are fine, as long as they end.
sub submit {
    my ($number) = @_;
    my $answer;
    wait_until(sub { $answer = $agent->post('/api/v1/workflows', submission($number)); $answer->{status} != 429 }, 20);
    return $answer;
}

my @ids;
for my $number (1 .. $count) {
    my $answer = submit($number);
    $answer->{status} == 202 or diag("number $number: $answer->{body}"), last;
    push @ids, $answer->{json}{id};
}
is(scalar @ids, $count, "$count large definitions are taken, one after the other");
is(scalar(grep { $agent->get("/api/v1/workflows/$_?wait=30s")->{json}{status} eq 'completed' } @ids), scalar @ids, 'and their workflows complete');
cmp_ok($agent->get('/status')->{json}{workflows}{definitions}, '<', $count, 'not all of them stay in memory');
is(submit(1)->{status}, 202, 'the first may be used again');
is($agent->stop, 0, 'the agent ends in order');
done_testing();
