/* seccomp_unotify(2): calls that a filter hands to a supervisor. */
#include "seccomp.h"
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif

static int listener_with(unsigned flags, struct sock_filter *code, unsigned short len)
{
	CHECK_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	return filter_with(SECCOMP_FILTER_FLAG_NEW_LISTENER | flags, code, len);
}

/* getsid(2) is handed on. */
static struct sock_filter on_getsid[] = ONE(SYS_getsid, SECCOMP_RET_USER_NOTIF);

static int listen_for_getsid(unsigned flags)
{
	return CHECK_OK(listener_with(flags, on_getsid, 4));
}

/* A child that does this; the filter is its parent's, too, which does not make the call. */
#define CHILD(...)                                                                                                     \
	({                                                                                                             \
		pid_t pid_ = CHECK_OK(fork());                                                                         \
		if (pid_ == 0) {                                                                                       \
			__VA_ARGS__;                                                                                   \
			_exit(0);                                                                                      \
		}                                                                                                      \
		pid_;                                                                                                  \
	})

static struct seccomp_notif take(int fd)
{
	struct seccomp_notif n;
	memset(&n, 0, sizeof n);
	CHECK_EQ(ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &n), 0);
	return n;
}

static int answer(int fd, uint64_t id, int error, long value, unsigned flags)
{
	struct seccomp_notif_resp r = {.id = id, .val = value, .error = error, .flags = flags};
	return ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &r);
}

static int is_valid(int fd, uint64_t id)
{
	return ioctl(fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &id);
}

static int poll_now(int fd, int wait_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};
	CHECK_OK(poll(&p, 1, wait_ms));
	return p.revents;
}

/* Signals handled, by whichever process. */
static volatile int *handled;

