/* Plain reads, writes, recvs and sends of a stream, on descriptors that have been in use for a while.
 *
 * A supervisor may serve these on a shorter way than all other calls, once it knows a thread's descriptor (afunix
 * does): whatever can go otherwise with them is tried here, after a few bytes have gone there and back. */
#include "check.h"

enum { ROUNDS = 5 };

static char block[300000];

/* The caller's thread talks over both descriptors for a while. */
static void warm_up(int one, int two) {
    char byte = 'w';
    for (int i = 0; i < ROUNDS; i++) {
        CHECK(write(one, &byte, 1) == 1 && read(two, &byte, 1) == 1);
        CHECK(send(two, &byte, 1, 0) == 1 && recv(one, &byte, 1, 0) == 1);
    }
}

static void warm_pair(int sides[2]) {
    make_pair(SOCK_STREAM, sides);
    warm_up(sides[0], sides[1]);
}

static pthread_t start(void *(*body)(void *), void *argument) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, body, argument) == 0);
    return thread;
}

static void finish(pthread_t thread) { CHECK(pthread_join(thread, NULL) == 0); }

/* The end of mapped memory. */
static char *edge(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *pages = mmap(NULL, page * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(pages != MAP_FAILED);
    TRY(mprotect(pages + page, page, PROT_NONE));
    return pages + page;
}

static void say_left(const char *what, int fd) {
    char data[64];
    ssize_t got = recv(fd, data, sizeof data, MSG_DONTWAIT);
    say("%s: %zd \"%.*s\"", what, got, got > 0 ? (int)got : 0, data);
}

/* ---- a read that waits ------------------------------------------------------------------------------------- */

struct reader {
    int fd;
    void *buffer; /* of the reader's own data, unless it is to be another */
    size_t size;
    volatile pid_t tid;
    ssize_t got;
    int error;
    char data[64];
    pthread_t thread;
};

static void *read_one(void *argument) {
    struct reader *reader = argument;
    char byte;
    for (int i = 0; i < ROUNDS; i++)
        CHECK(read(reader->fd, &byte, 1) == 1);
    reader->tid = gettid();
    reader->got = read(reader->fd, reader->buffer, reader->size);
    reader->error = errno;
    return NULL;
}

/* A thread that is blocked in a read of fd, after others that got what `peer` was sent. */
static void start_reader(struct reader *reader, int fd, int peer) {
    reader->fd = fd;
    if (!reader->buffer) {
        reader->buffer = reader->data;
        reader->size = sizeof reader->data;
    }
    reader->thread = start(read_one, reader);
    for (int i = 0; i < ROUNDS; i++)
        CHECK(write(peer, "w", 1) == 1);
    while (!reader->tid)
        sched_yield();
    wait_task_blocked(getpid(), reader->tid, SYS_read);
}

static void end_reader(struct reader *reader) {
    finish(reader->thread);
    if (reader->got == -1)
        say("reader: -1 %s", error_name(reader->error));
    else
        say("reader: %zd \"%.*s\"", reader->got, reader->buffer == reader->data ? (int)reader->got : 0, reader->data);
}

CASE(there_and_back) {
    int sides[2];
    warm_pair(sides);
    struct reader reader = {0};
    start_reader(&reader, sides[0], sides[1]);
    RET(write(sides[1], "by write", 8), 8);
    end_reader(&reader);
    reader = (struct reader){0};
    start_reader(&reader, sides[0], sides[1]);
    RET(send(sides[1], "by send", 7, 0), 7);
    end_reader(&reader);
    RET(write(sides[0], "queued", 6), 6);
    RET(recv(sides[1], block, 3, 0), 3);
    RET(read(sides[1], block, 100), 3);
}

CASE(more_than_it_asked_for) {
    int sides[2];
    char two[2];
    warm_pair(sides);
    struct reader reader = {.buffer = two, .size = 2};
    start_reader(&reader, sides[0], sides[1]);
    RET(write(sides[1], "abcde", 5), 5);
    end_reader(&reader);
    say("%.2s", two);
    say_left("rest", sides[0]);
}

CASE(long_messages) {
    int sides[2];
    warm_pair(sides);
    for (size_t size = 1000; size < 150000; size = size * 3 + 1) {
        static char taken[sizeof block];
        struct reader reader = {.buffer = taken, .size = sizeof taken};
        start_reader(&reader, sides[0], sides[1]);
        for (size_t i = 0; i < size; i++)
            block[i] = (char)(i * 31 + size);
        CHECK(write(sides[1], block, size) == (ssize_t)size);
        finish(reader.thread);
        /* A reader may find only the beginning, when it is woken before the rest was written. */
        CHECK(reader.got > 0);
        CHECK(read_fully(sides[0], taken + reader.got, size - (size_t)reader.got));
        CHECK(memcmp(block, taken, size) == 0);
        say("%zu", size);
    }
}

/* ---- bad memory -------------------------------------------------------------------------------------------- */

static const uintptr_t nowhere[] = {UINTPTR_MAX - 100, (uintptr_t)1 << 63,  0xffffffffff600000, ((uintptr_t)1 << 63) - 4096,
                                    (uintptr_t)1 << 47, ((uintptr_t)1 << 47) - 4096 - 5, 16};

CASE(addresses) {
    int sides[2];
    warm_pair(sides);
    for (size_t i = 0; i < sizeof nowhere / sizeof *nowhere; i++) {
        void *bad = (void *)nowhere[i];
        say("%#zx", (size_t)nowhere[i]);
        ERR(write(sides[0], bad, 10), EFAULT);
        ERR(send(sides[0], bad, 10, 0), EFAULT);
        RET(poll_mask(sides[1]) & POLLIN, 0);
        RET(write(sides[0], "hello", 5), 5);
        ERR(read(sides[1], bad, 10), EFAULT);
        ERR(recv(sides[1], bad, 10, 0), EFAULT);
        say_left("kept", sides[1]);
    }
}

CASE(waiting_for_a_bad_address) {
    int sides[2];
    warm_pair(sides);
    struct reader reader = {.buffer = (void *)16, .size = 10};
    start_reader(&reader, sides[0], sides[1]);
    RET(write(sides[1], "hello", 5), 5);
    end_reader(&reader);
    say_left("kept", sides[0]);
}

CASE(partial_pages) {
    int sides[2];
    warm_pair(sides);
    char *end = edge();
    memset(end - 100, 'e', 100);
    ERR(write(sides[0], end - 100, 200), EFAULT);
    ERR(send(sides[0], end - 100, 101, 0), EFAULT);
    RET(poll_mask(sides[1]) & POLLIN, 0);
    RET(write(sides[0], end - 5, 5), 5);
    say_left("up to the edge", sides[1]);

    RET(write(sides[0], "0123456789", 10), 10);
    ERR(read(sides[1], end - 4, 10), EFAULT);
    RET(read(sides[1], end - 4, 4), 4);
    say("%.4s", end - 4);
    say_left("rest", sides[1]);

    struct reader reader = {.buffer = end - 4, .size = 10};
    start_reader(&reader, sides[0], sides[1]);
    RET(write(sides[1], "0123456789", 10), 10);
    end_reader(&reader);
    say_left("kept", sides[0]);
    reader = (struct reader){.buffer = end - 4, .size = 10};
    start_reader(&reader, sides[0], sides[1]);
    RET(write(sides[1], "0123", 4), 4);
    end_reader(&reader);
    say("%.4s", end - 4);
}

CASE(nothing_at_all) {
    int sides[2];
    warm_pair(sides);
    struct reader reader = {0};
    start_reader(&reader, sides[0], sides[1]);
    RET(write(sides[1], block, 0), 0);
    RET(send(sides[1], block, 0, 0), 0);
    RET(write(sides[1], (void *)16, 0), 0);
    wait_task_blocked(getpid(), reader.tid, SYS_read);
    RET(write(sides[1], "something", 9), 9);
    end_reader(&reader);
    RET(read(sides[0], block, 0), 0);
    RET(recv(sides[0], block, 0, MSG_DONTWAIT), -1);
    RET(write(sides[1], "kept", 4), 4);
    RET(read(sides[0], block, 0), 0);
    RET(recv(sides[0], block, 0, 0), 0);
    say_left("kept", sides[0]);
}

/* ---- options that change while a read waits ---------------------------------------------------------------- */

/* Wakes the reader for nothing, and gives it time to make a mistake before it gets its data. */
static void wake_then_send(int peer, const char *text) {
    TRY(shutdown(peer, SHUT_RD));
    usleep(200000);
    send_text(peer, text);
}

static void set(int fd, int option, int value) { TRY(setsockopt(fd, SOL_SOCKET, option, &value, sizeof value)); }

static void set_timeout(int fd, long milliseconds) {
    struct timeval time = {milliseconds / 1000, milliseconds % 1000 * 1000};
    TRY(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time));
}

