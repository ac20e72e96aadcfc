# bytes.mk: the byte table. Included by tests/tests.mk.

.PHONY: check-bytes check-differential

check-bytes: all   ## bytes as hostile clients and functions send them, with exactly expected outcomes on both sides
	$(Q)$(SUDO) env FND_BUILD=$(abspath $(B)) tests/testhost $(PYTHON) -B tests/bytes/run.py $(ARGS)

check-differential: all   ## the same requests to nginx and HAProxy: a table of where we differ, and why
	$(Q)$(SUDO) env FND_BUILD=$(abspath $(B)) tests/testhost $(PYTHON) -B tests/bytes/differential.py $(ARGS)
