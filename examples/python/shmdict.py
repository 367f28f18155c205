# SPDX-License-Identifier: Apache-2.0
"""A dict in shared memory for Python programs, over shmdict's C interface. Only the standard library is needed.

    from shmdict import Dict
    d = Dict({"a": 1}, name="hits")      # initial data is the creator's; whoever else opens "hits" has the same dict
    with d.lock(timeout=1.5):            # a single call is atomic; what takes two needs the lock
        d["a"] += 1

The default keys="str" takes str alone, keys="mixed" int and str, which C++ has as K = std::variant<std::int64_t,
std::string>. What a C++ program opens then:
    serializer   recurse   keys    C++
    None         True      str     shm::json_dict
    None         True      mixed   nothing: no type of its nests with such keys
    None         False     str     shm::dict<std::string, nlohmann::json>                    JSON values, as CBOR
    None         False     mixed   shm::dict<K, nlohmann::json>
    json         False     any     shm::dict<std::string or K, T, shm::json_text<T>>
    json         True      any     nothing
    pickle, ...  any       any     nothing; whoever can write to the dict can run code in whoever unpickles from it
With recurse=True every mapping that is stored (a dict, UserDict, ...) becomes a nested dict, and comes back as one.
The library is found as $SHMDICT_LIBRARY or where the system has it.
Thread safety: all threads may use one Dict, and one may close it: what the others are about is done or AlreadyClosed. A
forked child may go on using it; pickling a Dict, as multiprocessing does for a spawned child, opens it again by name.
"""

import collections.abc
import contextlib
import ctypes
import ctypes.util
import os
import pprint
import re
import secrets
import struct
import time
from ctypes import POINTER, byref, c_char, c_char_p, c_int, c_int64, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p

# ---- errors: the ancestor's names, with the core's sentences ---------------------------------------------------------


class Error(Exception):
    """code; who was in the way: blocking_pid, thread, program, held and waited in seconds; 0 or '' if unknown."""

    def __init__(self, message, code=0, info=None):
        super().__init__(message)
        self.code = code
        self.blocking_pid = info.pid if info else 0
        self.thread = info.thread if info else 0
        self.program = info.program.decode(errors="replace") if info else ""
        self.held = info.held_ns / 1e9 if info else 0.0
        self.waited = info.waited_ns / 1e9 if info else 0.0


class AlreadyExists(Error): pass
class CannotAttachSharedMemory(Error): pass
class ParameterMismatch(Error): pass
class AlreadyClosed(Error): pass
class FullDumpMemoryFull(Error): pass
class CannotAcquireLock(Error): pass
class CannotAcquireLockTimeout(CannotAcquireLock): pass
class Removed(Error): """A nested dict that was erased or replaced, or cleared through another handle."""


_ERRORS = {-4: CannotAttachSharedMemory, -5: AlreadyExists, -8: ParameterMismatch, -9: ParameterMismatch,
           -13: FullDumpMemoryFull, -20: AlreadyClosed, -21: Removed,
           -26: CannotAcquireLockTimeout}
_NO_SUCH_DICT, _ALREADY_EXISTS, _BUSY, _LOCK_TIMEOUT, _IS_A_DICT, _NOT_A_DICT = -4, -5, -24, -26, -30, -31
_ABORTED, _OWNER_ALIVE = -37, -38
_OK, _NOT_FOUND, _EXISTS, _RECOVERED, _TIMED_OUT, _TRUNCATED, _END = range(7)
_MAX_KEY = 65535  # bytes
_PATIENCE = 10.0  # seconds that whatever writes waits for the lock, but for Lock, which is told
# No call of the library waits longer: only between two of them Python runs signal handlers, and so sees Ctrl-C.
_SLICE = 0.2

# ---- the C interface -------------------------------------------------------------------------------------------------


class _ErrorInfo(ctypes.Structure):
    _fields_ = [("code", c_int), ("system_error", c_int), ("pid", c_int64), ("thread", c_int64), ("held_ns", c_uint64),
                ("waited_ns", c_uint64), ("program", c_char * 32), ("message", c_char * 480)]


_Init = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p)


