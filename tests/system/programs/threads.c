/* Threads of one process at the same sockets, and children made by vfork. */
#include "check.h"

static pthread_t start(void *(*body)(void *), void *argument) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, body, argument) == 0);
    return thread;
}

static void finish(pthread_t thread) { CHECK(pthread_join(thread, NULL) == 0); }

/* ---- one thread waits, another one acts ---------------------------------------------------------------------- */

struct reader {
    int fd;
    volatile pid_t tid;
    ssize_t got;
    int error;
    char data[16];
};

static void *receive(void *argument) {
    struct reader *reader = argument;
    reader->tid = gettid();
    reader->got = recv(reader->fd, reader->data, sizeof reader->data, 0);
    reader->error = errno;
    return NULL;
}

static pthread_t waiting_reader(struct reader *reader, int fd) {
    *reader = (struct reader){.fd = fd};
    pthread_t thread = start(receive, reader);
    while (!reader->tid)
        sched_yield();
    wait_task_blocked(getpid(), reader->tid, SYS_recvfrom);
    return thread;
}

CASE(waits_while_other_sends) {
    const int types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
    for (int i = 0; i < 3; i++) {
        int sides[2];
        struct reader reader;
        make_pair(types[i], sides);
        pthread_t thread = waiting_reader(&reader, sides[0]);
        send_text(sides[1], "data");
        finish(thread);
        say("%zd \"%.4s\"", reader.got, reader.data);
    }
}

CASE(waits_while_other_closes_peer) {
    int sides[2];
    struct reader reader;
    make_pair(SOCK_STREAM, sides);
    pthread_t thread = waiting_reader(&reader, sides[0]);
    TRY(close(sides[1]));
    finish(thread);
    RET(reader.got, 0);
}

CASE(waits_while_other_resets) {
    int sides[2];
    struct reader reader;
    make_pair(SOCK_STREAM, sides);
    send_text(sides[0], "unread");
    pthread_t thread = waiting_reader(&reader, sides[0]);
    TRY(close(sides[1]));
    finish(thread);
    RET(reader.got, -1);
    RET(reader.error == ECONNRESET, 1);
}

CASE(waits_while_other_shuts_down) {
    int sides[2];
    struct reader reader;
    make_pair(SOCK_STREAM, sides);
    pthread_t thread = waiting_reader(&reader, sides[0]);
    TRY(shutdown(sides[0], SHUT_RD));
    finish(thread);
    RET(reader.got, 0);
    make_pair(SOCK_DGRAM, sides);
    thread = waiting_reader(&reader, sides[0]);
    TRY(shutdown(sides[0], SHUT_RDWR));
    finish(thread);
    RET(reader.got, 0);
}

/* Closing one's own descriptor does not end a call that is under way on it; the peer's data do. */
CASE(waits_while_own_is_closed) {
    int sides[2];
    struct reader reader;
    make_pair(SOCK_STREAM, sides);
    pthread_t thread = waiting_reader(&reader, sides[0]);
    TRY(close(sides[0]));
    wait_task_blocked(getpid(), reader.tid, SYS_recvfrom);
    send_text(sides[1], "data");
    finish(thread);
    say("%zd \"%.4s\"", reader.got, reader.data);
    char byte;
    RET(recv(sides[1], &byte, 1, 0), 0); /* the call held it open; now it has gone */
}

/* The number is used again while the call waits: the call stays with the socket it began with. */
CASE(waits_while_number_is_used_again) {
    int sides[2], other[2];
    struct reader reader;
    make_pair(SOCK_STREAM, sides);
    make_pair(SOCK_STREAM, other);
    pthread_t thread = waiting_reader(&reader, sides[0]);
    TRY(dup2(other[0], sides[0]));
    send_text(other[1], "wrong");
    wait_task_blocked(getpid(), reader.tid, SYS_recvfrom);
    send_text(sides[1], "right");
    finish(thread);
    say("%zd \"%.5s\"", reader.got, reader.data);
    say_received("other", sides[0]);
}

/* ---- many threads ----------------------------------------------------------------------------------------------- */

enum { WORKERS = 8, CLIENTS = 160 };
static int shared_listener;
static pthread_mutex_t served_lock = PTHREAD_MUTEX_INITIALIZER;
static int served[CLIENTS];

