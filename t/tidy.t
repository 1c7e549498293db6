#!/usr/bin/perl
# What a compiler cannot check: who includes whom, and how code looks.
use strict;
use warnings;
use File::Find;
use Test::More;

my %needs = map { my ($layer, $list) = split /:/; $layer => { map { $_ => 1 } split /\+/, $list // '' } }
    split ' ', $ENV{LAYERS} // '';
plan skip_all => 'run me through make check' unless %needs;

# An outside header may be seen by one layer only.
my @owner = (
    [qr{^liburing}, 'iouring'], [qr{^lmdb\.h}, 'mmapstore'], [qr{^libpq-fe\.h}, 'pgsync'],
    [qr{^(?:protobuf-c|nettle|isa-l)/}, 'core'], [qr{^(?:microhttpd\.h|curl/|toml)}, 'tools'],
);
# core is pure: no system calls, no clocks, no threads of its own.
my $impure = qr{^(?:unistd|fcntl|sys/|pthread|time|signal|poll|netinet|arpa)};
my %banned = map { $_ => 1 } qw(strcpy strcat strncpy strncat sprintf vsprintf strtok gets atoi atol alloca);
my %may_print = map { $_ => 1 } qw(tools t benchmarks);
my %only_tools = map { $_ => 1 } qw(printf puts putchar exit _exit);

my @files;
find({ no_chdir => 1, wanted => sub { push @files, $_ if /\.(?:c|h|cc)$/ } }, grep { -d } keys %needs, 't', 'benchmarks');

for my $file (sort @files) {
    my ($layer) = split m{/}, $file;
    open my $in, '<', $file or die "$file: $!";
    my (@wrong, $function_start);
    my $is_test = $layer eq 't' || $layer eq 'benchmarks';
    while (my $line = <$in>) {
        chomp $line;
        my $complain = sub { push @wrong, "$file:$.: $_[0]" };
        if (!$is_test && $line =~ m{^#include "(\w+)/}) {
            $complain->("$layer may not include $1") if $1 ne $layer && !$needs{$layer}{$1};
            $complain->("$file may not include another program's header")
                if $line =~ m{"tools/(agent|cli|log|pgsync)/} && $file !~ m{^tools/$1/};
        } elsif (!$is_test && $line =~ m{^#include "}) {
            $complain->('include by path from the top, "layer/file.h"');
        } elsif (!$is_test && $line =~ m{^#include <([^>]+)>}) {
            my $header = $1;
            for (@owner) { $complain->("only $_->[1] may include <$header>") if $header =~ $_->[0] && $_->[1] ne $layer }
            $complain->("core may not include <$header>") if $layer eq 'core' && $header =~ $impure;
        }
        $complain->('longer than 100 columns') if length $line > 100;
        $complain->('space at end of line') if $line =~ /\s$/;
        $complain->('tab') if $line =~ /\t/;
        $complain->('that marker is for work in progress') if $line =~ /\b(?:FIXME|TODO|XXX)\b/;
        for my $call ($line =~ /\b(\w+)\(/g) {
            $complain->("$call is banned") if $banned{$call};
            $complain->("only programs call $call") if $only_tools{$call} && !$may_print{$layer};
        }
        $function_start = $. if $line eq '{';
        if ($line eq '}' && $function_start) {
            my $length = $. - $function_start;
            $complain->("function of $length lines; the limit is 70") if $length > 70;
            undef $function_start;
        }
    }
    $. > 900 and push @wrong, "$file: $. lines; the limit is 900";
    ok(!@wrong, "$file is tidy");
    diag($_) for @wrong;
}

# A key of the configuration that nobody reads is a promise that nobody keeps.
sub text_of { return join '', map { open my $in, '<', $_ or die "$_: $!"; local $/; scalar <$in> } @_ }
my $readers = text_of(grep { m{^tools/(?!config/)} } @files);
is(join(' ', grep { index($readers, $_) < 0 } text_of('tools/config/keys.c') =~ /\bAT\((\w+\.\w+)\)/g), '', 'each key of the configuration is read');
done_testing();
