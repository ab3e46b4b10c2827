# SPDX-License-Identifier: GPL-2.0
# The guests' initramfs: a cached base per kernel, and an archive per run that
# is appended to it (the kernel unpacks concatenated archives in order).
# shellcheck shell=bash

# Modules of the guest in the order of need; a '?' marks one that a kernel may
# lack. Built-in ones are skipped.
GUEST_MODULES=(virtio_pci virtio_console virtio_net configfs
	       crc32_generic '?crc32c_generic'
	       rdma_rxe '?siw' ib_uverbs rdma_ucm)

# Host files in the base image: rdma and ip configure the device, the provider
# library is what libibverbs loads for it, libgcc_s is loaded at pthread_cancel,
# env can do what busybox's cannot.
GUEST_FILES=(/usr/bin/rdma /bin/ip /usr/bin/env /lib/x86_64-linux-gnu/libgcc_s.so.1
	     /etc/libibverbs.d/rxe.driver /usr/lib/x86_64-linux-gnu/libibverbs/librxe-rdmav*.so
	     /etc/libibverbs.d/siw.driver /usr/lib/x86_64-linux-gnu/libibverbs/libsiw-rdmav*.so)

# Print the files of modules $@ below lib/modules/$K_RELEASE in an order that
# insmod can follow.
module_order()
{
	local dir=$K_DIR/lib/modules/$K_RELEASE

	awk -v want="$*" '
	function name(path) {
		sub(".*/", "", path); sub("\\.ko.*", "", path); gsub("-", "_", path)
		return path
	}
	FILENAME ~ /modules.builtin$/ { builtin[name($1)] = 1; next }
	{
		sub(":$", "", $1)
		file[name($1)] = $1
		for (i = NF; i > 1; i--)
			deps[$1] = deps[$1] " " $i
	}
	function load(path) {
		if (!(path in done)) {
			done[path] = 1
			print path
		}
	}
	END {
		n = split(want, w, " ")
		for (i = 1; i <= n; i++) {
			optional = sub("^[?]", "", w[i])
			m = name(w[i])
			if (m in builtin)
				continue
			if (!(m in file)) {
				if (optional)
					continue
				print "kernel module " m " not found" > "/dev/stderr"
				exit 1
			}
			k = split(deps[file[m]], d, " ")
			for (j = 1; j <= k; j++)
				load(d[j])
			load(file[m])
		}
	}' "$dir/modules.builtin" "$dir/modules.dep"
}

# Copy the modules listed on stdin to DIR, unpacked, under their order.
copy_modules() # DIR PREFIX
{
	local path n=0 to

	while read -r path; do
		n=$((n + 1))
		to=${path##*/}
		to=$1/$(printf '%s%02d-%s.ko' "$2" $n "${to%%.ko*}")
		path=$K_DIR/lib/modules/$K_RELEASE/$path
		case $path in
		*.xz)	xz -dc "$path" >"$to" ;;
		*.zst)	zstd -dcq "$path" >"$to" ;;
		*.gz)	gzip -dc "$path" >"$to" ;;
		*)	cp "$path" "$to" ;;
		esac || return
	done
}

# The guests have a merged /usr, as Debian has.
guest_path() # PATH; sets GUEST_PATH
{
	case $1/ in
	/bin/*|/sbin/*|/lib/*|/lib64/*)	GUEST_PATH=/usr$1 ;;
	*)				GUEST_PATH=$1 ;;
	esac
}

# FILES: what goes from the host into the archive, at the same path.
declare -A FILES=()

add_path() # ABSOLUTE-PATH
{
	local p

	guest_path "$1"
	p=$GUEST_PATH
	case $p/ in
	/proc/*|/sys/*|/dev/*|/vc/*)	die "$1: files cannot be put there in a guest" ;;
	esac
	[ -e "$p" ] || die "$1: no such file"
	# Parents too: the kernel makes none by itself.
	until [ -z "$p" ] || [ -n "${FILES[$p]-}" ]; do
		FILES[$p]=1
		p=${p%/*}
	done
}

# A program needs its shared libraries, a script its interpreter.
add_file() # ABSOLUTE-PATH
{
	local magic line lib

	guest_path "$1"
	[ -n "${FILES[$GUEST_PATH]-}" ] && return
	add_path "$1"
	[ -f "$1" ] || return 0
	magic=$(head -c 4 "$1" | od -An -tx1 | tr -d ' ')
	case $magic in
	7f454c46)
		while read -r line; do
			case $line in
			*'not found'*)
				# It can be found in the guest: LD_LIBRARY_PATH may differ.
				say "$1: shared library ${line%% *} not found"
				continue
				;;
			*'=> /'*)	lib=${line#*=> } ;;
			/*)		lib=$line ;;
			*)		continue ;;
			esac
			lib=${lib%% *}
			add_path "$lib"
		done < <(ldd "$1" 2>/dev/null)
		;;
	2321*)
		IFS= read -r line <"$1" || true
		line=${line#'#!'}
		read -r -a line <<<"$line"
		lib=${line[0]-}
		if [ "${lib##*/}" = env ]; then
			lib=$(command -v "${line[1]-}") || return 0
		fi
		case ${lib##*/} in
		sh|busybox|'')	;; # the guest's own
		*)		[ -e "$lib" ] && add_file "$lib" ;;
		esac
		;;
	esac
	return 0
}

