# tests.mk: how each kind of test is built and run. Included by the Makefile.
#
#   tests/unit/test_*.c   cmocka; need no root; seconds
#   tests/root/test_*.c   cmocka; need root; each runs alone in a private test host (tests/testhost)
#   tests/system/*.py     pytest; need root; each test in a private test host of its own
#   tests/bytes/          raw bytes for the gateway, both sides: a table, and where nginx and HAProxy differ
#   tests/hostile/        pytest; need root; functions that try to get out, all in one private test host with one daemon
#   tests/fuzz/           libFuzzer, and the gateway that was taken over
#   tests/probe/          the function that hostile, system and VM tests deploy: what it tries is said in its address
#   tests/shims/          pytest; need root for a network of their own; what starts handlers in runtimes, without a sandbox
#   tests/lint/           our own linter and its test; clang-tidy, cppcheck, shellcheck, clang-format
#   tests/vm/             Debian 12 in qemu, with systemd and pure cgroup v2; needs root to make the image, once

UNIT      := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c))
ROOTTESTS := $(patsubst tests/root/%.c,%,$(wildcard tests/root/test_*.c))
TB        := $(B)/tests
# Debian's, with its pytest; another python3 may stand before it in PATH.
PYTHON    := /usr/bin/python3
PYTEST    := $(PYTHON) -B -m pytest -q -p no:cacheprovider
SECTIONS  := check-build lint check-unit check-root check-bytes check-bytes-asan check-differential check-fuzz check-coverage check-shims check-system check-system-asan check-tsan check-hostile check-vm check-vm-hostile

$(TB)/%: tests/unit/%.c $(LIB)
	$(call say,TEST,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -Itests $(CFLAGS) $(LDFLAGS) -MMD -MP -MF $@.d -o $@ $< $(LIB) -lcmocka $(LDLIBS)

$(TB)/%: tests/root/%.c $(LIB)
	$(call say,TEST,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -Itests $(CFLAGS) $(LDFLAGS) -MMD -MP -MF $@.d -o $@ $< $(LIB) -lcmocka $(LDLIBS)

-include $(wildcard $(TB)/*.d)
-include tests/probe/probe.mk
-include tests/bench/bench.mk
-include tests/fuzz/fuzz.mk
-include tests/bytes/bytes.mk

.PHONY: unit-programs root-programs check-build check-root check-shims check-system-asan check-tsan check-hostile check-vm-hostile

unit-programs: $(UNIT:%=$(TB)/%)
root-programs: all $(ROOTTESTS:%=$(TB)/%) $(PROBE)

# Recursive, so that pkg-config is asked after the packages are there.
check: deps-check   ## everything: lint, unit, root, system and VM tests
	@$(SUDO) env MAKE="$(MAKE_COMMAND)" $(if $(CI),CI=$(CI)) $(PYTHON) -B tests/check.py $(SECTIONS)

# Both compilers, without a warning; the unit tests once more under the address and undefined behaviour sanitizers. Started here each has its own directory below build/.
check-build:   ## release with gcc, debug with clang, unit tests with sanitizers
	@$(MAKE) --no-print-directory CC=gcc MODE=release WERROR=1 all
	@$(MAKE) --no-print-directory CC=clang MODE=debug WERROR=1 all
	@$(MAKE) --no-print-directory CC=gcc MODE=asan WERROR=1 check-unit

check-unit: unit-programs   ## unit tests: no root, seconds
	$(Q)$(PYTHON) -B tests/cmocka.py $(UNIT:%=$(TB)/%)

check-root: root-programs   ## tests of single modules that need root, each in a private test host
	$(Q)$(SUDO) $(PYTHON) -B tests/cmocka.py --testhost $(ROOTTESTS:%=$(TB)/%)

# Built where the network is, before the tests, and only when a recipe has changed.
TEST_RUNTIMES := $(patsubst %,$(B)/runtime-%.tar,static shell shell-build python python-build flask ruby ruby-build node node-build express imagemagick python-postgresql)

check-system: all $(TEST_RUNTIMES) $(PROBE) $(HOSTILE_GATEWAY)   ## the whole system, each test in a private test host
	$(Q)$(SUDO) env FND_BUILD=$(abspath $(B)) FND_ROOTFS_CACHE=$(abspath $(ROOTFS_CACHE)) $(if $(CI),CI=$(CI)) $(PYTEST) tests/system $(ARGS)

check-shims:   ## what starts the handlers of runtimes, without sandbox and daemon
	$(Q)$(SUDO) env $(if $(CI),CI=$(CI)) tests/testhost $(PYTEST) tests/shims $(ARGS)

# Those that play the gateway's clients and functions byte by byte, and of whole daemons those that send them what they must refuse or end them at bad moments: most of what is read from strangers. Memory and time are not
# measured there (fndtest.py), and a report of a sanitizer fails the test in which it comes (system/conftest.py).
SANITIZED := $(shell grep -l gatewayhost tests/system/test_*.py)
WHOLE     := $(addprefix tests/system/test_,bad_input.py crash.py hostile_gateway.py reload.py timeouts.py)

check-system-asan:   ## system tests with the address and undefined behaviour sanitizers in every program
	@$(MAKE) --no-print-directory MODE=asan all build/asan/tests/probe build/asan/tests/hostile-gateway
	$(Q)$(SUDO) env FND_BUILD=$(abspath build/asan) $(if $(CI),CI=$(CI)) $(PYTEST) $(SANITIZED) $(WHOLE) $(ARGS)

check-tsan:   ## system tests of the gateway, whose threads share things, with the thread sanitizer
	@$(MAKE) --no-print-directory MODE=tsan build/tsan/fnd-gateway
	$(Q)$(SUDO) env FND_BUILD=$(abspath build/tsan) $(if $(CI),CI=$(CI)) $(PYTEST) $(SANITIZED) $(ARGS)

check-hostile: all $(PROBE)   ## functions that try to get out, and the table of what keeps them in
	$(Q)$(SUDO) env FND_BUILD=$(abspath $(B)) tests/testhost $(PYTEST) tests/hostile $(ARGS)

VM_RUNTIMES := $(patsubst %,$(B)/runtime-%.tar,static shell python ruby node)

check-vm: all root-programs $(VM_RUNTIMES)   ## Debian 12 in a virtual machine: systemd, pure cgroup v2, kernel 6.1
	$(Q)$(SUDO) $(PYTHON) -B tests/vm/run.py --build $(B) $(ARGS)

check-vm-hostile: all root-programs $(VM_RUNTIMES)   ## the hostile suite, in the same virtual machine, booted for it
	$(Q)$(SUDO) $(PYTHON) -B tests/vm/run.py --build $(B) --suite hostile

lint:   ## our linter and its test, clang-tidy, cppcheck, shellcheck, clang-format
	$(Q)$(PYTHON) -B tests/lint/run.py -- $(CPPFLAGS)
