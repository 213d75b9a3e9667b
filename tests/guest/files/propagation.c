/* Shared, slave, private and unbindable mounts (mount_namespaces(7)). */
#include "mounts.h"

TEST(kinds_are_chosen)
{
	alone();
	tmpfs("m", NULL);
	mkdir("m/plain", 0755);
	static const unsigned long kinds[] = {MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE, MS_PRIVATE};
	for (int i = 0; i < 5; i++) {
		CHECK_OK(mount(NULL, "m", NULL, kinds[i], NULL));
		CHECK_OK(mount(NULL, "m", NULL, kinds[i] | MS_REC, NULL));
		if (kinds[i] == MS_UNBINDABLE) {
			mkdir("b", 0755);
			CHECK_ERR(mount("m", "b", NULL, MS_BIND, NULL), EINVAL);
			char *line = info_of("m");
			CHECK(line && strstr(line, "unbindable"));
		}
	}
	CHECK_ERR(mount(NULL, "m", NULL, MS_SHARED | MS_PRIVATE, NULL), EINVAL);
	CHECK_ERR(mount(NULL, "m", NULL, MS_SHARED | MS_NOEXEC, NULL), EINVAL);
	CHECK_ERR(mount(NULL, "m/plain", NULL, MS_PRIVATE, NULL), EINVAL);
}

/* A number of mountinfo's optional fields, such as "shared"; 0 if it is not there. */
static int field(const char *at, const char *name)
{
	char *line = info_of(at), wanted[40];
	CHECK(line != NULL);
	snprintf(wanted, sizeof wanted, " %s:", name);
	char *found = strstr(line, wanted);
	char *end = strstr(line, " - ");
	return found && found < end ? atoi(found + strlen(wanted)) : 0;
}

static void make(const char *at, unsigned long kind)
{
	CHECK_OK(mount(NULL, at, NULL, kind, NULL));
}

/* `a` is a shared tmpfs with the directories `x`, `y` and `deep/x`. */
static void shared_a(void)
{
	alone();
	/* Below a mount of the test's own, so that its parents are private. */
	tmpfs("top", NULL);
	CHECK_OK(chdir("top"));
	tmpfs("a", NULL);
	make("a", MS_SHARED);
	static const char *dirs[] = {"a/x", "a/y", "a/deep", "a/deep/x", "b", "c", "d", "e"};
	for (unsigned i = 0; i < sizeof dirs / sizeof *dirs; i++)
		CHECK_OK(mkdir(dirs[i], 0755));
}

static void bind(const char *from, const char *at)
{
	CHECK_OK(mount(from, at, NULL, MS_BIND, NULL));
}

static int mounted(const char *at)
{
	return info_of(at) != NULL;
}

TEST(peers)
{
	shared_a();
	bind("a", "b");
	CHECK(field("a", "shared") > 0);
	CHECK_EQ(field("a", "shared"), field("b", "shared"));
	/* Both ways, and what comes there is shared itself. */
	tmpfs("a/x", NULL);
	CHECK(mounted("b/x"));
	CHECK(field("a/x", "shared") > 0 && field("a/x", "shared") != field("a", "shared"));
	CHECK_EQ(field("a/x", "shared"), field("b/x", "shared"));
	put_file("b/x/file", "same", 0644);
	char text[20];
	CHECK_STR(get_file("a/x/file", text, sizeof text), "same");
	tmpfs("b/y", NULL);
	CHECK(mounted("a/y"));
	CHECK_OK(mkdir("a/x/sub", 0755));
	tmpfs("a/x/sub", NULL);
	CHECK(mounted("b/x/sub"));
	/* Not gone as long as one of them carries mounts or is used. */
	CHECK_ERR(umount2("b/x", 0), EBUSY);
	int fd = CHECK_OK(open("b/x/sub", O_RDONLY | O_DIRECTORY));
	CHECK_ERR(umount2("a/x/sub", 0), EBUSY);
	CHECK_OK(close(fd));
	CHECK_OK(umount2("b/x/sub", 0));
	CHECK(!mounted("a/x/sub"));
	CHECK_OK(umount2("b/x", 0));
	CHECK(!mounted("a/x") && !mounted("b/x"));
	CHECK_OK(umount2("a/y", 0));
	CHECK(!mounted("b/y"));
	/* A part of the tree sees what is below it. */
	bind("a/deep", "c");
	tmpfs("a/deep/x", NULL);
	CHECK(mounted("c/x") && mounted("b/deep/x"));
	tmpfs("a/y", NULL);
	CHECK(mounted("b/y") && !mounted("c/y"));
	CHECK_OK(umount2("c/x", 0));
	CHECK(!mounted("a/deep/x") && !mounted("b/deep/x"));
	/* One that goes its own way. */
	make("b", MS_PRIVATE);
	CHECK_EQ(field("b", "shared"), 0);
	tmpfs("a/x", NULL);
	CHECK(!mounted("b/x"));
	CHECK_OK(umount2("a/y", 0));
	CHECK(mounted("b/y"));
}

