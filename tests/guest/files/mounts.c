/* Mounts: bind, move, remount, umount2, pivot_root, chroot, and overlays made by mount(2). */
#include "mounts.h"
#include <dirent.h>
#include <linux/mount.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>

TEST(binding)
{
	alone();
	tmpfs("a", NULL);
	CHECK_OK(mkdir("a/sub", 0755));
	put_file("a/sub/file", "bound", 0644);
	CHECK_OK(mkdir("b", 0755));
	CHECK_OK(mount("a/sub", "b", NULL, MS_BIND, NULL));
	char text[20];
	CHECK_STR(get_file("b/file", text, sizeof text), "bound");
	/* One file on another, and what is written shows on both sides. */
	put_file("c", "covered", 0644);
	CHECK_OK(mount("b/file", "c", NULL, MS_BIND, NULL));
	put_file("c", "new", 0644);
	CHECK_STR(get_file("a/sub/file", text, sizeof text), "new");
	CHECK_ERR(unlink("c"), EBUSY);
	CHECK_ERR(rename("c", "d"), EBUSY);
	CHECK_ERR(rmdir("b"), EBUSY);
	CHECK_ERR(mount("a/sub/file", "b", NULL, MS_BIND, NULL), ENOTDIR);
	CHECK_ERR(mount("a", "c", NULL, MS_BIND, NULL), ENOTDIR);
	CHECK_ERR(mount("nowhere", "b", NULL, MS_BIND, NULL), ENOENT);
	CHECK_ERR(mount(NULL, "b", NULL, MS_BIND, NULL), EINVAL);
	CHECK_ERR(link("a/sub/file", "b/link"), EXDEV);
	CHECK_ERR(rename("a/sub/file", "b/link"), EXDEV);
	CHECK_OK(umount2("c", 0));
	CHECK_STR(get_file("c", text, sizeof text), "covered");
	CHECK_ERR(umount2("c", 0), EINVAL);
	/* Without MS_REC what is mounted below does not come along, with it it does. */
	CHECK_OK(mkdir("a/below", 0755));
	tmpfs("a/below", NULL);
	put_file("a/below/deep", "", 0644);
	CHECK_OK(mkdir("flat", 0755));
	CHECK_OK(mkdir("whole", 0755));
	CHECK_OK(mount("a", "flat", NULL, MS_BIND, NULL));
	CHECK_OK(mount("a", "whole", NULL, MS_BIND | MS_REC, NULL));
	CHECK_ERR(access("flat/below/deep", F_OK), ENOENT);
	CHECK_OK(access("whole/below/deep", F_OK));
	CHECK_ERR(umount2("whole", 0), EBUSY);
	CHECK_OK(umount2("whole", MNT_DETACH));
	CHECK_ERR(access("whole/below", F_OK), ENOENT);
	CHECK_OK(umount2("flat", 0));
}

TEST(moving)
{
	alone();
	tmpfs("top", NULL);
	CHECK_OK(chdir("top"));
	tmpfs("a", NULL);
	put_file("a/file", "x", 0644);
	CHECK_OK(mkdir("a/under", 0755));
	CHECK_OK(mkdir("b", 0755));
	CHECK_OK(mount("a", "b", NULL, MS_MOVE, NULL));
	CHECK_OK(access("b/file", F_OK));
	CHECK_ERR(access("a/file", F_OK), ENOENT);
	CHECK(!info_of("a") && info_of("b"));
	CHECK_ERR(mount("b", "b/under", NULL, MS_MOVE, NULL), ELOOP);
	CHECK_ERR(mount("b/under", "a", NULL, MS_MOVE, NULL), EINVAL);
	put_file("f", "", 0644);
	CHECK_ERR(mount("b", "f", NULL, MS_MOVE, NULL), EINVAL);
}

