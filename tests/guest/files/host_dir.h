/* A directory of the tree that the machine stands on. */
#pragma once
#include "../test.h"
#include <dirent.h>
#include <sys/utsname.h>

#define SOURCE "/usr/include/asm-generic"

static char **names;
static int count;
static char dir[4096];

/* Inside, a directory that lies below; natively, a copy. Its names, sorted. */
static void host_dir(void)
{
	struct utsname system_name;
	CHECK_OK(uname(&system_name));
	strcpy(dir, SOURCE);
	if (!strstr(system_name.release, "umlaut")) {
		CHECK_EQ(system("cp -r " SOURCE " copy"), 0);
		char cwd[2000];
		CHECK(getcwd(cwd, sizeof cwd));
		snprintf(dir, sizeof dir, "%s/copy", cwd);
	}
	struct dirent **found;
	count = CHECK_OK(scandir(dir, &found, NULL, alphasort));
	names = calloc(count, sizeof *names);
	int n = 0;
	for (int i = 0; i < count; i++)
		if (found[i]->d_name[0] != '.')
			names[n++] = strdup(found[i]->d_name);
	count = n;
	CHECK(count > 20);
}

/* For tests that change it. */
static void own_dir(void)
{
	host_dir();
	if (access(dir, W_OK)) {
		printf("the directory is the superuser's\n");
		exit(TEST_SKIPPED);
	}
}
