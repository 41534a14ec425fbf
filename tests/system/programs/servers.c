/* Servers of the usual makes: prefork, one child a connection, a daemon that outlives its starter, socket activation. */
#include "check.h"

static void ask(const char *name, int number) {
    int fd = connected_to(SOCK_STREAM, name), back = 0;
    write_fully(fd, &number, sizeof number);
    CHECK(read_fully(fd, &back, sizeof back) && back == number * 2 + 1);
    CHECK(read(fd, &back, 1) == 0);
    TRY(close(fd));
}

static int answer(int peer) {
    int number;
    CHECK(read_fully(peer, &number, sizeof number));
    int back = number * 2 + 1;
    write_fully(peer, &back, sizeof back);
    TRY(close(peer));
    return number;
}

enum { WORKERS = 4, CLIENTS = 200 };

/* Four workers accept on one listener; four processes make fifty connections each. A worker is told to stop by -1. */
static void prefork(int backlog) {
    int listener = listener_at(SOCK_STREAM, "server", backlog);
    int *served = mmap(NULL, (CLIENTS + 1) * sizeof *served, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(served != MAP_FAILED);
    pid_t workers[WORKERS], clients[4];
    for (int i = 0; i < WORKERS; i++)
        if ((workers[i] = child()) == 0)
            for (;;) {
                int number = answer((int)TRY(accept4(listener, NULL, NULL, SOCK_CLOEXEC)));
                if (number == -1)
                    _exit(0);
                __atomic_add_fetch(&served[number], 1, __ATOMIC_RELAXED);
            }
    TRY(close(listener));
    for (int i = 0; i < 4; i++)
        if ((clients[i] = child()) == 0) {
            for (int number = i; number < CLIENTS; number += 4)
                ask("server", number);
            _exit(0);
        }
    for (int i = 0; i < 4; i++)
        join(clients[i]);
    for (int i = 0; i < WORKERS; i++)
        ask("server", -1);
    for (int i = 0; i < WORKERS; i++)
        join(workers[i]);
    for (int i = 0; i < CLIENTS; i++)
        CHECK(served[i] == 1);
    say("%d connections served once each", CLIENTS);
    ERR(connect_fd(new_socket(SOCK_STREAM), "server"), ECONNREFUSED);
}

CASE(prefork_short_queue) { prefork(0); }
CASE(prefork_long_queue) { prefork(100); }

CASE(child_for_each_connection) {
    int listener = listener_at(SOCK_STREAM, "@server", 5);
    pid_t server = child();
    if (server == 0) {
        for (int i = 0; i < 20; i++) {
            int peer = (int)TRY(accept(listener, NULL, NULL));
            pid_t worker = child();
            if (worker == 0) {
                TRY(close(listener));
                answer(peer);
                _exit(0);
            }
            TRY(close(peer));
            join(worker);
        }
        _exit(0);
    }
    TRY(close(listener));
    for (int i = 0; i < 20; i++)
        ask("@server", i);
    join(server);
    say("20 children");
}

/* Forks twice, with a session of its own, and goes on when everybody who started it is gone. */
CASE(daemon_outlives_its_starter) {
    struct gate gone = gate(), serving = gate();
    int life[2];
    make_pair(SOCK_STREAM, life);
    pid_t starter = child();
    if (starter == 0) {
        pid_t middle = (pid_t)TRY(fork());
        if (middle == 0) {
            TRY(setsid());
            pid_t daemon = (pid_t)TRY(fork());
            if (daemon != 0)
                _exit(0);
            alarm(WATCHDOG_SECONDS);
            TRY(chdir("/"));
            int null = (int)TRY(open("/dev/null", O_RDWR));
            for (int fd = 0; fd < 2; fd++)
                TRY(dup2(null, fd));
            TRY(close(life[0]));
            int listener = listener_at(SOCK_STREAM, "server", 5);
            await(&gone);
            pass(&serving);
            while (answer((int)TRY(accept(listener, NULL, NULL))) != -1)
                ;
            TRY(unlink(path_of("server")));
            _exit(0);
        }
        join(middle);
        _exit(0);
    }
    TRY(close(life[1]));
    join(starter);
    pass(&gone);
    await(&serving);
    for (int i = 0; i < 10; i++)
        ask("server", i);
    char byte;
    ERR(recv(life[0], &byte, 1, MSG_DONTWAIT), EAGAIN);
    ask("server", -1);
    RET(recv(life[0], &byte, 1, 0), 0); /* the daemon has gone */
    ERR(connect_fd(new_socket(SOCK_STREAM), "server"), ENOENT);
}

/* The service is restarted: the new one unlinks the stale path, binds again, and gets the new clients only. */
CASE(restarted_service) {
    struct gate ready = gate();
    for (int life = 0; life < 3; life++) {
        pid_t server = child();
        if (server == 0) {
            int fd = new_socket(SOCK_STREAM);
            struct sockaddr_un address;
            socklen_t size = name_of(&address, "server");
            if (life) {
                ERR(bind(fd, (struct sockaddr *)&address, size), EADDRINUSE);
                RET(unlink(address.sun_path), 0);
            }
            RET(bind(fd, (struct sockaddr *)&address, size), 0);
            RET(listen(fd, 5), 0);
            pass(&ready);
            while (answer((int)TRY(accept(fd, NULL, NULL))) != -1)
                ;
            _exit(0);
        }
        await(&ready);
        ask("server", 5);
        ask("server", 6);
        ask("server", -1);
        join(server);
        ERR(connect_fd(new_socket(SOCK_STREAM), "server"), ECONNREFUSED);
    }
}

/* The listener is opened by one process and served by another that inherits it when the first client is there. */
CASE(activation) {
    int listener = listener_at(SOCK_STREAM, "server", 5);
    pid_t client = child();
    if (client == 0) {
        ask("server", 1);
        ask("server", 2);
        _exit(0);
    }
    RET(poll(&(struct pollfd){listener, POLLIN, 0}, 1, 10000), 1);
    pid_t server = child();
    if (server == 0) {
        for (int i = 0; i < 2; i++)
            answer((int)TRY(accept(listener, NULL, NULL)));
        _exit(0);
    }
    join(client);
    join(server);
}

/* A master accepts and hands each connection to a worker, which says when it is done. */
CASE(hand_over_to_workers) {
    int listener = listener_at(SOCK_SEQPACKET, "server", 20), channels[WORKERS][2];
    pid_t workers[WORKERS];
    for (int i = 0; i < WORKERS; i++) {
        make_pair(SOCK_SEQPACKET, channels[i]);
        if ((workers[i] = child()) == 0) {
            char data[8];
            int fd, count = 1, flags = MSG_CMSG_CLOEXEC;
            for (int j = 0; j <= i; j++)
                TRY(close(channels[j][0]));
            while (recv_fds(channels[i][1], data, sizeof data, &fd, &count, &flags) > 0) {
                CHECK(count == 1);
                answer(fd);
                count = 1, flags = MSG_CMSG_CLOEXEC;
            }
            _exit(0);
        }
        TRY(close(channels[i][1]));
    }
    pid_t client = child();
    if (client == 0) {
        for (int number = 0; number < 60; number++) {
            int fd = connected_to(SOCK_SEQPACKET, "server"), back = 0;
            CHECK(send(fd, &number, sizeof number, 0) == sizeof number);
            CHECK(recv(fd, &back, sizeof back, 0) == sizeof back && back == number * 2 + 1);
            CHECK(recv(fd, &back, sizeof back, 0) == 0);
            TRY(close(fd));
        }
        _exit(0);
    }
    for (int i = 0; i < 60; i++) {
        int peer = (int)TRY(accept(listener, NULL, NULL));
        CHECK(send_fds(channels[i % WORKERS][0], "c", 1, &peer, 1, 0) == 1);
        TRY(close(peer));
    }
    join(client);
    for (int i = 0; i < WORKERS; i++) {
        TRY(close(channels[i][0]));
        join(workers[i]);
    }
    say("60 connections handed over");
}

/* A tree of processes, each with a pair to its parent; a number is passed down to the leaves and comes back added up. */
static int tree(int depth, int number) {
    if (depth == 0)
        return number;
    int sums[2], sides[2][2];
    pid_t others[2];
    for (int i = 0; i < 2; i++) {
        make_pair(SOCK_STREAM, sides[i]);
        if ((others[i] = child()) == 0) {
            int got;
            TRY(close(sides[i][0]));
            CHECK(read_fully(sides[i][1], &got, sizeof got));
            got = tree(depth - 1, got);
            write_fully(sides[i][1], &got, sizeof got);
            _exit(0);
        }
        TRY(close(sides[i][1]));
    }
    for (int i = 0; i < 2; i++) {
        int sent = number * 2 + i;
        write_fully(sides[i][0], &sent, sizeof sent);
    }
    for (int i = 0; i < 2; i++) {
        CHECK(read_fully(sides[i][0], &sums[i], sizeof sums[i]));
        TRY(close(sides[i][0]));
        join(others[i]);
    }
    return sums[0] + sums[1];
}

CASE(tree_of_processes) { RET(tree(4, 1), 16 * 16 + 15 * 16 / 2); }
