/* poll, select, epoll, eventfd, timerfd, signalfd. */
#include "../test.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <limits.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

TEST(poll_readiness)
{
	int ends[2];
	CHECK_OK(pipe(ends));
	struct pollfd p[4] = {{ends[0], POLLIN, 0}, {ends[1], POLLOUT, 0}, {-1, POLLIN, 9}, {999, POLLIN, 0}};
	CHECK_EQ(poll(p, 4, 0), 2);
	CHECK(p[0].revents == 0 && p[1].revents == POLLOUT && p[2].revents == 0 && p[3].revents == POLLNVAL);
	CHECK_EQ(write(ends[1], "x", 1), 1);
	CHECK_EQ(poll(p, 1, -1), 1);
	CHECK_EQ(p[0].revents, POLLIN);
	close(ends[1]);
	CHECK_EQ(poll(p, 1, -1), 1);
	CHECK_EQ(p[0].revents, POLLIN | POLLHUP);
	char c;
	CHECK_EQ(read(ends[0], &c, 1), 1);
	CHECK_EQ(poll(p, 1, -1), 1);
	CHECK_EQ(p[0].revents, POLLHUP);
	int file = CHECK_OK(open("f", O_RDWR | O_CREAT, 0600));
	struct pollfd f = {file, POLLIN | POLLOUT, 0};
	CHECK_EQ(poll(&f, 1, 0), 1);
	CHECK_EQ(f.revents, POLLIN | POLLOUT);
}

TEST(poll_times_out)
{
	int ends[2];
	CHECK_OK(pipe(ends));
	struct pollfd p = {ends[0], POLLIN, 0};
	int64_t start = now_ns();
	CHECK_EQ(poll(&p, 1, 30), 0);
	CHECK(now_ns() - start >= 30000000);
	start = now_ns();
	struct timespec wait = {0, 20000000};
	CHECK_EQ(ppoll(&p, 1, &wait, NULL), 0);
	CHECK(now_ns() - start >= 20000000);
	struct timespec bad = {0, 1000000000};
	CHECK_ERR(ppoll(&p, 1, &bad, NULL), EINVAL);
	CHECK_ERR(poll((struct pollfd *)8, 1, 0), EFAULT);
}

TEST(poll_is_woken)
{
	int ends[2];
	CHECK_OK(pipe(ends));
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		msleep(30);
		CHECK_EQ(write(ends[1], "x", 1), 1);
		_exit(0);
	}
	struct pollfd p = {ends[0], POLLIN, 0};
	int64_t start = now_ns();
	CHECK_EQ(poll(&p, 1, 10000), 1);
	CHECK(now_ns() - start < 5000000000);
	CHECK_EXIT(pid, 0);
}

TEST(selecting)
{
	int ends[2];
	CHECK_OK(pipe(ends));
	fd_set in, out;
	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_SET(ends[0], &in);
	FD_SET(ends[1], &out);
	struct timeval zero = {0, 0}, some = {0, 20000};
	int top = ends[1] + 1;
	CHECK_EQ(select(top, &in, &out, NULL, &zero), 1);
	CHECK(!FD_ISSET(ends[0], &in) && FD_ISSET(ends[1], &out));
	FD_SET(ends[0], &in);
	CHECK_EQ(select(top, &in, NULL, NULL, &some), 0);
	CHECK(some.tv_sec == 0 && some.tv_usec == 0);
	CHECK_EQ(write(ends[1], "x", 1), 1);
	FD_SET(ends[0], &in);
	some.tv_sec = 5;
	CHECK_EQ(select(top, &in, NULL, NULL, &some), 1);
	CHECK(some.tv_sec == 4 || some.tv_sec == 5);
	struct timeval huge = {0, LONG_MAX};
	CHECK_EQ(syscall(SYS_select, top, &in, NULL, NULL, &huge), 1);
	huge.tv_sec = LONG_MAX;
	huge.tv_usec = LONG_MAX;
	CHECK_ERR(syscall(SYS_select, top, &in, NULL, NULL, &huge), EINVAL);
	FD_ZERO(&in);
	/* Below 64: Linux looks only at what the table of descriptors has room for, and that is where it begins. */
	FD_SET(60, &in);
	close(60); /* Whoever started us may have left it open. */
	CHECK_ERR(select(61, &in, NULL, NULL, &zero), EBADF);
	CHECK_ERR(select(-1, NULL, NULL, NULL, &zero), EINVAL);
	some.tv_sec = -1;
	CHECK_ERR(select(0, NULL, NULL, NULL, &some), EINVAL);
	/* As long as can be said, and longer. */
	some = (struct timeval){0, INT64_MAX};
	FD_ZERO(&out);
	FD_SET(ends[1], &out);
	CHECK_EQ(syscall(SYS_select, ends[1] + 1, NULL, &out, NULL, &some), 1);
}

