/*
 * MIT-SHM 1.2: shared memory between a client and its X server by descriptors, sent both ways over the connection.
 * Each step says what the pixels are after it; what is written on one side must be what is read on the other.
 */
#define _GNU_SOURCE
#include <err.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xcb/shm.h>
#include <xcb/xcb.h>

enum { WIDTH = 256, HEIGHT = 128, BYTES = WIDTH * HEIGHT * 4, ROUNDS = 100, DEPTH = 24 };

static xcb_connection_t *connection;

static void check(xcb_void_cookie_t cookie, const char *what) {
	xcb_generic_error_t *error = xcb_request_check(connection, cookie);
	if (error)
		errx(1, "%s: X error %d", what, error->error_code);
	printf("ok %s\n", what);
}

static uint32_t pixel(int x, int y, int salt) {
	return (uint32_t)((x * 7 + salt) & 0xff) << 16 | (uint32_t)((y * 5 + salt) & 0xff) << 8 | ((x ^ y) & 0xff);
}

static void paint(uint32_t *pixels, int salt) {
	for (int y = 0; y < HEIGHT; y++)
		for (int x = 0; x < WIDTH; x++)
			pixels[y * WIDTH + x] = pixel(x, y, salt);
}

static int differing(const uint32_t *pixels, int salt) {
	int wrong = 0;
	for (int y = 0; y < HEIGHT; y++)
		for (int x = 0; x < WIDTH; x++)
			wrong += (pixels[y * WIDTH + x] & 0xffffff) != pixel(x, y, salt);
	return wrong;
}

static int memfd(uint32_t **pixels) {
	int fd = memfd_create("pixels", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, BYTES) < 0)
		err(1, "memfd");
	*pixels = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (*pixels == MAP_FAILED)
		err(1, "mmap");
	return fd;
}

/* The server makes the memory, and its descriptor comes with the reply. */
static uint32_t *from_server(xcb_shm_seg_t segment) {
	xcb_shm_create_segment_reply_t *reply =
	    xcb_shm_create_segment_reply(connection, xcb_shm_create_segment(connection, segment, BYTES, 0), NULL);
	struct stat status;
	if (!reply || reply->nfd != 1)
		errx(1, "create_segment: no descriptor");
	int fd = xcb_shm_create_segment_reply_fds(connection, reply)[0];
	if (fstat(fd, &status) < 0)
		err(1, "fstat");
	uint32_t *pixels = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (pixels == MAP_FAILED)
		err(1, "mmap of the server's memory");
	if (status.st_size < BYTES)
		errx(1, "the server's memory has %jd bytes", (intmax_t)status.st_size);
	close(fd);
	free(reply);
	return pixels;
}

static void get_image(xcb_drawable_t from, xcb_shm_seg_t into) {
	xcb_shm_get_image_reply_t *reply =
	    xcb_shm_get_image_reply(connection,
				    xcb_shm_get_image(connection, from, 0, 0, WIDTH, HEIGHT, ~0u, XCB_IMAGE_FORMAT_Z_PIXMAP, into, 0),
				    NULL);
	if (!reply)
		errx(1, "get_image");
	printf("got an image of %u bytes\n", reply->size);
	free(reply);
}

