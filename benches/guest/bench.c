/* Micro benchmarks: static, the same file natively and inside. `bench` lists the rows, `bench [--batches N] ROW...`
 * measures and prints `row value unit`: the best of N batches, in nanoseconds for one operation. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(what)                                                                                                    \
	do {                                                                                                           \
		if (!(what)) {                                                                                         \
			fprintf(stderr, "bench.c:%d: %s: %s\n", __LINE__, #what, strerror(errno));                     \
			exit(1);                                                                                       \
		}                                                                                                      \
	} while (0)

static int zero, file;
static char block[1 << 20];
static const char *self;
static int batches = 12;

static int64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void do_getppid(long n)
{
	while (n--)
		getppid();
}

/* By syscall(2), whose site serves all numbers and therefore always traps. */
static void do_syscall(long n)
{
	while (n--)
		syscall(SYS_getppid);
}

static void do_read1(long n)
{
	char c;
	while (n--)
		CHECK(read(zero, &c, 1) == 1);
}

/* The same, but the call always goes to the kernel. */
static void do_pread1(long n)
{
	char c;
	while (n--)
		CHECK(pread(zero, &c, 1, 0) == 1);
}

static void do_stat(long n)
{
	struct stat st;
	while (n--)
		CHECK(stat("/etc/passwd", &st) == 0);
}

static void do_open_close(long n)
{
	while (n--)
		CHECK(close(open("/etc/passwd", O_RDONLY)) == 0);
}

static void do_create_unlink(long n)
{
	while (n--) {
		CHECK(close(open("bench-file", O_CREAT | O_WRONLY, 0600)) == 0);
		CHECK(unlink("bench-file") == 0);
	}
}

static void do_pread4k(long n)
{
	while (n--)
		CHECK(pread(file, block, 4096, 4096 * (n & 63)) == 4096);
}

static void do_pwrite4k(long n)
{
	while (n--)
		CHECK(pwrite(file, block, 4096, 4096 * (n & 63)) == 4096);
}

static void do_read1m(long n)
{
	while (n--)
		CHECK(pread(file, block, 1 << 20, 0) == 1 << 20);
}

static void do_mmap_munmap(long n)
{
	while (n--) {
		void *at = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(at != MAP_FAILED && munmap(at, 16384) == 0);
	}
}

