#!/usr/bin/perl
# The agent that serves searches, and workflows that have left its state, from a real PostgreSQL: copied, behind,
# killed, silent, back again; pages while others write; values that try to be more than values.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(wait_until scratch program run_program);
use IO::Select;
use IO::Socket::UNIX;
use JSON::PP ();
use PgServer;
use POSIX ();
use Test::More;

plan skip_all => PgServer->missing if PgServer->missing;
delete @ENV{grep { /^PG|^DAA_/ } keys %ENV};

my $workflows = '/api/v1/workflows';
my $nap = { name => 'nap', steps => [{ id => 'a', sleep => '0s' }] };
my $waits = { name => 'waits', steps => [{ id => 'a', signal => { name => 'go' } }] };
my $server = PgServer->new;
my $databases = 0;

sub database { my $name = 'd' . ++$databases; return $server->create_database($name) }

sub config {
    my ($url, %more) = @_;
    my $database = join '', map { "$_ = $more{$_}\n" } grep { $_ ne 'rest' } sort keys %more;
    return "[database]\nurl = \"$url\"\n$database" . ($more{rest} // '');
}

# Submits a workflow, which is done when this returns if it has no definition of its own; the id.
sub submit {
    my ($agent, $metadata, $definition) = @_;
    my $path = $definition ? $workflows : "$workflows?wait=20s";
    my $answer = $agent->post($path, { definition => $definition // $nap, metadata => $metadata // {} });
    return $answer->{json}{id} // die "not accepted: $answer->{body}";
}

sub copy {
    my ($agent, $url) = @_;
    my ($status, undef, $err) = run_program(program('daa-pgsync'), '--data-dir', $agent->dir, '--url', $url, '--once');
    return $status == 0 || die "daa-pgsync: $err";
}

sub escape { my ($text) = @_; utf8::encode($text) if utf8::is_utf8($text); $text =~ s/([^A-Za-z0-9_.~-])/sprintf '%%%02X', ord $1/ge; return $text }
sub query { my (%filters) = @_; return $workflows . '?' . join '&', map { escape($_) . '=' . escape($filters{$_}) } sort keys %filters }
sub search { my ($agent, %filters) = @_; return $agent->get(query(%filters)) }
sub ids { my ($answer) = @_; return [map { $_->{id} } @{ $answer->{json}{items} // [] }] }
sub searched { my ($agent) = @_; return $agent->get('/status')->{json}{database} }
sub signal_server { my ($signal) = @_; kill $signal, $server->{pid}, $server->children }

# The body of an answer as it comes.
sub raw_get {
    my ($agent, $path) = @_;
    my $client = $agent->client;
    $client->send("GET $path HTTP/1.1\r\nHost: localhost\r\n\r\n");
    while ($client->{buffer} !~ /\r\n\r\n/) { $client->fill or die 'no answer' }
    my ($head) = $client->{buffer} =~ /^(.*?\r\n\r\n)/s;
    my ($size) = $head =~ /^Content-Length: (\d+)/mi;
    while (length $client->{buffer} < length($head) + $size) { $client->fill or die 'half an answer' }
    return substr $client->{buffer}, length $head;
}

# A problem that says what to do.
sub is_problem {
    my ($answer, $status, $code, $name) = @_;
    is($answer->{status}, $status, "$name: $status") or diag($answer->{body});
    is($answer->{json}{code}, $code, "$name: $code");
    like($answer->{headers}{'content-type'}, qr/problem\+json/, "$name: as a problem");
    is(defined $answer->{headers}{'retry-after'}, $status == 503, "$name: and when to ask again");
    return;
}

my $url = database();
my $agent = Daa->start(config => config($url));
my $without = Daa->start;

subtest 'without Postgres, and before a copy' => sub {
    my $id = submit($without, { team => 'blue' });
    submit($without, { team => 'red' });
    my $answer = search($without, 'metadata.team' => 'blue');
    is_deeply(ids($answer), [$id], 'without a database the documents are searched');
    is($answer->{json}{source}, 'local', 'which is said');
    is($answer->{json}{why}, undef, 'as a matter of course');
    is_problem(search($without, source => 'postgres'), 400, 'no-postgres', 'asking for Postgres');
    is($without->get('/status')->{json}{database}{configured}, JSON::PP::false(), '/status says that there is none');

    $id = submit($agent, { team => 'blue' });
    $answer = search($agent, 'metadata.team' => 'blue');
    is($answer->{json}{source}, 'local', 'before the first copy the documents are searched too');
    is_deeply(ids($answer), [$id], 'with what they have');
    like($answer->{json}{why}, qr/daa-pgsync/, 'and it is said why, and what to do');
    is_problem(search($agent, source => 'postgres'), 503, 'search-unavailable', 'Postgres before a copy');
    copy($agent, $url);
    $answer = search($agent, 'metadata.team' => 'blue');
    is($answer->{json}{source}, 'postgres', 'after it Postgres is');
    is_deeply(ids($answer), [$id], 'and has the same');
};

subtest 'how far the copy is' => sub {
    my $id = submit($agent, { copied => 'yes' });
    copy($agent, $url);
    my $answer = search($agent, 'metadata.copied' => 'yes');
    my $durable = $agent->get('/status')->{json}{log}{durable_seq};
    is($answer->{json}{copied_seq}, $durable, 'right after a copy it is complete');
    is($answer->{json}{durable_seq}, $durable, 'beside the end of the log');
    is($answer->{headers}{'x-log-seq'}, $durable, 'X-Log-Seq says it too');
    my ($item) = @{ $answer->{json}{items} };
    my ($local) = @{ search($agent, 'metadata.copied' => 'yes', source => 'local')->{json}{items} };
    is_deeply([sort keys %$item], [sort keys %$local], 'a workflow has the same members from both sources');
    for my $member (sort keys %$local) {
        my $want = $member =~ /^(?:submitted|started|ended)$/ ? $local->{$member} =~ s/\d{3}Z$/000Z/r : $local->{$member};
        is_deeply($item->{$member}, $want, "the same $member, times to the microsecond");
    }
    my $more = submit($agent, { copied => 'yes' });
    $answer = search($agent, 'metadata.copied' => 'yes');
    is_deeply(ids($answer), [$id], 'what came after the copy is not found');
    cmp_ok($answer->{json}{copied_seq}, '<', $answer->{json}{durable_seq}, 'and the answer says that it is behind');
    is_deeply(ids(search($agent, 'metadata.copied' => 'yes', source => 'local')), [$more, $id], 'the agent itself has it');
    copy($agent, $url);
    is_deeply(ids(search($agent, 'metadata.copied' => 'yes')), [$more, $id], 'newest first, after the next copy');
};

subtest 'filters' => sub {
    my @of = map { submit($agent, { set => 'filters', n => $_, even => $_ % 2 ? JSON::PP::false() : JSON::PP::true() }) } 1 .. 4;
    my $waiting = submit($agent, { set => 'filters', n => 2.5 }, $waits);
    copy($agent, $url);
    my @cases = (
        ['a number', [$of[1]], 'metadata.n' => '2'],
        ['the same number', [$of[1]], 'metadata.n' => '2.0'],
        ['a fraction', [$waiting], 'metadata.n' => '2.5'],
        ['true', [@of[3, 1]], 'metadata.even' => 'true'],
        ['false is not a string', [@of[2, 0]], 'metadata.even' => 'false'],
        ['two labels', [$of[3]], 'metadata.even' => 'true', 'metadata.n' => '4'],
        ['no such value', [], 'metadata.n' => '9'],
        ['a status', [@of[3, 2, 1, 0]], status => 'completed'],
        ['another status', [$waiting], status => 'running'],
        ['nothing is parked', [], status => 'parked'],
        ['a name', [$waiting], name => 'waits'],
        ['since the day began', [$waiting, reverse @of], since => '1 hour ago'],
        ['until an hour ago', [], until => '1 hour ago'],
        ['until now', [$waiting, reverse @of], since => '2020-01-01T00:00:00Z', until => '2100-01-01T00:00:00Z'],
    );
    for my $case (@cases) {
        my ($name, $want, @filters) = @$case;
        for my $source (qw(postgres local)) {
            my $answer = search($agent, 'metadata.set' => 'filters', source => $source, @filters);
            is_deeply(ids($answer), $want, "$name, from $source") or diag($answer->{body});
            is($answer->{json}{source}, $source, 'as asked for');
        }
    }
    my $submitted = $agent->get("$workflows/$of[2]")->{json}{submitted};
    for my $source (qw(postgres local)) {
        is_deeply(ids(search($agent, 'metadata.set' => 'filters', since => $submitted, source => $source)),
            [$waiting, @of[3, 2]], "its own time includes a workflow, from $source");
        is_deeply(ids(search($agent, 'metadata.set' => 'filters', until => $submitted, source => $source)),
            [@of[1, 0]], "and excludes it, from $source");
    }
    is(search($agent)->{json}{source}, 'local', 'a plain list comes from the documents');
    is(search($agent, source => 'postgres')->{json}{source}, 'postgres', 'unless Postgres is asked for');
    is_problem(search($agent, 'metdata.n' => 2), 400, 'unknown-parameter', 'a name that nobody knows');
    is_problem($agent->get("$workflows?status=paused&status=failed"), 400, 'invalid-parameter', 'a filter that is there twice');
    is_problem(search($agent, since => 'whenever'), 400, 'invalid-parameter', 'a time that is none');
    is_problem(search($agent, source => 'oracle'), 400, 'invalid-parameter', 'a source that is none');
    is_problem(search($agent, map { ("metadata.l$_" => 1) } 1 .. 9), 400, 'invalid-parameter', 'nine labels');
};

subtest 'values that try to be more' => sub {
    my @hostile = (
        "'", "''", "'; DROP TABLE daa.workflows; --", '"', '\\', '"}', '{"a":1}', '[1]', q{$1}, q{%s%n}, '',
        q{x' OR '1'='1}, "line\nfeed", "\x{e9}\x{1f600}", '1e400', '-0', '1e5000', '12345678901234567890', 'null', 'x' x 5000,
    );
    my %id = map { ($_ => submit($agent, { hostile => $_, "k $_" => 1 })) } @hostile;
    copy($agent, $url);
    for my $value (@hostile) {
        my $shown = length $value > 40 ? length($value) . ' characters' : $value =~ s/\n/\\n/r =~ s/([^ -~])/sprintf '\\x{%x}', ord $1/ger;
        for my $source (qw(postgres local)) {
            my $answer = search($agent, 'metadata.hostile' => $value, source => $source);
            is_deeply(ids($answer), [$id{$value}], "[$shown] finds its own, from $source") or diag($answer->{body});
            next if length $value > 40;
            $answer = search($agent, "metadata.k $value" => 1, source => $source);
            is_deeply(ids($answer), [$id{$value}], "[$shown] as a key too, from $source") or diag($answer->{body});
        }
    }
    is_deeply(ids(search($agent, name => q{' OR true --}, source => 'postgres')), [], 'a name finds nothing else either');
    is_problem($agent->get("$workflows?metadata.a=x%00y"), 400, 'invalid-parameter', 'a NUL');
    is_problem($agent->get("$workflows?metadata.a%00b=x"), 400, 'invalid-parameter', 'a NUL in a key');
    is_problem($agent->get("$workflows?metadata.a=%ff"), 400, 'invalid-parameter', 'what is not UTF-8');
    is_problem(search($agent, status => q{' OR 1=1}), 400, 'invalid-parameter', 'a status that is none');
    is_problem(search($agent, cursor => q{' OR 1=1}), 400, 'invalid-cursor', 'a cursor that is none');
    is($server->sql('SELECT count(*) > 0 FROM daa.workflows', "d$databases"), 't', 'and the table is there as before');
};

subtest 'pages while others write' => sub {
    my @old = map { submit($agent, { set => 'pages', old => 1 }) } 1 .. 25;
    copy($agent, $url);
    my (@seen, $cursor, $first);
    for my $page (1 .. 20) {
        my $answer = search($agent, 'metadata.set' => 'pages', limit => 4, $cursor ? (cursor => $cursor) : ());
        is($answer->{json}{source}, 'postgres', "page $page comes from Postgres") or diag($answer->{body});
        push @seen, @{ ids($answer) };
        $first //= $cursor = $answer->{json}{next_cursor} or last;
        submit($agent, { set => 'pages' }) for 1 .. 2;
        copy($agent, $url);
        $cursor = $answer->{json}{next_cursor} or last;
    }
    is_deeply(\@seen, [reverse @old], 'each is on one page, in order, and what came later on none');
    is_problem(search($agent, 'metadata.set' => 'other', cursor => $first), 400, 'invalid-cursor', 'another search\'s cursor');
    is_problem(search($agent, 'metadata.set' => 'pages', cursor => $first, source => 'local'), 400, 'invalid-cursor', 'another source\'s');
    # By hand: reading and writing megabytes of JSON takes Perl seconds.
    my $large = '{"definition":{"name":"nap","steps":[{"id":"a","sleep":"0s"}]},"metadata":{"set":"large","bytes":"' . 'y' x 900_000 . '"}}';
    my @large = map { $agent->post($workflows, $large)->{json}{id} } 1 .. 7;
    copy($agent, $url);
    (@seen, $cursor) = ();
    my $pages = 0;
    do {
        my $body = raw_get($agent, query('metadata.set' => 'large', $cursor ? (cursor => $cursor) : ()));
        cmp_ok(length $body, '<', 6_000_000, 'a page has a size that it keeps to');
        push @seen, $body =~ /"id":"(wf-[^"]+)"/g;
        ($cursor) = $body =~ /"next_cursor":"([^"]+)"/;
        $pages++;
    } while ($cursor);
    is_deeply(\@seen, [reverse @large], 'all are there');
    cmp_ok($pages, '>', 1, 'on more than one page');
};

subtest 'daa-cli' => sub {
    my $id = submit($agent, { cli => 'a=b&c' });
    copy($agent, $url);
    my @list = (program('daa-cli'), '--url', $agent->url, 'workflow', 'list');
    my ($status, $out, $err) = run_program(@list, '--metadata', 'cli=a=b&c', '--status', 'completed');
    is($status, 0, 'it searches by label and status') or diag($err);
    like($out, qr/^$id\s+nap\s+completed/m, 'and finds what is there');
    unlike($out, qr/Postgres/, 'with nothing more to say');
    is(scalar(() = $out =~ /^wf-/mg), 1, 'and nothing else');
    submit($agent, { cli => 'a=b&c' });
    ($status, $out) = run_program(@list, '--metadata', 'cli=a=b&c');
    like($out, qr/from Postgres, which has the log up to event \d+ of \d+/, 'a copy that is behind is told');
    is((run_program(@list, '--metadata', '=x'))[0], 2, 'a label without a key is wrong usage');
    for ('x', '') {
        ($status, undef, $err) = run_program(@list, '--source', $_);
        is($status, 2, "so is --source '$_'");
        like($err, qr/--source is local or postgres, not "$_"/, 'which is said');
    }
};

subtest 'the server dies, and comes back' => sub {
    my $id = submit($agent, { set => 'dies' });
    copy($agent, $url);
    is(search($agent, 'metadata.set' => 'dies')->{json}{source}, 'postgres', 'while it lives it answers');
    my $page = search($agent, 'metadata.set' => 'pages', limit => 1);
    $server->crash;
    my $answer = search($agent, 'metadata.set' => 'dies');
    is($answer->{status}, 200, 'when it was killed a search is answered');
    is($answer->{json}{source}, 'local', 'from the documents');
    is_deeply(ids($answer), [$id], 'with what they have');
    like($answer->{json}{why}, qr/Postgres cannot answer: .*; ask again/, 'and it is said why');
    is_problem(search($agent, 'metadata.set' => 'dies', source => 'postgres'), 503, 'search-unavailable', 'Postgres alone');
    is_problem(search($agent, 'metadata.set' => 'pages', limit => 1, cursor => $page->{json}{next_cursor}), 503,
        'search-unavailable', 'its next page');
    isnt(searched($agent)->{trouble}, undef, '/status tells the trouble');
    my $other = submit($agent, { set => 'dies' });
    is($agent->get("$workflows/$other")->{json}{status}, 'completed', 'workflows go on as ever');
    $server->start;
    ok(wait_until(sub { search($agent, 'metadata.set' => 'dies')->{json}{source} eq 'postgres' }), 'it is asked again when it is back');
    is(searched($agent)->{trouble}, undef, 'and there is no trouble');
    cmp_ok(searched($agent)->{pool}{failed_opens}, '>', 0, 'the pool has counted it');
    $server->sql(q{SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE application_name = 'daa-agent'});
    is(search($agent, 'metadata.set' => 'dies')->{json}{source}, 'postgres', 'connections that the server ended are replaced');
};

# Sends a GET and does not wait for the answer.
sub begin_get {
    my ($agent, $path) = @_;
    my $client = $agent->client;
    $client->send("GET $path HTTP/1.1\r\nHost: localhost\r\n\r\n");
    return $client;
}
sub has_answer { my ($client) = @_; return IO::Select->new($client->{socket})->can_read(0) ? 1 : 0 }

subtest 'a server that says nothing' => sub {
    signal_server('STOP');
    my @searches = map { begin_get($agent, query('metadata.set' => 'dies', source => 'postgres')) } 1 .. 20;
    ok(wait_until(sub { searched($agent)->{searches}{under_way} > 0 }), 'searches are under way');
    my $id = submit($agent, { set => 'meanwhile' });
    is($agent->get("$workflows/$id")->{json}{status}, 'completed', 'others are served meanwhile');
    is($agent->get("$workflows?name=waits")->{status}, 200, 'lists too');
    is(scalar(grep { has_answer($_) } @searches), 0, 'before the searches are');
    signal_server('CONT');
    is(scalar(grep { $_->answer->{json}{source} eq 'postgres' } @searches), 20, 'which all get their answers then');
};

subtest 'a server that says nothing, and few connections' => sub {
    my $few = Daa->start(config => "[api]\nmax_connections = 16\n" . config($url));
    copy($few, $url);
    signal_server('STOP');
    my @searches = map { begin_get($few, query('metadata.team' => 'blue', source => 'postgres')) } 1 .. 12;
    ok(wait_until(sub { my $now = searched($few)->{searches}; $now->{under_way} + $now->{waiting} + $now->{refused} == 12 }),
        'searches for most of the connections');
    is(searched($few)->{searches}{refused}, 4, 'half of the connections are left to others');
    ok(wait_until(sub { 4 == grep { has_answer($_) } @searches }), 'those that are too many are answered');
    my ($busy) = grep { has_answer($_) } @searches;
    is_problem($busy->answer, 503, 'search-busy', 'one too many');
    is($few->client->request('GET', '/health')->{status}, 200, 'and a new connection is served');
    signal_server('CONT');
    is($few->stop, 0, 'the agent ends in order');
};

subtest 'a server that never answered' => sub {
    my $dir = scratch() . '/silent';
    mkdir $dir or die $!;
    my $silent = IO::Socket::UNIX->new(Local => "$dir/.s.PGSQL.5432", Listen => 100) or die "no socket: $!";
    my $host = escape($dir);
    my $lonely = Daa->start(config => config("postgresql://daa\@$host/d", pool_timeout => '"300ms"'));
    my $id = submit($lonely, { team => 'blue' });
    my @searches = map { begin_get($lonely, query('metadata.team' => 'blue')) } 1 .. 30;
    my @answers = map { $_->answer } @searches;
    is(scalar(grep { $_->{status} == 200 && $_->{json}{source} eq 'local' && $_->{json}{items}[0]{id} eq $id } @answers), 30,
        'searches are answered without it');
    like(searched($lonely)->{trouble}, qr/did not come in time/, 'and the trouble is told');
    my $before = searched($lonely)->{searches};
    $_->answer for map { begin_get($lonely, query('metadata.team' => 'blue')) } 1 .. 30;
    my $after = searched($lonely)->{searches};
    cmp_ok($after->{refused}, '>', $before->{refused}, 'others are not sent to it as long as it is known to be silent');
    is($lonely->stop, 0, 'the agent ends in order');
};

# psql that reads commands from what is printed to it.
sub open_session {
    my ($database) = @_;
    my @command = $server->psql('', $database);
    splice @command, -2;    # -c ''
    open my $session, '|-', @command or die "psql: $!";
    $session->autoflush;
    return $session;
}

subtest 'a pool that is used up' => sub {
    is($without->stop, 0, 'an agent without a database ends');
    my $small = Daa->start(dir => $without->dir, config => config($url, pool_size => 1, max_overflow => 0, pool_timeout => '"1s"'));
    is(search($small, source => 'postgres')->{status}, 503, 'nothing of this log is there');
    copy($small, $url);
    my $lock = open_session("d1");
    print $lock "BEGIN; LOCK TABLE daa.replica; \\! touch @{[scratch()]}/locked\n";
    ok(wait_until(sub { -e scratch() . '/locked' }), 'a table is locked');
    my $first = begin_get($small, query(source => 'postgres', 'metadata.team' => 'blue'));
    ok(wait_until(sub { searched($small)->{pool}{in_use} == 1 }), 'the only connection is in use');
    my $answer = search($small, source => 'postgres', 'metadata.team' => 'blue');
    is_problem($answer, 503, 'search-busy', 'another search');
    like($answer->{json}{detail}, qr/pool_size.*pool_timeout/, 'which says what to change');
    is(searched($small)->{pool}{timeouts}, 1, 'that is counted');
    is(search($small, 'metadata.team' => 'blue')->{json}{source}, 'local', 'a search that may is answered without it');
    print $lock "COMMIT;\n";
    close $lock;
    is($first->answer->{json}{source}, 'postgres', 'the first one gets its answer');
    is(search($small, source => 'postgres', 'metadata.team' => 'blue')->{status}, 200, 'and the next one');
    is(searched($small)->{pool}{opened}, 1, 'over the one connection');
    my %metric = $small->get('/metrics')->{body} =~ /^(daa_\w+) (\d+)$/mg;
    is_deeply([@metric{map { "daa_pool_$_" } qw(size max_overflow in_use timeouts_total opened_total)}], [1, 0, 0, 2, 1],
        '/metrics counts the same');
    is($metric{daa_search_database_up}, 1, 'and says that the server is there');

    signal_server('STOP');
    $first = begin_get($small, query(source => 'postgres', 'metadata.team' => 'blue'));
    ok(wait_until(sub { searched($small)->{searches}{under_way} == 1 }), 'a search is under way');
    is($small->stop, 0, 'and the agent ends in order');
    is_problem($first->answer, 503, 'search-unavailable', 'which the search is told');
    signal_server('CONT');
};

subtest 'workflows that have left the state' => sub {
    my $name = database();
    my $short = Daa->start(config => config($name, rest => "[state]\nfinished_ttl = \"1s\"\n"));
    my $id = submit($short, { set => 'gone', team => 'blue' });
    my $first = $short->get("$workflows/$id")->{json};
    my $shown;
    ok(wait_until(sub { $shown = $short->get("$workflows/$id"); $shown->{status} != 200 }), 'it leaves the state');
    is_problem($shown, 503, 'search-unavailable', 'nothing is copied');
    like($shown->{json}{detail}, qr/left the state.*daa-pgsync/, 'which is said');
    copy($short, $name);
    $server->sql("INSERT INTO daa.steps (log, stream, step_index, step, status, attempts, outcome, lossy, started_at, ended_at, last_seq)"
        . " SELECT log, stream, 0, 'a', 'completed', 1, 'done', false, submitted_at, ended_at, last_seq FROM daa.workflows"
        . ' ON CONFLICT DO NOTHING', "d$databases");
    $shown = $short->get("$workflows/$id?wait=5s");
    is($shown->{status}, 200, 'after a copy it is shown');
    is($shown->{json}{source}, 'postgres', 'from Postgres');
    is($shown->{json}{$_}, $first->{$_}, "with its $_") for qw(id name status definition seq);
    is_deeply($shown->{json}{$_}, $first->{$_}, "with its $_") for qw(metadata input output);
    is_deeply([map { "$_->{id} $_->{status} $_->{outcome}" } @{ $shown->{json}{steps} }], ['a completed done'], 'and its steps');
    is_deeply(ids(search($short, 'metadata.set' => 'gone')), [$id], 'a search finds it');
    is_deeply(ids(search($short, 'metadata.set' => 'gone', source => 'local')), [], 'the documents do not');
    is($short->get("$workflows/" . ($id =~ s/\d+$/999999/r))->{status}, 404, 'what never was is not there');

    my $later = submit($short, { set => 'gone' });
    ok(wait_until(sub { $shown = $short->get("$workflows/$later"); $shown->{status} != 200 }), 'another one leaves it');
    is_problem($shown, 503, 'copy-behind', 'a copy that is behind');
    $server->crash;
    is_problem($short->get("$workflows/$id"), 503, 'search-unavailable', 'no server');
    $server->start;
    copy($short, $name);
    ok(wait_until(sub { $short->get("$workflows/$later")->{status} == 200 }), 'all is there again');
    $server->sql("DELETE FROM daa.workflows WHERE id = '$later'", "d$databases");
    is($short->get("$workflows/$later")->{status}, 410, 'what Postgres does not have either is gone');
    $server->sql("UPDATE daa.workflows SET status = 'running', ended_at = NULL", "d$databases");
    is_problem($short->get("$workflows/$id"), 503, 'copy-behind', 'a row without its end');
    is($short->stop, 0, 'it ends in order');
};

subtest 'a log that forked' => sub {
    my $name = database();
    my $parent = Daa->start(config => config($name));
    my $both = submit($parent, { set => 'fork', of => 'both' });
    my $open = submit($parent, { set => 'fork', of => 'open' }, $waits);
    copy($parent, $name);
    my $dir = scratch() . '/forked';
    my ($status, undef, $err) = run_program(program('daa-log'), 'backup', $parent->dir, "$dir.backup");
    is($status, 0, 'a log is backed up') or diag($err);
    my $mine = submit($parent, { set => 'fork', of => 'parent' });
    copy($parent, $name);
    ($status, undef, $err) = run_program(program('daa-log'), 'restore', "$dir.backup", $dir);
    is($status, 0, 'and restored') or diag($err);
    my $child = Daa->start(dir => $dir, config => config($name));
    is_deeply(ids(search($child, 'metadata.set' => 'fork')), [$open, $both], 'the child has what was there before the fork');
    is($child->post("$workflows/$open/signals/go", {})->{status}, 202, 'a workflow goes on there');
    ok(wait_until(sub { $child->get("$workflows/$open")->{json}{status} eq 'completed' }), 'to its end');
    my $own = submit($child, { set => 'fork', of => 'child' });
    copy($child, $name);
    my $answer = search($child, 'metadata.set' => 'fork');
    is_deeply(ids($answer), [$own, $open, $both], 'and what it did itself, but nothing that the parent did behind the fork');
    is($answer->{json}{copied_seq}, $answer->{json}{durable_seq}, 'its own copy is complete');
    is_deeply([map { $_->{history_of_log} } @{ $answer->{json}{items} }], [undef, undef, undef], 'all is its own history');
    is_deeply(ids(search($child, 'metadata.set' => 'fork', limit => 2)), [$own, $open], 'pages go over the fork');
    my $page = search($child, 'metadata.set' => 'fork', limit => 1);
    my @seen = @{ ids($page) };
    while ($page->{json}{next_cursor}) {
        $page = search($child, 'metadata.set' => 'fork', limit => 1, cursor => $page->{json}{next_cursor});
        push @seen, @{ ids($page) };
    }
    is_deeply(\@seen, [$own, $open, $both], 'each once');
    $answer = search($parent, 'metadata.set' => 'fork');
    is_deeply(ids($answer), [$mine, $open, $both], 'the parent has its own');
    my ($shown) = grep { $_->{id} eq $open } @{ $answer->{json}{items} };
    my $uuid = $child->get('/status')->{json}{log}{uuid};
    is($shown->{history_of_log}, $uuid, 'and says of a row that it shows what the child did');
    is($_->stop, 0, 'it ends in order') for $parent, $child;
};

subtest 'configuration' => sub {
    my $path = scratch() . '/check.toml';
    my $check = sub {
        Daa::spew($path, "[database]\nurl = \"$_[0]\"\n");
        return run_program(program('daa-agent'), '--config', $path, '--check-config');
    };
    my ($status, $out, $err) = $check->('postgresql://u:s3cret@h/d');
    is($status, 1, 'a url with a password is refused');
    like($err, qr/PGPASSWORD/, 'with what to do instead');
    unlike("$out$err", qr/s3cret/, 'and the password is not repeated');
    ($status, $out, $err) = $check->('postgresql://h/d?nosuch=1');
    is($status, 1, 'a url that libpq does not understand too');
    like($err, qr/\[database\] url/, 'by its name');
    is(($check->('postgresql://u@h/d'))[0], 0, 'another one is fine');
};

is($agent->stop, 0, 'the agent ends in order');
done_testing;
