/* Asking for the attributes of all files of a directory of the tree that the machine stands on, in order: what is answered
 * before the kernel was asked must be what the kernel would answer at that moment. */
#include "host_dir.h"
#include <stdatomic.h>
#include <sys/mount.h>

#define ROUNDS 30

static const char *path(int i)
{
	static char text[8192];
	snprintf(text, sizeof text, "%s/%s", dir, names[i]);
	return text;
}

/* What the kernel says, by a call that is not answered otherwise. */
static struct statx truth(const char *p)
{
	struct statx x;
	CHECK_OK(syscall(SYS_statx, AT_FDCWD, p, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &x));
	return x;
}

static void same(const struct stat *s, const struct statx *x)
{
	CHECK_EQ(s->st_ino, x->stx_ino);
	CHECK_EQ(s->st_mode, x->stx_mode);
	CHECK_EQ(s->st_nlink, x->stx_nlink);
	CHECK_EQ(s->st_size, x->stx_size);
	CHECK_EQ(s->st_uid, x->stx_uid);
	CHECK_EQ(s->st_mtim.tv_sec, x->stx_mtime.tv_sec);
	CHECK_EQ(s->st_mtim.tv_nsec, x->stx_mtime.tv_nsec);
	CHECK_EQ(s->st_ctim.tv_nsec, x->stx_ctime.tv_nsec);
}

static void ask_up_to(int end)
{
	struct stat s;
	for (int i = 0; i < end; i++)
		CHECK_OK(lstat(path(i), &s));
}

TEST(all_in_order)
{
	host_dir();
	struct statx *x = calloc(count, sizeof *x);
	for (int i = 0; i < count; i++)
		x[i] = truth(path(i));
	struct stat s;
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < count; i++) {
			CHECK_OK(lstat(path(i), &s));
			same(&s, &x[i]);
		}
		for (int i = 0; i < count; i += 1 + round % 4) {
			CHECK_OK(stat(path(i), &s));
			same(&s, &x[i]);
		}
		for (int i = 0; i < count; i++) {
			/* Others in between, and again. */
			if (i % 5 == round % 5)
				CHECK_ERR(lstat("nothing", &s), ENOENT);
			CHECK_OK(lstat(path(i), &s));
			same(&s, &x[i]);
			if (i % 7 == 3) {
				CHECK_OK(lstat(path(i), &s));
				same(&s, &x[i]);
				CHECK_OK(lstat(path(i - 2), &s));
				same(&s, &x[i - 2]);
			}
		}
		for (int i = count - 1; i >= 0; i--) {
			CHECK_OK(lstat(path(i), &s));
			same(&s, &x[i]);
		}
	}
}

TEST(as_listed)
{
	host_dir();
	struct stat s;
	for (int round = 0; round < ROUNDS; round++) {
		DIR *d = opendir(dir);
		CHECK(d);
		struct dirent *e;
		int seen = 0;
		while ((e = readdir(d))) {
			if (e->d_name[0] == '.')
				continue;
			CHECK_OK(fstatat(dirfd(d), e->d_name, &s, AT_SYMLINK_NOFOLLOW));
			CHECK_EQ(s.st_ino, e->d_ino);
			if (++seen % 4 == 0) {
				snprintf(dir + strlen(dir), 2, "/");
				char p[8192];
				snprintf(p, sizeof p, "%s%s", dir, e->d_name);
				dir[strlen(dir) - 1] = 0;
				struct statx x = truth(p);
				same(&s, &x);
			}
		}
		CHECK_EQ(seen, count);
		int fd = dirfd(d);
		CHECK_OK(closedir(d));
		CHECK_ERR(fstatat(fd, names[0], &s, 0), EBADF);
	}
}

TEST(bad_memory)
{
	host_dir();
	struct stat *wrong = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), s;
	struct stat *volatile null = NULL;
	for (int round = 0; round < ROUNDS; round++)
		for (int i = 0; i < count; i++) {
			CHECK_ERR(lstat(path(i), null), EFAULT);
			CHECK_ERR(lstat(path(i), wrong), EFAULT);
			CHECK_ERR(lstat(path(i), (void *)-4096L), EFAULT);
			CHECK_ERR(lstat((void *)8, &s), EFAULT);
			CHECK_OK(lstat(path(i), &s));
			struct statx x = truth(path(i));
			same(&s, &x);
		}
}

