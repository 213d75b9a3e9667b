/* Attributes: stat, statx, times, modes, owners, permissions; what /proc/self shows. */
#include "../test.h"
#include <dirent.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/time.h>

TEST(stat_fields)
{
	put_file("f", "0123456789", 0640);
	struct stat st, again;
	CHECK_OK(stat("f", &st));
	CHECK_EQ(st.st_mode, S_IFREG | 0640);
	CHECK_EQ(st.st_size, 10);
	CHECK_EQ(st.st_nlink, 1);
	CHECK_EQ(st.st_uid, geteuid());
	CHECK(st.st_ino != 0 && st.st_dev != 0);
	CHECK(st.st_blksize >= 512);
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	CHECK(now.tv_sec - st.st_mtim.tv_sec < 30 && now.tv_sec >= st.st_mtim.tv_sec - 1);
	CHECK_OK(lstat("f", &again));
	CHECK(again.st_ino == st.st_ino && again.st_dev == st.st_dev);
	CHECK_ERR(stat("missing", &st), ENOENT);
	CHECK_ERR(stat("f/", &st), ENOTDIR);
	CHECK_ERR(fstat(999, &st), EBADF);
	CHECK_ERR(stat("f", (struct stat *)8), EFAULT);
	CHECK_OK(mkdir("d", 0711));
	CHECK_OK(stat("d", &st));
	CHECK_EQ(st.st_mode & S_IFMT, S_IFDIR);
	int ends[2];
	CHECK_OK(pipe(ends));
	CHECK_OK(fstat(ends[0], &st));
	CHECK(S_ISFIFO(st.st_mode));
}

TEST(statx_fields)
{
	put_file("f", "abc", 0604);
	struct statx x;
	struct stat st;
	CHECK_OK(stat("f", &st));
	CHECK_OK(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS, &x));
	CHECK_EQ(x.stx_mask & STATX_BASIC_STATS, STATX_BASIC_STATS);
	CHECK_EQ(x.stx_ino, st.st_ino);
	CHECK_EQ(x.stx_mode, S_IFREG | 0604);
	CHECK_EQ(x.stx_size, 3);
	CHECK_EQ(makedev(x.stx_dev_major, x.stx_dev_minor), st.st_dev);
	CHECK_EQ(x.stx_mtime.tv_sec, st.st_mtim.tv_sec);
	int fd = CHECK_OK(open("f", O_RDONLY));
	CHECK_OK(statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &x));
	CHECK_EQ(x.stx_size, 3);
	CHECK_ERR(statx(AT_FDCWD, "missing", 0, STATX_ALL, &x), ENOENT);
	CHECK_ERR(statx(AT_FDCWD, "f", 0x80000000, STATX_ALL, &x), EINVAL);
	CHECK_ERR(statx(AT_FDCWD, "f", 0, STATX__RESERVED, &x), EINVAL);
}

static int later(struct timespec a, struct timespec b)
{
	return a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec > b.tv_nsec);
}

