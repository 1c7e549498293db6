#!/usr/bin/perl
# daa-log: times in words, local and with a zone, and the pager on a terminal.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(scratch program slurp spew run_program);
use IPC::Open2;
use JSON::PP ();
use Test::More;

my $json = JSON::PP->new->utf8;
my $out = $ENV{OUT} // 'build/release';
my ($program, $maker) = (program('daa-log'), "$out/t/bin/make-log");
plan skip_all => 'daa-log is not built' if !-x $program || !-x $maker;

my $dir = scratch() . '/log';
{
    my $pid = open2(my $from, my $to, $maker, $dir, 42);
    print $to "workflows 40\n";
    close $to;
    () = <$from>;
    waitpid $pid, 0;
}

sub daa_log { return run_program($program, @_) }
sub seqs { my (@more) = @_; my ($status, $said, $complained) = daa_log('cat', '--json', @more, $dir); diag($complained) if $status; return [map { $json->decode($_)->{seq} } split /\n/, $said] }

my @events = map { $json->decode($_) } split /\n/, (daa_log('cat', '--json', $dir))[1];
my $last = $events[-1]{seq};

subtest 'times' => sub {
    my ($day, $time) = $events[9]{time} =~ /^([\d-]+)T([\d:.]+)Z$/;
    my @behind = map { $_->{seq} } grep { $_->{time} ge $events[9]{time} } @events;
    is_deeply(seqs('--since', "${day}T${time}Z"), \@behind, 'RFC 3339 in UTC');
    local $ENV{TZ} = 'UTC';
    is_deeply(seqs('--since', "$day $time"), \@behind, 'a day and a time without a zone, where local time is UTC');
    $ENV{TZ} = 'AHEAD-01:00';
    my @local = gmtime(3600 + do { require Time::Local; my @at = "$day $time" =~ /(\d+)-(\d+)-(\d+) (\d+):(\d+):(\d+)/; Time::Local::timegm(@at[5, 4, 3, 2], $at[1] - 1, $at[0]) });
    my ($fraction) = $time =~ /(\.\d+)/;
    is_deeply(seqs('--since', sprintf '%04d-%02d-%02d %02d:%02d:%02d%s', $local[5] + 1900, $local[4] + 1, @local[3, 2, 1, 0], $fraction),
        \@behind, 'local time is that of TZ');
    is_deeply(seqs('--since', "${day}T${time}Z"), \@behind, 'Z is UTC also there');
    is_deeply(seqs('--until', '1 hour ago', '-n', 2), [grep { $_ <= 2 } map { $_->{seq} } @events], 'words count from now: all is older')
        if $events[-1]{time} lt '2026';
    for my $text ('10 min ago', '2 hours ago', 'yesterday', 'today', 'today 14:00', 'now', '-1d', '2026-11-26 10:00') {
        my ($status, $said, $complained) = daa_log('cat', '--since', $text, $dir);
        is($status, 0, "'$text' is a time") or diag($complained);
    }
    for my $command (['cat'], ['tail']) {
        my ($status, $said, $complained) = daa_log(@$command, '--since', 'whenever', $dir);
        ok($status == 2 && $complained =~ /'whenever' is not a time: write .*'10 min ago'/, "@$command names the words that it knows");
    }
    my ($status, $said, $complained) = daa_log('replay', '--until', 'whenever', '-o', scratch() . '/state', $dir);
    ok($status == 1 && $complained =~ /'whenever' is not a time/, 'so does replay');
};

# What a person at a terminal sees; the pager is ours and says so.
subtest 'a terminal' => sub {
    my $script = (grep { -x "$_/script" } split /:/, $ENV{PATH})[0];
    plan skip_all => 'script is not there to give a terminal' if !defined $script;
    local $ENV{TERM} = 'xterm';
    delete local $ENV{NO_COLOR};
    my $pager = scratch() . '/pager';
    spew($pager, "#!/bin/sh\necho PAGED\ncat\n");
    chmod 0755, $pager;
    local $ENV{PAGER} = $pager;
    my $shown = sub {
        my ($command) = @_;
        my ($status, $said) = run_program('script', '-qec', "$program $command", '/dev/null');
        return $said =~ s/\r//gr;
    };
    my $said = $shown->("cat -n 3 $dir");
    like($said, qr/^PAGED\n/, 'long output goes through the pager');
    like($said, qr/\033\[1m/, 'with colour');
    is(scalar(() = $said =~ /storage\.opened/g), 1, 'and each event once');
    unlike($shown->("cat --no-pager -n 3 $dir"), qr/PAGED/, 'but not with --no-pager');
    unlike($shown->("--no-pager cat -n 3 $dir"), qr/PAGED/, 'before the command too');
    unlike($shown->("cat --json -n 3 $dir"), qr/PAGED/, 'nor as JSON');
    $ENV{NO_COLOR} = 1;
    unlike($shown->("cat -n 3 $dir"), qr/\033\[/, 'NO_COLOR is honoured');
    $ENV{PAGER} = '';
    unlike($shown->("cat -n 3 $dir"), qr/PAGED/, 'an empty PAGER is none');
    delete $ENV{NO_COLOR};
    $ENV{PAGER} = $pager;
    unlike((daa_log('cat', '-n', 3, $dir))[1], qr/PAGED|\033/, 'what is no terminal gets neither pager nor colour');
};

done_testing();
