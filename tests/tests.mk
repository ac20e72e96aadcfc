# tests.mk: how each kind of test is built and run. Included by the Makefile.
#
#   tests/unit/test_*.c   cmocka; need no root; seconds
#   tests/root/test_*.c   cmocka; need root; each runs alone in a private test host (tests/testhost)
#   tests/system/*.py     pytest; need root; each test in a private test host of its own

UNIT      := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c))
ROOTTESTS := $(patsubst tests/root/%.c,%,$(wildcard tests/root/test_*.c))
TB        := $(B)/tests

$(TB)/%: tests/unit/%.c $(LIB)
	$(call say,TEST,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -Itests $(CFLAGS) $(LDFLAGS) -o $@ $< $(LIB) -lcmocka $(LDLIBS)

$(TB)/%: tests/root/%.c $(LIB)
	$(call say,TEST,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -Itests $(CFLAGS) $(LDFLAGS) -o $@ $< $(LIB) -lcmocka $(LDLIBS)

unit-programs: $(UNIT:%=$(TB)/%)
root-programs: $(ROOTTESTS:%=$(TB)/%)

check-unit: unit-programs   ## unit tests: no root, seconds
	$(Q)for t in $(UNIT); do $(TB)/$$t || exit 1; done
