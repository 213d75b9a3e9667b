/* System V shared memory: shmget(2), shmat(2), shmctl(2). */
#include "../test.h"
#include <sys/ipc.h>
#include <sys/shm.h>

static struct shmid_ds stat_of(int id)
{
	struct shmid_ds s;
	CHECK_OK(shmctl(id, IPC_STAT, &s));
	return s;
}

static int private_segment(size_t size)
{
	return CHECK_OK(shmget(IPC_PRIVATE, size, IPC_CREAT | 0600));
}

TEST(shared_by_fork)
{
	int id = private_segment(10000);
	volatile int *p = shmat(id, NULL, 0);
	CHECK(p != (void *)-1);
	CHECK_EQ(p[0], 0);
	CHECK_EQ(((volatile char *)p)[9999], 0);
	struct shmid_ds s = stat_of(id);
	CHECK_EQ(s.shm_segsz, 10000);
	CHECK_EQ(s.shm_nattch, 1);
	CHECK_EQ(s.shm_cpid, getpid());
	CHECK_EQ(s.shm_lpid, getpid());
	CHECK_EQ(s.shm_perm.mode, 0600);
	CHECK(s.shm_atime != 0 && s.shm_dtime == 0);
	int go[2];
	CHECK_OK(pipe(go));
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		char c;
		p[1] = 77;
		CHECK_EQ(read(go[0], &c, 1), 1);
		_exit(0);
	}
	EVENTUALLY(p[1] == 77);
	CHECK_EQ(stat_of(id).shm_nattch, 2);
	CHECK_EQ(write(go[1], "x", 1), 1);
	CHECK_EXIT(pid, 0);
	/* The end of the child is seen at once. */
	s = stat_of(id);
	CHECK_EQ(s.shm_nattch, 1);
	CHECK_EQ(s.shm_lpid, pid);
	CHECK(s.shm_dtime != 0);
	CHECK_OK(shmdt((void *)p));
	CHECK_EQ(stat_of(id).shm_nattch, 0);
	p = shmat(id, NULL, 0);
	CHECK_EQ(p[1], 77);
	CHECK_OK(shmctl(id, IPC_RMID, NULL));
	CHECK_OK(shmdt((void *)p));
	CHECK_ERR(shmctl(id, IPC_STAT, &s), EINVAL);
}

TEST(exec_detaches)
{
	int id = private_segment(4096);
	CHECK(shmat(id, NULL, 0) != (void *)-1);
	int out[2];
	CHECK_OK(pipe(out));
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		dup2(out[1], 1);
		close(out[0]);
		close(out[1]);
		execl(test_self, test_self, "exec-cat", NULL);
		_exit(9);
	}
	close(out[1]);
	char c;
	/* It says one byte once it runs, and waits to be killed. */
	CHECK_EQ(read(out[0], &c, 1), 1);
	CHECK_EQ(stat_of(id).shm_nattch, 1);
	kill(pid, SIGKILL);
	CHECK_KILLED(pid, SIGKILL);
	CHECK_OK(shmctl(id, IPC_RMID, NULL));
}

TEST(removal_waits_for_the_last)
{
	key_t key = 0x55000000 + getpid();
	int id = CHECK_OK(shmget(key, 8192, IPC_CREAT | IPC_EXCL | 0640));
	CHECK_EQ(shmget(key, 0, 0), id);
	CHECK_ERR(shmget(key, 8192, IPC_CREAT | IPC_EXCL | 0640), EEXIST);
	CHECK_ERR(shmget(key, 8193, 0640), EINVAL);
	char *p = shmat(id, NULL, 0);
	CHECK(p != (void *)-1);
	CHECK_OK(shmctl(id, IPC_RMID, NULL));
	struct shmid_ds s = stat_of(id);
	CHECK_EQ(s.shm_perm.mode, 0640 | SHM_DEST);
	CHECK_EQ(s.shm_perm.__key, IPC_PRIVATE);
	CHECK_ERR(shmget(key, 0, 0), ENOENT);
	char *q = shmat(id, NULL, 0);
	CHECK(q != (void *)-1);
	p[100] = 'x';
	CHECK_EQ(q[100], 'x');
	CHECK_OK(shmdt(p));
	CHECK_EQ(stat_of(id).shm_nattch, 1);
	CHECK_OK(munmap(q, 8192));
	CHECK_ERR(shmctl(id, IPC_STAT, &s), EINVAL);
	CHECK(shmat(id, NULL, 0) == (void *)-1 && errno == EINVAL);
}

TEST(places_and_flags)
{
	int id = private_segment(3 * 4096);
	char *area = mmap(NULL, 16 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(area != MAP_FAILED);
	CHECK(shmat(id, area, 0) == (void *)-1 && errno == EINVAL);
	CHECK(shmat(id, area + 1, SHM_REMAP) == (void *)-1 && errno == EINVAL);
	CHECK(shmat(id, NULL, SHM_REMAP) == (void *)-1 && errno == EINVAL);
	CHECK(shmat(id, area + 100, SHM_RND | SHM_REMAP) == area);
	area[0] = 'a';
	CHECK_OK(munmap(area + 8 * 4096, 8 * 4096));
	char *read_only = shmat(id, area + 8 * 4096 + 9, SHM_RND | SHM_RDONLY);
	CHECK(read_only == area + 8 * 4096);
	CHECK_EQ(read_only[0], 'a');
	CHECK_ERR(mprotect(read_only, 4096, PROT_READ | PROT_WRITE), EACCES);
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		read_only[0] = 'b';
		_exit(0);
	}
	CHECK_KILLED(pid, SIGSEGV);
	/* Pieces count one by one, and one shmdt takes all that is left. */
	CHECK_OK(munmap(area + 4096, 4096));
	CHECK_EQ(stat_of(id).shm_nattch, 3);
	CHECK_ERR(shmdt(area + 4096), EINVAL);
	CHECK_ERR(shmdt(area + 1), EINVAL);
	CHECK_OK(shmdt(area));
	CHECK_EQ(stat_of(id).shm_nattch, 1);
	CHECK_ERR(shmdt(area), EINVAL);
	CHECK_OK(shmdt(read_only));
	CHECK_EQ(stat_of(id).shm_nattch, 0);
	CHECK_OK(shmctl(id, IPC_RMID, NULL));
}

