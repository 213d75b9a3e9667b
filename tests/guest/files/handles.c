/* File handles, and extended attributes relative to a descriptor. */
#include "../test.h"
#include <sys/mount.h>
#include <sys/xattr.h>

struct handle {
	struct file_handle head;
	unsigned char bytes[MAX_HANDLE_SZ];
};

static void begin(void)
{
	if (geteuid() != 0)
		SKIP("needs root");
	if (unshare(CLONE_NEWNS) == 0)
		CHECK_OK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	CHECK_OK(mkdir("t", 0755));
	CHECK_OK(mount("none", "t", "tmpfs", 0, NULL));
	CHECK_OK(chdir("t"));
}

TEST(handles)
{
	begin();
	struct handle h = {.head = {.handle_bytes = 0}};
	int mount_id = -1, top = CHECK_OK(open(".", O_RDONLY | O_DIRECTORY));
	put_file("f", "text", 0644);
	CHECK_ERR(name_to_handle_at(AT_FDCWD, "f", &h.head, &mount_id, 0), EOVERFLOW);
	unsigned size = h.head.handle_bytes;
	CHECK(size > 0 && size <= MAX_HANDLE_SZ && mount_id >= 0);
	CHECK_OK(name_to_handle_at(AT_FDCWD, "f", &h.head, &mount_id, 0));
	CHECK_EQ(h.head.handle_bytes, size);
	CHECK_OK(rename("f", "g"));
	int fd = CHECK_OK(open_by_handle_at(top, &h.head, O_RDONLY));
	char text[10];
	CHECK_EQ(read(fd, text, 10), 4);
	/* The same file has the same handle, another one another. */
	struct handle again = {.head = {.handle_bytes = MAX_HANDLE_SZ}};
	CHECK_OK(name_to_handle_at(fd, "", &again.head, &mount_id, AT_EMPTY_PATH));
	CHECK(again.head.handle_type == h.head.handle_type && memcmp(again.head.f_handle, h.head.f_handle, size) == 0);
	put_file("other", "", 0644);
	again.head.handle_bytes = MAX_HANDLE_SZ;
	CHECK_OK(name_to_handle_at(AT_FDCWD, "other", &again.head, &mount_id, 0));
	CHECK(memcmp(again.head.f_handle, h.head.f_handle, size) != 0);
	CHECK_OK(symlink("g", "l"));
	again.head.handle_bytes = MAX_HANDLE_SZ;
	CHECK_OK(name_to_handle_at(AT_FDCWD, "l", &again.head, &mount_id, AT_SYMLINK_FOLLOW));
	CHECK(memcmp(again.head.f_handle, h.head.f_handle, size) == 0);
	CHECK_OK(mkdir("d", 0700));
	again.head.handle_bytes = MAX_HANDLE_SZ;
	CHECK_OK(name_to_handle_at(AT_FDCWD, "d", &again.head, &mount_id, 0));
	put_file("d/in", "", 0600);
	int dir = CHECK_OK(open_by_handle_at(top, &again.head, O_RDONLY | O_DIRECTORY));
	CHECK_OK(faccessat(dir, "in", F_OK, 0));
	CHECK_OK(faccessat(dir, "../g", F_OK, 0));
	/* What is gone is stale. */
	close(fd);
	CHECK_OK(unlink("g"));
	CHECK_ERR(open_by_handle_at(top, &h.head, O_RDONLY), ESTALE);
	again.head.handle_bytes = MAX_HANDLE_SZ + 1;
	CHECK_ERR(name_to_handle_at(AT_FDCWD, "d", &again.head, &mount_id, 0), EINVAL);
	CHECK_ERR(open_by_handle_at(top, &again.head, O_RDONLY), EINVAL);
	again.head.handle_bytes = 0;
	CHECK_ERR(open_by_handle_at(top, &again.head, O_RDONLY), EINVAL);
	again.head.handle_bytes = size;
	CHECK_ERR(name_to_handle_at(AT_FDCWD, "d", &again.head, &mount_id, 0x8000), EINVAL);
	CHECK_ERR(name_to_handle_at(AT_FDCWD, "none", &again.head, &mount_id, 0), ENOENT);
	CHECK_ERR(name_to_handle_at(AT_FDCWD, "d", NULL, &mount_id, 0), EFAULT);
	CHECK_ERR(open_by_handle_at(999, &again.head, O_RDONLY), EBADF);
	become_user();
	CHECK_ERR(open_by_handle_at(top, &again.head, O_RDONLY), EPERM);
}

struct arguments {
	uint64_t value;
	uint32_t size, flags;
};

TEST(attributes_at)
{
	put_file("f", "", 0644);
	struct arguments a = {(uint64_t)"one", 3, 0};
	long got = syscall(463, AT_FDCWD, "f", 0, "user.a", &a, sizeof a);
	if (got != 0 && (errno == ENOSYS || errno == EOPNOTSUPP))
		SKIP("not in this kernel or file system");
	CHECK_OK(got);
	int fd = CHECK_OK(open("f", O_RDONLY));
	char text[20];
	struct arguments g = {(uint64_t)text, sizeof text, 0};
	CHECK_EQ(syscall(464, AT_FDCWD, "f", 0, "user.a", &g, sizeof g), 3);
	CHECK(memcmp(text, "one", 3) == 0);
	CHECK_EQ(syscall(464, fd, "", AT_EMPTY_PATH, "user.a", &g, sizeof g), 3);
	CHECK_EQ(syscall(465, fd, "", AT_EMPTY_PATH, text, sizeof text), 7);
	a.flags = XATTR_CREATE;
	CHECK_ERR(syscall(463, AT_FDCWD, "f", 0, "user.a", &a, sizeof a), EEXIST);
	CHECK_ERR(syscall(463, AT_FDCWD, "f", 0x8000, "user.a", &a, sizeof a), EINVAL);
	CHECK_ERR(syscall(463, AT_FDCWD, "f", 0, "user.a", &a, sizeof a - 1), EINVAL);
	g.flags = 1;
	CHECK_ERR(syscall(464, AT_FDCWD, "f", 0, "user.a", &g, sizeof g), EINVAL);
	struct {
		struct arguments a;
		uint64_t more;
	} large = {a, 1};
	CHECK_ERR(syscall(463, AT_FDCWD, "f", 0, "user.b", &large, sizeof large), E2BIG);
	CHECK_OK(symlink("f", "l"));
	CHECK_ERR(syscall(466, AT_FDCWD, "l", AT_SYMLINK_NOFOLLOW, "user.a"), EPERM);
	CHECK_OK(syscall(466, AT_FDCWD, "l", 0, "user.a"));
	CHECK_ERR(syscall(466, AT_FDCWD, "f", 0, "user.a"), ENODATA);
}

TEST_MAIN
