/* Names: every form that getsockname and getpeername show, addresses cut short, what bind and connect refuse. */
#include "check.h"

enum { PATH_OFFSET = offsetof(struct sockaddr_un, sun_path) };

/* Without the parts that differ from run to run: the directory and the process id in abstract names. */
static void say_address(const char *what, const struct sockaddr_un *address, socklen_t size) {
    char text[512] = "";
    size_t end = 0, in_path = size > PATH_OFFSET ? size - PATH_OFFSET : 0, own = strlen(directory);
    const char *path = address->sun_path, *shown = path;
    char plain[128];
    if (in_path > own && memcmp(path, directory, own) == 0) {
        int left = snprintf(plain, sizeof plain, "<dir>");
        memcpy(plain + left, path + own, in_path - own);
        shown = plain, in_path = in_path - own + (size_t)left;
    }
    char id[16];
    snprintf(id, sizeof id, "%08d", root_pid);
    for (size_t i = 0; i < in_path; i++)
        if (i + 8 <= in_path && memcmp(shown + i, id, 8) == 0)
            end += (size_t)sprintf(text + end, "<pid>"), i += 7;
        else if (shown[i])
            text[end++] = shown[i];
        else
            end += (size_t)sprintf(text + end, "\\0");
    say("%s: length %d, family %d, path \"%s\"", what, shown == plain ? -1 : (int)size, size >= 2 ? address->sun_family : -1, text);
}

