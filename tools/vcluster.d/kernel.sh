# SPDX-License-Identifier: GPL-2.0
# The guest kernels: where they come from and how they get into the cache.
# shellcheck shell=bash
#
# kernel_prepare KIND sets
#	K_RELEASE	what uname -r says in the guest
#	K_DIR		cache directory with image and lib/modules/$K_RELEASE
#	K_BUILD		build tree for out-of-tree modules

# Directories of Debian's image package that no guest needs.
KERNEL_EXCLUDE=(--exclude='*/drivers/gpu' --exclude='*/drivers/media'
		--exclude='*/sound' --exclude='*/drivers/net/wireless')

# Debian's kernel.release lacks the ABI name, so ask the generated header.
build_release() # BUILD-TREE
{
	sed -n 's/.*UTS_RELEASE "\(.*\)".*/\1/p' "$1/include/generated/utsrelease.h"
}

newest_headers() # GLOB of release names
{
	local d

	# shellcheck disable=SC2086 # the glob is meant
	for d in /usr/src/linux-headers-$1; do
		[ -e "$d/include/generated/utsrelease.h" ] && echo "$d"
	done | sort -V | tail -n 1
}

# The boot protocol's header says where in a bzImage the compressed ELF file
# lies. Booted directly (by its PVH note) it saves the guest from unpacking
# itself, which is half of the time to boot under emulation.
extract_vmlinux() # BZIMAGE OUT
{
	local sects off len start magic

	sects=$(od -An -tu1 -j497 -N1 "$1") || return
	off=$(od -An -tu4 -j584 -N4 "$1") || return
	len=$(od -An -tu4 -j588 -N4 "$1") || return
	start=$(((sects + 1) * 512 + off))
	magic=$(od -An -tx1 -j$start -N4 "$1" | tr -d ' ')
	# The last four bytes of the payload are its unpacked size.
	payload()
	{
		dd if="$1" bs=64k iflag=skip_bytes,count_bytes skip=$start count=$((len - 4)) status=none
	}
	case $magic in
	fd377a58)	payload "$1" | xz -dc >"$2" ;;
	28b52ffd)	payload "$1" | zstd -dcq >"$2" ;;
	1f8b*)		payload "$1" | gzip -dc >"$2" ;;
	*)		say "$1: kernel compression not known ($magic)"; return 1 ;;
	esac
}

debian_kernel_cached() # RELEASE
{
	[ -e "$K_DIR/image" ] && [ -e "$K_DIR/lib/modules/$1/modules.dep" ]
}