class _Options(ctypes.Structure):  # the library is told its size, and refuses another
    _fields_ = [("struct_size", c_uint32), ("layout_version", c_uint32), ("mode", c_int), ("unlink", c_int),
                ("flags", c_uint32), ("permissions", c_uint32), ("max_size", c_uint64), ("segment_size", c_uint64),
                ("buffer_size", c_uint64), ("max_pin_bytes", c_uint64), ("max_processes", c_uint32),
                ("fd", c_int), ("timeout", c_uint64), ("key_type", c_char_p), ("value_type", c_char_p),
                ("init", _Init), ("init_context", c_void_p)]


class _Node(ctypes.Structure):
    _fields_ = [("id", c_uint32), ("generation", c_uint32)]


class _Entry(ctypes.Structure):
    _fields_ = [("key", c_void_p), ("value", c_void_p), ("key_size", c_size_t), ("value_size", c_size_t),
                ("is_dict", c_int), ("node", _Node), ("position", c_uint64)]


class _LockOptions(ctypes.Structure):
    _fields_ = [("struct_size", c_uint32), ("block", c_int), ("timeout", c_int64), ("sleep_time", c_int64),
                ("steal", c_int), ("steal_after_timeout", c_int)]


class _LockInfo(ctypes.Structure):
    _fields_ = [("held", c_int), ("alive", c_int), ("by_this_thread", c_int), ("waiters", c_uint32), ("slot", c_uint32),
                ("pid", c_int64), ("thread", c_int64), ("held_ns", c_uint64), ("since", c_uint64),
                ("acquisitions", c_uint64), ("program", c_char * 32), ("room", c_uint8 * 128)]


class _Stats(ctypes.Structure):
    _fields_ = [("name", c_char * 208), ("key_type", c_char * 256), ("value_type", c_char * 512), ("id", c_uint8 * 16),
                ("layout_version", c_uint32), ("attached", c_uint32), ("max_processes", c_uint32), ("unlink", c_int),
                ("unlinked", c_int), ("read_only", c_int), ("creator_pid", c_int64), ("max_size", c_uint64),
                ("segment_size", c_uint64), ("buffer_size", c_uint64), ("max_pin_bytes", c_uint64),
                ("memory", c_uint64), ("live_bytes", c_uint64), ("index_bytes", c_uint64), ("log_bytes", c_uint64),
                ("keys", c_uint64),
                ("nodes", c_uint64), ("position", c_uint64), ("commits", c_uint64), ("recoveries", c_uint64),
                ("replays", c_uint64), ("room", c_uint8 * 1024)]


_lib = ctypes.CDLL(os.environ.get("SHMDICT_LIBRARY") or ctypes.util.find_library("shmdict") or "libshmdict.so.0.1")
_lib.shmd_last_error.restype = POINTER(_ErrorInfo)
_lib.shmd_error_message.restype = c_char_p
_lib.shmd_options_init_for.argtypes = [POINTER(_Options), c_size_t, c_uint32]
_lib.shmd_options_init_for.restype = None
_lib.shmd_layout_version.restype = c_uint32
_lib.shmd_lock_options_init_for.argtypes = [POINTER(_LockOptions), c_size_t]
_lib.shmd_lock_options_init_for.restype = None
_D, _K = c_void_p, [c_char_p, c_size_t]
for _name, *_types in [
        ("open", c_char_p, POINTER(_Options), POINTER(c_void_p)), ("close", _D), ("unlink", c_char_p),
        ("unlink_this", _D),
        ("get", _D, _Node, *_K, c_void_p, c_size_t, POINTER(c_size_t)), ("contains", _D, _Node, *_K),
        ("put", _D, _Node, *_K, *_K, c_uint32), ("erase", _D, _Node, *_K), ("count", _D, _Node, POINTER(c_uint64)),
        ("clear", _D, _Node, POINTER(_Node)), ("node_open", _D, _Node, *_K, c_uint32, POINTER(_Node)),
        ("lock_with", _D, POINTER(_LockOptions)), ("lock_steal", _D, c_int64), ("unlock", _D),
        ("lock_status", _D, POINTER(_LockInfo)), ("begin", _D, c_int64), ("commit", _D), ("abort", _D),
        ("in_transaction", _D), ("transaction_mark", _D), ("transaction_spoil", _D, c_uint64),
        ("snapshot_open", _D, POINTER(c_void_p)),
        ("iter_open", c_void_p, _Node, POINTER(c_void_p)), ("iter_next", c_void_p, POINTER(_Entry)),
        ("stat", _D, POINTER(_Stats)), ("compact", _D)]:
    getattr(_lib, "shmd_" + _name).argtypes = _types
