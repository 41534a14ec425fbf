/* The first things that anyone does with Unix sockets, each between two processes. */
#include "check.h"

#include <sys/file.h>

static void serve_and_call(int type, const char *name) {
    struct gate listening = gate();
    pid_t server = child();
    if (server == 0) {
        int listener = new_socket(type);
        struct sockaddr_un address;
        socklen_t size = name_of(&address, name);
        RET(bind(listener, (struct sockaddr *)&address, size), 0);
        RET(listen(listener, 5), 0);
        pass(&listening);
        int peer = (int)TRY(accept(listener, NULL, NULL));
        say_received("server", peer);
        send_text(peer, "and good day to you");
        char byte;
        RET(recv(peer, &byte, 1, 0), 0);
        _exit(0);
    }
    await(&listening);
    int fd = new_socket(type);
    RET(connect_fd(fd, name), 0);
    send_text(fd, "good day");
    say_received("client", fd);
    TRY(close(fd));
    join(server);
}

CASE(path_stream) { serve_and_call(SOCK_STREAM, "socket"); }
CASE(path_seqpacket) { serve_and_call(SOCK_SEQPACKET, "socket"); }
CASE(abstract_stream) { serve_and_call(SOCK_STREAM, "@stream"); }
CASE(abstract_seqpacket) { serve_and_call(SOCK_SEQPACKET, "@seqpacket"); }

/* The well-known name is one for the whole machine, so the runs of this case queue for it. */
CASE(tmp_test_sock) {
    int lock = (int)TRY(open("/tmp/test.sock.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0666));
    TRY(flock(lock, LOCK_EX));
    unlink("/tmp/test.sock");
    directory = "/tmp";
    serve_and_call(SOCK_STREAM, "test.sock");
    struct stat status;
    RET(stat("/tmp/test.sock", &status), 0);
    RET(S_ISSOCK(status.st_mode), 1);
    RET(unlink("/tmp/test.sock"), 0);
}

static void call_by_datagram(const char *server_name, const char *client_name) {
    struct gate bound = gate();
    pid_t server = child();
    if (server == 0) {
        int fd = bound_at(SOCK_DGRAM, server_name);
        pass(&bound);
        char data[64];
        struct sockaddr_un from;
        socklen_t size = sizeof from;
        ssize_t got = TRY(recvfrom(fd, data, sizeof data, 0, (struct sockaddr *)&from, &size));
        struct sockaddr_un expected;
        CHECK(size == name_of(&expected, client_name) && memcmp(&from, &expected, size) == 0);
        say("server received %zd: \"%.*s\" from the client's name", got, (int)got, data);
        CHECK(sendto(fd, "back", 4, 0, (struct sockaddr *)&from, size) == 4);
        _exit(0);
    }
    await(&bound);
    int fd = bound_at(SOCK_DGRAM, client_name);
    struct sockaddr_un to;
    socklen_t size = name_of(&to, server_name);
    CHECK(sendto(fd, "forth", 5, 0, (struct sockaddr *)&to, size) == 5);
    say_received("client", fd);
    join(server);
}

CASE(path_dgram) { call_by_datagram("server", "client"); }
CASE(abstract_dgram) { call_by_datagram("@server", "@client"); }

static void pair_over_fork(int type) {
    int sides[2];
    make_pair(type, sides);
    pid_t other = child();
    if (other == 0) {
        TRY(close(sides[0]));
        say_received("child", sides[1]);
        send_text(sides[1], "hello, parent");
        if (type != SOCK_DGRAM) {
            char byte;
            RET(recv(sides[1], &byte, 1, 0), 0);
        }
        _exit(0);
    }
    TRY(close(sides[1]));
    send_text(sides[0], "hello, child");
    say_received("parent", sides[0]);
    TRY(shutdown(sides[0], SHUT_WR));
    join(other);
    if (type != SOCK_DGRAM) {
        char byte;
        RET(recv(sides[0], &byte, 1, 0), 0);
        ERR(send(sides[0], "x", 1, MSG_NOSIGNAL), EPIPE);
    }
}

CASE(socketpair_stream) { pair_over_fork(SOCK_STREAM); }
CASE(socketpair_seqpacket) { pair_over_fork(SOCK_SEQPACKET); }
CASE(socketpair_dgram) { pair_over_fork(SOCK_DGRAM); }

/* The descriptor that arrives is the same open file: one offset, moved by both. */
static void pass_open_file(int type) {
    const char *path = path_of("file");
    int writing = (int)TRY(open(path, O_WRONLY | O_CREAT | O_EXCL, 0600));
    write_fully(writing, "0123456789abcdef", 16);
    TRY(close(writing));

    int sides[2];
    make_pair(type, sides);
    pid_t other = child();
    if (other == 0) {
        TRY(close(sides[0]));
        int file = recv_fd(sides[1]);
        char data[8] = "";
        RET(read(file, data, 5), 5);
        say("child read \"%s\"", data);
        RET(lseek(file, 12, SEEK_SET), 12);
        send_text(sides[1], "read");
        _exit(0);
    }
    TRY(close(sides[1]));
    int file = (int)TRY(open(path, O_RDONLY | O_CLOEXEC));
    char data[8] = "";
    RET(read(file, data, 4), 4);
    say("parent read \"%s\"", data);
    CHECK(send_fds(sides[0], "f", 1, &file, 1, 0) == 1);
    say_received("parent", sides[0]);
    RET(lseek(file, 0, SEEK_CUR), 12);
    memset(data, 0, sizeof data);
    RET(read(file, data, 7), 4);
    say("parent read \"%s\"", data);
    join(other);
}

CASE(rights_stream) { pass_open_file(SOCK_STREAM); }
CASE(rights_seqpacket) { pass_open_file(SOCK_SEQPACKET); }
CASE(rights_dgram) { pass_open_file(SOCK_DGRAM); }

/* The child got the only descriptor of a file that was closed and unlinked before it arrived. */
CASE(rights_last_reference) {
    const char *path = path_of("file");
    int file = (int)TRY(open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    write_fully(file, "only here", 9);
    TRY(lseek(file, 5, SEEK_SET));
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    struct gate gone = gate();
    pid_t other = child();
    if (other == 0) {
        TRY(close(sides[0]));
        TRY(close(file));
        await(&gone);
        int came = recv_fd(sides[1]);
        char data[8] = "";
        RET(read(came, data, sizeof data), 4);
        say("child read \"%s\"", data);
        struct stat status;
        TRY(fstat(came, &status));
        RET(status.st_nlink, 0);
        _exit(0);
    }
    CHECK(send_fds(sides[0], "f", 1, &file, 1, 0) == 1);
    TRY(close(file));
    TRY(unlink(path));
    TRY(close(sides[0]));
    pass(&gone);
    join(other);
}
