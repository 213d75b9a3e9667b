/* Core dumps (core(5)): when one is written, what is in it, who may have it. */
#include "../test.h"
#include <elf.h>
#include <sys/procfs.h>
#include <sys/resource.h>
#include <sys/utsname.h>

static char marked[8192] = "what the dump is to hold";
static char *heap, *not_dumped;

/* Only where dumps go to files beside the program. */
static void need_plain_pattern(void)
{
	char pattern[256], uses[16];
	get_file("/proc/sys/kernel/core_pattern", pattern, sizeof pattern);
	get_file("/proc/sys/kernel/core_uses_pid", uses, sizeof uses);
	if (strcmp(pattern, "core\n") != 0 || uses[0] != '0')
		SKIP("core_pattern is not the plain one");
}

static void limit_cores(rlim_t to)
{
	struct rlimit now;
	CHECK_OK(getrlimit(RLIMIT_CORE, &now));
	if (now.rlim_max < to)
		SKIP("the hard limit of core files is low");
	now.rlim_cur = to;
	CHECK_OK(setrlimit(RLIMIT_CORE, &now));
}

static int dies(void (*how)(void))
{
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		how();
		_exit(1);
	}
	int st;
	CHECK_EQ(waitpid(pid, &st, 0), pid);
	CHECK(WIFSIGNALED(st));
	return st;
}

__attribute__((noinline)) static void faults(void)
{
	*(volatile int *)16 = 1;
}

