/* text.c - is it utf-8?
 *
 * Names and messages are nearly always ASCII, so eight bytes at a time are looked
 * at first; only what is above goes through the table of the Unicode standard
 * (3.9, table 3-7), which has no surrogates and nothing overlong. NUL is refused
 * because protobuf-c's strings end at one.
 */
#include "wire/envelope.h"

#include <string.h>

#define HIGH_BITS UINT64_C(0x8080808080808080)
#define LOW_BITS UINT64_C(0x0101010101010101)

/* Whether all eight bytes are between 0x01 and 0x7f: a byte of 0 borrows from its high bit. */
static bool plain_word(const uint8_t *text)
{
    uint64_t word;

    memcpy(&word, text, sizeof word);
    return ((word | (word - LOW_BITS)) & HIGH_BITS) == 0;
}

static bool continues(uint8_t byte, uint8_t low, uint8_t high)
{
    return byte >= low && byte <= high;
}

/* Bytes of the character at `text`, which is not ASCII; 0 when it is none. */
static size_t long_character(const uint8_t *text, size_t n)
{
    uint8_t low = 0x80;
    uint8_t high = 0xbf;
    uint8_t first = text[0];
    size_t size;

    if (first < 0xc2 || first > 0xf4)
        return 0;
    size = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (n < size)
        return 0;
    /* Only the second byte's range depends on the first. */
    if (first == 0xe0)
        low = 0xa0;
    else if (first == 0xed)
        high = 0x9f;
    else if (first == 0xf0)
        low = 0x90;
    else if (first == 0xf4)
        high = 0x8f;
    if (!continues(text[1], low, high))
        return 0;
    for (size_t i = 2; i < size; i++)
        if (!continues(text[i], 0x80, 0xbf))
            return 0;
    return size;
}

bool pp_text_valid(const uint8_t *text, size_t n)
{
    size_t i = 0;

    while (i < n) {
        size_t size = 1;

        if (n - i >= 8 && plain_word(text + i))
            size = 8;
        else if (text[i] >= 0x80)
            size = long_character(text + i, n - i);
        else if (text[i] == 0)
            size = 0;
        if (size == 0)
            return false;
        i += size;
    }
    return true;
}