TEST(slaves)
{
	shared_a();
	bind("a", "b");
	make("b", MS_SLAVE);
	CHECK_EQ(field("b", "shared"), 0);
	CHECK_EQ(field("b", "master"), field("a", "shared"));
	tmpfs("a/x", NULL);
	CHECK(mounted("b/x"));
	CHECK_EQ(field("b/x", "shared"), 0);
	CHECK_EQ(field("b/x", "master"), field("a/x", "shared"));
	tmpfs("b/y", NULL);
	CHECK(!mounted("a/y"));
	/* What a slave has of its own stands above what comes. */
	put_file("b/y/own", "", 0644);
	tmpfs("a/y", NULL);
	CHECK_OK(access("b/y/own", F_OK));
	CHECK_OK(umount2("b/y", 0));
	CHECK(mounted("b/y"));
	CHECK_ERR(access("b/y/own", F_OK), ENOENT);
	tmpfs("b/y", NULL);
	CHECK_OK(umount2("a/y", 0));
	CHECK(mounted("b/y"));
	CHECK_EQ(field("b/y", "master"), 0);
	/* It may go by itself. */
	CHECK_OK(umount2("b/x", 0));
	CHECK(mounted("a/x"));
	/* A slave of slaves. */
	make("b", MS_SHARED);
	CHECK(field("b", "shared") > 0);
	CHECK_EQ(field("b", "master"), field("a", "shared"));
	bind("b", "c");
	bind("c", "d");
	make("d", MS_SLAVE);
	CHECK_EQ(field("c", "master"), field("a", "shared"));
	CHECK_EQ(field("d", "master"), field("b", "shared"));
	tmpfs("a/deep", NULL);
	CHECK(mounted("b/deep") && mounted("c/deep") && mounted("d/deep"));
	CHECK_EQ(field("b/deep", "shared"), field("c/deep", "shared"));
	CHECK(field("b/deep", "shared") != field("a/deep", "shared"));
	CHECK_EQ(field("b/deep", "master"), field("a/deep", "shared"));
	CHECK_EQ(field("d/deep", "master"), field("b/deep", "shared"));
	CHECK_EQ(field("d/deep", "shared"), 0);
	CHECK_OK(umount2("c/deep", 0));
	CHECK(mounted("a/deep") && !mounted("b/deep") && !mounted("d/deep"));
	/* The last peer's end leaves its slaves to its master, and that one's to nobody. */
	make("b", MS_PRIVATE);
	CHECK_EQ(field("d", "master"), field("c", "shared"));
	CHECK_OK(umount2("c", MNT_DETACH));
	CHECK_EQ(field("d", "master"), field("a", "shared"));
	make("a", MS_SLAVE);
	CHECK_EQ(field("a", "master"), 0);
	CHECK_EQ(field("a", "shared"), 0);
	CHECK_EQ(field("d", "master"), 0);
}

TEST(seen_from_elsewhere)
{
	shared_a();
	bind("a", "b");
	make("b", MS_SLAVE);
	make("b", MS_SHARED);
	bind("b", "c");
	make("c", MS_SLAVE);
	int a = field("a", "shared"), b = field("b", "shared");
	CHECK_EQ(field("c", "master"), b);
	CHECK_EQ(field("c", "propagate_from"), 0);
	/* From where only the far one and the slave are seen. */
	CHECK_OK(mkdir("sight", 0755));
	CHECK_OK(mkdir("sight/a", 0755));
	CHECK_OK(mkdir("sight/c", 0755));
	CHECK_OK(mkdir("sight/proc", 0755));
	bind("a", "sight/a");
	bind("c", "sight/c");
	CHECK_OK(mount("/proc", "sight/proc", NULL, MS_BIND | MS_REC, NULL));
	CHECK_OK(chroot("sight"));
	CHECK_OK(chdir("/"));
	CHECK_EQ(field("/a", "shared"), a);
	CHECK_EQ(field("/c", "master"), b);
	CHECK_EQ(field("/c", "propagate_from"), a);
}

