/* Locks of open file descriptions, leases, and what closing, forking and passing descriptors do to locks. */
#include "../test.h"
#include <sys/file.h>

static int lock(int fd, int command, short type, off_t start, off_t length)
{
	struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
	return fcntl(fd, command, &l);
}

/* The type of the lock in the way, and its holder. */
static short in_the_way(int fd, int command, short type, off_t start, off_t length, pid_t *holder)
{
	struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
	CHECK_OK(fcntl(fd, command, &l));
	if (holder)
		*holder = l.l_pid;
	return l.l_type;
}

TEST(open_file_descriptions)
{
	int a = CHECK_OK(open("f", O_RDWR | O_CREAT, 0600)), b = CHECK_OK(open("f", O_RDWR)), same = CHECK_OK(dup(a));
	CHECK_OK(lock(a, F_OFD_SETLK, F_WRLCK, 0, 100));
	/* Two openings in one process are in each other's way, two descriptors of one are not. */
	CHECK_ERR(lock(b, F_OFD_SETLK, F_RDLCK, 50, 10), EAGAIN);
	CHECK_OK(lock(b, F_OFD_SETLK, F_WRLCK, 100, 10));
	CHECK_OK(lock(same, F_OFD_SETLK, F_WRLCK, 0, 50));
	pid_t holder;
	CHECK_EQ(in_the_way(b, F_OFD_GETLK, F_RDLCK, 0, 10, &holder), F_WRLCK);
	CHECK_EQ(holder, -1);
	CHECK_EQ(in_the_way(a, F_OFD_GETLK, F_WRLCK, 0, 10, NULL), F_UNLCK);
	/* Against the locks of processes. */
	CHECK_ERR(lock(a, F_SETLK, F_WRLCK, 0, 10), EAGAIN);
	CHECK_EQ(in_the_way(a, F_GETLK, F_WRLCK, 0, 10, &holder), F_WRLCK);
	CHECK_EQ(holder, -1);
	CHECK_OK(lock(a, F_SETLK, F_WRLCK, 200, 10));
	CHECK_ERR(lock(a, F_OFD_SETLK, F_WRLCK, 200, 10), EAGAIN);
	CHECK_EQ(in_the_way(a, F_OFD_GETLK, F_WRLCK, 200, 10, &holder), F_WRLCK);
	CHECK_EQ(holder, getpid());
	/* A child has the same, and closing one of several descriptors gives nothing up. */
	pid_t pid = fork();
	if (pid == 0) {
		CHECK_OK(lock(a, F_OFD_SETLK, F_WRLCK, 0, 100));
		int c = CHECK_OK(open("f", O_RDWR));
		CHECK_ERR(lock(c, F_OFD_SETLK, F_WRLCK, 0, 1), EAGAIN);
		close(c);
		_exit(0);
	}
	CHECK_EXIT(pid, 0);
	close(same);
	CHECK_ERR(lock(b, F_OFD_SETLK, F_RDLCK, 50, 10), EAGAIN);
	struct flock l = {.l_type = F_WRLCK, .l_pid = 1};
	CHECK_ERR(fcntl(a, F_OFD_SETLK, &l), EINVAL);
	CHECK_ERR(lock(CHECK_OK(open("f", O_RDONLY)), F_OFD_SETLK, F_WRLCK, 1000, 1), EBADF);
	CHECK_ERR(lock(CHECK_OK(open("f", O_WRONLY)), F_OFD_SETLK, F_RDLCK, 1000, 1), EBADF);
	CHECK_ERR(lock(a, F_OFD_SETLK, 9, 0, 1), EINVAL);
	/* A waiter gets it when the last descriptor goes. */
	pid = fork();
	if (pid == 0) {
		close(a);
		CHECK_OK(lock(b, F_OFD_SETLKW, F_WRLCK, 0, 50));
		_exit(7);
	}
	msleep(50);
	int status;
	CHECK_EQ(waitpid(pid, &status, WNOHANG), 0);
	close(a);
	CHECK_EXIT(pid, 7);
}

TEST(process_locks_go_with_any_close)
{
	int a = CHECK_OK(open("f", O_RDWR | O_CREAT, 0600));
	CHECK_OK(lock(a, F_SETLK, F_WRLCK, 0, 0));
	pid_t pid = fork();
	if (pid == 0) {
		pid_t holder;
		CHECK_EQ(in_the_way(a, F_GETLK, F_RDLCK, 5, 1, &holder), F_WRLCK);
		CHECK_EQ(holder, getppid());
		CHECK_ERR(lock(a, F_SETLK, F_RDLCK, 5, 1), EAGAIN);
		_exit(0);
	}
	CHECK_EXIT(pid, 0);
	close(CHECK_OK(open("f", O_RDONLY)));
	pid = fork();
	if (pid == 0) {
		CHECK_OK(lock(a, F_SETLK, F_RDLCK, 5, 1));
		_exit(0);
	}
	CHECK_EXIT(pid, 0);
}