TEST(times)
{
	put_file("f", "x", 0600);
	struct timespec set[2] = {{1000, 123456789}, {2000, 987654321}};
	CHECK_OK(utimensat(AT_FDCWD, "f", set, 0));
	struct stat st, old;
	CHECK_OK(stat("f", &st));
	CHECK(st.st_atim.tv_sec == 1000 && st.st_atim.tv_nsec == 123456789);
	CHECK(st.st_mtim.tv_sec == 2000 && st.st_mtim.tv_nsec == 987654321);
	CHECK(st.st_ctim.tv_sec > 1000000000);
	struct timespec half[2] = {{0, UTIME_OMIT}, {0, UTIME_NOW}};
	CHECK_OK(utimensat(AT_FDCWD, "f", half, 0));
	CHECK_OK(stat("f", &st));
	CHECK_EQ(st.st_atim.tv_sec, 1000);
	CHECK(st.st_mtim.tv_sec > 1000000000);
	struct timespec bad[2] = {{0, 1000000000}, {0, 0}};
	CHECK_ERR(utimensat(AT_FDCWD, "f", bad, 0), EINVAL);
	CHECK_OK(symlink("f", "s"));
	CHECK_OK(utimensat(AT_FDCWD, "s", set, AT_SYMLINK_NOFOLLOW));
	CHECK_OK(lstat("s", &st));
	CHECK_EQ(st.st_mtim.tv_sec, 2000);
	int fd = CHECK_OK(open("f", O_RDWR));
	CHECK_OK(futimens(fd, set));
	struct timeval usec[2] = {{5, 500000}, {6, 600000}};
	CHECK_OK(futimes(fd, usec));
	CHECK_OK(fstat(fd, &old));
	CHECK(old.st_mtim.tv_sec == 6 && old.st_mtim.tv_nsec == 600000000);
	msleep(15);
	/* Writing moves mtime and ctime, chmod ctime alone, a new name moves the directory. */
	CHECK_EQ(write(fd, "y", 1), 1);
	CHECK_OK(fstat(fd, &st));
	CHECK(later(st.st_mtim, old.st_mtim) && later(st.st_ctim, old.st_ctim));
	msleep(15);
	CHECK_OK(chmod("f", 0640));
	CHECK_OK(stat("f", &old));
	CHECK(later(old.st_ctim, st.st_ctim) && old.st_mtim.tv_sec == st.st_mtim.tv_sec &&
	      old.st_mtim.tv_nsec == st.st_mtim.tv_nsec);
	CHECK_OK(stat(".", &old));
	msleep(15);
	put_file("new", "", 0600);
	CHECK_OK(stat(".", &st));
	CHECK(later(st.st_mtim, old.st_mtim));
	CHECK_OK(stat("f", &old));
	msleep(15);
	CHECK_OK(link("f", "g"));
	CHECK_OK(stat("f", &st));
	CHECK(later(st.st_ctim, old.st_ctim));
}

TEST(modes)
{
	put_file("f", "", 0600);
	static const mode_t modes[] = {0, 07777, 0644, 04755, 01777, 02711};
	struct stat st;
	for (unsigned i = 0; i < 6; i++) {
		CHECK_OK(chmod("f", modes[i]));
		CHECK_OK(stat("f", &st));
		CHECK_EQ(st.st_mode & 07777, modes[i]);
	}
	CHECK_OK(symlink("f", "s"));
	CHECK_OK(chmod("s", 0604));
	CHECK_OK(stat("f", &st));
	CHECK_EQ(st.st_mode & 07777, 0604);
	CHECK_OK(fchmodat(AT_FDCWD, "f", 0606, 0));
	CHECK_ERR(chmod("missing", 0600), ENOENT);
	umask(0);
	close(CHECK_OK(open("open", O_CREAT | O_WRONLY, 0666)));
	CHECK_OK(stat("open", &st));
	CHECK_EQ(st.st_mode & 07777, 0666);
	CHECK_EQ(umask(0777), 0);
	close(CHECK_OK(open("shut", O_CREAT | O_WRONLY, 0666)));
	CHECK_OK(stat("shut", &st));
	CHECK_EQ(st.st_mode & 07777, 0);
	umask(022);
}

