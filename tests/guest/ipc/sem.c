/* System V semaphores: semget(2), semop(2), semctl(2). */
#include "../test.h"
#include <sys/ipc.h>
#include <sys/sem.h>

union semun {
	int val;
	struct semid_ds *buf;
	unsigned short *array;
};

static int set_of(int count)
{
	return CHECK_OK(semget(IPC_PRIVATE, count, IPC_CREAT | 0600));
}

static int change(int id, int num, int by, int flags)
{
	struct sembuf op = {num, by, flags};
	return semop(id, &op, 1);
}

static int value(int id, int num)
{
	return CHECK_OK(semctl(id, num, GETVAL));
}

static void drop(int id)
{
	CHECK_OK(semctl(id, 0, IPC_RMID));
}

TEST(values)
{
	int id = set_of(3);
	unsigned short all[3] = {1, 2, 3}, got[3];
	CHECK_EQ(value(id, 0), 0);
	CHECK_OK(semctl(id, 0, SETALL, (union semun){.array = all}));
	CHECK_OK(semctl(id, 0, GETALL, (union semun){.array = got}));
	CHECK(memcmp(all, got, sizeof all) == 0);
	CHECK_EQ(semctl(id, 1, GETPID), getpid());
	CHECK_OK(semctl(id, 1, SETVAL, (union semun){.val = 32767}));
	CHECK_ERR(semctl(id, 1, SETVAL, (union semun){.val = 32768}), ERANGE);
	CHECK_ERR(semctl(id, 1, SETVAL, (union semun){.val = -1}), ERANGE);
	CHECK_ERR(semctl(id, 3, GETVAL), EINVAL);
	CHECK_ERR(change(id, 1, 1, 0), ERANGE);
	CHECK_ERR(change(id, 3, 1, 0), EFBIG);
	CHECK_ERR(change(id, 0, -2, IPC_NOWAIT), EAGAIN);
	CHECK_OK(change(id, 0, -1, IPC_NOWAIT));
	CHECK_EQ(value(id, 0), 0);
	/* All or nothing. */
	struct sembuf ops[2] = {{2, -1, 0}, {0, -1, IPC_NOWAIT}};
	CHECK_ERR(semop(id, ops, 2), EAGAIN);
	CHECK_EQ(value(id, 2), 3);
	struct semid_ds s;
	CHECK_OK(semctl(id, 0, IPC_STAT, (union semun){.buf = &s}));
	CHECK_EQ(s.sem_nsems, 3);
	CHECK(s.sem_otime != 0);
	drop(id);
	CHECK_ERR(change(id, 0, 1, 0), EINVAL);
}

TEST(waits_for_more_and_for_zero)
{
	int id = set_of(2);
	CHECK_OK(semctl(id, 1, SETVAL, (union semun){.val = 1}));
	pid_t more = CHECK_OK(fork());
	if (more == 0) {
		CHECK_OK(change(id, 0, -3, 0));
		_exit(0);
	}
	pid_t zero = CHECK_OK(fork());
	if (zero == 0) {
		CHECK_OK(change(id, 1, 0, 0));
		_exit(0);
	}
	EVENTUALLY(semctl(id, 0, GETNCNT) == 1);
	EVENTUALLY(semctl(id, 1, GETZCNT) == 1);
	CHECK_EQ(semctl(id, 0, GETZCNT), 0);
	CHECK_OK(change(id, 0, 2, 0));
	msleep(20);
	CHECK_EQ(semctl(id, 0, GETNCNT), 1);
	CHECK_OK(change(id, 0, 2, 0));
	CHECK_EXIT(more, 0);
	CHECK_EQ(value(id, 0), 1);
	CHECK_EQ(semctl(id, 0, GETPID), more);
	CHECK_OK(change(id, 1, -1, 0));
	CHECK_EXIT(zero, 0);
	drop(id);
}

TEST(timeout)
{
	int id = set_of(1);
	struct sembuf op = {0, -1, 0};
	struct timespec t = {0, 50000000}, bad = {0, 1000000000};
	int64_t start = now_ns();
	CHECK_ERR(semtimedop(id, &op, 1, &t), EAGAIN);
	CHECK(now_ns() - start >= 50000000);
	CHECK_ERR(semtimedop(id, &op, 1, &bad), EINVAL);
	CHECK_EQ(semctl(id, 0, GETNCNT), 0);
	drop(id);
}

static void nothing(int signo)
{
	(void)signo;
}

TEST(interrupted_and_removed)
{
	int id = set_of(1);
	struct sigaction act = {.sa_handler = nothing, .sa_flags = SA_RESTART};
	CHECK_OK(sigaction(SIGALRM, &act, NULL));
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		alarm(1);
		/* Never begun again, whatever SA_RESTART says. */
		CHECK_ERR(change(id, 0, -1, 0), EINTR);
		CHECK_ERR(change(id, 0, -1, 0), EIDRM);
		_exit(0);
	}
	EVENTUALLY(semctl(id, 0, GETNCNT) == 1);
	msleep(1200);
	EVENTUALLY(semctl(id, 0, GETNCNT) == 1);
	drop(id);
	CHECK_EXIT(pid, 0);
}

