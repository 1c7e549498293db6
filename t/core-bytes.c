#include "tap.h"

#include "core/base/bytes.h"
#include "core/base/span.h"

static void integers(void)
{
    uint8_t bytes[9];
    bytes_put_u16(bytes + 1, 0x0102);
    is_mem(bytes + 1, "\2\1", 2, "16 bits are stored little-endian");
    is_int(bytes_get_u16(bytes + 1), 0x0102, "and read back, at odd addresses too");
    bytes_put_u32(bytes + 1, 0x01020304u);
    is_mem(bytes + 1, "\4\3\2\1", 4, "so are 32 bits");
    is_int(bytes_get_u32(bytes + 1), 0x01020304, "there and back");
    bytes_put_u64(bytes + 1, 0xfedcba9876543210ull);
    is_mem(bytes + 1, "\x10\x32\x54\x76\x98\xba\xdc\xfe", 8, "and 64 bits");
    ok(bytes_get_u64(bytes + 1) == 0xfedcba9876543210ull, "there and back");
}

static void zeros(void)
{
    uint8_t bytes[100] = { 0 };
    unsigned wrong = 0;
    ok(bytes_are_zero(bytes, 0), "no bytes are all zero");
    for (size_t size = 1; size <= sizeof bytes; size++) {
        wrong += !bytes_are_zero(bytes, size);
        for (size_t at = 0; at < size; at++) {
            bytes[at] = 0x80;
            wrong += bytes_are_zero(bytes, size);
            bytes[at] = 0;
        }
    }
    is_int(wrong, 0, "one byte that is not zero is seen anywhere in any size up to 100");
}

static void hexadecimal(void)
{
    char text[9];
    uint8_t bytes[4];
    bytes_to_hex(text, "\x00\x9a\xff\x10", 4);
    is_str(text, "009aff10", "hexadecimal is in lower case");
    bytes_to_hex(text, "", 0);
    is_str(text, "", "and empty for nothing");
    ok(bytes_from_hex(bytes, 4, "009aFf10", 8), "either case is read");
    is_mem(bytes, "\x00\x9a\xff\x10", 4, "as the same bytes");
    ok(!bytes_from_hex(bytes, 4, "009aff1", 7), "too few digits are refused");
    ok(!bytes_from_hex(bytes, 4, "009aff100", 9), "so are too many");
    static const char *const bad[] = { "0g", "g0", " 0", "0/", "0:", "0@", "0`", "\xb0\x30" };
    unsigned wrong = 0;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        wrong += bytes_from_hex(bytes, 1, bad[i], 2);
    is_int(wrong, 0, "and what is no digit");
    ok(bytes_from_hex(bytes, 0, "", 0), "nothing is nothing");
}

static void spans(void)
{
    ok(span_equal(span_of(NULL, 0), span_of("", 0)), "empty spans are equal wherever they are");
    ok(!span_equal(span_of("ab", 1), span_of("ab", 2)), "a prefix is not the whole");
    ok(span_equal(span_of("a\0b", 3), span_of("a\0b", 3)), "a NUL is a byte like any other");
    ok(!span_is(span_of("a\0b", 3), "a"), "also against a string");
    ok(span_is(span_of_text("abc"), "abc"), "a span of a string is that string");
}

int main(void)
{
    integers();
    zeros();
    hexadecimal();
    spans();
    return tap_done();
}