TEST(owners)
{
	if (geteuid() != 0)
		SKIP("needs root");
	put_file("f", "x", 06755);
	CHECK_OK(chown("f", 1000, 2000));
	struct stat st;
	CHECK_OK(stat("f", &st));
	CHECK(st.st_uid == 1000 && st.st_gid == 2000);
	CHECK_EQ(st.st_mode & 07777, 0755);
	CHECK_OK(chown("f", -1, 3000));
	CHECK_OK(stat("f", &st));
	CHECK(st.st_uid == 1000 && st.st_gid == 3000);
	CHECK_OK(symlink("f", "s"));
	CHECK_OK(lchown("s", 5, 6));
	CHECK_OK(lstat("s", &st));
	CHECK(st.st_uid == 5 && st.st_gid == 6);
	CHECK_OK(stat("s", &st));
	CHECK_EQ(st.st_uid, 1000);
	/* Files made in a set-group-ID directory belong to its group. */
	CHECK_OK(mkdir("d", 0777));
	CHECK_OK(chown("d", 0, 4000));
	CHECK_OK(chmod("d", 02777));
	put_file("d/f", "", 0600);
	CHECK_OK(stat("d/f", &st));
	CHECK_EQ(st.st_gid, 4000);
	CHECK_OK(mkdir("d/e", 0700));
	CHECK_OK(stat("d/e", &st));
	CHECK(st.st_gid == 4000 && (st.st_mode & S_ISGID));
}

TEST(permissions_of_a_plain_user)
{
	if (geteuid() != 0)
		SKIP("needs root");
	put_file("roots", "secret", 0600);
	put_file("readable", "text", 0644);
	put_file("group", "text", 0640);
	CHECK_OK(chown("group", 0, 65534));
	put_file("others-not", "text", 0604);
	CHECK_OK(chown("others-not", 0, 65534));
	CHECK_OK(mkdir("shut", 0700));
	put_file("shut/f", "", 0666);
	CHECK_OK(mkdir("search-only", 0711));
	put_file("search-only/f", "", 0644);
	CHECK_OK(mkdir("list-only", 0744));
	put_file("list-only/f", "", 0644);
	CHECK_OK(mkdir("sticky", 0777));
	CHECK_OK(chmod("sticky", 01777));
	put_file("sticky/roots", "", 0666);
	put_file("program", "#!/bin/sh\n", 0744);
	CHECK_ERR(access("readable", X_OK), EACCES);
	CHECK_OK(access("program", X_OK));
	CHECK_OK(access("roots", R_OK | W_OK));
	CHECK_OK(chmod(".", 0755));
	char guarded[20];
	get_file("/proc/sys/fs/protected_hardlinks", guarded, sizeof guarded);
	become_user();
	CHECK_ERR(open("roots", O_RDONLY), EACCES);
	CHECK_ERR(open("readable", O_WRONLY), EACCES);
	CHECK_OK(open("readable", O_RDONLY));
	CHECK_OK(open("group", O_RDONLY));
	CHECK_ERR(open("others-not", O_RDONLY), EACCES);
	CHECK_ERR(open("new", O_CREAT | O_WRONLY, 0600), EACCES);
	CHECK_ERR(open("shut/f", O_RDONLY), EACCES);
	CHECK_OK(open("search-only/f", O_RDONLY));
	CHECK_ERR(open("search-only", O_RDONLY), EACCES);
	CHECK_ERR(open("list-only/f", O_RDONLY), EACCES);
	CHECK(opendir("list-only") != NULL);
	CHECK_ERR(unlink("sticky/roots"), EPERM);
	CHECK_ERR(rename("sticky/roots", "sticky/mine"), EPERM);
	put_file("sticky/mine", "", 0600);
	CHECK_OK(unlink("sticky/mine"));
	CHECK_ERR(unlink("readable"), EACCES);
	CHECK_ERR(mkdir("d", 0700), EACCES);
	CHECK_ERR(chmod("readable", 0666), EPERM);
	CHECK_ERR(chown("readable", 65534, 65534), EPERM);
	CHECK_ERR(utimensat(AT_FDCWD, "readable", (struct timespec[2]){{1, 0}, {1, 0}}, 0), EPERM);
	CHECK_ERR(utimensat(AT_FDCWD, "readable", NULL, 0), EACCES);
	CHECK_ERR(truncate("readable", 0), EACCES);
	CHECK_ERR(access("roots", R_OK), EACCES);
	CHECK_OK(access("readable", R_OK));
	CHECK_ERR(access("readable", W_OK), EACCES);
	CHECK_ERR(access("program", X_OK), EACCES);
	CHECK_ERR(chdir("shut"), EACCES);
	if (atoi(guarded))
		CHECK_ERR(link("roots", "sticky/link"), EPERM);
	else
		CHECK_OK(link("roots", "sticky/link"));
	CHECK_OK(link("sticky/roots", "sticky/open-to-all"));
	/* What is one's own. */
	put_file("sticky/own", "", 0600);
	CHECK_OK(chmod("sticky/own", 0400));
	CHECK_ERR(open("sticky/own", O_WRONLY), EACCES);
	CHECK_ERR(chown("sticky/own", 0, -1), EPERM);
	CHECK_ERR(chown("sticky/own", -1, 0), EPERM);
	CHECK_OK(chown("sticky/own", 65534, 65534));
	CHECK_OK(chmod("sticky/own", 0));
	CHECK_ERR(open("sticky/own", O_RDONLY), EACCES);
	CHECK_ERR(execl("program", "program", NULL), EACCES);
}