int main(void) {
	uint32_t *mine, *theirs, *shared;

	connection = xcb_connect(NULL, NULL);
	if (xcb_connection_has_error(connection))
		errx(1, "no display");
	xcb_screen_t *screen = xcb_setup_roots_iterator(xcb_get_setup(connection)).data;
	const xcb_query_extension_reply_t *shm = xcb_get_extension_data(connection, &xcb_shm_id);
	xcb_shm_query_version_reply_t *version =
	    xcb_shm_query_version_reply(connection, xcb_shm_query_version(connection), NULL);
	if (!shm->present || !version)
		errx(1, "no MIT-SHM");
	printf("MIT-SHM %u.%u\n", version->major_version, version->minor_version);
	free(version);

	xcb_pixmap_t pixmap = xcb_generate_id(connection);
	check(xcb_create_pixmap_checked(connection, DEPTH, pixmap, screen->root, WIDTH, HEIGHT), "create_pixmap");
	xcb_gcontext_t gc = xcb_generate_id(connection);
	check(xcb_create_gc_checked(connection, gc, pixmap, XCB_GC_FOREGROUND, &(uint32_t){0x123456}), "create_gc");

	/* Our memory goes to the server. xcb closes the descriptor when it is sent. */
	xcb_shm_seg_t sent = xcb_generate_id(connection);
	check(xcb_shm_attach_fd_checked(connection, sent, memfd(&mine), 0), "attach_fd");
	paint(mine, 1);
	xcb_shm_put_image(connection, pixmap, gc, WIDTH, HEIGHT, 0, 0, WIDTH, HEIGHT, 0, 0, DEPTH,
			  XCB_IMAGE_FORMAT_Z_PIXMAP, 1, sent, 0);
	xcb_flush(connection);
	for (;;) {
		xcb_generic_event_t *event = xcb_wait_for_event(connection);
		if (!event)
			errx(1, "the connection ended");
		int type = event->response_type & 0x7f;
		free(event);
		if (type == shm->first_event + XCB_SHM_COMPLETION)
			break;
	}
	puts("the image was taken");

	/* The server's memory comes to us. */
	xcb_shm_seg_t received = xcb_generate_id(connection);
	theirs = from_server(received);
	get_image(pixmap, received);
	printf("pixels that differ: %d\n", differing(theirs, 1));

	/* A pixmap in our memory: what the server draws is seen here at once. */
	xcb_shm_seg_t canvas = xcb_generate_id(connection);
	check(xcb_shm_attach_fd_checked(connection, canvas, memfd(&shared), 0), "attach_fd of a canvas");
	xcb_pixmap_t drawn = xcb_generate_id(connection);
	check(xcb_shm_create_pixmap_checked(connection, drawn, screen->root, WIDTH, HEIGHT, DEPTH, canvas, 0), "shm create_pixmap");
	check(xcb_poly_fill_rectangle_checked(connection, drawn, gc, 1, &(xcb_rectangle_t){16, 8, 100, 50}), "fill");
	int filled = 0;
	for (int i = 0; i < WIDTH * HEIGHT; i++)
		filled += (shared[i] & 0xffffff) == 0x123456;
	printf("pixels that the server drew into our memory: %d\n", filled);

	/* Descriptors in both directions, many times and close to each other. */
	int wrong = 0;
	for (int round = 0; round < ROUNDS; round++) {
		xcb_shm_seg_t ours = xcb_generate_id(connection), its = xcb_generate_id(connection);
		uint32_t *out, *in;
		xcb_shm_attach_fd(connection, ours, memfd(&out), 1);
		paint(out, round);
		xcb_shm_put_image(connection, pixmap, gc, WIDTH, HEIGHT, 0, 0, WIDTH, HEIGHT, 0, 0, DEPTH,
				  XCB_IMAGE_FORMAT_Z_PIXMAP, 0, ours, 0);
		in = from_server(its);
		xcb_shm_get_image_reply_t *reply = xcb_shm_get_image_reply(
		    connection,
		    xcb_shm_get_image(connection, pixmap, 0, 0, WIDTH, HEIGHT, ~0u, XCB_IMAGE_FORMAT_Z_PIXMAP, its, 0), NULL);
		if (!reply)
			errx(1, "get_image in round %d", round);
		free(reply);
		wrong += differing(in, round);
		xcb_shm_detach(connection, ours);
		xcb_shm_detach(connection, its);
		munmap(out, BYTES);
		munmap(in, BYTES);
	}
	printf("pixels that differ in %d rounds: %d\n", ROUNDS, wrong);

	check(xcb_shm_detach_checked(connection, sent), "detach");
	xcb_generic_error_t *error = xcb_request_check(
	    connection, xcb_shm_put_image_checked(connection, pixmap, gc, WIDTH, HEIGHT, 0, 0, WIDTH, HEIGHT, 0, 0, DEPTH,
						  XCB_IMAGE_FORMAT_Z_PIXMAP, 0, sent, 0));
	if (!error)
		errx(1, "a detached segment is still there");
	printf("detached: %s\n", error->error_code == shm->first_error ? "BadSeg" : "another error");
	free(error);
	xcb_disconnect(connection);
	return 0;
}