/* One operation is one page; a batch is one fresh region. */
static void do_touch(long n)
{
	char *at = mmap(NULL, n * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(at != MAP_FAILED);
	/* Small pages on both sides, so that the same thing is compared. */
	madvise(at, n * 4096, MADV_NOHUGEPAGE);
	for (long i = 0; i < n; i++)
		((volatile char *)at)[i * 4096] = 1;
	CHECK(munmap(at, n * 4096) == 0);
}

static volatile sig_atomic_t handled;
static void on_signal(int signo)
{
	(void)signo;
	handled++;
}

static void do_signal(long n)
{
	pid_t pid = getpid();
	while (n--)
		kill(pid, SIGUSR1);
}

static int to_child[2], to_parent[2];

static void echo_loop(int in, int out)
{
	char c;
	while (read(in, &c, 1) == 1)
		if (write(out, &c, 1) != 1)
			break;
	_exit(0);
}

static void ping(int out, int in, long n)
{
	char c = 0;
	while (n--)
		CHECK(write(out, &c, 1) == 1 && read(in, &c, 1) == 1);
}

static void do_pipe(long n)
{
	static pid_t child;
	if (!child) {
		CHECK(pipe(to_child) == 0 && pipe(to_parent) == 0);
		child = fork();
		if (child == 0) {
			close(to_child[1]);
			echo_loop(to_child[0], to_parent[1]);
		}
		close(to_child[0]);
	}
	ping(to_child[1], to_parent[0], n);
}

static void do_unix(long n)
{
	static pid_t child;
	static int pair[2];
	if (!child) {
		CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
		child = fork();
		if (child == 0) {
			close(pair[0]);
			echo_loop(pair[1], pair[1]);
		}
		close(pair[1]);
	}
	ping(pair[0], pair[0], n);
}

static uint32_t turn;
static void wait_turn(uint32_t mine)
{
	uint32_t seen;
	while ((seen = __atomic_load_n(&turn, __ATOMIC_ACQUIRE)) % 2 != mine)
		syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void pass_turn(void)
{
	__atomic_fetch_add(&turn, 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void *futex_partner(void *unused)
{
	for (;;) {
		wait_turn(1);
		pass_turn();
	}
	return unused;
}

static void do_futex(long n)
{
	static pthread_t partner;
	if (!partner)
		CHECK(pthread_create(&partner, NULL, futex_partner, NULL) == 0);
	while (n--) {
		wait_turn(0);
		pass_turn();
	}
	wait_turn(0);
}

/* One of a thousand descriptors becomes ready, is found, and read. */
static void do_epoll(long n)
{
	enum { COUNT = 1000 };
	static int epoll = -1, fds[COUNT];
	static uint32_t at = 12345;
	if (epoll < 0) {
		struct rlimit limit;
		CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
		limit.rlim_cur = limit.rlim_max;
		CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
		CHECK((epoll = epoll_create1(0)) >= 0);
		for (int i = 0; i < COUNT; i++) {
			CHECK((fds[i] = eventfd(0, EFD_NONBLOCK)) >= 0);
			struct epoll_event event = {.events = EPOLLIN, .data.fd = fds[i]};
			CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event) == 0);
		}
	}
	while (n--) {
		uint64_t one = 1;
		struct epoll_event ready[8];
		at = at * 1103515245 + 12345;
		int fd = fds[(at >> 16) % COUNT];
		CHECK(write(fd, &one, 8) == 8);
		CHECK(epoll_wait(epoll, ready, 8, -1) == 1 && ready[0].data.fd == fd);
		CHECK(read(fd, &one, 8) == 8 && one == 1);
	}
}

static void do_fork(long n)
{
	while (n--) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(0);
		CHECK(pid > 0 && waitpid(pid, NULL, 0) == pid);
	}
}

static void do_exec(long n)
{
	while (n--) {
		pid_t pid = fork();
		if (pid == 0) {
			execl(self, self, "--nothing", NULL);
			_exit(1);
		}
		int status;
		CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
	}
}

static void *nothing(void *unused)
{
	return unused;
}

static void do_thread(long n)
{
	while (n--) {
		pthread_t thread;
		CHECK(pthread_create(&thread, NULL, nothing, NULL) == 0);
		CHECK(pthread_join(thread, NULL) == 0);
	}
}

static void do_clock(long n)
{
	struct timespec t;
	while (n--)
		clock_gettime(CLOCK_MONOTONIC, &t);
}

static const struct row {
	const char *name;
	void (*body)(long n);
	long fixed; /* operations of a batch, or 0 to find out */
} rows[] = {
	{"getppid", do_getppid, 0},
	{"trapped-getppid", do_syscall, 0},
	{"read-1", do_read1, 0},
	{"pread-1", do_pread1, 0},
	{"stat", do_stat, 0},
	{"open-close", do_open_close, 0},
	{"create-unlink", do_create_unlink, 0},
	{"pread-4k", do_pread4k, 0},
	{"pwrite-4k", do_pwrite4k, 0},
	{"read-1m", do_read1m, 0},
	{"mmap-munmap", do_mmap_munmap, 0},
	{"first-touch", do_touch, 8192},
	{"signal-self", do_signal, 0},
	{"pipe-ping-pong", do_pipe, 0},
	{"unix-ping-pong", do_unix, 0},
	{"futex-ping-pong", do_futex, 0},
	{"epoll-1000", do_epoll, 0},
	{"fork-exit-wait", do_fork, 0},
	{"fork-exec-wait", do_exec, 0},
	{"thread-create-join", do_thread, 0},
	{"clock-gettime", do_clock, 0},
};

static void measure(const struct row *row)
{
	enum { BATCH_NS = 8000000 };
	long n = row->fixed ? row->fixed : 1;
	row->body(n);
	while (!row->fixed) {
		int64_t start = now();
		row->body(n);
		int64_t took = now() - start;
		if (took >= BATCH_NS || n > 100000000)
			break;
		n = took * 4 < BATCH_NS ? n * 2 : n * BATCH_NS / (took > 0 ? took : 1) + 1;
	}
	double best = 1e30;
	for (int batch = 0; batch < batches; batch++) {
		int64_t start = now();
		row->body(n);
		double each = (double)(now() - start) / n;
		if (each < best)
			best = each;
	}
	printf("%s %.1f ns\n", row->name, best);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--nothing") == 0)
		_exit(0);
	if (argc == 1) {
		for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++)
			puts(rows[i].name);
		return 0;
	}
	self = argv[0];
	signal(SIGUSR1, on_signal);
	CHECK((zero = open("/dev/zero", O_RDONLY)) >= 0);
	CHECK((file = open("bench-data", O_RDWR | O_CREAT | O_TRUNC, 0600)) >= 0);
	memset(block, 'x', sizeof block);
	CHECK(write(file, block, sizeof block) == sizeof block);
	int first = 1;
	if (argc > 2 && strcmp(argv[1], "--batches") == 0) {
		batches = atoi(argv[2]);
		first = 3;
	}
	for (int a = first; a < argc; a++) {
		const struct row *found = NULL;
		for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++)
			if (strcmp(rows[i].name, argv[a]) == 0)
				found = &rows[i];
		CHECK(found);
		measure(found);
	}
	unlink("bench-data");
	/* Partners in other processes go with their pipes. */
	return 0;
}
