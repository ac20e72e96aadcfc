# bytes.mk: the byte table. Included by tests/tests.mk.

.PHONY: check-bytes check-bytes-asan check-differential

check-bytes: all   ## bytes as hostile clients and functions send them, with exactly expected outcomes on both sides
	$(Q)$(SUDO) env FND_BUILD=$(abspath $(B)) tests/testhost $(PYTHON) -B tests/bytes/run.py $(ARGS)

check-differential: all   ## the same requests to nginx and HAProxy: a table of where we differ, and why
	$(Q)$(SUDO) env FND_BUILD=$(abspath $(B)) tests/testhost $(PYTHON) -B tests/bytes/differential.py $(ARGS)

# Leaks are not looked for: that takes ptrace, which the gateway's filter has not.
check-bytes-asan:   ## the byte table for a gateway with the address and undefined behaviour sanitizers
	@$(MAKE) --no-print-directory MODE=asan build/asan/fnd-gateway
	$(Q)$(SUDO) env FND_BUILD=$(abspath build/asan) ASAN_OPTIONS=detect_leaks=0 tests/testhost $(PYTHON) -B tests/bytes/run.py $(ARGS)
