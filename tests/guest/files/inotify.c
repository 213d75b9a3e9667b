/* inotify: what is told of reading, writing, opening, closing, names and moves; watches and their masks. */
#include "../test.h"
#include <dirent.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

static int fd;

struct told {
	int wd;
	uint32_t mask, cookie;
	char name[256];
};

static char raw[1 << 16];
static size_t have, at;

/* The next event; fails if there is none. */
static struct told next(void)
{
	if (at == have) {
		have = CHECK_OK(read(fd, raw, sizeof raw));
		at = 0;
	}
	struct inotify_event e;
	memcpy(&e, raw + at, sizeof e);
	struct told t = {e.wd, e.mask, e.cookie, ""};
	CHECK(e.len % sizeof e == 0);
	if (e.len)
		strcpy(t.name, raw + at + sizeof e);
	at += sizeof e + e.len;
	return t;
}

#define EXPECT(want_wd, want_mask, want_name)                                                                          \
	do {                                                                                                           \
		struct told t_ = next();                                                                               \
		if (t_.wd != (want_wd) || t_.mask != (uint32_t)(want_mask) || strcmp(t_.name, want_name))              \
			test_fail(__FILE__, __LINE__, "told wd %d mask %#x \"%s\"", t_.wd, t_.mask, t_.name);          \
	} while (0)
#define EXPECT_NONE()                                                                                                  \
	do {                                                                                                           \
		CHECK_EQ(at, have);                                                                                    \
		CHECK_ERR(read(fd, raw, sizeof raw), EAGAIN);                                                          \
	} while (0)