static void *accept_forever(void *argument) {
    (void)argument;
    for (;;) {
        int peer = accept(shared_listener, NULL, NULL), number;
        if (peer == -1) {
            CHECK(errno == EINVAL); /* shut down */
            return NULL;
        }
        CHECK(read_fully(peer, &number, sizeof number));
        CHECK(pthread_mutex_lock(&served_lock) == 0);
        served[number]++;
        CHECK(pthread_mutex_unlock(&served_lock) == 0);
        number = -number;
        write_fully(peer, &number, sizeof number);
        TRY(close(peer));
    }
}

CASE(many_accept_on_one_listener) {
    shared_listener = listener_at(SOCK_STREAM, "server", 20);
    pthread_t workers[WORKERS];
    for (int i = 0; i < WORKERS; i++)
        workers[i] = start(accept_forever, NULL);
    pid_t others[4];
    for (int i = 0; i < 4; i++)
        if ((others[i] = child()) == 0) {
            TRY(close(shared_listener));
            for (int number = i; number < CLIENTS; number += 4) {
                int fd = connected_to(SOCK_STREAM, "server"), back;
                write_fully(fd, &number, sizeof number);
                CHECK(read_fully(fd, &back, sizeof back) && back == -number);
                CHECK(read(fd, &back, 1) == 0);
                TRY(close(fd));
            }
            _exit(0);
        }
    for (int i = 0; i < 4; i++)
        join(others[i]);
    TRY(shutdown(shared_listener, SHUT_RD));
    for (int i = 0; i < WORKERS; i++)
        finish(workers[i]);
    for (int i = 0; i < CLIENTS; i++)
        CHECK(served[i] == 1);
    say("%d connections served once each", CLIENTS);
}

/* Many readers of one socket: each record goes to one of them. */
static int shared_reading;
static int seen[2000];

static void *take_records(void *argument) {
    (void)argument;
    int number;
    ssize_t got;
    while ((got = recv(shared_reading, &number, sizeof number, 0)) == sizeof number)
        __atomic_add_fetch(&seen[number], 1, __ATOMIC_RELAXED);
    CHECK(got == 0);
    return NULL;
}

static int shared_writing[4];

static void *put_records(void *argument) {
    for (int number = (int)(intptr_t)argument; number < 2000; number += 4)
        CHECK(send(shared_writing[number % 4], &number, sizeof number, 0) == sizeof number);
    return NULL;
}

CASE(many_readers_many_writers) {
    int sides[2];
    make_pair(SOCK_SEQPACKET, sides);
    shared_reading = sides[0];
    pthread_t readers[WORKERS], writers[4];
    for (int i = 0; i < 4; i++)
        shared_writing[i] = (int)TRY(dup(sides[1]));
    TRY(close(sides[1]));
    for (int i = 0; i < WORKERS; i++)
        readers[i] = start(take_records, NULL);
    for (int i = 0; i < 4; i++)
        writers[i] = start(put_records, (void *)(intptr_t)i);
    for (int i = 0; i < 4; i++) {
        finish(writers[i]);
        TRY(close(shared_writing[i]));
    }
    for (int i = 0; i < WORKERS; i++)
        finish(readers[i]);
    for (int i = 0; i < 2000; i++)
        CHECK(seen[i] == 1);
    say("2000 records once each");
}

/* Each thread with its own pair, all at once: no answer goes astray. */
static void *talk_to_itself(void *argument) {
    int number = (int)(intptr_t)argument;
    for (int i = 0; i < 50; i++) {
        int sides[2];
        make_pair(SOCK_STREAM, sides);
        for (int j = 0; j < 10; j++) {
            int out = number * 1000 + i * 10 + j, in;
            CHECK(write(sides[j % 2], &out, sizeof out) == sizeof out);
            CHECK(read(sides[1 - j % 2], &in, sizeof in) == sizeof in && in == out);
        }
        close_all(sides, 2);
    }
    return NULL;
}

CASE(each_with_its_own) {
    pthread_t threads[WORKERS];
    for (int i = 0; i < WORKERS; i++)
        threads[i] = start(talk_to_itself, (void *)(intptr_t)i);
    for (int i = 0; i < WORKERS; i++)
        finish(threads[i]);
    say("%d threads", WORKERS);
}

/* A signal for one thread leaves the call of another alone. */
static void on_signal(int signal) { (void)signal; }

