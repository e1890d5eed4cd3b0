# Builds and installs the module with PGXS. `make test`, `make test-matrix`, `make lint`, `make stress`,
# `make never-early`, `make demo` and `make bench` install the Debian packages they miss; `make dist` makes the
# archives of a release.

EXTENSION = pg_unblock
MODULE_big = pg_unblock
DATA = $(wildcard pg_unblock--*.sql)
OBJS = $(patsubst %.cpp,%.o,$(sort $(wildcard src/core/*.cpp src/server/*.cpp)))

# Tests named preloaded_* need the module in shared_preload_libraries, as `make installcheck PRELOADED=1` says.
WITHOUT = $(if $(PRELOADED),,preloaded_%)
REGRESS = $(filter-out $(WITHOUT),$(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql))))
ISOLATION = $(filter-out $(WITHOUT),$(patsubst test/isolation/specs/%.spec,%,$(sort $(wildcard test/isolation/specs/*.spec))))
ISOLATION_OPTS = --inputdir=test/isolation
EXTRA_CLEAN = $(OBJS:.o=.d) src/.built_for build

PG_CONFIG ?= pg_config
# The version stands in the control file alone. (VERSION is the server's in PGXS.)
UNBLOCK_VERSION := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" pg_unblock.control)
# Server headers count as system headers: they do not compile cleanly under -Wextra.
PG_CPPFLAGS = -isystem $(shell $(PG_CONFIG) --includedir-server) -DPG_UNBLOCK_VERSION='"$(UNBLOCK_VERSION)"'
PG_CXXFLAGS = -std=c++20 -Wall -Wextra -Wshadow -Wno-register -fvisibility=hidden -fvisibility-inlines-hidden -MMD -MP $(COPT)
SHLIB_LINK += -lstdc++ -Wl,--version-script=src/server/exports.map

# Targets that do not need the server's build files to be there yet.
SELF_CONTAINED := test test-matrix lint stress never-early demo bench dist
ifeq ($(filter $(SELF_CONTAINED),$(MAKECMDGOALS)),)
PGXS := $(shell $(PG_CONFIG) --pgxs)
override with_llvm := no
include $(PGXS)
-include $(OBJS:.o=.d)
pg_unblock.so: src/server/exports.map
src/server/version.o src/server/module.o: pg_unblock.control
# Objects are for one server and one compiler: for another they are made anew.
BUILT_FOR = $(shell $(PG_CONFIG) --version --includedir-server), $(CXX)
$(OBJS): src/.built_for
src/.built_for: FORCE
	@echo '$(BUILT_FOR)' | cmp -s - $@ || echo '$(BUILT_FOR)' >$@
endif

.PHONY: $(SELF_CONTAINED) FORCE
test:
	@test/run
test-matrix:
	@test/matrix/run $(VERSIONS)
lint:
	@test/run lint
stress:
	@test/stress/run $(if $(SEED),--seed $(SEED)) $(if $(GRAPHS),--graphs $(GRAPHS))
never-early:
	@test/stress/limits/run $(if $(SECONDS),--seconds $(SECONDS)) $(if $(RACES),--races $(RACES)) $(if $(SEED),--seed $(SEED))
demo:
	@test/demo
bench:
	@test/bench/run
# What is committed, as it is published: PGXN's versions have three numbers.
dist: NAME = pg_unblock-$(UNBLOCK_VERSION).0
dist:
	@mkdir -p build
	git archive --format=zip --prefix=$(NAME)/ --output=build/$(NAME).zip HEAD
	git archive --format=tar.gz --prefix=$(NAME)/ --output=build/$(NAME).tar.gz HEAD
