/* test_frame.c - the frame reader, fed in every way a stream can come. */
#include "base/buffer.h"
#include "check.h"
#include "wire/frame.h"

#include <errno.h>

enum { MIB = 1 << 20 };

/* Appends a frame whose body's bytes are numbered from `seed`. */
static void add_frame(struct pp_buffer *stream, size_t n, unsigned seed)
{
    uint8_t header[PP_FRAME_HEADER];
    uint8_t *space;

    pp_frame_header(header, (uint32_t)n);
    CHECK_EQ(pp_buffer_append(stream, header, sizeof header), 0);
    CHECK_EQ(pp_buffer_reserve(stream, n, &space), 0);
    for (size_t i = 0; i < n; i++)
        space[i] = (uint8_t)((i + seed) % 253);
    pp_buffer_commit(stream, n);
}

static bool is_body(const uint8_t *body, size_t n, unsigned seed)
{
    for (size_t i = 0; i < n; i++)
        if (body[i] != (i + seed) % 253)
            return false;
    return true;
}

static void feed_raw(struct pp_frame_reader *reader, const uint8_t *bytes, size_t n)
{
    CHECK_EQ(pp_frame_reader_feed(reader, bytes, n), 0);
}

static void a_header_is_four_bytes_with_the_highest_first(void)
{
    uint8_t header[PP_FRAME_HEADER];

    pp_frame_header(header, 0x01020304);
    CHECK_BYTES(header, sizeof header, "\1\2\3\4", 4);
}

static void frames_cut_into_chunks_of_any_size_come_out_whole(void)
{
    static const size_t sizes[] = {1, 5, 300, 4096, 3, 70000, 2, 9000};
    enum { FRAMES = sizeof sizes / sizeof sizes[0] };
    static const size_t chunks[] = {1, 2, 3, 4, 5, 7, 64, 1000, 4096, 65536, 200000};
    struct pp_buffer stream;

    pp_buffer_init(&stream, MIB);
    for (unsigned i = 0; i < FRAMES; i++)
        add_frame(&stream, sizes[i], i);
    for (size_t c = 0; c < sizeof chunks / sizeof chunks[0]; c++) {
        struct pp_frame_reader *reader = NULL;
        size_t sent = 0;
        unsigned got = 0;

        CHECK_EQ(pp_frame_reader_new(70000, &reader), 0);
        while (sent < pp_buffer_size(&stream)) {
            size_t left = pp_buffer_size(&stream) - sent;
            size_t n = chunks[c] < left ? chunks[c] : left;
            const uint8_t *body;
            size_t size;

            feed_raw(reader, pp_buffer_bytes(&stream) + sent, n);
            sent += n;
            while (pp_frame_reader_next(reader, &body, &size) == 0) {
                CHECK(got < FRAMES && size == sizes[got] && is_body(body, size, got));
                got++;
            }
        }
        CHECK_EQ(got, FRAMES);
        CHECK(!pp_frame_reader_partial(reader));
        pp_frame_reader_free(reader);
    }
    pp_buffer_deinit(&stream);
}

static void a_frame_cut_at_each_byte_waits_and_then_comes(void)
{
    static const uint8_t frame[] = {0, 0, 0, 5, 'h', 'e', 'l', 'l', 'o'};

    for (size_t cut = 0; cut < sizeof frame; cut++) {
        struct pp_frame_reader *reader = NULL;
        const uint8_t *body = NULL;
        size_t n = 0;

        CHECK_EQ(pp_frame_reader_new(5, &reader), 0);
        feed_raw(reader, frame, cut);
        CHECK_EQ(pp_frame_reader_next(reader, &body, &n), PP_FRAME_MORE);
        CHECK_EQ(pp_frame_reader_partial(reader), cut != 0);
        CHECK(!pp_frame_reader_ready(reader));
        feed_raw(reader, frame + cut, sizeof frame - cut);
        CHECK(pp_frame_reader_ready(reader));
        CHECK(!pp_frame_reader_partial(reader));
        CHECK_EQ(pp_frame_reader_next(reader, &body, &n), 0);
        CHECK_BYTES(body, n, "hello", 5);
        CHECK(!pp_frame_reader_ready(reader));
        pp_frame_reader_free(reader);
    }
}

