# fnd: functions on bare Linux hosts. `make help` lists the targets.
#
# Everything is built below build/MODE/: all objects that have no main() go into one archive, which programs and unit tests link.

MODE    ?= release
CC      ?= gcc
AR      ?= ar
PKGCONF ?= pkg-config
DESTDIR ?=
PREFIX  ?= /usr/local
SBINDIR ?= $(PREFIX)/sbin
BINDIR  ?= $(PREFIX)/bin
LIBEXEC ?= $(PREFIX)/lib/fnd
SHARE   ?= $(PREFIX)/share/fnd
MANDIR  ?= $(PREFIX)/share/man
UNITDIR ?= /usr/lib/systemd/system
SYSUSERSDIR ?= /usr/lib/sysusers.d
TMPFILESDIR ?= /usr/lib/tmpfiles.d
SYSCONFDIR  ?= /etc

B := build/$(MODE)

# Packages: to build and run; for the tests besides.
DEPS := build-essential pkg-config libcap-dev libseccomp-dev libnl-3-dev libnl-route-3-dev libinih-dev libjansson-dev \
        libarchive-dev libcurl4-openssl-dev libnftables-dev libnftnl-dev libmnl-dev libssl-dev libcrypt-dev libnghttp2-dev libyaml-dev
DEPS_CHECK := python3-jsonschema clang clang-tidy clang-format cppcheck shellcheck libcmocka-dev python3 python3-pytest iproute2 nftables busybox-static \
        zstd xz-utils e2fsprogs cpio mmdebstrap qemu-system-x86 strace nginx-light haproxy openssl wrk nghttp2-client python3-h2 man-db procps curl caddy python3-yaml \
        skopeo umoci podman crun nodejs ruby node-ws python3-websockets python3-flask golang-go rustc default-jre-headless redis-tools postgresql-15

WARN := -Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wwrite-strings -Wvla -Wundef \
        -Wformat=2 -Wimplicit-fallthrough -Wcast-qual -Wnull-dereference -Wno-unused-parameter -Wno-cast-qual
WARN_gcc := -Wjump-misses-init -Wlogical-op -Wduplicated-cond
WARN += $(if $(findstring clang,$(CC)),,$(WARN_gcc)) $(if $(WERROR),-Werror)

HARDEN := -fstack-protector-strong -fstack-clash-protection $(if $(findstring aarch64,$(shell $(CC) -dumpmachine)),-mbranch-protection=standard,-fcf-protection)
MODE_release := -O2 -g -D_FORTIFY_SOURCE=2 $(HARDEN)
MODE_debug   := -O0 -g3
MODE_asan    := -O1 -g -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined
MODE_tsan    := -O1 -g -fsanitize=thread -fno-omit-frame-pointer
MODE_fuzz    := -O1 -g -fsanitize=address,undefined,fuzzer-no-link -fno-omit-frame-pointer -fno-sanitize-recover=undefined
# runner/base/sanitizers.c: in the programs, and not in the tests that are linked with the same archive.
PROGRAM_asan = $(B)/obj/runner/base/sanitizers.o
PROGRAM_tsan = $(B)/obj/runner/base/sanitizers.o
ifeq ($(MODE_$(MODE)),)
$(error MODE=$(MODE) is not known: release, debug, asan, tsan or fuzz)
endif

LIBS_PC := libnl-3.0 libnl-route-3.0 libcap libseccomp inih jansson libarchive libcurl libnftables libnftnl libmnl libssl libcrypto libcrypt libnghttp2 yaml-0.1
CPPFLAGS += -D_GNU_SOURCE -Iinclude -DFND_LIBEXEC='"$(LIBEXEC)"' -DFND_SHARE='"$(SHARE)"' -DFND_SYSCONF='"$(SYSCONFDIR)/fnd"' \
        $(shell $(PKGCONF) --cflags $(LIBS_PC) 2>/dev/null)
CFLAGS   += -std=gnu17 $(MODE_$(MODE)) $(WARN) -ffunction-sections -fdata-sections
LDFLAGS  += -Wl,--as-needed -Wl,--gc-sections -Wl,-z,relro,-z,now $(filter -fsanitize%,$(MODE_$(MODE)))
LDLIBS    = $(shell $(PKGCONF) --libs $(LIBS_PC)) -pthread

