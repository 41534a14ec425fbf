/* Signals in the middle of calls that wait: EINTR, SA_RESTART, nothing lost and nothing twice; SIGPIPE, SIGIO, stops. */
#include "check.h"

static volatile sig_atomic_t signals;
static struct gate handled;

static void count_signal(int signal) {
    (void)signal;
    signals++;
}

static void tell_signal(int signal) {
    int error = errno;
    (void)signal;
    signals++;
    pass(&handled);
    errno = error;
}

static void handle(int number, void (*handler)(int), int flags) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigemptyset(&action.sa_mask);
    TRY(sigaction(number, &action, NULL));
}

/* ---- one signal in one blocked call ---------------------------------------------------------------------------- */

static char block[300000];

struct scene {
    int fd;       /* what the child's call is about */
    int far;      /* what the parent uses to let it go on */
    size_t taken; /* by a full buffer, before the child's call */
};

static const char *server_name = "server";

static void connected_scene(struct scene *scene) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    *scene = (struct scene){sides[0], sides[1], 0};
}

static void packet_scene(struct scene *scene) {
    int sides[2];
    make_pair(SOCK_SEQPACKET, sides);
    *scene = (struct scene){sides[0], sides[1], 0};
}

static void full_scene(struct scene *scene, int type) {
    int sides[2];
    make_pair(type, sides);
    ssize_t put;
    *scene = (struct scene){sides[0], sides[1], 0};
    while ((put = send(sides[0], block, 30000, MSG_DONTWAIT)) > 0)
        scene->taken += (size_t)put;
}

static void full_stream_scene(struct scene *scene) { full_scene(scene, SOCK_STREAM); }
static void full_packet_scene(struct scene *scene) { full_scene(scene, SOCK_SEQPACKET); }

static void full_dgram_scene(struct scene *scene) {
    int server = bound_at(SOCK_DGRAM, server_name), client = connected_to(SOCK_DGRAM, server_name);
    *scene = (struct scene){client, server, 0};
    while (send(client, "abcd", 4, MSG_DONTWAIT) == 4)
        scene->taken += 4;
}

static void listening_scene(struct scene *scene) {
    *scene = (struct scene){listener_at(SOCK_STREAM, server_name, 5), -1, 0};
}

static void full_listener_scene(struct scene *scene) {
    int listener = listener_at(SOCK_STREAM, server_name, 0);
    connected_to(SOCK_STREAM, server_name);
    *scene = (struct scene){new_socket(SOCK_STREAM), listener, 0};
}

static long do_recv(struct scene *scene) { return recv(scene->fd, block, 10, 0); }
static long do_read(struct scene *scene) { return read(scene->fd, block, 10); }
static long do_recvmsg(struct scene *scene) {
    struct iovec part = {block, 10};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    return recvmsg(scene->fd, &message, 0);
}
static long do_readv(struct scene *scene) { return readv(scene->fd, &(struct iovec){block, 10}, 1); }
static long do_peek(struct scene *scene) { return recv(scene->fd, block, 10, MSG_PEEK); }
static long do_accept(struct scene *scene) { return accept(scene->fd, NULL, NULL) >= 0 ? 1 : -1; }
static long do_connect(struct scene *scene) { return connect_fd(scene->fd, server_name); }
static long do_send(struct scene *scene) { return send(scene->fd, "abcd", 4, 0); }
static long do_write(struct scene *scene) { return write(scene->fd, "abcd", 4); }
static long do_sendmsg(struct scene *scene) {
    struct iovec part = {"abcd", 4};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    return sendmsg(scene->fd, &message, 0);
}

