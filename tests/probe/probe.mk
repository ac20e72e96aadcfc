# probe.mk: the static program that tests run as the function inside a sandbox. Included by tests/tests.mk.

PROBE := $(TB)/probe

$(PROBE): $(wildcard tests/probe/*.c tests/probe/*.h) tests/probe/probe.mk
	$(call say,STATIC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -std=gnu17 $(WARN) -O1 -g -static -pthread -o $@ $(filter %.c,$^)
