/* POSIX message queues: mq_overview(7). */
#include "../test.h"
#include <mqueue.h>
#include <sys/mount.h>

static char name[64];

static mqd_t fresh(int flags, long messages, long size)
{
	struct mq_attr attr = {.mq_maxmsg = messages, .mq_msgsize = size};
	snprintf(name, sizeof name, "/umlaut-test-%d", getpid());
	mq_unlink(name);
	return CHECK_OK(mq_open(name, O_CREAT | O_EXCL | flags, 0600, &attr));
}

static struct timespec soon(int ms)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_nsec += ms * 1000000L;
	t.tv_sec += t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	return t;
}

TEST(priorities)
{
	mqd_t q = fresh(O_RDWR, 4, 100);
	char buf[100];
	unsigned prio;
	CHECK_OK(mq_send(q, "low", 4, 1));
	CHECK_OK(mq_send(q, "high", 5, 30));
	CHECK_OK(mq_send(q, "low two", 8, 1));
	struct mq_attr attr;
	CHECK_OK(mq_getattr(q, &attr));
	CHECK_EQ(attr.mq_curmsgs, 3);
	CHECK_EQ(attr.mq_maxmsg, 4);
	CHECK_EQ(attr.mq_msgsize, 100);
	CHECK_EQ(mq_receive(q, buf, sizeof buf, &prio), 5);
	CHECK_STR(buf, "high");
	CHECK_EQ(prio, 30);
	CHECK_EQ(mq_receive(q, buf, sizeof buf, NULL), 4);
	CHECK_STR(buf, "low");
	CHECK_EQ(mq_receive(q, buf, sizeof buf, NULL), 8);
	CHECK_STR(buf, "low two");
	struct stat st;
	CHECK_OK(fstat(q, &st));
	CHECK_EQ(st.st_mode, S_IFREG | 0600);
	CHECK_EQ(st.st_size, 80);
	CHECK_OK(mq_unlink(name));
	CHECK_ERR(mq_unlink(name), ENOENT);
	CHECK_OK(mq_send(q, "", 0, 0));
	CHECK_EQ(mq_receive(q, buf, sizeof buf, NULL), 0);
}

TEST(limits_and_errors)
{
	mqd_t q = fresh(O_RDWR | O_NONBLOCK, 2, 10);
	char buf[10];
	CHECK_ERR(mq_send(q, "12345678901", 11, 0), EMSGSIZE);
	CHECK_ERR(mq_receive(q, buf, 9, NULL), EMSGSIZE);
	CHECK_ERR(mq_receive(q, buf, 10, NULL), EAGAIN);
	CHECK_ERR(mq_send(q, "x", 1, 32768), EINVAL);
	CHECK_OK(mq_send(q, "x", 1, 32767));
	CHECK_OK(mq_send(q, "x", 1, 0));
	CHECK_ERR(mq_send(q, "x", 1, 0), EAGAIN);
	CHECK_ERR(mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0600, NULL), EEXIST);
	mqd_t reader = CHECK_OK(mq_open(name, O_RDONLY));
	CHECK_ERR(mq_send(reader, "x", 1, 0), EBADF);
	mqd_t writer = CHECK_OK(mq_open(name, O_WRONLY));
	CHECK_ERR(mq_receive(writer, buf, 10, NULL), EBADF);
	CHECK_EQ(mq_receive(reader, buf, 10, NULL), 1);
	CHECK(fcntl(reader, F_GETFD) & FD_CLOEXEC);
	CHECK_OK(mq_unlink(name));
	CHECK_ERR(mq_open(name, O_RDWR), ENOENT);
	struct mq_attr bad = {.mq_maxmsg = 0, .mq_msgsize = 10};
	CHECK_ERR(mq_open(name, O_CREAT | O_RDWR, 0600, &bad), EINVAL);
	bad = (struct mq_attr){.mq_maxmsg = 1 << 20, .mq_msgsize = 10};
	CHECK_ERR(mq_open(name, O_CREAT | O_RDWR, 0600, &bad), EINVAL);
	CHECK_ERR(syscall(SYS_mq_open, "a/b", O_CREAT | O_RDWR, 0600, NULL), EACCES);
	CHECK_ERR(syscall(SYS_mq_open, "", O_CREAT | O_RDWR, 0600, NULL), ENOENT);
	CHECK_ERR(mq_send(0, "x", 1, 0), EBADF);
	/* RLIMIT_MSGQUEUE holds for everybody. */
	struct mq_attr big = {.mq_maxmsg = 10, .mq_msgsize = 8192};
	char many[80];
	int made = 0;
	for (; made < 30; made++) {
		snprintf(many, sizeof many, "%s.%d", name, made);
		if (mq_open(many, O_CREAT | O_RDWR, 0600, &big) < 0) {
			CHECK_EQ(errno, EMFILE);
			break;
		}
	}
	CHECK(made > 0 && made < 30);
	for (int i = 0; i < made; i++) {
		snprintf(many, sizeof many, "%s.%d", name, i);
		CHECK_OK(mq_unlink(many));
	}
}

