/* test_socket.c - pairs, sends and receives, and descriptors that travel. */
#include "base/fd.h"
#include "check.h"
#include "ipc/socket.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/wait.h>

static int count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    if (!CHECK(dir != NULL))
        return -1;
    while (readdir(dir) != NULL)
        n++;
    (void)closedir(dir);
    return n;
}

static void a_pair_is_connected_close_on_exec_and_blocking(void)
{
    PP_AUTO_FD a = -1;
    PP_AUTO_FD b = -1;
    char text[8] = "";

    CHECK_EQ(pp_socket_pair(SOCK_STREAM, &a, &b), 0);
    CHECK_EQ(fcntl(a, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(fcntl(b, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(fcntl(a, F_GETFL) & O_NONBLOCK, 0);
    CHECK_EQ(pp_socket_send(a, "hallo", 5, 0), 5);
    CHECK_EQ(pp_socket_receive(b, text, sizeof(text), 0), 5);
    CHECK_BYTES(text, 5, "hallo", 5);
    CHECK_EQ(pp_socket_receive(b, text, sizeof(text), MSG_DONTWAIT), -EAGAIN);
}

static void the_end_of_the_peer_is_zero_and_a_send_to_it_epipe_without_a_signal(void)
{
    PP_AUTO_FD a = -1;
    int b = -1;
    char byte;

    CHECK_EQ(pp_socket_pair(SOCK_STREAM, &a, &b), 0);
    (void)pp_close(b);
    CHECK_EQ(pp_socket_receive(a, &byte, 1, 0), 0);
    CHECK_EQ(pp_socket_send(a, "x", 1, 0), -EPIPE);
}

static void a_pair_never_takes_the_numbers_of_the_standard_streams(void)
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        int a = -1, b = -1;

        for (int fd = 0; fd < 3; fd++)
            (void)close(fd);
        if (pp_socket_pair(SOCK_SEQPACKET, &a, &b) < 0)
            _exit(1);
        _exit(a > 2 && b > 2 && fcntl(0, F_GETFD) < 0 && fcntl(2, F_GETFD) < 0 ? 0 : 2);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

static void descriptors_arrive_in_order_and_close_on_exec(void)
{
    PP_AUTO_FD a = -1;
    PP_AUTO_FD b = -1;
    int ends[2], got[3] = {-1, -1, -1};
    size_t n = 0;
    char text[8];

    CHECK_EQ(pp_socket_pair(SOCK_SEQPACKET, &a, &b), 0);
    CHECK_EQ(pipe(ends), 0);
    CHECK_EQ(pp_socket_send_fds(a, "two", 3, ends, 2), 0);
    CHECK_EQ(pp_socket_receive_fds(b, text, sizeof(text), got, 3, &n, 0), 3);
    CHECK_EQ(n, 2);
    CHECK_EQ(fcntl(got[0], F_GETFD), FD_CLOEXEC);
    CHECK_EQ(write(got[1], "!", 1), 1);
    CHECK_EQ(read(ends[0], text, 1), 1);
    for (int i = 0; i < 2; i++) {
        (void)pp_close(got[i]);
        (void)pp_close(ends[i]);
    }
}

/* Sends `n` copies of stderr in one message without our own limit. */
static bool send_many(int fd, size_t n)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * 64)];
    } room;
    struct iovec iov = {.iov_base = (char[]){"m"}, .iov_len = 1};
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = room.bytes,
        .msg_controllen = CMSG_SPACE(sizeof(int) * n),
    };
    int fds[64];

    memset(&room, 0, sizeof(room));
    for (size_t i = 0; i < n; i++)
        fds[i] = STDERR_FILENO;
    room.align.cmsg_level = SOL_SOCKET;
    room.align.cmsg_type = SCM_RIGHTS;
    room.align.cmsg_len = CMSG_LEN(sizeof(int) * n);
    memcpy(CMSG_DATA(&room.align), fds, sizeof(int) * n);
    return sendmsg(fd, &msg, 0) == 1;
}

static void more_descriptors_than_asked_for_are_eproto_and_none_leaks(void)
{
    static const size_t counts[] = {3, 4, 16, 17, 18, 64};
    PP_AUTO_FD a = -1;
    PP_AUTO_FD b = -1;
    int before;

    CHECK_EQ(pp_socket_pair(SOCK_SEQPACKET, &a, &b), 0);
    before = count_fds();
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        int got[2];
        size_t n = 99;
        char byte;

        CHECK(send_many(a, counts[i]));
        CHECK_EQ(pp_socket_receive_fds(b, &byte, 1, got, 2, &n, 0), -EPROTO);
        CHECK_EQ(n, 99);
        CHECK_EQ(count_fds(), before);
    }
}