CASE(nonblock_set_late) {
    int sides[2];
    warm_pair(sides);
    struct reader reader = {0};
    start_reader(&reader, sides[0], sides[1]);
    nonblocking(sides[0], true);
    wake_then_send(sides[1], "x");
    end_reader(&reader);
    ERR(read(sides[0], block, 1), EAGAIN);
}

CASE(fionbio_set_late) {
    int sides[2], on = 1;
    warm_pair(sides);
    struct reader reader = {0};
    start_reader(&reader, sides[0], sides[1]);
    TRY(ioctl(sides[0], FIONBIO, &on));
    wake_then_send(sides[1], "x");
    end_reader(&reader);
    ERR(read(sides[0], block, 1), EAGAIN);
}

/* The time-out of a read is what it was when the read began. */
CASE(timeout_set_late) {
    int sides[2];
    warm_pair(sides);
    struct reader reader = {0};
    start_reader(&reader, sides[0], sides[1]);
    set_timeout(sides[0], 50);
    wake_then_send(sides[1], "x");
    end_reader(&reader);
    ERR(read(sides[0], block, 1), EAGAIN);
}

CASE(timeout_taken_away_late) {
    int sides[2];
    warm_pair(sides);
    set_timeout(sides[0], 300);
    struct reader reader = {0};
    start_reader(&reader, sides[0], sides[1]);
    set_timeout(sides[0], 0);
    TRY(shutdown(sides[1], SHUT_RD));
    end_reader(&reader);
}