static void go_on_with_data(struct scene *scene) { send_text(scene->far, "xyz"); }
static void go_on_with_room(struct scene *scene) {
    size_t left = scene->taken;
    while (left) {
        ssize_t got = TRY(recv(scene->far, block, left < 30000 ? left : 30000, 0));
        left -= (size_t)got;
    }
    CHECK(recv(scene->far, block, 10, 0) == 4 && memcmp(block, "abcd", 4) == 0);
    CHECK(recv(scene->far, block, 10, MSG_DONTWAIT) <= 0);
}
static void go_on_with_client(struct scene *scene) {
    (void)scene;
    connected_to(SOCK_STREAM, server_name);
}
static void go_on_with_accept(struct scene *scene) {
    TRY(close(accept(scene->far, NULL, NULL)));
    TRY(close(accept(scene->far, NULL, NULL)));
    CHECK(fcntl(scene->far, F_SETFL, O_NONBLOCK) == 0 && accept(scene->far, NULL, NULL) == -1 && errno == EAGAIN);
}

static const struct {
    const char *name;
    void (*set)(struct scene *);
    long (*call)(struct scene *);
    long number;
    void (*go_on)(struct scene *);
} calls[] = {
    {"recv", connected_scene, do_recv, SYS_recvfrom, go_on_with_data},
    {"read", connected_scene, do_read, SYS_read, go_on_with_data},
    {"recvmsg", connected_scene, do_recvmsg, SYS_recvmsg, go_on_with_data},
    {"readv", connected_scene, do_readv, SYS_readv, go_on_with_data},
    {"peek", connected_scene, do_peek, SYS_recvfrom, go_on_with_data},
    {"recv, packets", packet_scene, do_recv, SYS_recvfrom, go_on_with_data},
    {"accept", listening_scene, do_accept, SYS_accept, go_on_with_client},
    {"connect", full_listener_scene, do_connect, SYS_connect, go_on_with_accept},
    {"send", full_stream_scene, do_send, SYS_sendto, go_on_with_room},
    {"write", full_stream_scene, do_write, SYS_write, go_on_with_room},
    {"sendmsg", full_stream_scene, do_sendmsg, SYS_sendmsg, go_on_with_room},
    {"send, packets", full_packet_scene, do_send, SYS_sendto, go_on_with_room},
    {"send, letters", full_dgram_scene, do_send, SYS_sendto, go_on_with_room},
};

/* The signal comes once, or several times, while the call waits; then the call gets what it waits for. */
static void interrupt(int flags, int times) {
    char names[sizeof calls / sizeof *calls][16];
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        snprintf(names[i], sizeof names[i], "@server%02d", (int)(i % 100));
        server_name = names[i];
        struct scene scene;
        calls[i].set(&scene);
        handled = gate();
        pid_t other = child();
        if (other == 0) {
            handle(SIGUSR1, tell_signal, flags);
            pass(&handled); /* ready */
            long result;
            int interrupted = 0;
            while ((result = calls[i].call(&scene)) == -1 && errno == EINTR)
                interrupted++;
            int error = errno;
            say("%s: interrupted %d times by %d signals, then %ld %s", calls[i].name, interrupted, (int)signals, result,
                result < 0 ? error_name(error) : "");
            _exit(0);
        }
        await(&handled);
        for (int time = 0; time < times; time++) {
            wait_blocked(other, calls[i].number);
            TRY(kill(other, SIGUSR1));
            await(&handled);
        }
        wait_blocked(other, calls[i].number);
        calls[i].go_on(&scene);
        join(other);
    }
}

CASE(interrupted) { interrupt(0, 1); }
CASE(restarted) { interrupt(SA_RESTART, 1); }
CASE(interrupted_often) { interrupt(0, 20); }
CASE(restarted_often) { interrupt(SA_RESTART, 20); }

/* With a timeout a call is not restarted, whatever the handler asked for (signal(7)). */
CASE(timeout_is_never_restarted) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    TRY(setsockopt(sides[0], SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){10, 0}, sizeof(struct timeval)));
    handled = gate();
    pid_t other = child();
    if (other == 0) {
        handle(SIGUSR1, count_signal, SA_RESTART);
        pass(&handled);
        char byte;
        ERR(recv(sides[0], &byte, 1, 0), EINTR);
        RET(signals, 1);
        _exit(0);
    }
    await(&handled);
    wait_blocked(other, SYS_recvfrom);
    TRY(kill(other, SIGUSR1));
    join(other);
}

