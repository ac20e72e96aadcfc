# install.mk: `make install` and `make uninstall`. DESTDIR, PREFIX and the other paths: see the Makefile. Included by it.
#
# What is installed is a list of "mode target-directory source [name]"; `uninstall` walks the same list, so nothing is forgotten.

UNITS_IN    := fnd-instances.service fnd.service fnd-gateway.service
UNITS_PLAIN := fnd.socket fnd-tls.socket fnd-admin.socket fnd-api.socket
MAN         := fnd.8 fnctl.1
COMPLETIONDIR ?= $(PREFIX)/share/bash-completion/completions

# The paths that are written into *.in files.
SUBST = sed -e 's|@SBINDIR@|$(SBINDIR)|g' -e 's|@BINDIR@|$(BINDIR)|g' -e 's|@LIBEXEC@|$(LIBEXEC)|g' -e 's|@SYSCONFDIR@|$(SYSCONFDIR)|g'

INSTALL_SBIN    = $(B)/fnd
INSTALL_BIN     = $(B)/fnctl
INSTALL_LIBEXEC = $(B)/fnd-gateway $(B)/fnd-unpack $(B)/fn-init

# What makes runtimes: a script and directories of rootfs/, as they are.
INSTALL_ROOTFS  = build-runtime $(RUNTIMES)

# Installed as one set of files by both targets: DIRECTORY/NAME, without DESTDIR.
INSTALLED = $(addprefix $(SBINDIR)/,$(notdir $(INSTALL_SBIN))) $(addprefix $(BINDIR)/,$(notdir $(INSTALL_BIN))) \
        $(addprefix $(LIBEXEC)/,$(notdir $(INSTALL_LIBEXEC))) $(addprefix $(SHARE)/,$(notdir $(SAMPLES)) fnd.ini fnd-deploy-hook) \
        $(addprefix $(UNITDIR)/,$(UNITS_IN) $(UNITS_PLAIN)) $(SYSUSERSDIR)/fnd.conf $(TMPFILESDIR)/fnd.conf $(COMPLETIONDIR)/fnctl \
        $(foreach m,$(MAN),$(MANDIR)/man$(subst .,,$(suffix $(m)))/$(m))

# Services that run are not restarted: the administrator decides when. Without DESTDIR the user and the directories are made and systemd is told at once, where it runs.
install: all   ## install the programs, samples, manual pages and units (DESTDIR, PREFIX)
	install -d $(addprefix $(DESTDIR),$(SBINDIR) $(BINDIR) $(LIBEXEC) $(SHARE) $(UNITDIR) $(SYSUSERSDIR) $(TMPFILESDIR) $(MANDIR)/man1 $(MANDIR)/man8 $(COMPLETIONDIR) $(SYSCONFDIR)/fnd)
	install -m 0755 $(INSTALL_SBIN) $(DESTDIR)$(SBINDIR)/
	install -m 0755 $(INSTALL_BIN) $(DESTDIR)$(BINDIR)/
	install -m 0755 $(INSTALL_LIBEXEC) $(DESTDIR)$(LIBEXEC)/
	install -m 0644 $(SAMPLES) contrib/fnd.ini $(DESTDIR)$(SHARE)/
	$(Q)rm -rf $(SHARED_DIRS:%=$(DESTDIR)$(SHARE)/%)
	cp -R $(SHARED_DIRS:%=$(B)/%) $(DESTDIR)$(SHARE)/
	chmod -R u=rwX,go=rX $(SHARED_DIRS:%=$(DESTDIR)$(SHARE)/%)
	install -m 0755 contrib/certbot/fnd-deploy-hook $(DESTDIR)$(SHARE)/
	rm -rf $(DESTDIR)$(SHARE)/rootfs && install -d $(DESTDIR)$(SHARE)/rootfs
	tar -C rootfs --exclude=__pycache__ --owner=0 --group=0 --mode=u=rwX,go=rX -cf - $(INSTALL_ROOTFS) | tar -C $(DESTDIR)$(SHARE)/rootfs -xpf -
	install -m 0644 contrib/man/fnctl.1 $(DESTDIR)$(MANDIR)/man1/
	install -m 0644 contrib/man/fnd.8 $(DESTDIR)$(MANDIR)/man8/
	install -m 0644 contrib/completion/fnctl.bash $(DESTDIR)$(COMPLETIONDIR)/fnctl
	install -m 0644 $(addprefix contrib/systemd/,$(UNITS_PLAIN)) $(DESTDIR)$(UNITDIR)/
	$(Q)for u in $(UNITS_IN); do $(SUBST) contrib/systemd/$$u.in >$(DESTDIR)$(UNITDIR)/$$u && chmod 0644 $(DESTDIR)$(UNITDIR)/$$u || exit 1; done
	install -m 0644 contrib/systemd/sysusers.conf $(DESTDIR)$(SYSUSERSDIR)/fnd.conf
	$(Q)$(SUBST) contrib/systemd/tmpfiles.conf.in >$(DESTDIR)$(TMPFILESDIR)/fnd.conf && chmod 0644 $(DESTDIR)$(TMPFILESDIR)/fnd.conf
	$(Q)if [ -e $(DESTDIR)$(SYSCONFDIR)/fnd/fnd.ini ]; then echo 'kept: $(DESTDIR)$(SYSCONFDIR)/fnd/fnd.ini'; \
	else install -m 0644 contrib/fnd.ini $(DESTDIR)$(SYSCONFDIR)/fnd/fnd.ini; fi
	$(Q)[ -n '$(DESTDIR)' ] || { ! command -v systemd-sysusers >/dev/null || systemd-sysusers $(SYSUSERSDIR)/fnd.conf; \
	! command -v systemd-tmpfiles >/dev/null || systemd-tmpfiles --create $(TMPFILESDIR)/fnd.conf; \
	! [ -d /run/systemd/system ] || { systemctl daemon-reload && echo 'start it with: systemctl enable --now fnd'; }; }

uninstall:     ## remove what `install` installed; configuration and data stay
	$(Q)if [ -z '$(DESTDIR)' ] && [ -d /run/systemd/system ]; then systemctl disable --now fnd.service || true; fi
	rm -f $(addprefix $(DESTDIR),$(INSTALLED))
	rm -rf $(DESTDIR)$(SHARE)/rootfs
	rm -rf $(SHARED_DIRS:%=$(DESTDIR)$(SHARE)/%)
	$(Q)rmdir --ignore-fail-on-non-empty $(addprefix $(DESTDIR),$(LIBEXEC) $(SHARE)) 2>/dev/null || true
	$(Q)if [ -z '$(DESTDIR)' ] && [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
	@echo 'left where they are: $(DESTDIR)$(SYSCONFDIR)/fnd (configuration) and $(DESTDIR)/var/lib/fnd (functions); the user fnd stays too'
