/*
 * Many wl_shm pools in memfds, as fast as the compositor takes them: their descriptors fill the connection. Then one
 * that it cannot map.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <wayland-client.h>

enum { POOLS = 2000, PAGE = 4096 };

static struct wl_shm *shm;
static int formats;

static void global(void *data, struct wl_registry *registry, uint32_t name, const char *interface, uint32_t version) {
	(void)data, (void)version;
	if (!strcmp(interface, wl_shm_interface.name))
		shm = wl_registry_bind(registry, name, &wl_shm_interface, 1);
}

static void global_remove(void *data, struct wl_registry *registry, uint32_t name) {
	(void)data, (void)registry, (void)name;
}

static void format(void *data, struct wl_shm *of, uint32_t value) {
	(void)data, (void)of, (void)value;
	formats++;
}

static int file(int size) {
	int fd = memfd_create("pool", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, size) < 0)
		err(1, "memfd");
	return fd;
}

/*
 * Before libwayland's room for 28 descriptors is full: it would flush by itself then, take a full connection for a fatal
 * EAGAIN, and never leave wl_display_roundtrip, which tries again after EAGAIN.
 */
static void flush(struct wl_display *display) {
	struct pollfd connection = {.fd = wl_display_get_fd(display), .events = POLLOUT};
	while (wl_display_flush(display) < 0) {
		if (errno != EAGAIN || poll(&connection, 1, -1) < 0)
			err(1, "flush");
	}
}

int main(void) {
	static const struct wl_registry_listener globals = {global, global_remove};
	static const struct wl_shm_listener listener = {format};

	struct wl_display *display = wl_display_connect(NULL);
	if (!display)
		err(1, "no display");
	wl_registry_add_listener(wl_display_get_registry(display), &globals, NULL);
	wl_display_roundtrip(display);
	wl_shm_add_listener(shm, &listener, NULL);
	wl_display_roundtrip(display);
	printf("formats: %s\n", formats ? "some" : "none");

	for (int i = 0; i < POOLS; i++) {
		int size = PAGE * (1 + i % 64), fd = file(2 * size);
		struct wl_shm_pool *pool = wl_shm_create_pool(shm, fd, size);
		close(fd);
		wl_shm_pool_resize(pool, 2 * size);
		struct wl_buffer *buffer = wl_shm_pool_create_buffer(pool, size, 32, 32, 128, WL_SHM_FORMAT_XRGB8888);
		wl_shm_pool_destroy(pool);
		wl_buffer_destroy(buffer);
		if (i % 20 == 19)
			flush(display);
	}
	if (wl_display_roundtrip(display) < 0)
		err(1, "after %d pools", POOLS);
	printf("%d pools\n", POOLS);

	int ends[2];
	if (pipe(ends) < 0)
		err(1, "pipe");
	wl_shm_create_pool(shm, ends[0], PAGE);
	printf("a pipe as a pool: %s", wl_display_roundtrip(display) < 0 ? strerror(errno) : "taken");

	const struct wl_interface *interface = NULL;
	uint32_t id, code = wl_display_get_protocol_error(display, &interface, &id);
	printf(", error %u of %s\n", code, interface ? interface->name : "nothing");
	wl_display_disconnect(display);
	return 0;
}