/* A call that has made progress tells how much, signal or not. */
CASE(partial_receive) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    handled = gate();
    pid_t other = child();
    if (other == 0) {
        handle(SIGUSR1, tell_signal, SA_RESTART);
        pass(&handled);
        char data[10];
        RET(recv(sides[0], data, 10, MSG_WAITALL), 4);
        RET(recv(sides[0], data, 6, MSG_WAITALL), 6);
        _exit(0);
    }
    await(&handled);
    wait_blocked(other, SYS_recvfrom);
    send_text(sides[1], "abcd");
    int bytes = 1;
    while (bytes) /* until the waiting call has taken them */
        TRY(ioctl(sides[0], FIONREAD, &bytes));
    wait_blocked(other, SYS_recvfrom);
    TRY(kill(other, SIGUSR1));
    await(&handled);
    wait_blocked(other, SYS_recvfrom);
    send_text(sides[1], "efghij");
    join(other);
}

CASE(partial_send) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    handled = gate();
    pid_t other = child();
    if (other == 0) {
        handle(SIGUSR1, tell_signal, SA_RESTART);
        pass(&handled);
        ssize_t put = write(sides[0], block, sizeof block);
        say("write took %zd", put);
        CHECK(put == 219264);
        TRY(shutdown(sides[0], SHUT_WR));
        _exit(0);
    }
    await(&handled);
    wait_blocked(other, SYS_write);
    TRY(kill(other, SIGUSR1));
    join(other);
    size_t came = 0;
    ssize_t got;
    while ((got = TRY(recv(sides[1], block, sizeof block, 0))) > 0)
        came += (size_t)got;
    RET(came, 219264);
}

/* A blocked signal interrupts nothing; an ignored one neither. */
CASE(blocked_and_ignored) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    handled = gate();
    pid_t other = child();
    if (other == 0) {
        handle(SIGUSR1, count_signal, 0);
        signal(SIGUSR2, SIG_IGN);
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGUSR1);
        TRY(sigprocmask(SIG_BLOCK, &set, NULL));
        pass(&handled);
        char data[8];
        RET(recv(sides[0], data, sizeof data, 0), 4);
        RET(signals, 0);
        TRY(sigprocmask(SIG_UNBLOCK, &set, NULL));
        RET(signals, 1);
        _exit(0);
    }
    await(&handled);
    for (int i = 0; i < 3; i++) {
        wait_blocked(other, SYS_recvfrom);
        TRY(kill(other, i % 2 ? SIGUSR2 : SIGUSR1));
    }
    wait_blocked(other, SYS_recvfrom);
    send_text(sides[1], "data");
    join(other);
}

CASE(stopped_and_continued) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    struct gate first = gate();
    pid_t other = child();
    if (other == 0) {
        char data[8];
        CHECK(recv(sides[0], data, sizeof data, 0) == 4);
        pass(&first);
        CHECK(recv(sides[0], data, sizeof data, 0) == 4);
        _exit(0);
    }
    int status;
    wait_blocked(other, SYS_recvfrom);
    TRY(kill(other, SIGSTOP));
    CHECK(waitpid(other, &status, WUNTRACED) == other && WIFSTOPPED(status));
    TRY(kill(other, SIGCONT));
    CHECK(waitpid(other, &status, WCONTINUED) == other && WIFCONTINUED(status));
    wait_blocked(other, SYS_recvfrom);
    send_text(sides[1], "data");
    await(&first);
    wait_blocked(other, SYS_recvfrom);
    TRY(kill(other, SIGSTOP));
    CHECK(waitpid(other, &status, WUNTRACED) == other && WIFSTOPPED(status));
    send_text(sides[1], "more"); /* comes while it is stopped */
    TRY(kill(other, SIGCONT));
    join(other);
    say("nothing lost");
}