static int add(int ep, int fd, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.fd = fd};
	return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event);
}

TEST(epoll_level_triggered)
{
	int ends[2], ep = CHECK_OK(epoll_create1(EPOLL_CLOEXEC));
	CHECK_OK(pipe(ends));
	CHECK_OK(add(ep, ends[0], EPOLLIN));
	struct epoll_event got[4];
	CHECK_EQ(epoll_wait(ep, got, 4, 0), 0);
	CHECK_EQ(write(ends[1], "ab", 2), 2);
	char c;
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(epoll_wait(ep, got, 4, -1), 1);
		CHECK_EQ(got[0].events, EPOLLIN);
		CHECK_EQ(got[0].data.fd, ends[0]);
		CHECK_EQ(read(ends[0], &c, 1), 1);
	}
	CHECK_EQ(epoll_wait(ep, got, 4, 0), 0);
	close(ends[1]);
	CHECK_EQ(epoll_wait(ep, got, 4, 0), 1);
	CHECK_EQ(got[0].events, EPOLLHUP);
	close(ends[0]);
	CHECK_EQ(epoll_wait(ep, got, 4, 0), 0);
}

TEST(epoll_edge_triggered)
{
	int ends[2], ep = CHECK_OK(epoll_create1(0));
	CHECK_OK(pipe(ends));
	CHECK_OK(add(ep, ends[0], EPOLLIN | EPOLLET));
	struct epoll_event got[4];
	CHECK_EQ(write(ends[1], "a", 1), 1);
	CHECK_EQ(epoll_wait(ep, got, 4, 0), 1);
	CHECK_EQ(epoll_wait(ep, got, 4, 0), 0);
	CHECK_EQ(write(ends[1], "b", 1), 1);
	CHECK_EQ(epoll_wait(ep, got, 4, 0), 1);
	CHECK_EQ(epoll_wait(ep, got, 4, 0), 0);
	/* Modifying arms it again. */
	struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = 0x123456789abcdef0};
	CHECK_OK(epoll_ctl(ep, EPOLL_CTL_MOD, ends[0], &event));
	CHECK_EQ(epoll_wait(ep, got, 4, 0), 1);
	CHECK(got[0].data.u64 == 0x123456789abcdef0);
}

TEST(epoll_one_shot)
{
	int ends[2], ep = CHECK_OK(epoll_create1(0));
	CHECK_OK(pipe(ends));
	CHECK_OK(add(ep, ends[0], EPOLLIN | EPOLLONESHOT));
	struct epoll_event got[4], event = {.events = EPOLLIN | EPOLLONESHOT};
	CHECK_EQ(write(ends[1], "ab", 2), 2);
	CHECK_EQ(epoll_wait(ep, got, 4, 0), 1);
	CHECK_EQ(epoll_wait(ep, got, 4, 0), 0);
	CHECK_EQ(write(ends[1], "c", 1), 1);
	CHECK_EQ(epoll_wait(ep, got, 4, 0), 0);
	CHECK_OK(epoll_ctl(ep, EPOLL_CTL_MOD, ends[0], &event));
	CHECK_EQ(epoll_wait(ep, got, 4, 0), 1);
}

TEST(epoll_errors)
{
	int ends[2], ep = CHECK_OK(epoll_create1(0));
	CHECK_OK(pipe(ends));
	struct epoll_event event = {.events = EPOLLIN};
	CHECK_OK(add(ep, ends[0], EPOLLIN));
	CHECK_ERR(add(ep, ends[0], EPOLLIN), EEXIST);
	CHECK_ERR(epoll_ctl(ep, EPOLL_CTL_DEL, ends[1], NULL), ENOENT);
	CHECK_ERR(epoll_ctl(ep, EPOLL_CTL_MOD, ends[1], &event), ENOENT);
	CHECK_ERR(epoll_ctl(ep, 77, ends[0], &event), EINVAL);
	CHECK_ERR(epoll_ctl(ep, EPOLL_CTL_ADD, 999, &event), EBADF);
	CHECK_ERR(epoll_ctl(ends[0], EPOLL_CTL_ADD, ends[1], &event), EINVAL);
	CHECK_ERR(epoll_ctl(ep, EPOLL_CTL_ADD, ep, &event), EINVAL);
	int file = CHECK_OK(open("f", O_RDWR | O_CREAT, 0600));
	CHECK_ERR(add(ep, file, EPOLLIN), EPERM);
	CHECK_ERR(epoll_wait(ep, &event, 0, 0), EINVAL);
	CHECK_ERR(epoll_wait(ends[0], &event, 1, 0), EINVAL);
	CHECK_ERR(epoll_create(0), EINVAL);
	CHECK_ERR(epoll_create1(1), EINVAL);
	/* Sets within sets, but not in a ring. */
	int outer = CHECK_OK(epoll_create1(0));
	CHECK_OK(add(outer, ep, EPOLLIN));
	CHECK_ERR(add(ep, outer, EPOLLIN), ELOOP);
	CHECK_EQ(epoll_wait(outer, &event, 1, 0), 0);
	CHECK_EQ(write(ends[1], "x", 1), 1);
	CHECK_EQ(epoll_wait(outer, &event, 1, 1000), 1);
	CHECK_EQ(event.data.fd, ep);
	/* A closed descriptor leaves; a copy of it keeps it in. */
	int copy = dup(ends[0]);
	close(ends[0]);
	CHECK_EQ(epoll_wait(ep, &event, 1, 0), 1);
	close(copy);
	CHECK_EQ(epoll_wait(ep, &event, 1, 0), 0);
}