_lib.shmd_transaction_mark.restype = c_uint64
for _name in ("snapshot_close", "iter_close"):
    getattr(_lib, "shmd_" + _name).argtypes = [c_void_p]
    getattr(_lib, "shmd_" + _name).restype = None


def _check(result):
    if result >= 0:
        return result
    info = _lib.shmd_last_error().contents
    known = info.code == result
    message = (info.message if known else _lib.shmd_error_message(result)).decode(errors="replace")
    raise _ERRORS.get(result, Error)(message, result, info if known else None)


# ---- keys and values as bytes ----------------------------------------------------------------------------------------


class _StrKeys:
    name = "str"

    @staticmethod
    def dumps(key):
        if not isinstance(key, str):
            raise TypeError(f"keys are str, not {type(key).__name__}; a dict created with keys='mixed' takes int, too")
        return key.encode()

    @staticmethod
    def loads(data):
        return data.decode()


class _MixedKeys:
    name = "var<i64,str>"

    @staticmethod
    def dumps(key):
        if isinstance(key, int):
            if not -2**63 <= key < 2**63:
                raise OverflowError("int keys are stored from -2**63 to 2**63-1")
            return struct.pack("<Iq", 0, key)
        if not isinstance(key, str):
            raise TypeError(f"keys are int or str, not {type(key).__name__}")
        data = key.encode()
        return struct.pack("<II", 1, len(data)) + data

    @staticmethod
    def loads(data):
        return struct.unpack("<q", data[4:])[0] if data[:1] == b"\0" else data[8:].decode()


class _Cbor:
    """RFC 8949, as nlohmann/json writes and reads it: JSON's values, bytes, and integers from -2**63 to 2**64-1."""
    name = "cbor"

    @classmethod
    def dumps(cls, value):
        out = bytearray()
        cls._write(out, value)
        return bytes(out)

    @classmethod
    def _head(cls, out, major, n):
        if n < 24:
            out.append(major << 5 | n)
            return
        for info, code, bits in ((24, ">B", 8), (25, ">H", 16), (26, ">I", 32), (27, ">Q", 64)):
            if n < 1 << bits:
                out.append(major << 5 | info)
                out += struct.pack(code, n)
                return
        raise OverflowError("integers are stored from -2**63 to 2**64-1")

    @classmethod
    def _write(cls, out, v):
        if v is None or isinstance(v, bool):
            out.append({False: 0xf4, True: 0xf5, None: 0xf6}[v])
        elif isinstance(v, int):
            if v < -2**63:
                raise OverflowError("integers are stored from -2**63 to 2**64-1")
            cls._head(out, 0 if v >= 0 else 1, v if v >= 0 else -1 - v)
        elif isinstance(v, float):
            out += b"\xfb" + struct.pack(">d", v)
        elif isinstance(v, str):
            data = v.encode()
            cls._head(out, 3, len(data))
            out += data
        elif isinstance(v, (bytes, bytearray)):
            cls._head(out, 2, len(v))
            out += v
        elif isinstance(v, (list, tuple)):
            cls._head(out, 4, len(v))
            for e in v:
                cls._write(out, e)
        elif isinstance(v, collections.abc.Mapping):
            v = _plain(v)  # of a live one, one moment
            cls._head(out, 5, len(v))
            for key, e in v.items():
                if not isinstance(key, str):
                    raise TypeError("dicts inside of JSON values have str keys")
                cls._write(out, key)
                cls._write(out, e)
        else:
            raise TypeError(f"{type(v).__name__} is no JSON value; choose a serializer that stores it, such as pickle")

    @classmethod
    def loads(cls, data):
        try:
            value, end = cls._read(data, 0)
        except (IndexError, struct.error, UnicodeDecodeError, RecursionError, TypeError) as e:
            raise ValueError(f"the stored bytes are not JSON in CBOR: {e}") from None
        if end != len(data):
            raise ValueError("the stored bytes are not JSON in CBOR: there are bytes left over")
        return value

    @classmethod
    def _read(cls, data, at):
        first = data[at]
        major, info, at = first >> 5, first & 31, at + 1
        if major == 7:
            if info in (20, 21, 22):
                return {20: False, 21: True, 22: None}[info], at
            code, size = {25: (">e", 2), 26: (">f", 4), 27: (">d", 8)}.get(info, (None, 0))
            if code is None:
                raise TypeError(f"simple value {info}")
            return struct.unpack(code, data[at:at + size])[0], at + size
        n = info
        if 24 <= info <= 27:
            size = 1 << (info - 24)
            n, at = int.from_bytes(data[at:at + size], "big") if at + size <= len(data) else data[len(data)], at + size
        elif info > 27 and not (info == 31 and major in (2, 3, 4, 5)):
            raise TypeError(f"item {first:#x}")
        if major == 0 or major == 1:
            return (n if major == 0 else -1 - n), at
        if major in (2, 3) and info != 31:
            if at + n > len(data):
                raise IndexError("it is truncated")
            return (bytes(data[at:at + n]) if major == 2 else data[at:at + n].decode()), at + n
        if major == 6:
            raise TypeError("tags are not JSON")
        items = []
        while data[at] != 0xff if info == 31 else len(items) < n * (2 if major == 5 else 1):
            item, at = cls._read(data, at)
            items.append(item)
        at += info == 31
        if major in (2, 3):
            return (b"" if major == 2 else "").join(items), at
        return (items if major == 4 else dict(zip(items[::2], items[1::2]))), at