/* And so is how much it wants at least. */
CASE(low_water_set_late) {
    int sides[2];
    warm_pair(sides);
    struct reader reader = {0};
    start_reader(&reader, sides[0], sides[1]);
    set(sides[0], SO_RCVLOWAT, 5);
    wake_then_send(sides[1], "x");
    end_reader(&reader);
    warm_pair(sides);
    reader = (struct reader){0};
    start_reader(&reader, sides[0], sides[1]);
    set(sides[0], SO_RCVLOWAT, 5);
    send_text(sides[1], "at once");
    end_reader(&reader);
}

CASE(low_water_taken_away_late) {
    int sides[2];
    warm_pair(sides);
    struct reader reader = {0};
    start_reader(&reader, sides[0], sides[1]);
    set(sides[0], SO_RCVLOWAT, 5); /* for the next read */
    send_text(sides[1], "first");
    end_reader(&reader);
    reader = (struct reader){.fd = sides[0], .buffer = block, .size = 100};
    set(sides[0], SO_RCVLOWAT, 1);
    reader.thread = start(read_one, &reader);
    for (int i = 0; i < ROUNDS - 1; i++)
        CHECK(write(sides[1], "w", 1) == 1);
    usleep(50000); /* the read that has yet to come begins with: */
    set(sides[0], SO_RCVLOWAT, 5);
    CHECK(write(sides[1], "w", 1) == 1);
    while (!reader.tid)
        sched_yield();
    wait_task_blocked(getpid(), reader.tid, SYS_read);
    set(sides[0], SO_RCVLOWAT, 1);
    send_text(sides[1], "ab");
    usleep(100000);
    send_text(sides[1], "cde");
    finish(reader.thread);
    say("reader: %zd \"%.*s\"", reader.got, (int)reader.got, block);
}