TEST(timeouts)
{
	mqd_t q = fresh(O_RDWR, 1, 10);
	char buf[10];
	struct timespec t = soon(50);
	int64_t start = now_ns();
	CHECK_ERR(mq_timedreceive(q, buf, 10, NULL, &t), ETIMEDOUT);
	CHECK(now_ns() - start >= 40000000);
	CHECK_OK(mq_send(q, "x", 1, 0));
	t = soon(20);
	CHECK_ERR(mq_timedsend(q, "x", 1, 0, &t), ETIMEDOUT);
	t.tv_nsec = -1;
	CHECK_ERR(mq_timedsend(q, "x", 1, 0, &t), EINVAL);
	CHECK_OK(mq_unlink(name));
}

TEST(blocking_and_poll)
{
	mqd_t q = fresh(O_RDWR, 2, 10);
	struct pollfd p = {q, POLLIN | POLLOUT, 0};
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK_EQ(p.revents, POLLOUT);
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		char buf[10];
		for (int i = 0; i < 50; i++) {
			CHECK_EQ(mq_receive(q, buf, 10, NULL), 1);
			CHECK_EQ(buf[0], i);
		}
		_exit(0);
	}
	for (int i = 0; i < 50; i++) {
		char c = i;
		CHECK_OK(mq_send(q, &c, 1, 0));
	}
	CHECK_EXIT(pid, 0);
	pid = CHECK_OK(fork());
	if (pid == 0) {
		msleep(30);
		CHECK_OK(mq_send(q, "x", 1, 0));
		CHECK_OK(mq_send(q, "x", 1, 0));
		_exit(0);
	}
	p.events = POLLIN;
	CHECK_EQ(poll(&p, 1, 5000), 1);
	CHECK_EQ(p.revents, POLLIN);
	CHECK_EXIT(pid, 0);
	p.events = POLLIN | POLLOUT;
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK_EQ(p.revents, POLLIN);
	CHECK_OK(mq_unlink(name));
}

