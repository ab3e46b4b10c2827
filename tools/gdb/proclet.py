# SPDX-License-Identifier: GPL-2.0
"""
gdb commands for members of logical processes, running ones and core dumps.

    (gdb) source tools/gdb/proclet.py
    (gdb) proclet threads           threads of proclets that are here
    (gdb) proclet bt SEGMENT        the stack of one of them

Threads that a worker runs are gdb's own, too ("info threads"). The others are no
tasks of the kernel, but only memory: their registers are on their own stacks.
"""

import os
import re

import gdb
import gdb.unwinder

REGION = 0x100000000000
REGION_SIZE = 1 << 46
SLICE = REGION_SIZE // 32
STACKS = SLICE // 4 * 3
SEGMENT = 4 << 20
CHAIN_MAX = 128
WORKERS = 1024
METHOD_ROOT = 0xffffffff

# What save_context in libshim/switch.S leaves above tcb->sp.
SAVED = ("r15", "r14", "r13", "r12", "rbx", "rbp", "rip")
# Registers of a ucontext, in the order of its gregs.
GREGS = ("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rdi", "rsi", "rbp", "rbx",
         "rdx", "rax", "rcx", "rsp", "rip")
UCONTEXT_GREGS = 40


def read(addr, size=8):
    data = gdb.selected_inferior().read_memory(addr, size)
    return int.from_bytes(bytes(data), "little")


def segment_of(addr):
    """The thread segment that an address lies in; None: not in one."""
    off = addr - REGION
    if 0 <= off < REGION_SIZE and off % SLICE >= STACKS:
        return addr & ~(SEGMENT - 1)
    return None


class Tcb:
    """struct proclet_tcb, as in include/uapi/linux/proclet.h"""

    def __init__(self, segment):
        self.segment = segment
        self.proclet = read(segment)
        self.sp = read(segment + 16)
        self.frame = read(segment + 24)
        self.method = read(segment + 68, 4)
        self.function = read(segment + 120)     # LIB_FN

    def registers(self):
        """Those with which the thread goes on."""
        if self.frame:
            return {r: read(self.frame + UCONTEXT_GREGS + 8 * i)
                    for i, r in enumerate(GREGS)}
        regs = {r: read(self.sp + 8 + 8 * i) for i, r in enumerate(SAVED)}
        regs["rsp"] = self.sp + 8 + 8 * len(SAVED)
        return regs

    def name(self):
        if self.method == METHOD_ROOT:
            return "(root)"
        symbol = gdb.execute("info symbol %d" % self.function, to_string=True)
        if symbol.startswith("No symbol"):
            return "method %d" % self.method
        return symbol.split()[0]


def segments_of_core():
    for line in gdb.execute("maint info sections -all-objects", to_string=True).splitlines():
        m = re.search(r"0x([0-9a-f]+)->0x([0-9a-f]+) at .*: load", line)
        if not m or segment_of(int(m.group(1), 16)) is None:
            continue
        # The end of one segment and the beginning of the next can be one section.
        for addr in range(segment_of(int(m.group(1), 16)), int(m.group(2), 16), SEGMENT):
            yield segment_of(addr)


def segments_of_process(node):
    with open("/proc/proclet/threads") as table:
        head = table.readline().split()
        for line in table:
            row = dict(zip(head, line.split()))
            if row["segment"] != "-" and int(row["node"]) == node:
                yield int(row["segment"], 16)


def on_workers():
    """Segments in the workers' chains, and whether the worker runs them."""
    try:
        workers = read(int(gdb.parse_and_eval("(unsigned long)&shim")) + 16)
    except gdb.error:
        return {}
    found = {}
    for i in range(WORKERS):
        page = workers + 4096 * i
        try:
            depth = min(read(page, 4), CHAIN_MAX)
        except gdb.MemoryError:
            continue
        for k in range(depth):
            segment = segment_of(read(page + 40 + 8 * k))
            if segment:
                found[segment] = k + 1 == depth
    return found