CASE(signal_for_one_thread) {
    int one[2], two[2];
    struct reader hit, quiet;
    make_pair(SOCK_STREAM, one);
    make_pair(SOCK_STREAM, two);
    struct sigaction action = {.sa_handler = on_signal};
    TRY(sigaction(SIGUSR1, &action, NULL));
    pthread_t first = waiting_reader(&hit, one[0]), second = waiting_reader(&quiet, two[0]);
    CHECK(pthread_kill(first, SIGUSR1) == 0);
    finish(first);
    RET(hit.got, -1);
    RET(hit.error == EINTR, 1);
    wait_task_blocked(getpid(), quiet.tid, SYS_recvfrom);
    send_text(two[1], "data");
    finish(second);
    RET(quiet.got, 4);
    send_text(one[1], "kept");
    say_received("first socket", one[0]);
}

CASE(cancelled_while_it_waits) {
    int sides[2];
    struct reader reader;
    make_pair(SOCK_STREAM, sides);
    pthread_t thread = waiting_reader(&reader, sides[0]);
    CHECK(pthread_cancel(thread) == 0);
    void *result;
    CHECK(pthread_join(thread, &result) == 0);
    RET(result == PTHREAD_CANCELED, 1);
    send_text(sides[1], "not lost");
    say_received("main", sides[0]);
}

/* Threads fork children that use the sockets at once. */
static void *fork_and_talk(void *argument) {
    (void)argument;
    for (int i = 0; i < 5; i++) {
        int sides[2];
        make_pair(SOCK_STREAM, sides);
        pid_t other = (pid_t)TRY(fork());
        if (other == 0) {
            alarm(WATCHDOG_SECONDS);
            char byte;
            if (read(sides[1], &byte, 1) != 1 || write(sides[1], &byte, 1) != 1)
                _exit(1);
            _exit(0);
        }
        TRY(close(sides[1]));
        char byte = 'x';
        CHECK(write(sides[0], &byte, 1) == 1 && read(sides[0], &byte, 1) == 1);
        join(other);
        TRY(close(sides[0]));
    }
    return NULL;
}

CASE(forking_threads) {
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        threads[i] = start(fork_and_talk, NULL);
    for (int i = 0; i < 4; i++)
        finish(threads[i]);
    say("twenty children");
}

/* exec from a thread: the others end in the middle of their calls, sockets that stay are intact. */
static char exec_number[16];

static void *execute(void *argument) {
    (void)argument;
    execl("/proc/self/exe", "threads", "--reexecuted", exec_number, (char *)NULL);
    _exit(126);
}

int reexecuted(int argc, char **argv) {
    CHECK(argc == 1);
    alarm(WATCHDOG_SECONDS);
    int fd = atoi(argv[0]);
    say_received("after exec", fd);
    send_text(fd, "answer");
    return 0;
}

CASE(exec_ends_waiting_threads) {
    int sides[2], idle[2];
    make_pair(SOCK_STREAM, sides);
    make_pair(SOCK_STREAM, idle);
    pid_t other = child();
    if (other == 0) {
        struct reader readers[3];
        TRY(close(sides[0]));
        TRY(close(idle[1]));
        TRY(fcntl(sides[1], F_SETFD, 0));
        for (int i = 0; i < 3; i++)
            waiting_reader(&readers[i], i == 2 ? sides[1] : idle[0]);
        snprintf(exec_number, sizeof exec_number, "%d", sides[1]);
        start(execute, NULL);
        for (;;)
            pause();
    }
    TRY(close(sides[1]));
    TRY(close(idle[0]));
    char byte;
    RET(recv(idle[1], &byte, 1, 0), 0); /* closed by exec */
    send_text(sides[0], "question");
    say_received("parent", sides[0]);
    join(other);
}

/* ---- vfork -------------------------------------------------------------------------------------------------------- */

CASE(vfork_and_exec) {
    for (int i = 0; i < 3; i++) {
        int sides[2];
        make_pair(SOCK_STREAM, sides);
        pid_t other = vfork();
        if (other == 0) {
            if (dup2(sides[1], 0) == -1 || dup2(sides[1], 1) == -1)
                _exit(125);
            execl("/bin/cat", "cat", (char *)NULL);
            _exit(126);
        }
        CHECK(other > 0);
        TRY(close(sides[1]));
        send_text(sides[0], "through cat");
        say_received("parent", sides[0]);
        TRY(shutdown(sides[0], SHUT_WR));
        say_received("parent", sides[0]);
        join(other);
    }
}

/* The child of vfork writes into a socket before it execs; the parent stands still meanwhile. */
CASE(vfork_child_sends) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    pid_t other = vfork();
    if (other == 0) {
        if (write(sides[1], "from vfork", 10) != 10)
            _exit(125);
        _exit(0);
    }
    CHECK(other > 0);
    join(other);
    say_received("parent", sides[0]);
}
