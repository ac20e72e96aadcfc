# probe.mk: the static program that tests run as the function inside a sandbox. Included by tests/tests.mk.

PROBE := $(TB)/probe

$(PROBE): tests/probe/probe.c tests/probe/probe_calls.c tests/probe/probe.h tests/probe/probe.mk
	$(call say,STATIC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -std=gnu17 $(WARN) -O1 -g -static -o $@ $(filter %.c,$^)
