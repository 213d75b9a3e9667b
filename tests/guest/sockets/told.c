/* Non-blocking receives, again and again: what comes is seen at once, whole, once and in order, whoever else has the
 * socket, and nothing is said to be there, or not there, that is not so. */
#include "../test.h"
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

static int pair[2];

static void begin(void)
{
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair));
}

static ssize_t get(int fd, void *to, size_t n)
{
	return recv(fd, to, n, 0);
}

/* Asks often enough that whatever answers by experience does. */
static void ask_in_vain(int fd)
{
	char byte;
	for (int i = 0; i < 20; i++)
		CHECK_ERR(get(fd, &byte, 1), EAGAIN);
}

static unsigned char pattern(size_t at)
{
	return (unsigned char)(at * 7 + at / 251);
}

/* Sends `n` bytes of the pattern from `at` on. */
static void put(int fd, size_t at, size_t n)
{
	static __thread unsigned char text[20000];
	for (size_t i = 0; i < n; i++)
		text[i] = pattern(at + i);
	for (size_t done = 0; done < n;) {
		ssize_t k = send(fd, text + done, n - done, 0);
		if (k < 0) {
			CHECK(errno == EAGAIN);
			struct pollfd p = {fd, POLLOUT, 0};
			CHECK_EQ(poll(&p, 1, -1), 1);
			continue;
		}
		done += (size_t)k;
	}
}

/* Receives what is there; the bytes must be the pattern's from `at` on. */
static size_t take(int fd, size_t at, size_t room)
{
	static __thread unsigned char text[20000];
	memset(text, 0, room);
	ssize_t n = get(fd, text, room);
	if (n < 0) {
		CHECK(errno == EAGAIN);
		return 0;
	}
	for (ssize_t i = 0; i < n; i++)
		if (text[i] != pattern(at + (size_t)i))
			test_fail(__FILE__, __LINE__, "byte %zu of the stream is %d", at + (size_t)i, text[i]);
	return (size_t)n;
}

static void wait_for(int fd, int epoll)
{
	if (epoll >= 0) {
		struct epoll_event e;
		CHECK_EQ(epoll_wait(epoll, &e, 1, -1), 1);
	} else {
		struct pollfd p = {fd, POLLIN, 0};
		CHECK_EQ(poll(&p, 1, -1), 1);
	}
}

/* Questions and answers of many lengths, in two processes that wait by poll and by epoll. */
TEST(questions_and_answers)
{
	static const size_t lengths[] = {1, 20, 75, 300, 991, 992, 993, 2000, 9000, 17000};
	const int rounds = 3000;
	begin();
	pid_t child = fork();
	CHECK_OK(child);
	int fd = pair[child == 0], epoll = -1;
	if (child == 0) {
		CHECK_OK(epoll = epoll_create1(0));
		struct epoll_event e = {EPOLLIN, {.fd = fd}};
		CHECK_OK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e));
	}
	size_t sent = 0, got = 0;
	for (int i = 0; i < rounds; i++) {
		size_t n = lengths[i % 10];
		if (child != 0) {
			put(fd, sent, n);
			sent += n;
		}
		for (size_t end = got + n; got < end;) {
			size_t k = take(fd, got, 1 + (size_t)i * 37 % 19999);
			got += k;
			if (k == 0)
				wait_for(fd, epoll);
		}
		CHECK_EQ(take(fd, got, 100), 0);
		if (child == 0) {
			put(fd, sent, n);
			sent += n;
		}
	}
	if (child == 0)
		_exit(0);
	CHECK_EXIT(child, 0);
}

