# fuzz.mk: the gateway that was taken over, and the fuzz targets. Included by tests/tests.mk.

HOSTILE_GATEWAY := $(TB)/hostile-gateway

$(HOSTILE_GATEWAY): tests/fuzz/hostile_gateway.c tests/fuzz/record_maker.h $(LIB)
	$(call say,TEST,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $< $(LIB) $(LDLIBS)

FUZZ         := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_SECONDS ?= 4

$(TB)/fuzz_%: tests/fuzz/fuzz_%.c $(wildcard tests/fuzz/*.h) tests/unit/manager_world.h $(LIB)
	$(call say,FUZZ,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -Itests -Itests/unit -Itests/fuzz $(CFLAGS) $(LDFLAGS) -fsanitize=fuzzer -o $@ $< $(LIB) -lcmocka $(LDLIBS)

.PHONY: fuzz fuzz-run check-fuzz check-coverage

# With clang, in a mode of its own: libFuzzer wants its instrumentation in everything.
fuzz:   ## fuzz what reads strangers: the runner its gateway, jail and sandboxes; the gateway its clients and functions; for some seconds each (FUZZ_SECONDS=)
	$(Q)$(MAKE) --no-print-directory CC=clang MODE=fuzz fuzz-run

fuzz-run: $(FUZZ:%=$(TB)/%)
	$(Q)$(PYTHON) -B tests/fuzz/run.py $(FUZZ_SECONDS) $^

check-fuzz: fuzz

check-coverage: $(LIB)   ## how much of the HTTP parser the fuzz targets' corpus covers
	$(Q)$(PYTHON) -B tests/fuzz/coverage.py $(CPPFLAGS) $< $(LDLIBS)
