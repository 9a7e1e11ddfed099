"""A prepared call as one function of CPython: arrays in, one run, arrays out, without ctypes or Python between.

A step of a small model takes a microsecond, and ctypes alone takes a third of one for its way in and out. So the call
is a builtin whose code LLVM makes, once in a process: it looks whether the program is open and has run before, and
whether every argument is an array of the one type, dtype and shape, and in one piece; copies them to their places; runs
the step; and returns a list of copies of the results. Whatever else it is given it hands on as it is to the ordinary
way (`call.py`), which does it or refuses it.

It reads the heads of objects where CPython and NumPy have kept them since 2006 (`PyArrayObject_fields` of NumPy's C
interface). `is_layout_known` compares that with arrays of known contents before the first use; where it differs, or the
interpreter is another one, every call goes the ordinary way.
"""

import ctypes
import sys
import sysconfig
import threading
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple, NoReturn

import llvmlite.binding as llvm
import numpy as np
import numpy.typing as npt

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.base.errors import LocalError

RANK_MAX = 8
_FUNCTIONS = (
    *("PyObject_Vectorcall", "PyObject_CallNoArgs", "PyObject_CallOneArg", "PyLong_FromUnsignedLong"),
    *("PyList_New", "PyList_SetItem", "Py_DecRef"),
)
"""Of CPython's interface, in the order of the table."""
_WORDS = ("gate", "run", "arena", "given", "type", "ordinary", "refuse", "results", *_FUNCTIONS)
"""The table begins with these: the address of the word that is 0 unless the program is open and has run, the code and
its arena, the number of inputs, the type of arrays, what is called instead, what is called with flags, the number of
results. Inputs follow, then what copies each result."""
INPUT_WORDS = 4 + RANK_MAX
"""Of an input in the table: place, bytes, dtype, rank, lengths of the axes."""
TYPE, DATA, RANK, SHAPE, DTYPE, FLAGS = 8, 16, 24, 32, 56, 64
"""Where an array keeps these, in bytes from its start."""
IN_ONE_PIECE = 1
FASTCALL = 0x80
"""METH_FASTCALL: arguments come as an array and its length."""
CHUNK = 64

NewMachine = Callable[[], Any]
"""Makes LLVM's description of this machine."""