TEST(epoll_many)
{
	enum { N = 200 };
	int fds[N], ep = CHECK_OK(epoll_create1(0));
	for (int i = 0; i < N; i++) {
		fds[i] = CHECK_OK(eventfd(0, EFD_NONBLOCK));
		CHECK_OK(add(ep, fds[i], EPOLLIN | EPOLLET));
	}
	for (int round = 0; round < 20; round++) {
		uint64_t one = 1;
		for (int i = round % 7; i < N; i += 7)
			CHECK_EQ(write(fds[i], &one, 8), 8);
		int want = (N - round % 7 + 6) / 7, total = 0, n;
		struct epoll_event got[16];
		while ((n = CHECK_OK(epoll_wait(ep, got, 16, 0))) > 0) {
			total += n;
			for (int i = 0; i < n; i++)
				CHECK_EQ(read(got[i].data.fd, &one, 8), 8);
		}
		CHECK_EQ(total, want);
	}
}

static void *poke_later(void *fd)
{
	msleep(20);
	uint64_t one = 1;
	CHECK_EQ(write((int)(intptr_t)fd, &one, 8), 8);
	return NULL;
}

TEST(epoll_is_woken)
{
	int fd = CHECK_OK(eventfd(0, 0)), ep = CHECK_OK(epoll_create1(0));
	CHECK_OK(add(ep, fd, EPOLLIN));
	for (int i = 0; i < 5; i++) {
		pthread_t thread;
		CHECK_EQ(pthread_create(&thread, NULL, poke_later, (void *)(intptr_t)fd), 0);
		struct epoll_event got;
		CHECK_EQ(epoll_wait(ep, &got, 1, 10000), 1);
		uint64_t value;
		CHECK_EQ(read(fd, &value, 8), 8);
		CHECK_EQ(pthread_join(thread, NULL), 0);
	}
	struct epoll_event got;
	int64_t start = now_ns();
	CHECK_EQ(epoll_wait(ep, &got, 1, 25), 0);
	CHECK(now_ns() - start >= 25000000);
	/* Added while somebody waits. */
	int other = CHECK_OK(eventfd(1, 0));
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		msleep(20);
		_exit(add(ep, other, EPOLLIN));
	}
	CHECK_EQ(epoll_wait(ep, &got, 1, 10000), 1);
	CHECK_EQ(got.data.fd, other);
	CHECK_EXIT(pid, 0);
}

TEST(event_counters)
{
	int fd = CHECK_OK(eventfd(5, EFD_NONBLOCK | EFD_CLOEXEC));
	uint64_t value = 7;
	CHECK_EQ(write(fd, &value, 8), 8);
	CHECK_EQ(read(fd, &value, 8), 8);
	CHECK_EQ(value, 12);
	CHECK_ERR(read(fd, &value, 8), EAGAIN);
	CHECK_ERR(read(fd, &value, 4), EINVAL);
	value = UINT64_MAX;
	CHECK_ERR(write(fd, &value, 8), EINVAL);
	value = UINT64_MAX - 1;
	CHECK_EQ(write(fd, &value, 8), 8);
	value = 1;
	CHECK_ERR(write(fd, &value, 8), EAGAIN);
	struct pollfd p = {fd, POLLIN | POLLOUT, 0};
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK_EQ(p.revents, POLLIN);
	int semaphore = CHECK_OK(eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK));
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(read(semaphore, &value, 8), 8);
		CHECK_EQ(value, 1);
	}
	CHECK_ERR(read(semaphore, &value, 8), EAGAIN);
	CHECK_ERR(eventfd(0, 0x10), EINVAL);
	uint64_t two[2] = {1, 1};
	CHECK_ERR(write(semaphore, two, sizeof two), EINVAL);
	CHECK_ERR(write(semaphore, two, 4), EINVAL);
}

