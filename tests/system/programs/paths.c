/* A bound socket is a file: its inode, its mode, who may connect, and the ways to name it. */
#include "check.h"

#include <grp.h>
#include <sys/fsuid.h>

enum { SOMEBODY = 65534 };

static void become_somebody(void) {
    if (geteuid() != 0)
        return;
    TRY(setgroups(0, NULL));
    TRY(setresgid(SOMEBODY, SOMEBODY, SOMEBODY));
    TRY(setresuid(SOMEBODY, SOMEBODY, SOMEBODY));
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* changing the user has cleared it */
}

static int bind_raw(int fd, const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t size = strlen(path);
    CHECK(size <= sizeof address.sun_path);
    memcpy(address.sun_path, path, size);
    return bind(fd, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size));
}

static int connect_raw(int fd, const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t size = strlen(path);
    CHECK(size <= sizeof address.sun_path);
    memcpy(address.sun_path, path, size);
    return connect(fd, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size));
}

/* Connects by this path and says a word to who is there. */
static void reach(const char *path, int listener) {
    int fd = new_socket(SOCK_STREAM);
    if (connect_raw(fd, path) != 0)
        fail("connect to %s: %s", path, error_name(errno));
    int peer = (int)TRY(accept(listener, NULL, NULL));
    send_text(fd, "reached");
    say_received("server", peer);
    TRY(close(fd));
    TRY(close(peer));
}

static void say_mode(const char *what, const char *path) {
    struct stat status;
    TRY(lstat(path, &status));
    say("%s: mode %o, links %d, size %ld, own %d", what, status.st_mode, (int)status.st_nlink, (long)status.st_size,
        status.st_uid == geteuid());
}

CASE(inode) {
    listener_at(SOCK_STREAM, "server", 5);
    struct stat path, fd;
    RET(stat(path_of("server"), &path), 0);
    RET(S_ISSOCK(path.st_mode), 1);
    int other = bound_at(SOCK_DGRAM, "datagrams");
    TRY(fstat(other, &fd));
    TRY(stat(path_of("datagrams"), &path));
    RET(fd.st_ino != path.st_ino || fd.st_dev != path.st_dev, 1); /* the socket's own inode is another one */
    ERR(open(path_of("server"), O_RDWR), ENXIO);
    ERR(open(path_of("server"), O_RDONLY | O_NONBLOCK), ENXIO);
    int by_path = (int)TRY(open(path_of("server"), O_PATH | O_CLOEXEC));
    TRY(fstat(by_path, &path));
    RET(S_ISSOCK(path.st_mode), 1);
    ERR(truncate(path_of("server"), 0), EINVAL);
    ERR(mkdir(path_of("server"), 0700), EEXIST);
    RET(open(path_of("server"), O_RDWR | O_CREAT | O_EXCL, 0600) == -1 && errno == EEXIST, 1);
}

CASE(mode_and_umask) {
    const mode_t masks[] = {0, 022, 027, 077, 0777};
    for (int i = 0; i < 5; i++) {
        char name[16];
        snprintf(name, sizeof name, "server%d", i);
        umask(masks[i]);
        bound_at(SOCK_STREAM, name);
        say_mode(name, path_of(name));
    }
    umask(0);
    int fd = new_socket(SOCK_STREAM);
    TRY(fchmod(fd, 0640));
    RET(bind_raw(fd, path_of("changed")), 0);
    say_mode("changed", path_of("changed"));
    RET(chmod(path_of("changed"), 0700), 0);
    say_mode("changed", path_of("changed"));
}

CASE(listed) {
    umask(022);
    listener_at(SOCK_STREAM, "server", 5);
    char command[256], line[256] = "";
    snprintf(command, sizeof command, "cd %s && ls -l | cut -c1-10,12 | tail -n +2; ls -F; test -S server && echo socket", directory);
    FILE *pipe = popen(command, "r");
    CHECK(pipe);
    while (fgets(line, sizeof line, pipe))
        printf("%s", line);
    RET(pclose(pipe), 0);
}

