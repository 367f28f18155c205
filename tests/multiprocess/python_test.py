# SPDX-License-Identifier: Apache-2.0
"""examples/python/shmdict.py: as a dict, as its ancestor's class, and with C++ on one dict."""

import collections
import contextlib
import glob
import io
import json
import os
import pickle
import random
import subprocess
import threading
import time
import types
import unittest
from unittest import mock

import shmdict
from python_support import PEER, Base, in_child, peer
from shmdict import Dict


class AsADict(Base):
    def test_it_does_what_a_dict_does(self):
        for recurse in (False, True):
            with self.subTest(recurse=recurse):
                model = {"a": 1, "b": [1, "x", None, 2.5], "c": {"d": True}}
                d = self.make(model, recurse=recurse, e="ä")
                model["e"] = "ä"
                self.assertEqual(d, model)
                self.assertEqual(d.data, model)
                self.assertEqual(len(d), 4)
                self.assertEqual(sorted(d), sorted(model))
                self.assertEqual(sorted(d.keys()), sorted(model.keys()))
                self.assertEqual({k: shmdict._plain(v) for k, v in d.items()}, model)
                self.assertIn(True, [shmdict._plain(v) == {"d": True} for v in d.values()])
                self.assertIn("a", d)
                self.assertNotIn("z", d)
                self.assertEqual((d["a"], d.get("z"), d.get("z", 3)), (1, None, 3))
                with self.assertRaises(KeyError):
                    d["z"]
                with self.assertRaises(KeyError):
                    del d["z"]
                self.assertEqual(d.setdefault("a", 9), 1)
                self.assertEqual(d.setdefault("f", 9), 9)
                self.assertEqual(d.pop("f"), 9)
                self.assertEqual(d.pop("f", 8), 8)
                with self.assertRaises(KeyError):
                    d.pop("f")
                self.assertEqual(d.pop("c"), model.pop("c"))
                d.update({"a": 2}, g=3)
                model.update({"a": 2}, g=3)
                self.assertEqual(eval(repr(d)), model)
                self.assertEqual(d | {"a": 5, "h": 1}, model | {"a": 5, "h": 1})
                d |= {"i": 0}
                self.assertEqual(d.copy(), model | {"i": 0})
                del d["i"]
                taken = {}
                while d:
                    key, value = d.popitem()
                    taken[key] = value
                self.assertEqual(taken, model)
                with self.assertRaises(KeyError):
                    d.popitem()
                d["x"] = 1
                d.clear()
                self.assertEqual(d, {})
        made = Dict.fromkeys(["a", "b"], 7)
        self.assertEqual(made, {"a": 7, "b": 7})

    def test_keys_may_be_int_and_str_if_asked_for(self):
        d = self.make({1: 1, "a": 2, "1": 3}, keys="mixed")
        self.assertEqual(d.data, {1: 1, "a": 2, "1": 3})
        self.assertEqual(peer(d, "mixed")["a"], 2)
        self.assertEqual(Dict(name=d.name)[1], 1)  # who attaches need not say it
        with self.assertRaises(TypeError):
            self.make({1: 1})
        d[-2**63], d[2**63 - 1] = "least", "most"
        self.assertEqual((d[-2**63], d[2**63 - 1]), ("least", "most"))
        for beyond in (2**63, 2**70, -2**63 - 1):
            with self.assertRaises(OverflowError):
                d[beyond] = 1
            self.assertNotIn(beyond, d)
        with self.assertRaises(TypeError):
            d[1.5] = 1

    def test_what_can_be_no_key_is_not_there(self):
        model = {"a": 1}
        d = self.make(model)
        for key in (1, None, 1.5, ("a",), b"a", "\ud800", "k" * 70000):
            for one in (model, d):
                self.assertNotIn(key, one)
                self.assertIsNone(one.get(key))
                self.assertEqual(one.pop(key, 2), 2)
                for refused in (one.__getitem__, one.__delitem__, one.pop):
                    with self.assertRaises(KeyError):
                        refused(key)
        for key in ([], {}):  # an error for a dict, too
            for refused in (model.__contains__, d.__contains__, model.get, d.get):
                with self.assertRaises(TypeError):
                    refused(key)
        for store in (d.setdefault, d.__setitem__):
            with self.assertRaisesRegex(TypeError, "keys are str, not int"):
                store(1, 2)
        self.assertEqual(d, model)

    def test_nested_dicts_are_live(self):
        d = self.make({"a": {"b": {"n": 1}}}, recurse=True)
        inner = d["a"]["b"]
        inner["n"] += 1
        self.assertEqual(d.data, {"a": {"b": {"n": 2}}})
        d["a"]["b"] = {"other": 1}
        with self.assertRaises(shmdict.Removed):
            inner["n"]
        inner, other = d["a"], d["a"]
        inner.clear()
        with self.assertRaises(shmdict.Removed):
            other.data
        inner["c"] = d["a"]  # a copy
        self.assertEqual(d, {"a": {"c": {}}})

    def test_every_mapping_nests(self):
        def user(**entries):
            return collections.UserDict(entries)

        proxy = types.MappingProxyType({"x": {"y": 1}})
        d = self.make(user(c=user(x=1)), recurse=True, k=user(x=1))
        d["u"] = user(x=user(y=1))
        d["p"] = proxy
        d["deep"] = {"p": proxy}
        d.update(user(up=user(x=1)), more=proxy)
        d.setdefault("s", user(x=1))["x"] = 2
        d |= {"o": collections.ChainMap({"x": 1})}
        d["u"]["x"]["y"] = 2
        d["p"]["x"]["y"] = 2
        d["deep"]["p"]["x"]["y"] = 2
        d["more"]["x"]["y"] = 2
        for key in ("c", "k", "up", "o"):
            d[key]["x"] = 2
        x, y = {"x": 2}, {"x": {"y": 2}}
        tree = {"c": x, "k": x, "u": y, "p": y, "deep": {"p": y}, "up": x, "more": y, "s": x, "o": x}
        self.assertEqual(d.data, tree)
        self.assertEqual(peer(d, "nested"), tree)
        plain = self.make({"u": user(x=1)})  # without recurse: a value, as a dict would be
        with mock.patch.object(shmdict._Mapping, "__len__", lambda _: 9):  # entries come and go while it is written
            plain["l"] = [proxy, d["c"]]
        self.assertEqual(plain, {"u": {"x": 1}, "l": [{"x": {"y": 1}}, x]})
        whole = self.make(d, recurse=True)
        whole.update(d["deep"])
        self.assertEqual(whole.data, {**tree, "p": y})

    def test_values_of_any_size_and_kind_come_back(self):
        d = self.make(buffer_size=65536)
        values = [None, True, False, 0, 23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**64 - 1, -1, -25, -2**63,
                  0.5, 1e300, "", "ü" * 100, b"\0\xff", "x" * 1_000_000, [], [[[]]], {}, {"a": {"b": [1]}}]
        for value in values:
            d["v"] = value
            self.assertEqual(d["v"], value)
            self.assertIs(type(d["v"]), type(value))
        for refused in (2**64, -2**63 - 1, {1: 2}, object(), {1, 2}):
            with self.assertRaises((OverflowError, TypeError)):
                d["v"] = refused
        self.assertEqual(d["v"], values[-1])

    def test_hostile_cbor_is_a_value_error(self):
        for data in (b"", b"\xff", b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", b"\x62x", b"\x01\x01", b"\x81" * 100000,
                     b"\xc1\x01", b"\xa1\x80\x01", b"\x7f\x01\xff"):
            with self.assertRaises(ValueError):
                shmdict._Cbor.loads(data)
        self.assertEqual(shmdict._Cbor.loads(b"\xf9\x3c\x00"), 1.0)
        self.assertEqual(shmdict._Cbor.loads(b"\x9f\x01\x7f\x61a\x61b\xff\xff"), [1, "ab"])
        chance = random.Random(1)
        for _ in range(5000):
            try:
                shmdict._Cbor.loads(chance.randbytes(chance.randrange(16)))
            except ValueError:
                pass

    def test_serializers_are_chosen_by_who_creates(self):
        d = self.make({"a": {1, 2}}, serializer=pickle)
        self.assertEqual(Dict(name=d.name, serializer=pickle)["a"], {1, 2})
        with self.assertRaisesRegex(shmdict.ParameterMismatch, "serializer.*'pickle/1', not 'cbor'"):
            Dict(name=d.name)
        t = self.make({"a": {"b": [1]}}, serializer=json)
        self.assertEqual(peer(t, "text"), {"a": {"b": [1]}})
        r = self.make({"a": {"b": {1}}}, serializer=pickle, recurse=True)
        r["a"]["b"] = {2}
        self.assertEqual(r, {"a": {"b": {2}}})