TEST(trees)
{
	shared_a();
	bind("a", "b");
	tmpfs("c", NULL);
	CHECK_OK(mkdir("c/in", 0755));
	tmpfs("c/in", NULL);
	CHECK_OK(mkdir("c/not", 0755));
	tmpfs("c/not", NULL);
	make("c/not", MS_UNBINDABLE);
	/* A recursive bind arrives as a tree, without what may not be bound. */
	CHECK_OK(mount("c", "a/x", NULL, MS_BIND | MS_REC, NULL));
	CHECK(mounted("b/x") && mounted("b/x/in") && mounted("a/x/in"));
	CHECK(!mounted("a/x/not") && !mounted("b/x/not"));
	CHECK_EQ(field("a/x/in", "shared"), field("b/x/in", "shared"));
	CHECK_EQ(field("c/in", "shared"), 0);
	/* What is below goes along when it is taken away lazily. */
	CHECK_OK(umount2("b/x", MNT_DETACH));
	CHECK(!mounted("a/x") && !mounted("a/x/in") && !mounted("b/x/in"));
	/* Moved: not with what may not be bound, not from a shared place. */
	CHECK_ERR(mount("c", "a/x", NULL, MS_MOVE, NULL), EINVAL);
	make("c/not", MS_PRIVATE);
	CHECK_OK(mount("c", "a/x", NULL, MS_MOVE, NULL));
	CHECK(!mounted("c") && mounted("b/x/in") && mounted("b/x/not"));
	CHECK_EQ(field("a/x", "shared"), field("b/x", "shared"));
	CHECK_ERR(mount("a/x", "a/y", NULL, MS_MOVE, NULL), EINVAL);
	CHECK_ERR(mount("b/x", "c", NULL, MS_MOVE, NULL), EINVAL);
	/* One that carries something of its own stays. */
	CHECK_OK(mkdir("a/x/in/own", 0755));
	make("b/x/in", MS_PRIVATE);
	tmpfs("b/x/in/own", NULL);
	CHECK_OK(umount2("a/x", MNT_DETACH));
	CHECK(!mounted("a/x") && mounted("b/x") && mounted("b/x/in") && mounted("b/x/in/own"));
	CHECK(!mounted("b/x/not"));
}

TEST(recursive_change)
{
	shared_a();
	tmpfs("a/x", NULL);
	make("a", MS_REC | MS_PRIVATE);
	CHECK_EQ(field("a", "shared") + field("a/x", "shared"), 0);
	make("a", MS_REC | MS_SHARED);
	CHECK(field("a/x", "shared") > 0 && field("a/x", "shared") != field("a", "shared"));
	make("a", MS_REC | MS_SHARED);
	CHECK_OK(mount("a", "b", NULL, MS_BIND | MS_REC, NULL));
	make("b", MS_REC | MS_SLAVE);
	CHECK_EQ(field("b/x", "master"), field("a/x", "shared"));
	CHECK_EQ(field("b", "master"), field("a", "shared"));
	make("b", MS_REC | MS_UNBINDABLE);
	CHECK_EQ(field("b/x", "master"), 0);
	make("b/x", MS_SHARED);
	CHECK(strstr(info_of("b/x"), "unbindable") == NULL);
}

/* A tree within itself. */
TEST(a_peer_inside)
{
	shared_a();
	bind("a", "a/x");
	CHECK(mounted("a/x"));
	CHECK(!mounted("a/x/x"));
	CHECK_EQ(field("a", "shared"), field("a/x", "shared"));
	tmpfs("a/y", NULL);
	CHECK(mounted("a/x/y"));
	bind("b", "a/deep");
	CHECK(mounted("a/x/deep"));
	CHECK_OK(umount2("a/y", 0));
	CHECK(!mounted("a/x/y"));
	CHECK_OK(umount2("a/x", MNT_DETACH));
}

TEST(no_new_root_on_shared_mounts)
{
	shared_a();
	tmpfs("a/x", NULL);
	CHECK_OK(mkdir("a/x/old", 0755));
	CHECK_ERR(syscall(SYS_pivot_root, "a/x", "a/x/old"), EINVAL);
	make("a", MS_PRIVATE);
	CHECK_ERR(syscall(SYS_pivot_root, "a/x", "a/x/old"), EINVAL);
}

TEST_MAIN
