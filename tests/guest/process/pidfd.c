/* pidfds of processes and threads, whom their signals reach, and ids chosen by clone3(2). */
#include "../test.h"
#include <linux/sched.h>

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL
#endif
#define TO_THREAD 1
#define TO_THREAD_GROUP 2
#define TO_PROCESS_GROUP 4

static int pidfd_open(pid_t pid, unsigned flags)
{
	return syscall(SYS_pidfd_open, pid, flags);
}

static int pidfd_signal(int fd, int signo, siginfo_t *info, unsigned flags)
{
	return syscall(SYS_pidfd_send_signal, fd, signo, info, flags);
}

static void need_thread_pidfds(void)
{
	int fd = pidfd_open(gettid(), PIDFD_THREAD);
	if (fd < 0 && errno == EINVAL)
		SKIP("no PIDFD_THREAD before Linux 6.9");
	close(fd);
}

static int is_readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	CHECK_OK(poll(&p, 1, 0));
	return p.revents & POLLIN;
}

static volatile pid_t thread_tid, handled_by;
static volatile int leave;

static void note(int signo)
{
	(void)signo;
	handled_by = gettid();
}

static void *lives(void *arg)
{
	thread_tid = gettid();
	while (!leave)
		msleep(1);
	return arg;
}

TEST(threads)
{
	need_thread_pidfds();
	pthread_t t;
	CHECK_EQ(pthread_create(&t, NULL, lives, NULL), 0);
	EVENTUALLY(thread_tid != 0);
	CHECK_ERR(pidfd_open(thread_tid, 0), ENOENT);
	int fd = CHECK_OK(pidfd_open(thread_tid, PIDFD_THREAD));
	CHECK(fcntl(fd, F_GETFL) & PIDFD_THREAD);
	CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	int own = CHECK_OK(pidfd_open(getpid(), 0));
	CHECK((fcntl(own, F_GETFL) & PIDFD_THREAD) == 0);
	CHECK(!is_readable(fd));
	char path[64], text[512], line[64];
	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
	get_file(path, text, sizeof text);
	snprintf(line, sizeof line, "Pid:\t%d\n", thread_tid);
	CHECK(strstr(text, line) != NULL);
	signal(SIGUSR1, note);
	/* To the thread, by default and by flag. */
	CHECK_OK(pidfd_signal(fd, SIGUSR1, NULL, 0));
	EVENTUALLY(handled_by == thread_tid);
	handled_by = 0;
	CHECK_OK(pidfd_signal(fd, SIGUSR1, NULL, TO_THREAD));
	EVENTUALLY(handled_by == thread_tid);
	/* To one that does not block it. */
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	handled_by = 0;
	CHECK_OK(pidfd_signal(own, SIGUSR1, NULL, TO_THREAD_GROUP));
	EVENTUALLY(handled_by == thread_tid);
	handled_by = 0;
	CHECK_OK(pidfd_signal(own, SIGUSR1, NULL, TO_THREAD));
	sigset_t pending;
	sigpending(&pending);
	CHECK(sigismember(&pending, SIGUSR1));
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	CHECK_EQ(handled_by, getpid());
	CHECK_ERR(pidfd_signal(fd, SIGUSR1, NULL, 8), EINVAL);
	CHECK_ERR(pidfd_signal(fd, SIGUSR1, NULL, TO_THREAD | TO_THREAD_GROUP), EINVAL);
	leave = 1;
	struct pollfd p = {.fd = fd, .events = POLLIN};
	CHECK_EQ(poll(&p, 1, 5000), 1);
	CHECK_EQ(pthread_join(t, NULL), 0);
	EVENTUALLY(pidfd_signal(fd, 0, NULL, 0) < 0);
	CHECK_EQ(errno, ESRCH);
}

TEST(a_new_thread_gives_one)
{
	need_thread_pidfds();
	static char stack[65536];
	int fd = -1;
	struct clone_args args = {.flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
					   CLONE_SYSVSEM | CLONE_PIDFD,
				  .pidfd = (uintptr_t)&fd,
				  .stack = (uintptr_t)stack,
				  .stack_size = sizeof stack};
	long tid;
	__asm__ volatile("syscall\n\ttest %%rax,%%rax\n\tjnz 1f\n\tmov $60,%%eax\n\txor %%edi,%%edi\n\tsyscall\n1:"
			 : "=a"(tid)
			 : "a"(SYS_clone3), "D"(&args), "S"(sizeof args)
			 : "rcx", "r11", "memory");
	CHECK(tid > 0);
	CHECK(fd >= 0);
	CHECK(fcntl(fd, F_GETFL) & PIDFD_THREAD);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	CHECK_EQ(poll(&p, 1, 5000), 1);
}

