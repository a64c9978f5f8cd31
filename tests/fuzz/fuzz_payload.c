/* fuzz_payload.c - arguments of a hostile client at a server's edge.
 *
 * Input: a byte (its lowest bit: extension types may be), a byte for the items that the call
 * announces, a byte for its keywords, then the payload. Promised here: no byte outside is read,
 * and what is refused is refused with a sentence.
 */
#include "server/server.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *wrong;
    uint8_t *copy;

    if (size < 3)
        return 0;
    copy = malloc(size - 3 ? size - 3 : 1); /* exactly: a byte too far is seen */
    if (copy == NULL)
        abort();
    memcpy(copy, data + 3, size - 3);
    wrong = pp_payload_check(copy, size - 3, data[0] & 1, data[1], data[2]);
    if (wrong != NULL && wrong[0] == '\0')
        abort();
    free(copy);
    return 0;
}