_LOADS = "".join(
    f"  %at_{name} = getelementptr i64, ptr %table, i64 {at}\n"
    f"  %{name} = load {'i64' if name in ('given', 'results') else 'ptr'}, ptr %at_{name}\n"
    for at, name in enumerate(_WORDS)
)
_TEXT = f"""
define ptr @call(ptr %self, ptr %args, i64 %number) {{
entry:
  %at_data = getelementptr i8, ptr %self, i64 {DATA}
  %table = load ptr, ptr %at_data
{_LOADS}
  %inputs = getelementptr i64, ptr %table, i64 {len(_WORDS)}
  %open = load i64, ptr %gate
  %is_open = icmp ne i64 %open, 0
  %as_many = icmp eq i64 %number, %given
  %expected = and i1 %is_open, %as_many
  br i1 %expected, label %look, label %leave

look:
  %i = phi i64 [0, %entry], [%i_next, %looked]
  %all_seen = icmp eq i64 %i, %given
  br i1 %all_seen, label %copy, label %look_type
look_type:
  %at_arg = getelementptr ptr, ptr %args, i64 %i
  %arg = load ptr, ptr %at_arg
  %at_arg_type = getelementptr i8, ptr %arg, i64 {TYPE}
  %arg_type = load ptr, ptr %at_arg_type
  %is_array = icmp eq ptr %arg_type, %type
  br i1 %is_array, label %look_form, label %leave
look_form:
  %input_word = mul i64 %i, {INPUT_WORDS}
  %input = getelementptr i64, ptr %inputs, i64 %input_word
  %at_dtype = getelementptr i64, ptr %input, i64 2
  %dtype = load ptr, ptr %at_dtype
  %at_arg_dtype = getelementptr i8, ptr %arg, i64 {DTYPE}
  %arg_dtype = load ptr, ptr %at_arg_dtype
  %same_dtype = icmp eq ptr %arg_dtype, %dtype
  %at_rank = getelementptr i64, ptr %input, i64 3
  %rank = load i64, ptr %at_rank
  %at_arg_rank = getelementptr i8, ptr %arg, i64 {RANK}
  %arg_rank_32 = load i32, ptr %at_arg_rank
  %arg_rank = sext i32 %arg_rank_32 to i64
  %same_rank = icmp eq i64 %arg_rank, %rank
  %at_flags = getelementptr i8, ptr %arg, i64 {FLAGS}
  %flags_32 = load i32, ptr %at_flags
  %piece = and i32 %flags_32, {IN_ONE_PIECE}
  %in_one_piece = icmp ne i32 %piece, 0
  %same_kind = and i1 %same_dtype, %same_rank
  %same_form = and i1 %same_kind, %in_one_piece
  br i1 %same_form, label %look_axes, label %leave
look_axes:
  %at_shape = getelementptr i8, ptr %arg, i64 {SHAPE}
  %shape = load ptr, ptr %at_shape
  %lengths = getelementptr i64, ptr %input, i64 4
  br label %look_axis
look_axis:
  %axis = phi i64 [0, %look_axes], [%axis_next, %same_axis]
  %axes_seen = icmp eq i64 %axis, %rank
  br i1 %axes_seen, label %looked, label %look_length
look_length:
  %at_length = getelementptr i64, ptr %lengths, i64 %axis
  %length = load i64, ptr %at_length
  %at_arg_length = getelementptr i64, ptr %shape, i64 %axis
  %arg_length = load i64, ptr %at_arg_length
  %same_length = icmp eq i64 %arg_length, %length
  br i1 %same_length, label %same_axis, label %leave
same_axis:
  %axis_next = add i64 %axis, 1
  br label %look_axis
looked:
  %i_next = add i64 %i, 1
  br label %look

copy:
  %k = phi i64 [0, %look], [%k_next, %copied]
  %all_copied = icmp eq i64 %k, %given
  br i1 %all_copied, label %step, label %copy_one
copy_one:
  %at_source = getelementptr ptr, ptr %args, i64 %k
  %source_array = load ptr, ptr %at_source
  %at_source_data = getelementptr i8, ptr %source_array, i64 {DATA}
  %source = load ptr, ptr %at_source_data
  %place_word = mul i64 %k, {INPUT_WORDS}
  %at_place = getelementptr i64, ptr %inputs, i64 %place_word
  %place = load ptr, ptr %at_place
  %at_size = getelementptr i64, ptr %at_place, i64 1
  %size = load i64, ptr %at_size
  %chunked = and i64 %size, {-CHUNK}
  br label %copy_chunk
copy_chunk:
  %at = phi i64 [0, %copy_one], [%at_next, %chunk]
  %chunks_done = icmp eq i64 %at, %chunked
  br i1 %chunks_done, label %copy_byte, label %chunk
chunk:
  %from = getelementptr i8, ptr %source, i64 %at
  %to = getelementptr i8, ptr %place, i64 %at
  %values = load <{CHUNK} x i8>, ptr %from, align 1
  store <{CHUNK} x i8> %values, ptr %to, align 1
  %at_next = add i64 %at, {CHUNK}
  br label %copy_chunk
copy_byte:
  %byte = phi i64 [%chunked, %copy_chunk], [%byte_next, %one_byte]
  %bytes_done = icmp eq i64 %byte, %size
  br i1 %bytes_done, label %copied, label %one_byte
one_byte:
  %from_byte = getelementptr i8, ptr %source, i64 %byte
  %to_byte = getelementptr i8, ptr %place, i64 %byte
  %value = load i8, ptr %from_byte
  store i8 %value, ptr %to_byte
  %byte_next = add i64 %byte, 1
  br label %copy_byte
copied:
  %k_next = add i64 %k, 1
  br label %copy

step:
  %raised = call i32 %run(ptr %arena, i64 1)
  %is_valid = icmp eq i32 %raised, 0
  br i1 %is_valid, label %collect, label %tell
tell:
  %raised_64 = zext i32 %raised to i64
  %flags = call ptr %PyLong_FromUnsignedLong(i64 %raised_64)
  %no_flags = icmp eq ptr %flags, null
  br i1 %no_flags, label %failed, label %told
told:
  %answer = call ptr %PyObject_CallOneArg(ptr %refuse, ptr %flags)
  call void %Py_DecRef(ptr %flags)
  ret ptr %answer

collect:
  %list = call ptr %PyList_New(i64 %results)
  %no_list = icmp eq ptr %list, null
  br i1 %no_list, label %failed, label %gather
gather:
  %inputs_words = mul i64 %given, {INPUT_WORDS}
  %copies = getelementptr i64, ptr %inputs, i64 %inputs_words
  br label %result
result:
  %r = phi i64 [0, %gather], [%r_next, %got]
  %all_got = icmp eq i64 %r, %results
  br i1 %all_got, label %done, label %get
get:
  %at_copier = getelementptr ptr, ptr %copies, i64 %r
  %copier = load ptr, ptr %at_copier
  %array = call ptr %PyObject_CallNoArgs(ptr %copier)
  %no_array = icmp eq ptr %array, null
  br i1 %no_array, label %drop, label %got
got:
  %set = call i32 %PyList_SetItem(ptr %list, i64 %r, ptr %array)
  %r_next = add i64 %r, 1
  br label %result
done:
  ret ptr %list
drop:
  call void %Py_DecRef(ptr %list)
  br label %failed
failed:
  ret ptr null

leave:
  %otherwise = call ptr %PyObject_Vectorcall(ptr %ordinary, ptr %args, i64 %number, ptr null)
  ret ptr %otherwise
}}
"""


