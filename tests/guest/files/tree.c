/* Names: links, rename, unlink, directories, symbolic links, the *at calls. */
#include "../test.h"
#include <dirent.h>
#include <sys/syscall.h>

TEST(hard_links)
{
	put_file("a", "text", 0600);
	CHECK_OK(link("a", "b"));
	struct stat a, b;
	CHECK_OK(stat("a", &a));
	CHECK_OK(stat("b", &b));
	CHECK_EQ(a.st_ino, b.st_ino);
	CHECK_EQ(a.st_nlink, 2);
	CHECK_ERR(link("a", "b"), EEXIST);
	CHECK_ERR(link("missing", "c"), ENOENT);
	CHECK_ERR(link(".", "c"), EPERM);
	put_file("b", "other", 0600);
	char text[20];
	CHECK_STR(get_file("a", text, sizeof text), "other");
	CHECK_OK(unlink("a"));
	CHECK_STR(get_file("b", text, sizeof text), "other");
	CHECK_OK(stat("b", &b));
	CHECK_EQ(b.st_nlink, 1);
	CHECK_OK(symlink("b", "s"));
	CHECK_OK(link("s", "hard-s"));
	CHECK_OK(lstat("hard-s", &a));
	CHECK(S_ISLNK(a.st_mode));
	CHECK_OK(linkat(AT_FDCWD, "s", AT_FDCWD, "hard-b", AT_SYMLINK_FOLLOW));
	CHECK_OK(lstat("hard-b", &a));
	CHECK(S_ISREG(a.st_mode) && a.st_ino == b.st_ino);
}

TEST(unlinked_but_open)
{
	int fd = CHECK_OK(open("f", O_RDWR | O_CREAT, 0600));
	CHECK_EQ(write(fd, "still", 5), 5);
	CHECK_OK(unlink("f"));
	CHECK_ERR(open("f", O_RDONLY), ENOENT);
	struct stat st;
	CHECK_OK(fstat(fd, &st));
	CHECK_EQ(st.st_nlink, 0);
	CHECK_EQ(write(fd, "more", 4), 4);
	char text[10] = "";
	CHECK_EQ(pread(fd, text, 9, 0), 9);
	CHECK_STR(text, "stillmore");
	char path[64], target[4096] = "";
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	CHECK_OK(readlink(path, target, sizeof target - 1));
	CHECK(strlen(target) > 12 && strcmp(target + strlen(target) - 12, "/f (deleted)") == 0);
	int again = CHECK_OK(open(path, O_RDONLY));
	CHECK_EQ(read(again, text, 9), 9);
	put_file("f", "new", 0600);
	CHECK_EQ(pread(fd, text, 9, 0), 9);
	CHECK_ERR(unlink("missing"), ENOENT);
	CHECK_ERR(unlink("."), EISDIR);
	CHECK_ERR(unlink("f/"), ENOTDIR);
}