TEST(timer_descriptors)
{
	int fd = CHECK_OK(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
	uint64_t count;
	CHECK_ERR(read(fd, &count, 8), EAGAIN);
	struct itimerspec spec = {{0, 5000000}, {0, 10000000}}, now;
	CHECK_OK(timerfd_settime(fd, 0, &spec, NULL));
	struct pollfd p = {fd, POLLIN, 0};
	int64_t start = now_ns();
	CHECK_EQ(poll(&p, 1, 5000), 1);
	CHECK(now_ns() - start >= 9000000);
	msleep(30);
	CHECK_EQ(read(fd, &count, 8), 8);
	CHECK(count >= 4 && count < 1000);
	CHECK_OK(timerfd_gettime(fd, &now));
	CHECK(now.it_interval.tv_nsec == 5000000 && now.it_value.tv_nsec <= 5000000);
	memset(&spec, 0, sizeof spec);
	CHECK_OK(timerfd_settime(fd, 0, &spec, &now));
	CHECK_EQ(now.it_interval.tv_nsec, 5000000);
	int blocking = CHECK_OK(timerfd_create(CLOCK_REALTIME, 0));
	clock_gettime(CLOCK_REALTIME, &spec.it_value);
	spec.it_value.tv_nsec += 20000000;
	if (spec.it_value.tv_nsec >= 1000000000) {
		spec.it_value.tv_nsec -= 1000000000;
		spec.it_value.tv_sec++;
	}
	CHECK_OK(timerfd_settime(blocking, TFD_TIMER_ABSTIME, &spec, NULL));
	CHECK_EQ(read(blocking, &count, 8), 8);
	CHECK_EQ(count, 1);
	CHECK_ERR(timerfd_create(99, 0), EINVAL);
	CHECK_ERR(timerfd_create(CLOCK_MONOTONIC, 0x1), EINVAL);
	spec.it_value.tv_nsec = -1;
	CHECK_ERR(timerfd_settime(fd, 0, &spec, NULL), EINVAL);
	CHECK_ERR(timerfd_settime(0, 0, &now, NULL), EINVAL);
}

TEST(signal_descriptors)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGCHLD);
	CHECK_OK(sigprocmask(SIG_BLOCK, &set, NULL));
	int fd = CHECK_OK(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
	struct signalfd_siginfo info[2];
	CHECK_ERR(read(fd, info, sizeof info), EAGAIN);
	CHECK_OK(sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 99}));
	struct pollfd p = {fd, POLLIN, 0};
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK_EQ(read(fd, info, sizeof info), sizeof info[0]);
	CHECK_EQ(info[0].ssi_signo, SIGUSR1);
	CHECK_EQ(info[0].ssi_int, 99);
	CHECK_EQ(info[0].ssi_pid, getpid());
	pid_t pid = CHECK_OK(fork());
	if (pid == 0)
		_exit(3);
	CHECK_EQ(poll(&p, 1, 5000), 1);
	CHECK_EQ(read(fd, info, sizeof info), sizeof info[0]);
	CHECK_EQ(info[0].ssi_signo, SIGCHLD);
	CHECK_EQ(info[0].ssi_status, 3);
	CHECK_EXIT(pid, 3);
	CHECK_ERR(read(fd, info, 10), EINVAL);
	sigdelset(&set, SIGUSR1);
	CHECK_EQ(signalfd(fd, &set, 0), fd);
	raise(SIGUSR1);
	CHECK_EQ(poll(&p, 1, 0), 0);
	CHECK_ERR(signalfd(0, &set, 0), EINVAL);
}

TEST(process_descriptors)
{
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		msleep(30);
		_exit(4);
	}
	int fd = CHECK_OK(syscall(SYS_pidfd_open, pid, 0));
	CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	struct pollfd p = {fd, POLLIN, 0};
	CHECK_EQ(poll(&p, 1, 0), 0);
	CHECK_EQ(poll(&p, 1, 5000), 1);
	siginfo_t info;
	CHECK_OK(waitid(P_PIDFD, fd, &info, WEXITED));
	CHECK_EQ(info.si_status, 4);
	CHECK_ERR(syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0), ESRCH);
	CHECK_ERR(syscall(SYS_pidfd_open, 999999, 0), ESRCH);
	CHECK_ERR(syscall(SYS_pidfd_open, getpid(), 0x1), EINVAL);
}

TEST_MAIN
