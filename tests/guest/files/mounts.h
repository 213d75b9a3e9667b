/* Mounts of a test of its own, and what mountinfo says of them. */
#ifndef MOUNTS_H
#define MOUNTS_H
#include "../test.h"
#include <sys/mount.h>

/* A mount namespace of one's own where there are any (on the host), so that nothing stays. */
static void alone(void)
{
	if (geteuid() != 0)
		SKIP("mounts need root");
	if (unshare(CLONE_NEWNS) == 0)
		CHECK_OK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	else
		CHECK(errno == ENOSYS || errno == EINVAL);
}

static void tmpfs(const char *at, const char *options)
{
	mkdir(at, 0755);
	CHECK_OK(mount("none", at, "tmpfs", 0, options));
}

/* The line of /proc/self/mountinfo with this mount point, or NULL. */
static char *info_of(const char *at)
{
	static char text[100000];
	char here[4096], wanted[4200];
	if (at[0] == '/')
		snprintf(wanted, sizeof wanted, " %s ", at);
	else
		snprintf(wanted, sizeof wanted, " %s/%s ", getcwd(here, sizeof here), at);
	get_file("/proc/self/mountinfo", text, sizeof text);
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		if (strstr(line, wanted))
			return line;
	return NULL;
}

#endif