static void begin(void)
{
	fd = CHECK_OK(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
}

TEST(reading_and_writing)
{
	begin();
	put_file("f", "text", 0600);
	int dir = CHECK_OK(inotify_add_watch(fd, ".", IN_ALL_EVENTS));
	int file = CHECK_OK(inotify_add_watch(fd, "f", IN_ALL_EVENTS));
	char buf[10];
	int f = CHECK_OK(open("f", O_RDWR));
	CHECK_EQ(read(f, buf, 4), 4);
	CHECK_EQ(read(f, buf, 4), 0);
	CHECK_EQ(pwrite(f, "xy", 2, 0), 2);
	CHECK_OK(ftruncate(f, 1));
	CHECK_OK(fchmod(f, 0640));
	CHECK_OK(close(f));
	static const uint32_t all[] = {IN_OPEN, IN_ACCESS, IN_MODIFY, IN_ATTRIB, IN_CLOSE_WRITE};
	for (int i = 0; i < 5; i++) {
		EXPECT(dir, all[i], "f");
		EXPECT(file, all[i], "");
		/* The write, and the truncation. */
		if (all[i] == IN_MODIFY) {
			EXPECT(dir, all[i], "f");
			EXPECT(file, all[i], "");
		}
	}
	EXPECT_NONE();
	f = CHECK_OK(open("f", O_RDONLY));
	CHECK_OK(close(f));
	EXPECT(dir, IN_OPEN, "f");
	EXPECT(file, IN_OPEN, "");
	EXPECT(dir, IN_CLOSE_NOWRITE, "f");
	EXPECT(file, IN_CLOSE_NOWRITE, "");
	/* O_PATH opens nothing. */
	CHECK_OK(close(CHECK_OK(open("f", O_PATH))));
	EXPECT_NONE();
	CHECK_OK(close(CHECK_OK(open("f", O_WRONLY | O_TRUNC))));
	EXPECT(dir, IN_OPEN, "f");
	EXPECT(file, IN_OPEN, "");
	EXPECT(dir, IN_MODIFY, "f");
	EXPECT(file, IN_MODIFY, "");
	EXPECT(dir, IN_CLOSE_WRITE, "f");
	EXPECT(file, IN_CLOSE_WRITE, "");
	EXPECT_NONE();
	DIR *d = opendir(".");
	CHECK(d && readdir(d));
	closedir(d);
	EXPECT(dir, IN_OPEN | IN_ISDIR, "");
	EXPECT(dir, IN_ACCESS | IN_ISDIR, "");
	EXPECT(dir, IN_CLOSE_NOWRITE | IN_ISDIR, "");
	EXPECT_NONE();
}

TEST(names)
{
	begin();
	CHECK_OK(mkdir("a", 0700));
	CHECK_OK(mkdir("b", 0700));
	uint32_t what = IN_CREATE | IN_DELETE | IN_MOVE | IN_MOVE_SELF | IN_DELETE_SELF;
	int a = CHECK_OK(inotify_add_watch(fd, "a", what)), b = CHECK_OK(inotify_add_watch(fd, "b", what));
	put_file("a/f", "", 0600);
	CHECK_OK(mkdir("a/d", 0700));
	CHECK_OK(symlink("f", "a/s"));
	CHECK_OK(link("a/f", "a/l"));
	EXPECT(a, IN_CREATE, "f");
	EXPECT(a, IN_CREATE | IN_ISDIR, "d");
	EXPECT(a, IN_CREATE, "s");
	EXPECT(a, IN_CREATE, "l");
	int moving = CHECK_OK(inotify_add_watch(fd, "a/d", what));
	CHECK_OK(rename("a/f", "a/g"));
	struct told from = next(), to = next();
	CHECK(from.wd == a && from.mask == IN_MOVED_FROM && strcmp(from.name, "f") == 0);
	CHECK(to.wd == a && to.mask == IN_MOVED_TO && strcmp(to.name, "g") == 0);
	CHECK(from.cookie == to.cookie && from.cookie != 0);
	uint32_t first = from.cookie;
	CHECK_OK(rename("a/d", "b/e"));
	from = next(), to = next();
	CHECK(from.wd == a && from.mask == (IN_MOVED_FROM | IN_ISDIR) && strcmp(from.name, "d") == 0);
	CHECK(to.wd == b && to.mask == (IN_MOVED_TO | IN_ISDIR) && strcmp(to.name, "e") == 0);
	CHECK(from.cookie == to.cookie && from.cookie != first);
	EXPECT(moving, IN_MOVE_SELF, "");
	CHECK_OK(unlink("a/g"));
	EXPECT(a, IN_DELETE, "g");
	CHECK_OK(rmdir("b/e"));
	EXPECT(moving, IN_DELETE_SELF, "");
	EXPECT(moving, IN_IGNORED, "");
	EXPECT(b, IN_DELETE | IN_ISDIR, "e");
	EXPECT_NONE();
}

TEST(the_end_of_a_file)
{
	begin();
	put_file("f", "", 0600);
	CHECK_OK(link("f", "g"));
	int wd = CHECK_OK(inotify_add_watch(fd, "f", IN_ATTRIB | IN_DELETE_SELF));
	CHECK_OK(unlink("g"));
	EXPECT(wd, IN_ATTRIB, "");
	EXPECT_NONE();
	CHECK_OK(unlink("f"));
	EXPECT(wd, IN_ATTRIB, "");
	EXPECT(wd, IN_DELETE_SELF, "");
	EXPECT(wd, IN_IGNORED, "");
	EXPECT_NONE();
	CHECK_ERR(inotify_rm_watch(fd, wd), EINVAL);
}

TEST(masks)
{
	begin();
	put_file("f", "", 0600);
	CHECK_OK(symlink("f", "s"));
	CHECK_ERR(inotify_add_watch(fd, "f", 0), EINVAL);
	CHECK_ERR(inotify_add_watch(fd, "missing", IN_OPEN), ENOENT);
	CHECK_ERR(inotify_add_watch(fd, "f", IN_OPEN | IN_ONLYDIR), ENOTDIR);
	CHECK_ERR(inotify_add_watch(0, "f", IN_OPEN), EINVAL);
	CHECK_ERR(inotify_add_watch(999, "f", IN_OPEN), EBADF);
	CHECK_ERR(inotify_add_watch(fd, "f", IN_OPEN | IN_MASK_ADD | IN_MASK_CREATE), EINVAL);
	CHECK_ERR(inotify_init1(0x10), EINVAL);
	int wd = CHECK_OK(inotify_add_watch(fd, "f", IN_OPEN | IN_MASK_CREATE));
	CHECK_ERR(inotify_add_watch(fd, "f", IN_OPEN | IN_MASK_CREATE), EEXIST);
	CHECK_EQ(inotify_add_watch(fd, "s", IN_CLOSE | IN_MASK_ADD), wd);
	CHECK_OK(close(CHECK_OK(open("f", O_RDONLY))));
	EXPECT(wd, IN_OPEN, "");
	EXPECT(wd, IN_CLOSE_NOWRITE, "");
	/* Without IN_MASK_ADD the new mask replaces the old one. */
	CHECK_EQ(inotify_add_watch(fd, "f", IN_CLOSE), wd);
	CHECK_OK(close(CHECK_OK(open("f", O_RDONLY))));
	EXPECT(wd, IN_CLOSE_NOWRITE, "");
	EXPECT_NONE();
	/* The link itself is another inode. */
	int link = CHECK_OK(inotify_add_watch(fd, "s", IN_ATTRIB | IN_DONT_FOLLOW));
	CHECK(link != wd);
	CHECK_OK(inotify_rm_watch(fd, wd));
	EXPECT(wd, IN_IGNORED, "");
	CHECK_ERR(inotify_rm_watch(fd, wd), EINVAL);
	CHECK_OK(close(CHECK_OK(open("f", O_RDONLY))));
	EXPECT_NONE();
	wd = CHECK_OK(inotify_add_watch(fd, "f", IN_OPEN | IN_ONESHOT));
	CHECK_OK(close(CHECK_OK(open("f", O_RDONLY))));
	CHECK_OK(close(CHECK_OK(open("f", O_RDONLY))));
	EXPECT(wd, IN_OPEN, "");
	EXPECT(wd, IN_IGNORED, "");
	EXPECT_NONE();
}

TEST(unlinked_children)
{
	begin();
	CHECK_OK(mkdir("d", 0700));
	put_file("d/f", "", 0600);
	int f = CHECK_OK(open("d/f", O_WRONLY));
	int wd = CHECK_OK(inotify_add_watch(fd, "d", IN_MODIFY | IN_EXCL_UNLINK));
	CHECK_EQ(write(f, "x", 1), 1);
	EXPECT(wd, IN_MODIFY, "f");
	CHECK_OK(unlink("d/f"));
	CHECK_EQ(write(f, "x", 1), 1);
	EXPECT_NONE();
}

TEST(reading_events)
{
	begin();
	put_file("f", "", 0600);
	int wd = CHECK_OK(inotify_add_watch(fd, ".", IN_OPEN | IN_CLOSE)), pending = -1;
	struct pollfd p = {fd, POLLIN, 0};
	CHECK_EQ(poll(&p, 1, 0), 0);
	/* The same again is told once. */
	int one = CHECK_OK(open("f", O_RDONLY)), two = CHECK_OK(open("f", O_RDONLY));
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK_OK(ioctl(fd, FIONREAD, &pending));
	CHECK_EQ(pending, 32);
	char small[16];
	CHECK_ERR(read(fd, small, sizeof small), EINVAL);
	EXPECT(wd, IN_OPEN, "f");
	EXPECT_NONE();
	close(one);
	close(two);
	EXPECT(wd, IN_CLOSE_NOWRITE, "f");
	EXPECT_NONE();
	/* A reader waits. */
	CHECK_OK(fcntl(fd, F_SETFL, 0));
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		msleep(30);
		CHECK_OK(open("f", O_RDONLY));
		_exit(0);
	}
	EXPECT(wd, IN_OPEN, "f");
	CHECK_EXIT(pid, 0);
}