/* One's own changes to what comes next. */
TEST(own_changes)
{
	own_dir();
	struct stat s;
	for (int round = 0; round < 3; round++) {
		ask_up_to(count);
		int at = 8 + round;
		ask_up_to(at);
		char p[8192], q[8192];
		strcpy(p, path(at + 1));
		CHECK_OK(chmod(p, 0604 - round));
		CHECK_OK(lstat(path(at), &s));
		CHECK_OK(lstat(p, &s));
		CHECK_EQ(s.st_mode & 07777, 0604 - round);
		ask_up_to(at);
		strcpy(p, path(at + 5));
		int fd = CHECK_OK(open(p, O_WRONLY | O_APPEND));
		CHECK_EQ(write(fd, "more", 4), 4);
		struct statx before = truth(p);
		ask_up_to(at + 5);
		CHECK_EQ(write(fd, "more", 4), 4);
		CHECK_OK(lstat(p, &s));
		CHECK_EQ(s.st_size, before.stx_size + 4);
		CHECK_OK(close(fd));
		ask_up_to(at);
		strcpy(p, path(at + 2)), strcpy(q, path(at + 3));
		CHECK_OK(rename(p, q));
		CHECK_OK(lstat(path(at), &s));
		CHECK_OK(lstat(path(at + 1), &s));
		CHECK_ERR(lstat(p, &s), ENOENT);
		CHECK_OK(lstat(q, &s));
		struct statx x = truth(q);
		same(&s, &x);
		ask_up_to(at);
		CHECK_OK(link(q, p));
		CHECK_OK(lstat(q, &s));
		CHECK_EQ(s.st_nlink, 2);
		ask_up_to(at);
		CHECK_OK(unlink(p));
		CHECK_ERR(lstat(p, &s), ENOENT);
		CHECK_OK(symlink("x", p));
		CHECK_OK(lstat(p, &s));
		CHECK(S_ISLNK(s.st_mode));
		CHECK_OK(unlink(p));
		fd = CHECK_OK(open(p, O_CREAT | O_EXCL | O_WRONLY, 0600));
		CHECK_OK(close(fd));
		ask_up_to(at);
	}
}

/* Changes by another process, known of by shared memory alone. */
static atomic_int *turn;

static void other(void (*act)(int), int rounds, void (*before)(void), void (*after)(int))
{
	turn = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t child = CHECK_OK(fork());
	if (child == 0) {
		for (int i = 0; i < rounds; i++) {
			while (atomic_load(turn) != 2 * i + 1)
				;
			act(i);
			atomic_store(turn, 2 * i + 2);
		}
		_exit(0);
	}
	for (int i = 0; i < rounds; i++) {
		before();
		atomic_store(turn, 2 * i + 1);
		while (atomic_load(turn) != 2 * i + 2)
			;
		after(i);
	}
	int status;
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
}

static void ask_ten(void)
{
	ask_up_to(count);
	ask_up_to(10);
}

static void change_mode(int i)
{
	CHECK_OK(chmod(path(10), 0600 + i % 8));
}

static void see_mode(int i)
{
	struct stat s;
	CHECK_OK(lstat(path(10), &s));
	CHECK_EQ(s.st_mode & 07777, 0600 + i % 8);
}

TEST(changes_by_another)
{
	own_dir();
	other(change_mode, 5, ask_ten, see_mode);
}

static void remove_one(int i)
{
	CHECK_OK(unlink(path(10 + i)));
}

static void see_removed(int i)
{
	struct stat s;
	CHECK_ERR(lstat(path(10 + i), &s), ENOENT);
	CHECK_OK(lstat(path(11 + i), &s));
	/* It is not asked for again. */
	names[10 + i] = names[9];
}

TEST(removal_by_another)
{
	own_dir();
	other(remove_one, 4, ask_ten, see_removed);
}

/* The way there leads elsewhere. */
static char elsewhere[2048];

static void turn_link(int i)
{
	CHECK_OK(unlink("way"));
	CHECK_OK(symlink(i % 2 ? SOURCE : elsewhere, "way"));
}

static void see_link(int i)
{
	struct stat s;
	if (i % 2)
		CHECK_OK(lstat(path(10), &s));
	else
		CHECK_ERR(lstat(path(10), &s), ENOENT);
	if (i % 2 == 0)
		turn_link(1);
}

TEST(another_way)
{
	host_dir();
	CHECK(getcwd(elsewhere, sizeof elsewhere));
	CHECK_OK(symlink(SOURCE, "way"));
	snprintf(dir, sizeof dir, "%s/way", elsewhere);
	other(turn_link, 5, ask_ten, see_link);
}

