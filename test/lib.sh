# What the scripts in here share, test/run, test/demo, test/bench/run and all others: missing packages, the
# module in its place, throw-away servers, and nothing left behind.
#
# A script calls `prepare COMMAND` and then `guard main "$@"`. WORK is a
# directory of its own that disappears with everything that runs in it.
# shellcheck shell=bash
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

VERSION=$(sed -n "s/^default_version = '\(.*\)'/\1/p" "$ROOT/pg_unblock.control")

# The PostgreSQL that this Debian release brings along, unless told otherwise.
PG_MAJOR=${PG_MAJOR:-$(awk -v release="$(. /etc/os-release && echo "${VERSION_CODENAME:-}")" \
	'$2 == release { print $1 }' "$ROOT/test/matrix/releases")}
PG_MAJOR=${PG_MAJOR:-15}
PG_BIN=/usr/lib/postgresql/$PG_MAJOR/bin
export PYTHON=/usr/bin/python3

# The caller's shell may point at another server, another Python, another make.
unset PGHOST PGHOSTADDR PGPORT PGUSER PGDATABASE PGPASSWORD PGSERVICE PGOPTIONS PGDATA PGAPPNAME PGSSLMODE
unset MAKEFLAGS MFLAGS MAKELEVEL CDPATH PYTHONPATH PYTHONHOME PERL5LIB
export PATH=$PG_BIN:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
umask 022

is_root() {
	[ "$(id -u)" -eq 0 ]
}

as_root() {
	if is_root; then "$@"; else sudo "$@"; fi
}

# The server refuses root. setpriv executes the command in the same process, so
# that it can be signalled; runuser would put a process of its own in between.
as_user() {
	if is_root; then
		HOME=$WORK TMPDIR=$WORK/tmp setpriv --reuid postgres --regid postgres --init-groups -- "$@"
	else
		HOME=$WORK TMPDIR=$WORK/tmp "$@"
	fi
}

prepare() { # command: test, stress, limits, demo or bench
	ensure_packages "$1"
	# Whoever only wants to see or to measure it may have a compiler that warns of something new.
	if [ "$1" = test ]; then build_module COPT=-Werror; else build_module; fi
}

ensure_packages() { # command
	local package missing=()
	for package in $(sed -n "/^[^#].* $1\b/s/ .*//p" "$ROOT/test/packages"); do
		package=${package/MAJOR/$PG_MAJOR}
		is_installed "$package" || missing+=("$package")
	done
	[ ${#missing[@]} -gt 0 ] || return 0

	echo "Installing ${missing[*]}"
	as_root apt-get -qq update
	if [[ " ${missing[*]} " == *" postgresql-$PG_MAJOR "* ]]; then
		apt_install_without_cluster "${missing[@]}"
	else
		apt_install "${missing[@]}"
	fi
}

is_installed() { # package
	dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed
}

apt_install() {
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 install --no-install-recommends "$@" >/dev/null
}

# On its first installation Debian's server package creates and starts a cluster
# that nobody asked us for. The setting against it is put back afterwards.
apt_install_without_cluster() (
	conf=/etc/postgresql-common/createcluster.conf
	apt_install postgresql-common
	as_root cp -p $conf $conf.before-pg_unblock
	trap 'as_root mv $conf.before-pg_unblock $conf' EXIT
	trap 'exit 130' INT TERM HUP
	as_root pg_conftool $conf set create_main_cluster false
	apt_install "$@"
)

build_module() { # options of make
	pgxs_make -j "$(nproc)" "$@"
	module_is_installed || as_root env PATH="$PATH" make -s -C "$ROOT" PG_CONFIG="$PG_BIN/pg_config" install >/dev/null
}

# What the module is made of, in a directory of its own.
copy_module() { # directory
	rm -rf "$1"
	mkdir -p "$1"
	cp -rp "$ROOT"/{Makefile,src,pg_unblock.control} "$ROOT"/pg_unblock--*.sql "$1"
}

pgxs_make() {
	make -s -C "$ROOT" PG_CONFIG="$PG_BIN/pg_config" "$@"
}

module_is_installed() {
	local file extension_dir
	extension_dir=$(pg_config --sharedir)/extension
	cmp -s "$ROOT/pg_unblock.so" "$(pg_config --pkglibdir)/pg_unblock.so" || return 1
	for file in "$ROOT"/pg_unblock.control "$ROOT"/pg_unblock--*.sql; do
		cmp -s "$file" "$extension_dir/${file##*/}" || return 1
	done
}

# The program in test/stress/limits. Options of make may follow.
build_limits() {
	make -s -C "$ROOT/test/stress/limits" -j "$(nproc)" BUILD="$ROOT/build/limits" PG_CONFIG="$PG_BIN/pg_config" "$@"
}

# It runs on a server that was started with its server.conf.
run_limits() { # options
	cp "$ROOT/build/limits/limits" "$WORK/limits_program"
	as_user "$WORK/limits_program" --log "$SERVER_LOG" "$@" || {
		grep -E 'PANIC|TRAP|terminated by signal' "$SERVER_LOG"
		return 1
	}
}

# Runs a function as a process group of its own, so that on Ctrl-C, SIGTERM or
# failure everything that it started can be ended, and waits for it. (bash puts
# a trap off until its foreground command is over, but not while it waits.)
guard() { # function, arguments
	local status=0
	# Short and outside TMPDIR: socket paths end at 107 bytes, and TMPDIR may be out of the server's reach.
	WORK=$(mktemp -d /tmp/pg_unblock.XXXXXX)
	trap leave_nothing EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	mkdir "$WORK/tmp"
	if is_root; then chown -R postgres: "$WORK"; fi

	set -m
	(set +m && cd "$WORK" && "$@") </dev/null &
	GUARDED=$!
	set +m
	wait "$GUARDED" || status=$?
	exit "$status"
}

leave_nothing() {
	local pidfile
	trap '' HUP INT TERM
	if [ -n "${GUARDED:-}" ] && kill -TERM -- "-$GUARDED" 2>/dev/null; then
		wait "$GUARDED" 2>/dev/null || true
	fi
	cd "$WORK"
	# pg_ctl puts a server into a session of its own: it is found by its pid file.
	find "$WORK" -name postmaster.pid 2>/dev/null | while read -r pidfile; do
		as_user pg_ctl stop -s -m immediate -D "$(dirname "$pidfile")" >/dev/null 2>&1 || true
	done
	cd /
	rm -rf "$WORK"
}

# A server that listens on a socket in its own data directory only, with the
# standard input added to postgresql.conf. The environment points clients at it.
start_server() { # name
	local data=$WORK/$1
	as_user initdb -D "$data" -U postgres -A trust -E UTF8 --no-locale --no-sync >"$WORK/$1.initdb"
	{
		cat <<-CONF
			listen_addresses = ''
			unix_socket_directories = '$data'
			fsync = off
			log_line_prefix = '%m [%p] '
			timezone = 'UTC'
			log_timezone = 'UTC'
		CONF
		cat
	} | as_user tee -a "$data/postgresql.conf" >/dev/null
	export PGHOST=$data PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
	SERVER_LOG=$WORK/$1.log
	# shellcheck disable=SC2086 # one word per option
	as_user pg_ctl start -s -w ${PG_CTL_OPTIONS:-} -D "$data" -l "$SERVER_LOG" || {
		cat "$SERVER_LOG"
		return 1
	}
}

stop_server() { # name
	# shellcheck disable=SC2086 # one word per option
	as_user pg_ctl stop -s -w -m fast ${PG_CTL_OPTIONS:-} -D "$WORK/$1"
}