__attribute__((constructor)) static void share_count(void)
{
	handled = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

static void count(int signo)
{
	(void)signo;
	++*handled;
}

static void handle(int signo, int flags)
{
	struct sigaction sa = {.sa_handler = count, .sa_flags = flags};
	CHECK_OK(sigaction(signo, &sa, NULL));
	*handled = 0;
}

/* Until the child waits in its call. */
static void until_asleep(pid_t pid)
{
	EVENTUALLY(process_state(pid) == 'S');
}

TEST(sizes)
{
	struct seccomp_notif_sizes s;
	CHECK_EQ(seccomp(SECCOMP_GET_NOTIF_SIZES, 0, &s), 0);
	CHECK_EQ(s.seccomp_notif, sizeof(struct seccomp_notif));
	CHECK_EQ(s.seccomp_notif_resp, sizeof(struct seccomp_notif_resp));
	CHECK_EQ(s.seccomp_data, sizeof(struct seccomp_data));
	CHECK_ERR(seccomp(SECCOMP_GET_NOTIF_SIZES, 1, &s), EINVAL);
	CHECK_ERR(seccomp(SECCOMP_GET_NOTIF_SIZES, 0, NULL), EFAULT);
}

TEST(flags_of_filters)
{
	CHECK_ERR(listener_with(SECCOMP_FILTER_FLAG_TSYNC, on_getsid, 4), EINVAL);
	struct sock_filter code[] = ONE(SYS_getsid, SECCOMP_RET_USER_NOTIF);
	CHECK_ERR(filter_with(SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, code, 4), EINVAL);
	struct rlimit none = {0, 0}, before;
	CHECK_OK(getrlimit(RLIMIT_NOFILE, &before));
	none.rlim_max = before.rlim_max;
	CHECK_OK(setrlimit(RLIMIT_NOFILE, &none));
	CHECK_ERR(listener_with(0, on_getsid, 4), EMFILE);
	CHECK_OK(setrlimit(RLIMIT_NOFILE, &before));
	int fd = listen_for_getsid(SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH);
	CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	CHECK_EQ(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
	char link[64] = "", path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	CHECK_OK(readlink(path, link, sizeof link - 1));
	CHECK_STR(link, "anon_inode:seccomp notify");
	/* One listener at a time. */
	CHECK_ERR(listener_with(0, on_getsid, 4), EBUSY);
	CHECK_OK(close(fd));
	CHECK_OK(listener_with(SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, on_getsid, 4));
}

TEST(a_call_is_answered)
{
	int fd = listen_for_getsid(0);
	CHECK_EQ(poll_now(fd, 0), 0);
	pid_t pid = CHILD({
		CHECK_EQ(syscall(SYS_getsid, 11, 22, 33, 44, 55, 66), 0x123456789abcdef);
		CHECK_ERR(syscall(SYS_getsid, 1), EXDEV);
		CHECK_EQ(getsid(0), getsid(getppid()));
	});
	CHECK_EQ(poll_now(fd, 5000), POLLIN);
	struct seccomp_notif n = take(fd);
	CHECK_EQ(poll_now(fd, 0), POLLOUT);
	CHECK_EQ(n.pid, pid);
	CHECK_EQ(n.flags, 0);
	CHECK_EQ(n.data.nr, SYS_getsid);
	CHECK_EQ(n.data.arch, AUDIT_ARCH_X86_64);
	CHECK(n.data.instruction_pointer != 0);
	for (int i = 0; i < 6; i++)
		CHECK_EQ(n.data.args[i], 11 * (i + 1));
	CHECK_EQ(is_valid(fd, n.id), 0);
	uint64_t id = n.id;
	CHECK_EQ(ioctl(fd, SECCOMP_IOR(2, __u64), &id), 0);
	CHECK_ERR(is_valid(fd, n.id + 1), ENOENT);
	CHECK_ERR(answer(fd, n.id + 1, 0, 0, 0), ENOENT);
	CHECK_ERR(answer(fd, n.id, 0, 0, 2), EINVAL);
	CHECK_ERR(answer(fd, n.id, 0, 1, SECCOMP_USER_NOTIF_FLAG_CONTINUE), EINVAL);
	CHECK_ERR(answer(fd, n.id, -1, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE), EINVAL);
	CHECK_EQ(answer(fd, n.id, 0, 0x123456789abcdef, 0), 0);
	struct seccomp_notif m = take(fd);
	CHECK_EQ(m.id, n.id + 1);
	CHECK_ERR(is_valid(fd, n.id), ENOENT);
	CHECK_EQ(answer(fd, m.id, -EXDEV, 7, 0), 0);
	for (int i = 0; i < 2; i++) {
		n = take(fd);
		CHECK_EQ(answer(fd, n.id, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE), 0);
	}
	CHECK_EXIT(pid, 0);
	CHECK_EQ(poll_now(fd, 0), 0);
}

TEST(requests_that_are_wrong)
{
	int fd = listen_for_getsid(0);
	struct seccomp_notif n = {.pid = 1};
	CHECK_ERR(ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &n), EINVAL);
	CHECK_ERR(ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, NULL), EFAULT);
	CHECK_ERR(ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, NULL), EFAULT);
	CHECK_ERR(ioctl(fd, SECCOMP_IOCTL_NOTIF_ID_VALID, NULL), EFAULT);
	CHECK_ERR(ioctl(fd, SECCOMP_IO(77), NULL), EINVAL);
	CHECK_ERR(ioctl(fd, TIOCGWINSZ, &n), EINVAL);
	CHECK_ERR(read(fd, &n, sizeof n), EINVAL);
	CHECK_ERR(write(fd, &n, sizeof n), EINVAL);
	/* A result that cannot be stored leaves the notification. */
	pid_t pid = CHILD(CHECK_EQ(getsid(0), 5));
	CHECK_EQ(poll_now(fd, 5000), POLLIN);
	struct seccomp_notif *closed = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK_ERR(ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, closed), EFAULT);
	CHECK_EQ(poll_now(fd, 0), POLLIN);
	n = take(fd);
	CHECK_EQ(answer(fd, n.id, 0, 5, 0), 0);
	CHECK_EXIT(pid, 0);
}

TEST(set_flags)
{
	int fd = listen_for_getsid(0);
	if (ioctl(fd, SECCOMP_IOCTL_NOTIF_SET_FLAGS, 1) != 0)
		SKIP("this kernel does not know the request");
	CHECK_ERR(ioctl(fd, SECCOMP_IOCTL_NOTIF_SET_FLAGS, 2), EINVAL);
	CHECK_EQ(ioctl(fd, SECCOMP_IOCTL_NOTIF_SET_FLAGS, 0), 0);
}

TEST(nobody_listens_any_more)
{
	int fd = listen_for_getsid(0);
	pid_t pids[2];
	for (int i = 0; i < 2; i++) {
		pids[i] = CHILD({
			close(fd);
			CHECK_ERR(getsid(0), ENOSYS);
		});
		until_asleep(pids[i]);
		if (i == 0)
			take(fd);
	}
	CHECK_OK(close(fd));
	for (int i = 0; i < 2; i++)
		CHECK_EXIT(pids[i], 0);
	CHECK_ERR(getsid(0), ENOSYS);
	/* The newest filter of the strictest action counts, if it has a listener or not. */
	fd = listen_for_getsid(0);
	pid_t pid = CHILD(CHECK_EQ(getsid(0), 3));
	struct seccomp_notif n = take(fd);
	CHECK_EQ(answer(fd, n.id, 0, 3, 0), 0);
	CHECK_EXIT(pid, 0);
	FILTER(ONE(SYS_getsid, SECCOMP_RET_USER_NOTIF));
	CHECK_ERR(getsid(0), ENOSYS);
}

