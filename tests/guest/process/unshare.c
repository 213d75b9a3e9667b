/* unshare(2) of what is no namespace, and setns(2) without namespaces. */
#include "../test.h"
#include <sys/ipc.h>
#include <sys/sem.h>

static int shared_fd;

static int cwd_and_files(void *arg)
{
	(void)arg;
	CHECK_OK(unshare(CLONE_FS | CLONE_FILES));
	CHECK_OK(chdir("/"));
	umask(0777);
	CHECK_OK(close(shared_fd));
	_exit(0);
}

static int cwd_shared(void *arg)
{
	(void)arg;
	CHECK_OK(chdir("/"));
	CHECK_OK(close(shared_fd));
	_exit(0);
}

static char stack[65536];

TEST(files_and_places)
{
	char before[4096], after[4096];
	CHECK(getcwd(before, sizeof before) != NULL);
	shared_fd = CHECK_OK(dup(2));
	umask(022);
	int flags = CLONE_FS | CLONE_FILES | SIGCHLD;
	CHECK_EXIT(clone(cwd_and_files, stack + sizeof stack, flags, NULL), 0);
	CHECK(getcwd(after, sizeof after) != NULL);
	CHECK_STR(after, before);
	CHECK_EQ(umask(022), 022);
	CHECK_OK(fcntl(shared_fd, F_GETFD));
	/* Without it they are one. */
	CHECK_EXIT(clone(cwd_shared, stack + sizeof stack, flags, NULL), 0);
	CHECK(getcwd(after, sizeof after) != NULL);
	CHECK_STR(after, "/");
	CHECK_ERR(fcntl(shared_fd, F_GETFD), EBADF);
}

static void *sits(void *arg)
{
	pause();
	return arg;
}

TEST(threads_cannot_part)
{
	CHECK_OK(unshare(CLONE_THREAD | CLONE_SIGHAND | CLONE_VM));
	CHECK_OK(unshare(0));
	pthread_t t;
	CHECK_EQ(pthread_create(&t, NULL, sits, NULL), 0);
	CHECK_ERR(unshare(CLONE_THREAD), EINVAL);
	CHECK_ERR(unshare(CLONE_SIGHAND), EINVAL);
	CHECK_ERR(unshare(CLONE_VM), EINVAL);
	CHECK_OK(unshare(CLONE_FS));
	CHECK_OK(unshare(CLONE_FILES));
	CHECK_ERR(syscall(SYS_unshare, 1), EINVAL);
	CHECK_ERR(syscall(SYS_unshare, 1UL << 40), EINVAL);
}

TEST(undo_lists)
{
	int id = CHECK_OK(semget(IPC_PRIVATE, 1, 0600));
	CHECK_OK(semctl(id, 0, SETVAL, 5));
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		struct sembuf down = {0, -3, SEM_UNDO};
		CHECK_OK(semop(id, &down, 1));
		CHECK_EQ(semctl(id, 0, GETVAL), 2);
		/* What was to be undone is undone now. */
		CHECK_OK(unshare(CLONE_SYSVSEM));
		CHECK_EQ(semctl(id, 0, GETVAL), 5);
		_exit(0);
	}
	CHECK_EXIT(pid, 0);
	CHECK_OK(semctl(id, 0, IPC_RMID));
}

TEST(namespaces)
{
	CHECK_ERR(setns(-1, 0), EBADF);
	int fd = CHECK_OK(open("/", O_RDONLY));
	CHECK_ERR(setns(fd, 0), EINVAL);
	CHECK_ERR(setns(fd, CLONE_NEWUTS), EINVAL);
	become_user();
	int kinds[] = {CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWPID, CLONE_NEWCGROUP};
	for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++)
		CHECK_ERR(unshare(kinds[i]), EPERM);
}

TEST_MAIN