static int guard(const char *what)
{
	char path[100], text[20];
	snprintf(path, sizeof path, "/proc/sys/fs/protected_%s", what);
	return atoi(get_file(path, text, sizeof text));
}

static void set_guards(int level)
{
	static const char *const names[] = {"hardlinks", "symlinks", "fifos", "regular"};
	for (int i = 0; i < 4; i++) {
		char path[100], text[20];
		snprintf(path, sizeof path, "/proc/sys/fs/protected_%s", names[i]);
		snprintf(text, sizeof text, "%d\n", level > 1 && i < 2 ? 1 : level);
		int fd = CHECK_OK(open(path, O_WRONLY));
		CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
		CHECK_ERR(write(fd, "9", 1), EINVAL);
		close(fd);
	}
}

/* What root and another user meet in sticky directories, as the present settings say. */
static void meet_the_guards(void)
{
	int links = guard("hardlinks"), symlinks = guard("symlinks"), fifos = guard("fifos"), regular = guard("regular");
	CHECK_OK(chmod(".", 0755));
	CHECK_OK(mkdir("all", 0777));
	CHECK_OK(chmod("all", 01777));
	CHECK_OK(mkdir("group", 0770));
	CHECK_OK(chown("group", 0, 65534));
	CHECK_OK(chmod("group", 01770));
	put_file("target", "text", 0644);
	put_file("setuid", "text", 04777);
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		become_user();
		CHECK_OK(symlink("../target", "all/link"));
		CHECK_OK(symlink("link", "all/second"));
		CHECK_OK(symlink("..", "all/up"));
		CHECK_OK(mkfifo("all/fifo", 0666));
		CHECK_OK(chmod("all/fifo", 0666));
		put_file("all/file", "", 0666);
		put_file("group/file", "", 0666);
		if (links)
			CHECK_ERR(link("setuid", "all/setuid"), EPERM);
		else
			CHECK_OK(link("setuid", "all/setuid"));
		CHECK_OK(open("all/link", O_RDONLY));
		_exit(0);
	}
	CHECK_EXIT(pid, 0);
	for (const char **name = (const char *[]){"all/link", "all/second", "all/link/", NULL}; *name; name++) {
		int slash = strchr(*name, 0)[-1] == '/';
		if (symlinks)
			CHECK_ERR(open(*name, O_RDONLY), EACCES);
		else if (slash)
			CHECK_ERR(open(*name, O_RDONLY), ENOTDIR);
		else
			CHECK_OK(open(*name, O_RDONLY));
	}
	/* In the middle of a path, and when it is only looked at, nothing is checked. */
	struct stat st;
	CHECK_OK(open("all/up/target", O_RDONLY));
	CHECK_OK(lstat("all/link", &st));
	if (symlinks)
		CHECK_ERR(open("all/link", O_CREAT | O_WRONLY, 0600), EACCES);
	if (fifos)
		CHECK_ERR(open("all/fifo", O_CREAT | O_RDWR, 0600), EACCES);
	else
		CHECK_OK(open("all/fifo", O_CREAT | O_RDWR, 0600));
	CHECK_OK(open("all/fifo", O_RDWR));
	if (regular)
		CHECK_ERR(open("all/file", O_CREAT | O_RDWR, 0600), EACCES);
	else
		CHECK_OK(open("all/file", O_CREAT | O_RDWR, 0600));
	if (regular > 1)
		CHECK_ERR(open("group/file", O_CREAT | O_RDWR, 0600), EACCES);
	else
		CHECK_OK(open("group/file", O_CREAT | O_RDWR, 0600));
	CHECK_OK(open("all/file", O_RDWR));
}

