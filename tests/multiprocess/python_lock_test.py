# SPDX-License-Identifier: Apache-2.0
"""examples/python/shmdict.py: its lock, its transactions, and what several processes do at the same time."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
import unittest
from unittest import mock

import shmdict
from python_support import Base, in_child
from shmdict import Dict


def count_under_lock(d, n):
    for _ in range(n):
        with d.lock:
            d["n"] += 1


class LockBase(Base):
    @contextlib.contextmanager
    def held_elsewhere(self, d):
        """Another process holds the lock, until the end; its pid and its thread."""
        ready = os.pipe()

        def hold():
            with d.lock:
                os.write(ready[1], b"%d" % threading.get_native_id())
                time.sleep(600)

        pid = in_child(hold)
        try:
            yield pid, int(os.read(ready[0], 20))
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            for fd in ready:
                os.close(fd)

    @contextlib.contextmanager
    def takes(self, least, most=60):
        began = time.monotonic()
        yield
        took = time.monotonic() - began
        self.assertGreaterEqual(took, least)
        self.assertLess(took, most)

    def assert_once(self, attempt, times=20):
        """A stall makes some attempts late, what is wrong all."""
        self.assertTrue(any(attempt() for _ in range(times)))

    def assert_free(self, d):
        self.assertFalse(d.lock.status()["held"])


class TheLock(LockBase):
    def test_it_is_a_context_with_a_timeout_that_names_the_owner(self):
        d = self.make({"n": 0})
        with d.lock, d.lock(timeout=1):  # re-entrant
            self.assertTrue(d.lock.status()["held"])
            seen = []

            def other():
                for how, kind in (({"timeout": 0.05}, shmdict.CannotAcquireLockTimeout),
                                  ({"block": False}, shmdict.CannotAcquireLock)):
                    try:
                        d.lock.acquire(**how)
                    except kind as e:
                        seen.append(e.blocking_pid)

            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
            self.assertEqual(seen, [os.getpid()] * 2)
        self.assert_free(d)

    def test_its_errors_say_who_has_it_since_when_and_how_long_one_waited(self):
        d = self.make()
        with open("/proc/self/comm", encoding="utf-8") as f:
            program = f.read().strip()
        with self.held_elsewhere(d) as (pid, thread):
            time.sleep(0.5)
            with self.takes(0.7), self.assertRaises(shmdict.CannotAcquireLockTimeout) as failed:
                d.lock.acquire(timeout=0.7)  # longer than a slice
            e = failed.exception
            self.assertEqual((e.code, e.blocking_pid, e.thread, e.program[:15]), (-26, pid, thread, program))
            self.assertTrue(0.7 <= e.waited < 60, e.waited)
            self.assertTrue(1.15 <= e.held < 60, e.held)
            self.assertRegex(str(e), f"after {e.waited:.1f} s waiting.* pid {pid} .*, for {e.held:.1f} s;")

            def at_once():
                began = time.monotonic()
                with self.assertRaises(shmdict.CannotAcquireLock) as failed:
                    d.lock.acquire(block=False)
                took = time.monotonic() - began
                e = failed.exception
                self.assertNotIsInstance(e, shmdict.CannotAcquireLockTimeout)
                self.assertEqual((e.blocking_pid, e.thread), (pid, thread))
                self.assertLessEqual(e.waited, took)
                return took < 0.15

            self.assert_once(at_once)
        with self.assertRaises(shmdict.Error) as failed:
            d.lock.release()
        e = failed.exception
        self.assertEqual((e.code, e.blocking_pid, e.thread, e.program, e.held, e.waited), (-27, 0, 0, "", 0, 0))

    def test_a_stopped_single_write_is_held_longer_than_a_slice(self):
        d = self.make()
        stopped = shmdict._LockInfo()
        with self.held_elsewhere(d) as (pid, _), mock.patch.object(shmdict.Lock, "_info", lambda _: stopped):
            answer = shmdict._ErrorInfo(pid=pid, held_ns=10**8)  # of a write nobody knows the beginning of
            with mock.patch.object(shmdict._lib, "shmd_last_error", lambda: mock.Mock(contents=answer)):

                def longer():
                    with self.assertRaises(shmdict.CannotAcquireLockTimeout) as failed:
                        d.lock.acquire(timeout=0.7)
                    return failed.exception.held > 0.5

                self.assert_once(longer)

    def test_it_is_had_as_soon_as_the_owner_releases_it(self):
        d = self.make()
        for how in ({}, {"timeout": 300}, {"sleep_time": 0.01}, {"sleep_time": 0}, {"sleep_time": 300}):
            go = os.pipe()

            def hold():
                with d.lock:
                    os.write(go[1], b"%.6f" % time.monotonic())
                    time.sleep(0.3)

            pid = in_child(hold)
            held = float(os.read(go[0], 40))
            with self.takes(0), d.lock(**how):
                self.assertGreaterEqual(time.monotonic() - held, 0.3)
                self.assertFalse(d.lock.recovered)
            self.join(pid)
            for fd in go:
                os.close(fd)

    def test_who_looks_by_itself_is_not_woken(self):
        d = self.make()
        for sleep_time, waiters in ((None, 1), (0.01, 0), (0, 0)):
            with self.held_elsewhere(d):

                def wait():
                    with self.assertRaises(shmdict.CannotAcquireLockTimeout):
                        d.lock.acquire(timeout=0.3, sleep_time=sleep_time)

                self.join(in_child(wait))
                self.assertEqual(d.lock.status()["waiters"], waiters)  # stays until the owner releases it
            d.lock.acquire()  # from the dead
            d.lock.release()

    def test_closing_inside_of_it_ends_it(self):
        d = self.make({"a": 1})
        second = Dict(name=d.name)
        for block in (lambda one: one.lock, lambda one: one.lock(timeout=1)):
            one = Dict(name=d.name)
            with block(one), block(one):
                self.assertEqual(one.close(), {"a": 1})
            self.assert_free(second)
            with self.assertRaises(shmdict.AlreadyClosed):
                one.lock.release()


class CtrlC(LockBase):
    def setUp(self):
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGINT, before)

    def test_it_ends_every_wait_for_the_lock(self):
        d = self.make({"a": {"b": 1}}, recurse=True)
        nested = d["a"]
        waits = (d.lock.acquire, lambda: d.lock.acquire(timeout=300), lambda: d.lock.acquire(sleep_time=300),
                 d.lock.__enter__, d.transaction().__enter__, lambda: d.__setitem__("b", 1),
                 lambda: d.__setitem__("b", {}), lambda: d.__delitem__("a"), nested.clear, d.dump, d.popitem)
        with self.held_elsewhere(d) as (pid, _):
            for wait in waits:
                alarm = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
                with self.takes(0.1), self.assertRaises(KeyboardInterrupt):
                    alarm.start()
                    wait()
                alarm.join()
                self.assertEqual(d.lock.status()["pid"], pid)
        self.assertEqual(d, {"a": {"b": 1}})
        d["a"]["b"] = 2

    def test_it_leaves_no_lock_behind_that_came_at_the_same_time(self):
        d = self.make()
        parent = os.getpid()
        for wait in (d.lock.acquire, lambda: d.transaction().__enter__()) * 5:
            ready = os.pipe()

            def hold():
                with d.lock:
                    os.write(ready[1], b"x")
                    end = time.monotonic() + 60
                    while not d.lock.status()["waiters"] and time.monotonic() < end:
                        time.sleep(0.01)
                    os.kill(parent, signal.SIGINT)

            pid = in_child(hold)
            with self.assertRaises(KeyboardInterrupt):
                os.read(ready[0], 1)
                wait()
                time.sleep(60)
            self.join(pid)
            self.assert_free(d)
            for fd in ready:
                os.close(fd)

    def test_a_write_waits_ten_seconds_and_no_more(self):
        d = self.make()
        self.assertEqual(shmdict._PATIENCE, 10)
        writes = (lambda: d.__setitem__("b", 1), lambda: d.update(b=1), d.transaction().__enter__)
        with self.held_elsewhere(d) as (pid, thread), mock.patch.object(shmdict, "_PATIENCE", 0.7):
            for write in writes:
                with self.takes(0.7), self.assertRaises(shmdict.CannotAcquireLockTimeout) as failed:
                    write()
                e = failed.exception
                self.assertEqual((e.blocking_pid, e.thread), (pid, thread))
                self.assertTrue(0.7 <= e.waited < 60, e.waited)
                self.assertRegex(str(e), f"after {e.waited:.1f} s ")


class TheDead(LockBase):
    def test_their_lock_is_taken_over_and_that_is_said(self):
        d = self.make({"n": 0})
        pid = self.dies_with_the_lock(d)
        with self.takes(0), d.lock(timeout=300):
            self.assertTrue(d.lock.recovered)
            with d.lock, d.lock(timeout=1):  # of the same section
                self.assertTrue(d.lock.recovered)
            self.assertTrue(d.lock.recovered)
        with d.lock(timeout=1):
            self.assertFalse(d.lock.recovered)
        self.assertFalse(d.lock.steal_from_dead(pid))

    def test_steal_and_steal_after_timeout_say_when(self):
        d = self.make()
        pid = self.dies_with_the_lock(d)
        with self.takes(0.5), self.assertRaises(shmdict.CannotAcquireLockTimeout) as failed:
            d.lock.acquire(timeout=0.5, steal=False, steal_after_timeout=False)
        self.assertEqual(failed.exception.blocking_pid, pid)
        with self.takes(0.5), d.lock(timeout=0.5, steal=False):
            self.assertTrue(d.lock.recovered)
        self.dies_with_the_lock(d)
        with self.takes(0), d.lock(timeout=300, steal=True, steal_after_timeout=False):
            self.assertTrue(d.lock.recovered)
        self.dies_with_the_lock(d)
        with self.takes(0), d.lock(block=False):
            self.assertTrue(d.lock.recovered)

    def test_steal_from_dead_takes_that_ones_alone(self):
        d = self.make({"n": 0})
        self.assertFalse(d.lock.steal_from_dead())
        with d.lock:
            self.assertFalse(d.lock.steal_from_dead(os.getpid()))
        with self.held_elsewhere(d) as (pid, _):
            self.assertFalse(d.lock.steal_from_dead(pid))
            self.assertFalse(d.lock.steal_from_dead())
        self.assertTrue(d.lock.steal_from_dead(pid))  # it was ended
        d.lock.release()
        pid = self.dies_with_the_lock(d)
        self.assertFalse(d.lock.steal_from_dead(pid + 1))
        self.assertTrue(d.lock.steal_from_dead(pid))
        self.assertTrue(d.lock.recovered)
        d.lock.release()
        self.dies_with_the_lock(d)
        self.assertTrue(d.lock.steal_from_dead())
        d.lock.release()
        with d.lock(timeout=1):
            self.assertFalse(d.lock.recovered)

    def test_of_two_thieves_one_succeeds_and_the_other_hears_no(self):
        d = self.make({"go": 0})
        for round_ in range(40):
            dead = self.dies_with_the_lock(d)
            start = time.monotonic() + 0.02

            def steal():
                while time.monotonic() < start:
                    pass
                if not d.lock.steal_from_dead(dead):
                    return 0
                recovered = d.lock.recovered
                d.lock.release()
                return 1 if recovered else 2

            thieves = [in_child(steal) for _ in range(2)]
            self.assertEqual(sorted(map(self.exit_code, thieves)), [0, 1], f"round {round_}")
            self.assert_free(d)


class Transactions(LockBase):
    def test_one_is_all_or_nothing(self):
        d = self.make({"a": 1})
        with self.assertRaises(ZeroDivisionError), d.transaction():
            d["a"] = 2
            self.assertEqual(d["a"], 2)
            1 / 0
        self.assertEqual(d, {"a": 1})
        self.assert_free(d)

    def test_a_value_that_cannot_be_stored_leaves_the_others(self):
        d = self.make({"a": 1}, recurse=True)
        with d.transaction():
            d["b"] = 2
            for refused in (lambda: d.__setitem__("x", {"a": 1, "b": object()}),
                            lambda: d.__setitem__("x", {"a": {"b": 1}, 2: 1}), lambda: d.update({"x": 1, 2: 1}),
                            lambda: d.setdefault("x", {"a": 1, "b": object()}), lambda: d.setdefault(1, 1)):
                with self.assertRaises(TypeError):
                    refused()
            for refused in (lambda: d.pop("x"), lambda: d.__delitem__("x")):
                with self.assertRaises(KeyError):
                    refused()
            self.assertEqual(d.pop("x", 3), 3)
        self.assertEqual(d, {"a": 1, "b": 2})

    def test_half_of_a_write_is_never_committed(self):
        d = self.make({"a": 1, "n": {"x": 1, "y": 2}}, recurse=True)
        too_long = {"fits": 1, "k" * 70000: 2}

        def inner():
            with d.transaction():
                d["x"] = 1
                1 / 0

        def clear():
            erase = shmdict._lib.shmd_erase
            once = lambda *a: -13 if erased else erased.append(erase(*a)) or 0
            with mock.patch.object(shmdict._lib, "shmd_erase", once):
                d["n"].clear()

        for half in (lambda: d.__setitem__("x", too_long), lambda: d.update(too_long), inner, clear):
            erased = []
            with self.assertRaises(shmdict.Error) as failed:
                with d.transaction():
                    d["b"] = 2
                    with self.assertRaises((shmdict.Error, ZeroDivisionError)):
                        half()
                    with self.assertRaises(shmdict.Error) as later:
                        d["c"] = 3
                    self.assertEqual(later.exception.code, -37)
            self.assertEqual(failed.exception.code, -37)
            self.assertEqual(d, {"a": 1, "n": {"x": 1, "y": 2}})
            self.assert_free(d)
            with d.transaction():  # the next one is another
                d["a"] = 1

    def test_an_aborted_clear_leaves_the_handle_its_dict(self):
        d = self.make({"n": {"x": 1, "deep": {"y": 2}}, "z": {}}, recurse=True)
        nested, other = d["n"], d["n"]
        with self.assertRaises(ZeroDivisionError), d.transaction():
            nested.clear()
            self.assertEqual(nested, {})
            nested["w"] = 1
            1 / 0
        d["m"] = {"of": "another"}  # may get what the aborted transaction had in hand
        for handle in (nested, other):
            self.assertEqual(handle.data, {"x": 1, "deep": {"y": 2}})
        with d.transaction():
            nested.clear()
            nested["v"] = 1
        self.assertEqual(d, {"n": {"v": 1}, "z": {}, "m": {"of": "another"}})
        self.assertEqual(nested, {"v": 1})
        self.assertEqual(other, {"v": 1})
        with self.assertRaises(ZeroDivisionError), d.transaction():
            d.clear()
            self.assertEqual(d, {})
            1 / 0
        self.assertEqual(len(d), 3)

    def test_closing_inside_of_one_aborts_it(self):
        d = self.make({"a": 1})
        one = Dict(name=d.name)
        with self.assertRaises(shmdict.AlreadyClosed), one.transaction():
            one["a"] = 2
            one.close()
        one = Dict(name=d.name)
        with self.assertRaises(ZeroDivisionError), one.transaction(), one.transaction():
            one["a"] = 2
            one.close()
            1 / 0
        self.assertEqual(d, {"a": 1})
        self.assert_free(d)


class ManyProcesses(LockBase):
    def test_forked_and_spawned_ones_share_it(self):
        d = self.make({"n": 0})
        pids = [in_child(lambda: count_under_lock(d, 500)) for _ in range(2)]
        spawn = multiprocessing.get_context("spawn")
        spawned = [spawn.Process(target=count_under_lock, args=(d, 500)) for _ in range(2)]  # pickled
        for p in spawned:
            p.start()
        for pid in pids:
            self.join(pid)
        for p in spawned:
            p.join(60)
            self.assertEqual(p.exitcode, 0)
        self.assertEqual(d["n"], 2000)


if __name__ == "__main__":
    unittest.main()
