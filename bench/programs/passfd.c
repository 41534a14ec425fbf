/* Descriptors passed with SCM_RIGHTS from one process to another, one a message with one byte of data. One iteration
 * is sendmsg, recvmsg and the receiver's close. The passed descriptor is an open file, /dev/null. */
#include "bench.h"
#include <fcntl.h>

static char byte;
static struct iovec data = {.iov_base = &byte, .iov_len = 1};
static union {
    struct cmsghdr align;
    char space[CMSG_SPACE(sizeof(int))];
} control;

static void send_one(int fd, int passed)
{
    struct msghdr message = {
        .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof passed);
    memcpy(CMSG_DATA(rights), &passed, sizeof passed);
    exactly(sendmsg(fd, &message, 0), 1, "sendmsg");
}

static void receive_one(int fd)
{
    int passed;
    struct msghdr message = {
        .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    exactly(recvmsg(fd, &message, 0), 1, "recvmsg");
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    if (!rights || rights->cmsg_type != SCM_RIGHTS || rights->cmsg_len != CMSG_LEN(sizeof passed)) {
        errno = 0;
        fail("received message without its descriptor");
    }
    memcpy(&passed, CMSG_DATA(rights), sizeof passed);
    check(close(passed), "close of the received descriptor");
}

int main(int argc, char **argv)
{
    long n = iterations(argc, argv, 2, "N"), warm = n / 20 + 1;
    int pair[2];
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "socketpair");
    pid_t child = (pid_t)check(fork(), "fork");
    if (child == 0) {
        close(pair[0]);
        int passed = (int)check(open("/dev/null", O_RDONLY), "/dev/null");
        for (long i = 0; i < warm; i++)
            send_one(pair[1], passed);
        exactly(read(pair[1], &byte, 1), 1, "go"); /* nothing timed is sent before the clock starts */
        for (long i = 0; i < n; i++)
            send_one(pair[1], passed);
        _exit(0);
    }
    close(pair[1]);
    for (long i = 0; i < warm; i++)
        receive_one(pair[0]);
    uint64_t start = now();
    exactly(write(pair[0], "", 1), 1, "go");
    for (long i = 0; i < n; i++) {
        receive_one(pair[0]);
        checkpoint(i + 1);
    }
    report(now() - start, n);
    reap(child);
}