static void say_own(const char *what, int fd) {
    struct sockaddr_un address;
    memset(&address, 0xff, sizeof address);
    socklen_t size = sizeof address;
    RET(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    say_address(what, &address, size);
}

static void say_peer(const char *what, int fd) {
    struct sockaddr_un address;
    memset(&address, 0xff, sizeof address);
    socklen_t size = sizeof address;
    RET(getpeername(fd, (struct sockaddr *)&address, &size), 0);
    say_address(what, &address, size);
}

static void names_of_connection(int type, const char *server_name, const char *client_name) {
    int listener = listener_at(type, server_name, 1);
    say_own("listener", listener);
    ERR(getpeername(listener, &(struct sockaddr){0}, &(socklen_t){sizeof(struct sockaddr)}), ENOTCONN);
    int client = client_name ? bound_at(type, client_name) : new_socket(type);
    say_own("client before connect", client);
    ERR(getpeername(client, &(struct sockaddr){0}, &(socklen_t){sizeof(struct sockaddr)}), ENOTCONN);
    RET(connect_fd(client, server_name), 0);
    say_own("client", client);
    say_peer("client's peer", client);
    struct sockaddr_un from;
    memset(&from, 0xff, sizeof from);
    socklen_t size = sizeof from;
    int accepted = (int)TRY(accept(listener, (struct sockaddr *)&from, &size));
    say_address("accepted from", &from, size);
    say_own("accepted", accepted);
    say_peer("accepted's peer", accepted);
    TRY(close(client));
    say_peer("accepted's peer once closed", accepted);
}

CASE(path_stream) { names_of_connection(SOCK_STREAM, "server", "client"); }
CASE(path_stream_client_unbound) { names_of_connection(SOCK_STREAM, "server", NULL); }
CASE(path_seqpacket) { names_of_connection(SOCK_SEQPACKET, "server", "client"); }
CASE(abstract_stream) { names_of_connection(SOCK_STREAM, "@server", "@client"); }
CASE(abstract_seqpacket_client_unbound) { names_of_connection(SOCK_SEQPACKET, "@server", NULL); }

CASE(datagram_senders) {
    int server = bound_at(SOCK_DGRAM, "server");
    const char *const clients[] = {"client", "@client", NULL};
    for (int i = 0; i < 3; i++) {
        int client = clients[i] ? bound_at(SOCK_DGRAM, clients[i]) : new_socket(SOCK_DGRAM);
        RET(connect_fd(client, "server"), 0);
        say_own("client", client);
        say_peer("client's peer", client);
        RET(send(client, "x", 1, 0), 1);
        struct sockaddr_un from;
        memset(&from, 0xff, sizeof from);
        socklen_t size = sizeof from;
        char byte;
        RET(recvfrom(server, &byte, 1, 0, (struct sockaddr *)&from, &size), 1);
        if (size)
            say_address("came from", &from, size);
        else
            say("came from: length 0");
        TRY(close(client));
    }
}

CASE(pairs) {
    const int types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
    for (int i = 0; i < 3; i++) {
        int sides[2];
        make_pair(types[i], sides);
        say_own("side", sides[0]);
        say_peer("peer", sides[0]);
        TRY(close(sides[1]));
        struct sockaddr_un address;
        socklen_t size = sizeof address;
        RET(getpeername(sides[0], (struct sockaddr *)&address, &size), 0);
        RET(size, 2);
        TRY(close(sides[0]));
    }
}

CASE(autobind) {
    const int types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
    for (int i = 0; i < 3; i++) {
        int fd = new_socket(types[i]);
        struct sockaddr_un address = {.sun_family = AF_UNIX}, again;
        RET(bind(fd, (struct sockaddr *)&address, 2), 0);
        socklen_t size = sizeof address;
        RET(getsockname(fd, (struct sockaddr *)&address, &size), 0);
        RET(size, 8);
        RET(address.sun_path[0], 0);
        RET(strspn(address.sun_path + 1, "0123456789abcdef"), 5);
        RET(bind(fd, (struct sockaddr *)&(struct sockaddr_un){.sun_family = AF_UNIX}, 2), 0);
        socklen_t same = sizeof again;
        RET(getsockname(fd, (struct sockaddr *)&again, &same), 0);
        RET(memcmp(&again, &address, size), 0);
        ERR(bind(fd, (struct sockaddr *)&(struct sockaddr_un){AF_UNIX, "\0other"}, 8), EINVAL);
    }
}

CASE(short_buffers) {
    int fd = bound_at(SOCK_STREAM, "@a-name");
    struct sockaddr_un whole, cut;
    socklen_t full = sizeof whole;
    TRY(getsockname(fd, (struct sockaddr *)&whole, &full));
    for (socklen_t room = 0; room <= full + 1; room += 3) {
        memset(&cut, 0x55, sizeof cut);
        socklen_t size = room;
        CHECK(getsockname(fd, (struct sockaddr *)&cut, &size) == 0);
        socklen_t copied = room < full ? room : full;
        CHECK(memcmp(&cut, &whole, copied) == 0);
        CHECK(copied == sizeof cut || ((char *)&cut)[copied] == 0x55);
        say("room for %u: told %u", room, size);
    }
    socklen_t negative = (socklen_t)-1;
    ERR(getsockname(fd, (struct sockaddr *)&cut, &negative), EINVAL);
}

CASE(lengths_refused) {
    int listener = listener_at(SOCK_STREAM, "@server", 5);
    struct sockaddr_un address;
    socklen_t size = name_of(&address, "@server");
    int fd = new_socket(SOCK_STREAM);
    const struct sockaddr *at = (struct sockaddr *)&address;
    ERR(connect(fd, at, 0), EINVAL);
    ERR(connect(fd, at, 1), EINVAL);
    ERR(connect(fd, at, 2), EINVAL);
    ERR(connect(fd, at, 111), EINVAL);
    ERR(connect(fd, at, 129), EINVAL);
    ERR(connect(fd, at, (socklen_t)-1), EINVAL);
    ERR(connect(fd, at, size - 1), ECONNREFUSED);
    ERR(connect(fd, at, size + 1), ECONNREFUSED);
    ERR(bind(fd, at, 0), EINVAL);
    ERR(bind(fd, at, 1), EINVAL);
    ERR(bind(fd, at, 111), EINVAL);
    ERR(bind(fd, at, (socklen_t)-1), EINVAL);
    address.sun_family = AF_INET;
    ERR(connect(fd, at, size), EINVAL);
    ERR(bind(fd, at, size), EINVAL);
    address.sun_family = AF_UNSPEC;
    ERR(connect(fd, at, size), EINVAL);
    address.sun_family = AF_UNIX;
    RET(connect(fd, at, size), 0);
    ERR(connect(fd, at, size), EISCONN);
    ERR(bind(listener, at, size), EINVAL);
    ERR(bind(new_socket(SOCK_STREAM), at, size), EADDRINUSE);
}

/* Every byte of an abstract name counts, NULs too. */
CASE(abstract_bytes) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, "\0afunix-00000000-n\0n\0\0", 22);
    snprintf(address.sun_path + 8, 9, "%08d", root_pid);
    address.sun_path[16] = '-';
    int fds[4];
    for (int i = 0; i < 4; i++) {
        fds[i] = new_socket(SOCK_STREAM);
        RET(bind(fds[i], (struct sockaddr *)&address, (socklen_t)(PATH_OFFSET + 19 + i)), 0);
        RET(listen(fds[i], 1), 0);
        say_own("bound", fds[i]);
    }
    for (int i = 3; i >= 0; i--) {
        int client = new_socket(SOCK_STREAM);
        RET(connect(client, (struct sockaddr *)&address, (socklen_t)(PATH_OFFSET + 19 + i)), 0);
        TRY(close(client));
        RET(close(accept(fds[i], NULL, NULL)), 0);
    }
    TRY(close(fds[2]));
    ERR(connect(new_socket(SOCK_STREAM), (struct sockaddr *)&address, PATH_OFFSET + 21), ECONNREFUSED);
}