class _Module:
    """Whatever has dumps and loads: pickle, marshal, json, a module or object of one's own."""

    def __init__(self, module, recurse):
        self._module = module
        name = getattr(module, "__name__", type(module).__name__)
        self.name = "json_text" if name == "json" and not recurse else f"{'recursive.' if recurse else ''}{name}/1"

    def dumps(self, value):
        data = self._module.dumps(value)
        return data.encode() if isinstance(data, str) else data

    def loads(self, data):
        return self._module.loads(data)


def _plain(value):
    return value.data if isinstance(value, _Mapping) else value


# ---- dicts -----------------------------------------------------------------------------------------------------------


class _Mapping(collections.abc.MutableMapping):
    """A dict of the tree: Dict itself, or what a key of it holds. Every call is atomic; iteration shows one moment."""

    def _call(self, function, *arguments):
        return self._root._on_handle(function, self._node, *arguments)

    def _find(self, key):
        """The bytes of a key to look for. None: no key of this dict can be it."""
        try:
            k = self._root._keys.dumps(key)
        except (TypeError, OverflowError, UnicodeEncodeError):
            hash(key)  # what no dict can have as a key is an error here, too
            return None
        return k if len(k) <= _MAX_KEY else None

    def __getitem__(self, key):
        k, size, capacity = self._find(key), c_size_t(), 1024
        if k is None:
            raise KeyError(key)
        while True:
            buffer = ctypes.create_string_buffer(capacity)
            result = self._call(_lib.shmd_get, k, len(k), buffer, capacity, byref(size))
            if result == _OK:
                return self._root._values.loads(buffer.raw[:size.value])
            if result == _NOT_FOUND:
                raise KeyError(key)
            if result == _TRUNCATED:
                capacity = size.value
            elif result == _IS_A_DICT:
                node = _Node()
                result = self._call(_lib.shmd_node_open, k, len(k), 0, byref(node))
                if result == _OK:
                    return _Nested(self._root, node)
                if result not in (_NOT_FOUND, _NOT_A_DICT):  # these: it was changed meanwhile
                    _check(result)
            else:
                _check(result)

    def __setitem__(self, key, value):
        k, encoded = self._root._encode_entry(key, value)
        if isinstance(encoded, list):
            with self._root._transaction():
                self._root._put(self._node, k, encoded)
        else:
            self._root._put(self._node, k, encoded)

    def __delitem__(self, key):
        k = self._find(key)
        if k is None or _check(self._call(_lib.shmd_erase, k, len(k))) == _NOT_FOUND:
            raise KeyError(key)

    def __contains__(self, key):
        k = self._find(key)
        if k is None:
            return False
        result = self._call(_lib.shmd_contains, k, len(k))
        return result == _IS_A_DICT or _check(result) == _OK

    def __len__(self):
        n = c_uint64()
        _check(self._call(_lib.shmd_count, byref(n)))
        return n.value

    def _entries(self, read):
        """read(snapshot, entry) of each entry of one snapshot."""
        snapshot = c_void_p()
        _check(self._root._on_handle(_lib.shmd_snapshot_open, byref(snapshot)))
        try:
            return self._walk(snapshot, self._node, read)
        finally:
            _lib.shmd_snapshot_close(snapshot)

    def _walk(self, snapshot, node, read):
        it, entry, out = c_void_p(), _Entry(), []
        _check(_lib.shmd_iter_open(snapshot, node, byref(it)))
        try:
            while _check(_lib.shmd_iter_next(it, byref(entry))) != _END:
                out.append(read(snapshot, entry))
        finally:
            _lib.shmd_iter_close(it)
        return out

    def _key_of(self, entry):
        return self._root._keys.loads(ctypes.string_at(entry.key, entry.key_size))

    def _value_of(self, entry):
        if entry.is_dict:
            return _Nested(self._root, _Node(entry.node.id, entry.node.generation))
        return self._root._values.loads(ctypes.string_at(entry.value, entry.value_size))

    def _deep(self, snapshot, entry):
        key = self._key_of(entry)
        if entry.is_dict:
            return key, dict(self._walk(snapshot, entry.node, self._deep))
        return key, self._value_of(entry)

    def __iter__(self):
        return iter(self.keys())

    def keys(self):
        return self._entries(lambda _, e: self._key_of(e))

    def values(self):
        return self._entries(lambda _, e: self._value_of(e))

    def items(self):
        return self._entries(lambda _, e: (self._key_of(e), self._value_of(e)))

    @property
    def data(self):
        """A plain dict with all that is nested in it, as one commit shows it: a copy, not a cache that goes stale."""
        return dict(self._entries(self._deep))

    def copy(self):
        return self.data

    def pop(self, key, *default):
        with self._root._transaction():
            try:
                value = _plain(self[key])
            except KeyError:
                if default:
                    return default[0]
                raise
            del self[key]
            return value

    def popitem(self):
        with self._root._transaction():
            for key in self:
                return key, self.pop(key)
            raise KeyError("popitem(): dictionary is empty")

    def setdefault(self, key, default=None):
        with self._root._transaction():
            if key not in self:
                self[key] = default
            return self[key]

    def update(self, *args, **kwargs):
        with self._root._transaction():
            for k, encoded in self._root._encode_entries(dict(*map(_plain, args), **kwargs)):
                self._root._put(self._node, k, encoded)

    def clear(self):
        fresh = _Node()
        _check(self._call(_lib.shmd_clear, byref(fresh)))
        self._node = fresh

    def __or__(self, other):
        return self.data | dict(_plain(other))

    def __ror__(self, other):
        return dict(_plain(other)) | self.data

    def __ior__(self, other):
        self.update(_plain(other))
        return self

    def __eq__(self, other):
        return self.data == _plain(other)

    __hash__ = None

    def __repr__(self):
        return repr(self.data)


