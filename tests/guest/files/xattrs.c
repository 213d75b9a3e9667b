/* Extended attributes: namespaces, flags, sizes, who may. */
#include "../test.h"
#include <sys/mount.h>
#include <sys/xattr.h>

TEST(values)
{
	char text[100];
	put_file("f", "", 0644);
	if (setxattr("f", "user.a", "one", 3, 0) != 0 && errno == EOPNOTSUPP)
		SKIP("no attributes in this file system");
	CHECK_EQ(getxattr("f", "user.a", text, sizeof text), 3);
	CHECK(memcmp(text, "one", 3) == 0);
	CHECK_EQ(getxattr("f", "user.a", NULL, 0), 3);
	CHECK_ERR(getxattr("f", "user.a", text, 2), ERANGE);
	CHECK_ERR(getxattr("f", "user.none", text, sizeof text), ENODATA);
	CHECK_ERR(setxattr("f", "user.a", "two", 3, XATTR_CREATE), EEXIST);
	CHECK_ERR(setxattr("f", "user.b", "two", 3, XATTR_REPLACE), ENODATA);
	CHECK_OK(setxattr("f", "user.a", "replaced", 8, XATTR_REPLACE));
	CHECK_OK(setxattr("f", "user.b", "", 0, XATTR_CREATE));
	CHECK_EQ(getxattr("f", "user.b", text, sizeof text), 0);
	CHECK_ERR(setxattr("f", "user.c", "x", 1, 4), EINVAL);
	CHECK_ERR(setxattr("f", "user.", "x", 1, 0), EINVAL);
	CHECK_ERR(setxattr("f", "", "x", 1, 0), ERANGE);
	CHECK_ERR(setxattr("f", "nothing.a", "x", 1, 0), EOPNOTSUPP);
	CHECK_ERR(setxattr("f", "plain", "x", 1, 0), EOPNOTSUPP);
	char name[300] = "user.";
	memset(name + 5, 'n', 251);
	CHECK_ERR(setxattr("f", name, "x", 1, 0), ERANGE);
	name[255] = 0;
	CHECK_OK(setxattr("f", name, "x", 1, 0));
	CHECK_OK(removexattr("f", name));
	static char big[70000];
	CHECK_ERR(setxattr("f", "user.big", big, 65537, 0), E2BIG);
	CHECK_ERR(setxattr("f", "user.big", (void *)1, 10, 0), EFAULT);
	ssize_t n = CHECK_OK(listxattr("f", NULL, 0));
	CHECK_EQ(listxattr("f", text, sizeof text), n);
	CHECK(memmem(text, n, "user.a", 7) && memmem(text, n, "user.b", 7));
	CHECK_ERR(listxattr("f", text, 3), ERANGE);
	CHECK_OK(removexattr("f", "user.a"));
	CHECK_ERR(removexattr("f", "user.a"), ENODATA);
	int fd = CHECK_OK(open("f", O_RDONLY));
	CHECK_OK(fsetxattr(fd, "user.fd", "f", 1, 0));
	CHECK_EQ(fgetxattr(fd, "user.fd", text, sizeof text), 1);
	CHECK_OK(flistxattr(fd, text, sizeof text));
	CHECK_OK(fremovexattr(fd, "user.fd"));
	CHECK_ERR(fgetxattr(CHECK_OK(open("f", O_PATH)), "user.b", text, sizeof text), EBADF);
	CHECK_ERR(getxattr("none", "user.a", text, sizeof text), ENOENT);
	/* They come along with a rename and a hard link. */
	CHECK_OK(rename("f", "g"));
	CHECK_OK(link("g", "h"));
	CHECK_EQ(getxattr("h", "user.b", text, sizeof text), 0);
}