/* Another user: no write permission on the socket, or no search permission on the way to it. */
CASE(permissions) {
    if (geteuid() != 0)
        fail("this case needs root");
    int listener = listener_at(SOCK_STREAM, "server", 5), letters = bound_at(SOCK_DGRAM, "letters");
    (void)letters;
    const mode_t modes[] = {0, 0555, 0222, 0777, 0700};
    for (int i = 0; i < 5; i++) {
        TRY(chmod(path_of("server"), modes[i]));
        TRY(chmod(path_of("letters"), modes[i]));
        pid_t other = child();
        if (other == 0) {
            become_somebody();
            int result = connect_fd(new_socket(SOCK_STREAM), "server");
            say("mode %o: connect %d %s", modes[i], result, result ? error_name(errno) : "");
            struct sockaddr_un address;
            socklen_t size = name_of(&address, "letters");
            result = (int)sendto(new_socket(SOCK_DGRAM), "x", 1, 0, (struct sockaddr *)&address, size);
            say("mode %o: sendto %d %s", modes[i], result, result < 0 ? error_name(errno) : "");
            _exit(0);
        }
        join(other);
    }
    RET(connect_fd(new_socket(SOCK_STREAM), "server"), 0); /* root may always */
    TRY(close(accept(listener, NULL, NULL)));
    TRY(mkdir(path_of("closed"), 0700));
    int inner = new_socket(SOCK_STREAM);
    RET(bind_raw(inner, path_of("closed/server")), 0);
    TRY(listen(inner, 5));
    TRY(chmod(path_of("closed/server"), 0777));
    pid_t other = child();
    if (other == 0) {
        become_somebody();
        ERR(connect_raw(new_socket(SOCK_STREAM), path_of("closed/server")), EACCES);
        ERR(bind_raw(new_socket(SOCK_STREAM), path_of("mine")), EACCES);
        ERR(bind_raw(new_socket(SOCK_STREAM), path_of("closed/mine")), EACCES);
        _exit(0);
    }
    join(other);
    TRY(mkdir(path_of("open"), 0777));
    TRY(chmod(path_of("open"), 0777));
    other = child();
    if (other == 0) {
        become_somebody();
        int fd = new_socket(SOCK_STREAM);
        RET(bind_raw(fd, path_of("open/theirs")), 0);
        _exit(0);
    }
    join(other);
    struct stat status;
    TRY(stat(path_of("open/theirs"), &status));
    RET(status.st_uid == SOMEBODY && status.st_gid == SOMEBODY, 1);
}

CASE(unlink_and_bind_again) {
    int listener = listener_at(SOCK_STREAM, "server", 5), waiting = connected_to(SOCK_STREAM, "server");
    RET(unlink(path_of("server")), 0);
    ERR(connect_fd(new_socket(SOCK_STREAM), "server"), ENOENT);
    send_text(waiting, "connected before");
    say_received("server", (int)TRY(accept(listener, NULL, NULL)));
    struct sockaddr_un address;
    socklen_t size = sizeof address;
    TRY(getsockname(listener, (struct sockaddr *)&address, &size));
    RET(strcmp(address.sun_path, path_of("server")), 0);
    int again = listener_at(SOCK_STREAM, "server", 5);
    reach(path_of("server"), again);
    TRY(close(again));
    ERR(connect_fd(new_socket(SOCK_STREAM), "server"), ECONNREFUSED);
    nonblocking(listener, true);
    ERR(accept(listener, NULL, NULL), EAGAIN);
}