TEST(renaming)
{
	put_file("a", "A", 0600);
	put_file("b", "B", 0600);
	int b = CHECK_OK(open("b", O_RDONLY));
	CHECK_OK(rename("a", "b"));
	CHECK_ERR(access("a", F_OK), ENOENT);
	char text[20];
	CHECK_STR(get_file("b", text, sizeof text), "A");
	CHECK_EQ(read(b, text, 1), 1);
	CHECK_EQ(text[0], 'B');
	CHECK_OK(rename("b", "b"));
	CHECK_OK(mkdir("d", 0700));
	CHECK_OK(mkdir("d/e", 0700));
	CHECK_OK(mkdir("empty", 0700));
	CHECK_ERR(rename("b", "d"), EISDIR);
	CHECK_ERR(rename("d", "b"), ENOTDIR);
	CHECK_ERR(rename("d", "d/e/f"), EINVAL);
	CHECK_ERR(rename("empty", "d"), ENOTEMPTY);
	CHECK_OK(rename("d/e", "empty"));
	CHECK_OK(rename("empty", "d/moved"));
	CHECK_ERR(rename("missing", "x"), ENOENT);
	CHECK_ERR(rename("b", "missing/x"), ENOENT);
	CHECK_ERR(rename("d", "."), EBUSY);
	CHECK_ERR(rename("d/.", "x"), EBUSY);
	CHECK_OK(link("b", "b2"));
	CHECK_OK(rename("b", "b2"));
	CHECK_OK(access("b", F_OK));
	put_file("c", "C", 0600);
	CHECK_ERR(syscall(SYS_renameat2, AT_FDCWD, "c", AT_FDCWD, "b", RENAME_NOREPLACE), EEXIST);
	CHECK_OK(syscall(SYS_renameat2, AT_FDCWD, "c", AT_FDCWD, "d", RENAME_EXCHANGE));
	struct stat st;
	CHECK_OK(stat("c", &st));
	CHECK(S_ISDIR(st.st_mode));
	CHECK_OK(stat("d", &st));
	CHECK(S_ISREG(st.st_mode));
	CHECK_OK(access("c/moved", F_OK));
	CHECK_ERR(syscall(SYS_renameat2, AT_FDCWD, "c", AT_FDCWD, "b", 0x80), EINVAL);
	CHECK_ERR(syscall(SYS_renameat2, AT_FDCWD, "c", AT_FDCWD, "b", RENAME_EXCHANGE | RENAME_NOREPLACE), EINVAL);
}

TEST(renamed_directory_moves_its_world)
{
	CHECK_OK(mkdir("a", 0700));
	CHECK_OK(mkdir("a/b", 0700));
	put_file("a/b/f", "x", 0600);
	CHECK_OK(chdir("a/b"));
	CHECK_OK(rename("../../a", "../../z"));
	char cwd[4096];
	CHECK(getcwd(cwd, sizeof cwd));
	CHECK(strcmp(cwd + strlen(cwd) - 4, "/z/b") == 0);
	CHECK_OK(access("f", F_OK));
	CHECK_OK(access("../../z/b/f", F_OK));
	CHECK_ERR(access("../../a", F_OK), ENOENT);
}

TEST(directories)
{
	mode_t mask = umask(022);
	CHECK_OK(mkdir("d", 0777));
	struct stat st;
	CHECK_OK(stat("d", &st));
	CHECK_EQ(st.st_mode, S_IFDIR | 0755);
	CHECK_EQ(umask(mask), 022);
	CHECK_ERR(mkdir("d", 0700), EEXIST);
	CHECK_ERR(mkdir("x/y", 0700), ENOENT);
	CHECK_ERR(mkdir(".", 0700), EEXIST);
	CHECK_OK(mkdir("trailing/", 0700));
	put_file("d/f", "", 0600);
	CHECK_ERR(rmdir("d"), ENOTEMPTY);
	CHECK_ERR(rmdir("d/f"), ENOTDIR);
	CHECK_ERR(rmdir("."), EINVAL);
	CHECK_ERR(rmdir("d/.."), ENOTEMPTY);
	CHECK_ERR(rmdir("missing"), ENOENT);
	CHECK_OK(unlink("d/f"));
	CHECK_OK(rmdir("d"));
	/* A removed directory that is still somebody's. */
	CHECK_OK(mkdir("gone", 0700));
	CHECK_OK(chdir("gone"));
	CHECK_OK(rmdir("../gone"));
	char cwd[4096];
	CHECK(getcwd(cwd, sizeof cwd) == NULL && errno == ENOENT);
	CHECK_ERR(open("f", O_CREAT | O_WRONLY, 0600), ENOENT);
	CHECK_ERR(mkdir("sub", 0700), ENOENT);
	DIR *dir = opendir(".");
	CHECK(dir && readdir(dir) == NULL);
}

