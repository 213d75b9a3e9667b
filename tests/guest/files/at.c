/* The calls relative to a descriptor and their flags: openat2, statx, O_TMPFILE, renameat2, linkat, faccessat2, fchmodat2. */
#include "../test.h"
#include <linux/openat2.h>
#include <linux/stat.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE 2
#define RENAME_WHITEOUT 4
#endif
#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

static int openat2(int dir, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
	struct open_how how = {flags, mode, resolve};
	return syscall(SYS_openat2, dir, path, &how, sizeof how);
}

#define OPENS(dir, path, resolve) CHECK_OK(close(CHECK_OK(openat2(dir, path, O_RDONLY, 0, resolve))))
#define REFUSED(dir, path, resolve, error) CHECK_ERR(openat2(dir, path, O_RDONLY, 0, resolve), error)

TEST(openat2_resolving)
{
	CHECK_OK(mkdir("top", 0755));
	CHECK_OK(mkdir("top/sub", 0755));
	CHECK_OK(mkdir("other", 0755));
	put_file("top/file", "inside", 0644);
	put_file("file", "outside", 0644);
	put_file("top/sub/deep", "", 0644);
	CHECK_OK(symlink("sub/deep", "top/link"));
	CHECK_OK(symlink("../file", "top/out"));
	CHECK_OK(symlink("/file", "top/abs"));
	CHECK_OK(symlink("sub/../file", "top/updown"));
	CHECK_OK(symlink("sub", "top/dirlink"));
	int top = CHECK_OK(open("top", O_RDONLY | O_DIRECTORY));
	/* BENEATH: nothing leads out, not even for a moment. */
	OPENS(top, "file", RESOLVE_BENEATH);
	OPENS(top, "link", RESOLVE_BENEATH);
	OPENS(top, "sub/../file", RESOLVE_BENEATH);
	OPENS(top, "updown", RESOLVE_BENEATH);
	OPENS(top, ".", RESOLVE_BENEATH);
	REFUSED(top, "..", RESOLVE_BENEATH, EXDEV);
	REFUSED(top, "../top/file", RESOLVE_BENEATH, EXDEV);
	REFUSED(top, "out", RESOLVE_BENEATH, EXDEV);
	REFUSED(top, "abs", RESOLVE_BENEATH, EXDEV);
	REFUSED(top, "/file", RESOLVE_BENEATH, EXDEV);
	REFUSED(top, "sub/../../file", RESOLVE_BENEATH, EXDEV);
	/* IN_ROOT: as after chroot. */
	OPENS(top, "/file", RESOLVE_IN_ROOT);
	OPENS(top, "../../file", RESOLVE_IN_ROOT);
	char text[20];
	int fd = CHECK_OK(openat2(top, "abs", O_RDONLY, 0, RESOLVE_IN_ROOT));
	CHECK_EQ(read(fd, text, sizeof text), 6);
	CHECK(memcmp(text, "inside", 6) == 0);
	fd = CHECK_OK(openat2(top, "out", O_RDONLY, 0, RESOLVE_IN_ROOT));
	CHECK_EQ(read(fd, text, sizeof text), 6);
	REFUSED(top, "/other", RESOLVE_IN_ROOT, ENOENT);
	CHECK_ERR(openat2(top, "file", O_RDONLY, 0, RESOLVE_IN_ROOT | RESOLVE_BENEATH), EINVAL);
	/* No links, and none of the magic ones. */
	REFUSED(top, "link", RESOLVE_NO_SYMLINKS, ELOOP);
	REFUSED(top, "dirlink/deep", RESOLVE_NO_SYMLINKS, ELOOP);
	OPENS(top, "sub/deep", RESOLVE_NO_SYMLINKS);
	CHECK_ERR(openat2(top, "link", O_RDONLY | O_NOFOLLOW, 0, RESOLVE_NO_SYMLINKS), ELOOP);
	CHECK_OK(close(CHECK_OK(openat2(top, "link", O_PATH | O_NOFOLLOW, 0, RESOLVE_NO_SYMLINKS))));
	char magic[40];
	snprintf(magic, sizeof magic, "/proc/self/fd/%d", top);
	OPENS(AT_FDCWD, magic, 0);
	REFUSED(AT_FDCWD, magic, RESOLVE_NO_MAGICLINKS, ELOOP);
	OPENS(top, "link", RESOLVE_NO_MAGICLINKS);
	/* Not across a mount. */
	REFUSED(AT_FDCWD, "/proc/self/stat", RESOLVE_NO_XDEV, EXDEV);
	OPENS(top, "file", RESOLVE_NO_XDEV);
	int proc = CHECK_OK(open("/proc", O_RDONLY | O_DIRECTORY));
	REFUSED(proc, "..", RESOLVE_NO_XDEV, EXDEV);
	OPENS(proc, "self/status", RESOLVE_NO_XDEV);
	/* Creating within. */
	CHECK_OK(close(CHECK_OK(openat2(top, "sub/new", O_CREAT | O_WRONLY, 0600, RESOLVE_BENEATH))));
	CHECK_ERR(openat2(top, "../new", O_CREAT | O_WRONLY, 0600, RESOLVE_BENEATH), EXDEV);
	CHECK_OK(close(CHECK_OK(openat2(top, "/sub/new2", O_CREAT | O_WRONLY, 0600, RESOLVE_IN_ROOT))));
	CHECK_OK(access("top/sub/new2", F_OK));
}