# A program's main file is named after it; fn-init is static and shares with the rest only what runner/init and these objects hold.
PROGRAMS  := fnd fnd-gateway fnd-unpack fnctl fn-init
MAIN_fnd         := runner/fnd.c
MAIN_fnd-gateway := runner/gateway/fnd_gateway.c
MAIN_fnd-unpack  := runner/unpack/fnd_unpack.c
MAIN_fnctl       := runner/ctl/fnctl.c
MAIN_fn-init     := runner/init/fn_init.c
MAINS     := $(foreach p,$(PROGRAMS),$(MAIN_$(p)))

SRC := $(filter-out $(MAINS),$(wildcard runner/*.c runner/*/*.c runner/*/*/*.c netns/*.c cgroups/*.c))
OBJ := $(SRC:%.c=$(B)/obj/%.o)
LIB := $(B)/libfnd.a
SAMPLES := $(B)/hello.tar.gz $(B)/busybox.tar.gz $(B)/selftest.tar.gz $(B)/runtime-static.tar

ifeq ($(V),1)
Q :=
else
Q := @
endif
say = $(if $(Q),@printf '  %-8s %s\n' $(1) $(2))

.PHONY: FORCE all deps deps-check run check check-unit check-system check-vm bench install uninstall lint format clean help
.DEFAULT_GOAL := all
.SECONDARY:

all: $(PROGRAMS:%=$(B)/%) $(SAMPLES) $(B)/.shared   ## build everything in build/release

$(B)/obj/%.o: %.c Makefile
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -fPIE -MMD -MP -c -o $@ $<

$(B)/obj/runner/gateway/api/api_openapi.o: contrib/openapi.json

# What has paths compiled in is made anew where they change: `make`, then `make install PREFIX=/usr`.
HAVE_PATHS := $(shell grep -lE 'FND_(LIBEXEC|SHARE|SYSCONF)|"net_internal.h"' /dev/null $(SRC) $(MAINS))
$(HAVE_PATHS:%.c=$(B)/obj/%.o): $(B)/.paths
$(B)/.paths: FORCE
	$(Q)mkdir -p $(@D) && echo '$(LIBEXEC) $(SHARE) $(SYSCONFDIR)' | cmp -s - $@ || echo '$(LIBEXEC) $(SHARE) $(SYSCONFDIR)' >$@
FORCE:

$(LIB): $(OBJ)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

define program
$(B)/$(1): $(B)/obj/$(MAIN_$(1):.c=.o) $(PROGRAM_$(MODE)) $(LIB)
	$$(call say,LINK,$$@)
	$$(Q)$$(CC) $$(CFLAGS) -pie $$(LDFLAGS) -o $$@ $$^ $$(LDLIBS)
endef
$(foreach p,$(filter-out fn-init,$(PROGRAMS)),$(eval $(call program,$(p))))

# Static and without sanitizers: it runs inside any image, under a seccomp filter.
$(B)/fn-init: $(MAIN_fn-init) $(wildcard runner/init/*.c runner/init/*.h) runner/base/ringlog.c runner/base/execframe.c runner/base/watchdog.c \
        include/ringlog.h include/execframe.h include/fninit.h include/watchdog.h Makefile
	$(call say,STATIC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -std=gnu17 $(WARN) -Os -g $(HARDEN) -static -ffunction-sections -Wl,--gc-sections -o $@ $(filter %.c,$^)

-include rootfs/rootfs.mk
-include rootfs/runtime.mk
-include tests/tests.mk
-include contrib/install.mk

# As root directly; otherwise through sudo. Nothing is assumed but make.
SUDO = $(if $(filter 0,$(shell id -u)),,sudo)
APT  = $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 -o APT::Install-Recommends=false
define apt_missing
	@missing=; for p in $(1); do dpkg-query -W -f '$${Status}\n' $$p 2>/dev/null | grep -q ' installed$$' || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then echo "installing:$$missing"; $(APT) update >/dev/null && $(APT) install $$missing; fi
endef

deps:          ## install the Debian packages that building and running need
	$(call apt_missing,$(DEPS))
deps-check: deps   ## ... and those that the tests need
	$(call apt_missing,$(DEPS_CHECK))

# Recursive, so that pkg-config is asked after the packages are there.
run: deps      ## build, and serve the sample function `hello` from a sandbox
	@$(MAKE) --no-print-directory all
	@$(SUDO) $(B)/fnctl run hello

format:        ## clang-format everything
	clang-format -i $$(git ls-files '*.c' '*.h')

clean:         ## remove build/ but the cached VM image
	rm -rf build/release build/debug build/asan build/tsan build/fuzz build/tests

help:          ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## */  \1\t/' | expand -t 18

-include $(OBJ:.o=.d) $(MAINS:%.c=$(B)/obj/%.d)
