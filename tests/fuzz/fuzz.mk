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

.PHONY: fuzz fuzz-run

# With clang, in a mode of its own: libFuzzer wants its instrumentation in everything.
fuzz:   ## fuzz what the runner reads from the gateway, from the jail and from sandboxes, for some seconds each (FUZZ_SECONDS=)
	$(Q)$(MAKE) --no-print-directory CC=clang MODE=fuzz fuzz-run

fuzz-run: $(FUZZ:%=$(TB)/%)
	$(Q)$(PYTHON) -B tests/fuzz/run.py $(FUZZ_SECONDS) $^
