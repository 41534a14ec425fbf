/* The C library: epoll, and threads that block; SCM_RIGHTS.
 *
 * echo serve ADDRESS: sends back in capitals what it is sent, and the contents of files instead of their descriptors.
 * echo call ADDRESS: talks with it. An address that begins with @ is abstract.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { AT_ONCE = 50, MANY = 300000 };
static struct sockaddr_un address;
static socklen_t address_size;

static void name(const char *text) {
    address.sun_family = AF_UNIX;
    if (strlen(text) >= sizeof address.sun_path)
        errx(2, "too long: %s", text);
    memset(address.sun_path, 0, sizeof address.sun_path);
    memcpy(address.sun_path, text, strlen(text));
    if (*text == '@')
        address.sun_path[0] = '\0';
    address_size = offsetof(struct sockaddr_un, sun_path) + strlen(text) + (*text != '@');
}

static void send_all(int fd, const char *data, size_t size) {
    while (size > 0) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            err(1, "send");
        data += sent > 0 ? sent : 0;
        size -= sent > 0 ? sent : 0;
    }
}

static int answer(int fd) {
    static char data[65536];
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec part = {data, sizeof data};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    if (got <= 0)
        return 0;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_type == SCM_RIGHTS) {
        int file;
        memcpy(&file, CMSG_DATA(header), sizeof file);
        if ((got = pread(file, data, sizeof data, 0)) < 0)
            err(1, "pread");
        close(file);
    }
    for (ssize_t at = 0; at < got; at++)
        data[at] = toupper((unsigned char)data[at]);
    send_all(fd, data, got);
    return 1;
}

static void serve(void) {
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), epoll = epoll_create1(EPOLL_CLOEXEC);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, address_size) || listen(listener, 100))
        err(1, "listen");
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event))
        err(1, "epoll_ctl");
    while (epoll_wait(epoll, &event, 1, -1) >= 0) {
        int fd = event.data.fd;
        if (fd == listener) {
            event.data.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
            if (event.data.fd < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event))
                err(1, "accept4");
        } else if (!answer(fd)) {
            close(fd);
        }
    }
    err(1, "epoll_wait");
}

static int reach(void) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, address_size))
        err(1, "connect");
    return fd;
}

static char *ask(int fd, const char *words, char *room, size_t size) {
    send_all(fd, words, strlen(words));
    ssize_t got = recv(fd, room, size - 1, 0);
    room[got > 0 ? got : 0] = '\0';
    return room;
}

static void *one_of_many(void *unused) {
    (void)unused;
    char room[16];
    int fd = reach();
    void *good = strcmp(ask(fd, "many", room, sizeof room), "MANY") ? NULL : "good";
    close(fd);
    return good;
}

static void *fill(void *fd) {
    char *text = malloc(MANY);
    memset(text, 'x', MANY);
    send_all(*(int *)fd, text, MANY);
    shutdown(*(int *)fd, SHUT_WR);
    free(text);
    return NULL;
}

static void failure(const char *what, const char *where) {
    name(where);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&address, address_size))
        printf("%s: %s\n", what, strerror(errno));
    close(fd);
}

static void call(void) {
    char room[65536];
    int fd = reach(), count = 0, good = 0;
    printf("said: %s\n", ask(fd, "hello from C", room, sizeof room));
    pthread_t threads[AT_ONCE];
    pthread_create(&threads[0], NULL, fill, &fd);
    for (ssize_t got; (got = recv(fd, room, sizeof room, 0)) > 0;)
        for (ssize_t at = 0; at < got; at++)
            count += room[at] == 'X';
    pthread_join(threads[0], NULL);
    close(fd);
    printf("half-closed: %d\n", count);
    for (int at = 0; at < AT_ONCE; at++)
        pthread_create(&threads[at], NULL, one_of_many, NULL);
    for (int at = 0; at < AT_ONCE; at++) {
        void *result;
        pthread_join(threads[at], &result);
        good += result != NULL;
    }
    printf("at once: %d\n", good);
    fd = reach();
    int file = open("passed", O_RDONLY | O_CLOEXEC);
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof file)];
    } control = {.header = {CMSG_LEN(sizeof file), SOL_SOCKET, SCM_RIGHTS}};
    memcpy(CMSG_DATA(&control.header), &file, sizeof file);
    struct iovec part = {"f", 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    if (file < 0 || sendmsg(fd, &message, 0) != 1)
        err(1, "sendmsg");
    printf("file: %s", ask(fd, "", room, sizeof room));
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair))
        err(1, "socketpair");
    send_all(pair[0], "a record", 8);
    printf("pair: %s\n", ask(pair[1], "", room, sizeof room));
    failure("no such", "absent");
    failure("refused", "passed");
}

int main(int argc, char **argv) {
    if (argc != 3)
        errx(2, "usage: echo serve|call ADDRESS");
    name(argv[2]);
    if (strcmp(argv[1], "serve") == 0)
        serve();
    call();
    return 0;
}