def gdb_threads():
    """Threads of gdb by the segment that their stack pointer is in."""
    found, selected = {}, gdb.selected_thread()
    for thread in gdb.selected_inferior().threads():
        thread.switch()
        frame = gdb.newest_frame()
        while frame:
            segment = segment_of(int(frame.read_register("rsp")))
            if segment:
                found[segment] = thread.num
                break
            # The handler of a fatal signal has a stack of its own.
            frame = frame.older()
    if selected:
        selected.switch()
    return found


def segments():
    core = gdb.execute("info target", to_string=True).find("core file") >= 0
    if not core and os.path.exists("/proc/proclet/threads"):
        node = read(int(gdb.parse_and_eval("(unsigned long)&shim")) + 4, 4)
        found = segments_of_process(node)
    else:
        found = segments_of_core()
    return sorted(set(s for s in found if s))


class FrameId:
    def __init__(self, sp, pc):
        self.sp = sp
        self.pc = pc


class Suspended(gdb.unwinder.Unwinder):
    """Has the selected thread's first frame called by a suspended thread."""

    def __init__(self):
        super().__init__("proclet")
        self.tcb = None

    def __call__(self, pending):
        if not self.tcb or pending.level():
            return None

        word = gdb.lookup_type("unsigned long")
        info = pending.create_unwind_info(FrameId(gdb.Value(self.tcb.segment).cast(word),
                                                  pending.read_register("rip")))
        for name, value in self.tcb.registers().items():
            info.add_saved_register(name, gdb.Value(value).cast(word))
        return info


class Proclet(gdb.Command):
    """Threads of proclets: proclet threads, proclet bt SEGMENT."""

    def __init__(self):
        super().__init__("proclet", gdb.COMMAND_STACK, gdb.COMPLETE_NONE, True)


class Threads(gdb.Command):
    """Threads of proclets: segment, proclet, state, method, and gdb's thread."""

    def __init__(self):
        super().__init__("proclet threads", gdb.COMMAND_STACK)

    def invoke(self, arg, from_tty):
        workers, own = on_workers(), gdb_threads()
        print("%-12s  %-16s  %-8s  %6s  %s" %
              ("SEGMENT", "PROCLET", "STATE", "THREAD", "METHOD"))
        for segment in segments():
            try:
                tcb = Tcb(segment)
            except gdb.MemoryError:
                continue
            if not tcb.proclet:
                continue
            state = "waiting"
            if segment in workers:
                state = "running" if workers[segment] else "calling"
            elif tcb.frame:
                state = "parked"
            print("%-12x  %016x  %-8s  %6s  %s" %
                  (segment, tcb.proclet, state, own.get(segment, "-"), tcb.name()))


class Backtrace(gdb.Command):
    """The stack of a proclet's thread that no worker runs: proclet bt SEGMENT."""

    def __init__(self):
        super().__init__("proclet bt", gdb.COMMAND_STACK)
        self.unwinder = Suspended()
        gdb.unwinder.register_unwinder(None, self.unwinder, replace=True)

    def invoke(self, arg, from_tty):
        segment = segment_of(int(gdb.parse_and_eval("0x" + arg.strip().replace("0x", ""))))
        if not segment:
            raise gdb.GdbError("%s is not the address of a thread segment" % arg)
        if on_workers().get(segment):
            thread = gdb_threads().get(segment)
            raise gdb.GdbError("a worker runs it: thread %s" % thread)
        self.unwinder.tcb = Tcb(segment)
        try:
            gdb.invalidate_cached_frames()
            text = gdb.execute("bt", to_string=True)
        finally:
            self.unwinder.tcb = None
            gdb.invalidate_cached_frames()
        # The first frame is the one that the unwinder was asked about.
        text = re.sub(r"^#0 .*\n(?=#1 )", "", text)
        print(re.sub(r"(?m)^#(\d+)", lambda m: "#%d" % (int(m.group(1)) - 1), text), end="")


Proclet()
Threads()
Backtrace()
