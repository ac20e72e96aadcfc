# runtime.mk: the images of runtimes, made of Debian packages by rootfs/build-runtime. Included by the Makefile; rootfs/R/packages makes R a runtime, and
# `make runtime-R` makes $(B)/runtime-R.tar. Not part of `all`: they need network to Debian's archive, are large, and are built on demand.

RUNTIMES := $(patsubst rootfs/%/packages,%,$(wildcard rootfs/*/packages))
# Unpacked packages, by the content of the recipes' lists: kept by `make clean`, and by all modes.
ROOTFS_CACHE ?= build/rootfs

.PHONY: $(RUNTIMES:%=runtime-%) runtimes

# The files of a recipe and of those that it stands on.
recipe = $(shell find rootfs/$(1) -type f -not -path '*/__pycache__/*') $(if $(wildcard rootfs/$(1)/base),$(foreach b,$(shell cat rootfs/$(1)/base),$(call recipe,$(b))))

define runtime
runtime-$(1): $(B)/runtime-$(1).tar
$(B)/runtime-$(1).tar: rootfs/build-runtime $(call recipe,$(1))
	$$(call say,RUNTIME,$$@)
	@mkdir -p $$(@D)
	$$(Q)FND_ROOTFS_CACHE=$(abspath $(ROOTFS_CACHE)) rootfs/build-runtime $(1) $$@
endef
$(foreach r,$(RUNTIMES),$(eval $(call runtime,$(r))))

runtimes: $(RUNTIMES:%=runtime-%)   ## the images of all runtimes: python, node, ...; runtime-NAME makes one