static void a_reader_stays_refused(const char *header, size_t limit, int outcome)
{
    struct pp_frame_reader *reader = NULL;
    const uint8_t *body = NULL;
    size_t n = 0;

    CHECK_EQ(pp_frame_reader_new(limit, &reader), 0);
    feed_raw(reader, (const uint8_t *)"\0\0\0\1a", 5);
    feed_raw(reader, (const uint8_t *)header, 4);
    CHECK_EQ(pp_frame_reader_next(reader, &body, &n), 0); /* what came before is good */
    CHECK(pp_frame_reader_ready(reader));
    CHECK(!pp_frame_reader_partial(reader));
    CHECK_EQ(pp_frame_reader_next(reader, &body, &n), outcome);
    feed_raw(reader, (const uint8_t *)"\0\0\0\1a", 5);
    CHECK_EQ(pp_frame_reader_next(reader, &body, &n), outcome);
    pp_frame_reader_free(reader);
}

static void a_length_over_the_limit_is_refused_for_good(void)
{
    a_reader_stays_refused("\0\0\0\2", 1, PP_FRAME_TOO_LONG);
    a_reader_stays_refused("\xff\xff\xff\xff", PP_FRAME_LIMIT, PP_FRAME_TOO_LONG);
    a_reader_stays_refused("PY\0\0", PP_FRAME_LIMIT, PP_FRAME_TOO_LONG);
}

static void a_frame_without_a_body_is_refused_for_good(void)
{
    a_reader_stays_refused("\0\0\0\0", 100, PP_FRAME_EMPTY);
}

static void a_refused_length_gets_no_memory(void)
{
    struct pp_frame_reader *reader = NULL;
    uint8_t *space;
    size_t n;

    CHECK_EQ(pp_frame_reader_new(100, &reader), 0);
    feed_raw(reader, (const uint8_t *)"\x10\0\0\0", 4);
    CHECK_EQ(pp_frame_reader_space(reader, &space, &n), 0);
    CHECK(n < 10000);
    pp_frame_reader_free(reader);
}

static void limits_that_no_length_can_have_are_an_error(void)
{
    struct pp_frame_reader *reader = NULL;

    CHECK_EQ(pp_frame_reader_new(0, &reader), -EINVAL);
    CHECK_EQ(pp_frame_reader_new(PP_FRAME_LIMIT + 1, &reader), -EINVAL);
    CHECK(reader == NULL);
    CHECK(pp_frame_reader_free(NULL) == NULL);
}

static void a_lent_body_stays_while_the_next_one_is_taken(void)
{
    struct pp_frame_reader *reader = NULL;
    const uint8_t *body = NULL;
    size_t n = 0;

    CHECK_EQ(pp_frame_reader_new(100, &reader), 0);
    feed_raw(reader, (const uint8_t *)"\0\0\0\3one\0\0\0\3two", 14);
    CHECK_EQ(pp_frame_reader_next(reader, &body, &n), 0);
    CHECK_BYTES(body, n, "one", 3);
    CHECK(pp_frame_reader_ready(reader));
    CHECK_BYTES(body, n, "one", 3);
    CHECK_EQ(pp_frame_reader_next(reader, &body, &n), 0);
    CHECK_BYTES(body, n, "two", 3);
    pp_frame_reader_free(reader);
}

static void bytes_nobody_takes_are_bounded(void)
{
    static uint8_t block[MIB];
    struct pp_frame_reader *reader = NULL;
    const uint8_t *body = NULL;
    size_t n = 0;

    block[3] = 100; /* one good frame at the front */
    CHECK_EQ(pp_frame_reader_new(1000, &reader), 0);
    feed_raw(reader, block, MIB);
    CHECK_EQ(pp_frame_reader_feed(reader, block, MIB), -EMSGSIZE);
    CHECK_EQ(pp_frame_reader_next(reader, &body, &n), 0);
    CHECK_EQ(n, 100);
    pp_frame_reader_free(reader);
}