TEST(openat2_arguments)
{
	struct open_how how = {O_RDONLY, 0, 0};
	put_file("f", "", 0644);
	CHECK_ERR(syscall(SYS_openat2, AT_FDCWD, "f", &how, sizeof how - 1), EINVAL);
	CHECK_ERR(syscall(SYS_openat2, AT_FDCWD, "f", NULL, sizeof how), EFAULT);
	CHECK_ERR(syscall(SYS_openat2, AT_FDCWD, "f", &how, 100000), E2BIG);
	struct {
		struct open_how how;
		uint64_t more;
	} large = {how, 0};
	CHECK_OK(syscall(SYS_openat2, AT_FDCWD, "f", &large, sizeof large));
	large.more = 1;
	CHECK_ERR(syscall(SYS_openat2, AT_FDCWD, "f", &large, sizeof large), E2BIG);
	CHECK_ERR(openat2(AT_FDCWD, "f", O_RDONLY, 0644, 0), EINVAL);
	CHECK_ERR(openat2(AT_FDCWD, "new", O_CREAT | O_WRONLY, 0200000, 0), EINVAL);
	CHECK_ERR(openat2(AT_FDCWD, "f", O_RDONLY, 0, 0x1000), EINVAL);
	CHECK_ERR(openat2(AT_FDCWD, "f", 1ULL << 40, 0, 0), EINVAL);
	CHECK_ERR(openat2(AT_FDCWD, "f", 04, 0, 0), EINVAL);
	CHECK_ERR(openat2(AT_FDCWD, "f", O_PATH | O_RDWR, 0, 0), EINVAL);
	CHECK_ERR(openat2(AT_FDCWD, ".", O_TMPFILE | O_RDONLY, 0600, 0), EINVAL);
	CHECK_ERR(openat2(AT_FDCWD, "new", O_CREAT | O_DIRECTORY, 0600, 0), EINVAL);
	/* What is cached may be found; what would change something may not. */
	CHECK_ERR(openat2(AT_FDCWD, "f", O_RDWR | O_TRUNC, 0, RESOLVE_CACHED), EAGAIN);
	CHECK_ERR(openat2(AT_FDCWD, "f", O_RDWR | O_CREAT, 0600, RESOLVE_CACHED), EAGAIN);
	CHECK_ERR(openat2(999, "f", O_RDONLY, 0, 0), EBADF);
	CHECK_OK(openat2(999, "/", O_RDONLY, 0, 0));
	int fd = CHECK_OK(open("f", O_RDONLY));
	CHECK_ERR(openat2(fd, "x", O_RDONLY, 0, 0), ENOTDIR);
	CHECK_ERR(openat2(AT_FDCWD, "", O_RDONLY, 0, 0), ENOENT);
}