class AsTheAncestor(Base):
    def test_create_says_what_may_exist(self):
        d = self.make({"a": 1})
        self.assertEqual(Dict({"a": 2}, name=d.name), {"a": 1})  # initial data is the creator's
        with self.assertRaises(Dict.Exceptions.AlreadyExists):
            Dict(name=d.name, create=True)
        with self.assertRaises(Dict.Exceptions.CannotAttachSharedMemory):
            Dict(name=d.name + ".none", create=False)
        with self.assertRaisesRegex(Dict.Exceptions.ParameterMismatch, "keys.*'str', not 'var<i64,str>'"):
            Dict(name=d.name, keys="mixed")
        with self.assertRaisesRegex(Dict.Exceptions.ParameterMismatch, "recurse.*'cbor', not 'json'"):
            Dict(name=d.name, recurse=True)
        one, other = Dict(), Dict()
        self.assertNotEqual(one.name, other.name)

    def test_initial_data_is_there_whole_or_not_at_all(self):
        name = f"test.python.{os.getpid()}.initial"
        with self.assertRaises(TypeError):
            Dict({"a": 1, "b": object()}, name=name)
        with self.assertRaises(Dict.Exceptions.CannotAttachSharedMemory):
            Dict(name=name, create=False)

    def test_close_and_unlink(self):
        d = self.make({"a": 1})
        second = Dict(name=d.name)
        d.unlink()
        self.assertEqual(second["a"], 1)
        self.assertTrue(second.status()["unlinked"])
        self.assertEqual(d.close(), {"a": 1})
        with self.assertRaises(Dict.Exceptions.AlreadyClosed):
            d["a"]
        self.assertFalse(Dict.unlink_by_name(d.name, ignore_errors=True))
        with self.assertRaises(Dict.Exceptions.CannotAttachSharedMemory):
            Dict.unlink_by_name(d.name)
        kept = self.make({"a": 1}, auto_unlink=False)
        kept.close()
        again = Dict(name=kept.name, create=False)
        self.assertEqual(again.close(unlink=True), {"a": 1})
        with self.assertRaises(Dict.Exceptions.CannotAttachSharedMemory):
            Dict(name=kept.name, create=False)

    def test_threads_that_use_what_another_closes_are_told(self):
        def read(d, told):
            try:
                while True:
                    d.get("a")
            except shmdict.AlreadyClosed:
                told.append(True)

        def write(d, told):
            try:
                while True:
                    d["b"] = 2
            except shmdict.AlreadyClosed:
                told.append(True)

        def iterate(d, told):
            try:
                while True:
                    list(d.items())
            except shmdict.AlreadyClosed:
                told.append(True)

        for _ in range(20):
            d, told = self.make({"a": 1}), []
            threads = [threading.Thread(target=use, args=(d, told)) for use in (read, read, write, iterate)]
            for thread in threads:
                thread.start()
            time.sleep(0.01)
            d.close()
            for thread in threads:
                thread.join()
            self.assertEqual(len(told), 4)

    def test_auto_unlink_says_whose_end_is_the_names(self):
        for auto_unlink, policy, stays in ((None, 0, True), (True, 1, False), (False, 3, True)):
            with self.subTest(auto_unlink=auto_unlink):
                d = self.make(auto_unlink=auto_unlink)
                self.assertEqual(d.status()["unlink"], policy)
                ready, end = os.pipe(), os.pipe()

                def other():
                    mine = Dict(name=d.name, create=False)
                    os.write(ready[1], b"x")
                    os.close(end[1])
                    os.read(end[0], 1)  # until the parent closes its end
                    return len(mine)

                pid = in_child(other)
                os.read(ready[0], 1)
                d.close()
                self.assertEqual(os.path.exists("/dev/shm/shmdict." + d.name), stays)
                os.close(end[1])
                self.join(pid)
                for fd in (*ready, end[0]):
                    os.close(fd)

    def test_every_parameter_is_one_and_no_entry(self):
        d = self.make({"a": 1}, create=True, buffer_size=2 << 20, serializer=json, shared_lock=True,
                      full_dump_size=5 << 20, auto_unlink=True, recurse=False, recurse_register=False, keys="mixed")
        self.assertEqual(d.data, {"a": 1})
        s = d.status()
        self.assertEqual((s["name"], s["buffer_size"], s["max_size"]), (d.name, 2 << 20, 5 << 20))
        self.assertEqual((s["key_type"], s["value_type"]), ("var<i64,str>", "json_text"))
        self.assertEqual(self.make(full_dump_size=1).status()["max_size"], 4 << 20)  # the least there is

    def test_full_memory_is_an_error_that_changes_nothing(self):
        d = self.make(full_dump_size=4 << 20)
        with self.assertRaises(Dict.Exceptions.FullDumpMemoryFull):
            for i in range(100):
                d[str(i)] = "x" * 100_000
        self.assertGreater(len(d), 10)
        self.assertNotIn(str(len(d)), d)
        del d["0"]
        d["0"] = "x"

    def test_dump_gives_memory_back_and_load_and_apply_update_have_nothing_to_do(self):
        d = self.make({str(i): "x" * 100 for i in range(20_000)})
        second = Dict(name=d.name)
        for i in range(20_000):
            if i % 20:
                del d[str(i)]
        self.assertNotIn("1", second)
        before = d.status()["memory"]
        d.dump()
        self.assertLess(d.status()["memory"], before * 0.9)
        second.apply_update()
        second.load()
        second.load(force=True)
        self.assertEqual(len(second), 1000)
        second.close()
        for gone in (second.dump, second.apply_update, second.load, second.status):
            with self.assertRaises(Dict.Exceptions.AlreadyClosed):
                gone()

    def test_status_is_printed(self):
        d = self.make({"a": 1})
        with contextlib.redirect_stdout(io.StringIO()) as out:
            d.print_status()
        shown = eval(out.getvalue())
        self.assertEqual((shown["name"], shown["keys"], shown["lock"]["held"]), (d.name, 1, False))

    def test_nothing_leaks(self):
        d = self.make({"a": 1})
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(200):
            Dict(name=d.name).close()
            Dict({"b": 1})
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
        d.close()
        self.assertEqual(glob.glob("/dev/shm/shmdict." + d.name), [])