# Debian's image for K_RELEASE: the installed one, else the package's contents
# (installing it would run boot loader hooks on the host for nothing).
fetch_debian_kernel() # RELEASE VERSION SUITE
{
	local rel=$1 version=$2 suite=$3 image

	debian_kernel_cached "$rel" && return
	say "preparing kernel $rel (once)"
	mkdir "$TEMP" && chmod 755 "$TEMP" || return
	if [ -r "/boot/vmlinuz-$rel" ] && [ -r "/lib/modules/$rel/modules.dep" ]; then
		image=/boot/vmlinuz-$rel
		mkdir -p "$TEMP/lib/modules"
		ln -s "/lib/modules/$rel" "$TEMP/lib/modules/$rel"
	else
		(
			cd "$TEMP" &&
			{ apt-get download -qq "linux-image-$rel=$version" ||
			  apt-get download -qq ${suite:+-t "$suite"} "linux-image-$rel"; } 2>apt.log ||
			{ cat apt.log >&2; exit 1; }
			dpkg-deb --fsys-tarfile ./*.deb |
				tar -x "${KERNEL_EXCLUDE[@]}" ./boot ./lib &&
			depmod -b . "$rel" && rm -f ./*.deb apt.log
		) || return
		image=$TEMP/boot/vmlinuz-$rel
	fi
	extract_vmlinux "$image" "$TEMP/image" && rm -rf "$TEMP/boot" &&
	rm -rf "$K_DIR" && mv "$TEMP" "$K_DIR"
}

debian_kernel() # HEADERS-DIR [SUITE]
{
	local version

	K_BUILD=$1
	K_RELEASE=$(build_release "$K_BUILD")
	K_DIR=$CACHE/kernel-$K_RELEASE
	debian_kernel_cached "$K_RELEASE" && return
	version=$(dpkg-query -W -f '${Version}' "linux-headers-$K_RELEASE" 2>/dev/null)
	with_lock kernel fetch_debian_kernel "$K_RELEASE" "$version" "${2-}" ||
		die "cannot prepare the image of kernel $K_RELEASE"
}

kernel_stock()
{
	local h=${KDIR-}

	[ -n "$h" ] || h=$(newest_headers '6.1.*-amd64')
	[ -n "$h" ] || die "no headers of a Debian 6.1 kernel in /usr/src: run 'make deps'"
	debian_kernel "$h"
}

# The packages of the newer kernel are not among 'make deps': they come when
# somebody asks for -k backports, and the apt source only when there is none.
install_backports()
{
	local list=/etc/apt/sources.list.d/bookworm-backports.list

	[ -n "$(newest_headers '6.12*-amd64')" ] && return
	say "installing the headers of the backports kernel (once)"
	{
		if ! apt-cache policy | grep -q 'n=bookworm-backports'; then
			echo 'deb http://deb.debian.org/debian bookworm-backports main' >"$list" &&
			apt-get update
		fi
		DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
			--no-install-recommends -t bookworm-backports linux-headers-amd64
	} >&2
}

kernel_backports()
{
	local h

	with_lock apt install_backports || die "cannot install the backports kernel"
	h=$(newest_headers '6.12*-amd64')
	[ -n "$h" ] || die "no headers of a 6.12 kernel in /usr/src"
	debian_kernel "$h" bookworm-backports
}

# A source tree with .config, which comes last.
configure_debug_kernel() # TREE
{
	local fragment=$HERE/kernel/debug.config

	rm -rf "$1" && mkdir "$1" &&
	tar -xf /usr/src/linux-source-6.1.tar.xz -C "$1" --strip-components=1 &&
	cd "$1" &&
	make -s KCONFIG_CONFIG=.config.new tinyconfig &&
	scripts/kconfig/merge_config.sh -m .config.new "$fragment" >merge.log &&
	mv .config .config.new &&
	make -s KCONFIG_CONFIG=.config.new olddefconfig || return
	# A line that Kconfig did not accept is a mistake in the fragment.
	if grep '^CONFIG_.*=[^n]' "$fragment" | grep -vxF -f .config.new; then
		echo 'these lines of debug.config did not take effect'
		return 1
	fi
	mv .config.new .config
}

# Built where it stays (objtool's objects know their place, and a moved tree
# builds anew); one that was interrupted goes on. The image comes last. ('set -e'
# would have no effect here, as the callers look at the status.)
build_debug_kernel()
{
	local tree=$K_DIR/build log=$K_DIR/log

	[ -e "$K_DIR/image" ] && return
	mkdir -p "$K_DIR" || return
	say "building the debug kernel (once, takes some minutes; log: $log)"
	(
		{ [ -e "$tree/.config" ] || configure_debug_kernel "$tree"; } &&
		cd "$tree" &&
		nice make -s -j"$(nproc)" bzImage modules &&
		make -s INSTALL_MOD_PATH="$K_DIR" modules_install &&
		rm -f "$K_DIR"/lib/modules/*/{build,source} &&
		cp arch/x86/boot/bzImage "$K_DIR/image.new" &&
		mv "$K_DIR/image.new" "$K_DIR/image"
	) >"$log" 2>&1 || { tail -n 20 "$log" >&2; return 1; }
}

