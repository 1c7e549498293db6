#!/usr/bin/perl
# The tool itself (t/bin/fault.c, t/lib/Fault.pm): what it counts, what it does, and that it finds a program
# that is not as careful as it should be.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(scratch run_program slurp spew);
use Errno ();
use Fault qw(fault_count);
use File::Path qw(remove_tree);
use Test::More;

my $dir = scratch() . '/d';
my $elsewhere = scratch() . '/elsewhere';

# Perl calls libc for each of these. It says what failed, and goes on.
my $changes = <<'PERL';
use strict; use Errno; use Fcntl;
my ($dir, $elsewhere) = @ARGV;
sub say_of { my ($what, $good) = @_; print "$what ", ($good ? $good : $!{ENOSPC} ? 'ENOSPC' : $!{EIO} ? 'EIO' : $!), "\n" }
$| = 1;
say_of('mkdir', mkdir "$dir/sub");
say_of('elsewhere', sysopen my $other, $elsewhere, O_CREAT | O_WRONLY);
syswrite $other, 'not counted';
say_of('open', sysopen my $out, "$dir/sub/a", O_CREAT | O_WRONLY);
say_of('write', $out && syswrite $out, 'x' x 3000) if defined fileno $out;
say_of('truncate', truncate $out, 10) if defined fileno $out;
say_of('rename', rename "$dir/sub/a", "$dir/b");
say_of('unlink', unlink "$dir/b");
say_of('child', !system 'touch', "$dir/child");
PERL

sub run_changes {
    my (%options) = @_;
    remove_tree($dir);
    mkdir $dir;
    my $fault = Fault->new(dir => $dir, %options);
    my ($status, $out, $err) = $fault->under(sub { run_program($^X, '-e', $changes, $dir, $elsewhere) });
    diag($err) if $err ne '';
    return { fault => $fault, status => $status, said => { map { split ' ', $_, 2 } split /\n/, $out } };
}

my $run = run_changes();
is_deeply([ map { "$_->{number} $_->{call} $_->{size} $_->{path}" } $run->{fault}->calls ],
    [ '1 mkdir 0 sub', '2 open 0 sub/a', '3 write 3000 sub/a', '4 ftruncate 10 sub/a', '5 rename 0 b', '6 unlink 0 b' ],
    'each change in the directory is counted, and none elsewhere or of a child');
ok(!defined $run->{fault}->fired, 'without a fault nothing is reported');
is($run->{said}{unlink}, 1, 'and nothing happens');

is_deeply([ map { $_->{call} } run_changes(match => 'sub/*')->{fault}->calls ], [qw(open write ftruncate rename)], 'a pattern chooses paths, those that names move from too');
my $arm = scratch() . '/arm';
is(scalar run_changes(arm => $arm)->{fault}->calls, 0, 'nothing counts before its time');
spew($arm, '');
is(scalar run_changes(arm => $arm)->{fault}->calls, 6, 'and all from then on');

for my $at (1 .. 6) {
    $run = run_changes(at => $at, do => 'kill');
    is($run->{status}, 128 + 9, "kill at $at: by a signal");
    is(scalar keys %{ $run->{said} }, $at - 1 + ($at > 1), '... before that call');
}
$run = run_changes(at => 1, do => 'kill-after');
ok($run->{status} == 137 && -d "$dir/sub", 'kill-after: the call is made');
$run = run_changes(at => 1, do => 'torn');
ok($run->{status} == 137 && -s "$dir/sub/a" == 1024, 'torn: the first write is done by half, in whole sectors');
$run = run_changes(at => 1, do => 'short');
is($run->{said}{write}, 1024, 'short: the program is told so');
is($run->{said}{unlink}, 1, '... and goes on');
$run = run_changes(at => 3, do => 'enospc');
is($run->{said}{write}, 'ENOSPC', 'enospc: at that call');
is($run->{said}{rename}, 1, '... and not at later ones');
is($run->{fault}->fired, 'enospc at call 3: write of 3000 bytes to sub/a', '... and is told in words');
$run = run_changes(at => 3, do => 'enospc-from');
is(join(' ', @{ $run->{said} }{qw(write truncate rename)}), 'ENOSPC ENOSPC ENOSPC', 'enospc-from: at all from then on');
ok(!-e "$dir/b" && -e "$dir/sub/a", '... which are not made');
$run = run_changes(at => 6, do => 'eio');
is($run->{said}{unlink}, 'EIO', 'eio: also where something is removed');
my ($status) = Fault->new(dir => $dir, do => 'what')->under(sub { run_program('/bin/true') });
is($status, 125, 'a word that it does not know is refused');

#--- Does it find anything? -----------------------------------------------------------------------

# Replaces "old" in a file by "new": over itself, or beside it and then by name.
my $replace = <<'PERL';
use Fcntl;
my ($file, $beside) = @ARGV;
my $to = $beside ? "$file.new" : $file;
sysopen my $out, $to, O_CREAT | O_WRONLY | O_TRUNC or exit 1;
syswrite($out, 'new' x 1000) == 3000 or exit 1;
exit 0 if !$beside;
rename $to, $file or exit 1;
PERL

sub replacing {
    my ($beside) = @_;
    return (
        name => 'replacing a file',
        dir => $dir,
        prepare => sub { remove_tree($dir); mkdir $dir; spew("$dir/f", 'old' x 1000) },
        run => sub { my ($fault) = @_; return ($fault->under(sub { run_program($^X, '-e', $replace, "$dir/f", $beside) }))[0] },
        check => sub {
            my ($status) = @_;
            my $now = slurp("$dir/f") // '';
            return 'it says that it did, and did not' if $status == 0 && $now ne 'new' x 1000;
            return $now =~ /^(?:(?:old){1000}|(?:new){1000})$/ ? undef : 'it is neither the old file nor the new one';
        },
    );
}

for my $case ([ 0, 2, 'a file that is written over itself' ], [ 1, 3, 'one that takes the place of another' ]) {
    my ($beside, $expected, $what) = @$case;
    my %test = replacing($beside);
    is(fault_count(%test), $expected, "$what: its calls");
    my @calls = Fault::count_calls(%test);
    for my $action (qw(kill kill-after torn short enospc eio)) {
        my (undef, undef, @tried) = Fault::try_action($action, \@calls, %test);
        my @wrong = grep { defined $_->[1] } @tried;
        ok($beside ? !@wrong : scalar @wrong, "$what: $action finds " . ($beside ? 'nothing' : 'it half done')) or diag(explain(\@tried));
    }
}

my @many = map { { number => $_, call => $_ % 2 ? 'write' : 'fsync', size => 10, path => "log/seg-$_" } } 1 .. 1000;
push @many, { number => 1001, call => 'unlink', size => 0, path => 'x' };
my @some = Fault::choose(20, @many);
ok(@some == 20 && join(' ', @some[ 0, 1, -1 ]) eq '1 2 1001', 'of many calls some are chosen, and the first and last of each kind are among them');
is(scalar Fault::choose(2000, @many), 1001, 'of few all');

done_testing();