static void *sleeps(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static void *spins(void *arg)
{
	for (;;)
		;
	return arg;
}

static void faults_among_threads(void)
{
	pthread_t t;
	heap = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	strcpy(heap + 70000, "on the heap");
	not_dumped = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	strcpy(not_dumped, "a secret");
	madvise(not_dumped, 1 << 16, MADV_DONTDUMP);
	strcpy(marked, "changed");
	for (int i = 0; i < 3; i++)
		pthread_create(&t, NULL, i ? sleeps : spins, NULL);
	msleep(30);
	faults();
}

static char *core;
static size_t core_size;

static void load_core(const char *name)
{
	struct stat st;
	int fd = CHECK_OK(open(name, O_RDONLY));
	CHECK_OK(fstat(fd, &st));
	CHECK_EQ(st.st_mode, S_IFREG | 0600);
	CHECK_EQ(st.st_uid, geteuid());
	core_size = st.st_size;
	core = mmap(NULL, core_size, PROT_READ, MAP_PRIVATE, fd, 0);
	CHECK(core != MAP_FAILED);
}

/* What the dump holds of an address; NULL when it is not in the file. */
static const char *at_address(uintptr_t addr)
{
	Elf64_Ehdr *e = (Elf64_Ehdr *)core;
	Elf64_Phdr *p = (Elf64_Phdr *)(core + e->e_phoff);
	for (int i = 0; i < e->e_phnum; i++)
		if (p[i].p_type == PT_LOAD && addr >= p[i].p_vaddr && addr < p[i].p_vaddr + p[i].p_filesz)
			return core + p[i].p_offset + (addr - p[i].p_vaddr);
	return NULL;
}

struct notes {
	int threads, fpregs, xstate;
	struct elf_prstatus first;
	struct elf_prpsinfo process;
	siginfo_t info;
	int auxv, files;
};

static struct notes read_notes(void)
{
	struct notes n = {0};
	Elf64_Ehdr *e = (Elf64_Ehdr *)core;
	CHECK_EQ(memcmp(e->e_ident, ELFMAG, 4), 0);
	CHECK_EQ(e->e_type, ET_CORE);
	CHECK_EQ(e->e_machine, EM_X86_64);
	Elf64_Phdr *p = (Elf64_Phdr *)(core + e->e_phoff);
	CHECK_EQ(p->p_type, PT_NOTE);
	for (size_t at = p->p_offset; at < p->p_offset + p->p_filesz;) {
		Elf64_Nhdr *h = (Elf64_Nhdr *)(core + at);
		char *data = core + at + sizeof *h + (h->n_namesz + 3) / 4 * 4;
		at = data - core + (h->n_descsz + 3) / 4 * 4;
		switch (h->n_type) {
		case NT_PRSTATUS:
			CHECK_EQ(h->n_descsz, sizeof n.first);
			if (n.threads++ == 0)
				memcpy(&n.first, data, sizeof n.first);
			break;
		case NT_PRPSINFO:
			CHECK_EQ(h->n_descsz, sizeof n.process);
			memcpy(&n.process, data, sizeof n.process);
			break;
		case NT_FPREGSET:
			CHECK_EQ(h->n_descsz, 512);
			n.fpregs++;
			break;
		case NT_X86_XSTATE:
			n.xstate++;
			break;
		case NT_SIGINFO:
			memcpy(&n.info, data, sizeof n.info);
			break;
		case NT_AUXV:
			n.auxv++;
			break;
		case NT_FILE:
			n.files += memmem(data, h->n_descsz, test_self, strlen(test_self)) != NULL;
			break;
		}
	}
	return n;
}

TEST(threads_and_memory)
{
	need_plain_pattern();
	limit_cores(RLIM_INFINITY);
	CHECK_EQ(dies(faults_among_threads), SIGSEGV | 0x80);
	load_core("core");
	struct notes n = read_notes();
	CHECK_EQ(n.threads, 4);
	CHECK_EQ(n.fpregs, 4);
	CHECK(n.xstate == 4 || n.xstate == 0);
	CHECK_EQ(n.auxv, 1);
	CHECK_EQ(n.files, 1);
	CHECK_EQ(n.first.pr_cursig, SIGSEGV);
	CHECK_EQ(n.first.pr_info.si_signo, SIGSEGV);
	CHECK_EQ(n.first.pr_pid, n.process.pr_pid);
	CHECK_EQ(n.first.pr_ppid, getpid());
	CHECK_EQ(n.process.pr_ppid, getpid());
	CHECK_EQ(n.info.si_signo, SIGSEGV);
	CHECK_EQ((long)n.info.si_addr, 16);
	CHECK_STR(n.process.pr_fname, "core");
	struct user_regs_struct *r = (void *)&n.first.pr_reg;
	CHECK(at_address(r->rsp) != NULL);
	/* The first thread is the one that died, where it died. */
	CHECK(r->rip >= (uintptr_t)faults && r->rip < (uintptr_t)faults + 64);
	CHECK_STR(at_address((uintptr_t)marked), "changed");
	/* Its own copies of variables tell where the rest was. */
	char *its_heap, *its_secret;
	memcpy(&its_heap, at_address((uintptr_t)&heap), sizeof its_heap);
	memcpy(&its_secret, at_address((uintptr_t)&not_dumped), sizeof its_secret);
	CHECK_STR(at_address((uintptr_t)its_heap + 70000), "on the heap");
	CHECK(at_address((uintptr_t)its_secret) == NULL);
}

static void aborts(void)
{
	abort();
}

static void quits(void)
{
	kill(getpid(), SIGQUIT);
	pause();
}

static void terminates(void)
{
	raise(SIGTERM);
}

TEST(which_signals)
{
	need_plain_pattern();
	limit_cores(RLIM_INFINITY);
	CHECK_EQ(dies(terminates), SIGTERM);
	CHECK_ERR(open("core", O_RDONLY), ENOENT);
	CHECK_EQ(dies(quits), SIGQUIT | 0x80);
	CHECK_OK(unlink("core"));
	CHECK_EQ(dies(aborts), SIGABRT | 0x80);
	CHECK_OK(unlink("core"));
	pid_t pid = CHECK_OK(fork());
	if (pid == 0)
		faults();
	siginfo_t info;
	CHECK_OK(waitid(P_PID, pid, &info, WEXITED));
	CHECK_EQ(info.si_code, CLD_DUMPED);
	CHECK_EQ(info.si_status, SIGSEGV);
}

TEST(limits)
{
	need_plain_pattern();
	limit_cores(0);
	CHECK_EQ(dies(faults), SIGSEGV);
	CHECK_ERR(open("core", O_RDONLY), ENOENT);
	limit_cores(65536);
	CHECK_EQ(dies(faults), SIGSEGV | 0x80);
	struct stat st;
	CHECK_OK(stat("core", &st));
	CHECK(st.st_blocks * 512 <= 65536 + 4096);
	CHECK(st.st_size > 4096);
}

static void hides(void)
{
	prctl(PR_SET_DUMPABLE, 0);
	faults();
}

TEST(not_dumpable)
{
	need_plain_pattern();
	limit_cores(RLIM_INFINITY);
	CHECK_EQ(dies(hides), SIGSEGV);
	CHECK_ERR(open("core", O_RDONLY), ENOENT);
}

/* What stands in the way is replaced, never followed or written into. */
TEST(what_stands_in_the_way)
{
	need_plain_pattern();
	limit_cores(RLIM_INFINITY);
	char text[16];
	put_file("other", "precious", 0644);
	CHECK_OK(symlink("other", "core"));
	CHECK_EQ(dies(faults), SIGSEGV | 0x80);
	CHECK_STR(get_file("other", text, sizeof text), "precious");
	load_core("core");
	CHECK_OK(unlink("core"));
	CHECK_OK(link("other", "core"));
	CHECK_EQ(dies(faults), SIGSEGV | 0x80);
	CHECK_STR(get_file("other", text, sizeof text), "precious");
	load_core("core");
	CHECK_OK(unlink("core"));
	CHECK_OK(mkdir("core", 0700));
	CHECK_EQ(dies(faults), SIGSEGV);
}

static void filters(void)
{
	int fd = open("/proc/self/coredump_filter", O_WRONLY);
	if (write(fd, "0\n", 2) == 2)
		faults();
}

TEST(filter)
{
	need_plain_pattern();
	limit_cores(RLIM_INFINITY);
	CHECK_EQ(dies(filters), SIGSEGV | 0x80);
	load_core("core");
	CHECK_EQ(read_notes().threads, 1);
	CHECK(at_address((uintptr_t)marked) == NULL);
	Elf64_Ehdr *e = (Elf64_Ehdr *)core;
	CHECK(e->e_phnum > 4);
}

static void huge(void)
{
	/* Far more than there is room for, nearly all of it never touched. */
	heap = mmap(NULL, 1L << 37, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (heap == MAP_FAILED)
		_exit(3);
	strcpy(heap + (1L << 39), "in the middle");
	strcpy(heap + (1L << 37) - 4096, "at the end");
	struct rlimit small = {64 << 20, 64 << 20};
	setrlimit(RLIMIT_CORE, &small);
	faults();
}

TEST(sparse)
{
	need_plain_pattern();
	limit_cores(RLIM_INFINITY);
	struct utsname u;
	CHECK_OK(uname(&u));
	if (!strstr(u.release, "umlaut"))
		SKIP("a host's filesystem may not take a file of a hundred gigabytes");
	CHECK_EQ(dies(huge), SIGSEGV | 0x80);
	struct stat st;
	CHECK_OK(stat("core", &st));
	CHECK(st.st_size > 1L << 37);
	CHECK(st.st_blocks < 16 << 11);
	int fd = CHECK_OK(open("core", O_RDONLY));
	static char head[1 << 20];
	CHECK_EQ(read(fd, head, sizeof head), sizeof head);
	core = head;
	CHECK(at_address((uintptr_t)&heap) != NULL);
}

/* Names made of a pattern; only where it is nobody else's. */
TEST(pattern)
{
	need_plain_pattern();
	struct utsname u;
	CHECK_OK(uname(&u));
	if (!strstr(u.release, "umlaut") || geteuid() != 0)
		SKIP("the pattern is the host's");
	limit_cores(RLIM_INFINITY);
	int fd = CHECK_OK(open("/proc/sys/kernel/core_pattern", O_WRONLY));
	CHECK_ERR(write(fd, "|/bin/cat", 9), EINVAL);
	CHECK_EQ(write(fd, "dump.%e.%s.%p\n", 14), 14);
	pid_t pid = CHECK_OK(fork());
	if (pid == 0)
		faults();
	int st;
	CHECK_EQ(waitpid(pid, &st, 0), pid);
	CHECK_EQ(st, SIGSEGV | 0x80);
	CHECK_EQ(pwrite(fd, "core", 4, 0), 4);
	char name[64];
	snprintf(name, sizeof name, "dump.core.11.%d", pid);
	load_core(name);
	/* Nobody may write a dump where the program may not. */
	CHECK_EQ(pwrite(fd, "/proc/core", 10, 0), 10);
	CHECK_EQ(dies(faults), SIGSEGV);
	CHECK_EQ(pwrite(fd, "core", 4, 0), 4);
}

/* SIGKILL ends the writing of a dump. */
TEST(killed_while_dumping)
{
	need_plain_pattern();
	limit_cores(RLIM_INFINITY);
	for (int i = 0; i < 20; i++) {
		pid_t pid = CHECK_OK(fork());
		if (pid == 0)
			faults_among_threads();
		msleep(28 + i % 8);
		kill(pid, SIGKILL);
		int st;
		CHECK_EQ(waitpid(pid, &st, 0), pid);
		CHECK(WIFSIGNALED(st));
	}
}

TEST_MAIN