CASE(rename_and_link) {
    int listener = listener_at(SOCK_STREAM, "server", 5);
    RET(rename(path_of("server"), path_of("renamed")), 0);
    ERR(connect_fd(new_socket(SOCK_STREAM), "server"), ENOENT);
    reach(path_of("renamed"), listener);
    RET(link(path_of("renamed"), path_of("linked")), 0);
    RET(unlink(path_of("renamed")), 0);
    reach(path_of("linked"), listener);
    TRY(mkdir(path_of("inner"), 0755));
    RET(rename(path_of("linked"), path_of("inner/moved")), 0);
    reach(path_of("inner/moved"), listener);
    struct sockaddr_un address;
    socklen_t size = sizeof address;
    int client = new_socket(SOCK_STREAM);
    TRY(connect_raw(client, path_of("inner/moved")));
    TRY(getpeername(client, (struct sockaddr *)&address, &size));
    RET(strcmp(address.sun_path, path_of("server")), 0);
    /* Another socket takes the old name; each is reached by its own. */
    int other = listener_at(SOCK_STREAM, "server", 5);
    reach(path_of("server"), other);
    TRY(close(accept(listener, NULL, NULL)));
    RET(rename(path_of("server"), path_of("inner/moved")), 0);
    reach(path_of("inner/moved"), other);
    nonblocking(listener, true);
    ERR(accept(listener, NULL, NULL), EAGAIN);
}

CASE(bind_on_something) {
    TRY(close((int)TRY(open(path_of("file"), O_CREAT | O_RDWR, 0600))));
    TRY(mkdir(path_of("directory"), 0755));
    TRY(symlink("nowhere", path_of("dangling")));
    bound_at(SOCK_STREAM, "socket");
    TRY(mkfifo(path_of("fifo"), 0600));
    const char *const names[] = {"file", "directory", "dangling", "socket", "fifo"};
    for (int i = 0; i < 5; i++)
        ERR(bind_raw(new_socket(SOCK_STREAM), path_of(names[i])), EADDRINUSE);
    RET(access(path_of("nowhere"), F_OK), -1);
    ERR(bind_raw(new_socket(SOCK_STREAM), path_of("missing/server")), ENOENT);
    ERR(bind_raw(new_socket(SOCK_STREAM), path_of("file/server")), ENOTDIR);
    int fd = bound_at(SOCK_STREAM, "first");
    ERR(bind_raw(fd, path_of("second")), EINVAL);
    RET(access(path_of("second"), F_OK), -1);
    for (int i = 0; i < 5; i++) {
        int result = connect_raw(new_socket(SOCK_STREAM), path_of(names[i])), error = errno;
        say("connect to %s: %d %s", names[i], result, error_name(error));
    }
    ERR(connect_raw(new_socket(SOCK_STREAM), path_of("file/server")), ENOTDIR);
    ERR(bind_raw(new_socket(SOCK_STREAM), "/proc/afunix-test"), ENOENT);
}

CASE(relative) {
    TRY(chdir(directory));
    TRY(mkdir("inner", 0755));
    int listener = new_socket(SOCK_STREAM);
    RET(bind_raw(listener, "server"), 0);
    RET(listen(listener, 5), 0);
    struct sockaddr_un address;
    socklen_t size = sizeof address;
    TRY(getsockname(listener, (struct sockaddr *)&address, &size));
    say("bound as \"%s\"", address.sun_path);
    reach("server", listener);
    reach("./inner/../server", listener);
    reach(path_of("server"), listener);
    TRY(chdir("inner"));
    ERR(connect_raw(new_socket(SOCK_STREAM), "server"), ENOENT);
    reach("../server", listener);
    pid_t other = child();
    if (other == 0) {
        TRY(chdir(".."));
        RET(connect_raw(new_socket(SOCK_STREAM), "server"), 0);
        _exit(0);
    }
    join(other);
    TRY(close(accept(listener, NULL, NULL)));
    int inner = new_socket(SOCK_STREAM);
    RET(bind_raw(inner, "server"), 0);
    RET(listen(inner, 5), 0);
    reach("server", inner);
    reach(path_of("inner/server"), inner);
    int handle = (int)TRY(open("..", O_PATH | O_DIRECTORY));
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d/server", handle);
    reach(name, listener);
    TRY(fchdir(handle));
    reach("server", listener);
}