CASE(killed_while_it_waits) {
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        char name[16];
        snprintf(name, sizeof name, "@killed%02d", (int)(i % 100));
        server_name = name;
        struct scene scene;
        calls[i].set(&scene);
        pid_t other = child();
        if (other == 0) {
            calls[i].call(&scene);
            _exit(1);
        }
        wait_blocked(other, calls[i].number);
        TRY(kill(other, SIGTERM));
        int status = status_of(other);
        say("%s: signal %d", calls[i].name, WTERMSIG(status));
        long result;
        /* What the dead one waited for is there for the next. */
        pid_t next = child();
        if (next == 0) {
            result = calls[i].call(&scene);
            CHECK(result >= 0);
            _exit(0);
        }
        wait_blocked(next, calls[i].number);
        calls[i].go_on(&scene);
        join(next);
    }
}

/* ---- a signal every two milliseconds --------------------------------------------------------------------------- */

static void start_timer(int flags) {
    handle(SIGUSR1, count_signal, flags);
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    TRY(timer_create(CLOCK_MONOTONIC, &event, &timer));
    struct itimerspec every = {{0, 2000000}, {0, 2000000}};
    TRY(timer_settime(timer, 0, &every, NULL));
}

/* The partner takes its time, so that the other one waits and is hit. */
static void dawdle(void) {
    struct timespec left = {0, 400000};
    while (nanosleep(&left, &left) == -1)
        ;
}

enum { NUMBERS = 1 << 17, BATCH = 256 };

static void numbered_stream(int flags, bool hit_writer, bool hit_reader) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    pid_t writer = child();
    if (writer == 0) {
        TRY(close(sides[0]));
        if (hit_writer)
            start_timer(flags);
        static uint32_t numbers[NUMBERS];
        for (uint32_t i = 0; i < NUMBERS; i++)
            numbers[i] = i;
        size_t done = 0;
        while (done < sizeof numbers) {
            /* Everything in one call where the writer is hit, so that it blocks with part of it taken. */
            size_t size = hit_writer ? sizeof numbers - done : BATCH * 4;
            ssize_t put = write(sides[1], (char *)numbers + done, size);
            if (put == -1 && errno == EINTR) {
                CHECK(!(flags & SA_RESTART));
                continue;
            }
            CHECK(put > 0);
            done += (size_t)put;
            if (!hit_writer)
                dawdle();
        }
        CHECK(!hit_writer || signals >= 10);
        _exit(0);
    }
    TRY(close(sides[1]));
    if (hit_reader)
        start_timer(flags);
    uint32_t expected = 0, numbers[BATCH];
    size_t left_over = 0;
    for (;;) {
        ssize_t got = recv(sides[0], (char *)numbers + left_over, sizeof numbers - left_over, 0);
        if (got == -1 && errno == EINTR) {
            CHECK(!(flags & SA_RESTART));
            continue;
        }
        CHECK(got >= 0);
        if (got == 0)
            break;
        size_t have = left_over + (size_t)got;
        for (size_t i = 0; i < have / 4; i++, expected++)
            if (numbers[i] != expected)
                fail("%u instead of %u", numbers[i], expected);
        left_over = have % 4;
        memmove(numbers, (char *)numbers + have / 4 * 4, left_over);
        if (hit_writer)
            dawdle();
    }
    RET(left_over, 0);
    RET(expected, NUMBERS);
    if (hit_reader)
        RET(signals >= 10, 1);
    join(writer);
}

CASE(stream_writer_hit) { numbered_stream(0, true, false); }
CASE(stream_writer_hit_restarting) { numbered_stream(SA_RESTART, true, false); }
CASE(stream_reader_hit) { numbered_stream(0, false, true); }
CASE(stream_reader_hit_restarting) { numbered_stream(SA_RESTART, false, true); }
CASE(stream_both_hit) { numbered_stream(0, true, true); }
CASE(stream_both_hit_restarting) { numbered_stream(SA_RESTART, true, true); }