TEST(undo)
{
	int id = set_of(2);
	CHECK_OK(semctl(id, 0, SETVAL, (union semun){.val = 5}));
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		CHECK_OK(change(id, 0, -2, SEM_UNDO));
		CHECK_OK(change(id, 1, 7, SEM_UNDO));
		CHECK_OK(change(id, 1, 1, 0));
		_exit(0);
	}
	CHECK_EXIT(pid, 0);
	CHECK_EQ(value(id, 0), 5);
	CHECK_EQ(value(id, 1), 1);
	/* A killed holder gives way to who waits. */
	CHECK_OK(semctl(id, 0, SETVAL, (union semun){.val = 1}));
	pid = CHECK_OK(fork());
	if (pid == 0) {
		CHECK_OK(change(id, 0, -1, SEM_UNDO));
		pause();
	}
	EVENTUALLY(value(id, 0) == 0);
	pid_t waiter = CHECK_OK(fork());
	if (waiter == 0) {
		CHECK_OK(change(id, 0, -1, 0));
		_exit(0);
	}
	EVENTUALLY(semctl(id, 0, GETNCNT) == 1);
	CHECK_OK(kill(pid, SIGKILL));
	CHECK_KILLED(pid, SIGKILL);
	CHECK_EXIT(waiter, 0);
	/* SETVAL forgets what was to be undone; so does the result stay in its range. */
	pid = CHECK_OK(fork());
	if (pid == 0) {
		CHECK_OK(change(id, 0, 4, SEM_UNDO));
		CHECK_OK(semctl(id, 0, SETVAL, (union semun){.val = 9}));
		CHECK_OK(change(id, 1, 4, SEM_UNDO));
		CHECK_OK(change(id, 1, -4, 0));
		_exit(0);
	}
	CHECK_EXIT(pid, 0);
	CHECK_EQ(value(id, 0), 9);
	CHECK_EQ(value(id, 1), 0);
	drop(id);
}

static void *take_with_undo(void *arg)
{
	CHECK_OK(change(*(int *)arg, 0, -1, SEM_UNDO));
	return NULL;
}

TEST(undo_is_of_the_process)
{
	int id = set_of(1);
	CHECK_OK(semctl(id, 0, SETVAL, (union semun){.val = 1}));
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		pthread_t thread;
		CHECK_EQ(pthread_create(&thread, NULL, take_with_undo, &id), 0);
		CHECK_EQ(pthread_join(thread, NULL), 0);
		msleep(20);
		CHECK_EQ(value(id, 0), 0);
		/* A child does not inherit it. */
		pid_t child = CHECK_OK(fork());
		if (child == 0)
			_exit(0);
		CHECK_EXIT(child, 0);
		CHECK_EQ(value(id, 0), 0);
		_exit(0);
	}
	CHECK_EXIT(pid, 0);
	CHECK_EQ(value(id, 0), 1);
	drop(id);
}

TEST(many_processes)
{
	int id = set_of(1);
	int *count = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK_OK(semctl(id, 0, SETVAL, (union semun){.val = 1}));
	pid_t pids[4];
	for (int i = 0; i < 4; i++) {
		pids[i] = CHECK_OK(fork());
		if (pids[i] == 0) {
			for (int n = 0; n < 500; n++) {
				CHECK_OK(change(id, 0, -1, SEM_UNDO));
				*(volatile int *)count += 1;
				CHECK_OK(change(id, 0, 1, SEM_UNDO));
			}
			_exit(0);
		}
	}
	for (int i = 0; i < 4; i++)
		CHECK_EXIT(pids[i], 0);
	CHECK_EQ(*count, 2000);
	CHECK_EQ(value(id, 0), 1);
	drop(id);
}

TEST(refusals)
{
	struct sembuf op = {0, 1, 0};
	CHECK_ERR(semget(IPC_PRIVATE, 0, IPC_CREAT | 0600), EINVAL);
	CHECK_ERR(semget(IPC_PRIVATE, -1, IPC_CREAT | 0600), EINVAL);
	CHECK_ERR(semget(IPC_PRIVATE, 32001, IPC_CREAT | 0600), EINVAL);
	int id = set_of(1);
	CHECK_ERR(semop(id, &op, 0), EINVAL);
	CHECK_ERR(semop(id, &op, 501), E2BIG);
	CHECK_ERR(semop(id, (void *)8, 1), EFAULT);
	CHECK_ERR(semop(-1, &op, 1), EINVAL);
	CHECK_ERR(semctl(id, 0, 99), EINVAL);
	key_t key = 0x57000000 + getpid();
	int named = CHECK_OK(semget(key, 2, IPC_CREAT | IPC_EXCL | 0600));
	CHECK_EQ(semget(key, 0, 0), named);
	CHECK_ERR(semget(key, 3, 0), EINVAL);
	CHECK_ERR(semget(key, 2, IPC_CREAT | IPC_EXCL), EEXIST);
	drop(named);
	CHECK_ERR(semget(key, 2, 0), ENOENT);
	struct seminfo info;
	CHECK_OK(semctl(0, 0, IPC_INFO, (union semun){.buf = (void *)&info}));
	CHECK_EQ(info.semvmx, 32767);
	CHECK_EQ(info.semopm, 500);
	CHECK_EQ(info.semmni, 32000);
	static char text[1 << 16];
	char line[80];
	get_file("/proc/sysvipc/sem", text, sizeof text);
	snprintf(line, sizeof line, "\n%10d %10d  %4o %10u", 0, id, 0600, 1);
	CHECK(strstr(text, line) != NULL);
	if (geteuid() == 0) {
		pid_t pid = CHECK_OK(fork());
		if (pid == 0) {
			become_user();
			CHECK_ERR(semop(id, &op, 1), EACCES);
			CHECK_ERR(semctl(id, 0, GETVAL), EACCES);
			CHECK_ERR(semctl(id, 0, IPC_RMID), EPERM);
			_exit(0);
		}
		CHECK_EXIT(pid, 0);
	}
	drop(id);
}

TEST_MAIN
