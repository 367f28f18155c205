# SPDX-License-Identifier: Apache-2.0
"""What the tests of examples/python/shmdict.py share. Run by CTest, see CMakeLists.txt for the environment.

SHMDICT_LIBRARY is the shared library, PYTHONPATH leads to the module, PYTHON_PEER is the C++ side (python_peer.cpp).
"""

import json
import os
import random
import signal
import subprocess
import unittest

from shmdict import Dict

PEER = os.environ["PYTHON_PEER"]


def peer(of, *arguments):
    """What C++ prints of that dict, or of the dict of that name."""
    name = getattr(of, "name", of)
    done = subprocess.run([PEER, name, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return json.loads(done.stdout) if done.stdout else None


def in_child(function):
    """Runs it in a forked child that ends without cleaning up, with what it returns as exit code; its pid."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = int(function() or 0)
        finally:
            os._exit(code)
    return pid


class Base(unittest.TestCase):
    def make(self, *args, **kwargs):
        kwargs.setdefault("name", self.a_name())
        d = Dict(*args, **kwargs)
        self.addCleanup(Dict.unlink_by_name, d.name, ignore_errors=True)
        return d

    def a_name(self):
        return f"test.python.{os.getpid()}.{random.randrange(10**9)}"

    def exit_code(self, pid):
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def join(self, pid):
        self.assertEqual(self.exit_code(pid), 0)

    def dies_with_the_lock(self, d):
        """The pid of a process that is gone."""
        pid = in_child(lambda: (d.lock.acquire(), os.kill(os.getpid(), signal.SIGKILL)))
        self.assertEqual(self.exit_code(pid), -signal.SIGKILL)
        return pid
