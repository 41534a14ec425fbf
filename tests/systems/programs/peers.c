/* Who is at the other end: peers listen PATH, which takes two connections, and peers connect PATH.
 *
 * Each side says whether it sees the other's process (its number, where it is the first or none at all) and its user,
 * by SO_PEERCRED and by SCM_CREDENTIALS; the client passes a descriptor of a file that only it has.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void say(const char *how, struct ucred who) {
    char number[16];
    snprintf(number, sizeof number, "%d", (int)who.pid);
    printf("%s: process %s, user %d, group %d\n", how, who.pid > 1 ? "seen" : number, (int)who.uid, (int)who.gid);
}

static void say_peer(int fd) {
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size))
        err(1, "SO_PEERCRED");
    say("peer", peer);
}

static void receive(int fd) {
    char data[64], control[256], text[64] = "";
    struct iovec part = {data, sizeof data};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    if (got <= 0)
        err(1, "recvmsg");
    printf("received %.*s\n", (int)got, data);
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_type == SCM_CREDENTIALS) {
            struct ucred sender;
            memcpy(&sender, CMSG_DATA(header), sizeof sender);
            say("sender", sender);
        } else if (header->cmsg_type == SCM_RIGHTS) {
            int file;
            memcpy(&file, CMSG_DATA(header), sizeof file);
            if (pread(file, text, sizeof text - 1, 0) < 0)
                err(1, "pread");
            printf("file: %s\n", text);
            close(file);
        }
    }
}

static void send_file(int fd, const char *text) {
    int file = memfd_create("passed", MFD_CLOEXEC);
    if (file < 0 || write(file, text, strlen(text)) < 0)
        err(1, "memfd_create");
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof file)];
    } control = {.header = {CMSG_LEN(sizeof file), SOL_SOCKET, SCM_RIGHTS}};
    memcpy(CMSG_DATA(&control.header), &file, sizeof file);
    struct iovec part = {"hello", 5};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    if (sendmsg(fd, &message, 0) != 5)
        err(1, "sendmsg");
    close(file);
}

int main(int argc, char **argv) {
    if (argc != 3)
        errx(2, "usage: peers listen|connect PATH");
    setvbuf(stdout, NULL, _IOLBF, 0);
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    if (strlen(argv[2]) >= sizeof name.sun_path)
        errx(2, "too long: %s", argv[2]);
    strcpy(name.sun_path, argv[2]);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on))
        err(1, "socket");
    if (strcmp(argv[1], "connect") == 0) {
        if (connect(fd, (struct sockaddr *)&name, sizeof name))
            err(1, "connect");
        say_peer(fd);
        send_file(fd, "of the client");
        receive(fd);
        return 0;
    }
    if (bind(fd, (struct sockaddr *)&name, sizeof name) || listen(fd, 5))
        err(1, "%s", argv[2]);
    for (int turn = 0; turn < 2; turn++) {
        int other = accept(fd, NULL, NULL);
        if (other < 0)
            err(1, "accept");
        say_peer(other);
        receive(other);
        send_file(other, "of the server");
        char end; /* the client has what it asked for: as the first process of a container we take it with us */
        if (recv(other, &end, 1, 0) != 0)
            err(1, "no end of file");
        close(other);
    }
    return 0;
}