class _Nested(_Mapping):
    """The dict under a key, by identity: Removed is raised once it was erased or replaced, or cleared through another
    handle."""

    def __init__(self, root, node):
        self._root, self._node = root, node

    def clear(self):
        root = self._root
        if not _lib.shmd_in_transaction(root._handle()):
            super().clear()
            return
        # One by one: should the transaction be aborted, a fresh dict never was, and the handle would have lost its own.
        with root._transaction():
            for k in self._entries(lambda _, e: ctypes.string_at(e.key, e.key_size)):
                _check(self._call(_lib.shmd_erase, k, len(k)))


class Dict(_Mapping):
    """Dict(initial, name=..., key=value, ...): see the module. What opens an existing dict may leave recurse, keys and
    serializer out (the dict knows; a serializer other than JSON has to be given), or gets ParameterMismatch."""

    Exceptions = type("Exceptions", (), {c.__name__: c for c in (
        AlreadyExists, CannotAttachSharedMemory, ParameterMismatch, AlreadyClosed, FullDumpMemoryFull,
        CannotAcquireLock, CannotAcquireLockTimeout, Removed)})

    def __init__(self, *args, name=None, create=None, buffer_size=0, serializer=None, shared_lock=None,
                 full_dump_size=0, auto_unlink=None, recurse=None, recurse_register=None, keys=None, **kwargs):
        # shared_lock and recurse_register are the ancestor's: here is one kind of lock, and nothing to register.
        del shared_lock, recurse_register
        if create is False and name is None:
            raise ValueError("create=False needs a name")
        self._node, self._d, self._recovered = _Node(0, 0), c_void_p(), False
        self._asked = {"serializer": serializer, "recurse": recurse, "keys": keys}
        self.name = name or "py." + secrets.token_hex(8)
        initial = dict(*map(_plain, args), **kwargs)
        options = _Options()
        _lib.shmd_options_init_for(byref(options), ctypes.sizeof(options), _lib.shmd_layout_version())
        options.max_size = max(full_dump_size, 4 << 20) if full_dump_size else 0
        options.buffer_size = buffer_size
        options.timeout = int(_SLICE * 1e9)
        options.unlink = {None: 0, True: 1, False: 3}[auto_unlink]
        while True:
            result = _NO_SUCH_DICT
            if create is not True:
                options.mode = 2
                result = _lib.shmd_open(self.name.encode(), byref(options), byref(self._d))
            if result == _NO_SUCH_DICT and create is not False:
                result = self._create(options, initial)
            if result != _ALREADY_EXISTS or create is True:
                break
        _check(result)
        try:
            self._learn()
        except Exception:
            self._end()
            raise

    @property
    def _root(self):  # no reference to itself: closed as soon as nobody has it
        return self

    @property
    def lock(self):
        return Lock(self)

    def _types(self, stored_keys=None, stored_values=None):
        """Key and value codec: what was asked for, else what is stored, else str and JSON."""
        serializer, recurse, keys = self._asked["serializer"], self._asked["recurse"], self._asked["keys"]
        if keys is None:
            keys = "mixed" if stored_keys == _MixedKeys.name else "str"
        if recurse is None:
            recurse = stored_values == "json" or (stored_values or "").startswith("recursive.")
        self._keys = {"str": _StrKeys, "mixed": _MixedKeys}[keys]
        self._recurse = bool(recurse)
        self._values = _Cbor if serializer is None else _Module(serializer, self._recurse)
        return self._keys.name, "json" if self._recurse and serializer is None else self._values.name

    def _create(self, options, initial):
        key_type, value_type = self._types()
        entries, error = self._encode_entries(initial), []

        def fill(d, _):
            try:
                self._d = c_void_p(d)
                for k, encoded in entries:
                    self._put(self._node, k, encoded)
                return 0
            except BaseException as e:
                error.append(e)
                return _ABORTED
            finally:
                self._d = c_void_p()

        mine = _Options.from_buffer_copy(options)
        mine.mode, mine.init = 1, _Init(fill)
        mine.key_type, mine.value_type = key_type.encode(), value_type.encode()
        handle = c_void_p()
        result = _lib.shmd_open(self.name.encode(), byref(mine), byref(handle))
        self._d = handle
        if error:
            raise error[0]
        return result

    def _learn(self):
        s = self._stat()
        stored = s.key_type.decode(), s.value_type.decode()
        asked = self._types(*stored)
        for what, have, want in zip(("keys", "serializer and recurse"), stored, asked):
            if have != want:
                raise ParameterMismatch(f"dict '{self.name}': {what}: it was made with '{have}', not '{want}'")

    def _handle(self):
        if not self._d:
            raise AlreadyClosed(f"dict '{self.name}' is closed", -20)
        return self._d

    def _in_slices(self, attempt, began, patience, block=True):
        """What attempt(nanoseconds, whether it is the last) answers when the lock does not keep it waiting any more."""
        now, acquisitions, since = time.monotonic(), None, began
        while True:
            last = now >= began + patience - _SLICE
            result = attempt(int(max(0, min(_SLICE, began + patience - now)) * 1e9), last)
            if result not in (_TIMED_OUT, _LOCK_TIMEOUT):
                return _check(result)
            # The library speaks of one slice. How often the lock was taken tells whether its owner is still the same.
            info = _ErrorInfo.from_buffer_copy(_lib.shmd_last_error().contents)
            lock, now = self.lock._info(), time.monotonic()
            if lock.acquisitions != acquisitions:
                acquisitions, since = lock.acquisitions, now - info.held_ns / 1e9
            if last:
                break
        info.waited_ns = int((now - began) * 1e9)
        info.held_ns = max(info.held_ns, int((now - since) * 1e9)) if info.pid else 0
        message = info.message.decode(errors="replace")
        message = re.sub(r"(?<= after )[0-9.]+(?= s waiting )", f"{info.waited_ns / 1e9:.1f}", message)
        message = re.sub(r"(?<=, for )[0-9.]+(?= s; it may )", f"{info.held_ns / 1e9:.1f}", message)
        raise (CannotAcquireLockTimeout if block else CannotAcquireLock)(message, _LOCK_TIMEOUT, info)

    def _on_handle(self, function, *arguments):
        """The library's function on this handle."""
        result = function(self._handle(), *arguments)
        if result != _LOCK_TIMEOUT:
            return result
        return self._in_slices(lambda *_: function(self._handle(), *arguments), time.monotonic() - _SLICE, _PATIENCE)

    @contextlib.contextmanager
    def _transaction(self):
        """All or nothing; inside another one a part of that."""
        d = self._handle()
        if _lib.shmd_in_transaction(d):
            mark = _lib.shmd_transaction_mark(d)
            try:
                yield
            except BaseException:
                if self._d:  # one half of it must not be committed, should somebody go on after this
                    _lib.shmd_transaction_spoil(d, mark)
                raise
            return
        try:
            self._in_slices(lambda ns, _: _lib.shmd_begin(d, ns), time.monotonic(), _PATIENCE)
            yield
            _check(_lib.shmd_commit(self._handle()))
        except BaseException:
            if not self._d or _lib.shmd_in_transaction(d):
                _lib.shmd_abort(d)  # of a handle that another thread closed: gives the lock back
            raise

    def transaction(self):
        """with d.transaction(): others see what is written inside at its end, all of it, or none if it raises. Once a
        call that writes several entries failed between two of them, or a block like this inside this one, it is none:
        whoever catches that error gets another from each further write, and at the end."""
        return self._transaction()

    # All that is to be stored becomes bytes before the first write: of what cannot be stored, nothing is.

    def _encode_entry(self, key, value):
        """(key, value) as bytes; instead of the value a list of such pairs for a nested dict."""
        k, value = self._keys.dumps(key), _plain(value)
        if self._recurse and isinstance(value, collections.abc.Mapping):
            return k, self._encode_entries(value)
        return k, self._values.dumps(value)

    def _encode_entries(self, entries):
        return [self._encode_entry(key, value) for key, value in entries.items()]

    def _put(self, node, k, encoded):
        if not isinstance(encoded, list):
            _check(self._on_handle(_lib.shmd_put, node, k, len(k), encoded, len(encoded), 0))
            return
        child = _Node()
        _check(self._on_handle(_lib.shmd_node_open, node, k, len(k), 2, byref(child)))
        for inner in encoded:
            self._put(child, *inner)

    @classmethod
    def fromkeys(cls, keys, value=None, **kwargs):
        return cls(dict.fromkeys(keys, value), **kwargs)

    def _stat(self):
        s = _Stats()
        _check(_lib.shmd_stat(self._handle(), byref(s)))
        return s

    def status(self):
        s = self._stat()
        out = {f: getattr(s, f) for f, *_ in _Stats._fields_ if f not in ("id", "room")}
        out = {f: v.decode() if isinstance(v, bytes) else v for f, v in out.items()}
        return {**out, "id": bytes(s.id).hex(), "lock": self.lock.status()}

    def print_status(self):
        pprint.pprint(self.status(), sort_dicts=False)

    # Every read is current and the history is kept by itself: two of these have nothing to do.
    def apply_update(self):
        self._handle()

    def load(self, force=False):
        self._handle()

    def dump(self):
        """Gives memory back that is free now, in bounded steps; it happens by itself as well."""
        _check(self._on_handle(_lib.shmd_compact))

    def unlink(self):
        _check(_lib.shmd_unlink_this(self._handle()))

    @staticmethod
    def unlink_by_name(name, ignore_errors=False):
        result = _lib.shmd_unlink(name.encode())
        if result < 0 and not ignore_errors:
            _check(result)
        return result >= 0

    def close(self, unlink=False):
        """Ends it and returns its data. The calling thread's lock is released, its open transaction aborted."""
        if not self._d:
            return {}
        data = self.data
        if unlink:
            self.unlink()
        self._end()
        return data

    def _end(self):
        self._closed, self._d = self._d, c_void_p()
        result = _lib.shmd_close(self._closed)
        if result != -20:  # else another thread was faster
            _check(result)

    def __del__(self):
        if getattr(self, "_d", None):
            self._end()

    def __reduce__(self):
        return _reopen, (self.name, self._asked)