CASE(abstract_types_apart) {
    int stream = listener_at(SOCK_STREAM, "@same", 1), packets = listener_at(SOCK_SEQPACKET, "@same", 1);
    int datagrams = bound_at(SOCK_DGRAM, "@same");
    int client = connected_to(SOCK_STREAM, "@same"), other = connected_to(SOCK_SEQPACKET, "@same");
    int third = connected_to(SOCK_DGRAM, "@same");
    send_text(client, "to the stream");
    send_text(other, "to the packets");
    send_text(third, "to the datagrams");
    say_received("stream", (int)TRY(accept(stream, NULL, NULL)));
    say_received("packets", (int)TRY(accept(packets, NULL, NULL)));
    say_received("datagrams", datagrams);
    TRY(close(datagrams));
    ERR(connect_fd(new_socket(SOCK_DGRAM), "@same"), ECONNREFUSED);
}

CASE(path_of_other_type) {
    bound_at(SOCK_DGRAM, "datagrams");
    listener_at(SOCK_STREAM, "stream", 1);
    ERR(connect_fd(new_socket(SOCK_STREAM), "datagrams"), EPROTOTYPE);
    ERR(connect_fd(new_socket(SOCK_SEQPACKET), "stream"), EPROTOTYPE);
    ERR(connect_fd(new_socket(SOCK_DGRAM), "stream"), EPROTOTYPE);
}

CASE(socket_arguments) {
    int sides[2];
    ERR(socket(AF_UNIX, 17, 0), EINVAL);
    ERR(socket(AF_UNIX, SOCK_RDM, 0), ESOCKTNOSUPPORT);
    ERR(socket(AF_UNIX, SOCK_STREAM, 7), EPROTONOSUPPORT);
    ERR(socket(AF_UNIX, SOCK_STREAM | 0x1000, 0), EINVAL);
    ERR(socketpair(AF_UNIX, SOCK_RDM, 0, sides), ESOCKTNOSUPPORT);
    ERR(socketpair(AF_UNIX, SOCK_STREAM, 7, sides), EPROTONOSUPPORT);
    ERR(socketpair(AF_INET, SOCK_STREAM, 0, sides), EOPNOTSUPP);
    int fd = (int)TRY(socket(AF_UNIX, SOCK_RAW, 0)), type;
    socklen_t size = sizeof type;
    RET(getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size), 0);
    RET(type, SOCK_DGRAM);
    fd = (int)TRY(socket(AF_UNIX, SOCK_STREAM, PF_UNIX));
    RET(getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &type, &size), 0);
    RET(type, AF_UNIX);
    RET(getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &type, &size), 0);
    say("protocol %d", type);
    fd = (int)TRY(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    RET(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    RET(fcntl(fd, F_GETFD), FD_CLOEXEC);
    RET(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, sides), 0);
    RET(fcntl(sides[1], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    RET(fcntl(sides[1], F_GETFD), 0);
}

CASE(operations_by_state) {
    int stream = new_socket(SOCK_STREAM), datagrams = new_socket(SOCK_DGRAM), packets = new_socket(SOCK_SEQPACKET);
    char byte;
    ERR(listen(stream, 1), EINVAL);
    ERR(listen(datagrams, 1), EOPNOTSUPP);
    ERR(accept(stream, NULL, NULL), EINVAL);
    ERR(accept(datagrams, NULL, NULL), EOPNOTSUPP);
    ERR(recv(stream, &byte, 1, 0), EINVAL);
    ERR(recv(packets, &byte, 1, 0), ENOTCONN);
    ERR(send(stream, "x", 1, MSG_NOSIGNAL), ENOTCONN);
    ERR(send(packets, "x", 1, MSG_NOSIGNAL), ENOTCONN);
    ERR(send(datagrams, "x", 1, MSG_NOSIGNAL), ENOTCONN);
    RET(shutdown(stream, SHUT_RDWR), 0);
    ERR(shutdown(stream, 3), EINVAL);
    ERR(connect_fd(stream, "missing"), ENOENT);
    ERR(connect_fd(stream, "@missing"), ECONNREFUSED);
    int pipes[2];
    TRY(pipe2(pipes, O_CLOEXEC));
    ERR(listen(pipes[0], 1), ENOTSOCK);
    ERR(connect_fd(pipes[0], "missing"), ENOTSOCK);
    ERR(send(pipes[1], "x", 1, 0), ENOTSOCK);
    ERR(accept(pipes[0], NULL, NULL), ENOTSOCK);
    ERR(listen(999, 1), EBADF);
    ERR(recv(-1, &byte, 1, 0), EBADF);
    ERR(connect_fd(999, "missing"), EBADF);
}
