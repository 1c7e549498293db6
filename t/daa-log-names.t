#!/usr/bin/perl
# Logs with several names and versions: what daa-log says of them, and a reader written from the man
# page reads them; and a live directory that is copied with cp -r.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(wait_until scratch program slurp run_program);
use IO::Handle;
use IPC::Open2;
use JSON::PP ();
use LogReader;
use Test::More;

my $json = JSON::PP->new->utf8;
my $out = $ENV{OUT} // 'build/release';
my ($program, $maker) = (program('daa-log'), "$out/t/bin/make-log");
plan skip_all => 'daa-log is not built' if !-x $program || !-x $maker;

sub daa_log { return run_program($program, @_) }
sub lines { return map { $json->decode($_) } split /\n/, $_[0] }

sub stat_of {
    my ($dir) = @_;
    my ($status, $said, $complained) = daa_log('stat', '--json', $dir);
    is($status, 0, "$dir can be counted") or diag($complained);
    return (lines($said))[0] // {};
}

sub uuid { my ($bytes) = @_; return join '-', unpack 'H8 H4 H4 H4 H12', $bytes }
sub header { my ($dir, $number) = @_; my $path = sprintf '%s/seg-%010d.log', $dir, $number; return LogReader::segment_header($path, substr slurp($path), 0, 4096) }

# A writer under way, as in t/daa-log.t.
sub start_maker {
    my ($dir) = @_;
    my $pid = open2(my $from, my $to, $maker, $dir, 42);
    return { pid => $pid, from => $from, to => $to };
}
sub say_to { my ($writer, $line) = @_; $writer->{to}->print("$line\n"); $writer->{to}->flush; my ($seq) = readline($writer->{from}) =~ /(\d+)/; return $seq }
sub stop { my ($writer) = @_; close $writer->{to}; waitpid $writer->{pid}, 0; return $? }

