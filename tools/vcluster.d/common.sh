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

# with_lock NAME COMMAND...: one run at a time prepares a cached thing.
with_lock()
{
	local lock=$CACHE/.lock.$1 fd
	shift
	exec {fd}>"$lock" || die "cannot write to the cache directory $CACHE"
	flock "$fd"
	"$@"
	local rc=$?
	exec {fd}>&-
	return $rc
}