static void numbered_records(int type, int flags) {
    enum { COUNT = 600 };
    int sides[2];
    make_pair(type, sides);
    TRY(setsockopt(sides[1], SOL_SOCKET, SO_SNDBUF, &(int){4608}, sizeof(int)));
    pid_t writer = child();
    if (writer == 0) {
        TRY(close(sides[0]));
        start_timer(flags);
        for (uint32_t i = 0; i < COUNT;) {
            uint32_t record[16] = {i};
            ssize_t put = send(sides[1], record, sizeof record, 0);
            CHECK(put == sizeof record || (put == -1 && errno == EINTR && !(flags & SA_RESTART)));
            i += put > 0;
            if (i % 64 == 0)
                dawdle(); /* so that the reader waits, now and then */
        }
        _exit(0);
    }
    TRY(close(sides[1]));
    start_timer(flags);
    for (uint32_t expected = 0; expected < COUNT;) {
        uint32_t record[20];
        ssize_t got = recv(sides[0], record, sizeof record, 0);
        if (got == -1 && errno == EINTR && !(flags & SA_RESTART))
            continue;
        CHECK(got == 64);
        if (record[0] != expected)
            fail("%u instead of %u", record[0], expected);
        expected++;
        dawdle();
    }
    join(writer);
    char byte;
    CHECK(recv(sides[0], &byte, 1, MSG_DONTWAIT) <= 0);
    RET(signals >= 10, 1);
}

CASE(seqpacket_hit) { numbered_records(SOCK_SEQPACKET, 0); }
CASE(seqpacket_hit_restarting) { numbered_records(SOCK_SEQPACKET, SA_RESTART); }
CASE(dgram_hit) { numbered_records(SOCK_DGRAM, 0); }
CASE(dgram_hit_restarting) { numbered_records(SOCK_DGRAM, SA_RESTART); }

/* Descriptors in flight while the receiver is hit: each arrives once, and none is left over. */
static void rights_hit(int flags) {
    enum { COUNT = 300 };
    int sides[2], probe[2];
    make_pair(SOCK_STREAM, sides);
    TRY(pipe2(probe, O_CLOEXEC));
    pid_t sender = child();
    if (sender == 0) {
        TRY(close(sides[0]));
        TRY(close(probe[0]));
        for (int i = 0; i < COUNT; i++) {
            CHECK(send_fds(sides[1], "x", 1, &probe[1], 1, 0) == 1);
            dawdle();
        }
        _exit(0);
    }
    TRY(close(sides[1]));
    TRY(close(probe[1]));
    start_timer(flags);
    int came = 0;
    for (;;) {
        char data[8];
        int fds[4], count = 4, got_flags = MSG_CMSG_CLOEXEC;
        ssize_t got = recv_fds(sides[0], data, sizeof data, fds, &count, &got_flags);
        if (got == -1 && errno == EINTR && !(flags & SA_RESTART))
            continue;
        CHECK(got >= 0);
        if (got == 0)
            break;
        CHECK(got == 1 && count == 1);
        TRY(close(fds[0]));
        came++;
    }
    join(sender);
    RET(came, COUNT);
    int highest = (int)TRY(dup(0));
    RET(highest < 10, 1); /* none of the 300 is still open */
    expect_closed(probe[0]);
}

CASE(rights_receiver_hit) { rights_hit(0); }
CASE(rights_receiver_hit_restarting) { rights_hit(SA_RESTART); }

static void let_through(bool on) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    TRY(sigprocmask(on ? SIG_UNBLOCK : SIG_BLOCK, &set, NULL));
}