subtest 'versions' => sub {
    my $stat = stat_of('t/golden/log-1.0');
    is("$stat->{format_min} $stat->{format_max} $stat->{event_schema}", '1.0 1.0 1', 'a log of format 1.0');
    is($stat->{log}, uuid(header('t/golden/log-1.0', 1)->{log_uuid}), 'with its name');
    is_deeply($stat->{forks}, [], 'and no other');
    $stat = stat_of('t/golden/log-1.1');
    is("$stat->{format_min} $stat->{format_max} $stat->{event_schema}", '1.1 1.1 3', 'one of format 1.1');
    my ($parent, $child) = map { uuid(header('t/golden/log-1.1', $_)->{log_uuid}) } 3, 4;
    is($stat->{log}, $child, 'has its newest name');
    is_deeply($stat->{forks}, [{ log => $child, parent => $parent, parent_seq => 20 }], 'and the one before it');
    my ($status, $said) = daa_log('stat', 't/golden/log-1.1');
    like($said, qr/^log +$child\nforked +from $parent behind event 20\nformat +1\.1, events of schema 3 at most$/m, 'which is said in words too');
    ($status, $said) = daa_log('cat', '--json', 't/golden/log-1.1');
    my @shown = lines($said);
    for my $dir ('t/golden/log-1.0', 't/golden/log-1.1') {
        my @records = eval { LogReader::read_log($dir) };
        is($@, '', "$dir is read by a reader that knows the man page alone");
        is(scalar @records, $dir =~ /1\.0/ ? 20 : 23, 'all of it');
    }
    my ($opened) = grep { $_->{seq} == 21 } @shown;
    is($opened->{payload}{parent} // $opened->{parent}, $parent, 'the event of the fork names its parent') or diag(explain($opened));
    # A fork goes on in its parent's directory: what came before it was there.
    my $copy = scratch() . '/lost';
    system('cp', '-r', 't/golden/log-1.1', $copy) == 0 or die;
    unlink map { sprintf '%s/seg-%010d.log', $copy, $_ } 1 .. 3;
    ($status, $said) = daa_log('verify', $copy);
    ok($status == 1 && $said =~ /the beginning is missing .* events 1 to 20/, 'a fork that lost the segments before it is damaged') or diag($said);
};

subtest 'a live directory, copied' => sub {
    my ($dir, $copy) = (scratch() . '/live', scratch() . '/copy');
    my $writer = start_maker($dir);
    my $last = say_to($writer, 'workflows 3');
    # Spares are made beside it; the copy is to be of files that stand still.
    ok(wait_until { my @files = glob "$dir/*"; !grep({ /\.tmp$/ } @files) && grep({ /seg-/ } @files) > 2 && -e "$dir/image" }, 'the writer rests');
    system('cp', '-r', $dir, $copy) == 0 or die;
    my ($status, $said) = daa_log('verify', '--json', $copy);
    my $result = (lines($said))[-1];
    ok($status == 0 && $result->{moved} && !$result->{live}, 'a whole copy is sound, and known for a copy') or diag($said);
    my $more = say_to($writer, 'workflows 3');
    ($status, $said) = daa_log('verify', '--json', $dir);
    ok($status == 0 && !(lines($said))[-1]{moved}, 'the log itself is where it was');
    is(stop($writer), 0, 'the writer stops');
    # As if cp had come to CHECKPOINT last.
    system('cp', "$dir/CHECKPOINT", "$copy/CHECKPOINT") == 0 or die;
    ($status, $said) = daa_log('verify', $copy);
    is($status, 3, 'a copy that misses events is unproven');
    like($said, qr/copy of a live log that misses events ${\($last + 1)} to \d+ .*daa-log backup.*daa-log restore/, 'and told from damage, with the way out');
};

sub id { my ($log, $stream) = @_; return 'wf-' . substr($log =~ tr/-//dr, 0, 16) . "-$stream" }

subtest 'ids of every name' => sub {
    my ($dir, $copy) = (scratch() . '/named', scratch() . '/forked/log');
    # Of segments of its own, so that they can be removed.
    my $make = sub {
        my ($in, @lines) = @_;
        my $pid = open2(my $from, my $to, $maker, $in);
        my @answers = map { $to->print("$_\n"); $to->flush; readline($from) =~ /(\d+)/ ? $1 : undef } @lines;
        close $to;
        waitpid $pid, 0;
        return @answers;
    };
    my ($old) = $make->($dir, 'open old');
    $make->($dir, 'open other');
    my @made = daa_log('backup', $dir, "$dir-backup");
    is("$made[0] $made[2]", '0 ', 'a backup');
    is((daa_log('restore', "$dir-backup", scratch() . '/forked'))[0], 0, 'is restored');
    my ($new) = $make->($copy, 'open new', "complete $old done");
    my ($first, $second) = map { stat_of($_)->{log} } $dir, $copy;
    isnt($first, $second, 'and has a name of its own');
    my $shown = sub { my ($status, $said) = daa_log('cat', '--json', '--stream', $_[0], $copy); return $status == 0 ? join ' ', map { $_->{kind} } lines($said) : $status };
    is($shown->(id($first, $old)), 'workflow.submitted workflow.started workflow.completed', 'a workflow from before the fork is found by its id, with what came behind');
    is($shown->(id($second, $new)), 'workflow.submitted workflow.started', 'so is one from behind it');
    is($shown->(id($second, $old)), 2, 'there is none of the new name from before the fork');
    is($shown->(id($first, $new)), 2, 'nor one of the old name from behind it');
    my (undef, undef, $said) = daa_log('cat', '--stream', id($first, $new), $copy);
    like($said, qr/'wf-\S+' is not a workflow of this log, nor of those that it was forked from/, 'and that is said');
    $make->($copy, 'remove 2');
    is(stat_of($copy)->{forks}[0]{parent}, $first, 'when the old segments are gone, the parent is still known');
    my ($status, undef, $warned) = daa_log('backup', $copy, scratch() . '/beheaded');
    ok($status == 0 && $warned =~ /holds no snapshot of what came before: alone it cannot be restored/, 'a backup of it says what it is worth') or diag($warned);
    is($shown->(id($first, $old)), 'workflow.completed', 'and ids are still those of the log that gave them');
};

done_testing;