TEST(notification)
{
	mqd_t q = fresh(O_RDWR, 4, 10);
	char buf[10];
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	CHECK_OK(sigprocmask(SIG_BLOCK, &set, NULL));
	struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 4711};
	CHECK_OK(mq_notify(q, &e));
	CHECK_ERR(mq_notify(q, &e), EBUSY);
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		CHECK_ERR(mq_notify(q, &e), EBUSY);
		CHECK_OK(mq_notify(q, NULL));
		CHECK_OK(mq_send(q, "x", 1, 0));
		_exit(0);
	}
	CHECK_EXIT(pid, 0);
	siginfo_t info;
	struct timespec t = {5, 0};
	CHECK_EQ(sigtimedwait(&set, &info, &t), SIGUSR1);
	CHECK_EQ(info.si_code, SI_MESGQ);
	CHECK_EQ(info.si_pid, pid);
	CHECK_EQ(info.si_value.sival_int, 4711);
	/* Once only, and not for a queue that is not empty. */
	t.tv_sec = 0;
	CHECK_OK(mq_notify(q, &e));
	CHECK_OK(mq_send(q, "x", 1, 0));
	CHECK_ERR(sigtimedwait(&set, &info, &t), EAGAIN);
	CHECK_EQ(mq_receive(q, buf, 10, NULL), 1);
	CHECK_EQ(mq_receive(q, buf, 10, NULL), 1);
	CHECK_OK(mq_send(q, "x", 1, 0));
	t.tv_sec = 5;
	CHECK_EQ(sigtimedwait(&set, &info, &t), SIGUSR1);
	CHECK_EQ(mq_receive(q, buf, 10, NULL), 1);
	/* Closing takes it back. */
	mqd_t other = CHECK_OK(mq_open(name, O_RDWR));
	CHECK_OK(mq_notify(q, &e));
	CHECK_OK(mq_close(q));
	CHECK_OK(mq_send(other, "x", 1, 0));
	t.tv_sec = 0;
	CHECK_ERR(sigtimedwait(&set, &info, &t), EAGAIN);
	e.sigev_notify = 77;
	CHECK_ERR(mq_notify(other, &e), EINVAL);
	CHECK_OK(mq_unlink(name));
}

TEST(flags)
{
	mqd_t q = fresh(O_RDWR, 1, 10);
	struct mq_attr attr = {.mq_flags = O_NONBLOCK}, old;
	char buf[10];
	CHECK_OK(mq_setattr(q, &attr, &old));
	CHECK_EQ(old.mq_flags, 0);
	CHECK_ERR(mq_receive(q, buf, 10, NULL), EAGAIN);
	CHECK_EQ(fcntl(q, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	attr.mq_flags = O_APPEND;
	CHECK_ERR(mq_setattr(q, &attr, NULL), EINVAL);
	CHECK_OK(mq_getattr(q, &attr));
	CHECK_EQ(attr.mq_flags, O_NONBLOCK);
	CHECK_OK(mq_unlink(name));
}

TEST(mounted)
{
	if (geteuid() != 0)
		SKIP("needs root");
	CHECK_OK(mkdir("mq", 0755));
	if (mount("mqueue", "mq", "mqueue", 0, NULL) != 0)
		SKIP("may not mount here");
	mqd_t q = fresh(O_RDWR, 2, 20);
	char path[100], text[200];
	snprintf(path, sizeof path, "mq%s", name);
	CHECK_OK(mq_send(q, "twelve bytes", 12, 0));
	CHECK_STR(get_file(path, text, sizeof text), "QSIZE:12         NOTIFY:0     SIGNO:0     NOTIFY_PID:0     \n");
	CHECK_OK(unlink(path));
	CHECK_ERR(mq_open(name, O_RDWR), ENOENT);
	CHECK_ERR(access(path, F_OK), ENOENT);
	CHECK_OK(umount("mq"));
}

TEST(others)
{
	if (geteuid() != 0)
		SKIP("needs root");
	mqd_t q = fresh(O_RDWR, 2, 20);
	CHECK_OK(fchmod(q, 0604));
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		become_user();
		CHECK_ERR(mq_open(name, O_RDWR), EACCES);
		CHECK_OK(mq_open(name, O_RDONLY));
		CHECK_ERR(mq_unlink(name), EACCES);
		struct mq_attr big = {.mq_maxmsg = 11, .mq_msgsize = 10};
		CHECK_ERR(mq_open("/umlaut-never", O_CREAT | O_RDWR, 0600, &big), EINVAL);
		_exit(0);
	}
	CHECK_EXIT(pid, 0);
	CHECK_OK(mq_unlink(name));
}

TEST_MAIN