CASE(peek_offset) {
    int sides[2], offset = 10;
    socklen_t size = sizeof offset;
    warm_pair(sides);
    set(sides[0], SO_PEEK_OFF, offset);
    struct reader reader = {0};
    start_reader(&reader, sides[0], sides[1]);
    send_text(sides[1], "abcd");
    end_reader(&reader);
    TRY(getsockopt(sides[0], SOL_SOCKET, SO_PEEK_OFF, &offset, &size));
    say("%d", offset);
    set(sides[0], SO_PEEK_OFF, -1);
    reader = (struct reader){0};
    start_reader(&reader, sides[0], sides[1]);
    set(sides[0], SO_PEEK_OFF, 10);
    send_text(sides[1], "abcd");
    end_reader(&reader);
    TRY(getsockopt(sides[0], SOL_SOCKET, SO_PEEK_OFF, &offset, &size));
    say("%d", offset);
}

static void set_after(int option) {
    int sides[2];
    warm_pair(sides);
    struct reader reader = {0};
    start_reader(&reader, sides[0], sides[1]);
    set(sides[0], option, 1);
    send_text(sides[1], "credentials");
    end_reader(&reader);
    send_text(sides[1], "more");
    say_left("then", sides[0]);
}

CASE(credentials_wanted_late) { set_after(SO_PASSCRED); }

CASE(descriptors_for_a_read) {
    int sides[2], ends[2];
    warm_pair(sides);
    TRY(pipe2(ends, O_CLOEXEC));
    struct reader reader = {0};
    start_reader(&reader, sides[0], sides[1]);
    CHECK(send_fds(sides[1], "with one", 8, &ends[1], 1, 0) == 8);
    TRY(close(ends[1]));
    end_reader(&reader);
    expect_closed(ends[0]);
    TRY(close(ends[0]));
    TRY(pipe2(ends, O_CLOEXEC));
    CHECK(send_fds(sides[1], "queued", 6, &ends[1], 1, 0) == 6);
    TRY(close(ends[1]));
    RET(read(sides[0], block, 100), 6);
    expect_closed(ends[0]);
}

CASE(urgent_byte_for_a_read) {
    int sides[2];
    warm_pair(sides);
    struct reader reader = {0};
    start_reader(&reader, sides[0], sides[1]);
    RET(send(sides[1], "u", 1, MSG_OOB), 1);
    usleep(50000);
    RET(write(sides[1], "data", 4), 4);
    end_reader(&reader);
    RET(write(sides[1], "ab", 2), 2);
    RET(send(sides[1], "cd", 2, MSG_OOB), 2);
    RET(write(sides[1], "ef", 2), 2);
    say_left("before the mark", sides[0]);
    RET(read(sides[0], block, 100), 2);
    say("%.2s", block);
}

/* ---- time and signals -------------------------------------------------------------------------------------- */

/* A process that makes calls on a file without a pause: what is due elsewhere is due all the same. */
static pid_t busy_child(void) {
    pid_t busy = child();
    if (busy == 0) {
        int file = (int)TRY(open("/dev/zero", O_RDONLY | O_CLOEXEC));
        for (;;) {
            char byte;
            CHECK(read(file, &byte, 1) == 1);
            usleep(2000);
        }
    }
    return busy;
}

static void end_busy(pid_t busy) {
    TRY(kill(busy, SIGKILL));
    status_of(busy);
}

static const char *lateness(double start) {
    double took = now() - start;
    return took < 0.29 ? "early" : took > 5 ? "late" : "on time";
}

static volatile sig_atomic_t signals;

static void on_signal(int number) {
    (void)number;
    signals++;
}

static void handle(int number, int flags) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = flags};
    sigemptyset(&action.sa_mask);
    TRY(sigaction(number, &action, NULL));
}

CASE(beside_a_busy_reader_of_files) {
    int sides[2];
    warm_pair(sides);
    pid_t busy = busy_child();
    set_timeout(sides[0], 300);
    double start = now();
    ERR(read(sides[0], block, 1), EAGAIN);
    say("%s", lateness(start));
    set_timeout(sides[0], 0);
    handle(SIGALRM, 0);
    alarm(0);
    struct itimerval timer = {.it_value = {0, 300000}};
    start = now();
    TRY(setitimer(ITIMER_REAL, &timer, NULL));
    ERR(read(sides[0], block, 1), EINTR);
    say("%s, %d", lateness(start), signals);
    end_busy(busy);
}