TEST(statx_answers)
{
	put_file("f", "12345", 0640);
	struct statx x;
	CHECK_OK(syscall(SYS_statx, AT_FDCWD, "f", 0, STATX_BASIC_STATS | STATX_BTIME, &x));
	CHECK_EQ(x.stx_mask & STATX_BASIC_STATS, STATX_BASIC_STATS);
	CHECK_EQ(x.stx_size, 5);
	CHECK_EQ(x.stx_mode, S_IFREG | 0640);
	CHECK_EQ(x.stx_nlink, 1);
	struct stat st;
	CHECK_OK(stat("f", &st));
	CHECK(x.stx_ino == st.st_ino && x.stx_uid == st.st_uid && x.stx_blksize == st.st_blksize);
	CHECK(makedev(x.stx_dev_major, x.stx_dev_minor) == st.st_dev);
	CHECK(x.stx_mtime.tv_sec == st.st_mtim.tv_sec && x.stx_mtime.tv_nsec == st.st_mtim.tv_nsec);
	CHECK(!(x.stx_mask & STATX_BTIME) || x.stx_btime.tv_sec >= st.st_mtim.tv_sec - 10);
	int fd = CHECK_OK(open("f", O_RDONLY));
	CHECK_OK(syscall(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_SIZE, &x));
	CHECK_EQ(x.stx_size, 5);
	CHECK_ERR(syscall(SYS_statx, fd, "", 0, STATX_SIZE, &x), ENOENT);
	CHECK_OK(symlink("f", "l"));
	CHECK_OK(syscall(SYS_statx, AT_FDCWD, "l", AT_SYMLINK_NOFOLLOW, STATX_TYPE, &x));
	CHECK(S_ISLNK(x.stx_mode));
	CHECK_ERR(syscall(SYS_statx, AT_FDCWD, "f", 0x10000, STATX_SIZE, &x), EINVAL);
	CHECK_ERR(syscall(SYS_statx, AT_FDCWD, "f", AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC, STATX_SIZE, &x), EINVAL);
	CHECK_ERR(syscall(SYS_statx, AT_FDCWD, "f", 0, 0x80000000, &x), EINVAL);
	CHECK_ERR(syscall(SYS_statx, AT_FDCWD, "f", 0, STATX_SIZE, (void *)1), EFAULT);
	CHECK_OK(syscall(SYS_statx, AT_FDCWD, "f", AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_MNT_ID, &x));
	CHECK(x.stx_mask & STATX_MNT_ID);
	CHECK_OK(syscall(SYS_statx, AT_FDCWD, "/proc", 0, STATX_BASIC_STATS, &x));
	CHECK(x.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT);
	CHECK(x.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

TEST(unnamed_files)
{
	int fd = CHECK_OK(open(".", O_TMPFILE | O_RDWR, 0640));
	CHECK_EQ(write(fd, "data", 4), 4);
	struct stat st;
	CHECK_OK(fstat(fd, &st));
	CHECK_EQ(st.st_nlink, 0);
	CHECK_EQ(st.st_mode, S_IFREG | 0640);
	CHECK_EQ(fcntl(fd, F_GETFL) & O_TMPFILE, O_TMPFILE);
	char path[40], text[400];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	ssize_t n = CHECK_OK(readlink(path, text, sizeof text - 1));
	text[n] = 0;
	CHECK(strstr(text, "/#") && strstr(text, " (deleted)"));
	CHECK_OK(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
	CHECK_OK(fstat(fd, &st));
	CHECK_EQ(st.st_nlink, 1);
	CHECK_STR(get_file("named", text, sizeof text), "data");
	CHECK_ERR(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW), EEXIST);
	CHECK_OK(linkat(AT_FDCWD, path, AT_FDCWD, "again", AT_SYMLINK_FOLLOW));
	fd = CHECK_OK(open(".", O_TMPFILE | O_WRONLY | O_EXCL, 0600));
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	CHECK_ERR(linkat(AT_FDCWD, path, AT_FDCWD, "third", AT_SYMLINK_FOLLOW), ENOENT);
	CHECK_ERR(open(".", O_TMPFILE | O_RDONLY, 0600), EINVAL);
	CHECK_ERR(open("named", O_TMPFILE | O_RDWR, 0600), ENOTDIR);
	CHECK_ERR(open("nowhere", O_TMPFILE | O_RDWR, 0600), ENOENT);
	CHECK_ERR(open(".", O_TMPFILE | O_RDWR | O_CREAT, 0600), EINVAL);
	/* A file that has lost its last name gets no new one. */
	fd = CHECK_OK(open("named", O_RDONLY));
	CHECK_OK(unlink("named"));
	CHECK_OK(unlink("again"));
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	CHECK_ERR(linkat(AT_FDCWD, path, AT_FDCWD, "back", AT_SYMLINK_FOLLOW), ENOENT);
	/* By the descriptor itself, with privilege. */
	fd = CHECK_OK(open(".", O_TMPFILE | O_RDWR, 0600));
	if (geteuid() == 0)
		CHECK_OK(linkat(fd, "", AT_FDCWD, "byfd", AT_EMPTY_PATH));
	CHECK_ERR(linkat(fd, "", AT_FDCWD, "byfd", 0), ENOENT);
}

#define RENAME(from, to, flags) syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags)

TEST(rename_flags)
{
	char text[20];
	put_file("a", "A", 0600);
	put_file("b", "B", 0600);
	CHECK_ERR(RENAME("a", "b", RENAME_NOREPLACE), EEXIST);
	CHECK_OK(RENAME("a", "c", RENAME_NOREPLACE));
	CHECK_OK(RENAME("b", "c", RENAME_EXCHANGE));
	CHECK_STR(get_file("b", text, sizeof text), "A");
	CHECK_STR(get_file("c", text, sizeof text), "B");
	CHECK_ERR(RENAME("b", "none", RENAME_EXCHANGE), ENOENT);
	CHECK_OK(mkdir("d", 0700));
	put_file("d/in", "", 0600);
	CHECK_OK(RENAME("b", "d", RENAME_EXCHANGE));
	CHECK_OK(access("b/in", F_OK));
	CHECK_STR(get_file("d", text, sizeof text), "A");
	CHECK_OK(mkdir("b/under", 0700));
	CHECK_ERR(RENAME("b", "b/under", RENAME_EXCHANGE), EINVAL);
	CHECK_ERR(RENAME("b/under", "b", RENAME_EXCHANGE), EINVAL);
	CHECK_ERR(RENAME("c", "x", RENAME_EXCHANGE | RENAME_NOREPLACE), EINVAL);
	CHECK_ERR(RENAME("c", "x", RENAME_EXCHANGE | RENAME_WHITEOUT), EINVAL);
	CHECK_ERR(RENAME("c", "x", 8), EINVAL);
	CHECK_OK(RENAME("c", "c", RENAME_EXCHANGE));
	CHECK_ERR(RENAME("c", "c", RENAME_NOREPLACE), EEXIST);
	/* Links are exchanged themselves. */
	CHECK_OK(symlink("c", "link"));
	CHECK_OK(RENAME("link", "c", RENAME_EXCHANGE));
	struct stat st;
	CHECK_OK(lstat("c", &st));
	CHECK(S_ISLNK(st.st_mode));
	CHECK_STR(get_file("link", text, sizeof text), "B");
	/* A whiteout is left where the name was. */
	if (geteuid() != 0) {
		long got = RENAME("link", "moved", RENAME_WHITEOUT);
		CHECK(got == 0 || errno == EPERM || errno == EINVAL);
		return;
	}
	CHECK_OK(mkdir("m", 0700));
	if (unshare(CLONE_NEWNS) == 0)
		CHECK_OK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	CHECK_OK(mount("none", "m", "tmpfs", 0, NULL));
	put_file("m/a", "A", 0600);
	put_file("m/b", "B", 0600);
	CHECK_OK(RENAME("m/a", "m/c", RENAME_WHITEOUT));
	CHECK_STR(get_file("m/c", text, sizeof text), "A");
	CHECK_OK(lstat("m/a", &st));
	CHECK(S_ISCHR(st.st_mode) && st.st_rdev == 0);
	CHECK_OK(RENAME("m/b", "m/c", RENAME_WHITEOUT));
	CHECK_STR(get_file("m/c", text, sizeof text), "B");
	CHECK_ERR(RENAME("m/c", "m/a", RENAME_WHITEOUT | RENAME_NOREPLACE), EEXIST);
	CHECK_OK(RENAME("m/c", "m/n", RENAME_WHITEOUT | RENAME_NOREPLACE));
	CHECK_OK(lstat("m/c", &st));
	CHECK(S_ISCHR(st.st_mode));
}

TEST(access_and_modes)
{
	put_file("f", "", 0644);
	CHECK_OK(symlink("f", "l"));
	CHECK_OK(symlink("none", "dangling"));
	int fd = CHECK_OK(open("f", O_RDONLY)), path = CHECK_OK(open("f", O_PATH));
	CHECK_OK(syscall(SYS_faccessat2, fd, "", R_OK, AT_EMPTY_PATH));
	CHECK_ERR(syscall(SYS_faccessat2, fd, "", R_OK, 0), ENOENT);
	CHECK_OK(syscall(SYS_faccessat2, AT_FDCWD, "dangling", F_OK, AT_SYMLINK_NOFOLLOW));
	CHECK_ERR(syscall(SYS_faccessat2, AT_FDCWD, "dangling", F_OK, 0), ENOENT);
	CHECK_ERR(syscall(SYS_faccessat2, AT_FDCWD, "f", 8, 0), EINVAL);
	CHECK_ERR(syscall(SYS_faccessat2, AT_FDCWD, "f", R_OK, 0x4000), EINVAL);
	CHECK_OK(syscall(SYS_faccessat2, AT_FDCWD, "f", R_OK, AT_EACCESS));
	CHECK_OK(syscall(SYS_fchmodat2, AT_FDCWD, "f", 0600, 0));
	CHECK_ERR(syscall(SYS_fchmodat2, AT_FDCWD, "l", 0640, AT_SYMLINK_NOFOLLOW), EOPNOTSUPP);
	CHECK_OK(syscall(SYS_fchmodat2, AT_FDCWD, "f", 0640, AT_SYMLINK_NOFOLLOW));
	CHECK_OK(syscall(SYS_fchmodat2, path, "", 0600, AT_EMPTY_PATH));
	CHECK_ERR(syscall(SYS_fchmodat2, path, "", 0600, 0), ENOENT);
	CHECK_ERR(fchmod(path, 0600), EBADF);
	struct stat st;
	CHECK_OK(stat("f", &st));
	CHECK_EQ(st.st_mode & 07777, 0600);
	CHECK_OK(fchownat(fd, "", getuid(), getgid(), AT_EMPTY_PATH));
	CHECK_OK(fchownat(AT_FDCWD, "dangling", getuid(), getgid(), AT_SYMLINK_NOFOLLOW));
	CHECK_ERR(fchownat(AT_FDCWD, "f", -1, -1, 0x8000), EINVAL);
	struct timespec times[2] = {{1, 2}, {3, 4}};
	CHECK_OK(utimensat(AT_FDCWD, "dangling", times, AT_SYMLINK_NOFOLLOW));
	CHECK_OK(lstat("dangling", &st));
	CHECK(st.st_mtim.tv_sec == 3 && st.st_mtim.tv_nsec == 4);
	CHECK_OK(syscall(SYS_utimensat, path, "", times, AT_EMPTY_PATH));
	CHECK_OK(stat("f", &st));
	CHECK_EQ(st.st_atim.tv_sec, 1);
	CHECK_OK(syscall(SYS_utimensat, fd, NULL, times, 0));
	CHECK_ERR(syscall(SYS_utimensat, path, NULL, times, 0), EBADF);
	times[0].tv_nsec = 1000000000;
	CHECK_ERR(utimensat(AT_FDCWD, "f", times, 0), EINVAL);
	times[0].tv_nsec = UTIME_OMIT, times[1].tv_nsec = UTIME_OMIT;
	CHECK_OK(utimensat(AT_FDCWD, "f", times, 0));
	/* Links: what is a name's target, and what the name itself. */
	CHECK_OK(linkat(AT_FDCWD, "l", AT_FDCWD, "hardlink-of-link", 0));
	CHECK_OK(lstat("hardlink-of-link", &st));
	CHECK(S_ISLNK(st.st_mode) && st.st_nlink == 2);
	CHECK_OK(linkat(AT_FDCWD, "l", AT_FDCWD, "hardlink-of-file", AT_SYMLINK_FOLLOW));
	CHECK_OK(lstat("hardlink-of-file", &st));
	CHECK(S_ISREG(st.st_mode) && st.st_nlink == 2);
	CHECK_ERR(linkat(AT_FDCWD, ".", AT_FDCWD, "dir", 0), EPERM);
	CHECK_ERR(linkat(AT_FDCWD, "f", AT_FDCWD, "x", 0x10000), EINVAL);
	CHECK_ERR(unlinkat(AT_FDCWD, "f", AT_REMOVEDIR), ENOTDIR);
	CHECK_OK(mkdir("d", 0700));
	CHECK_ERR(unlinkat(AT_FDCWD, "d", 0), EISDIR);
	CHECK_ERR(unlinkat(AT_FDCWD, "d", 1), EINVAL);
	CHECK_ERR(unlinkat(AT_FDCWD, "d/.", AT_REMOVEDIR), EINVAL);
	CHECK_ERR(unlinkat(AT_FDCWD, "d/..", AT_REMOVEDIR), ENOTEMPTY);
	CHECK_OK(unlinkat(AT_FDCWD, "d/", AT_REMOVEDIR));
	CHECK_ERR(mknodat(AT_FDCWD, "fifo/", S_IFIFO | 0600, 0), ENOENT);
	CHECK_OK(mknodat(AT_FDCWD, "fifo", S_IFIFO | 0600, 0));
	CHECK_OK(mknodat(AT_FDCWD, "sock", S_IFSOCK | 0600, 0));
	CHECK_ERR(mknodat(AT_FDCWD, "dir", S_IFDIR | 0600, 0), EPERM);
	CHECK_ERR(mknodat(AT_FDCWD, "link", S_IFLNK | 0600, 0), EINVAL);
	CHECK_ERR(open("sock", O_RDWR), ENXIO);
	CHECK_EQ(readlinkat(CHECK_OK(open("l", O_PATH | O_NOFOLLOW)), "", (char[10]){0}, 10), 1);
	CHECK_ERR(readlinkat(fd, "", (char[10]){0}, 10), ENOENT);
	CHECK_ERR(readlinkat(AT_FDCWD, "f", (char[10]){0}, 10), EINVAL);
	CHECK_ERR(readlinkat(AT_FDCWD, "l", (char[10]){0}, 0), EINVAL);
}

TEST(device_zero)
{
	/* Character device 0:0, which overlays use as a mark of their own, is a node like others, and anybody's. */
	CHECK_OK(mkdir("d", 0700));
	CHECK_OK(mknod("d/zero", S_IFCHR | 0640, 0));
	struct stat st;
	CHECK_OK(lstat("d/zero", &st));
	CHECK(S_ISCHR(st.st_mode) && st.st_rdev == 0 && (st.st_mode & 07777) == 0640);
	CHECK_ERR(rmdir("d"), ENOTEMPTY);
	CHECK_OK(rename("d/zero", "d/moved"));
	CHECK_OK(link("d/moved", "again"));
	CHECK_OK(unlink("d/moved"));
	CHECK_OK(rmdir("d"));
	CHECK_OK(lstat("again", &st));
	CHECK_EQ(st.st_nlink, 1);
	CHECK_ERR(open("again", O_RDONLY), ENXIO);
	CHECK_OK(unlink("again"));
	CHECK_ERR(lstat("again", &st), ENOENT);
}

TEST(path_descriptors)
{
	put_file("f", "text", 0600);
	int fd = CHECK_OK(open("f", O_PATH));
	char c;
	CHECK_ERR(read(fd, &c, 1), EBADF);
	CHECK_ERR(write(fd, &c, 1), EBADF);
	CHECK_ERR(lseek(fd, 0, SEEK_SET), EBADF);
	CHECK_ERR(ftruncate(fd, 0), EBADF);
	CHECK_ERR(ioctl(fd, 0x541b, &c), EBADF);
	CHECK_ERR(fchown(fd, -1, -1), EBADF);
	CHECK_ERR(fsync(fd), EBADF);
	CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED && errno == EBADF);
	struct stat st;
	CHECK_OK(fstat(fd, &st));
	CHECK_EQ(st.st_size, 4);
	CHECK_OK(close(dup(fd)));
	CHECK_OK(fcntl(fd, F_GETFD));
	CHECK_EQ(fcntl(fd, F_GETFL) & O_PATH, O_PATH);
	CHECK_ERR(fcntl(fd, F_SETFL, O_NONBLOCK), EBADF);
	char path[40];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	CHECK_EQ(read(CHECK_OK(open(path, O_RDONLY)), &c, 1), 1);
	int dir = CHECK_OK(open(".", O_PATH | O_DIRECTORY));
	CHECK_OK(faccessat(dir, "f", R_OK, 0));
	CHECK_OK(fchdir(dir));
	char buffer[100];
	CHECK_ERR(syscall(SYS_getdents64, dir, buffer, sizeof buffer), EBADF);
	CHECK_ERR(open("f", O_PATH | O_DIRECTORY), ENOTDIR);
}

TEST_MAIN