TEST(a_signal_makes_a_notification_void)
{
	int fd = listen_for_getsid(0);
	pid_t pid = CHILD({
		handle(SIGUSR1, 0);
		handle(SIGUSR2, SA_RESTART);
		CHECK_ERR(getsid(0), EINTR);
		CHECK_EQ(*handled, 1);
		CHECK_EQ(getsid(0), 9);
		CHECK_EQ(*handled, 2);
	});
	struct seccomp_notif n = take(fd);
	CHECK_OK(kill(pid, SIGUSR1));
	EVENTUALLY(is_valid(fd, n.id) != 0);
	CHECK_EQ(errno, ENOENT);
	CHECK_ERR(answer(fd, n.id, 0, 0, 0), ENOENT);
	struct seccomp_notif m = take(fd);
	CHECK_EQ(m.id, n.id + 1);
	CHECK_OK(kill(pid, SIGUSR2));
	n = take(fd);
	CHECK_EQ(n.id, m.id + 1);
	CHECK_ERR(is_valid(fd, m.id), ENOENT);
	/* Stops make it begin again, too; an answer for another one does not count. */
	CHECK_OK(kill(pid, SIGSTOP));
	EVENTUALLY(process_state(pid) == 'T');
	CHECK_ERR(answer(fd, n.id, 0, 1, 0), ENOENT);
	CHECK_OK(kill(pid, SIGCONT));
	n = take(fd);
	CHECK_EQ(n.id, m.id + 2);
	CHECK_EQ(answer(fd, n.id, 0, 9, 0), 0);
	CHECK_EXIT(pid, 0);
}

TEST(one_that_was_not_taken_is_gone)
{
	int fd = listen_for_getsid(0);
	pid_t pid = CHILD(getsid(0));
	CHECK_EQ(poll_now(fd, 5000), POLLIN);
	CHECK_OK(kill(pid, SIGKILL));
	CHECK_KILLED(pid, SIGKILL);
	CHECK_EQ(poll_now(fd, 0), 0);
	struct seccomp_notif n;
	memset(&n, 0, sizeof n);
	CHECK_ERR(ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &n), ENOENT);
}

TEST(killable_once_taken)
{
	int fd = listen_for_getsid(SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
	pid_t pid = CHILD({
		handle(SIGUSR1, 0);
		CHECK_ERR(getsid(0), EINTR);
		CHECK_EQ(getsid(0), 4);
		CHECK_EQ(*handled, 2);
		getsid(0);
	});
	/* Not before it is taken. */
	CHECK_EQ(poll_now(fd, 5000), POLLIN);
	until_asleep(pid);
	CHECK_OK(kill(pid, SIGUSR1));
	EVENTUALLY(*handled == 1);
	/* The first announcement is of the one that is gone; of two that wait for one the first comes. */
	struct seccomp_notif n;
	memset(&n, 0, sizeof n);
	if (ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &n) != 0) {
		CHECK_EQ(errno, ENOENT);
		n = take(fd);
	}
	CHECK_OK(kill(pid, SIGUSR1));
	msleep(30);
	CHECK_EQ(is_valid(fd, n.id), 0);
	CHECK_EQ(answer(fd, n.id, 0, 4, 0), 0);
	EVENTUALLY(poll_now(fd, 100) == POLLIN);
	int got;
	do {
		memset(&n, 0, sizeof n);
		got = ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &n);
	} while (got != 0 && errno == ENOENT);
	CHECK_EQ(got, 0);
	CHECK_OK(kill(pid, SIGKILL));
	CHECK_KILLED(pid, SIGKILL);
	CHECK_ERR(is_valid(fd, n.id), ENOENT);
}

static int add_fd(int fd, struct seccomp_notif_addfd a)
{
	return ioctl(fd, SECCOMP_IOCTL_NOTIF_ADDFD, &a);
}