TEST(threads_and_vfork)
{
	int id = private_segment(4096);
	char *p = shmat(id, NULL, 0);
	pid_t pid = vfork();
	if (pid == 0)
		_exit(3);
	CHECK_EXIT(pid, 3);
	CHECK_EQ(stat_of(id).shm_nattch, 1);
	p[0] = 1;
	CHECK_OK(shmctl(id, IPC_RMID, NULL));
}

TEST(refusals)
{
	struct shmid_ds s;
	CHECK_ERR(shmget(IPC_PRIVATE, 0, IPC_CREAT | 0600), EINVAL);
	CHECK_ERR(shmget(0x56000000 + getpid(), 4096, 0), ENOENT);
	CHECK_ERR(shmctl(-1, IPC_STAT, &s), EINVAL);
	CHECK(shmat(-1, NULL, 0) == (void *)-1 && errno == EINVAL);
	CHECK_ERR(shmdt(NULL), EINVAL);
	int id = private_segment(4096);
	CHECK_ERR(shmctl(id, 99, &s), EINVAL);
	CHECK_ERR(shmctl(id, IPC_STAT, (void *)8), EFAULT);
	CHECK_OK(shmctl(id, IPC_RMID, NULL));
	CHECK_ERR(shmctl(id, IPC_RMID, NULL), EINVAL);
	/* The next one has another id. */
	int other = private_segment(4096);
	CHECK(other != id);
	CHECK_OK(shmctl(other, IPC_RMID, NULL));
}

TEST(permissions)
{
	if (geteuid() != 0)
		SKIP("needs root");
	int closed = CHECK_OK(shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600));
	int readable = CHECK_OK(shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0604));
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		struct shmid_ds s;
		become_user();
		CHECK(shmat(closed, NULL, SHM_RDONLY) == (void *)-1 && errno == EACCES);
		CHECK(shmat(readable, NULL, 0) == (void *)-1 && errno == EACCES);
		CHECK(shmat(readable, NULL, SHM_RDONLY) != (void *)-1);
		CHECK_ERR(shmctl(closed, IPC_STAT, &s), EACCES);
		CHECK_OK(shmctl(readable, IPC_STAT, &s));
		CHECK_ERR(shmctl(readable, IPC_SET, &s), EPERM);
		CHECK_ERR(shmctl(readable, IPC_RMID, NULL), EPERM);
		_exit(0);
	}
	CHECK_EXIT(pid, 0);
	struct shmid_ds s = stat_of(closed);
	s.shm_perm.uid = 65534;
	s.shm_perm.mode = 0400;
	CHECK_OK(shmctl(closed, IPC_SET, &s));
	pid = CHECK_OK(fork());
	if (pid == 0) {
		become_user();
		CHECK(shmat(closed, NULL, 0) == (void *)-1 && errno == EACCES);
		CHECK(shmat(closed, NULL, SHM_RDONLY) != (void *)-1);
		CHECK_OK(shmctl(closed, IPC_RMID, NULL));
		_exit(0);
	}
	CHECK_EXIT(pid, 0);
	CHECK_OK(shmctl(readable, IPC_RMID, NULL));
}

TEST(shown_in_proc)
{
	int id = private_segment(12345);
	void *p = shmat(id, NULL, 0);
	static char text[1 << 16], maps[1 << 16];
	get_file("/proc/sysvipc/shm", text, sizeof text);
	CHECK(strncmp(text, "       key      shmid perms                  size  cpid  lpid nattch", 68) == 0);
	char start[128];
	snprintf(start, sizeof start, "\n%10d %10d  %4o %21lu %5u %5u  %5lu", 0, id, 0600, 12345L, getpid(), getpid(), 1L);
	CHECK(strstr(text, start) != NULL);
	get_file("/proc/self/maps", maps, sizeof maps);
	char *line = strstr(maps, "/SYSV00000000 (deleted)");
	CHECK(line != NULL);
	while (line > maps && line[-1] != '\n')
		line--;
	CHECK_EQ(strtoul(line, NULL, 16), (uintptr_t)p);
	struct shminfo info;
	CHECK(CHECK_OK(shmctl(0, IPC_INFO, (void *)&info)) >= 0);
	char number[64];
	get_file("/proc/sys/kernel/shmmni", number, sizeof number);
	CHECK_EQ(strtoul(number, NULL, 10), info.shmmni);
	get_file("/proc/sys/kernel/shmmax", number, sizeof number);
	CHECK_EQ(strtoul(number, NULL, 10), info.shmmax);
	CHECK_OK(shmctl(id, IPC_RMID, NULL));
}

static void other_program(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "exec-cat") == 0) {
		if (write(1, "x", 1) != 1)
			_exit(1);
		pause();
	}
}

TEST_MAIN_WITH(other_program)
