/* The region is not to be written, mapped, unmapped or reached by system calls. */
#include "region.h"

TEST(code_and_orders_are_read_only)
{
	find_region();
	CHECK(!writable(base));
	CHECK(!writable(base + 0xff8));
	CHECK(!writable(CONSTANTS));
	CHECK(!writable(REQUEST));
	int wr = 0, rd = 0;
	for (uintptr_t at = base; at < base + 0x200000; at += PAGE) {
		rd += readable(at);
		wr += writable(at);
	}
	CHECK(rd > 0 && wr < rd);
	still_works();
}

TEST(mapping_calls_refuse_it)
{
	find_region();
	uintptr_t places[] = {base, CONSTANTS, REQUEST, REPLY, SLOT(0), SLOT(1), base - PAGE};
	for (int i = 0; i < 7; i++) {
		void *at = (void *)places[i];
		size_t size = i == 6 ? 2 * PAGE : PAGE;
		CHECK_EQ(munmap(at, size), -1);
		CHECK_EQ(mprotect(at, size, PROT_READ | PROT_WRITE | PROT_EXEC), -1);
		CHECK_EQ(madvise(at, size, MADV_DONTNEED), -1);
		CHECK(mmap(at, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED);
		CHECK(mmap(at, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED);
		CHECK(mmap(at, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED);
		CHECK(mremap(at, size, 2 * size, MREMAP_MAYMOVE) == MAP_FAILED);
		void *mine = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(mine != MAP_FAILED);
		CHECK(mremap(mine, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, at) == MAP_FAILED);
		CHECK_OK(munmap(mine, size));
		/* As a hint it is passed over. */
		mine = mmap(at, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(mine != MAP_FAILED);
		CHECK((uintptr_t)mine + size <= base || (uintptr_t)mine >= base + (1UL << 32));
		CHECK_OK(munmap(mine, size));
	}
	/* A range across the whole of it. */
	CHECK_EQ(munmap((void *)(base - (1UL << 20)), 1UL << 33), -1);
	CHECK_EQ(mprotect((void *)(base - PAGE), 1UL << 33, PROT_NONE), -1);
	CHECK_EQ(syscall(SYS_brk, base + PAGE) == (long)(base + PAGE), 0);
	static char text[1 << 16];
	char own[20];
	snprintf(own, sizeof own, "%lx-", base);
	CHECK(strstr(get_file("/proc/self/maps", text, sizeof text), own) == NULL);
	still_works();
}

TEST(system_calls_do_not_reach_it)
{
	/* As memory of a system call it does not exist; nor is it read into. */
	find_region();
	int fd = CHECK_OK(open("f", O_RDWR | O_CREAT, 0600));
	char page[4096] = {0};
	CHECK_EQ(write(fd, page, sizeof page), sizeof page);
	uintptr_t places[] = {base, CONSTANTS, REQUEST, REPLY, SLOT(0), SLOT(0) + 0x800};
	for (int i = 0; i < 6; i++) {
		CHECK_ERR(pread(fd, (void *)places[i], 100, 0), EFAULT);
		CHECK_ERR(pwrite(fd, (void *)places[i], 100, 0), EFAULT);
		CHECK_ERR(open((char *)places[i], O_RDONLY), EFAULT);
		CHECK_ERR(syscall(SYS_clock_gettime, CLOCK_REALTIME, places[i]), EFAULT);
		CHECK_ERR(syscall(SYS_rt_sigaction, SIGUSR1, places[i], NULL, 8), EFAULT);
	}
	/* Futexes there wait for nobody. */
	struct timespec brief = {0, 1000000};
	syscall(SYS_futex, (void *)SLOT(0), 0, *(volatile unsigned *)SLOT(0), &brief, NULL, 0);
	syscall(SYS_futex, (void *)SLOT(0), 1, 1000, NULL, NULL, 0);
	syscall(SYS_futex, (void *)REPLY, 1, 1000, NULL, NULL, 0);
	syscall(SYS_set_robust_list, (void *)SLOT(0), 24);
	syscall(SYS_set_tid_address, (void *)SLOT(0));
	still_works();
}

TEST_MAIN