/* What was sent is there for one who knows of it by memory alone. */
TEST(seen_as_soon_as_it_can_be_known)
{
	int *told = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(told != MAP_FAILED);
	begin();
	const int rounds = 4000;
	pid_t child = fork();
	CHECK_OK(child);
	for (int i = 1; i <= rounds; i++) {
		char byte = (char)i;
		if (child == 0) {
			while (__atomic_load_n(&told[1], __ATOMIC_ACQUIRE) != i)
				sched_yield();
			CHECK_EQ(send(pair[1], &byte, 1, 0), 1);
			__atomic_store_n(&told[0], i, __ATOMIC_RELEASE);
		} else {
			CHECK_ERR(get(pair[0], &byte, 1), EAGAIN);
			__atomic_store_n(&told[1], i, __ATOMIC_RELEASE);
			while (__atomic_load_n(&told[0], __ATOMIC_ACQUIRE) != i)
				sched_yield();
			CHECK_EQ(get(pair[0], &byte, 1), 1);
			CHECK_EQ(byte, (char)i);
		}
	}
	if (child == 0)
		_exit(0);
	CHECK_EXIT(child, 0);
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static size_t stream_at, stream_end;

static void *reader(void *unused)
{
	(void)unused;
	for (;;) {
		pthread_mutex_lock(&lock);
		stream_at += take(pair[0], stream_at, 700);
		int done = stream_at == stream_end;
		pthread_mutex_unlock(&lock);
		if (done)
			return NULL;
		struct pollfd p = {pair[0], POLLIN, 0};
		CHECK(poll(&p, 1, 1) >= 0);
	}
}

/* Threads take turns with one socket. */
TEST(threads_share_it)
{
	begin();
	stream_end = 400000;
	pthread_t threads[3];
	for (int i = 0; i < 3; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, reader, NULL), 0);
	for (size_t at = 0, n; at < stream_end; at += n) {
		n = 1 + at * 13 % 500;
		if (n > stream_end - at)
			n = stream_end - at;
		put(pair[1], at, n);
		if (at % 3 == 0)
			sched_yield();
	}
	for (int i = 0; i < 3; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	ask_in_vain(pair[0]);
}

/* Processes take turns with one socket; what one has taken, the other does not see. */
TEST(processes_share_it)
{
	int turns[2][2];
	begin();
	CHECK_OK(pipe(turns[0]));
	CHECK_OK(pipe(turns[1]));
	size_t *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(at != MAP_FAILED);
	pid_t child = fork();
	CHECK_OK(child);
	int me = child == 0;
	char turn = 0;
	for (int i = 0; i < 400; i++) {
		if (me || i > 0)
			CHECK_EQ(read(turns[me][0], &turn, 1), 1);
		CHECK_EQ(take(pair[0], at[0], 10), 0);
		for (int k = 0; k < 3; k++) {
			put(pair[1], at[0], 40);
			struct pollfd p = {pair[0], POLLIN, 0};
			CHECK_EQ(poll(&p, 1, -1), 1);
			CHECK_EQ(take(pair[0], at[0], 100), 40);
			at[0] += 40;
			CHECK_EQ(take(pair[0], at[0], 10), 0);
		}
		CHECK_EQ(write(turns[!me][1], &turn, 1), 1);
	}
	if (me)
		_exit(0);
	CHECK_EXIT(child, 0);
}

/* Another thread does something to the socket or its descriptor; the first hears of it by memory alone. */
static int step, other_pair[2];

static void go_to(int n)
{
	__atomic_store_n(&step, n, __ATOMIC_RELEASE);
}

static void wait_step(int n)
{
	while (__atomic_load_n(&step, __ATOMIC_ACQUIRE) < n)
		;
}

static void *meddler(void *unused)
{
	(void)unused;
	char text[64];
	int n;
	wait_step(1);
	/* A look at what was taken, and at what was not. */
	CHECK_OK(ioctl(pair[0], FIONREAD, &n));
	CHECK_EQ(n, 0);
	CHECK_ERR(recv(pair[0], text, 1, MSG_PEEK), EAGAIN);
	struct pollfd p = {pair[0], POLLIN, 0};
	CHECK_EQ(poll(&p, 1, 0), 0);
	go_to(2);
	wait_step(3);
	CHECK_EQ(dup2(other_pair[0], pair[0]), pair[0]);
	go_to(4);
	wait_step(5);
	CHECK_OK(close(pair[0]));
	go_to(6);
	wait_step(7);
	CHECK_OK(shutdown(other_pair[1], SHUT_WR));
	go_to(8);
	return NULL;
}

TEST(another_thread_meddles)
{
	char text[64];
	pthread_t thread;
	begin();
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, other_pair));
	step = 0;
	CHECK_EQ(pthread_create(&thread, NULL, meddler, NULL), 0);
	ask_in_vain(other_pair[0]);
	ask_in_vain(pair[0]);
	CHECK_EQ(send(pair[1], "abc", 3, 0), 3);
	wait_for(pair[0], -1);
	CHECK_EQ(get(pair[0], text, sizeof text), 3);
	go_to(1);
	wait_step(2);
	CHECK_EQ(send(other_pair[1], "other", 5, 0), 5);
	CHECK_ERR(get(pair[0], text, 1), EAGAIN);
	go_to(3);
	wait_step(4);
	CHECK_EQ(get(pair[0], text, sizeof text), 5);
	CHECK_ERR(get(pair[0], text, 1), EAGAIN);
	go_to(5);
	wait_step(6);
	CHECK_ERR(get(pair[0], text, 1), EBADF);
	CHECK_ERR(get(other_pair[0], text, 1), EAGAIN);
	go_to(7);
	wait_step(8);
	CHECK_EQ(get(other_pair[0], text, 1), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

static void *block_again(void *unused)
{
	(void)unused;
	wait_step(1);
	CHECK_OK(fcntl(pair[0], F_SETFL, 0));
	go_to(2);
	usleep(50000);
	CHECK_EQ(send(pair[1], "x", 1, 0), 1);
	return NULL;
}

TEST(it_blocks_once_it_is_told_to)
{
	char byte;
	pthread_t thread;
	begin();
	step = 0;
	CHECK_EQ(pthread_create(&thread, NULL, block_again, NULL), 0);
	ask_in_vain(pair[0]);
	go_to(1);
	wait_step(2);
	CHECK_EQ(get(pair[0], &byte, 1), 1);
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

/* The end of the other side, with and without something unread there. */
TEST(the_end_is_seen)
{
	char text[8];
	for (int unread = 0; unread < 2; unread++) {
		begin();
		ask_in_vain(pair[0]);
		if (unread)
			CHECK_EQ(send(pair[0], "a", 1, 0), 1);
		ask_in_vain(pair[0]);
		CHECK_EQ(send(pair[1], "last", 4, 0), 4);
		wait_for(pair[0], -1);
		CHECK_EQ(get(pair[0], text, sizeof text), 4);
		CHECK_OK(close(pair[1]));
		if (unread)
			CHECK_ERR(get(pair[0], text, 1), ECONNRESET);
		CHECK_EQ(get(pair[0], text, 1), 0);
		CHECK_OK(close(pair[0]));
	}
	/* What was read is not unread when this side is closed. */
	begin();
	ask_in_vain(pair[0]);
	CHECK_EQ(send(pair[1], "read", 4, 0), 4);
	wait_for(pair[0], -1);
	CHECK_EQ(get(pair[0], text, sizeof text), 4);
	CHECK_OK(close(pair[0]));
	CHECK_EQ(get(pair[1], text, 1), 0);
}

/* Nobody is woken for room that he does not ask for, and whoever does is. */
TEST(poll_for_one_direction)
{
	static char much[4096];
	begin();
	while (send(pair[0], much, sizeof much, 0) > 0)
		;
	pid_t child = fork();
	CHECK_OK(child);
	if (child == 0) {
		struct pollfd p = {pair[0], POLLWRNORM, 0};
		CHECK_EQ(poll(&p, 1, -1), 1);
		CHECK_EQ(p.revents, POLLWRNORM);
		CHECK_EQ(send(pair[0], "x", 1, 0), 1);
		p.events = POLLRDNORM;
		CHECK_EQ(poll(&p, 1, -1), 1);
		CHECK_EQ(p.revents, POLLRDNORM);
		p.events = POLLRDHUP;
		CHECK_EQ(poll(&p, 1, -1), 1);
		CHECK_EQ(p.revents, POLLRDHUP);
		_exit(0);
	}
	usleep(20000);
	while (recv(pair[1], much, sizeof much, 0) > 0)
		usleep(10);
	usleep(20000);
	CHECK_EQ(send(pair[1], "y", 1, 0), 1);
	usleep(20000);
	CHECK_OK(shutdown(pair[1], SHUT_WR));
	CHECK_EXIT(child, 0);
}

TEST_MAIN
