# bench.mk: figures, never a verdict.

BENCH := $(B)/bench/spawn_yard $(B)/bench/isolation_yard

$(B)/bench/%: tests/bench/%.c $(LIB)
	$(call say,BENCH,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $< $(LIB) $(LDLIBS)

bench: deps-check   ## start times, requests per second, CPU and memory, beside fork+exec and nginx; a neighbour under bombs
	@$(MAKE) --no-print-directory all $(BENCH) $(PROBE)
	@$(SUDO) tests/testhost -- $(PYTHON) -B tests/bench/bench.py $(B)
	@$(SUDO) tests/testhost -- $(PYTHON) -B tests/bench/bench_bombs.py $(B)