TEST(groups)
{
	need_thread_pidfds();
	signal(SIGUSR2, SIG_IGN);
	int ends[2];
	CHECK_OK(pipe(ends));
	pid_t a = CHECK_OK(fork());
	if (a == 0) {
		setpgid(0, 0);
		CHECK_EQ(write(ends[1], "x", 1), 1);
		pause();
	}
	char c;
	CHECK_EQ(read(ends[0], &c, 1), 1);
	pid_t b = CHECK_OK(fork());
	if (b == 0) {
		setpgid(0, a);
		CHECK_EQ(write(ends[1], "x", 1), 1);
		pause();
	}
	CHECK_EQ(read(ends[0], &c, 1), 1);
	int fd = CHECK_OK(pidfd_open(a, 0)), member = CHECK_OK(pidfd_open(b, 0));
	/* Only the group that has the process's number is meant. */
	CHECK_ERR(pidfd_signal(member, SIGTERM, NULL, TO_PROCESS_GROUP), ESRCH);
	CHECK_OK(pidfd_signal(fd, SIGTERM, NULL, TO_PROCESS_GROUP));
	struct pollfd p = {.fd = fd, .events = POLLIN};
	CHECK_EQ(poll(&p, 1, 5000), 1);
	CHECK_EQ(p.revents, POLLIN);
	CHECK_KILLED(a, SIGTERM);
	/* Nobody can wait for it any more (Linux 6.9). */
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK_EQ(p.revents, POLLIN | POLLHUP);
	CHECK_KILLED(b, SIGTERM);
	CHECK(is_readable(fd));
}

TEST(a_directory_of_proc)
{
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		pause();
		_exit(1);
	}
	char path[64];
	snprintf(path, sizeof path, "/proc/%d", pid);
	int fd = CHECK_OK(open(path, O_RDONLY | O_DIRECTORY));
	CHECK_OK(pidfd_signal(fd, 0, NULL, 0));
	snprintf(path, sizeof path, "/proc/%d/task", pid);
	int other = CHECK_OK(open(path, O_RDONLY));
	CHECK_ERR(pidfd_signal(other, 0, NULL, 0), EBADF);
	other = CHECK_OK(open("/proc", O_RDONLY));
	CHECK_ERR(pidfd_signal(other, 0, NULL, 0), EBADF);
	CHECK_ERR(pidfd_signal(-1, 0, NULL, 0), EBADF);
	CHECK_OK(pidfd_signal(fd, SIGTERM, NULL, 0));
	CHECK_KILLED(pid, SIGTERM);
	CHECK_ERR(pidfd_signal(fd, 0, NULL, 0), ESRCH);
}

static pid_t with_id(pid_t wanted, size_t count)
{
	pid_t ids[40] = {wanted, wanted};
	struct clone_args args = {.exit_signal = SIGCHLD, .set_tid = (uintptr_t)ids, .set_tid_size = count};
	pid_t pid = syscall(SYS_clone3, &args, sizeof args);
	if (pid == 0)
		_exit(getpid() == wanted ? 7 : 8);
	return pid;
}

TEST(chosen_ids)
{
	/* One that was free a moment ago. */
	pid_t pid = CHECK_OK(fork());
	if (pid == 0)
		_exit(0);
	CHECK_EXIT(pid, 0);
	char text[32];
	int pid_max;
	CHECK_EQ(sscanf(get_file("/proc/sys/kernel/pid_max", text, sizeof text), "%d", &pid_max), 1);
	pid_t wanted = pid + 5000 < pid_max ? pid + 5000 : 3000;
	CHECK_ERR(with_id(wanted, 33), EINVAL);
	CHECK_ERR(with_id(0, 1), EINVAL);
	CHECK_ERR(with_id(1 << 30, 1), EINVAL);
	struct clone_args args = {.exit_signal = SIGCHLD, .set_tid_size = 1};
	CHECK_ERR(syscall(SYS_clone3, &args, sizeof args), EINVAL);
	args = (struct clone_args){.exit_signal = SIGCHLD, .set_tid = (uintptr_t)&args};
	CHECK_ERR(syscall(SYS_clone3, &args, sizeof args), EINVAL);
	args = (struct clone_args){.exit_signal = SIGCHLD, .set_tid = 8, .set_tid_size = 1};
	CHECK_ERR(syscall(SYS_clone3, &args, sizeof args), EFAULT);
	if (geteuid() == 0) {
		CHECK_ERR(with_id(getpid(), 1), EEXIST);
		pid_t got = with_id(wanted, 1);
		if (got < 0 && errno == EEXIST)
			SKIP("the id is taken");
		if (got < 0 && errno == EPERM)
			SKIP("not that kind of root");
		CHECK_EQ(got, wanted);
		CHECK_EXIT(got, 7);
	}
	become_user();
	CHECK_ERR(with_id(wanted, 1), EPERM);
}

TEST_MAIN