class _MethodDefinition(ctypes.Structure):
    """`PyMethodDef`."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


class Ordinary(NamedTuple):
    """What a prepared call does, part by part; `call` does all of it."""

    call: Callable[..., list[Array]]
    refuse: Callable[[int], object]
    places: Sequence[Array]
    results: Sequence[Array]


def fast_call(
    run: int, arena: int, gate: npt.NDArray[np.uint64], ordinary: Ordinary, machine: NewMachine
) -> Callable[..., list[Array]] | None:
    """Return a builtin that does what `ordinary.call` does, by the code at address `run` on `arena`, and leaves to it
    what is unusual, and all calls while `gate` holds 0; or None where that cannot be had. Code and memory must stay for
    as long as `gate` holds something else; the interpreter's lock is held meanwhile."""
    places, results = ordinary.places, ordinary.results
    if not is_layout_known() or any(place.ndim > RANK_MAX or not place.flags.c_contiguous for place in places):
        return None
    copies = [result.copy for result in results]
    words = [gate.ctypes.data, run, arena, len(places), id(np.ndarray), id(ordinary.call), id(ordinary.refuse)]
    words += [len(results), *(_address(getattr(ctypes.pythonapi, name)) for name in _FUNCTIONS)]
    for place in places:
        lengths = (*place.shape, *[0] * (RANK_MAX - place.ndim))
        words += [place.ctypes.data, place.nbytes, id(place.dtype), place.ndim, *lengths]
    table = np.array([*words, *map(id, copies)], np.uint64).view(_Table)
    table.kept = (ordinary, gate, copies)
    table.flags.writeable = False
    call: Callable[..., list[Array]] = _new_function()(ctypes.addressof(_definition(machine)), table, __name__)
    return call


class _Table(np.ndarray[tuple[int], np.dtype[np.uint64]]):
    """What a builtin expects. `kept`: what it knows by address, which lives as long as it does."""

    kept: object = None

    def __reduce__(self) -> NoReturn:
        raise LocalError("a prepared call cannot be copied or stored: it belongs to a program of this process")


@cache
def is_layout_known() -> bool:
    """Answer whether objects and arrays lie in memory as this file says."""
    if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return False
    if ctypes.sizeof(ctypes.c_void_p) != 8 or ctypes.sizeof(ctypes.c_ulong) != 8 or object.__basicsize__ != 16:
        return False
    square = np.arange(12, dtype=np.float32).reshape(3, 4)
    return all(_is_as_said(each) for each in (square, square.T, np.zeros((2, 0, 5), np.int32), np.array(7, np.uint32)))


def _is_as_said(array: Array) -> bool:
    """Compare one array's head with what NumPy says of it."""
    if np.ndarray.__basicsize__ < FLAGS + 4:
        return False
    head = bytes((ctypes.c_char * np.ndarray.__basicsize__).from_address(id(array)))
    rank = int.from_bytes(head[RANK : RANK + 4], sys.byteorder)
    if rank != array.ndim or bool(head[FLAGS] & IN_ONE_PIECE) != array.flags.c_contiguous:
        return False
    found = [int.from_bytes(head[at : at + 8], sys.byteorder) for at in (TYPE, DATA, DTYPE, SHAPE)]
    if found[:3] != [id(np.ndarray), array.ctypes.data, id(array.dtype)]:
        return False
    return rank == 0 or tuple((ctypes.c_int64 * rank).from_address(found[3])) == array.shape


@cache
def _new_function() -> Any:
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.argtypes, make.restype = (ctypes.c_void_p, ctypes.py_object, ctypes.py_object), ctypes.py_object
    return make


_kept: list[Any] = []
"""What the one definition of this process needs for as long as there are functions: for good."""
_making = threading.Lock()


def _definition(machine: NewMachine) -> _MethodDefinition:
    """The definition that all functions share: what differs between them is in their tables."""
    with _making:
        if not _kept:
            image = machine().emit_object(llvm.parse_assembly(_TEXT))
            linker = llvm.create_lljit_compiler(machine())
            tracker = llvm.JITLibraryBuilder().add_object_img(image).export_symbol("call").link(linker, "call")
            doc = b"Write arrays, run once, and return the results."
            _kept.extend((_MethodDefinition(b"call", tracker["call"], FASTCALL, doc), linker, tracker))
            for each in _kept:  # functions may outlive this module's names when the interpreter ends
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(each))
        found: _MethodDefinition = _kept[0]
        return found


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0