TEST(kinds_of_files)
{
	char text[20];
	CHECK_OK(mkdir("d", 0755));
	if (setxattr("d", "user.a", "dir", 3, 0) != 0 && errno == EOPNOTSUPP)
		SKIP("no attributes in this file system");
	CHECK_OK(symlink("d", "l"));
	CHECK_EQ(getxattr("l", "user.a", text, sizeof text), 3);
	CHECK_ERR(lsetxattr("l", "user.a", "x", 1, 0), EPERM);
	CHECK_ERR(lgetxattr("l", "user.a", text, sizeof text), ENODATA);
	CHECK_OK(mkfifo("p", 0600));
	CHECK_ERR(setxattr("p", "user.a", "x", 1, 0), EPERM);
	/* A sticky directory's are its owner's. */
	if (geteuid() != 0)
		return;
	CHECK_OK(setxattr("d", "trusted.a", "t", 1, 0));
	CHECK_OK(lsetxattr("l", "trusted.a", "t", 1, 0));
	CHECK_EQ(getxattr("d", "trusted.a", text, sizeof text), 1);
	put_file("f", "", 0666);
	CHECK_OK(setxattr("f", "security.mark", "s", 1, 0));
	CHECK_OK(chmod("d", 01777));
	CHECK_OK(setxattr("d", "user.a", "dir", 3, 0));
	become_user();
	CHECK_ERR(setxattr("d", "user.a", "x", 1, 0), EPERM);
	CHECK_ERR(getxattr("d", "trusted.a", text, sizeof text), ENODATA);
	CHECK_ERR(setxattr("f", "trusted.a", "x", 1, 0), EPERM);
	ssize_t n = CHECK_OK(listxattr("d", text, sizeof text));
	CHECK(!memmem(text, n, "trusted", 7));
	CHECK_OK(setxattr("f", "user.mine", "x", 1, 0));
	CHECK_EQ(getxattr("f", "security.mark", text, sizeof text), 1);
	CHECK_ERR(setxattr("f", "security.mark", "x", 1, 0), EPERM);
}

TEST(permissions)
{
	char text[20];
	put_file("f", "", 0600);
	if (setxattr("f", "user.a", "one", 3, 0) != 0 && errno == EOPNOTSUPP)
		SKIP("no attributes in this file system");
	CHECK_OK(chmod("f", 0));
	if (geteuid() == 0) {
		CHECK_OK(chown("f", 1, 1));
		become_user();
	}
	CHECK_ERR(getxattr("f", "user.a", text, sizeof text), EACCES);
	CHECK_ERR(setxattr("f", "user.a", "x", 1, 0), EACCES);
	CHECK_ERR(removexattr("f", "user.a"), EACCES);
	CHECK(listxattr("f", text, sizeof text) >= 7);
}

/* A file capability gives way to a write, as the set-user-ID bit does. */
TEST(capabilities_of_files)
{
	if (geteuid() != 0)
		SKIP("needs root");
	put_file("f", "x", 0755);
	static const unsigned char cap[20] = {1, 0, 0, 2, 0, 4};
	char text[30];
	CHECK_OK(setxattr("f", "security.capability", cap, sizeof cap, 0));
	CHECK_EQ(getxattr("f", "security.capability", text, sizeof text), 20);
	int fd = CHECK_OK(open("f", O_WRONLY));
	CHECK_EQ(write(fd, "y", 1), 1);
	CHECK_ERR(getxattr("f", "security.capability", text, sizeof text), ENODATA);
	CHECK_OK(setxattr("f", "security.capability", cap, sizeof cap, 0));
	CHECK_OK(chown("f", 1, 1));
	CHECK_ERR(getxattr("f", "security.capability", text, sizeof text), ENODATA);
	CHECK_OK(setxattr("f", "security.capability", cap, sizeof cap, 0));
	CHECK_OK(truncate("f", 0));
	CHECK_ERR(getxattr("f", "security.capability", text, sizeof text), ENODATA);
	CHECK_ERR(setxattr("f", "security.capability", "bad", 3, 0), EINVAL);
}

TEST_MAIN