TEST(whole_files)
{
	int a = CHECK_OK(open("f", O_RDWR | O_CREAT, 0600)), b = CHECK_OK(open("f", O_RDONLY));
	CHECK_OK(flock(a, LOCK_EX));
	CHECK_ERR(flock(b, LOCK_SH | LOCK_NB), EWOULDBLOCK);
	/* The two kinds know nothing of each other. */
	CHECK_OK(lock(a, F_SETLK, F_WRLCK, 0, 0));
	CHECK_OK(flock(a, LOCK_SH));
	CHECK_OK(flock(b, LOCK_SH | LOCK_NB));
	CHECK_ERR(flock(a, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	CHECK_ERR(flock(a, LOCK_SH | LOCK_EX), EINVAL);
	CHECK_ERR(flock(a, 0), EINVAL);
	CHECK_ERR(flock(CHECK_OK(open("f", O_PATH)), LOCK_SH), EBADF);
	close(b);
	CHECK_OK(flock(a, LOCK_EX | LOCK_NB));
	int ends[2];
	CHECK_OK(pipe(ends));
	CHECK_OK(flock(ends[0], LOCK_EX));
	/* /proc/locks tells of them. */
	char text[4000], wanted[40];
	get_file("/proc/locks", text, sizeof text);
	snprintf(wanted, sizeof wanted, "%d", getpid());
	CHECK(strstr(text, "FLOCK") && strstr(text, wanted));
}

/* Looks at the descriptors of a process, again and again. */
static void *look_at_descriptors(void *pid)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/fd", (int)(intptr_t)pid);
	for (;;) {
		int dir = open(path, O_RDONLY);
		char names[512];
		while (syscall(SYS_getdents64, dir, names, sizeof names) > 0)
			;
		close(dir);
	}
	return NULL;
}

/* Who looks at a process's descriptors keeps its locks neither from going when it ends nor from staying when it execs. */
TEST(ends_and_execs_under_eyes)
{
	int fd = CHECK_OK(open("f", O_RDWR | O_CREAT, 0600));
	int64_t until = now_ns() + 1000000000LL;
	int stayed = 0, lost = 0;
	for (int round = 0; now_ns() < until || round < 4; round++) {
		int go[2], said[2], execs = round % 2;
		char byte;
		CHECK_OK(pipe(go));
		CHECK_OK(pipe(said));
		pid_t pid = CHECK_OK(fork());
		if (pid == 0) {
			for (int i = 0; i < 500; i++)
				CHECK_OK(fcntl(go[0], F_DUPFD_CLOEXEC, 100));
			CHECK_OK(dup2(go[0], 0));
			CHECK_OK(dup2(said[1], 1));
			CHECK_OK(lock(fd, F_SETLK, F_WRLCK, 0, 1));
			CHECK_EQ(write(1, "", 1), 1);
			CHECK_EQ(read(0, &byte, 1), 1);
			if (execs)
				execl("/bin/sh", "sh", "-c", "echo; read line", NULL);
			_exit(0);
		}
		close(said[1]);
		CHECK_EQ(read(said[0], &byte, 1), 1);
		pthread_t looker;
		CHECK_EQ(pthread_create(&looker, NULL, look_at_descriptors, (void *)(intptr_t)pid), 0);
		msleep(3);
		CHECK_EQ(write(go[1], "", 1), 1);
		if (execs) {
			CHECK_EQ(read(said[0], &byte, 1), 1);
			lost += in_the_way(fd, F_GETLK, F_WRLCK, 0, 1, NULL) == F_UNLCK;
			CHECK_EQ(write(go[1], "\n", 1), 1);
		}
		CHECK_EXIT(pid, 0);
		stayed += in_the_way(fd, F_GETLK, F_WRLCK, 0, 1, NULL) != F_UNLCK;
		pthread_cancel(looker);
		pthread_join(looker, NULL);
		close(go[0]);
		close(go[1]);
		close(said[0]);
	}
	CHECK_EQ(stayed, 0);
	CHECK_EQ(lost, 0);
}

TEST(leases)
{
	int fd = CHECK_OK(open("f", O_RDWR | O_CREAT, 0600));
	CHECK_EQ(fcntl(fd, F_GETLEASE), F_UNLCK);
	/* A lease is given or refused; what is given can be looked at and given back. */
	int got = fcntl(fd, F_SETLEASE, F_WRLCK);
	if (got == 0) {
		CHECK_EQ(fcntl(fd, F_GETLEASE), F_WRLCK);
		CHECK_OK(fcntl(fd, F_SETLEASE, F_UNLCK));
	} else {
		CHECK(errno == EINVAL || errno == EAGAIN);
	}
	CHECK_EQ(fcntl(fd, F_GETLEASE), F_UNLCK);
	CHECK_ERR(fcntl(fd, F_SETLEASE, 99), EINVAL);
	int dir = CHECK_OK(open(".", O_RDONLY));
	CHECK_OK(fcntl(dir, F_NOTIFY, DN_MULTISHOT));
	CHECK_ERR(fcntl(fd, F_NOTIFY, DN_MODIFY), ENOTDIR);
}

TEST_MAIN