/* Connections: made once each, accepted once each, whoever is hit. */
static void connections_hit(int flags) {
    enum { COUNT = 150 };
    int listener = listener_at(SOCK_STREAM, "server", 0);
    pid_t client = child();
    if (client == 0) {
        TRY(close(listener));
        start_timer(flags);
        for (uint32_t i = 0; i < COUNT; i++) {
            let_through(false);
            int fd = new_socket(SOCK_STREAM);
            let_through(true);
            while (connect_fd(fd, "server") == -1)
                CHECK(errno == EINTR && !(flags & SA_RESTART));
            write_fully(fd, &i, sizeof i);
            TRY(close(fd));
            if (i % 16 == 0)
                dawdle();
        }
        _exit(0);
    }
    start_timer(flags);
    for (uint32_t i = 0; i < COUNT; i++) {
        int peer;
        while ((peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) == -1)
            CHECK(errno == EINTR && !(flags & SA_RESTART));
        uint32_t number;
        char byte;
        CHECK(read_fully(peer, &number, sizeof number));
        ssize_t got;
        while ((got = recv(peer, &byte, 1, 0)) == -1 && errno == EINTR)
            CHECK(!(flags & SA_RESTART));
        CHECK(got == 0);
        if (number != i)
            fail("connection %u instead of %u", number, i);
        TRY(close(peer));
        dawdle();
    }
    let_through(false);
    nonblocking(listener, true);
    ERR(accept(listener, NULL, NULL), EAGAIN);
    RET(signals >= 10, 1);
    join(client);
}

CASE(connections_hit_by_signals) { connections_hit(0); }
CASE(connections_hit_restarting) { connections_hit(SA_RESTART); }

/* A call that need not wait is done before the signal is seen, and never tells EINTR. */
CASE(calls_that_do_not_wait) {
    start_timer(0);
    struct sockaddr_un address;
    socklen_t size = name_of(&address, "@server");
    for (double end = now() + 0.5; now() < end;) {
        int sides[2], value;
        char byte;
        int listener = new_socket(SOCK_STREAM), client = new_socket(SOCK_STREAM);
        TRY(bind(listener, (struct sockaddr *)&address, size));
        TRY(listen(listener, 1));
        TRY(connect(client, (struct sockaddr *)&address, size));
        int peer = (int)TRY(accept(listener, NULL, NULL));
        TRY(send(peer, "x", 1, 0));
        TRY(recv(client, &byte, 1, 0));
        TRY(shutdown(peer, SHUT_WR));
        TRY(recv(client, &byte, 1, 0));
        socklen_t length = sizeof value;
        TRY(getsockopt(client, SOL_SOCKET, SO_ERROR, &value, &length));
        TRY(setsockopt(client, SOL_SOCKET, SO_PASSCRED, &value, sizeof value));
        make_pair(SOCK_DGRAM, sides);
        TRY(write(sides[0], "x", 1));
        TRY(read(sides[1], &byte, 1));
        close_all(sides, 2);
        close_all((int[]){peer, client, listener}, 3);
    }
    RET(signals >= 10, 1);
}