static void signalled(int flags) {
    int sides[2];
    warm_pair(sides);
    handle(SIGUSR1, flags);
    struct reader reader = {0};
    start_reader(&reader, sides[0], sides[1]);
    CHECK(pthread_kill(reader.thread, SIGUSR1) == 0);
    while (!signals)
        usleep(1000);
    if (flags & SA_RESTART) {
        wait_task_blocked(getpid(), reader.tid, SYS_read);
        RET(write(sides[1], "after it", 8), 8);
        end_reader(&reader);
    } else {
        end_reader(&reader);
        RET(write(sides[1], "after it", 8), 8);
        say_left("kept", sides[0]);
    }
    say("signals: %d", signals);
    warm_up(sides[0], sides[1]);
}

CASE(interrupted) { signalled(0); }
CASE(restarted) { signalled(SA_RESTART); }

static void break_pipe(int fd) {
    signals = 0;
    ERR(write(fd, "x", 1), EPIPE);
    say("%d", signals);
    ERR(send(fd, "x", 1, 0), EPIPE);
    say("%d", signals);
    ERR(send(fd, "x", 1, MSG_NOSIGNAL), EPIPE);
    ERR(write(fd, "", 0), EPIPE);
    say("%d", signals);
}

CASE(broken_pipe) {
    handle(SIGPIPE, 0);
    for (int way = 0; way < 4; way++) {
        int sides[2];
        warm_pair(sides);
        if (way == 3)
            RET(write(sides[0], "unread", 6), 6);
        if (way == 0 || way == 3)
            hang_up(sides[1]);
        else
            TRY(shutdown(sides[way == 1], way == 1 ? SHUT_RD : SHUT_WR));
        break_pipe(sides[0]);
        if (way == 3)
            ERR(read(sides[0], block, 1), ECONNRESET);
    }
}

/* ---- ends -------------------------------------------------------------------------------------------------- */

CASE(ends_of_a_waiting_read) {
    for (int way = 0; way < 6; way++) {
        int sides[2];
        warm_pair(sides);
        struct reader reader = {0};
        if (way == 5)
            RET(write(sides[0], "unread", 6), 6);
        start_reader(&reader, sides[0], sides[1]);
        switch (way) {
        case 0: TRY(shutdown(sides[1], SHUT_WR)); break;
        case 1: TRY(shutdown(sides[0], SHUT_RD)); break;
        case 2: TRY(shutdown(sides[0], SHUT_RDWR)); break;
        case 3: TRY(shutdown(sides[1], SHUT_RDWR)); break;
        default: hang_up(sides[1]);
        }
        end_reader(&reader);
        say("mask: %s", mask_text(poll_mask(sides[0])));
    }
}

CASE(half_closed) {
    int sides[2];
    warm_pair(sides);
    RET(write(sides[1], "before", 6), 6);
    TRY(shutdown(sides[1], SHUT_WR));
    RET(read(sides[0], block, 3), 3);
    RET(recv(sides[0], block, 100, 0), 3);
    RET(read(sides[0], block, 100), 0);
    RET(recv(sides[0], block, 100, 0), 0);
    struct reader reader = {0};
    start_reader(&reader, sides[1], sides[0]);
    RET(write(sides[0], "other way", 9), 9);
    end_reader(&reader);
}

/* The last descriptor was closed while a read waited, and what the read gets is the socket's end. */
CASE(end_after_a_hand_over) {
    int sides[2];
    warm_pair(sides);
    struct reader reader = {0};
    start_reader(&reader, sides[0], sides[1]);
    hang_up(sides[0]);
    wait_task_blocked(getpid(), reader.tid, SYS_read);
    RET(write(sides[1], "x", 1), 1);
    RET(read(sides[1], block, 10), 0);
    end_reader(&reader);
    handle(SIGPIPE, 0);
    ERR(write(sides[1], "x", 1), EPIPE);
}

/* ---- one number, several sockets; several numbers, one socket ------------------------------------------------ */

