#!/bin/bash
# Python's own regression tests of what a kernel does, one module at a time.
# needs: /usr/bin/python3 /usr/lib/python3.11/test/test_signal.py
# each: test_os test_posix test_subprocess test_signal test_threading test_mmap test_select test_selectors test_epoll test_poll test_fcntl test_pty test_tempfile test_shutil test_time test_resource
# limit: 170
# oracle: same user
# compare: passed
# places: host machine plain
# except: test.test_os.TestSendfile.  needs a socket of AF_INET
# except: test.test_signal.WakeupFDTests.test_invalid_socket  needs a socket of AF_INET
# except: test.test_signal.WakeupFDTests.test_set_wakeup_fd_socket_result  needs a socket of AF_INET
# except: test.test_time.TimeTestCase.test_monotonic_settime  the clock of the host cannot be set
set -u
export PYTHONDONTWRITEBYTECODE=1 HOME=$PWD TMPDIR=$PWD LC_ALL=C.UTF-8
timeout 160 /usr/bin/python3 -m test --timeout 120 --junit-xml result.xml "$1" >out 2>&1
tail -n 40 out >&2
exec /usr/bin/python3 - <<'END'
import xml.etree.ElementTree as tree
for case in tree.parse('result.xml').iter('testcase'):
    bad = [kind for kind in ('skipped', 'error', 'failure') if case.find(kind) is not None]
    print(bad[0] if bad else 'ok', case.get('name'))
END
