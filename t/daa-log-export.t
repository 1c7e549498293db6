#!/usr/bin/perl
# daa-log export: JSON lines and CSV held against cat, files that are whole or not there, going on.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(program scratch slurp spew run_program);
use Digest::SHA qw(sha256_hex);
use JSON::PP ();
use LogMaker qw(daa_log lines make_log copy_of patch flip need_log_tools start_maker say_to stop);
use Test::More;

need_log_tools();

my $json = JSON::PP->new->utf8->canonical;
my $dir = make_log('log', 'workflows 60', 'parked', 'awkward', 'fill 2 5000', 'workflows 20');
my $cat = (daa_log('cat', '--json', $dir))[1];
my @events = lines($cat);
my $last = $events[-1]{seq};
my @columns = qw(seq time stream kind cause actor_type actor_id request_id traceparent withheld payload);

# RFC 4180, by its grammar.
sub csv {
    my ($text) = @_;
    my (@rows, @row);
    while ($text =~ /\G(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n|\z)/gc) {
        my ($field, $end) = ($1 // $2, $3);
        $field =~ s/""/"/g if defined $1;
        push @row, $field;
        push @rows, [splice @row] if $end eq "\r\n";
        last if $end eq '';
    }
    die 'not CSV at ' . pos $text if pos $text != length $text || @row > 1;
    return @rows;
}

subtest 'JSON lines' => sub {
    my ($status, $said, $complained) = daa_log('export', $dir);
    is($status, 0, 'export is good');
    ok($said eq $cat, 'and the same as cat --json');
    is($complained, "daa-log export: @{[scalar @events]} events, the last is $last; to go on: --from @{[$last + 1]}\n", 'it says how many and how to go on');
    ($status, $said) = daa_log('export', '--no-payload', $dir);
    my @bare = map { my %event = %$_; delete $event{payload}; $json->encode(\%event) } @events;
    is_deeply([map { $json->encode($_) } lines($said)], \@bare, 'without payloads all else is there');
};

subtest 'nothing new' => sub {
    my $next = $last + 1;
    my ($status, $said, $complained) = daa_log('export', '--from', $next, $dir);
    is_deeply([$status, $said, $complained], [0, '', "daa-log export: 0 events; to go on: --from $next\n"], 'the next one goes on at the same place');
};

subtest 'a damaged beginning' => sub {
    my $log = copy_of($dir, 'no-beginning');
    patch("$log/seg-0000000001.log", 4096 + 200, 'x' x 50);
    for my $command ('cat', 'export') {
        my ($status, $said, $complained) = daa_log($command, '--json', ($command eq 'export' ? ('-o', scratch() . '/beginning') : ()), $log);
        ok($status == 1 && $complained =~ /events 1 to \d+ are damaged and left out/, "$command tells of it") or diag "$status $complained";
    }
};

subtest 'CSV' => sub {
    my ($status, $said) = daa_log('export', '--format', 'csv', $dir);
    my ($header, @rows) = csv($said);
    is_deeply($header, \@columns, 'the names of the columns come first');
    is(scalar @rows, scalar @events, 'and a row for each event');
    my $wrong = 0;
    for my $i (0 .. $#rows) {
        my $event = $events[$i];
        my %got;
        @got{@columns} = @{ $rows[$i] };
        my %want = (%$event, cause => $event->{cause} // '', actor_type => $event->{actor} ? $event->{actor}{type} : '',
            actor_id => $event->{actor} ? $event->{actor}{id} : '', withheld => '', map { $_ => $event->{$_} // '' } qw(request_id traceparent));
        utf8::encode($want{$_}) for qw(actor_id request_id traceparent);
        $got{payload} = $json->encode($json->decode($got{payload}));
        $want{payload} = $json->encode($event->{payload});
        next if !grep { $got{$_} ne $want{$_} } @columns;
        diag("event $event->{seq}: " . $json->encode(\%got)) if !$wrong++;
    }
    is($wrong, 0, 'each with what cat shows');
    ($header, @rows) = csv((daa_log('export', '--format', 'csv', '--no-payload', $dir))[1]);
    is(scalar(grep { @$_ != @columns - 2 } $header, @rows), 0, 'payloads can be left out, and what is said of them');
    ($header, @rows) = csv((daa_log('export', '--format=csv', '-k', 'step.*', '--from', 10, '--to', 60, $dir))[1]);
    is_deeply([map { $_->[0] } @rows], [map { $_->{seq} } grep { $_->{kind} =~ /^step\./ && $_->{seq} >= 10 && $_->{seq} <= 60 } @events], 'filters hold');
    is((daa_log('export', '--format', 'xml', $dir))[0], 2, 'another format is wrong usage');
};

subtest 'records' => sub {
    my ($status, $said) = daa_log('export', '--format', 'records', $dir);
    is($status, 0, 'the export is good');
    my @records = lines($said);
    is_deeply([map { [@$_{qw(seq time kind)}] } @records], [map { [@$_{qw(seq time kind)}] } @events], 'each event has its line');
    is(scalar(grep { join(' ', sort keys %$_) ne 'kind log record seq time' } @records), 0, 'with the members that are documented');
    my ($name) = map { $_->{log} } lines((daa_log('stat', '--json', $dir))[1]);
    is(scalar(grep { $_->{log} ne $name } @records), 0, 'under the name of the log');
    my %of = map { $_ => sha256_hex(pack 'H*', $records[$_ - 1]{record}) } 1 .. @records;
    my @listed = map { [split] } split /\n/, (run_program(LogMaker::maker(), $dir, 'list'))[1];
    is_deeply({ map { @$_ } @listed }, \%of, 'and the bytes are those in the segments');
    ($status, undef, my $complained) = daa_log('export', '--format', 'records', '--no-payload', $dir);
    ok($status == 2 && $complained =~ /a record's bytes hold its payload/, 'it has no --no-payload');
};

subtest 'a file' => sub {
    my $file = scratch() . '/out.jsonl';
    spew($file, 'old');
    my ($status, $said, $complained) = daa_log('export', '-o', $file, '--json', $dir);
    is_deeply([$status, $complained, lines($said)], [0, '', { events => scalar @events, last_seq => $last, next_seq => $last + 1, withheld => 0 }], 'is written, and the result told');
    ok(slurp($file) eq $cat, 'it holds the events');
    ok(!-e "$file.part", 'nothing else is left');
    is((stat $file)[2] & 0777, 0600, 'it is for its owner alone');
    my ($one, $two) = map { scratch() . "/$_" } qw(one two);
    daa_log('export', '-o', $one, '-n', 100, $dir);
    my ($next) = (daa_log('export', '-o', $one, '-n', 100, $dir))[2] =~ /--from (\d+)/;
    daa_log('export', '-o', $two, '--from', $next, $dir);
    ok(slurp($one) . slurp($two) eq $cat, 'two in a row are the same as one');
    spew($file, 'old');
    my ($bad, undef, $why) = run_program('/bin/sh', '-c', "ulimit -f 8; exec @{[program('daa-log')]} export -o $file $dir");
    ok($bad == 1 && $why =~ /cannot (?:be )?writ/, 'when there is no room it says so') or diag($why);
    is(slurp($file), 'old', 'what was there is there still');
    ok(!-e "$file.part", 'and the part is gone');
    ($bad, undef, $why) = daa_log('export', '-o', scratch() . '/no/such/file', $dir);
    ok($bad == 1 && $why =~ /cannot write .*no\/such\/file\.part/, 'a place that is not there is named');
    ($bad, undef, $why) = daa_log('export', '-o', $file, scratch() . '/nowhere');
    ok($bad == 1 && !-e "$file.part" && slurp($file) eq 'old', 'without a log no file is made');
    ($bad, undef, $why) = daa_log('export', '-o', scratch(), $dir);
    ok($bad == 1 && $why =~ /cannot write \S+: it is a directory: name a file in it/ && !-e scratch() . '.part', 'nor is a directory written to');
    is((daa_log('export', '--json', $dir))[0], 2, '--json without a file is wrong usage');
};

subtest 'live and damaged' => sub {
    my $live = scratch() . '/live';
    my $writer = start_maker($live);
    my $seq = say_to($writer, 'workflows 20');
    my ($status, $said) = daa_log('export', $live);
    is((lines($said))[-1]{seq}, $seq, 'beside a writer, up to what is durable');
    stop($writer);
    my $copy = copy_of($dir, 'damaged');
    flip("$copy/seg-0000000001.log", 8192 + 300, 2);
    my $file = scratch() . '/damaged.csv';
    ($status, undef, my $complained) = daa_log('export', '--format', 'csv', '-o', $file, $copy);
    ok($status == 1 && $complained =~ /are damaged and left out/, 'damage is named');
    my ($header, @rows) = csv(slurp($file));
    ok(@rows > 0 && @rows < @events && $rows[-1][0] == $last, 'and what is whole is exported');
};

done_testing();