TEST(flags)
{
	alone();
	mkdir("m", 0755);
	CHECK_OK(mount("label", "m", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=700,size=64k"));
	struct statvfs s;
	CHECK_OK(statvfs("m", &s));
	CHECK_EQ(s.f_flag & (ST_NOSUID | ST_NODEV | ST_NOEXEC | ST_RDONLY), ST_NOSUID | ST_NODEV | ST_NOEXEC);
	CHECK_EQ(s.f_blocks * s.f_frsize, 65536);
	struct stat st;
	CHECK_OK(stat("m", &st));
	CHECK_EQ(st.st_mode, S_IFDIR | 0700);
	char *line = info_of("m");
	CHECK(line && strstr(line, " nosuid,nodev,noexec") == NULL);
	CHECK(strstr(line, "rw,nosuid,nodev,noexec,relatime") && strstr(line, " - tmpfs label "));
	/* No space beyond the size. */
	int fd = CHECK_OK(open("m/full", O_CREAT | O_RDWR, 0600));
	static char block[40000];
	CHECK_EQ(write(fd, block, sizeof block), sizeof block);
	CHECK_EQ(write(fd, block, sizeof block), 65536 - sizeof block);
	CHECK_ERR(write(fd, block, sizeof block), ENOSPC);
	CHECK_OK(ftruncate(fd, 0));
	/* noexec, nodev */
	put_file("m/prog", "#!/bin/sh\nexit 0\n", 0755);
	char *const words[] = {"m/prog", NULL};
	CHECK_ERR(execv("m/prog", words), EACCES);
	CHECK_ERR(access("m/prog", X_OK), EACCES);
	CHECK_ERR(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED ? -1 : 0, EPERM);
	CHECK_OK(mknod("m/null", S_IFCHR | 0666, 1 << 8 | 3));
	CHECK_ERR(open("m/null", O_RDONLY), EACCES);
	/* A remount to read-only while a file is open for writing. */
	CHECK_ERR(mount(NULL, "m", NULL, MS_REMOUNT | MS_RDONLY, NULL), EBUSY);
	close(fd);
	CHECK_OK(mount(NULL, "m", NULL, MS_REMOUNT | MS_RDONLY, NULL));
	CHECK_ERR(open("m/full", O_RDWR), EROFS);
	CHECK_ERR(open("m/new", O_CREAT | O_RDWR, 0600), EROFS);
	CHECK_ERR(mkdir("m/d", 0700), EROFS);
	CHECK_ERR(unlink("m/full"), EROFS);
	CHECK_ERR(chmod("m/full", 0600), EROFS);
	CHECK_ERR(utimensat(AT_FDCWD, "m/full", NULL, 0), EROFS);
	CHECK_ERR(rename("m/full", "m/other"), EROFS);
	CHECK_ERR(truncate("m/full", 1), EROFS);
	CHECK_ERR(access("m/full", W_OK), EROFS);
	CHECK_ERR(symlink("x", "m/link"), EROFS);
	CHECK_OK(mount(NULL, "m", NULL, MS_REMOUNT, "size=128k"));
	CHECK_OK(statvfs("m", &s));
	CHECK_EQ(s.f_blocks * s.f_frsize, 131072);
	CHECK_EQ(s.f_flag & (ST_NOSUID | ST_RDONLY), 0);
	CHECK_ERR(mount(NULL, "m", NULL, MS_REMOUNT, "nonsense=1"), EINVAL);
	/* A bind mount's own read-only flag. */
	mkdir("ro", 0755);
	CHECK_OK(mount("m", "ro", NULL, MS_BIND, NULL));
	CHECK_OK(mount(NULL, "ro", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
	CHECK_ERR(open("ro/new", O_CREAT | O_RDWR, 0600), EROFS);
	CHECK_OK(close(CHECK_OK(open("m/new", O_CREAT | O_RDWR, 0600))));
	CHECK_OK(statvfs("ro", &s));
	CHECK_EQ(s.f_flag & ST_RDONLY, ST_RDONLY);
	CHECK_OK(umount2("ro", 0));
	/* The file system's own: through each of its mounts. */
	CHECK_OK(mount("m", "ro", NULL, MS_BIND, NULL));
	CHECK_OK(mount(NULL, "m", NULL, MS_REMOUNT | MS_RDONLY, NULL));
	CHECK_ERR(open("ro/new", O_RDWR, 0600), EROFS);
	CHECK_OK(statvfs("ro", &s));
	CHECK_EQ(s.f_flag & ST_RDONLY, ST_RDONLY);
	CHECK_OK(mount(NULL, "m", NULL, MS_REMOUNT, NULL));
	CHECK_OK(close(CHECK_OK(open("ro/new", O_RDWR, 0600))));
	mkdir("plain", 0755);
	CHECK_ERR(mount(NULL, "plain", NULL, MS_REMOUNT, NULL), EINVAL);
	CHECK_ERR(mount(NULL, "plain", "nothing", 0, NULL), ENODEV);
	CHECK_ERR(mount(NULL, "plain", NULL, 0, NULL), EINVAL);
	CHECK_ERR(mount(NULL, "nowhere", "tmpfs", 0, NULL), ENOENT);
	CHECK_ERR(mount(NULL, "plain", "tmpfs", 0, "nonsense"), EINVAL);
	/* nosymfollow */
	mkdir("ns", 0755);
	CHECK_OK(mount("none", "ns", "tmpfs", 256, NULL));
	CHECK_OK(symlink("target", "ns/link"));
	put_file("ns/target", "", 0600);
	CHECK_ERR(open("ns/link", O_RDONLY), ELOOP);
	char text[20];
	CHECK_EQ(readlink("ns/link", text, sizeof text), 6);
}

TEST(unmounting)
{
	alone();
	tmpfs("m", NULL);
	int fd = CHECK_OK(open("m/file", O_CREAT | O_RDWR, 0600));
	CHECK_ERR(umount2("m", 0), EBUSY);
	CHECK_OK(mkdir("m/dir", 0700));
	CHECK_OK(symlink("m", "link"));
	CHECK_ERR(umount2("link", UMOUNT_NOFOLLOW), EINVAL);
	CHECK_ERR(umount2("m", 0x1000), EINVAL);
	CHECK_ERR(umount2("m", MNT_EXPIRE | MNT_DETACH), EINVAL);
	/* Lazily: gone from the tree, still there for who has it open. */
	CHECK_OK(umount2("link", MNT_DETACH));
	CHECK_ERR(access("m/file", F_OK), ENOENT);
	CHECK_EQ(write(fd, "still", 5), 5);
	char text[10];
	CHECK_EQ(pread(fd, text, 10, 0), 5);
	close(fd);
	tmpfs("m", NULL);
	/* Marked at first, gone the second time if nobody used it meanwhile. */
	CHECK_ERR(umount2("m", MNT_EXPIRE), EAGAIN);
	CHECK_OK(umount2("m", MNT_EXPIRE));
	CHECK_ERR(umount2("m", 0), EINVAL);
	tmpfs("m", NULL);
	CHECK_ERR(umount2("m", MNT_EXPIRE), EAGAIN);
	CHECK_ERR(access("m/file", F_OK), ENOENT);
	CHECK_ERR(umount2("m", MNT_EXPIRE), EAGAIN);
	/* A working directory keeps it. */
	pid_t pid = fork();
	if (pid == 0) {
		CHECK_OK(chdir("m"));
		pause();
	}
	msleep(100);
	CHECK_ERR(umount2("m", 0), EBUSY);
	kill(pid, SIGKILL);
	CHECK_KILLED(pid, SIGKILL);
	CHECK_OK(umount2("m", 0));
	/* Stacked: the top one goes first. */
	tmpfs("m", NULL);
	put_file("m/lower", "", 0600);
	tmpfs("m", NULL);
	CHECK_ERR(access("m/lower", F_OK), ENOENT);
	CHECK_OK(umount2("m", 0));
	CHECK_OK(access("m/lower", F_OK));
	become_user();
	CHECK_ERR(umount2("m", 0), EPERM);
	CHECK_ERR(mount(NULL, "m", "tmpfs", 0, NULL), EPERM);
}

TEST(changing_root)
{
	alone();
	tmpfs("new", NULL);
	CHECK_OK(mkdir("new/old", 0755));
	CHECK_OK(mkdir("new/sub", 0755));
	put_file("new/mark", "here", 0644);
	CHECK_OK(mkdir("notmount", 0755));
	CHECK_OK(mkdir("notmount/old", 0755));
	CHECK_ERR(syscall(SYS_pivot_root, "notmount", "notmount/old"), EBUSY);
	CHECK_ERR(syscall(SYS_pivot_root, "new", "notmount"), EBUSY);
	CHECK_ERR(syscall(SYS_pivot_root, "new", "new/mark"), ENOTDIR);
	pid_t pid = fork();
	if (pid == 0) {
		CHECK_OK(chroot("new"));
		CHECK_OK(chdir("/sub"));
		char text[PATH_MAX];
		CHECK_STR(getcwd(text, sizeof text), "/sub");
		CHECK_OK(access("/mark", F_OK));
		CHECK_OK(chdir("../../../.."));
		CHECK_STR(getcwd(text, sizeof text), "/");
		CHECK_OK(access("mark", F_OK));
		/* The root does not hold who stands outside. */
		int out = open("/", O_RDONLY);
		CHECK_OK(chroot("/sub"));
		CHECK_OK(fchdir(out));
		CHECK_OK(access("mark", F_OK));
		CHECK(syscall(SYS_getcwd, text, sizeof text) > 0);
		CHECK(strncmp(text, "(unreachable)", 13) == 0);
		become_user();
		CHECK_ERR(chroot("."), EPERM);
		_exit(0);
	}
	CHECK_EXIT(pid, 0);
	CHECK_OK(chroot("."));
	CHECK_ERR(chroot("new/mark"), ENOTDIR);
	CHECK_ERR(chroot("nowhere"), ENOENT);
}

/* Names of a directory, sorted, each with a space behind it. */
static char *names_of(const char *path)
{
	static char text[2000];
	text[0] = 0;
	struct dirent **all;
	int n = CHECK_OK(scandir(path, &all, NULL, alphasort));
	for (int i = 0; i < n; i++)
		if (all[i]->d_name[0] != '.') {
			strcat(text, all[i]->d_name);
			strcat(text, " ");
		}
	return text;
}

TEST(overlays)
{
	alone();
	tmpfs("t", NULL);
	CHECK_OK(chdir("t"));
	static const char *const dirs[] = {"low1", "low2", "up", "work", "all", "low1/both", "low2/both", "low2/gone", "low2/away"};
	for (unsigned i = 0; i < sizeof dirs / sizeof dirs[0]; i++)
		CHECK_OK(mkdir(dirs[i], 0755));
	put_file("low1/one", "1", 0644);
	put_file("low2/one", "2", 0644);
	put_file("low2/two", "two", 0640);
	put_file("low1/both/a", "", 0644);
	put_file("low2/both/b", "", 0644);
	put_file("low2/gone/x", "", 0644);
	put_file("low2/away/y", "", 0644);
	CHECK_OK(mount("overlay", "all", "overlay", 0, "lowerdir=low1:low2,upperdir=up,workdir=work"));
	struct statfs fs;
	CHECK_OK(statfs("all", &fs));
	CHECK_EQ(fs.f_type, 0x794c7630);
	char text[20];
	CHECK_STR(names_of("all"), "away both gone one two ");
	CHECK_STR(names_of("all/both"), "a b ");
	CHECK_STR(get_file("all/one", text, sizeof text), "1");
	/* A change is made above. */
	int fd = CHECK_OK(open("all/two", O_WRONLY | O_APPEND));
	CHECK_EQ(write(fd, "+", 1), 1);
	close(fd);
	CHECK_STR(get_file("all/two", text, sizeof text), "two+");
	CHECK_STR(get_file("low2/two", text, sizeof text), "two");
	CHECK_STR(get_file("up/two", text, sizeof text), "two+");
	struct stat st;
	CHECK_OK(stat("up/two", &st));
	CHECK_EQ(st.st_mode & 07777, 0640);
	/* A removal leaves a whiteout, a removed and remade directory hides what is below. */
	CHECK_OK(unlink("all/one"));
	CHECK_OK(lstat("up/one", &st));
	CHECK(S_ISCHR(st.st_mode) && st.st_rdev == 0);
	CHECK_ERR(rmdir("all/gone"), ENOTEMPTY);
	CHECK_OK(unlink("all/gone/x"));
	CHECK_OK(rmdir("all/gone"));
	CHECK_STR(names_of("all"), "away both two ");
	CHECK_OK(mkdir("all/gone", 0755));
	CHECK_STR(names_of("all/gone"), "");
	put_file("all/both/c", "", 0644);
	CHECK_STR(names_of("all/both"), "a b c ");
	CHECK_STR(names_of("up/both"), "c ");
	/* Files and their names move; directories of below at least with mv(1)'s way out. */
	CHECK_OK(rename("all/two", "all/three"));
	CHECK(rename("all/away", "all/moved") == 0 || errno == EXDEV);
	CHECK_OK(link("all/three", "all/four"));
	CHECK_OK(stat("all/four", &st));
	CHECK_EQ(st.st_nlink, 2);
	CHECK_OK(umount2("all", 0));
	/* Mounted again it looks the same. */
	CHECK_OK(mount("overlay", "all", "overlay", 0, "lowerdir=low1:low2,upperdir=up,workdir=work"));
	CHECK_ERR(access("all/one", F_OK), ENOENT);
	CHECK_ERR(access("all/two", F_OK), ENOENT);
	CHECK_STR(get_file("all/four", text, sizeof text), "two+");
	CHECK_STR(names_of("all/gone"), "");
	CHECK_STR(names_of("all/both"), "a b c ");
	CHECK_OK(umount2("all", 0));
	/* Without an upper directory nothing can be changed. */
	CHECK_OK(mount("overlay", "all", "overlay", 0, "lowerdir=low1:low2"));
	CHECK_ERR(open("all/new", O_CREAT | O_WRONLY, 0600), EROFS);
	CHECK_ERR(unlink("all/one"), EROFS);
	CHECK_STR(get_file("all/one", text, sizeof text), "1");
	CHECK_OK(umount2("all", 0));
	CHECK_ERR(mount("overlay", "all", "overlay", 0, "upperdir=up,workdir=work"), EINVAL);
	CHECK_ERR(mount("overlay", "all", "overlay", 0, "lowerdir=low1,upperdir=up"), EINVAL);
	CHECK_ERR(mount("overlay", "all", "overlay", 0, "lowerdir=nowhere,upperdir=up,workdir=work"), ENOENT);
	CHECK_ERR(mount("overlay", "all", "overlay", 0, "lowerdir=low1,upperdir=up,workdir=work,nonsense"), EINVAL);
}

TEST(pivoting)
{
	alone();
	/* Without namespaces the machine's own root moves: this is the last test. */
	tmpfs("new", NULL);
	CHECK_OK(mkdir("new/old", 0755));
	put_file("new/mark", "here", 0644);
	char here[PATH_MAX], there[PATH_MAX + 10];
	CHECK(getcwd(here, sizeof here));
	CHECK_OK(syscall(SYS_pivot_root, "new", "new/old"));
	CHECK_OK(access("/mark", F_OK));
	snprintf(there, sizeof there, "/old%s", here);
	CHECK_OK(access(there, F_OK));
	CHECK_OK(chdir("/"));
	CHECK_OK(umount2("/old", MNT_DETACH));
	CHECK_ERR(access(there, F_OK), ENOENT);
}

TEST_MAIN