CASE(duplicates) {
    int sides[2], copy;
    warm_pair(sides);
    copy = (int)TRY(dup(sides[0]));
    warm_up(copy, sides[1]);
    struct reader reader = {0};
    start_reader(&reader, copy, sides[1]);
    hang_up(copy);
    RET(write(sides[1], "x", 1), 1);
    end_reader(&reader);
    warm_up(sides[0], sides[1]);
}

CASE(numbers_used_again) {
    int one[2], two[2], ends[2];
    warm_pair(one);
    warm_pair(two);
    TRY(pipe2(ends, O_CLOEXEC));
    RET(write(one[1], "one", 3), 3);
    RET(write(two[1], "two", 3), 3);
    RET(write(ends[1], "pipe", 4), 4);
    int kept = (int)TRY(dup(one[0]));
    TRY(dup2(two[0], one[0]));
    RET(read(one[0], block, 100), 3);
    say("%.3s", block);
    RET(write(one[0], "from two", 8), 8);
    say_left("two", two[1]);
    TRY(dup2(ends[0], one[0]));
    RET(read(one[0], block, 100), 4);
    say("%.4s", block);
    TRY(dup2(kept, one[0]));
    RET(read(one[0], block, 100), 3);
    say("%.3s", block);
    TRY(close(one[0]));
    ERR(read(one[0], block, 100), EBADF);
    ERR(write(one[0], block, 1), EBADF);
    warm_up(kept, one[1]);
}

/* ---- several processes at one socket ------------------------------------------------------------------------- */

/* A child that reads fd, the first ROUNDS bytes for nothing, and then says by a pipe what it gets. */
static pid_t reading_child(int fd, int peer, int report, struct gate *ready) {
    pid_t other = child();
    if (other == 0) {
        char data[64];
        for (int i = 0; i < ROUNDS; i++)
            CHECK(read(fd, data, 1) == 1);
        pass(ready);
        ssize_t got = read(fd, data, sizeof data);
        CHECK(got >= 0 && write(report, data, (size_t)got) == got);
        _exit(0);
    }
    for (int i = 0; i < ROUNDS; i++)
        CHECK(write(peer, "w", 1) == 1);
    await(ready);
    wait_blocked(other, SYS_read);
    return other;
}

CASE(two_readers) {
    int sides[2], report[2];
    struct gate ready = gate();
    warm_pair(sides);
    TRY(pipe2(report, O_CLOEXEC));
    pid_t first = reading_child(sides[0], sides[1], report[1], &ready);
    pid_t second = child();
    if (second == 0) {
        char byte;
        CHECK(read(sides[0], &byte, 1) == 1 && write(report[1], &byte, 1) == 1);
        _exit(0);
    }
    wait_blocked(second, SYS_read);
    for (const char *byte = "12"; *byte; byte++) {
        RET(write(sides[1], byte, 1), 1);
        RET(read(report[0], block, 10), 1);
        say("%c", block[0]);
    }
    join(first);
    join(second);
    RET(poll_mask(sides[0]) & POLLIN, 0);
}

/* A reader is killed, and at the same moment bytes come: they are for whoever reads next. */
CASE(killed_reader) {
    int sides[2], report[2];
    warm_pair(sides);
    TRY(pipe2(report, O_CLOEXEC));
    for (int i = 0; i < 60; i++) {
        char text[16];
        struct gate ready = gate();
        pid_t other = reading_child(sides[0], sides[1], report[1], &ready);
        snprintf(text, sizeof text, "%08d", i);
        TRY(kill(other, SIGKILL));
        CHECK(write(sides[1], text, 8) == 8);
        CHECK(read(sides[0], block, 100) == 8 && memcmp(block, text, 8) == 0);
        CHECK(status_of(other) == SIGKILL);
        close_all(ready.fds, 2);
    }
    say("sixty times");
    CHECK(poll_mask(report[0]) == 0);
}