CASE(symbolic_links) {
    int listener = listener_at(SOCK_STREAM, "server", 5);
    TRY(symlink("server", path_of("link")));
    TRY(symlink(path_of("link"), path_of("link2")));
    reach(path_of("link"), listener);
    reach(path_of("link2"), listener);
    TRY(mkdir(path_of("real"), 0755));
    TRY(symlink("real", path_of("way")));
    int inner = new_socket(SOCK_STREAM);
    RET(bind_raw(inner, path_of("way/server")), 0);
    TRY(listen(inner, 5));
    reach(path_of("real/server"), inner);
    TRY(symlink("loop", path_of("loop")));
    ERR(connect_raw(new_socket(SOCK_STREAM), path_of("loop")), ELOOP);
    ERR(bind_raw(new_socket(SOCK_STREAM), path_of("loop/server")), ELOOP);
    TRY(unlink(path_of("link")));
    ERR(connect_raw(new_socket(SOCK_STREAM), path_of("link2")), ENOENT);
}

/* 107 bytes and the NUL, 108 bytes without one, and what is longer. */
CASE(long_paths) {
    for (size_t length = 107; length <= 108; length++) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        size_t own = strlen(directory);
        memcpy(address.sun_path, directory, own);
        memset(address.sun_path + own, 'n', length - own);
        address.sun_path[own] = '/';
        int fd = new_socket(SOCK_STREAM);
        RET(bind(fd, (struct sockaddr *)&address, (socklen_t)(2 + length)), 0);
        RET(listen(fd, 5), 0);
        RET(connect(new_socket(SOCK_STREAM), (struct sockaddr *)&address, (socklen_t)(2 + length)), 0);
        char back[200] = "";
        socklen_t size = sizeof back;
        RET(getsockname(fd, (struct sockaddr *)back, &size), 0);
        RET(size, 2 + length + 1);
        RET(strlen(back + 2), length);
        char path[200];
        snprintf(path, sizeof path, "%.*s", (int)length, address.sun_path);
        struct stat status;
        RET(stat(path, &status), 0);
        ERR(bind(new_socket(SOCK_STREAM), (struct sockaddr *)&address, 111), EINVAL);
    }
}

