# SPDX-License-Identifier: GPL-2.0
# Messages and small helpers shared by the parts of vcluster.
# shellcheck shell=bash

say()
{
	printf 'vcluster: %s\n' "$*" >&2
}

die()
{
	say "$@"
	exit "$EX_INFRA"
}

# Quote $1 for any POSIX shell; printf %q may use $'...', which is bash's own.
shquote()
{
	printf "'%s'" "${1//\'/\'\\\'\'}"
}

# with_lock NAME COMMAND...: one run at a time prepares a cached thing. COMMAND may
# make $TEMP, a file or directory for what is not complete yet. It is a process group of
# its own, so that it can be ended with all that it has started.
with_lock()
{
	local name=$1

	shift
	: >>"$CACHE/.lock.$name" || die "cannot write to the cache directory $CACHE"
	set -m
	(
		set +m
		TEMP=$CACHE/.new.$name
		flock 8
		trap 'exit 130' INT TERM
		trap 'rm -rf "$TEMP" || { sleep 1; rm -rf "$TEMP"; }' EXIT
		rm -rf "$TEMP"
		"$@"
	) 8>"$CACHE/.lock.$name" </dev/null &
	set +m
	wait "$!"
}

# At exit: end what with_lock waits for. INT is what commands expect, but can be
# ignored in a background process.
end_jobs()
{
	local job n

	for job in $(jobs -p); do
		for ((n = 0; n < 100; n++)); do
			case $n in
			0)	kill -INT -- "-$job" ;;
			20)	kill -TERM -- "-$job" ;;
			60)	kill -KILL -- "-$job" ;;
			*)	kill -0 -- "-$job" ;;
			esac || break
			sleep 0.1
		done
	done
}