/* The same of a splice into a pipe: what it would have moved is not lost in there. */
CASE(killed_splice) {
    int sides[2], tube[2];
    warm_pair(sides);
    TRY(pipe2(tube, O_CLOEXEC));
    for (int i = 0; i < 30; i++) {
        char text[16];
        pid_t other = child();
        if (other == 0) {
            splice(sides[0], NULL, tube[1], NULL, 100, 0);
            _exit(0);
        }
        wait_blocked(other, SYS_splice);
        snprintf(text, sizeof text, "%08d", i);
        TRY(kill(other, SIGKILL));
        CHECK(write(sides[1], text, 8) == 8);
        CHECK(recv(sides[0], block, 100, MSG_DONTWAIT) == 8 && memcmp(block, text, 8) == 0);
        CHECK(status_of(other) == SIGKILL);
    }
    say("thirty times");
    CHECK(poll_mask(tube[0]) == 0);
}

/* ... and another one that waits too. */
CASE(killed_beside_another_reader) {
    int sides[2], report[2];
    struct gate ready = gate();
    warm_pair(sides);
    TRY(pipe2(report, O_CLOEXEC));
    for (int i = 0; i < 20; i++) {
        pid_t doomed = reading_child(sides[0], sides[1], report[1], &ready), heir = child();
        if (heir == 0) {
            char data[64];
            ssize_t got = read(sides[0], data, sizeof data);
            CHECK(got > 0 && write(report[1], data, (size_t)got) == got);
            _exit(0);
        }
        wait_blocked(heir, SYS_read);
        TRY(kill(doomed, SIGKILL));
        CHECK(write(sides[1], "inherited", 9) == 9);
        CHECK(read(report[0], block, 100) == 9);
        CHECK(status_of(doomed) == SIGKILL);
        join(heir);
    }
    say("twenty times");
}

/* ---- exec -------------------------------------------------------------------------------------------------- */

static char *const fixed = (char *)0x10000000;
static char exec_numbers[3][16];

static char *map_fixed(void) {
    void *page = mmap(fixed, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    CHECK(page == fixed);
    return page;
}

static void *execute(void *argument) {
    (void)argument;
    execl("/proc/self/exe", "quick", "--reexecuted", exec_numbers[0], exec_numbers[1], exec_numbers[2], (char *)NULL);
    _exit(126);
}

static void *execute_when_it_waits(void *argument) {
    wait_task_blocked(getpid(), getpid(), SYS_read);
    return execute(argument);
}

/* The new program has other things where the read of the old one would have written. */
int reexecuted(int argc, char **argv) {
    CHECK(argc == 3);
    alarm(WATCHDOG_SECONDS);
    int fd = atoi(argv[0]), go = atoi(argv[1]), gone = atoi(argv[2]);
    char *memory = map_fixed(), byte;
    memset(memory, '.', 16);
    CHECK(write(go, "!", 1) == 1);
    CHECK(read(gone, &byte, 1) == 1); /* it was sent */
    say("memory: %.16s", memory);
    say_received("new program", fd);
    return 0;
}

CASE(exec_while_a_read_waits) {
    int sides[2];
    struct gate go = gate(), sent = gate();
    TRY(socketpair(AF_UNIX, SOCK_STREAM, 0, sides));
    pid_t other = child();
    if (other == 0) {
        char *memory = map_fixed();
        warm_up(sides[0], sides[1]);
        TRY(fcntl(go.fds[1], F_SETFD, 0));
        TRY(fcntl(sent.fds[0], F_SETFD, 0));
        const int numbers[] = {sides[0], go.fds[1], sent.fds[0]};
        for (int i = 0; i < 3; i++)
            snprintf(exec_numbers[i], sizeof exec_numbers[i], "%d", numbers[i]);
        start(execute_when_it_waits, NULL);
        read(sides[0], memory, 16);
        _exit(1);
    }
    warm_up(sides[1], sides[0]);
    await(&go);
    RET(write(sides[1], "for the new one", 15), 15);
    pass(&sent);
    join(other);
}

/* ---- full buffers and flags ------------------------------------------------------------------------------------ */

CASE(flags_of_a_send) {
    int sides[2];
    static const int flags[] = {MSG_DONTWAIT, MSG_NOSIGNAL, MSG_DONTWAIT | MSG_NOSIGNAL, MSG_EOR, MSG_MORE, MSG_CONFIRM};
    warm_pair(sides);
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        struct reader reader = {0};
        start_reader(&reader, sides[0], sides[1]);
        RET(send(sides[1], "flagged", 7, flags[i]), 7);
        end_reader(&reader);
    }
    ERR(recv(sides[0], block, 1, MSG_DONTWAIT), EAGAIN);
    ERR(sendto(sides[1], "x", 1, 0, (struct sockaddr *)&(struct sockaddr_un){.sun_family = AF_UNIX}, 2), EISCONN);
    RET(sendto(sides[1], "x", 1, 0, NULL, 77), 1);
    RET(recv(sides[0], block, 10, MSG_PEEK), 1);
    RET(recv(sides[0], block, 10, MSG_TRUNC), 1);
}

