# What the tests of daa-log's commands share: logs that the real writer makes, copies of them, and damage.
#
#   my $dir = make_log('whole', 'workflows 300', 'parked');    # in the scratch directory
#   my ($status, $said, $complained) = daa_log('cat', '--json', $dir);
#   patch(copy_of($dir, 'damaged') . '/seg-0000000001.log', 8192, "\xff");
package LogMaker;
use strict;
use warnings;
use Daa qw(scratch program run_program slurp);
use Exporter 'import';
use IO::Handle;
use IPC::Open2;
use JSON::PP ();

our @EXPORT_OK = qw(daa_log lines start_maker say_to stop make_log copy_of patch flip need_log_tools);
my $json = JSON::PP->new->utf8;

sub maker { return ($ENV{OUT} // 'build/release') . '/t/bin/make-log' }

# Skips the test where there is nothing to test.
sub need_log_tools { Test::More::plan(skip_all => 'daa-log is not built') if !-x program('daa-log') || !-x maker() }

sub daa_log { return run_program(program('daa-log'), @_) }
sub lines { return map { $json->decode($_) } split /\n/, $_[0] }

# A writer under way: tell it something, and it answers when that is durable.
sub start_maker {
    my ($dir, @more) = @_;
    my $pid = open2(my $from, my $to, maker(), $dir, @more);
    return { pid => $pid, from => $from, to => $to };
}
sub say_to { my ($writer, $line) = @_; $writer->{to}->print("$line\n"); $writer->{to}->flush; my ($seq) = readline($writer->{from}) =~ /(\d+)/; return $seq }
sub stop { my ($writer) = @_; close $writer->{to}; waitpid $writer->{pid}, 0; return $? }

sub make_log {
    my ($name, @commands) = @_;
    my $dir = scratch() . "/$name";
    my $writer = start_maker($dir, 42);
    say_to($writer, $_) for @commands;
    stop($writer);
    return $dir;
}

# As if it stood where it was written; for copies that are known for copies see t/daa-log-names.t.
sub copy_of {
    my ($dir, $name) = @_;
    my $copy = scratch() . "/$name";
    system('cp', '-r', $dir, $copy) == 0 or die;
    unlink "$copy/PLACE";
    return $copy;
}

sub patch {
    my ($path, $offset, $bytes) = @_;
    open my $file, '+<:raw', $path or die "$path: $!";
    seek $file, $offset, 0;
    print $file $bytes;
    close $file or die "$path: $!";
}

# Flips one bit of a file.
sub flip {
    my ($path, $offset, $bit) = @_;
    patch($path, $offset, substr(slurp($path), $offset, 1) ^ chr(1 << $bit));
}

1;