TEST(descriptors_are_added)
{
	int fd = listen_for_getsid(0);
	int ends[2];
	CHECK_OK(pipe(ends));
	pid_t pid = CHILD({
		close(ends[1]);
		long got = getsid(0);
		CHECK(got > 2 && got != 40);
		CHECK_EQ(write(got, "a", 1), 1);
		CHECK_EQ(fcntl(got, F_GETFD), FD_CLOEXEC);
		CHECK_EQ(write(40, "b", 1), 1);
		CHECK_EQ(fcntl(40, F_GETFD), 0);
		CHECK_EQ(getsid(0), 41);
		CHECK_EQ(write(41, "c", 1), 1);
	});
	struct seccomp_notif_addfd a = {.id = 1, .srcfd = (unsigned)ends[1]};
	CHECK_ERR(add_fd(fd, a), ENOENT);
	CHECK_EQ(poll_now(fd, 5000), POLLIN);
	struct seccomp_notif n = take(fd);
	a.id = n.id;
	a.newfd_flags = O_NONBLOCK;
	CHECK_ERR(add_fd(fd, a), EINVAL);
	a.newfd_flags = O_CLOEXEC;
	a.flags = 8;
	CHECK_ERR(add_fd(fd, a), EINVAL);
	a.flags = 0;
	a.newfd = 7;
	CHECK_ERR(add_fd(fd, a), EINVAL);
	a.newfd = 0;
	a.srcfd = 999;
	CHECK_ERR(add_fd(fd, a), EBADF);
	a.srcfd = (unsigned)ends[1];
	struct {
		struct seccomp_notif_addfd a;
		uint64_t more;
	} longer = {a, 1};
	CHECK_ERR(ioctl(fd, SECCOMP_IOWR(3, longer), &longer), E2BIG);
	CHECK_ERR(ioctl(fd, SECCOMP_IOW(3, uint64_t), &a), EINVAL);
	longer.more = 0;
	int there = CHECK_OK(ioctl(fd, SECCOMP_IOW(3, longer), &longer));
	a.newfd_flags = 0;
	a.flags = SECCOMP_ADDFD_FLAG_SETFD;
	a.newfd = 1 << 30;
	CHECK_ERR(add_fd(fd, a), EBADF);
	a.newfd = 40;
	CHECK_EQ(add_fd(fd, a), 40);
	CHECK_EQ(add_fd(fd, a), 40);
	CHECK_EQ(answer(fd, n.id, 0, there, 0), 0);
	n = take(fd);
	a.id = n.id;
	a.newfd = 41;
	a.flags = SECCOMP_ADDFD_FLAG_SETFD | SECCOMP_ADDFD_FLAG_SEND;
	CHECK_EQ(add_fd(fd, a), 41);
	CHECK(answer(fd, n.id, 0, 3, 0) == -1 && (errno == ENOENT || errno == EINPROGRESS));
	CHECK_EXIT(pid, 0);
	char text[4] = "";
	CHECK_EQ(read(ends[0], text, 3), 3);
	CHECK_STR(text, "abc");
	/* The child's copies are gone with it. */
	close(ends[1]);
	CHECK_EQ(read(ends[0], text, 3), 0);
}

TEST(the_callers_limit_of_descriptors)
{
	int fd = listen_for_getsid(0);
	pid_t pid = CHILD({
		struct rlimit none = {0, 100};
		CHECK_OK(setrlimit(RLIMIT_NOFILE, &none));
		CHECK_ERR(getsid(0), EPERM);
	});
	struct seccomp_notif n = take(fd);
	struct seccomp_notif_addfd a = {.id = n.id, .flags = SECCOMP_ADDFD_FLAG_SEND};
	CHECK_ERR(add_fd(fd, a), EMFILE);
	CHECK_EQ(answer(fd, n.id, -EPERM, 0, 0), 0);
	CHECK_EXIT(pid, 0);
}

static void *calls_getsid(void *into)
{
	*(long *)into = syscall(SYS_getsid, 0);
	return NULL;
}

TEST(threads_of_one_process)
{
	int fd = CHECK_OK(listener_with(0, on_getsid, 4));
	enum { N = 8 };
	pthread_t threads[N];
	long got[N] = {0};
	for (int i = 0; i < N; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, calls_getsid, &got[i]), 0);
	struct seccomp_notif n[N];
	for (int i = 0; i < N; i++)
		n[i] = take(fd);
	for (int i = N - 1; i >= 0; i--) {
		CHECK(n[i].pid != (unsigned)getpid());
		CHECK_EQ(answer(fd, n[i].id, 0, 100, 0), 0);
	}
	for (int i = 0; i < N; i++) {
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
		CHECK_EQ(got[i], 100);
	}
}

static int followers[2];