static void move_dir(int i)
{
	char from[4200], to[4200];
	snprintf(from, sizeof from, "%s", dir);
	snprintf(to, sizeof to, "%s.moved", dir);
	if (i % 2 == 0)
		CHECK_OK(rename(from, to));
	else
		CHECK_OK(rename(to, from));
}

static void see_moved(int i)
{
	struct stat s;
	if (i % 2 == 0) {
		CHECK_ERR(lstat(path(10), &s), ENOENT);
		move_dir(1);
	} else {
		CHECK_OK(lstat(path(10), &s));
	}
}

static void move_away(int i)
{
	(void)i;
	move_dir(0);
}

static void see_away(int i)
{
	(void)i;
	see_moved(0);
}

TEST(directory_moved)
{
	own_dir();
	other(move_away, 4, ask_ten, see_away);
}

/* Threads of one process: working directory, descriptors. */
static int dir_fd, here_fd;
static atomic_int step;

static void *change_all(void *way)
{
	while (atomic_load(&step) != 1)
		;
	if (*(int *)way == 0)
		CHECK_OK(fchdir(here_fd));
	else if (*(int *)way == 1)
		CHECK_OK(dup2(here_fd, dir_fd));
	else
		CHECK_OK(close(dir_fd));
	atomic_store(&step, 2);
	return NULL;
}

TEST(changes_by_a_thread)
{
	host_dir();
	struct stat s;
	here_fd = CHECK_OK(open(".", O_RDONLY | O_DIRECTORY));
	for (int round = 0; round < 9; round++) {
		int way = round % 3;
		pthread_t t;
		atomic_store(&step, 0);
		CHECK_EQ(pthread_create(&t, NULL, change_all, &way), 0);
		dir_fd = CHECK_OK(open(dir, O_RDONLY | O_DIRECTORY));
		CHECK_OK(chdir(dir));
		int from = way == 0 ? AT_FDCWD : dir_fd;
		for (int k = 0; k < 5; k++)
			for (int i = 0; i < 12; i++)
				CHECK_OK(fstatat(from, names[i], &s, AT_SYMLINK_NOFOLLOW));
		for (int i = 0; i < 10; i++)
			CHECK_OK(fstatat(from, names[i], &s, AT_SYMLINK_NOFOLLOW));
		atomic_store(&step, 1);
		while (atomic_load(&step) != 2)
			;
		CHECK_ERR(fstatat(from, names[10], &s, AT_SYMLINK_NOFOLLOW), way == 2 ? EBADF : ENOENT);
		CHECK_EQ(pthread_join(t, NULL), 0);
		CHECK_OK(fchdir(here_fd));
		close(dir_fd);
	}
}

/* Who may not search the directory any more. */
static void close_dir(int i)
{
	CHECK_OK(chmod(dir, i % 2 ? 0755 : 0700));
}

static void drop_root_once(void)
{
	if (geteuid() == 0)
		CHECK_OK(seteuid(65534));
	ask_ten();
}

static void see_closed(int i)
{
	struct stat s;
	if (i == 0)
		CHECK_ERR(lstat(path(10), &s), EACCES);
}

TEST(permission_taken_away)
{
	if (geteuid() != 0) {
		printf("only the superuser can take it from another\n");
		exit(TEST_SKIPPED);
	}
	own_dir();
	/* Natively the way to the copy may be closed to others. */
	struct stat above;
	for (char *p = strchr(dir + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = 0;
		CHECK_OK(stat(dir, &above));
		*p = '/';
		if (!(above.st_mode & S_IXOTH)) {
			printf("others may not search the directories above\n");
			exit(TEST_SKIPPED);
		}
	}
	CHECK_OK(chmod(dir, 0755));
	other(close_dir, 1, drop_root_once, see_closed);
}

TEST(mounted_over)
{
	struct utsname system_name;
	CHECK_OK(uname(&system_name));
	if (geteuid() != 0 || !strstr(system_name.release, "umlaut")) {
		printf("mounts would be seen by others\n");
		exit(TEST_SKIPPED);
	}
	own_dir();
	struct stat s;
	ask_ten();
	CHECK_OK(mount("none", dir, "tmpfs", 0, NULL));
	CHECK_ERR(lstat(path(10), &s), ENOENT);
	CHECK_OK(umount(dir));
	CHECK_OK(lstat(path(10), &s));
	ask_ten();
	char three[8192];
	strcpy(three, path(3));
	CHECK_OK(mount(three, path(10), NULL, MS_BIND, NULL));
	struct statx x = truth(three);
	CHECK_OK(lstat(path(10), &s));
	CHECK_EQ(s.st_ino, x.stx_ino);
	CHECK_OK(umount(path(10)));
}

TEST_MAIN