kernel_debug()
{
	local version key

	version=$(dpkg-query -W -f '${Version}' linux-source-6.1 2>/dev/null) ||
		die "the package linux-source-6.1 is not installed: run 'make deps'"
	key=$({ echo "$version"; gcc -dumpfullversion; cat "$HERE/kernel/debug.config"; } |
		sha256sum | cut -c1-12)
	K_DIR=$CACHE/kernel-debug-$key
	[ -e "$K_DIR/image" ] || with_lock "${K_DIR##*/}" build_debug_kernel ||
		die "the debug kernel does not build"
	K_BUILD=$K_DIR/build
	K_RELEASE=$(build_release "$K_BUILD")
}

kernel_prepare() # KIND
{
	mkdir -p "$CACHE" || die "cannot make the cache directory $CACHE"
	"kernel_$1"
}

# Module for this guest kernel. The stock one is what 'make' built in the tree;
# the others are built from a copy of the sources, so that no run disturbs the
# tree's own objects.
module_prepare() # KIND; sets MODULE and FAIL_MODULE, of the test nomem
{
	local tree key

	case $1 in
	stock)
		MODULE=$TOP/kmod/proclet.ko
		FAIL_MODULE=$TOP/selftests/fail/proclet_fail.ko
		[ -e "$MODULE" ] || die "kmod/proclet.ko is not built: run 'make' (or use --bare)"
		;;
	*)
		key=$(printf %s "$TOP" | cksum)
		tree=$CACHE/module-$K_RELEASE-${K_DIR##*-}-${key%% *}
		with_lock "module-$1" build_module "$tree" || die "proclet.ko does not build for kernel $K_RELEASE"
		MODULE=$tree/proclet.ko
		FAIL_MODULE=$tree/selftests/fail/proclet_fail.ko
		;;
	esac
	case "$(modinfo -F vermagic "$MODULE")" in
	"$K_RELEASE "*)	;;
	*)	die "$MODULE is built for $(modinfo -F vermagic "$MODULE"), the guest runs $K_RELEASE" ;;
	esac
}

build_module() # TREE
{
	local tree=$1 sum

	mkdir -p "$tree/kmod" "$tree/include" "$tree/selftests" || return
	sum=$(cd "$TOP" && find kmod include selftests/fail -type f \( -name '*.[chS]' -o -name Kbuild -o -name 'Makefile*' \) \
		! -name '*.mod.c' -print0 | sort -z | xargs -0 sha256sum) || return
	[ -e "$tree/proclet.ko" ] && [ "$sum" = "$(cat "$tree/sum" 2>/dev/null)" ] && return
	say "building proclet.ko for kernel $K_RELEASE"
	# Copy what differs and drop what is gone, so that make builds little.
	(
		cd "$TOP" || exit
		echo "$sum" | sed 's/^[^ ]*  //' | while read -r f; do
			cmp -s "$f" "$tree/$f" && continue
			mkdir -p "$tree/${f%/*}" && cp -p "$f" "$tree/$f" && touch "$tree/$f" || exit
		done || exit
		cd "$tree" || exit
		find kmod include selftests/fail -type f \( -name '*.[chS]' -o -name Kbuild -o -name 'Makefile*' \) ! -name '*.mod.c' |
		while read -r f; do
			[ -e "$TOP/$f" ] || rm -f "$f"
		done
	) || return
	# The debug kernel has KCOV for modules that ask for it.
	{ make -s -C "$tree/kmod" -j"$(nproc)" KDIR="$K_BUILD" KCOV_INSTRUMENT=y &&
	  make -s -C "$tree/selftests/fail" KDIR="$K_BUILD"; } >"$tree/log" 2>&1 </dev/null ||
		{ cat "$tree/log" >&2; return 1; }
	cp "$tree/kmod/proclet.ko" "$tree/proclet.ko.new" &&
	mv "$tree/proclet.ko.new" "$tree/proclet.ko" && echo "$sum" >"$tree/sum"
}