TEST(reading_a_thousand_names)
{
	enum { N = 1000 };
	static char seen[N];
	char name[80];
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof name, "file-number-%04d-%.*s", i, i % 40, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
		close(CHECK_OK(open(name, O_CREAT | O_WRONLY, 0600)));
	}
	DIR *dir = opendir(".");
	CHECK(dir);
	struct dirent *entry;
	int dots = 0, count = 0;
	/* Every other name is deleted as it is read; nothing is seen twice or missed. */
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.') {
			CHECK(strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0);
			CHECK(entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN);
			dots++;
			continue;
		}
		CHECK(entry->d_type == DT_REG || entry->d_type == DT_UNKNOWN);
		CHECK(entry->d_ino != 0);
		int number = atoi(entry->d_name + 12);
		CHECK(number >= 0 && number < N && !seen[number]);
		seen[number] = 1;
		if (number % 2)
			CHECK_OK(unlink(entry->d_name));
		count++;
	}
	CHECK_EQ(dots, 2);
	CHECK_EQ(count, N);
	rewinddir(dir);
	count = 0;
	while ((entry = readdir(dir)))
		count += entry->d_name[0] != '.';
	CHECK_EQ(count, N / 2);
	/* telldir and seekdir come back to the same place. */
	rewinddir(dir);
	for (int i = 0; i < 100; i++)
		readdir(dir);
	long where = telldir(dir);
	entry = readdir(dir);
	CHECK(entry);
	strcpy(name, entry->d_name);
	for (int i = 0; i < 50; i++)
		readdir(dir);
	seekdir(dir, where);
	entry = readdir(dir);
	CHECK(entry);
	CHECK_STR(entry->d_name, name);
	closedir(dir);
	char small[8];
	int fd = CHECK_OK(open(".", O_RDONLY));
	CHECK_ERR(syscall(SYS_getdents64, fd, small, sizeof small), EINVAL);
	int file = CHECK_OK(open("file-number-0000-", O_RDONLY));
	CHECK_ERR(syscall(SYS_getdents64, file, name, sizeof name), ENOTDIR);
	CHECK_ERR(read(fd, name, 1), EISDIR);
}

TEST(symbolic_links)
{
	CHECK_OK(symlink("target/of\nany kind", "s"));
	char text[300];
	CHECK_EQ(readlink("s", text, sizeof text), 18);
	CHECK(memcmp(text, "target/of\nany kind", 18) == 0);
	CHECK_EQ(readlink("s", text, 5), 5);
	CHECK_ERR(readlink("s", text, 0), EINVAL);
	struct stat st;
	CHECK_OK(lstat("s", &st));
	CHECK(S_ISLNK(st.st_mode) && st.st_size == 18 && (st.st_mode & 0777) == 0777);
	CHECK_ERR(stat("s", &st), ENOENT);
	CHECK_ERR(symlink("x", "s"), EEXIST);
	CHECK_ERR(symlink("", "empty"), ENOENT);
	CHECK_ERR(readlink(".", text, sizeof text), EINVAL);
	CHECK_ERR(readlink("missing", text, sizeof text), ENOENT);
	CHECK_OK(symlink("loop2", "loop1"));
	CHECK_OK(symlink("loop1", "loop2"));
	CHECK_ERR(open("loop1", O_RDONLY), ELOOP);
	CHECK_ERR(stat("loop1/x", &st), ELOOP);
	CHECK_OK(mkdir("d", 0700));
	put_file("d/f", "deep", 0600);
	CHECK_OK(symlink("d", "l0"));
	for (int i = 1; i <= 40; i++) {
		char from[20], to[20];
		snprintf(from, sizeof from, "l%d", i - 1);
		snprintf(to, sizeof to, "l%d", i);
		CHECK_OK(symlink(from, to));
	}
	CHECK_OK(stat("l39/f", &st));
	CHECK_ERR(stat("l40/f", &st), ELOOP);
	CHECK_OK(symlink("d/../d/./f", "crooked"));
	CHECK_STR(get_file("crooked", text, sizeof text), "deep");
	CHECK_OK(lstat("l0/", &st));
	CHECK(S_ISDIR(st.st_mode));
	CHECK_ERR(unlink("l0/"), ENOTDIR);
	CHECK_ERR(rmdir("l0"), ENOTDIR);
	CHECK_OK(unlink("l0"));
	CHECK_OK(access("d/f", F_OK));
}

