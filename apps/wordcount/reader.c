// SPDX-License-Identifier: GPL-2.0-or-later
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "reader.h"
#include "words.h"

static int path_order(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

static int add_path(struct reader *r, const char *path, const struct stat *st)
{
	char **paths = reallocarray(r->paths, r->count + 1, sizeof(*paths));

	if (!paths)
		goto no_memory;
	r->paths = paths;
	paths[r->count] = strdup(path);
	if (!paths[r->count])
		goto no_memory;
	++r->count;
	if (S_ISREG(st->st_mode))
		r->total += st->st_size;
	/* Better now than after half of the work. */
	if (access(path, R_OK)) {
		warn("%s", path);
		return -1;
	}
	return 0;

no_memory:
	warnx("out of memory");
	return -1;
}

/* As grep -r: links are followed only if they are arguments. */
static int add_tree(struct reader *r, char *path)
{
	FTSENT *e;
	FTS *fts;
	int ret = -1;

	fts = fts_open((char *[]){ path, NULL },
		       FTS_COMFOLLOW | FTS_PHYSICAL | FTS_NOCHDIR, path_order);
	if (!fts) {
		warn("%s", path);
		return -1;
	}
	while (errno = 0, (e = fts_read(fts))) {
		switch (e->fts_info) {
		case FTS_F:
			if (add_path(r, e->fts_path, e->fts_statp))
				goto out_close;
			break;
		case FTS_DEFAULT:
			if (e->fts_level == FTS_ROOTLEVEL &&
			    add_path(r, e->fts_path, e->fts_statp))
				goto out_close;
			break;
		case FTS_DNR:
		case FTS_ERR:
		case FTS_NS:
		case FTS_DC:
		case FTS_SLNONE:
			errno = e->fts_errno ? e->fts_errno : ENOENT;
			warn("%s", e->fts_path);
			goto out_close;
		}
	}
	if (errno)
		warn("%s", path);
	else
		ret = 0;

out_close:
	fts_close(fts);
	return ret;
}

int reader_open(struct reader *r, char **paths)
{
	memset(r, 0, sizeof(*r));
	r->fd = -1;
	r->carry = malloc(PIECE_MAX);
	if (!r->carry) {
		warnx("out of memory");
		return -1;
	}
	for (; *paths; ++paths)
		if (add_tree(r, *paths))
			return -1;
	return 0;
}

void reader_close(struct reader *r)
{
	size_t i;

	for (i = 0; i < r->count; ++i)
		free(r->paths[i]);
	free(r->paths);
	free(r->carry);
	free(r->long_word);
	table_free(&r->long_words);
	if (r->fd >= 0)
		close(r->fd);
}

/*
 * As many bytes as there are in the files one after the other, a line feed
 * being put between them. Returns less than @size only at the end.
 */
static ssize_t fill(struct reader *r, char *p, size_t size)
{
	size_t used = 0;

	while (used < size) {
		ssize_t n;

		if (r->fd < 0) {
			if (r->next == r->count)
				break;
			r->fd = open(r->paths[r->next], O_RDONLY | O_CLOEXEC);
			if (r->fd < 0) {
				warn("%s", r->paths[r->next]);
				return -1;
			}
			++r->next;
		}
		n = read(r->fd, p + used, size - used);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			warn("%s", r->paths[r->next - 1]);
			return -1;
		}
		if (n == 0) {
			close(r->fd);
			r->fd = -1;
			p[used++] = '\n';
			continue;
		}
		used += n;
		r->done += n;
	}
	return used;
}

static int long_word_add(struct reader *r, const char *text, size_t len)
{
	char *p = realloc(r->long_word, r->long_len + len);
	size_t i;

	if (!p) {
		warnx("out of memory for a word of %zu bytes",
		      r->long_len + len);
		return -1;
	}
	r->long_word = p;
	for (i = 0; i < len; ++i)
		p[r->long_len + i] = text[i] | 0x20;
	r->long_len += len;
	return 0;
}

static int long_word_end(struct reader *r)
{
	int ret = table_add(&r->long_words, 1, r->long_word, r->long_len);

	r->long_len = 0;
	return ret;
}

/* Take letters that belong to a long word off the start of a piece. */
static ssize_t long_word_go_on(struct reader *r, char *piece, size_t len)
{
	size_t n = 0;

	if (!r->long_len)
		return len;
	while (n < len && is_letter(piece[n]))
		++n;
	if (long_word_add(r, piece, n))
		return -1;
	if (n < len && long_word_end(r))
		return -1;
	memmove(piece, piece + n, len - n);
	return len - n;
}

ssize_t reader_next(struct reader *r, char *piece)
{
	ssize_t len;
	size_t cut;

	for (;;) {
		memcpy(piece, r->carry, r->carried);
		len = fill(r, piece + r->carried, PIECE_MAX - r->carried);
		if (len <= 0)
			return len;
		len += r->carried;
		r->carried = 0;
		len = long_word_go_on(r, piece, len);
		if (len < 0)
			return -1;
		for (cut = len; cut && is_letter(piece[cut - 1]); --cut)
			;
		if (cut) {
			r->carried = len - cut;
			memcpy(r->carry, piece + cut, r->carried);
			return cut;
		}
		/* Nothing but letters, from the first to the last byte. */
		if (len && long_word_add(r, piece, len))
			return -1;
	}
}