add_tree() # ABSOLUTE-PATH of a file or directory
{
	local f

	if [ ! -d "$1" ]; then
		add_file "$1"
		return
	fi
	while IFS= read -r -d '' f; do
		if [ -f "$f" ] && [ -x "$f" ]; then
			add_file "$f"
		else
			add_path "$f"
		fi
	done < <(find -L "$1" ! -type l -print0)
}

# Archive FILES (with links followed) to stdout.
archive_files()
{
	local p

	for p in "${!FILES[@]}"; do
		printf '%s\0' ".$p"
	done | sort -z | (cd / && cpio -0 -o -L -H newc -R 0:0 --quiet)
}

archive_dir() # DIR
{
	(cd "$1" && find . -mindepth 1 -print0 | sort -z | cpio -0 -o -H newc -R 0:0 --quiet)
}

build_base() # OUT
{
	local root=$TEMP/root d f

	# The time is that of its last use.
	[ -e "$1" ] && touch "$1" && return
	find "$CACHE" -maxdepth 1 -name "base-$K_RELEASE-*" -mtime +1 -delete
	mkdir -p "$root"/{proc,sys,dev,tmp,run,etc,root,var,vc/modules,usr/{bin,sbin,lib,lib64}}
	chmod 1777 "$root/tmp" || return
	for d in bin sbin lib lib64; do
		ln -s "usr/$d" "$root/$d"
	done
	cp /bin/busybox "$root/usr/bin/busybox" || return
	for f in $(/bin/busybox --list); do
		[ "$f" = busybox ] || ln -s busybox "$root/usr/bin/$f"
	done
	# The host's are in the archive's second part.
	rm -f "$root"/usr/bin/{ip,env}
	cp "$HERE/vcluster.d/init" "$root/init" && chmod 755 "$root/init" || return
	echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
	echo 'root:x:0:' >"$root/etc/group"
	echo 'passwd: files
group: files
hosts: files' >"$root/etc/nsswitch.conf"
	module_order "${GUEST_MODULES[@]}" >"$TEMP/modules" &&
	copy_modules "$root/vc/modules" a <"$TEMP/modules" || return
	(
		FILES=()
		for f in "${GUEST_FILES[@]}"; do
			add_file "$f"
		done
		{ archive_dir "$root" && archive_files; } >"$TEMP/cpio"
	) && mv "$TEMP/cpio" "$1"
}

base_prepare() # sets BASE
{
	local key

	key=$({ cat "$HERE/vcluster.d/init" "$HERE/vcluster.d/image.sh"
		stat -c '%n %s %Y' /bin/busybox "${GUEST_FILES[@]}" "$K_DIR/image"
		} 2>&1 | sha256sum | cut -c1-12)
	BASE=$CACHE/base-$K_RELEASE-$key.cpio
	with_lock base build_base "$BASE" || die "cannot build the guests' initramfs"
}

# Modules that -l and proclet.ko need and the base has not.
stage_modules() # STAGE
{
	local deps="${WANTED_MODULES[*]-}"

	mkdir -p "$1/vc/modules"
	[ "$BARE" = 1 ] || deps+=" $(modinfo -F depends "$MODULE" | tr ',' ' ')"
	# shellcheck disable=SC2086 # a list of names
	comm -13 <(module_order "${GUEST_MODULES[@]}" | sort) <(module_order $deps | sort) >"$1/extra" || return
	if [ -s "$1/extra" ]; then
		# shellcheck disable=SC2086
		module_order $deps | grep -Fxf "$1/extra" | copy_modules "$1/vc/modules" b || return
	fi
	rm -f "$1/extra"
}
