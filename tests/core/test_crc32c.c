/* test_crc32c.c - the checksum against RFC 3720's examples and a frame of the Go project. */
#include "check.h"

#include "base/crc32c.h"

#include <string.h>

static void known_messages_have_the_checksums_that_others_found(void)
{
    uint8_t bytes[32];
    const char *go = "{\"id\":1,\"method\":\"predict\",\"body\":{\"value\":21}}";

    CHECK(pp_crc32c("", 0) == 0);
    CHECK(pp_crc32c("123456789", 9) == 0xe3069283);
    memset(bytes, 0, sizeof bytes);
    CHECK(pp_crc32c(bytes, sizeof bytes) == 0x8a9136aa);
    memset(bytes, 0xff, sizeof bytes);
    CHECK(pp_crc32c(bytes, sizeof bytes) == 0x62a8ab43);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)i;
    CHECK(pp_crc32c(bytes, sizeof bytes) == 0x46dd794e);
    CHECK(pp_crc32c(go, strlen(go)) == 0x738a5ab3);
}

PP_TESTS(PP_TEST(known_messages_have_the_checksums_that_others_found))