def _reopen(name, asked):
    return Dict(name=name, create=False, **asked)


class Lock:
    """The writers' lock: with d.lock: ..., with d.lock(timeout=1.5): ..., d.lock.acquire(). Re-entrant per thread; safe
    across fork, spawn and unrelated processes. Readers go on reading.

    A dead owner's lock is taken over as soon as that is noticed, and `recovered` says so; with steal=False only at the
    end of the timeout, with steal_after_timeout=False as well only by steal_from_dead(). sleep_time: seconds between
    two looks at the lock, at most 0.2; without it, the owner wakes who waits."""

    def __init__(self, d):
        self._dict = d

    @property
    def recovered(self):
        return self._dict._recovered

    def acquire(self, block=True, timeout=None, steal=True, sleep_time=None, steal_after_timeout=True):
        how, answer = _LockOptions(), []
        _lib.shmd_lock_options_init_for(byref(how), ctypes.sizeof(how))
        how.steal, how.sleep_time = bool(steal), -1 if sleep_time is None else int(sleep_time * 1e9)
        patience = 0 if not block else float("inf") if timeout is None else timeout
        inner = self.recovered and self._info().by_this_thread

        def attempt(ns, last):
            how.timeout, how.steal_after_timeout = ns, last and bool(steal_after_timeout)
            # A signal handler that raises comes between two steps of the interpreter. To call and to keep the answer is
            # one step here: no lock is taken and forgotten.
            answer[:] = map(_lib.shmd_lock_with, (self._dict._handle(),), (byref(how),))
            return answer[0]

        try:
            result = self._dict._in_slices(attempt, time.monotonic(), patience, block)
        except BaseException:
            if answer and answer[0] in (_OK, _RECOVERED):
                self.release()
            raise
        self._dict._recovered = result == _RECOVERED or bool(inner)
        return True

    def release(self):
        _check(_lib.shmd_unlock(self._dict._handle()))

    @contextlib.contextmanager
    def __call__(self, **how):
        self.acquire(**how)
        try:
            yield self
        finally:
            self.__exit__()

    def __enter__(self):
        self.acquire()
        return self

    def __exit__(self, *_):
        if self._dict._d:
            self.release()
        else:  # close() released it, if it was this thread's; another thread's close() left that to this one
            _lib.shmd_unlock(self._dict._closed)

    def steal_from_dead(self, from_pid=0):
        """Takes the lock if its owner died (and is that one). Whether it did; the lock is held then."""
        result = _lib.shmd_lock_steal(self._dict._handle(), from_pid)
        if result in (_NOT_FOUND, _OWNER_ALIVE, _BUSY):
            return False
        self._dict._recovered = _check(result) == _RECOVERED
        return True

    def _info(self):
        info = _LockInfo()
        _check(_lib.shmd_lock_status(self._dict._handle(), byref(info)))
        return info

    def status(self):
        info = self._info()
        return {"held": bool(info.held), "alive": bool(info.alive), "pid": info.pid, "thread": info.thread,
                "held_for": info.held_ns / 1e9, "waiters": info.waiters,
                "program": info.program.decode(errors="replace")}