TEST(protected_names)
{
	if (geteuid() != 0)
		SKIP("needs root");
	meet_the_guards();
	/* Settings are only changed in a machine of one's own. */
	if (!getenv("UMLAUT_INSIDE"))
		return;
	for (int level = 0; level < 3; level++) {
		char name[20];
		snprintf(name, sizeof name, "level%d", level);
		CHECK_OK(mkdir(name, 0755));
		CHECK_OK(chdir(name));
		set_guards(level);
		meet_the_guards();
		CHECK_OK(chdir(".."));
	}
}

TEST(access_uses_the_real_user)
{
	if (geteuid() != 0)
		SKIP("needs root");
	put_file("roots", "", 0600);
	CHECK_OK(setresuid(65534, 0, 0));
	CHECK_ERR(access("roots", R_OK), EACCES);
	CHECK_OK(faccessat(AT_FDCWD, "roots", R_OK, AT_EACCESS));
	CHECK_ERR(access("roots", 077), EINVAL);
}

TEST(file_systems)
{
	struct statvfs vfs;
	CHECK_OK(statvfs(".", &vfs));
	CHECK(vfs.f_bsize >= 512 && vfs.f_namemax == 255);
	int fd = CHECK_OK(open(".", O_RDONLY));
	CHECK_OK(fstatvfs(fd, &vfs));
	CHECK_ERR(statvfs("missing", &vfs), ENOENT);
	CHECK_EQ(pathconf(".", _PC_NAME_MAX), 255);
	sync();
}

TEST(proc_self_fd)
{
	put_file("f", "text", 0600);
	int fd = CHECK_OK(open("f", O_RDONLY));
	char path[64], target[4096] = "", cwd[4096];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	CHECK_OK(readlink(path, target, sizeof target - 1));
	CHECK(getcwd(cwd, sizeof cwd - 3));
	strcat(cwd, "/f");
	CHECK_STR(target, cwd);
	DIR *dir = opendir("/proc/self/fd");
	CHECK(dir);
	struct dirent *entry;
	int found = 0;
	while ((entry = readdir(dir)))
		found += atoi(entry->d_name) == fd && entry->d_name[0] != '.';
	CHECK_EQ(found, 1);
	int ends[2];
	CHECK_OK(pipe(ends));
	snprintf(path, sizeof path, "/proc/self/fd/%d", ends[0]);
	memset(target, 0, sizeof target);
	CHECK_OK(readlink(path, target, sizeof target - 1));
	CHECK(strncmp(target, "pipe:[", 6) == 0);
	int second = CHECK_OK(open(path, O_RDONLY | O_NONBLOCK));
	CHECK_OK(write(ends[1], "p", 1));
	char c;
	CHECK_EQ(read(second, &c, 1), 1);
	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
	char text[1000];
	CHECK_OK(lseek(fd, 3, SEEK_SET));
	CHECK(strstr(get_file(path, text, sizeof text), "pos:\t3\n") != NULL);
}

