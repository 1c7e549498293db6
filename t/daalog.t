#!/usr/bin/perl
# libdaalog as others meet it: an install in a tree of its own, found through pkg-config, taken by
# compilers for C99 and C++, with nothing in it that could meet a name of the program's.
use strict;
use warnings;
use lib 't/lib';
use Daa qw(scratch slurp spew program run_program);
use Test::More;

my $staged = ($ENV{OUT} // '') . '/stage';
plan skip_all => 'run me through make check' unless $ENV{OUT} && -d $staged;
plan skip_all => 'daa-log is not built' unless -x program('daa-log');

my $libdir = $ENV{LIBDIR} // '/usr/local/lib';
my @mode = split ' ', $ENV{MODE} // '';
my ($cc, $cxx) = map { [split] } $ENV{CC} // 'gcc', $ENV{CXX} // 'g++';
my $shared = "libdaalog.so.$ENV{VERSION}";
my ($soname) = $shared =~ /^(libdaalog\.so\.\d+)/;

sub said { my ($status, $said, $complained) = run_program(@_); is($status, 0, "@_[0, 1]") or diag($complained); return $said }

# What pkg-config says of the install in this tree, and of nothing else.
sub flags {
    my ($tree, @options) = @_;
    local $ENV{PKG_CONFIG_SYSROOT_DIR} = $tree;
    local $ENV{PKG_CONFIG_PATH} = "$tree$libdir/pkgconfig";
    return split ' ', said($ENV{PKG_CONFIG} // 'pkg-config', @options, '--cflags', '--libs', 'daalog');
}

my $header = slurp('log/daalog.h');
my %declared = map { $_ => 1 } $header =~ /^(?:int|void|const char \*|uint\d+_t) ?(daalog_\w+)\(/mg;
my ($cflags) = grep { /^-I/ } flags($staged);

subtest 'the header' => sub {
    cmp_ok(scalar keys %declared, '>', 20, 'declares functions');
    unlike($header, qr/#include "/, 'includes nothing of the project');
    is(slurp(substr($cflags, 2) . '/daalog.h'), $header, 'is what is installed');
    spew(scratch() . '/lone.c', "#include <daalog.h>\n#include <daalog.h>\nint main(void) { return daalog_version() == 0; }\n");
    said(@$cc, '-std=c99', '-pedantic', '-Wall', '-Wextra', '-Werror', '-fsyntax-only', $cflags, scratch() . '/lone.c');
    said(@$cxx, '-std=c++17', '-pedantic', '-Wall', '-Wextra', '-Werror', '-fsyntax-only', '-x', 'c++', $cflags, scratch() . '/lone.c');
    said(@$cxx, @mode, '-x', 'c++', scratch() . '/lone.c', '-x', 'none', '-o', scratch() . '/lone', flags($staged));
    my $page = slurp('docs/daalog.3');
    is(join(' ', grep { $page !~ /^\.F[no] $_\b/m } sort keys %declared), '', 'each function is in the manual');
};

subtest 'the libraries' => sub {
    my @exported = said('nm', '-D', '--defined-only', "$staged$libdir/$shared") =~ /^\S+ [^A] (\S+)$/mg;
    is_deeply([sort @exported], [map { "$_\@\@DAALOG_0" } sort keys %declared], 'the shared one exports what is declared, of version DAALOG_0');
    my @global = said('nm', '-g', '--defined-only', "$staged$libdir/libdaalog.a") =~ /^\S+ [A-Z] (\S+)$/mg;
    is_deeply([sort @global], [sort keys %declared], 'the static one has no other global names');
    my $dynamic = said('readelf', '-d', "$staged$libdir/$shared");
    like($dynamic, qr/SONAME.*\[\Q$soname\E\]/, 'its SONAME');
    unlike($dynamic, qr/NEEDED.*lib(?:lmdb|protobuf|pq|curl)/, 'needs nothing of the other layers');
    is(readlink("$staged$libdir/libdaalog.so"), $soname, 'what a linker finds');
    is(readlink("$staged$libdir/$soname"), $shared, 'what a loader finds');
};

# What the example prints each time.
my $life = <<'EOT';
order.placed: {"item":"tea"}
order.packed, 1 behind the event before it: {"boxes":1}
order.paid, 1 behind the event before it: {"amount":"4.20"}
sound
EOT

# A tree without the shared library is how a static one is linked without a word to the linker.
system('cp', '-a', $staged, scratch() . '/static') == 0 or die;
unlink glob scratch() . "/static$libdir/libdaalog.so*";

for my $way ([shared => $staged], [static => scratch() . '/static', '--static']) {
    my ($name, $tree, @options) = @$way;
    subtest "a program with the $name one" => sub {
        my $example = scratch() . "/example-$name";
        said(@$cc, '-std=c99', '-pedantic', '-Wall', '-Wextra', '-Werror', @mode, 'examples/daalog-example.c', flags($tree, @options), '-pthread', '-o', $example);
        local $ENV{LD_LIBRARY_PATH} = "$tree$libdir" if $name eq 'shared';
        is(scalar(said('readelf', '-d', $example) =~ /\Q$soname\E/), $name eq 'shared' ? 1 : '', 'is linked so');
        my $dir = scratch() . "/log-$name";
        is(said($example, $dir), $life, 'appends, follows and verifies');
        is(said($example, $dir), $life, 'and again behind that');
        my ($status, $verified) = run_program(program('daa-log'), 'verify', $dir);
        is($status, 0, 'daa-log verify finds the log sound');
        like($verified, qr/^sound: events 1 to 10 /, 'with the events of both runs');
    };
}

done_testing();
