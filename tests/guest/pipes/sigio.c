/* Signal-driven I/O: O_ASYNC, F_SETOWN, F_SETOWN_EX, F_SETSIG (fcntl(2)). */
#include "../test.h"
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static void block(int signo)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, signo);
	CHECK_OK(sigprocmask(SIG_BLOCK, &set, NULL));
}

/* Takes a signal; 0 if none comes within some time. */
static int taken(int signo, siginfo_t *info, int ms)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, signo);
	struct timespec time = {ms / 1000, ms % 1000 * 1000000L};
	int got = sigtimedwait(&set, info, &time);
	CHECK(got == signo || errno == EAGAIN);
	return got == signo ? signo : 0;
}

static void make_async(int fd)
{
	CHECK_OK(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_ASYNC));
	CHECK(fcntl(fd, F_GETFL) & O_ASYNC);
}

TEST(plain)
{
	siginfo_t info;
	block(SIGIO);
	int ends[2];
	CHECK_OK(pipe(ends));
	make_async(ends[0]);
	/* Nobody is named yet. */
	CHECK_EQ(write(ends[1], "x", 1), 1);
	CHECK_EQ(taken(SIGIO, &info, 50), 0);
	CHECK_OK(fcntl(ends[0], F_SETOWN, getpid()));
	CHECK_EQ(fcntl(ends[0], F_GETOWN), getpid());
	CHECK_EQ(write(ends[1], "x", 1), 1);
	CHECK_EQ(taken(SIGIO, &info, 5000), SIGIO);
	CHECK_EQ(info.si_code, SI_KERNEL);
	CHECK_OK(fcntl(ends[0], F_SETFL, 0));
	CHECK_EQ(write(ends[1], "x", 1), 1);
	CHECK_EQ(taken(SIGIO, &info, 50), 0);
	int on = 1;
	CHECK_OK(ioctl(ends[0], FIOASYNC, &on));
	CHECK(fcntl(ends[0], F_GETFL) & O_ASYNC);
	/* The end of the writers is told, too. */
	close(ends[1]);
	CHECK_EQ(taken(SIGIO, &info, 5000), SIGIO);
}

TEST(with_details)
{
	siginfo_t info;
	int signo = SIGRTMIN + 3;
	block(signo);
	int ends[2];
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
	CHECK_OK(fcntl(ends[0], F_SETOWN, getpid()));
	CHECK_OK(fcntl(ends[0], F_SETSIG, signo));
	CHECK_EQ(fcntl(ends[0], F_GETSIG), signo);
	make_async(ends[0]);
	CHECK_EQ(write(ends[1], "x", 1), 1);
	CHECK_EQ(taken(signo, &info, 5000), signo);
	CHECK_EQ(info.si_code, POLL_IN);
	CHECK_EQ(info.si_fd, ends[0]);
	CHECK(info.si_band & POLLIN);
	CHECK_ERR(fcntl(ends[0], F_SETSIG, 65), EINVAL);
}

TEST(room_for_more)
{
	siginfo_t info;
	int signo = SIGRTMIN + 3;
	block(signo);
	int ends[2];
	char page[4096] = "";
	CHECK_OK(pipe(ends));
	CHECK_OK(fcntl(ends[1], F_SETFL, O_NONBLOCK));
	while (write(ends[1], page, sizeof page) > 0)
		;
	CHECK_OK(fcntl(ends[1], F_SETOWN, getpid()));
	CHECK_OK(fcntl(ends[1], F_SETSIG, signo));
	make_async(ends[1]);
	CHECK_EQ(read(ends[0], page, sizeof page), (int)sizeof page);
	CHECK_EQ(taken(signo, &info, 5000), signo);
	CHECK_EQ(info.si_code, POLL_OUT);
	CHECK(info.si_band & POLLOUT);
}

static int from_thread[2];
static volatile int told;

static void *wait_for_it(void *unused)
{
	(void)unused;
	struct f_owner_ex me = {F_OWNER_TID, gettid()};
	CHECK_OK(fcntl(from_thread[0], F_SETOWN_EX, &me));
	make_async(from_thread[0]);
	CHECK_EQ(write(from_thread[1], "x", 1), 1);
	siginfo_t info;
	told = taken(SIGIO, &info, 5000);
	return NULL;
}