TEST(proc_self_status)
{
	static char text[8192];
	get_file("/proc/self/status", text, sizeof text);
	char want[64];
	snprintf(want, sizeof want, "\nPid:\t%d\n", getpid());
	CHECK(strstr(text, want) != NULL);
	snprintf(want, sizeof want, "\nPPid:\t%d\n", getppid());
	CHECK(strstr(text, want) != NULL);
	snprintf(want, sizeof want, "\nUid:\t%d\t%d\t", getuid(), geteuid());
	CHECK(strstr(text, want) != NULL);
	for (const char **key = (const char *[]){"Name:", "State:", "Tgid:", "Gid:", "VmSize:", "VmRSS:", "Threads:",
						 "SigPnd:", "SigBlk:", "SigIgn:", "SigCgt:", NULL};
	     *key; key++)
		CHECK(strstr(text, *key) != NULL);
	int pid, ppid, pgrp, session;
	char comm[64], state;
	get_file("/proc/self/stat", text, sizeof text);
	CHECK_EQ(sscanf(text, "%d (%63[^)]) %c %d %d %d", &pid, comm, &state, &ppid, &pgrp, &session), 6);
	CHECK_EQ(pid, getpid());
	CHECK_EQ(ppid, getppid());
	CHECK_EQ(pgrp, getpgrp());
	CHECK_EQ(session, getsid(0));
	CHECK_EQ(state, 'R');
	int fields = 1;
	for (char *c = strrchr(text, ')'); *c && *c != '\n'; c++)
		fields += *c == ' ';
	CHECK_EQ(fields + 1, 52);
	long size, resident;
	CHECK_EQ(sscanf(get_file("/proc/self/statm", text, sizeof text), "%ld %ld", &size, &resident), 2);
	CHECK(size >= resident && resident > 0);
	char link[64] = "";
	CHECK_OK(readlink("/proc/self", link, sizeof link - 1));
	CHECK_EQ(atoi(link), getpid());
	CHECK_ERR(open("/proc/999999/stat", O_RDONLY), ENOENT);
}

TEST(proc_of_the_system)
{
	static char text[65536];
	double up, idle;
	CHECK_EQ(sscanf(get_file("/proc/uptime", text, sizeof text), "%lf %lf", &up, &idle), 2);
	CHECK(up > 0);
	CHECK(strstr(get_file("/proc/meminfo", text, sizeof text), "MemTotal:") == text);
	CHECK(strstr(text, "MemAvailable:") != NULL);
	CHECK(strstr(get_file("/proc/stat", text, sizeof text), "cpu ") == text);
	CHECK(strstr(text, "btime ") != NULL);
	CHECK(strstr(get_file("/proc/cpuinfo", text, sizeof text), "processor\t: 0") != NULL);
	CHECK(strstr(get_file("/proc/version", text, sizeof text), "Linux version ") == text);
	CHECK(strstr(get_file("/proc/mounts", text, sizeof text), " / ") != NULL);
	CHECK(strstr(get_file("/proc/filesystems", text, sizeof text), "tmpfs") != NULL);
	double a, b, c;
	CHECK_EQ(sscanf(get_file("/proc/loadavg", text, sizeof text), "%lf %lf %lf", &a, &b, &c), 3);
	CHECK(atoi(get_file("/proc/sys/kernel/pid_max", text, sizeof text)) >= 300);
	CHECK(strstr(get_file("/proc/sys/kernel/ostype", text, sizeof text), "Linux\n") == text);
	/* A pseudo file read byte by byte says the same. */
	char whole[64], bytes[64] = "";
	get_file("/proc/sys/kernel/osrelease", whole, sizeof whole);
	int fd = CHECK_OK(open("/proc/sys/kernel/osrelease", O_RDONLY)), n = 0;
	while (n < 63 && read(fd, bytes + n, 1) == 1)
		n++;
	CHECK_STR(bytes, whole);
}

TEST_MAIN