TEST(long_names)
{
	char name[300];
	memset(name, 'n', sizeof name);
	name[255] = 0;
	close(CHECK_OK(open(name, O_CREAT | O_WRONLY, 0600)));
	CHECK_OK(access(name, F_OK));
	name[255] = 'n';
	name[256] = 0;
	CHECK_ERR(open(name, O_CREAT | O_WRONLY, 0600), ENAMETOOLONG);
	CHECK_ERR(mkdir(name, 0700), ENAMETOOLONG);
	static char path[5000];
	for (int i = 0; i < 4094; i += 2)
		memcpy(path + i, "./", 2);
	path[4094] = '.';
	path[4095] = 0;
	CHECK_OK(access(path, F_OK));
	path[4095] = '/';
	path[4096] = 0;
	CHECK_ERR(access(path, F_OK), ENAMETOOLONG);
	/* A tree deeper than any path. */
	memset(name, 'd', 200);
	name[200] = 0;
	for (int i = 0; i < 30; i++) {
		CHECK_OK(mkdir(name, 0700));
		CHECK_OK(chdir(name));
	}
	char cwd[4096];
	CHECK_ERR(syscall(SYS_getcwd, cwd, sizeof cwd), ENAMETOOLONG);
	for (int i = 0; i < 30; i++) {
		CHECK_OK(chdir(".."));
		CHECK_OK(rmdir(name));
	}
}

TEST(working_directory)
{
	char cwd[4096], again[4096];
	CHECK(getcwd(cwd, sizeof cwd));
	CHECK_OK(mkdir("d", 0700));
	int here = CHECK_OK(open(".", O_RDONLY | O_DIRECTORY));
	CHECK_OK(chdir("d"));
	CHECK(getcwd(again, sizeof again));
	CHECK_ERR(syscall(SYS_getcwd, again, 5), ERANGE);
	CHECK(strncmp(again, cwd, strlen(cwd)) == 0);
	CHECK_STR(again + strlen(cwd), "/d");
	CHECK_OK(fchdir(here));
	CHECK_STR(getcwd(again, sizeof again), cwd);
	put_file("f", "", 0600);
	CHECK_ERR(chdir("f"), ENOTDIR);
	CHECK_ERR(chdir("missing"), ENOENT);
	CHECK_ERR(fchdir(999), EBADF);
	int file = CHECK_OK(open("f", O_RDONLY));
	CHECK_ERR(fchdir(file), ENOTDIR);
	char link[4096] = "";
	CHECK_OK(readlink("/proc/self/cwd", link, sizeof link - 1));
	CHECK_STR(link, cwd);
	CHECK_OK(chdir("/"));
	CHECK_STR(getcwd(again, sizeof again), "/");
	CHECK_OK(chdir("/../.."));
	CHECK_STR(getcwd(again, sizeof again), "/");
}

TEST(relative_to_a_descriptor)
{
	CHECK_OK(mkdir("d", 0700));
	int d = CHECK_OK(open("d", O_RDONLY | O_DIRECTORY)), p = CHECK_OK(open("d", O_PATH));
	int fd = CHECK_OK(openat(d, "f", O_CREAT | O_RDWR, 0600));
	CHECK_OK(access("d/f", F_OK));
	CHECK_OK(faccessat(p, "f", R_OK, 0));
	CHECK_OK(mkdirat(p, "sub", 0700));
	CHECK_OK(symlinkat("f", d, "s"));
	char text[100] = "";
	CHECK_EQ(readlinkat(d, "s", text, sizeof text), 1);
	CHECK_OK(renameat(d, "f", p, "g"));
	CHECK_OK(linkat(d, "g", AT_FDCWD, "outside", 0));
	struct stat st;
	CHECK_OK(fstatat(d, "g", &st, 0));
	CHECK_EQ(st.st_nlink, 2);
	CHECK_OK(fstatat(d, "s", &st, AT_SYMLINK_NOFOLLOW));
	CHECK(S_ISLNK(st.st_mode));
	CHECK_OK(fstatat(d, "", &st, AT_EMPTY_PATH));
	CHECK(S_ISDIR(st.st_mode));
	CHECK_ERR(fstatat(d, "", &st, 0), ENOENT);
	CHECK_ERR(fstatat(d, "g", &st, 0x40000), EINVAL);
	CHECK_ERR(unlinkat(d, "sub", 0), EISDIR);
	CHECK_OK(unlinkat(d, "sub", AT_REMOVEDIR));
	CHECK_ERR(unlinkat(d, "g", AT_REMOVEDIR), ENOTDIR);
	CHECK_ERR(unlinkat(d, "g", 1), EINVAL);
	CHECK_OK(unlinkat(d, "g", 0));
	CHECK_ERR(openat(fd, "x", O_RDONLY), ENOTDIR);
	CHECK_ERR(openat(999, "x", O_RDONLY), EBADF);
	CHECK_OK(openat(999, "/dev/null", O_RDONLY));
	CHECK_OK(fchownat(d, "", -1, -1, AT_EMPTY_PATH));
}

