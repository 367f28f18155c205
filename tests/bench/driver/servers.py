# SPDX-License-Identifier: Apache-2.0
"""Redis and memcached, started on Unix sockets for one benchmark and stopped by their process ids."""

import os
import shutil
import subprocess
import tempfile
import time

COMMANDS = {
    # No persistence, no TCP; one thread, as its documentation advises for small requests.
    "redis": lambda socket, folder: ["redis-server", "--port", "0", "--unixsocket", socket, "--save", "",
                                     "--appendonly", "no", "--dir", folder, "--loglevel", "warning"],
    # As many threads as clients; memory enough that nothing is evicted.
    "memcached": lambda socket, folder: ["memcached", "-s", socket, "-m", "4096", "-t", "2", "-U", "0"]
    + (["-u", "root"] if os.getuid() == 0 else []),
}


class Servers:
    def __init__(self, wanted):
        self.wanted = [n for n in COMMANDS if wanted is None or any(w.split("+")[0] == n for w in wanted)]
        self.sockets = {}
        self.notes = []
        self._processes = []

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="shmdict-bench-")
        for name in self.wanted:
            self._start(name)
        return self

    def __exit__(self, *ignored):
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._folder.cleanup()

    def _start(self, name):
        socket = os.path.join(self._folder.name, name)
        command = COMMANDS[name](socket, self._folder.name)
        if not shutil.which(command[0]):
            self.notes.append(f"{name}: {command[0]} is not installed")
            return
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._processes.append(process)
        deadline = time.monotonic() + 10
        while not os.path.exists(socket):
            if process.poll() is not None or time.monotonic() > deadline:
                self.notes.append(f"{name}: the server did not start")
                return
            time.sleep(0.02)
        self.sockets[name] = socket
