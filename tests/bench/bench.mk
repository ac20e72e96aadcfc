# bench.mk: figures, never a verdict. `make bench ROWS="small tail"` makes only these; their names stand at the heads of the scripts.

BENCH := $(B)/bench/spawn_yard $(B)/bench/isolation_yard $(B)/bench/load $(B)/bench/bulk $(B)/bench/stdio_yard
ROWS ?=

$(B)/bench/%: tests/bench/%.c $(LIB)
	$(call say,BENCH,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $< $(LIB) $(LDLIBS)

$(B)/bench/load: tests/bench/load.c
	$(call say,BENCH,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $< -lssl -lcrypto

# A function, and a program that is executed for each request: static.
$(B)/bench/bulk $(B)/bench/stdio_yard: $(B)/bench/%: tests/bench/%.c
	$(call say,BENCH,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) -D_GNU_SOURCE -std=gnu17 $(WARN) -O2 -static -o $@ $<

bench: deps-check   ## start times, memory, a neighbour under bombs, deploys; the gateway beside nginx and HAProxy; a process per request (ROWS="small close": only these)
	@$(MAKE) --no-print-directory all $(BENCH) $(PROBE)
	@$(SUDO) tests/testhost -- $(PYTHON) -B tests/bench/bench.py $(B) $(ROWS)
	@$(SUDO) tests/testhost -- $(PYTHON) -B tests/bench/bench_gateway.py $(B) $(ROWS)
	@$(SUDO) tests/testhost -- $(PYTHON) -B tests/bench/bench_bombs.py $(B) $(ROWS)
	@$(SUDO) tests/testhost -- $(PYTHON) -B tests/bench/bench_stdio.py $(B) $(ROWS)
	@$(SUDO) tests/testhost -- $(PYTHON) -B tests/bench/bench_deploy.py $(B) $(ROWS)