TEST(special_files)
{
	CHECK_OK(mkfifo("fifo", 0600));
	struct stat st;
	CHECK_OK(stat("fifo", &st));
	CHECK(S_ISFIFO(st.st_mode));
	CHECK_ERR(open("fifo", O_WRONLY | O_NONBLOCK), ENXIO);
	int rd = CHECK_OK(open("fifo", O_RDONLY | O_NONBLOCK)), wr = CHECK_OK(open("fifo", O_WRONLY));
	CHECK_EQ(write(wr, "x", 1), 1);
	char c;
	CHECK_EQ(read(rd, &c, 1), 1);
	CHECK_ERR(read(rd, &c, 1), EAGAIN);
	close(wr);
	CHECK_EQ(read(rd, &c, 1), 0);
	close(rd);
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		int fd = open("fifo", O_WRONLY);
		CHECK_EQ(write(fd, "blocking", 8), 8);
		_exit(0);
	}
	char text[20] = "";
	rd = CHECK_OK(open("fifo", O_RDONLY));
	CHECK_EQ(read(rd, text, 20), 8);
	CHECK_EQ(read(rd, text + 8, 12), 0);
	CHECK_EXIT(pid, 0);
	CHECK_OK(mknod("plain", S_IFREG | 0600, 0));
	CHECK_OK(mknod("socket", S_IFSOCK | 0600, 0));
	CHECK_ERR(open("socket", O_RDONLY), ENXIO);
	CHECK_ERR(mknod("d", S_IFDIR | 0700, 0), EPERM);
	CHECK_ERR(mknod("x", 0170000 | 0700, 0), EINVAL);
	become_user();
	CHECK_ERR(mknod("null", S_IFCHR | 0600, 0x103), EPERM);
}

TEST(deep_and_wide)
{
	/* A tree of several thousand names, made, walked and removed. */
	char path[100];
	for (int a = 0; a < 12; a++) {
		snprintf(path, sizeof path, "d%d", a);
		CHECK_OK(mkdir(path, 0700));
		for (int b = 0; b < 12; b++) {
			snprintf(path, sizeof path, "d%d/e%d", a, b);
			CHECK_OK(mkdir(path, 0700));
			for (int c = 0; c < 12; c++) {
				snprintf(path, sizeof path, "d%d/e%d/f%d", a, b, c);
				put_file(path, path, 0600);
			}
		}
	}
	struct stat st;
	CHECK_OK(stat("d0", &st));
	char text[100];
	for (int a = 11; a >= 0; a--) {
		for (int b = 11; b >= 0; b--) {
			for (int c = 11; c >= 0; c--) {
				snprintf(path, sizeof path, "d%d/e%d/f%d", a, b, c);
				CHECK_STR(get_file(path, text, sizeof text), path);
				CHECK_OK(unlink(path));
			}
			snprintf(path, sizeof path, "d%d/e%d", a, b);
			CHECK_OK(rmdir(path));
		}
		snprintf(path, sizeof path, "d%d", a);
		CHECK_OK(rmdir(path));
	}
}

TEST_MAIN