CASE(full_buffer) {
    int sides[2];
    warm_pair(sides);
    set(sides[0], SO_SNDBUF, 20000);
    for (size_t size = 100; size <= 10000; size *= 10) {
        int sent = 0;
        size_t left = 0;
        ssize_t put;
        while ((put = send(sides[0], block, size, MSG_DONTWAIT)) > 0) {
            sent++;
            left += (size_t)put;
        }
        ERR(send(sides[0], block, size, MSG_DONTWAIT | MSG_NOSIGNAL), EAGAIN);
        nonblocking(sides[0], true);
        ERR(write(sides[0], block, size), EAGAIN);
        nonblocking(sides[0], false);
        say("%d of %zu, mask %s", sent, size, mask_text(poll_mask(sides[0])));
        CHECK(read_fully(sides[1], block, left));
        say("mask %s, then %s", mask_text(poll_mask(sides[0])), mask_text(poll_mask(sides[1])));
    }
}

static void *write_much(void *argument) {
    int fd = *(int *)argument;
    for (int i = 0; i < 400; i++)
        CHECK(write(fd, "0123456789", 10) == 10);
    CHECK(write(fd, block, sizeof block) == sizeof block);
    return NULL;
}

CASE(writer_waits_for_room) {
    int sides[2];
    warm_pair(sides);
    set(sides[0], SO_SNDBUF, 20000);
    pthread_t writer = start(write_much, &sides[0]);
    char data[10];
    for (int i = 0; i < 400; i++)
        CHECK(read_fully(sides[1], data, 10) && memcmp(data, "0123456789", 10) == 0);
    static char taken[sizeof block];
    CHECK(read_fully(sides[1], taken, sizeof taken));
    finish(writer);
    RET(poll_mask(sides[1]) & POLLIN, 0);
}

/* What poll and epoll show of sockets whose reads and writes went any way. */
CASE(masks) {
    int sides[2];
    warm_pair(sides);
    MASK("idle", sides[0], POLLOUT);
    RET(write(sides[1], "a", 1), 1);
    RET(send(sides[1], "b", 1, 0), 1);
    MASK("two bytes", sides[0], POLLIN | POLLOUT);
    RET(read(sides[0], block, 1), 1);
    MASK("one byte", sides[0], POLLIN | POLLOUT);
    RET(recv(sides[0], block, 1, 0), 1);
    MASK("read", sides[0], POLLOUT);
    struct reader reader = {0};
    start_reader(&reader, sides[0], sides[1]);
    MASK("a read waits", sides[0], POLLOUT);
    RET(write(sides[1], "c", 1), 1);
    end_reader(&reader);
    MASK("handed over", sides[0], POLLOUT);
    int set = (int)TRY(epoll_create1(EPOLL_CLOEXEC));
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET};
    TRY(epoll_ctl(set, EPOLL_CTL_ADD, sides[0], &event));
    RET(epoll_wait(set, &event, 1, 0), 1);
    RET(epoll_wait(set, &event, 1, 0), 0);
    for (int i = 0; i < 3; i++) {
        RET(write(sides[1], "e", 1), 1);
        RET(epoll_wait(set, &event, 1, 0), 1);
        say("%s", mask_text((int)event.events));
    }
    RET(read(sides[0], block, 10), 3);
    RET(epoll_wait(set, &event, 1, 0), 0);
}
