#!/bin/bash
# Python's own regression tests of threads, memory, time and limits (those of processes take too long for every run).
# needs: /usr/lib/python3.11/test/test_signal.py
# limit: 120
set -u
export PYTHONDONTWRITEBYTECODE=1 HOME=$PWD TMPDIR=$PWD
for t in test_threading test_mmap test_time test_resource; do
	# What a test says of its failure is worth reading; how long it took is not.
	if timeout 100 /usr/bin/python3 -m test $t >out 2>&1; then
		echo "$t passed"
	else
		echo "$t failed: $?"
		tail -n 40 out >&2
	fi
done
