# rootfs.mk: the sample functions and base images, as packages ready to deploy. Included by the Makefile; each NAME becomes $(B)/NAME.tar.gz.
#
# The same sources and packages give the same bytes: names sorted, times 0, owners 0:0, no name of the file in gzip's header.

DEPS += busybox-static
BUSYBOX ?= /bin/busybox

define rootfs_pack
	$(Q)tar -C $(1) --sort=name --format=gnu --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u+rw,go=u-w -cf $@.tmp.tar .
	$(Q)gzip -9 -n -c $@.tmp.tar > $@.tmp && rm -f $@.tmp.tar && mv $@.tmp $@
endef

# Static, without relocations and unused sections: few pages are touched before the first answer.
$(B)/rootfs/hello/hello: $(wildcard rootfs/hello/*.c rootfs/hello/*.h) rootfs/rootfs.mk
	$(call say,STATIC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) -D_GNU_SOURCE -std=gnu17 $(WARN) -Os -fno-pie -static -ffunction-sections -fdata-sections \
		-Wl,--gc-sections,-z,norelro,--build-id=none,-s -o $@ $(filter %.c,$^)

$(B)/hello.tar.gz: $(B)/rootfs/hello/hello rootfs/hello/function.ini
	$(call say,PACK,$@)
	$(Q)install -m 644 rootfs/hello/function.ini $(B)/rootfs/hello/function.ini
	$(call rootfs_pack,$(B)/rootfs/hello)

$(B)/rootfs/selftest/selftest: $(wildcard rootfs/selftest/*.c rootfs/selftest/*.h rootfs/hello/http_*) rootfs/rootfs.mk
	$(call say,STATIC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) -D_GNU_SOURCE -std=gnu17 $(WARN) -Os -fno-pie -static -ffunction-sections -fdata-sections \
		-Wl,--gc-sections,-z,norelro,--build-id=none,-s -o $@ $(filter %.c,$^)

$(B)/selftest.tar.gz: $(B)/rootfs/selftest/selftest rootfs/selftest/function.ini
	$(call say,PACK,$@)
	$(Q)install -m 644 rootfs/selftest/function.ini $(B)/rootfs/selftest/function.ini
	$(call rootfs_pack,$(B)/rootfs/selftest)

$(B)/busybox.tar.gz: $(shell find rootfs/busybox -type f) rootfs/rootfs.mk
	$(call say,PACK,$@)
	$(Q)test -x $(BUSYBOX) || { echo 'busybox: $(BUSYBOX) is missing: apt-get install busybox-static, or make deps' >&2; exit 1; }
	$(Q)rm -rf $(B)/rootfs/busybox && mkdir -p $(B)/rootfs/busybox/bin
	$(Q)cp -R rootfs/busybox/. $(B)/rootfs/busybox && cp $(BUSYBOX) $(B)/rootfs/busybox/bin/busybox
	$(Q)for a in $$($(BUSYBOX) --list); do test $$a = busybox || ln -s busybox $(B)/rootfs/busybox/bin/$$a || exit 1; done
	$(call rootfs_pack,$(B)/rootfs/busybox)

# The runtime static is one program of ours, so its image needs no package: it is there with the samples.
$(B)/rootfs/static/usr/lib/fnd/start: $(wildcard rootfs/static/*.c rootfs/static/*.h rootfs/hello/http_*) rootfs/rootfs.mk
	$(call say,STATIC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) -D_GNU_SOURCE -std=gnu17 $(WARN) -Irootfs/hello -Os -fno-pie -static -ffunction-sections -fdata-sections \
		-Wl,--gc-sections,-z,norelro,--build-id=none,-s -o $@ $(filter %.c,$^)

.PHONY: runtime-static
runtime-static: $(B)/runtime-static.tar
$(B)/runtime-static.tar: $(B)/rootfs/static/usr/lib/fnd/start
	$(call say,RUNTIME,$@)
	$(Q)tar -C $(B)/rootfs/static --sort=name --format=gnu --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u+rw,go=u-w -cf $@ .

# What `fnctl new` and sample:NAME take, beside fnctl as it is found there. The template c comes with its program, so that it runs before anybody has a compiler.
SHARED_DIRS := templates examples
$(B)/.shared: $(shell find $(SHARED_DIRS:%=rootfs/%) 2>/dev/null) $(wildcard rootfs/hello/http_*) rootfs/rootfs.mk
	$(call say,SHARE,$(B)/templates)
	$(Q)mkdir -p $(@D) && rm -rf $(SHARED_DIRS:%=$(B)/%)
	$(Q)for d in $(SHARED_DIRS); do if [ -d rootfs/$$d ]; then cp -R rootfs/$$d $(B)/$$d; else mkdir $(B)/$$d; fi || exit 1; done
	$(Q)cp rootfs/hello/http_* $(B)/templates/c/
	$(Q)$(MAKE) --no-print-directory -s -C $(B)/templates/c CC='$(CC)'
	$(Q)touch $@