/* The path ends at its first NUL, whatever length is said. */
CASE(path_ends_at_nul) {
    struct sockaddr_un address;
    path_name(&address, "server");
    size_t end = strlen(address.sun_path);
    memcpy(address.sun_path + end, "\0rubbish", 9);
    int fd = new_socket(SOCK_STREAM);
    RET(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    RET(listen(fd, 5), 0);
    RET(access(path_of("server"), F_OK), 0);
    socklen_t size = sizeof address;
    RET(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    RET(size == 2 + end + 1, 1);
    reach(path_of("server"), fd);
}

CASE(files_stay_after_close) {
    int fd = bound_at(SOCK_STREAM, "server");
    TRY(close(fd));
    RET(access(path_of("server"), F_OK), 0);
    ERR(connect_fd(new_socket(SOCK_STREAM), "server"), ECONNREFUSED);
    ERR(bind_raw(new_socket(SOCK_STREAM), path_of("server")), EADDRINUSE);
    RET(unlink(path_of("server")), 0);
    RET(bind_raw(new_socket(SOCK_STREAM), path_of("server")), 0);
}

/* Files are accessed as the user that setfsuid names; the peer is told of the effective one. */
CASE(filesystem_ids) {
    if (geteuid() != 0)
        fail("this case needs root");
    int listener = listener_at(SOCK_STREAM, "server", 5);
    TRY(chmod(path_of("server"), 0700));
    TRY(mkdir(path_of("open"), 0777));
    TRY(chmod(path_of("open"), 0777));
    RET(connect_raw(new_socket(SOCK_STREAM), path_of("server")), 0);
    setfsgid(2000);
    setfsuid(1000);
    ERR(connect_raw(new_socket(SOCK_STREAM), path_of("server")), EACCES);
    ERR(bind_raw(new_socket(SOCK_STREAM), path_of("mine")), EACCES);
    RET(bind_raw(new_socket(SOCK_STREAM), path_of("open/mine")), 0);
    setfsuid(0);
    setfsgid(0);
    struct stat status;
    TRY(stat(path_of("open/mine"), &status));
    say("of %u:%u", status.st_uid, status.st_gid);
    TRY(chmod(path_of("server"), 0777));
    setfsuid(1000);
    int fd = new_socket(SOCK_STREAM);
    RET(connect_raw(fd, path_of("server")), 0);
    TRY(close(accept(listener, NULL, NULL)));
    int peer = (int)TRY(accept(listener, NULL, NULL));
    struct ucred who;
    socklen_t size = sizeof who;
    TRY(getsockopt(peer, SOL_SOCKET, SO_PEERCRED, &who, &size));
    say("from %u:%u", who.uid, who.gid);
}

/* The working directory is outside of the root, which '..' does not leave where the path comes to it. */
CASE(root_below_the_working_directory) {
    if (geteuid() != 0)
        fail("this case needs root");
    TRY(mkdir(path_of("root"), 0755));
    TRY(symlink("root/../outer", path_of("link")));
    TRY(close(listener_at(SOCK_STREAM, "outer", 5)));
    int outer = listener_at(SOCK_STREAM, "root/inner", 5);
    TRY(chdir(path_of(".")));
    TRY(chroot("root"));
    RET(connect_raw(new_socket(SOCK_STREAM), "root/inner"), 0);
    RET(connect_raw(new_socket(SOCK_STREAM), "root/../inner"), 0);
    ERR(connect_raw(new_socket(SOCK_STREAM), "root/../outer"), ENOENT);
    ERR(connect_raw(new_socket(SOCK_STREAM), "link"), ENOENT);
    ERR(connect_raw(new_socket(SOCK_STREAM), "outer"), ECONNREFUSED);
    ERR(bind_raw(new_socket(SOCK_STREAM), "root/../inner"), EADDRINUSE);
    RET(bind_raw(new_socket(SOCK_STREAM), "root/../new"), 0);
    RET(access("/new", F_OK), 0);
    TRY(close(outer));
}

/* In a chroot the same words mean another place. */
CASE(changed_root) {
    if (geteuid() != 0)
        fail("this case needs root");
    TRY(mkdir(path_of("root"), 0755));
    int outer = listener_at(SOCK_STREAM, "server", 5);
    struct gate listening = gate();
    pid_t other = child();
    if (other == 0) {
        TRY(chroot(path_of("root")));
        TRY(chdir("/"));
        int inner = new_socket(SOCK_STREAM);
        RET(bind_raw(inner, "/server"), 0);
        RET(listen(inner, 5), 0);
        ERR(connect_raw(new_socket(SOCK_STREAM), path_of("server")), ENOENT);
        ERR(connect_raw(new_socket(SOCK_STREAM), "/../../tmp"), ENOENT);
        RET(connect_raw(new_socket(SOCK_STREAM), "/../server"), 0);
        TRY(close(accept(inner, NULL, NULL)));
        pass(&listening);
        int peer = (int)TRY(accept(inner, NULL, NULL));
        say_received("inside", peer);
        send_text(peer, "from inside");
        _exit(0);
    }
    await(&listening);
    int fd = new_socket(SOCK_STREAM);
    RET(connect_raw(fd, path_of("root/server")), 0);
    send_text(fd, "from outside");
    say_received("outside", fd);
    join(other);
    reach(path_of("server"), outer);
}