TEST(one_thread)
{
	block(SIGIO);
	CHECK_OK(pipe(from_thread));
	pthread_t thread;
	CHECK_EQ(pthread_create(&thread, NULL, wait_for_it, NULL), 0);
	siginfo_t info;
	CHECK_EQ(taken(SIGIO, &info, 100), 0);
	pthread_join(thread, NULL);
	CHECK_EQ(told, SIGIO);
	struct f_owner_ex owner;
	CHECK_OK(fcntl(from_thread[0], F_GETOWN_EX, &owner));
	CHECK_EQ(owner.type, F_OWNER_TID);
}

TEST(a_group)
{
	int ready[2], go[2];
	CHECK_OK(pipe(ready));
	CHECK_OK(pipe(go));
	pid_t pids[2];
	for (int i = 0; i < 2; i++) {
		pids[i] = CHECK_OK(fork());
		if (pids[i] == 0) {
			setpgid(0, i ? pids[0] : 0);
			CHECK_EQ(write(ready[1], "", 1), 1);
			for (;;)
				pause();
		}
		char byte;
		CHECK_EQ(read(ready[0], &byte, 1), 1);
	}
	CHECK_OK(fcntl(go[0], F_SETOWN, -pids[0]));
	CHECK_EQ(fcntl(go[0], F_GETOWN), -pids[0]);
	make_async(go[0]);
	CHECK_EQ(write(go[1], "x", 1), 1);
	CHECK_KILLED(pids[0], SIGIO);
	CHECK_KILLED(pids[1], SIGIO);
}

TEST(who_may_be_named)
{
	int ends[2];
	CHECK_OK(pipe(ends));
	CHECK_ERR(fcntl(ends[0], F_SETOWN, 4194303), ESRCH);
	CHECK_ERR(fcntl(ends[0], F_SETOWN, INT32_MIN), EINVAL);
	struct f_owner_ex owner = {9, getpid()};
	CHECK_ERR(fcntl(ends[0], F_SETOWN_EX, &owner), EINVAL);
	CHECK_OK(fcntl(ends[0], F_SETOWN, getpid()));
	CHECK_OK(fcntl(ends[0], F_SETOWN, 0));
	CHECK_EQ(fcntl(ends[0], F_GETOWN), 0);
	/* Somebody else's process may be named, and hears nothing of it. */
	if (geteuid() == 0) {
		pid_t pid = CHECK_OK(fork());
		if (pid == 0) {
			pause();
			_exit(0);
		}
		CHECK_OK(setresuid(54321, 54321, 54321));
		CHECK_OK(fcntl(ends[0], F_SETOWN, pid));
		make_async(ends[0]);
		CHECK_EQ(write(ends[1], "x", 1), 1);
		msleep(50);
		CHECK_EQ(waitpid(pid, NULL, WNOHANG), 0);
	}
}

TEST(what_sends_none)
{
	int fd = CHECK_OK(open("f", O_RDWR | O_CREAT, 0600)), event = CHECK_OK(eventfd(0, 0)), on = 1;
	int fds[] = {fd, event};
	for (int i = 0; i < 2; i++) {
		CHECK_OK(fcntl(fds[i], F_SETFL, O_ASYNC));
		CHECK_EQ(fcntl(fds[i], F_GETFL) & O_ASYNC, 0);
		CHECK_ERR(ioctl(fds[i], FIOASYNC, &on), ENOTTY);
	}
}

TEST(terminals_and_watches)
{
	siginfo_t info;
	block(SIGIO);
	int watch = CHECK_OK(inotify_init1(IN_NONBLOCK));
	CHECK_OK(inotify_add_watch(watch, ".", IN_CREATE));
	CHECK_OK(fcntl(watch, F_SETOWN, getpid()));
	make_async(watch);
	put_file("f", "", 0600);
	CHECK_EQ(taken(SIGIO, &info, 5000), SIGIO);
	int master = CHECK_OK(posix_openpt(O_RDWR | O_NOCTTY));
	CHECK_OK(grantpt(master));
	CHECK_OK(unlockpt(master));
	int slave = CHECK_OK(open(ptsname(master), O_RDWR | O_NOCTTY));
	CHECK_OK(fcntl(slave, F_SETOWN, getpid()));
	make_async(slave);
	CHECK_EQ(write(master, "line\n", 5), 5);
	CHECK_EQ(taken(SIGIO, &info, 5000), SIGIO);
}

TEST_MAIN