/* Copies into lent space as recv(2) would, at most `most` bytes; answers how many. */
static size_t receive(struct pp_frame_reader *reader, const uint8_t *bytes, size_t n, size_t *lentp)
{
    uint8_t *space = NULL;

    if (!CHECK(pp_frame_reader_space(reader, &space, lentp) == 0))
        return n;
    CHECK(*lentp >= 4096 && *lentp <= MIB);
    n = n < *lentp ? n : *lentp;
    if (n != 0)
        memcpy(space, bytes, n);
    pp_frame_reader_filled(reader, n);
    return n;
}

static void a_big_body_is_received_in_few_reads_and_its_memory_goes_back(void)
{
    enum { BIG = 16 * MIB };
    struct pp_frame_reader *reader = NULL;
    struct pp_buffer stream;
    const uint8_t *body = NULL;
    size_t sent = 0;
    size_t lent = 0;
    size_t n = 0;
    unsigned reads = 0;

    pp_buffer_init(&stream, 2 * BIG);
    add_frame(&stream, BIG, 1);
    add_frame(&stream, 10, 2);
    CHECK_EQ(pp_frame_reader_new(BIG, &reader), 0);
    while (pp_frame_reader_next(reader, &body, &n) == PP_FRAME_MORE) {
        sent +=
            receive(reader, pp_buffer_bytes(&stream) + sent, pp_buffer_size(&stream) - sent, &lent);
        reads++;
    }
    CHECK(n == BIG && is_body(body, n, 1));
    CHECK(reads <= 18);
    while (pp_frame_reader_next(reader, &body, &n) == PP_FRAME_MORE)
        sent +=
            receive(reader, pp_buffer_bytes(&stream) + sent, pp_buffer_size(&stream) - sent, &lent);
    CHECK(n == 10 && is_body(body, n, 2));
    CHECK_EQ(sent, pp_buffer_size(&stream));
    (void)receive(reader, NULL, 0, &lent);
    CHECK(lent <= 64 * 1024);
    pp_frame_reader_free(reader);
    pp_buffer_deinit(&stream);
}

static void the_head_of_the_next_frame_survives_when_memory_goes_back(void)
{
    enum { BIG = 300000 };
    struct pp_frame_reader *reader = NULL;
    struct pp_buffer stream;
    const uint8_t *body = NULL;
    size_t lent = 0;
    size_t n = 0;

    pp_buffer_init(&stream, MIB);
    add_frame(&stream, BIG, 1);
    add_frame(&stream, 100, 2);
    CHECK_EQ(pp_frame_reader_new(BIG, &reader), 0);
    feed_raw(reader, pp_buffer_bytes(&stream), pp_buffer_size(&stream) - 50);
    CHECK_EQ(pp_frame_reader_next(reader, &body, &n), 0);
    CHECK(n == BIG && is_body(body, n, 1));
    CHECK_EQ(pp_frame_reader_next(reader, &body, &n), PP_FRAME_MORE);
    CHECK(pp_frame_reader_partial(reader));
    CHECK_EQ(receive(reader, pp_buffer_bytes(&stream) + pp_buffer_size(&stream) - 50, 50, &lent),
             50);
    CHECK(lent <= 64 * 1024);
    CHECK_EQ(pp_frame_reader_next(reader, &body, &n), 0);
    CHECK(n == 100 && is_body(body, n, 2));
    pp_frame_reader_free(reader);
    pp_buffer_deinit(&stream);
}

PP_TESTS(PP_TEST(a_header_is_four_bytes_with_the_highest_first),
         PP_TEST(frames_cut_into_chunks_of_any_size_come_out_whole),
         PP_TEST(a_frame_cut_at_each_byte_waits_and_then_comes),
         PP_TEST(a_length_over_the_limit_is_refused_for_good),
         PP_TEST(a_frame_without_a_body_is_refused_for_good),
         PP_TEST(a_refused_length_gets_no_memory),
         PP_TEST(limits_that_no_length_can_have_are_an_error),
         PP_TEST(a_lent_body_stays_while_the_next_one_is_taken),
         PP_TEST(bytes_nobody_takes_are_bounded),
         PP_TEST(a_big_body_is_received_in_few_reads_and_its_memory_goes_back),
         PP_TEST(the_head_of_the_next_frame_survives_when_memory_goes_back))