static void a_datagram_longer_than_the_room_is_eproto_and_its_descriptors_are_closed(void)
{
    PP_AUTO_FD a = -1;
    PP_AUTO_FD b = -1;
    int got[1], before, fd = STDERR_FILENO;
    size_t n = 0;
    char byte;

    CHECK_EQ(pp_socket_pair(SOCK_SEQPACKET, &a, &b), 0);
    before = count_fds();
    CHECK_EQ(pp_socket_send_fds(a, "long", 4, &fd, 1), 0);
    CHECK_EQ(pp_socket_receive_fds(b, &byte, 1, got, 1, &n, 0), -EPROTO);
    CHECK_EQ(count_fds(), before);
}

static void descriptors_sent_to_a_plain_receive_are_an_error_and_closed(void)
{
    PP_AUTO_FD a = -1;
    PP_AUTO_FD b = -1;
    int before;
    char byte;

    CHECK_EQ(pp_socket_pair(SOCK_STREAM, &a, &b), 0);
    before = count_fds();
    CHECK(send_many(a, 64));
    CHECK_EQ(pp_socket_receive(b, &byte, 1, 0), -EBADMSG);
    CHECK_EQ(count_fds(), before);
}

static void more_descriptors_than_one_message_may_carry_are_refused(void)
{
    PP_AUTO_FD a = -1;
    PP_AUTO_FD b = -1;
    int fds[17] = {0};

    CHECK_EQ(pp_socket_pair(SOCK_SEQPACKET, &a, &b), 0);
    CHECK_EQ(pp_socket_send_fds(a, "x", 1, fds, 17), -EINVAL);
}

static void descriptors_go_with_the_first_bytes_of_a_stream(void)
{
    PP_AUTO_FD a = -1;
    PP_AUTO_FD b = -1;
    int ends[2], got[4] = {-1, -1, -1, -1};
    size_t n = 0;
    bool lost = false;
    char text[8];

    CHECK_EQ(pp_socket_pair(SOCK_STREAM, &a, &b), 0);
    CHECK_EQ(pipe(ends), 0);
    CHECK_EQ(pp_socket_send(a, "one", 3, 0), 3);
    CHECK_EQ(pp_socket_send_attached(a, "two", 3, ends, 2, 0), 3);
    CHECK_EQ(pp_socket_send(a, "three", 5, 0), 5);
    /* However much is asked for, nothing comes from behind the bytes that carry descriptors. */
    for (size_t size = 0; size < 6;) {
        ssize_t one = pp_socket_receive_attached(b, text, sizeof(text), got, 4, &n, &lost, 0);

        if (!CHECK(one > 0))
            break;
        size += (size_t)one;
    }
    CHECK_EQ(n, 2);
    CHECK(!lost);
    CHECK_EQ(fcntl(got[0], F_GETFD), FD_CLOEXEC);
    CHECK_EQ(pp_socket_receive_attached(b, text, sizeof(text), got, 4, &n, &lost, 0), 5);
    CHECK_EQ(n, 2);
    for (int i = 0; i < 2; i++) {
        (void)pp_close(got[i]);
        (void)pp_close(ends[i]);
    }
}

static void descriptors_of_a_stream_that_find_no_room_are_lost_and_the_bytes_are_not(void)
{
    static const size_t counts[] = {3, 16, 17, 64};
    PP_AUTO_FD a = -1;
    PP_AUTO_FD b = -1;
    int before;

    CHECK_EQ(pp_socket_pair(SOCK_STREAM, &a, &b), 0);
    before = count_fds();
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        int got[2];
        size_t n = 0;
        bool lost = false;
        char byte = 0;

        CHECK(send_many(a, counts[i]));
        CHECK_EQ(pp_socket_receive_attached(b, &byte, 1, got, 2, &n, &lost, 0), 1);
        CHECK_EQ(byte, 'm');
        CHECK(lost);
        CHECK_EQ(n, 0);
        CHECK_EQ(count_fds(), before);
    }
}

PP_TESTS(PP_TEST(a_pair_is_connected_close_on_exec_and_blocking),
         PP_TEST(the_end_of_the_peer_is_zero_and_a_send_to_it_epipe_without_a_signal),
         PP_TEST(a_pair_never_takes_the_numbers_of_the_standard_streams),
         PP_TEST(descriptors_arrive_in_order_and_close_on_exec),
         PP_TEST(more_descriptors_than_asked_for_are_eproto_and_none_leaks),
         PP_TEST(a_datagram_longer_than_the_room_is_eproto_and_its_descriptors_are_closed),
         PP_TEST(descriptors_sent_to_a_plain_receive_are_an_error_and_closed),
         PP_TEST(more_descriptors_than_one_message_may_carry_are_refused),
         PP_TEST(descriptors_go_with_the_first_bytes_of_a_stream),
         PP_TEST(descriptors_of_a_stream_that_find_no_room_are_lost_and_the_bytes_are_not))
