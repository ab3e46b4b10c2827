# SPDX-License-Identifier: GPL-2.0
#
# make			build everything
# make deps		install what it needs (Debian 12; as root)
# make man		the manual pages
# make check		checkpatch, sparse, cppcheck, the manual pages and the model
# make test		deps, all, and all tests; the first time also the debug kernel
# make fuzz		[SECONDS=60] libFuzzer with hostile messages, for so long
# make fuzz-corpus	after changes of the wire protocol: inputs that reach all of it
# make soak		[MINUTES=30] stress while members, links and nodes are lost, for so
#			long over each transport and device, on the debug kernel
# make demo		deps, all, and the demonstration
# make bench		deps, all, and the benchmark, which takes some minutes; writes
#			the tables in Documentation/performance.rst
# make debug-kernel	build the kernel of 'vcluster -k debug' into the cache
# make install		[PREFIX=/usr/local] [DESTDIR=]
#
# KDIR=DIR names the kernel build tree; the default is the newest of Debian's
# 6.1 header packages.

VERSION = 0.1.0
PREFIX = /usr/local

# Looked up late, as 'deps' may have to install it.
KDIR = $(lastword $(shell ls -d /usr/src/linux-headers-6.1.*-amd64 2>/dev/null | sort -V))
export KDIR VERSION

# ---- packages ----------------------------------------------------------------

BUILD_DEPS = build-essential pkg-config linux-headers-amd64 \
	libibverbs-dev librdmacm-dev liburing-dev libevent-dev libjansson-dev \
	python3-docutils
CHECK_DEPS = linux-source-6.1 sparse cppcheck perl python3 xz-utils groff-base gdb spin
# Guests, and the debug kernel's build.
VCLUSTER_DEPS = qemu-system-x86 busybox-static cpio zstd kmod iproute2 util-linux \
	rdma-core ibverbs-providers flex bison bc libelf-dev libssl-dev
FUZZ_DEPS = clang libclang-rt-dev
# What only the demonstration needs (its text to count words in).
DEMO_DEPS =
# What the benchmark compares with.
BENCH_DEPS = criu memcached
DEPS = $(BUILD_DEPS) $(CHECK_DEPS) $(VCLUSTER_DEPS) $(FUZZ_DEPS) $(DEMO_DEPS) $(BENCH_DEPS)

# ---- build -------------------------------------------------------------------

SUBDIRS = kmod libshim tools apps selftests selftests/fail Documentation/man

all: $(SUBDIRS)

$(SUBDIRS):
	+$(MAKE) -C $@

tools apps selftests: libshim
kmod selftests/fail: | kdir
man: Documentation/man

kdir:
	@[ -e "$(KDIR)/Makefile" ] || { \
		echo "No kernel headers in '$(KDIR)': run 'make deps' or set KDIR." >&2; exit 1; }

deps:
	@missing=; \
	for p in $(DEPS); do \
		dpkg-query -W -f='$${db:Status-Status}' $$p 2>/dev/null | grep -qx installed || \
			missing="$$missing $$p"; \
	done; \
	if [ -n "$$missing" ]; then \
		echo "Installing:$$missing"; \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive \
			apt-get install -y -q --no-install-recommends $$missing; \
	fi
	tools/vcluster prepare

check: all
	tools/check

# With a make of its own: what 'deps' installs decides what 'all' builds.
test: deps
	+$(MAKE) all
	tools/vcluster prepare -k debug
	tools/vcluster prepare -k backports
	tools/runtests

MINUTES = 30
soak: deps
	+$(MAKE) all
	tools/vcluster prepare -k debug
	PROCLET_TEST_SECONDS=$$(($(MINUTES) * 60)) tools/runtests soak

SECONDS = 60
fuzz:
	+$(MAKE) -C selftests/fuzz fuzz SECONDS=$(SECONDS)

fuzz-corpus:
	+$(MAKE) -C selftests/fuzz corpus

demo: deps
	+$(MAKE) all
	apps/wordcount/demo

bench: deps
	+$(MAKE) all
	tools/bench

debug-kernel:
	tools/vcluster prepare -k debug

# ---- installation ------------------------------------------------------------

module_dir = $(DESTDIR)/usr/src/proclet-$(VERSION)
module_src = $(filter-out %.mod.c,$(wildcard kmod/*.[ch] kmod/Kbuild kmod/Makefile))

define DKMS_CONF
PACKAGE_NAME="proclet"
PACKAGE_VERSION="$(VERSION)"
MAKE[0]="make -C kmod KDIR=$$kernel_source_dir"
CLEAN="make -C kmod clean KDIR=$$kernel_source_dir"
BUILT_MODULE_NAME[0]="proclet"
BUILT_MODULE_LOCATION[0]="kmod"
DEST_MODULE_LOCATION[0]="/updates/dkms"
AUTOINSTALL="yes"
endef
export DKMS_CONF

# Library and headers by libshim's own rules; its .pc file names the prefix that
# it was made for.
install: libshim tools man
	rm -f libshim/libshim.pc
	+$(MAKE) -C libshim install PREFIX=$(PREFIX) DESTDIR=$(DESTDIR)
	+$(MAKE) -C tools install prefix=$(PREFIX) DESTDIR=$(DESTDIR)
	+$(MAKE) -C Documentation/man install PREFIX=$(PREFIX) DESTDIR=$(DESTDIR)
	install -d $(module_dir)/kmod
	install -m 644 $(module_src) $(module_dir)/kmod
	install -D -m 644 include/uapi/linux/proclet.h $(module_dir)/include/uapi/linux/proclet.h
	echo "$$DKMS_CONF" >$(module_dir)/dkms.conf

clean:
	+for d in $(SUBDIRS); do $(MAKE) -C $$d clean || exit; done

.PHONY: all $(SUBDIRS) man kdir deps check test fuzz fuzz-corpus soak demo bench debug-kernel install clean