/* Nor does reading or writing a regular file, which has nothing to do with sockets. */
CASE(files_are_not_interrupted) {
    start_timer(0);
    int file = (int)TRY(open(path_of("file"), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    char data[64];
    memset(data, 'x', sizeof data);
    for (double end = now() + 0.5; now() < end;) {
        TRY(lseek(file, 0, SEEK_SET));
        CHECK(TRY(write(file, data, sizeof data)) == sizeof data);
        TRY(lseek(file, 0, SEEK_SET));
        CHECK(TRY(read(file, data, sizeof data)) == sizeof data);
    }
    RET(signals >= 10, 1);
}

/* ---- several threads -------------------------------------------------------------------------------------------- */

struct waiter {
    int fd;
    long call;
    volatile pid_t tid;
    long got;
    int error;
    struct waiter *other;
};

static void *wait_in_call(void *argument) {
    struct waiter *waiter = argument;
    char data[8];
    waiter->tid = gettid();
    waiter->got = waiter->call == SYS_recvfrom ? recv(waiter->fd, data, sizeof data, 0) : pause();
    waiter->error = errno;
    if (waiter->other->call == SYS_pause)
        TRY(syscall(SYS_tgkill, getpid(), waiter->other->tid, SIGUSR1));
    return NULL;
}

/* A child whose first thread waits in one call and whose second in another: tells when both do. */
static pid_t two_threads(int fd, long first, long second, void (*handler)(int), int flags, struct gate *ready) {
    pid_t other = child();
    if (other)
        return other;
    if (handler)
        handle(SIGUSR1, handler, flags);
    struct waiter waiters[2] = {{.fd = fd, .call = first}, {.fd = fd, .call = second}};
    waiters[0].other = &waiters[1];
    waiters[1].other = &waiters[0];
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, wait_in_call, &waiters[1]) == 0);
    while (!waiters[1].tid)
        sched_yield();
    wait_task_blocked(getpid(), waiters[1].tid, second);
    pass(ready);
    wait_in_call(&waiters[0]);
    CHECK(pthread_join(thread, NULL) == 0);
    int interrupted = 0, served = 0;
    for (int i = 0; i < 2; i++) {
        interrupted += waiters[i].got == -1 && waiters[i].error == EINTR;
        served += waiters[i].got == 4;
    }
    say("interrupted %d, served %d, signals %d", interrupted, served, (int)signals);
    fflush(stdout);
    _exit(0);
}

static const struct {
    const char *name;
    long first, second;
} pairs_of_calls[] = {
    {"both receive", SYS_recvfrom, SYS_recvfrom},
    {"the first receives", SYS_recvfrom, SYS_pause},
    {"the second receives", SYS_pause, SYS_recvfrom},
};

CASE(threads_stopped_and_continued) {
    for (int i = 0; i < 3; i++) {
        int sides[2], status;
        make_pair(SOCK_DGRAM, sides);
        struct gate ready = gate();
        handled = gate();
        say("%s", pairs_of_calls[i].name);
        fflush(stdout);
        pid_t other = two_threads(sides[0], pairs_of_calls[i].first, pairs_of_calls[i].second, tell_signal, 0, &ready);
        await(&ready);
        wait_blocked(other, pairs_of_calls[i].first);
        TRY(kill(other, SIGSTOP));
        CHECK(waitpid(other, &status, WUNTRACED) == other && WIFSTOPPED(status));
        TRY(kill(other, SIGCONT));
        CHECK(waitpid(other, &status, WCONTINUED) == other && WIFCONTINUED(status));
        send_text(sides[1], "data");
        if (i == 0)
            send_text(sides[1], "data");
        join(other); /* whoever has received ends the other one's pause */
    }
}

/* A signal for the process comes to one thread, whichever it is, and interrupts only that one. */
CASE(a_signal_for_one_of_two_threads) {
    int sides[2];
    make_pair(SOCK_DGRAM, sides);
    struct gate ready = gate();
    handled = gate();
    pid_t other = two_threads(sides[0], SYS_recvfrom, SYS_recvfrom, tell_signal, 0, &ready);
    await(&ready);
    wait_blocked(other, SYS_recvfrom);
    TRY(kill(other, SIGUSR1));
    await(&handled);
    send_text(sides[1], "data");
    join(other);
}

CASE(a_restarting_signal_for_one_of_two_threads) {
    int sides[2];
    make_pair(SOCK_DGRAM, sides);
    struct gate ready = gate();
    handled = gate();
    pid_t other = two_threads(sides[0], SYS_recvfrom, SYS_recvfrom, tell_signal, SA_RESTART, &ready);
    await(&ready);
    wait_blocked(other, SYS_recvfrom);
    for (int i = 0; i < 20; i++) {
        TRY(kill(other, SIGUSR1));
        await(&handled);
    }
    send_text(sides[1], "data");
    send_text(sides[1], "data");
    join(other);
}

/* ---- SIGPIPE, SIGIO -------------------------------------------------------------------------------------------- */