class WithCpp(Base):
    def test_cpp_reads_what_python_wrote(self):
        tree = {"a": 1, "neg": -7, "big": 2**64 - 1, "f": 0.1, "t": "ü", "l": [1, [2], {"x": None}],
                "d": {"e": {"f": True}, "g": {}}}
        self.assertEqual(peer(self.make(tree, recurse=True), "nested"), tree)
        self.assertEqual(peer(self.make(tree), "plain"), tree)
        with self.assertRaisesRegex(AssertionError, "value type 'cbor', not 'json'"):
            peer(self.make(tree), "nested")

    def test_python_reads_what_cpp_wrote(self):
        d = self.make({"a": {"b": 1}, "z": 0}, recurse=True)
        more = {"a": {"c": [1.5, "x", None], "deep": {"er": {}}}, "k": -(2**40), "pi": 3.25, "u": "日本"}
        peer(d, "merge", json.dumps(more))
        self.assertEqual(d.data, {"a": {"b": 1, **more["a"]}, "z": 0, "k": -(2**40), "pi": 3.25, "u": "日本"})
        self.assertEqual(d["a"]["deep"]["er"], {})

    def test_python_opens_what_cpp_made(self):
        tree = {"a": {"b": 1, "l": [1, {"x": None}]}, "z": 0.5}
        name = self.a_name()
        peer(name, "make", json.dumps(tree))
        self.addCleanup(Dict.unlink_by_name, name)
        d = Dict({"ignored": 1}, name=name)  # recurse and keys are what C++ said
        self.assertEqual(d.data, tree)
        d["a"]["b"] += 1
        d["new"] = {"n": {"m": 1}}
        del d["z"]
        self.assertEqual(peer(name, "nested"), {"a": {"b": 2, "l": [1, {"x": None}]}, "new": {"n": {"m": 1}}})
        with self.assertRaises(shmdict.ParameterMismatch):
            Dict(name=name, recurse=False)

    def test_cpp_has_no_type_for_nested_dicts_with_mixed_keys(self):
        d = self.make({1: {2: {"a": 3}}}, keys="mixed", recurse=True)
        self.assertEqual(d[1][2]["a"], 3)
        for command in ("nested", "mixed"):
            with self.assertRaisesRegex(AssertionError, "type 'var<i64,str>'|type 'json'"):
                peer(d, command)

    def test_both_write_one_dict_at_the_same_time(self):
        d = self.make({"locked": {"n": 0}}, recurse=True)
        with subprocess.Popen([PEER, d.name, "count", "20000"]) as other:
            nested, own = d["locked"], 0
            end = time.monotonic() + 60
            while (other.poll() is None or own < 2000) and time.monotonic() < end:
                with d.lock:
                    nested["n"] += 1
                own += 1
        self.assertEqual(other.returncode, 0)
        self.assertEqual(nested["n"], 20000 + own)
        self.assertEqual(peer(d, "nested"), {"locked": {"n": 20000 + own}})


if __name__ == "__main__":
    unittest.main()