static void *follows(void *unused)
{
	(void)unused;
	char c;
	CHECK_EQ(read(followers[0], &c, 1), 1);
	CHECK_EQ(syscall(SYS_getsid, 0), 6);
	return NULL;
}

static void *listens(void *unused)
{
	(void)unused;
	FILTER(ONE(SYS_getpgrp, SECCOMP_RET_ERRNO | 1));
	CHECK_EQ(write(followers[1], "x", 1), 1);
	msleep(100000);
	return NULL;
}

TEST(listener_of_all_threads)
{
	CHECK_OK(pipe(followers));
	pthread_t t;
	CHECK_EQ(pthread_create(&t, NULL, follows, NULL), 0);
	int fd = listen_for_getsid(SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH);
	CHECK_EQ(write(followers[1], "x", 1), 1);
	struct seccomp_notif n = take(fd);
	CHECK_EQ(answer(fd, n.id, 0, 6, 0), 0);
	CHECK_EQ(pthread_join(t, NULL), 0);
	/* One thread goes its own way: nothing is changed, no descriptor left. */
	CHECK_OK(close(fd));
	CHECK_EQ(pthread_create(&t, NULL, listens, NULL), 0);
	char c;
	CHECK_EQ(read(followers[0], &c, 1), 1);
	int next = CHECK_OK(dup(0));
	CHECK_OK(close(next));
	struct sock_filter code[] = ONE(SYS_getpgid, SECCOMP_RET_USER_NOTIF);
	CHECK_ERR(listener_with(SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH, code, 4), ESRCH);
	CHECK(getpgid(0) > 0);
	CHECK_EQ(dup(0), next);
}

TEST(hangup_with_the_last_task)
{
	int pair[2];
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	char room[CMSG_SPACE(sizeof(int))];
	char c = 'x';
	struct iovec iov = {&c, 1};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
	pid_t pid = CHILD({
		int fd = listen_for_getsid(0);
		struct cmsghdr *h = CMSG_FIRSTHDR(&m);
		*h = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(h), &fd, sizeof fd);
		CHECK_EQ(sendmsg(pair[1], &m, 0), 1);
		pid_t next = CHILD(CHECK_EQ(getsid(0), 8));
		CHECK_EXIT(next, 0);
		CHECK_EQ(read(pair[1], &c, 1), 1);
	});
	CHECK_EQ(recvmsg(pair[0], &m, 0), 1);
	int fd;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof fd);
	struct seccomp_notif n = take(fd);
	CHECK_EQ(answer(fd, n.id, 0, 8, 0), 0);
	int ep = CHECK_OK(epoll_create1(0));
	struct epoll_event e = {.events = EPOLLIN};
	CHECK_OK(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
	CHECK_EQ(epoll_wait(ep, &e, 1, 30), 0);
	CHECK_EQ(write(pair[0], "x", 1), 1);
	CHECK_EQ(epoll_wait(ep, &e, 1, 5000), 1);
	CHECK_EQ(e.events, EPOLLHUP);
	CHECK_EQ(poll_now(fd, 0), POLLHUP);
	CHECK_EXIT(pid, 0);
	memset(&n, 0, sizeof n);
	CHECK_ERR(ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &n), ENOENT);
}

TEST(taking_is_interrupted)
{
	int fd = listen_for_getsid(0);
	handle(SIGUSR1, 0);
	pid_t me = getpid(), pid = CHILD({
		until_asleep(me);
		kill(me, SIGUSR1);
	});
	struct seccomp_notif n;
	memset(&n, 0, sizeof n);
	CHECK_ERR(ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &n), EINTR);
	CHECK_EXIT(pid, 0);
}

/* A call that goes on waits as any other, and is asked about again when it begins again. */
TEST(calls_that_go_on_and_wait)
{
	struct sock_filter on_read[] = ONE(SYS_read, SECCOMP_RET_USER_NOTIF);
	int ends[2];
	CHECK_OK(pipe(ends));
	int fd = CHECK_OK(listener_with(0, on_read, 4));
	pid_t pid = CHILD({
		handle(SIGUSR1, SA_RESTART);
		char c;
		CHECK_EQ(read(ends[0], &c, 1), 1);
	});
	struct seccomp_notif n = take(fd);
	CHECK_EQ(answer(fd, n.id, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE), 0);
	msleep(20);
	CHECK_OK(kill(pid, SIGUSR1));
	n = take(fd);
	CHECK_EQ(answer(fd, n.id, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE), 0);
	CHECK_EQ(write(ends[1], "x", 1), 1);
	CHECK_EXIT(pid, 0);
}

TEST_MAIN