CASE(broken_pipe) {
    handle(SIGPIPE, count_signal, 0);
    const int types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
    for (int i = 0; i < 3; i++) {
        int sides[2];
        make_pair(types[i], sides);
        TRY(close(sides[1]));
        struct iovec part = {"x", 1};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
        for (int call = 0; call < 6; call++) {
            static const char *const names[] = {"send", "write", "sendmsg", "writev", "MSG_NOSIGNAL", "empty write"};
            signals = 0;
            long put = call == 0   ? send(sides[0], "x", 1, 0)
                       : call == 1 ? write(sides[0], "x", 1)
                       : call == 2 ? sendmsg(sides[0], &message, 0)
                       : call == 3 ? writev(sides[0], &part, 1)
                       : call == 4 ? send(sides[0], "x", 1, MSG_NOSIGNAL)
                                   : write(sides[0], "", 0);
            int error = errno;
            say("type %d, %s: %ld %s, %d SIGPIPE", types[i], names[call], put, put < 0 ? error_name(error) : "", (int)signals);
        }
    }
}

CASE(broken_pipe_kills) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    pid_t other = child();
    if (other == 0) {
        TRY(close(sides[1]));
        while (write(sides[0], "x", 1) == 1 || errno == ECONNRESET) /* that comes first where the buffer is full */
            ;
        _exit(1);
    }
    TRY(close(sides[0]));
    char byte;
    CHECK(read(sides[1], &byte, 1) == 1);
    TRY(close(sides[1]));
    RET(WTERMSIG(status_of(other)), SIGPIPE);
}

CASE(broken_pipe_after_shutdown) {
    handle(SIGPIPE, count_signal, 0);
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    TRY(shutdown(sides[0], SHUT_WR));
    ERR(write(sides[0], "x", 1), EPIPE);
    RET(signals, 1);
    TRY(shutdown(sides[0], SHUT_RD));
    ERR(write(sides[1], "x", 1), EPIPE);
    RET(signals, 2);
    ERR(send(sides[1], "x", 1, MSG_NOSIGNAL), EPIPE);
    RET(signals, 2);
    int fd = new_socket(SOCK_STREAM);
    ERR(write(fd, "x", 1), ENOTCONN);
    RET(signals, 2);
}

CASE(reset_then_end) {
    handle(SIGPIPE, count_signal, 0);
    const int types[] = {SOCK_STREAM, SOCK_SEQPACKET};
    for (int i = 0; i < 2; i++) {
        int sides[2];
        char data[8];
        make_pair(types[i], sides);
        send_text(sides[1], "queued");
        send_text(sides[0], "unread");
        TRY(close(sides[1]));
        if (types[i] == SOCK_STREAM) { /* what is queued comes first, then the error, once */
            RET(recv(sides[0], data, sizeof data, 0), 6);
            ERR(recv(sides[0], data, sizeof data, 0), ECONNRESET);
        } else { /* the other way round */
            ERR(recv(sides[0], data, sizeof data, 0), ECONNRESET);
            RET(recv(sides[0], data, sizeof data, 0), 6);
        }
        RET(recv(sides[0], data, sizeof data, 0), 0);
        ERR(write(sides[0], "x", 1), EPIPE);
        make_pair(types[i], sides);
        send_text(sides[0], "unread");
        TRY(close(sides[1]));
        ssize_t put = write(sides[0], "x", 1);
        say("write: %zd %s", put, error_name(errno));
        put = recv(sides[0], data, sizeof data, 0);
        say("recv: %zd %s", put, put < 0 ? error_name(errno) : "");
    }
}

CASE(input_signal) {
    handle(SIGIO, count_signal, SA_RESTART);
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    TRY(fcntl(sides[0], F_SETOWN, getpid()));
    TRY(fcntl(sides[0], F_SETFL, O_ASYNC | O_RDWR));
    send_text(sides[1], "x");
    RET(signals >= 1, 1);
    signals = 0;
    hang_up(sides[1]);
    RET(signals >= 1, 1);
}