TEST(overflow)
{
	char text[40];
	int most = atoi(get_file("/proc/sys/fs/inotify/max_queued_events", text, sizeof text));
	if (most > 20000)
		SKIP("the queue is too long here");
	begin();
	put_file("f", "", 0600);
	put_file("g", "", 0600);
	CHECK_OK(inotify_add_watch(fd, ".", IN_ATTRIB));
	for (int i = 0; i < most / 2 + 100; i++) {
		CHECK_OK(chmod("f", 0600));
		CHECK_OK(chmod("g", 0600));
	}
	int count = 0;
	struct told t;
	while ((t = next()).mask == IN_ATTRIB)
		count++;
	CHECK_EQ(count, most);
	CHECK(t.mask == IN_Q_OVERFLOW && t.wd == -1);
	EXPECT_NONE();
}

TEST(unmounting)
{
	if (geteuid() != 0)
		SKIP("mounts need root");
	if (unshare(CLONE_NEWNS) == 0)
		CHECK_OK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	begin();
	CHECK_OK(mkdir("m", 0755));
	CHECK_OK(mkdir("n", 0755));
	CHECK_OK(mount("none", "m", "tmpfs", 0, NULL));
	CHECK_OK(mount("m", "n", NULL, MS_BIND, NULL));
	put_file("m/f", "", 0600);
	int file = CHECK_OK(inotify_add_watch(fd, "m/f", IN_DELETE_SELF));
	int other = CHECK_OK(inotify_add_watch(fd, ".", IN_DELETE));
	/* Mounted elsewhere too: it is not gone yet. */
	CHECK_OK(umount2("m", 0));
	EXPECT_NONE();
	CHECK_OK(umount2("n", 0));
	EXPECT(file, IN_UNMOUNT, "");
	EXPECT(file, IN_IGNORED, "");
	CHECK_ERR(inotify_rm_watch(fd, file), EINVAL);
	CHECK_OK(rmdir("n"));
	EXPECT(other, IN_DELETE | IN_ISDIR, "n");
	EXPECT_NONE();
}

TEST_MAIN
